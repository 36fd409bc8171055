"""The agreement of a short training protocol with full trainings:
the table that is read, and the rank correlation.

Run: pytest tests/studies/test_short_protocol.py
"""

import pandas as pd
import pytest

from nasutils import spaces
from nasutils.data import MissingData
from nasutils.runs import Run, run
from nasutils.spaces import catalogue
from nasutils.spaces.genotype import Genotype
from nasutils.studies import short_protocol

NORMAL = (
    "max_pool_3x3:0 skip_connect:1 sep_conv_3x3:2 sep_conv_5x5:0 sep_conv_3x3:1 max_pool_3x3:0"
    " sep_conv_5x5:0 none:2"
)
REDUCE = NORMAL.replace("none:2", "dil_conv_5x5:4").replace("none", "max_pool_3x3")


def test_cells_are_read_as_genotypes_of_the_darts_space(tmp_path):
    path = tmp_path / "cells.csv.gz"
    row = {
        "normal": NORMAL.replace("none", "dil_conv_3x3"),
        "reduce": REDUCE,
        "c10_test_final": 97.02,
    }
    pd.DataFrame([row]).to_csv(path)
    (text, accuracy), *_ = short_protocol.trained_cells(path).itertuples(index=False)
    cells = {cell.name: cell for cell in Genotype.parse(text).cells}
    assert cells["normal"].nodes[3] == (("sep_conv_5x5", 0), ("dil_conv_3x3", 2))
    assert cells["reduce"].nodes[3] == (("sep_conv_5x5", 0), ("dil_conv_5x5", 4))
    assert cells["reduce"].output == (2, 3, 4, 5) and accuracy == 97.02
    spaces.get("darts").finalnet(text, 4, 3, 10)


def test_a_missing_or_other_table_is_refused(tmp_path):
    with pytest.raises(MissingData, match=r"no table of trained cells at .*cells\.csv; github"):
        short_protocol.trained_cells(tmp_path / "cells.csv")
    (tmp_path / "other.csv").write_text("normal,accuracy\n")
    with pytest.raises(
        ValueError, match=r"other.csv lacks the columns \['reduce', 'c10_test_final'\]"
    ):
        short_protocol.trained_cells(tmp_path / "other.csv")


def test_the_sample_repeats_and_has_no_cell_twice():
    cells = pd.DataFrame({"genotype": list("abcdefgh"), "accuracy": range(8)})
    first, again = (short_protocol.sample(cells, 5) for _ in range(2))
    assert first.equals(again) and first["genotype"].nunique() == 5
    assert len(short_protocol.sample(cells, 20)) == 8


def test_unfinished_trainings_are_left_out(tmp_path):
    cells = pd.DataFrame({"genotype": ["a", "b"], "accuracy": [97.0, 96.5]})
    trained = run(
        lambda params, home: {"test_accuracy": 55.0, "params": 12}, {"kind": "test"}, tmp_path
    )
    runs = {"a": trained, "b": Run(tmp_path / "b")}
    assert short_protocol.compared(cells, runs).to_dict("records") == [
        {"full": 97.0, "short": 55.0, "params": 12}
    ]


def test_the_agreement_table_and_its_figure():
    table = pd.DataFrame(
        {
            "full": [96.0, 96.5, 97.0, 97.2],
            "short": [50.0, 52.0, 51.0, 55.0],
            "params": [4, 3, 2, 1],
        }
    )
    figure, found = short_protocol.scatter(table)
    assert found.set_index(["against", "statistic"])["mean"].to_dict() == {
        ("short", "kendall"): pytest.approx(2 / 3),
        ("short", "spearman"): pytest.approx(0.8),
        ("params", "kendall"): -1.0,
        ("params", "spearman"): -1.0,
    }
    assert "0.67" in figure.axes[0].get_title()


def test_a_cell_is_trained_in_the_setting_that_is_asked_for():
    text = str(catalogue.get("DARTS_V2").genotype)
    trained = pd.DataFrame({"genotype": [text], "accuracy": [97.0]})
    ((found, evaluation),) = short_protocol.evaluations(trained, cells=5, channels=8).items()
    assert found == evaluation.genotype == text
    assert (evaluation.cells, evaluation.channels, evaluation.space) == (5, 8, "darts")
