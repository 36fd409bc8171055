"""The settings of the learning-rate study against the authors' experiment sheet;
its claims on made-up searches.

Run: pytest tests/studies/test_lr_swap.py
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from nasutils import paths, spaces
from nasutils.measures.tables import records_of
from nasutils.methods import relax
from nasutils.report import claims
from nasutils.studies.lr_swap import figures, readings
from nasutils.studies.lr_swap import results as outcomes
from nasutils.studies.lr_swap import tables as tables
from nasutils.studies.lr_swap import variants as study
from nasutils.studies.lr_swap.claims import CLAIMS
from nasutils.studies.lr_swap.variants import NAMED, VARIANTS
from nasutils.sweep.launch import name_of
from nasutils.training.experiment import Experiment

SHEET = json.loads((Path(__file__).parents[1] / "truth" / "schedules.json").read_text())[
    "nb201_w_lr"
]
ON_THE_SHEET = {
    "baseline": "DARTS",
    "exchange(EX-DARTS)": "EX-DARTS",
    "enlarge": "long horizon",
    "4000": "very long horizon",
    "SS-DARTS": "SS setting",
    **{f"prl2_{n}": f"alpha decay x {n}" for n in (5, 10)},
    **{f"ipr{n}": f"alpha rate {n}e-3" for n in (1, 2, 3)},
    **{f"warmup{n}": f"warm-up {n}, as released" for n in (10, 20, 30, 100)},
}
"""Name of a setting in the truth (the others there are of other papers) -> label."""
# The authors' experiment sheet: label -> weight rate, what it ends at, alpha rate, alpha decay, of
# 50 epochs.
TABLE = {
    "DARTS": (0.025, 0.001, 3e-4, 1e-3),
    "alpha decay x 5": (0.025, 0.001, 3e-4, 5e-3),
    "alpha decay x 10": (0.025, 0.001, 3e-4, 1e-2),
    "alpha rate 1e-3": (0.025, 0.001, 1e-3, 1e-3),
    "alpha rate 2e-3": (0.025, 0.001, 2e-3, 1e-3),
    "alpha rate 3e-3": (0.025, 0.001, 3e-3, 1e-3),
    "EX-DARTS": (3e-4, 3e-4, 0.025, 1e-3),
    "SS setting": (0.015, 0.015, 1e-3, 1e-3),
}
SETTING = {"epochs": 50, "recipe": {"split": "nasbench201"}, "eigenvalue_every": 2}


def rules(label, **changes):
    experiment = VARIANTS[label].experiment(**{**SETTING, **changes})
    return experiment, *study.rules(experiment)


def of_alpha(method):
    (group,) = method.optimizer.param_groups
    return group["lr"], group["weight_decay"]


@pytest.mark.parametrize("label", TABLE)
def test_a_setting_is_that_of_the_table(label):
    experiment, method, recipe = rules(label)
    assert (recipe.weight_lr, recipe.weight_lr_end, *of_alpha(method)) == TABLE[label]
    assert (experiment.epochs, recipe.warmup, recipe.alpha_from) == (50, 0, 0)
    assert (recipe.batch, recipe.momentum, recipe.nesterov, recipe.weight_decay, recipe.clip) == (
        256,
        0.9,
        True,
        5e-4,
        5,
    )


@pytest.mark.parametrize("name", ON_THE_SHEET)
def test_rates_and_lengths_are_those_of_the_experiment_sheet(name):
    entry = SHEET[name]
    experiment, method, recipe = rules(ON_THE_SHEET[name])
    assert experiment.epochs == entry["total_epochs"]
    assert of_alpha(method) == (entry["alpha_lr"], entry["alpha_weight_decay"])
    assert recipe.alpha_from == entry["alpha_updates_from_epoch"]
    for epoch, rate in entry["w_lr_at"].items():
        assert recipe.rate(int(epoch)) == pytest.approx(rate, rel=1e-9)


def test_a_proper_warmup_has_its_whole_cosine():
    experiment, _, recipe = rules("warm-up 100")
    assert (experiment.epochs, recipe.alpha_from) == (150, 100)
    assert recipe.rate(100) == 0.025 and recipe.rate(125) == pytest.approx(0.013)


@pytest.mark.parametrize(("epochs", "expected"), [(50, 30), (25, 15), (6, 4), (1, 1)])
def test_a_warmup_is_scaled_with_the_search(epochs, expected):
    experiment, _, recipe = rules("warm-up 30", epochs=epochs)
    assert (
        experiment.epochs == epochs + expected and recipe.warmup == recipe.alpha_from == expected
    )


def test_the_baseline_is_a_plain_search_with_eigenvalues():
    setting = {
        "dataset": "cifar10",
        "images": 2000,
        "channels": 8,
        "cells": 2,
        "evaluation": 1000,
        "resolution": 16,
    }
    recipe = {"batch": 32, "split": "nasbench201"}
    theirs = Experiment(
        method="darts", options={}, recipe=recipe, seed=3, eigenvalue_every=2, epochs=50, **setting
    )
    ours = study.searches(
        study.chosen(["DARTS"]),
        [3],
        [0],
        epochs=50,
        recipe=recipe,
        eigenvalue_every=2,
        preset="published",
        **setting,
    )
    assert name_of(ours["DARTS", 3]) == name_of(theirs)


def test_only_darts_and_ex_darts_are_followed_and_searched_from_all_seeds():
    searches = study.searches(study.chosen([]), [0, 1, 2], [7], **SETTING)
    assert {label for (label, _), e in searches.items() if e.eigenvalue_every} == set(study.CORE)
    assert {label for label, seed in searches if seed == 2} == set(study.CORE)
    assert not {label for label, _ in searches} & set(study.LONG)


def test_the_named_points_of_the_map_have_their_rates():
    for (schedule, w, a), label in NAMED.items():
        _, method, recipe = rules(label)
        end = w * study.PROPORTION if schedule == "cosine" else w
        assert (recipe.weight_lr, recipe.weight_lr_end, of_alpha(method)[0]) == pytest.approx(
            (w, end, a)
        )


def test_a_map_has_every_point_once_and_its_own_points_have_their_rates():
    points = study.grid([3e-4, 0.01], [3e-4, 0.025])
    variants = study.grid_variants(points)
    assert len(points) == len(variants) == 8
    assert variants[points["constant", 3e-4, 0.025]] is VARIANTS["EX-DARTS"]
    other = variants[points["cosine", 0.01, 0.025]]
    method, recipe = study.rules(other.experiment(**SETTING))
    assert (recipe.weight_lr, recipe.weight_lr_end) == pytest.approx((0.01, 0.0004))
    assert of_alpha(method) == (0.025, 1e-3)
    assert study.grid([], [0.1]) == {}


@pytest.mark.parametrize("scale", paths.SCALES)
def test_the_params_files_name_known_variants(scale):
    values = yaml.safe_load((paths.ROOT / "params" / scale / "lr_swap.yaml").read_text())
    assert set(study.chosen(values.get("variants", []))) <= VARIANTS.keys()


def test_an_unknown_variant_is_named():
    with pytest.raises(
        ValueError, match="unknown variant 'warm-up 11'.*did you mean 'warm-up 10'"
    ):
        study.chosen(["warm-up 11"])


EPOCHS = 8
PATH = [(3, 2), (3, 3), (3, 4), (3, 6), (1, 2), (1, 3), (1, 4), (1, 6)]
"""Per epoch the operation that wins, and on how many edges:
conv 3x3 peaks in epoch 3, then skips take over.
"""


def record(epoch, operation, edges):
    alpha = np.zeros((6, 5))
    alpha[:edges, operation] = 1.0
    alpha[edges:, 4] = 0.5
    mix = {"cell": relax.softmax(torch.as_tensor(alpha), 1.0)}
    genotype = spaces.get("nasbench201").discretize(mix)
    return {
        "epoch": epoch,
        "alpha": {"cell": alpha.tolist()},
        "genotype": str(genotype),
        "cost": {"seconds": 2.0},
    }


def made_up_runs(labels=("DARTS",), seeds=5):
    records = [record(e, *state) for e, state in enumerate(PATH)]
    return {
        (label, seed): SimpleNamespace(records=records)
        for label in labels
        for seed in range(seeds)
    }


def results(operation="nor_conv_3x3", gains=()):
    """Searches of five seeds whose cells are best in epoch 3 and lose 20 points;
    gains: label -> on the last cell.
    """
    runs = made_up_runs()
    decisions = outcomes.decisions(records_of(runs))
    curve = [86, 90, 92, 93, 88, 80, 75, 73]
    conv = [2, 3, 4, 6, 1, 1, 1, 1]
    rows = [
        {
            "method": "DARTS",
            "seed": seed,
            "epoch": e,
            "cifar10": curve[e] + 0.1 * seed,
            "valid_loss": 2 - 0.1 * e,
        }
        | {"relaxed": 60.0 + seed, "S_nor_conv_3x3": conv[e], "S_skip_connect": 6 - conv[e]}
        for seed in range(5)
        for e in range(EPOCHS)
    ]
    for label, gain in dict(gains).items():
        rows += [
            {
                "method": label,
                "seed": seed,
                "epoch": EPOCHS - 1,
                "cifar10": 73 + 0.1 * seed + gain + 0.2 * (seed % 2),
            }
            | {"relaxed": 40.0}
            for seed in range(5)
        ]
    table = pd.DataFrame(rows)
    last = table.loc[table.groupby(["method", "seed"])["epoch"].idxmax()]
    return outcomes.Results({}, table, last, decisions, operation)


def test_the_claims_have_the_right_sign():
    gains = {"EX-DARTS": 20.5, "alpha decay x 10": 1.0, "warm-up 10": 18.0}
    verdicts = claims.verdicts(CLAIMS, results(gains=gains.items()), "laptop").set_index("claim")[
        "verdict"
    ]
    assert verdicts.to_dict() == {
        "1 degradation": "supported",
        "2a regularisation": "supported",
        "2b warm-up": "not supported",
        "3a swap": "supported",
        "3b better": "supported",
        "3c competitive": "supported",
        "4 raw weights": "inconclusive",
        "5 not overfitting": "inconclusive",
        "6a bias": "supported",
        "6b tied": "supported",
        "7a stop": "supported",
        "7b against DARTS+": "supported",
        "7c against DARTS-ES": "inconclusive",
    }


def test_missing_settings_are_inconclusive():
    verdicts = claims.verdicts(CLAIMS, results(), "laptop").set_index("claim")["verdict"]
    assert (
        verdicts[["2a regularisation", "2b warm-up", "3a swap", "3b better", "4 raw weights"]]
        == "inconclusive"
    ).all()


def test_decisions_hold_the_epoch_its_accuracy_and_the_time():
    table = outcomes.decisions(records_of(made_up_runs(seeds=1))).set_index(
        ["criterion", "operation"]
    )
    peak = table.loc["peak", "nor_conv_3x3"]
    assert (peak["epoch"], peak["share"], peak["seconds"]) == (3, 1.0, 16.0)
    assert (
        peak["cifar10"] == spaces.nasbench201.query(["nor_conv_3x3"] * 6).test_accuracy["cifar10"]
    )
    skips = table.loc["skips_2"].iloc[0]
    assert (skips["epoch"], skips["share"], skips["seconds"]) == (4, 5 / 8, 10.0)
    assert pd.isna(table.loc["eigenvalue"].iloc[0]["epoch"]) and math.isnan(
        table.loc["eigenvalue"].iloc[0]["share"]
    )


def test_the_stop_depends_on_the_designated_operation():
    searched = results()
    assert set(searched.stops("DARTS", "peak")["epoch"]) == {3}
    assert set(searched.stops("DARTS", "peak", "skip_connect")["epoch"]) == {7}
    assert len(searched.stops("DARTS", "skips_2")) == 5


def test_online_stop_takes_the_peak_once_it_is_old_enough():
    records = made_up_runs(seeds=1)["DARTS", 0].records
    count, accuracy = outcomes.online(records, "peak", "nor_conv_3x3", patience=2)
    assert count == 6
    assert accuracy == spaces.nasbench201.query(records[3]["genotype"]).test_accuracy["cifar10"]


def test_the_criteria_are_compared_with_last_best_and_random_cells():
    table = tables.criteria_table(results()).set_index("criterion")
    assert table.loc["last epoch", ["minus_last", "p"]].tolist() == [0, 1]
    assert table.loc["best epoch (hindsight)", "minus_last"] == pytest.approx(20)
    assert table.loc["best epoch (hindsight)", "minus_best"] == 0
    assert table.loc["best epoch (hindsight)", "p"] == pytest.approx(1 / 16)
    assert table.loc["peak", "epoch"] == 3 and table.loc["peak", "n"] == 5
    assert table.loc["eigenvalue", "n"] == 0


def test_an_own_method_is_judged_beside_those_of_the_study():
    runs = made_up_runs(("DARTS", "warm-up 10", "Mine"))
    searched = replace(
        results(gains={"warm-up 10": 1.0, "Mine": 2.0}),
        decisions=outcomes.decisions(records_of(runs)),
        judged=("DARTS", "Mine"),
    )
    table = tables.criteria_table(searched)
    own = table[table["method"] == "Mine"].set_index("criterion")
    assert set(table["method"]) == {"DARTS", "Mine"} and own.loc["peak", "n"] == 5
    assert [ax.get_title() for ax in figures.stops(searched)[0].axes] == ["DARTS", "Mine"]


def test_results_of_no_search_are_refused():
    with pytest.raises(ValueError, match="runs must hold a finished search at least"):
        outcomes.Results.of({}, operation="nor_conv_3x3")


def test_without_remedies_the_figure_shows_darts_and_the_reading_says_so():
    searched = results(gains={"EX-DARTS": 20.5})
    cells = {"genotype": "", "cifar100": 70.0, "imagenet16-120": 40.0}
    searched = replace(searched, epochs=searched.epochs.assign(**cells))
    figure, _ = figures.settings(searched, ["DARTS", "EX-DARTS"])
    (ax,) = [ax for ax in figure.axes if ax.get_visible()]
    assert ax.get_title() == "no remedy was searched" and len(ax.lines) == 1
    assert readings.settings(searched, ["DARTS", "EX-DARTS"]) == "No remedy was searched here."


def test_outside_stops_cover_all_searches_and_never_look_beyond_the_end():
    table = tables.outside_table()
    assert table["search"].nunique() == 211
    assert table[table["criterion"] == "eigenvalue"]["search"].nunique() == 67
    fired = table[table["fired"]]
    assert (fired["epoch"] <= fired["decided"]).all()
    counted = fired[fired["criterion"] != "eigenvalue"]
    assert (counted["skips"] >= counted["criterion"].map(tables.OUTSIDE)).all()
    held = table[~table["fired"]]
    assert (held["skips"] == held["skips_end"]).all()


def test_the_four_published_cells_have_their_sizes():
    sizes = tables.cells_table().set_index("cell")["params"]
    assert sizes.to_dict() == {
        "SS-DARTS-DilConv3": 3.037870,
        "SS-DARTS-DilConv5": 2.678014,
        "SS-DARTS-SepConv3": 2.857942,
        "SS-DARTS-SepConv5": 3.545470,
    }
