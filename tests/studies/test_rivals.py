"""The comparisons beyond the papers: what is searched, tables and sentences of made-up accuracies,
and small runs.

Run: pytest tests/studies/test_rivals.py
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nasutils import spaces
from nasutils.measures import searches
from nasutils.spaces.genotype import Genotype
from nasutils.studies import rivals
from nasutils.sweep.launch import sweep
from nasutils.training.experiment import Machine, build

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


def run(tasks, machine):
    return {key: task.run(machine) for key, task in tasks.items()}


# What is searched


def test_seeds_are_twelve_and_those_of_the_registered_arm_only_where_its_supernets_are_needed():
    assert tuple(range(5, 17)) == rivals.SUPERNET_SEEDS and len(set(rivals.S2_SEEDS)) == 12
    assert min(rivals.S2_SEEDS) > 44  # the last one of the plan


def test_smoothdarts_differs_from_darts_in_the_method_alone():
    found = rivals.smooth([5], **SETTING)
    assert [label for label, _ in found] == ["DARTS", "SDARTS-RS", "SDARTS-ADV"]
    recipes = [build(task, Machine()).recipe for task in found.values()]
    assert recipes[0] == recipes[1] == recipes[2]
    alphas = [build(task, Machine()).method.optimizer.defaults for task in found.values()]
    assert alphas[0] == alphas[1] == alphas[2]


def test_the_supernets_of_both_comparisons_are_the_same_runs():
    first, second = rivals.supernets([5, 6], **SETTING), rivals.smooth([5, 6], **SETTING)
    assert all(second[key] == task and task.keep_weights for key, task in first.items())


def test_selections_are_made_in_the_same_supernets_with_and_without_tuning():
    supernets = rivals.supernets([5, 6], **SETTING)
    found = rivals.selections(supernets, images=16)
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
    assert rivals.gains(ACCURACY.iloc[:4], "old").endswith("too few searches for an interval.")


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
    supernets = rivals.supernets([5, 6], **SETTING)
    searched = run(supernets, machine)
    selected = run(rivals.selections(supernets, images=8, tune_epochs=1), machine)
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

    smooth = rivals.tabulated(run(rivals.smooth([5, 6], **SETTING), machine))
    assert smooth["DARTS"].tolist() == table["argmax"].tolist() and smooth.shape == (2, 3)
    assert rivals.collapses(smooth, "DARTS").count("points fewer") == 2


def test_three_cures_of_one_search_and_their_networks(machine):
    searched = run(rivals.s2_searches([100], **S2_SETTING), machine)
    cells = rivals.cured(searched)
    assert [label for label, _ in cells] == list(rivals.CURES)
    records = searched["DARTS", 100].records
    assert cells["last cell", 100] == records[-1]["genotype"]
    assert cells["selective stop", 100] in {record["genotype"] for record in records}
    assert rivals.skips(cells).loc[100, "at most 2 skips"] <= 2
    last, cured = (Genotype.parse(cells[label, 100]) for label in ("last cell", "at most 2 skips"))
    assert last.cells[1] == cured.cells[1]
    spaces.get("s2").finalnet(cells["at most 2 skips", 100], 4, 3, 10)

    tasks = rivals.final_networks(cells, protocol={"epochs": 1, "batch": 16}, **FINAL)
    finals = dict(zip(tasks, sweep(list(tasks.values()), machine, workers=1), strict=True))
    table = rivals.tested(finals)
    assert table.columns.tolist() == list(rivals.CURES) and table.notna().all(axis=None)
