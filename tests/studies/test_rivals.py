"""The comparisons beyond the papers: what is computed, tables and sentences of made-up accuracies,
small runs, and the command.

Run: pytest tests/studies/test_rivals.py
"""

import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nasutils import paths, spaces
from nasutils.measures import searches
from nasutils.report import params
from nasutils.runs import Run
from nasutils.spaces.genotype import Genotype
from nasutils.studies import exploratory, rivals
from nasutils.studies.confirmation import plan
from nasutils.studies.rivals import __main__ as command
from nasutils.studies.rivals import tasks
from nasutils.sweep.launch import sweep
from nasutils.sweep.pool import home_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import build

SIZE = {
    "dataset": "digits",
    "resolution": 8,
    "images": 32,
    "evaluation": 16,
    "channels": 4,
    "epochs": 2,
}
SETTING = {"recipe": {"batch": 16, "split": "half"}, "cells": 1, **SIZE}
S2_SETTING = {"recipe": {"batch": 16}, "cells": 3, **SIZE}
FINAL = {
    "dataset": "digits",
    "resolution": 8,
    "images": 32,
    "test_images": 32,
    "channels": 4,
    "cells": 3,
}

pytestmark = pytest.mark.usefixtures("one_thread")


def run(asked, machine):
    return {key: task.run(machine) for key, task in asked.items()}


# What is searched


def made(name, scale="laptop"):
    """A comparison of the parameters that its notebook has at a scale."""
    notebook, of = rivals.COMPARISONS[name]
    return of(params.at_scale(notebook, scale, device="cpu"))


def test_at_laptop_scale_there_are_twelve_searches_of_a_kind():
    twelve = {"skip_limit": 12, "perturbation": 12, "smoothing": 36}
    assert {name: len(made(name).searches) for name in rivals.COMPARISONS} == twelve


def test_the_supernets_are_those_of_the_registered_arm_but_for_what_is_measured():
    study = plan.read()["searches"]
    registered = {seed: task for arm, seed, task in study.searches() if arm.name == "DARTS"}
    unmeasured = {"judge_every": 1, "probe_every": 0, "eigenvalue_every": 0, "held_out": 0}
    for (label, seed), search in made("perturbation").searches.items():
        expected = replace(registered[seed], **unmeasured, keep_weights=True)
        assert label == "DARTS" and search.params() == expected.params()


def test_searches_on_s2_have_the_setting_of_the_plan_and_seeds_of_their_own():
    study = plan.read()["searches"]
    planned = {(arm.name, seed): task for arm, seed, task in study.searches()}
    like = planned["S2 DARTS", 5]
    for (_, seed), search in made("skip_limit").searches.items():
        expected = replace(like, seed=seed, judge_every=1)
        assert search.params() == expected.params()
    own = {seed for _, seed in made("skip_limit").searches}
    assert own.isdisjoint(seed for _, seed in planned)


def test_two_comparisons_have_the_same_supernets():
    assert made("perturbation").searches.items() <= made("smoothing").searches.items()


def test_what_selection_costs_is_said_before_it_runs():
    cost = made("perturbation").cost
    assert "12 searches of DARTS" in cost and cost.count("120 forward passes of up to 250") == 2
    assert "0 epochs of tuning; `perturbation, tuned`" in cost and "25 epochs of tuning." in cost


def test_smoothdarts_differs_from_darts_in_the_method_alone():
    found = tasks.smooth([5], **SETTING)
    assert [label for label, _ in found] == ["DARTS", "SDARTS-RS", "SDARTS-ADV"]
    recipes = [build(task, Machine()).recipe for task in found.values()]
    assert recipes[0] == recipes[1] == recipes[2]
    alphas = [build(task, Machine()).method.optimizer.defaults for task in found.values()]
    assert alphas[0] == alphas[1] == alphas[2]


def test_selections_are_made_in_the_same_supernets_with_and_without_tuning():
    supernets = tasks.supernets([5, 6], **SETTING)
    found = tasks.selections(supernets, images=16)
    assert {label for label, _ in found} == {"perturbation", "perturbation, tuned"}
    for (label, seed), selection in found.items():
        assert selection.search == supernets["DARTS", seed]
        assert (selection.seed, selection.tune_epochs) == (seed, 5 if "tuned" in label else 0)


# Made-up accuracies

SEEDS = pd.Index(range(12), name="seed")
ACCURACY = pd.DataFrame(
    {"old": np.full(12, 50.0), "new": 50.0 + np.arange(-1.0, 11.0)}, index=SEEDS
)


def test_differences_by_hand():
    old, new = rivals.comparison(ACCURACY, "old").to_dict("records")
    assert (old["accuracy"], old["n"]) == (50.0, 12) and np.isnan(old["gain"])
    # Of 12 ordered differences -1 to 10 the third and the tenth enclose the median with at least
    # 95 %.
    assert (new["gain"], new["gain_low"], new["gain_high"]) == (4.5, 1.0, 8.0)
    assert (new["better"], new["equal"], new["n"]) == (10, 1, 12)
    assert (
        rivals.gains(ACCURACY, "old")
        == "new against old: better in 10 of 12 searches, equal in 1; +4.5 points in the median,"
        " 95 % interval [1.0, 8.0], a gain."
    )


def test_differences_go_seed_by_seed_and_a_missing_search_leaves_its_pair_out():
    table = ACCURACY.copy()
    table.loc[3, "new"] = np.nan
    assert rivals.comparison(table, "old").iloc[1]["n"] == 11
    shuffled = pd.DataFrame({"old": [10.0, 20, 30, 40, 50, 60], "new": [11.0, 21, 31, 41, 51, 61]})
    assert rivals.comparison(shuffled, "old").iloc[1]["gain_low"] == 1.0


@pytest.mark.parametrize(
    ("shift", "said"),
    [(-20.0, ", a loss."), (-4.0, ", not told apart from none."), (0.0, ", a gain.")],
)
def test_a_sentence_says_on_which_side_of_0_the_interval_lies(shift, said):
    table = ACCURACY.assign(new=ACCURACY["new"] + shift)
    assert rivals.gains(table, "old").endswith(said)


def test_of_few_searches_nothing_is_said():
    assert rivals.gains(ACCURACY.iloc[:4], "old").endswith(
        "in the median, too few searches for an interval."
    )


def test_a_limit_that_limits_nothing_is_said_to_be_no_test():
    few, more = (pd.DataFrame({"last cell": [0, 2, most]}) for most in (1, 3))
    assert rivals.limited(few).endswith(
        "in none of 3 searches: there was nothing to limit, so this is no test of it."
    )
    assert rivals.limited(more).endswith("in 1 of 3 searches.")


def test_collapses_by_hand():
    fallen = np.array([10.0] * 9 + [90.0] * 3)
    table = pd.DataFrame({"DARTS": fallen, "SDARTS-RS": np.full(12, 90.0)}, index=SEEDS)
    darts, smooth = rivals.collapse(table, "DARTS").to_dict("records")
    assert (darts["collapsed"], darts["n"], smooth["collapsed"], smooth["fewer"]) == (
        9,
        12,
        0,
        0.75,
    )
    assert smooth["fewer_low"] == pytest.approx(0.378, abs=1e-3) and smooth["p"] < 0.001
    assert (
        rivals.collapses(table, "DARTS")
        == "Collapsed cells, below 60 %: 9 of 12 (DARTS), 0 of 12 (SDARTS-RS). SDARTS-RS against"
        " DARTS: 75 points fewer, 95 % interval [38, 91], a gain."
    )


def test_strips_show_every_search_and_return_their_numbers():
    figure, table = rivals.strips(ACCURACY, "test accuracy (%)")
    (ax,) = figure.axes
    assert (
        sum(
            len(points.get_offsets())
            for points in ax.collections
            if len(points.get_offsets()) == 12
        )
        == 24
    )
    assert [text.get_text() for text in ax.get_xticklabels()] == ["old", "new"]
    assert table.columns.tolist() == ["seed", "old", "new"] and len(table) == 12
    plt.close(figure)


# Small runs


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(runs=tmp_path_factory.mktemp("runs"))


def test_selection_and_smoothdarts_from_their_runs(machine):
    supernets = tasks.supernets([5, 6], **SETTING)
    searched = run(supernets, machine)
    selected = run(tasks.selections(supernets, images=8, tune_epochs=1), machine)
    table = rivals.selected_cells(searched, selected)
    assert table.columns.tolist() == [
        "argmax",
        "perturbation",
        "perturbation, tuned",
    ] and table.index.tolist() == [
        5,
        6,
    ]
    assert table.loc[6, "argmax"] == searches.cell_accuracy(
        searched["DARTS", 6].result["genotype"]
    )
    assert table.loc[5, "perturbation"] == searches.cell_accuracy(
        selected["perturbation", 5].result["genotype"]
    )
    assert rivals.gains(table, "argmax").count("searches, equal in") == 2
    same = rivals.gains(table.assign(new=table["argmax"]), "argmax")
    assert "new and argmax end in networks of the same accuracy in all 2 searches:" in same

    smooth = rivals.tabulated(run(tasks.smooth([5, 6], **SETTING), machine))
    assert smooth["DARTS"].tolist() == table["argmax"].tolist() and smooth.shape == (2, 3)
    assert rivals.collapses(smooth, "DARTS").count("points fewer") == 2


def test_three_cures_of_one_search_and_their_networks(machine):
    searched = run(tasks.s2_searches([100], **S2_SETTING), machine)
    cells = rivals.cured(searched)
    assert [label for label, _ in cells] == list(tasks.CURES)
    records = searched["DARTS", 100].records
    assert cells["last cell", 100] == records[-1]["genotype"]
    assert cells["selective stop", 100] in {record["genotype"] for record in records}
    assert rivals.skips(cells).loc[100, "at most 2 skips"] <= 2
    last, cured = (Genotype.parse(cells[label, 100]) for label in ("last cell", "at most 2 skips"))
    assert last.cells[1] == cured.cells[1]
    spaces.get("s2").finalnet(cells["at most 2 skips", 100], 4, 3, 10)

    trained = tasks.final_networks(cells, protocol={"epochs": 1, "batch": 16}, **FINAL)
    finals = dict(zip(trained, sweep(list(trained.values()), machine, workers=1), strict=True))
    table = rivals.tested(finals)
    assert table.columns.tolist() == list(tasks.CURES) and table.notna().all(axis=None)


def damaged(folder):
    """A finished run of which a file cannot be read."""
    folder.mkdir()
    (folder / "result.json").write_text("{")
    return Run(folder)


def test_a_damaged_run_is_left_out_of_the_tables(tmp_path):
    broken = {("DARTS", 1): damaged(tmp_path / "broken")}
    assert rivals.tested(broken).empty and rivals.tabulated(broken).empty


# All runs of a comparison


@pytest.fixture
def small(machine):
    """A comparison on S2, of one search; its runs are those of the tests above."""
    searches = tasks.s2_searches([100], **S2_SETTING)

    def follow(found):
        cells = rivals.cured(found)
        return tasks.final_networks(cells, protocol={"epochs": 1, "batch": 16}, **FINAL)

    return rivals.Comparison(searches, follow, "one search", core_hours=3)


def test_what_is_not_there_is_not_computed_unless_it_is_asked_for(small, tmp_path, capsys):
    assert small.runs(Machine(runs=tmp_path), compute=False) is None
    said = capsys.readouterr().out
    hours = "about 3 core-hours at laptop scale"
    assert said == f"Not computed yet: `make rivals` computes it ({hours}).\n"
    assert list(tmp_path.iterdir()) == []


def test_half_a_comparison_is_none(small, tmp_path):
    machine = Machine(runs=tmp_path)
    run(small.searches, machine)
    assert not exploratory.complete(small, machine) and small.runs(machine, compute=False) is None


def test_what_is_asked_for_is_computed_and_read_from_then_on(small, machine):
    searched, followed = small.runs(machine, compute=True, workers=1)
    assert set(searched) == {("DARTS", 100)} and {label for label, _ in followed} == set(
        tasks.CURES
    )
    assert all(run.finished for run in (*searched.values(), *followed.values()))
    assert exploratory.complete(small, machine)
    assert small.runs(machine, compute=False) == (searched, followed)


# The command


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rivals", *arguments])
    command.main()


def test_the_command_computes_a_comparison_and_brings_what_is_finished(
    tmp_path, monkeypatch, capsys
):
    kept, other = tmp_path / "kept", tmp_path / "other"
    tiny = ["--scale", "smoke", "--part", "skip_limit", "--workers", "1"]
    monkeypatch.setattr(paths, "runs", lambda scale: tmp_path / "nothing is kept")
    call(monkeypatch, "run", *tiny, "--runs", str(kept))
    said = capsys.readouterr().out
    assert "finished: DARTS, seed 101 (" in said and "2 of 2\n" in said
    assert "  searches: 2 of 2 finished\n  followed: 6 of 6 finished\n" in said

    monkeypatch.setattr(paths, "runs", lambda scale: kept)
    call(monkeypatch, "run", *tiny, "--runs", str(other))
    said = capsys.readouterr().out
    assert "finished: " not in said and "  followed: 6 of 6 finished\n" in said
    assert {path.name for path in other.iterdir()} == {path.name for path in kept.iterdir()}


def test_the_command_says_what_is_left_and_what_failed(tmp_path, monkeypatch, capsys):
    name, search = next(iter(made("skip_limit", "smoke").searches.items()))
    home_of(search, Machine(runs=tmp_path)).fail("no more room")
    call(monkeypatch, "status", "--scale", "smoke", "--runs", str(tmp_path))
    said = capsys.readouterr().out
    assert f"  failed: DARTS, seed {name[1]} (" in said and "): no more room\n" in said
    assert said.count("searches: 0 of 2 finished") == 2 and "searches: 0 of 6 finished" in said
