"""The methods of which nothing was released: the ladder, the rung that it chooses, the command.

Run: pytest tests/studies/test_lhd_unreleased.py
"""

import sys
from dataclasses import replace
from functools import partial

import matplotlib
import numpy as np
import pandas as pd
import pytest

matplotlib.use("Agg")

from nasutils import methods, paths, runs
from nasutils.report import params
from nasutils.studies.confirmation import plan
from nasutils.studies.lhd_benchmark import figures, unreleased
from nasutils.studies.lhd_benchmark.released import Condition
from nasutils.studies.lhd_benchmark.variants import SPACE
from nasutils.sweep.pool import home_of, name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment

COMMITTED = Machine(paths.runs("laptop"))


def made(scale="laptop"):
    return unreleased.campaign(params.at_scale("lhd_benchmark", scale, device="cpu"))


# What is computed


def test_the_lowest_rung_is_that_of_the_finished_searches():
    lowest = made().searches(unreleased.LADDER, 0)
    assert len(lowest) == 15
    assert all(home_of(task, COMMITTED).finished for task in lowest.values())


def test_the_highest_rung_updates_the_weights_about_as_often_as_the_paper():
    search = made().searches(["DARTS"], len(unreleased.RUNGS) - 1)["DARTS", 3, 0]
    updates = search.images / search.recipe["batch"] * search.epochs
    assert updates == pytest.approx(25_000 / 176 * 50, rel=0.06)


def test_networks_are_trained_as_those_of_the_registered_arm():
    found, lhd = made(), plan.read()["lhd"]
    arm = next(arm for arm in lhd.arms if arm.name == "CIFAR-10, base")
    trained = found.networks(found.searches(["DARTS"], 0), COMMITTED)
    ours, theirs = (
        {**task.params(), "genotype": ""}
        for task in (
            next(iter(trained.values())),
            next(iter(arm.evaluations(lhd.settings).values())),
        )
    )
    assert ours == theirs
    assert sorted({seed for _, seed in trained}) == [*plan.seeds_of(arm.seeds)]


# What the ladder chooses


def climbed(icc, affordable=(True, True, True)):
    rungs = range(1, 1 + len(icc))
    return pd.DataFrame({"rung": rungs, "icc": icc, "affordable": affordable})


@pytest.mark.parametrize(
    ("icc", "affordable", "rung"),
    [
        ((0.1, 0.6, 0.4), (True, True, True), 2),
        ((0.1, 0.6, 0.6), (True, True, True), 3),
        ((0.1, 0.6, 0.9), (True, True, False), 2),
    ],
)
def test_the_best_rung_that_a_day_affords_is_taken(icc, affordable, rung, monkeypatch):
    campaign = replace(made(), rungs=unreleased.RUNGS[:3])
    monkeypatch.setattr(unreleased.LadderRuns, "climbed", lambda *_: climbed(icc, affordable))
    assert campaign.chosen(COMMITTED) == rung - 1


def test_nothing_is_chosen_before_the_ladder_is_complete(monkeypatch):
    monkeypatch.setattr(unreleased.LadderRuns, "climbed", lambda *_: climbed((0.1, 0.2, 0.3)))
    assert made().chosen(COMMITTED) is None


def test_the_intraclass_correlation_is_that_of_single_searches():
    rng = np.random.default_rng(0)
    accuracy = np.array([[0.0], [2.0], [-2.0]]) + rng.normal(size=(3, 5))
    between, within = 5 * accuracy.mean(axis=1).var(ddof=1), accuracy.var(axis=1, ddof=1).mean()
    by_hand = (between - within) / (between + 4 * within)  # ICC(1, 1), Shrout and Fleiss
    assert unreleased._icc(accuracy)["icc"] == pytest.approx(by_hand)


# What it says


def test_the_reading_names_the_rung_and_what_all_methods_reach():
    ladder = climbed((0.1, 0.6, 0.4)).assign(images=7, epochs=3, icc_low=0.2, icc_high=0.8)
    labels = (*unreleased.LADDER, *unreleased.OURS)
    accuracy = np.add.outer(np.arange(40.0, 46), [-1.0, 0, 1])
    conditions = {"rung 2": Condition(labels, accuracy, accuracy, "base")}
    theirs = np.add.outer([47.5, 44.6, 43.5], [-1.0, 0, 1])
    released = Condition(unreleased.LADDER, theirs, theirs, "base")
    text = unreleased.reading(ladder, conditions, released)
    assert "best on rung 2 (7 images, 3 epochs): an ICC of 0.60 [0.20, 0.80]" in text
    assert "43.0 % (DARTS-), 44.0 % (Beta-DARTS) and 45.0 % (SurgeNAS)" in text
    assert "released at 47.5 % (DARTS), 44.6 % (GDAS) and 43.5 % (GAEA-ERM)" in text
    assert len(figures.trials(conditions)[1]) == 18


# Computing it


def finish(campaign, machine):
    """Made-up runs, stage by stage: searches that end in weights of their seed, and networks."""
    for tasks in campaign.stages(machine):
        for task in tasks.values():
            runs.run(partial(make_up, task), task.params(), machine.runs)


def make_up(task, params, home):
    if isinstance(task, Experiment):
        home.append(record(task), {})
        return {"genotype": ""}
    return {"test_accuracy": 40.0 + len(task.genotype) % 7, "params": 1000}


def record(search):
    mix = methods.get("random", SPACE, seed=search.seed).inference()
    return {
        "mix": {name: rows.tolist() for name, rows in mix.items()},
        "cost": {"cpu_seconds": 36.0 * search.epochs, "seconds": 0.0},
    }


def test_ours_are_shown_when_all_runs_are_there(tmp_path, monkeypatch, capsys):
    small, machine = replace(made(), trials=range(3)), Machine(tmp_path)
    assert small.found(machine) is None
    assert capsys.readouterr().out.startswith("Not computed yet: `make unreleased` computes it")
    finish(small, machine)
    ladder, conditions = small.found(machine)
    assert ladder["rung"].tolist() == [1, 2, 3, 4]
    assert ladder["core_hours"].tolist() == pytest.approx([0.06, 0.12, 0.24, 0.48])
    ((name, both),) = conditions.items()
    assert name == f"rung {small.chosen(machine) + 1}" and both.accuracy.shape == (6, 3)
    (condition,) = conditions.values()
    assert unreleased.reading(ladder, conditions, condition)

    monkeypatch.setattr(unreleased, "PARTS", {"unreleased": ("lhd_benchmark", lambda p: small)})
    monkeypatch.setattr(sys, "argv", ["unreleased", "status", "--runs", str(tmp_path)])
    unreleased.main()
    said = capsys.readouterr().out
    stages = ["ladder: 36 of 36", "its networks: 72 of 72", "searches: 9 of 9"]
    for stage in [*stages, "their networks: 18 of 18"]:
        assert f"  {stage} finished\n" in said

    lost = next(iter(small.searches(unreleased.OURS, small.chosen(machine)).values()))
    (tmp_path / name_of(lost)).rename(tmp_path / "elsewhere")
    assert small.found(machine) is None


def test_a_ladder_at_smoke_scale_can_be_computed(tmp_path):
    tiny, machine = replace(made("smoke"), trials=range(1), rungs=((1, 1),)), Machine(tmp_path)
    search = next(iter(tiny.searches(["GDAS"], 0).values()))
    search.run(machine)
    network, _ = tiny.networks(tiny.searches(["GDAS"], 0), machine).values()
    assert network.run(machine).result["test_accuracy"] >= 0
