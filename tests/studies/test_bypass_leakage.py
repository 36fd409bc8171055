"""The claims of the leakage study on made-up searches, and its searches on small ones.

Run: pytest tests/studies/test_bypass_leakage.py
"""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from nasutils.measures import tables
from nasutils.report import claims
from nasutils.studies import bypass_leakage as study
from nasutils.studies.bypass_leakage import results as bypass_results
from nasutils.studies.bypass_leakage.claims import CLAIMS
from nasutils.studies.bypass_leakage.variants import PROBED, VARIANTS
from nasutils.studies.small_spaces import searches_on
from nasutils.studies.variants import chosen
from nasutils.sweep.launch import name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.search import Search

SETTING = {"recipe": {"batch": 32}, "epochs": 4}
SEEDS = range(5)
# What each claim's statistic is on the made-up results below, by hand.
EXPECTED = {
    "1 brittle": 1.0,  # accuracy falls with every skip
    "2 leak": 0.7,
    "3 skips": 0.5 - 0.25,
    "4 discrepancy": 1.0,
    "5a removed": 0.7 - 0.1,
    "5b removed": 0.3 - 0.2,
    "5c mixed": 0.25 - 0.2,
    "5d mixed": 94.0 - 90.0,
    "6 closed": 30.0 - 2.0,
    "7 robust": 94.0 - 80.0,
    "8 efficient": 0.5,
    "9 S2": 4.0,
    "10 S4": -1.0,
}


def made_up():
    cells = {
        "DARTS": (80.0, 30.0),
        "SP-DARTS": (94.0, 2.0),
        "never sparse": (85.0, 20.0),
        "always sparse": (90.0, 1.0),
    }
    epochs = [
        {
            "method": m,
            "seed": s,
            "epoch": e,
            "skips": e,
            "cifar10": accuracy - e + 3,
            "gap": gap - 3 + e,
        }
        for m, (accuracy, gap) in cells.items()
        for s in SEEDS
        for e in range(4)
    ]
    at_end = {
        "DARTS": (0.7, 0.3),
        "SP-DARTS": (0.1, 0.2),
        "never sparse": (0.4, 0.25),
        "always sparse": (0.1, 0.15),
    }
    leakage = [
        {
            "method": m,
            "seed": s,
            "epoch": e,
            "bypass": own - 3 + e,
            "matched_bypass": b,
            "skip_cut": 0.5,
        }
        | {"drop_recalibrated": 10 * b}
        for m, (own, b) in at_end.items()
        for s in SEEDS
        for e in (1, 3)
    ]
    accuracies = {
        ("s2", "DARTS"): 50.0,
        ("s2", "SP-DARTS"): 54.0,
        ("s4", "DARTS"): 40.0,
        ("s4", "SP-DARTS"): 39.0,
    }
    finals = [
        {"space": space, "method": m, "seed": s, "test_accuracy": a}
        for (space, m), a in accuracies.items()
        for s in SEEDS
    ]
    table = pd.DataFrame(epochs)
    speedup = pd.DataFrame({"method": "SP-DARTS", "seed": SEEDS, "ratio": 1.5})
    last = table[table["epoch"] == 3]
    return study.Results({}, table, last, pd.DataFrame(leakage), speedup, pd.DataFrame(finals))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_statistics_by_hand(claim):
    found = claim.measure(made_up())
    assert found.mean == pytest.approx(EXPECTED[claim.name])
    assert found.n == 5


def test_verdicts_follow_the_statistics():
    table = claims.verdicts(CLAIMS, made_up(), "laptop").set_index("claim")["verdict"]
    assert table["2 leak"] == "supported" and table["10 S4"] == "not supported"
    assert set(claims.verdicts(CLAIMS, made_up(), "smoke")["verdict"]) == {
        "not tested at this scale"
    }


def test_a_correlation_needs_columns_that_move():
    table = pd.DataFrame(
        {"seed": [0, 0, 0, 1, 1, 1], "x": [1, 2, 3, 1, 2, 3], "y": [3, 2, 1, 5, 5, 5]}
    )
    found = tables.correlations(table, "x", "y")
    assert found[0] == -1.0 and math.isnan(found[1])


def test_only_the_controls_are_probed_and_only_mixed_sparsity_drops_operations():
    found = study.searches(VARIANTS, [0, 1], 2, **SETTING)
    assert {label for (label, _), e in found.items() if e.probe_every} == set(PROBED)
    assert {label for (label, _), e in found.items() if "negligible" not in e.recipe} == {"DARTS"}
    plain = Experiment(method="darts", recipe={"batch": 32}, epochs=4, seed=1, probe_every=2)
    assert name_of(found["DARTS", 1]) == name_of(plain)


def test_searches_on_small_spaces_are_paired_by_seed():
    found = searches_on(["s2"], study.S_VARIANTS, [0, 1], epochs=2, recipe={"batch": 8})
    assert {key[1] for key in found} == set(study.S_VARIANTS)
    assert found["s2", "SP-DARTS", 1].seed == found["s2", "DARTS", 1].seed == 1


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"never sparse"):
        chosen(VARIANTS, ["never sparce"])


def test_sparse_and_dense_iterations_are_timed_in_turns(tmp_path, monkeypatch):
    experiment = VARIANTS["SP-DARTS"].experiment(
        recipe={"batch": 32, "split": "half"},
        dataset="digits",
        images=64,
        channels=2,
        cells=1,
        epochs=2,
    )
    record = {
        "epoch": 1,
        "alpha": {"cell": torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.1]]).repeat(6, 1).tolist()},
    }
    clock, temperatures = [0.0], []

    def step(search, train, valid):
        search.method.begin_step()
        temperatures.append(search.method.step_temperature)
        clock[0] += 3.0 if search.method.now.probability == 0 else 2.0
        assert (
            search.method.alphas["cell"].tolist() == torch.tensor(record["alpha"]["cell"]).tolist()
        )

    monkeypatch.setattr(Search, "step", step)
    monkeypatch.setattr(bypass_results.time, "perf_counter", lambda: clock[0])
    run = SimpleNamespace(records=[record], path=tmp_path / "search")
    runs = {("SP-DARTS", 3): run, ("DARTS", 3): run}
    for _ in range(2):  # the second time from the cache
        found = study.speedups(dict.fromkeys(runs, experiment), runs, Machine(tmp_path), pairs=2)
        assert found.to_dict("records") == [{"method": "SP-DARTS", "seed": 3, "ratio": 1.5}]
        assert temperatures == pytest.approx([0.0121, 0.0011] * 3)
