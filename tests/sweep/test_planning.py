"""Time left and the plan on paper, by numbers.

Run: pytest tests/sweep/test_planning.py
"""

import json
import math

import pandas as pd
import pytest

from nasutils.runs import Run
from nasutils.sweep.launch import name_of
from nasutils.sweep.planning import Outlook, plan, time_left, totals
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

nan = math.nan
CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"

# Time left


@pytest.mark.parametrize(
    ("under_way", "waiting", "left"),
    [
        ([], [nan], nan),  # nobody knows
        ([100.0, nan], [], nan),
        ([100.0, 40.0], [], 100.0),
        ([0.0], [100.0, 50.0], 150.0),
        ([50.0, 80.0], [100.0], 150.0),  # starts when the first ends
        ([50.0, 80.0], [100.0, 100.0], 180.0),
        ([50.0, 80.0], [100.0, 100.0, 100.0], 250.0),
        ([0.0, 0.0], [60.0, 60.0, 3600.0], 3660.0),  # the long one comes last
        ([], [100.0, 100.0], 200.0),
        ([], [], 0.0),
    ],
)
def test_time_left(under_way, waiting, left):
    assert time_left(under_way, waiting) == pytest.approx(left, nan_ok=True)


def written(root, task, epochs, seconds, finished=True, device="a GPU", unit="cuda"):
    """A run folder with so many records of so many seconds."""
    run = Run(root / name_of(task))
    run.path.mkdir()
    (run.path / "params.json").write_text(json.dumps(task.params()))
    (run.path / "stamp.json").write_text(json.dumps({"device": device, "type": unit}))
    lines = [json.dumps({"epoch": i, "cost": {"seconds": seconds}}) for i in range(epochs)]
    (run.path / "records.jsonl").write_text("".join(line + "\n" for line in lines))
    if finished:
        (run.path / "result.json").write_text("{}")
    return run.path.name


def test_the_outlook_reads_the_run_folders(tmp_path):
    tasks = [Experiment(seed=seed, epochs=10) for seed in range(4)]
    a, b, c, d = map(name_of, tasks)
    outlook = Outlook(tasks, Machine(runs=tmp_path), every=0)
    assert math.isnan(outlook({a: "running", b: "running", c: "waiting", d: "waiting"}))
    written(tmp_path, tasks[1], 4, 5.0, finished=False)
    # b and d: 30 + 50, a and c: 50 + 50
    assert outlook({a: "running", b: "running", c: "waiting", d: "waiting"}) == 100.0
    written(tmp_path, tasks[0], 10, 3.0)
    # b: 30, c: 30, d: 30
    assert outlook({a: "finished", b: "running", c: "running", d: "waiting"}) == 60.0
    assert outlook({a: "cached", b: "cached", c: "cached", d: "cached"}) == 0.0


# The plan


def rows(*values):
    return pd.DataFrame(values, columns=["kind", "finished", "minutes", "measured on"])


def test_budget_sums_hours_by_kind():
    table = totals(
        rows(("a", True, 30.0, {"X"}), ("a", False, 30.0, {"X"}), ("b", False, 120.0, {"Y"})),
        4,
        "GPU",
    )
    assert list(table.index) == ["a", "b", "all"]
    assert list(table["runs"]) == [2, 1, 3] and list(table["finished"]) == [1, 0, 1]
    assert list(table["minutes a run"]) == [30, 120, 60]
    assert list(table["GPU-hours"]) == [0.25, 0.5, 0.75]
    assert list(table["GPU-hours left"]) == [0.125, 0.5, 0.625]
    assert list(table["measured on"]) == ["X", "Y", "X; Y"]


def test_budget_does_not_hide_what_was_not_measured():
    table = totals(rows(("a", True, 30.0, {"X"}), ("b", False, nan, set())), 1, "core")
    assert table["core-hours left"]["a"] == 0 and math.isnan(table["minutes a run"]["b"])
    assert math.isnan(table["core-hours"]["all"]) and math.isnan(table["core-hours left"]["all"])


def test_plan_measures_by_runs_that_differ_in_seed_and_epochs_only(tmp_path):
    searches = [Experiment(method=m, seed=s, epochs=50) for m in ("darts", "gdas") for s in (0, 1)]
    finals = [Evaluation(CELL, protocol={"epochs": 600}, seed=s) for s in (0, 1, 1)]
    written(tmp_path, searches[0], 50, 6.0)
    written(tmp_path, Experiment(method="darts", epochs=2, seed=9), 2, 12.0, device="another")
    # a smaller network tells nothing
    written(tmp_path, Experiment(method="gdas", epochs=2, channels=8), 2, 99.0)
    written(tmp_path, Experiment(method="gdas", epochs=2, seed=8), 1, 99.0, finished=False)
    written(
        tmp_path, Evaluation(CELL.replace("none", "skip_connect"), protocol={"epochs": 1}), 1, 3.0
    )
    written(tmp_path, Experiment(method="darts", epochs=2, seed=10), 2, 99.0, unit="cpu")
    table = plan(
        dict(enumerate([*searches, *finals])), Machine(runs=tmp_path, device="cuda"), packed=2
    )
    darts, gdas, final, total = table.index
    assert (darts, final, total) == (
        "search darts on nasbench201, cifar10",
        "finalnet short on nasbench201, cifar10",
        "all",
    )
    assert list(table["runs"]) == [2, 2, 2, 6] and list(table["finished"]) == [1, 0, 0, 1]
    assert (
        table["minutes a run"][darts] == 50 * 9 / 60
        and table["minutes a run"][final] == 600 * 3 / 60
    )
    assert table["GPU-hours left"][darts] == pytest.approx(7.5 / 60 / 2)
    assert math.isnan(table["GPU-hours"][gdas]) and math.isnan(table["GPU-hours left"]["all"])
    assert table["measured on"][darts] == "a GPU; another"


def test_less_than_one_run_on_a_core_is_refused(tmp_path):
    with pytest.raises(ValueError, match="packed must be a whole number, 1 or more, not 0"):
        plan({}, Machine(runs=tmp_path), packed=0)


def test_a_plan_of_nothing(tmp_path):
    table = plan({}, Machine(runs=tmp_path))
    assert (
        list(table.index) == ["all"]
        and table["runs"]["all"] == 0
        and table["core-hours left"]["all"] == 0
    )
