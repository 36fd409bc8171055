"""The released LHD architectures: files read without unpickling,
the table that ships against published numbers.

With NASUTILS_TRUTH naming the folder of the full truth files (and of the released weights beside
it), the table is derived anew. Run: pytest tests/studies/test_lhd_architectures.py
"""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nasutils import Genotype, methods, spaces
from nasutils.methods import relax
from nasutils.spaces.lhd_final import finalnet_parameters
from nasutils.studies import lhd_architectures as study
from nasutils.tables import lhd_architectures as lhd_files

LHD = spaces.get("lhd")
FULL = os.environ.get("NASUTILS_TRUTH")
# Literature file 2.5: parameters in M under base (mean, deviation), 3ops, 4out; skips of the
# normal cell under base.
PUBLISHED = {
    "cifar10": {
        "random": (0.65, 0.09, 0.78, 0.93, 0.8),
        "darts": (0.68, 0.08, 0.74, 0.91, 4.0),
        "milenas": (0.67, 0.10, 0.78, 0.98, 1.2),
        "gaea-bilevel": (0.68, 0.10, 0.77, 0.97, 0.8),
        "gaea-erm": (0.91, 0.14, 1.14, 1.04, 0.6),
        "drnas": (0.57, 0.08, 0.65, 0.87, 1.6),
        "gdas": (0.55, 0.01, 0.62, 0.99, 0.2),
        "pc-darts": (0.72, 0.10, 0.84, 1.09, 0.4),
        "sp-darts": (0.64, 0.09, 0.76, 0.94, 2.8),
    },
    "cifar100": {
        "random": (0.70, 0.09, 0.80, 0.98, 1.0),
        "darts": (0.62, 0.18, 0.71, 0.91, 2.2),
        "milenas": (0.66, 0.09, 0.74, 0.92, 2.6),
        "gaea-bilevel": (0.63, 0.13, 0.70, 1.01, 0.8),
        "gaea-erm": (0.87, 0.15, 1.06, 1.21, 0.0),
        "drnas": (0.51, 0.14, 0.53, 0.86, 3.8),
        "gdas": (0.51, 0.03, 0.58, 0.98, 1.0),
        "pc-darts": (0.78, 0.13, 0.90, 1.05, 0.2),
        "sp-darts": (0.53, 0.09, 0.56, 0.84, 1.6),
    },
    "svhn": {
        "random": (0.65, 0.18, 0.73, 0.96, 1.8),
        "darts": (0.58, 0.11, 0.68, 0.87, 3.2),
        "milenas": (0.51, 0.14, 0.68, 1.00, 1.4),
        "gaea-bilevel": (0.54, 0.13, 0.68, 0.99, 0.2),
        "gaea-erm": (0.87, 0.05, 1.06, 1.05, 0.4),
        "drnas": (0.67, 0.13, 0.81, 1.10, 0.4),
        "gdas": (0.80, 0.11, 0.92, 1.02, 1.2),
        "pc-darts": (0.82, 0.09, 0.97, 1.09, 0.0),
        "sp-darts": (0.56, 0.09, 0.72, 0.96, 1.8),
    },
}
# Shares of kept operations under base, %, of the released searches (chaoji90/LHD, results/).
SHARES = {
    "darts": (10, 18, 27, 12, 13, 8, 12),
    "milenas": (22, 7, 24, 8, 14, 6, 19),
    "drnas": (28, 6, 14, 0, 13, 0, 38),
    "gaea-bilevel": (9, 17, 9, 29, 15, 10, 11),
    "gaea-erm": (21, 0, 21, 1, 6, 0, 50),
    "gdas": (5, 2, 14, 23, 22, 20, 16),
    "pc-darts": (9, 3, 4, 10, 23, 7, 44),
    "random": (15, 13, 12, 20, 12, 14, 14),
    "sp-darts": (17, 6, 22, 6, 12, 9, 27),
}


def released_file(mix):
    """The bytes that the authors' code writes: with the module name of numpy's older versions."""
    arrays = [np.asarray(mix[name], dtype=np.float32) for name in LHD.alpha_shapes]
    return pickle.dumps(arrays, protocol=3).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )


@pytest.fixture
def mix():
    generator = torch.Generator().manual_seed(0)
    scores = {
        name: torch.randn(shape, generator=generator) for name, shape in LHD.alpha_shapes.items()
    }
    return LHD.relax(scores, lambda s: relax.softmax(s, 1.0))


# Files


def test_a_released_file_is_read_without_unpickling(mix, tmp_path, monkeypatch):
    path = tmp_path / "20211010-140512.pl"
    path.write_bytes(released_file(mix))
    assert path.stat().st_size == lhd_files.SIZE
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "load", None)
    found = lhd_files.read(path)
    assert found.keys() == mix.keys() and all(torch.equal(found[name], mix[name]) for name in mix)
    assert LHD.discretize(found) == LHD.discretize(mix)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "it has 1479 bytes, not 1480"),
        (lambda b: b + b".", "it has more bytes, not 1480"),
        (lambda b: b"", "it has 0 bytes"),
        (lambda b: b"\x80\x04" + b[2:], "no list of numpy arrays in protocol 3"),
        (
            lambda b: b.replace(b"numpy.core.multiarray", b"numpy.core.multiarraz"),
            "no list of numpy arrays",
        ),
        (lambda b: b[:-1] + b"#", "no list of numpy arrays"),
        (lambda b: b.replace(b"C(", b"C)"), "at byte 1354 there are no 40 bytes of normal_output"),
        (
            lambda b: b[:155] + np.float32(np.nan).tobytes() + b[159:],
            r"normal has values that are not in \[0, 1\]",
        ),
        (
            lambda b: b[:756] + np.float32(0.9).tobytes() + b[760:],
            "weights of reduce that compete do not sum to 1",
        ),
        (
            lambda b: b[:1432] + np.float32(0.9).tobytes() + b[1436:],
            "weights of reduce_output that compete",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(mix, tmp_path, change, message):
    path = tmp_path / "foreign.pl"
    path.write_bytes(change(released_file(mix)))
    with pytest.raises(
        ValueError, match=rf"foreign\.pl is not a search result of the LHD repository: .*{message}"
    ):
        lhd_files.read(path)


def test_a_file_that_runs_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "evil.pl"
    path.write_bytes(pickle.dumps([Evil()], protocol=3).ljust(lhd_files.SIZE, b"."))
    with pytest.raises(ValueError, match="no list of numpy arrays"):
        lhd_files.read(path)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileNotFoundError):
        lhd_files.read(tmp_path / "none.pl")


# The table


def test_the_table_has_five_trials_of_nine_methods_on_three_data_sets():
    table = study.architectures()
    assert len(table) == 135 and set(table["method"]) == set(PUBLISHED["svhn"]) <= set(
        methods.names
    )
    assert (
        table.groupby(["dataset", "method"])["trial"].apply(sorted).map(tuple) == (1, 2, 3, 4, 5)
    ).all()
    for row in table[table["trial"] == 2].to_dict("records"):
        for policy in LHD.policies:
            genotype = study.genotype(row["dataset"], row["method"], 2, policy)
            assert str(genotype) == row[f"genotype_{policy if policy != '1m' else 'base'}"]
            classes = lhd_files.CLASSES[row["dataset"]]
            channels, cells = LHD.finalnet_size(genotype, policy, classes)
            assert (
                finalnet_parameters(genotype, channels, cells, classes) == row[f"params_{policy}"]
            )


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_the_statistics_are_the_published_ones(dataset):
    found = study.statistics().set_index(["dataset", "method"])
    for method, expected in PUBLISHED[dataset].items():
        row = found.loc[dataset, method]
        columns = ["params_base", "params_base_sd", "params_3ops", "params_4out"]
        assert row[columns].tolist() == pytest.approx(expected[:4], abs=0.00501)
        assert row["skips"] == pytest.approx(expected[4])
        assert 1 <= row["sum"] <= 4 and 1 <= row["concat"] <= 4
        assert 1.5 <= row["params_1m"] <= 1.63
        if method == "sp-darts":
            sparse = {"cifar10": 0.10, "cifar100": 0.03, "svhn": 0.05}
            assert row["entropy"] == pytest.approx(sparse[dataset], abs=0.00501)
        else:
            assert 0.98 <= row["entropy"] <= 1


def test_the_shares_of_kept_operations_are_the_published_ones():
    table = study.architectures()
    assert set(table["method"]) == set(SHARES)
    for method, expected in SHARES.items():
        texts = table.loc[table["method"] == method, "genotype_base"]
        kept = [op for text in texts for cell in Genotype.parse(text).cells for op in cell.ops]
        shares = [100 * kept.count(op) / len(kept) for op in study.SPACE.ops]
        assert shares == pytest.approx(expected, abs=0.501)


def test_an_architecture_that_was_not_released():
    for dataset, method, trial in (
        ("cifar10", "surgenas", 1),
        ("cifar10", "darts", 6),
        ("digits", "darts", 1),
    ):
        with pytest.raises(
            ValueError, match=f"no architecture of '{method}' on '{dataset}', trial {trial}"
        ):
            study.genotype(dataset, method, trial)
    with pytest.raises(ValueError, match="policy of lhd"):
        study.genotype("cifar10", "darts", 1, "2ops")


def test_the_row_of_an_architecture(mix):
    row = lhd_files.row(mix, "cifar100")
    genotype = Genotype.parse(row["genotype_base"])
    assert row["skips_normal"] == str(genotype).split("normal_sum")[0].count("skip_connect")
    reduce = genotype.cells[1]
    assert (row["sum_reduce"], row["concat_reduce"]) == (len(reduce.sum), len(reduce.output))
    zeros = {name: torch.zeros(shape) for name, shape in LHD.alpha_shapes.items()}
    even = {**mix, "normal": LHD.relax(zeros, lambda s: s.softmax(-1))["normal"]}
    assert lhd_files.row(even, "svhn")["entropy_normal"] == pytest.approx(1)


@pytest.mark.skipif(
    FULL is None, reason="NASUTILS_TRUTH names no folder with the released weights beside it"
)
def test_the_table_is_what_the_released_weights_give():
    found = lhd_files.derived(Path(FULL).parent / "data" / "tables" / "lhd_architectures.npz")
    pd.testing.assert_frame_equal(found, study.architectures(), check_exact=False, rtol=1e-6)
    archs = json.loads((Path(FULL) / "lhd.json").read_text())["archs"]
    rows = {row["file"]: row for row in found.to_dict("records")}
    for row in (rows[file] for file in archs):
        sizes = archs[row["file"]]["policies"]
        classes = str(lhd_files.CLASSES[row["dataset"]])
        assert row["channels_1m"] == sizes["1M"]["by_num_classes"][classes]["init_channels"]
        assert row["params_3ops"] == sizes["3ops"]["by_num_classes"][classes]["params_no_aux"]
