"""The LHD benchmark: budgets against the authors' code, which runs there are,
and results of made-up runs.

Run: pytest tests/studies/test_lhd_benchmark.py
"""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from nasutils import Genotype, methods, spaces
from nasutils.report import claims, plots, widgets
from nasutils.runs import Run
from nasutils.spaces.lhd_final import finalnet_parameters
from nasutils.studies.lhd_benchmark import CLAIMS, own_figures, readings
from nasutils.studies.lhd_benchmark import figures as draw
from nasutils.studies.lhd_benchmark import results as lhd_results
from nasutils.studies.lhd_benchmark import tables as lhd_tables
from nasutils.studies.lhd_benchmark import variants as study
from nasutils.studies.lhd_benchmark.results import Results
from nasutils.studies.lhd_benchmark.variants import METHODS, FinalKey, SearchKey, Training
from nasutils.sweep.launch import name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import protocol_of

LHD = spaces.get("lhd")
SETTING = {"resolution": 8, "evaluation": 8, "channels": 4, "cells": 3, "precision": "float64"}
# chaoji90/LHD, search/: batch, weight rate, what it ends at, images for the weights, steps
# per epoch on CIFAR.
SHEET = {
    "DARTS": (176, 0.025, 3e-4, 25_000, 143),
    "MiLeNAS": (176, 0.025, 3e-4, 25_000, 143),
    "SP-DARTS": (176, 0.025, 0.025, 25_000, 143),
    "PC-DARTS": (576, 0.1, 0.0, 25_000, 44),
    "GDAS": (256, 0.05, 3e-4, 25_000, 98),
    "DrNAS": (176, 0.025, 3e-4, 25_000, 143),
    "GAEA-bilevel": (176, 0.025, 3e-4, 25_000, 143),
    "GAEA-ERM": (176, 0.025, 3e-4, 50_000, 285),
    "DARTS-": (176, 0.025, 3e-4, 25_000, 143),
    "Beta-DARTS": (128, 0.025, 3e-4, 25_000, 196),
    "SurgeNAS": (160, 0.025, 3e-4, 50_000, 313),
}


@pytest.mark.parametrize("label", SHEET)
def test_released_budgets_are_those_of_the_authors_code(label):
    b = study.budget(label)
    assert (b.batch, b.weight_lr, b.weight_lr_end, b.images, b.updates // b.epochs) == SHEET[label]
    assert b.epochs == 50 and study.budget(label, preset="released").alpha_from == (
        15 if label == "PC-DARTS" else 0
    )


def test_equal_budgets_are_equal():
    found = {
        label: study.budget(label, "equal", batch=32, images=500, epochs=10) for label in SHEET
    }
    assert {(b.batch, b.weight_lr, b.images, b.split, b.updates) for b in found.values()} == {
        (32, 0.025, 500, "half", 160)
    }
    assert {label for label, b in found.items() if b.weight_lr_end != 3e-4} == {"SP-DARTS"}
    assert (
        found["PC-DARTS"].alpha_from == 3
        and found["DrNAS"].alpha_from == 2
        and found["PC-DARTS"].alpha_updates == 112
    )
    assert (
        found["DARTS"].passes == 10_000
        and found["GAEA-ERM"].passes == 5_000
        and found["PC-DARTS"].passes == 8_500
    )


def test_random_has_no_budget_and_small_batches_stay_in_proportion():
    assert (study.budget("Random").updates, study.budget("Random").passes) == (0, 0)
    assert study.budget("PC-DARTS", batch=44, images=1000).batch == 144
    assert study.budget("PC-DARTS", batch=44, images=100).batch == 100
    with pytest.raises(ValueError, match="budget"):
        study.budget("DARTS", "fair")


def all_searches(**changes):
    setting = {"batch": 16, "images": 32, "epochs": 2, "preset": "published", **SETTING, **changes}
    return study.searches(METHODS, ["cifar10", "svhn"], [0, 1], study.BUDGETS, **setting)


def test_searches_whose_budgets_coincide_are_one_run():
    searches = all_searches()
    assert len(searches) == 2 * 12 * 2 * 2
    differ = {
        key.method
        for key, e in searches.items()
        if key.budget == "equal"
        and name_of(e) != name_of(searches[key._replace(budget="released")])
    }
    assert differ == {"GAEA-ERM", "GDAS", "PC-DARTS", "Beta-DARTS", "SurgeNAS"}
    assert searches[SearchKey("released", "DARTS", "svhn", 0)].recipe["augment"] is False
    assert "augment" not in searches[SearchKey("released", "DARTS", "cifar10", 0)].recipe


@pytest.mark.parametrize("label", METHODS)
def test_every_method_can_be_searched_and_gives_four_cells(label, tmp_path):
    key = SearchKey("released", label, "digits", 0)
    searches = study.searches(
        [label],
        ["digits"],
        [0],
        ["released"],
        batch=16,
        images=16,
        epochs=1,
        preset="published",
        **SETTING,
    )
    run = searches[key].run(Machine(tmp_path))
    found = study.cells({key: (searches[key], run)})
    assert [policy for _, policy in found] == ["base", "1m", "3ops", "4out"]
    assert found[key, "base"] == found[key, "1m"] == run.result["genotype"]
    assert {len(cell.output) for cell in Genotype.parse(found[key, "4out"]).cells} == {4}
    size = Training(channels=4, cells=4, capacity=9000).size(found[key, "1m"], "1m", 10)
    assert (
        size[1] == 5 and finalnet_parameters(Genotype.parse(found[key, "1m"]), *size, 10) >= 9000
    )


def test_missing_images_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NASUTILS_DATA", str(tmp_path))
    machine = Machine(tmp_path, data=tmp_path)
    tasks = {
        SearchKey("equal", "DARTS", name, 0): Experiment(dataset=name)
        for name in ("digits", "svhn", "cifar10")
    }
    assert study.at_hand(tasks, machine) == (["digits"], ["svhn", "cifar10"])
    home = tmp_path / name_of(tasks["equal", "DARTS", "svhn", 0])
    home.mkdir()
    (home / "params.json").write_text(json.dumps(tasks["equal", "DARTS", "svhn", 0].params()))
    (home / "result.json").write_text("{}")
    assert study.at_hand(tasks, machine) == (["digits", "svhn"], ["cifar10"])


def test_a_step_is_timed_once(tmp_path, monkeypatch):
    sizes = {"channels": 4, "cells": 3, "resolution": 8, "batch": 2}
    first = lhd_results.step_seconds(Machine(tmp_path), **sizes, repeats=2)
    assert list(first) == ["lhd", "darts"] and len(first) == 2 and (first > 0).all(axis=None)
    monkeypatch.setattr(lhd_results, "_seconds", None)
    pd.testing.assert_frame_equal(
        lhd_results.step_seconds(Machine(tmp_path), **sizes, repeats=2), first
    )


def genotypes(seeds=(0, 1), budgets=study.BUDGETS, datasets=("cifar10", "cifar100")):
    """Cells of random mixing weights in place of searches."""
    found = {}
    for i, method in enumerate(METHODS):
        for d, dataset in enumerate(datasets):
            for seed in seeds:
                mix = methods.get("random", LHD, seed=1000 * i + 10 * d + seed).inference()
                for budget in budgets:
                    key = SearchKey(budget, method, dataset, seed)
                    found |= {
                        (key, policy): str(LHD.discretize(mix, policy))
                        for policy in study.POLICY_NAMES
                    }
    return found


def keys_of(**changes):
    setting = {"proxy_cells": 5, "proxy_factor": 4, "random_networks": 3, **changes}
    return study.evaluations(
        genotypes(), Training(channels=4, cells=4, capacity=60_000, epochs=6), [0, 1], **setting
    )


def test_which_networks_are_trained():
    table = pd.DataFrame(keys_of().keys())
    counts = table.groupby("kind").size()
    own = 12 * 2 * 2 * 4  # methods, data sets, seeds, policies
    # second evaluation seed, second budget, other data set
    assert counts["final"] == own + 12 * 2 * 2 * (1 + 1 + 1)
    assert (counts["released"], counts["long"], counts["random"]) == (12 * 2, 5, 2 * 3 * 2)
    assert set(table[table["searched"] != table["target"]]["policy"]) == {"base"}
    assert len(keys_of(transfer=False)) == len(table) - 48


def test_protocols_are_those_of_the_data_set_and_policy():
    found = keys_of()
    key = FinalKey("final", "released", "DARTS", "cifar100", "cifar100", "1m", 0, 0)
    assert (
        found[key].preset == "lhd-cifar100-1m"
        and found[key].cells == 5
        and found[key].channels > 4
    )
    tested = found[FinalKey("released", "released", "DARTS", "cifar100", "cifar100", "base", 0, 0)]
    assert protocol_of(tested).test_augmented and not protocol_of(found[key]).test_augmented
    longer = found[FinalKey("long", "released", "DARTS", "cifar10", "cifar10", "base", 0, 0)]
    assert protocol_of(longer).epochs == 24 and protocol_of(found[key]).epochs == 6
    assert all(protocol_of(e).test_late for e in found.values())


def made_up(quality, seeds=(0, 1, 2, 3, 4), noise=0.0, proxy_cells=12, random_networks=6):
    """Results whose accuracies are quality(key), plus noise, as from finished runs."""
    texts = genotypes(seeds)
    draws = np.random.default_rng(0)
    training = Training(channels=4, cells=4, capacity=9000)
    tasks = study.evaluations(
        texts, training, [0, 1], proxy_cells=proxy_cells, random_networks=random_networks
    )
    runs = {}
    for i, key in enumerate(tasks):
        accuracy = quality(key) + noise * draws.standard_normal()
        result = {
            "test_accuracy": accuracy,
            "best_test_accuracy": accuracy + 0.5,
            "params": 1e5,
            "macs": 1e6,
        }
        runs[key] = SimpleNamespace(
            sound_result={
                **result,
                "genotype": texts.get((SearchKey(*key[1:4], key.seed), key.policy), ""),
            },
            records=[{"cost": {"seconds": float(i % 7)}}],
        )
    record = {"cost": {"seconds": 30.0, "peak_memory_bytes": 2**30}}
    searched = {
        key: (Experiment(), SimpleNamespace(result={}, records=[record])) for key, _ in texts
    }
    steps = pd.DataFrame({"lhd": [1.0, 1.1, 0.9, 1.0, 1.0], "darts": [2.0, 2.2, 1.9, 2.0, 2.1]})
    return Results.of(searched, runs, steps, ["svhn"])


def test_a_damaged_training_is_left_out(tmp_path):
    (tmp_path / "result.json").write_text("{")
    key = FinalKey(*range(len(FinalKey._fields)))
    assert Results.of({}, {key: Run(tmp_path)}, pd.DataFrame()).finals.empty


def by_method(key):
    """The same order everywhere; random networks: LHD wide, the DARTS space narrow."""
    if key.kind == "random":
        return 50 + 5 * key.seed if key.method == "lhd" else 80 + 0.5 * key.seed
    return 50.0 + 3 * list(METHODS).index(key.method) + 2 * (key.kind == "long")


def by_transfer(key):
    """A cell is two points better where it was searched."""
    return by_method(key) + 2 * (key.searched == key.target)


def by_policy(key):
    """The order is turned round by each second policy, and the same on all data sets."""
    if key.kind == "random":
        return 50.0 + 0.1 * key.seed
    place = list(METHODS).index(key.method)
    return 50.0 + 3 * (11 - place if key.policy in ("3ops", "4out") else place)


def test_a_clear_order_gives_clear_tables():
    results = made_up(by_method, noise=0.2)
    table, test = lhd_tables.rank_table(results)
    assert table["method"].tolist() == list(METHODS)[::-1] and table["rank"].tolist() == list(
        range(1, 13)
    )
    assert test["conditions"] == 8 and test["difference"] < 11 and test["p"] == 1 / 5000
    assert table.set_index("method").loc["SurgeNAS", "cifar10"] == pytest.approx(33, abs=0.5)
    assert (table["cifar100_low"].dropna() > 0).all() and table["first"].tolist() == [8] + 11 * [0]
    assert lhd_tables.discernibility_table(results)["told_apart"].min() == 1
    agreement = lhd_tables.agreement_table(results).set_index("rankings differ in")
    assert agreement.loc[["policy", "data set", "both"], "tau"].tolist() == [1, 1, 1]
    assert agreement["single"].min() > 0.9 and math.isnan(agreement.loc["search seed only", "tau"])
    main = lhd_tables.main_table(results)
    assert len(main) == 12 * 12 and main["n"].tolist().count(0) == 12 * 4
    wide = lhd_tables.wide(main)
    assert len(wide) == 12 and list(wide)[1:3] == ["cifar10, base", "cifar10, 1m"]
    assert not any(column.startswith("svhn") for column in wide)
    assert lhd_tables.budget_agreement(results)["tau"].tolist() == [1, 1]
    assert lhd_tables.proxy_agreement(results)["value"].tolist() == [1, 1]
    effects = lhd_tables.protocol_table(results)
    assert effects["selection"].tolist() == pytest.approx([0.5, 0.5]) and effects[
        "n"
    ].tolist() == [12, 12]


def test_claims_on_made_up_results():
    clear = claims.verdicts(CLAIMS, made_up(by_method, noise=0.2), "laptop").set_index("claim")
    assert clear.loc[
        ["1 narrow", "3 accessible", "5 discernible methods", "2 harder"], "verdict"
    ].tolist() == [
        *["supported"] * 3,
        "inconclusive",
    ]
    assert set(clear.loc[["6 policies", "7 data sets"], "verdict"]) <= {
        "inconclusive",
        "not supported",
    }
    turned = claims.verdicts(CLAIMS, made_up(by_policy, noise=0.2), "laptop").set_index("claim")
    assert turned.loc["6 policies", "verdict"] == "supported"
    assert turned.loc["7 data sets", "verdict"] != "supported"
    few = claims.verdicts(CLAIMS, made_up(by_policy, (0, 1), 0.2), "laptop").set_index("claim")
    assert few.loc["6 policies", "verdict"] == "inconclusive"


def test_agreement_between_policies_by_hand():
    """base and 1m against 3ops and 4out: of 6 pairs of policies 2 agree and 4 are reversed."""
    results = made_up(by_policy)
    agreement = lhd_tables.agreement_table(results).set_index("rankings differ in")
    assert agreement.loc["policy", "tau"] == pytest.approx((2 - 4) / 6)
    assert agreement.loc["policy", "single"] == pytest.approx((2 - 4) / 6)
    assert agreement.loc["data set", "tau"] == agreement.loc["search seed only", "single"] == 1


def test_effects_of_the_released_evaluation_have_their_sign():
    """Tested as released an accuracy is one point lower here; the best is always 0.5 higher."""
    results = made_up(lambda key: by_method(key) - (key.kind == "released"), (0, 1))
    effects = lhd_tables.protocol_table(results)[["selection", "images", "both"]]
    assert effects.to_numpy().tolist() == [pytest.approx([0.5, -1.0, -0.5])] * 2


def test_noise_between_evaluations_and_between_searches_by_hand():
    """Evaluations of seed 0 differ by 2 and of seed 1 by 4; means of the searches by 7, and by 6
    under the second budget, which has the first evaluation alone.
    """
    results = made_up(lambda key: 50.0 + 2 * key.eval_seed * (1 + key.seed) + 6 * key.seed, (0, 1))
    table = lhd_tables.noise_table(results)
    assert table["evaluation_seeds"].tolist() == pytest.approx([math.sqrt((2 + 8) / 2)] * 2)
    assert table["search_seeds"].tolist() == pytest.approx([math.sqrt((49 + 36) / 4)] * 2)


def test_the_interval_of_a_contrast_is_that_of_resampled_networks():
    """Of means: nearly that of the difference of two independent means."""
    results = made_up(by_method, (0, 1))
    found = lhd_results.contrast(results, lambda networks: float(networks.mean()))
    lhd, darts = (results.drawn(space).mean(axis=1) for space in lhd_results.SPACES)
    half = 1.96 * math.sqrt(lhd.var() / len(lhd) + darts.var() / len(darts))
    assert found.mean == pytest.approx(lhd.mean() - darts.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_separable_networks_by_hand():
    """Noise sqrt(2), as repeats differ by 2;
    t(3) sqrt(2) sqrt(2 / 2) = 4.50: of the differences 4, 20, 24 two.
    """
    scores = np.array([[0.0, 2.0], [4.0, 6.0], [24.0, 26.0]])
    assert lhd_results.separable(scores) == pytest.approx(2 / 3)
    assert math.isnan(lhd_results.separable(scores[:, :1]))


def test_a_random_network_with_an_evaluation_missing_is_left_out():
    results = made_up(by_method)
    whole = results.drawn("lhd")
    table = results.finals
    lost = table[(table["kind"] == "random") & (table["method"] == "lhd")].index[0]
    fewer = replace(results, finals=table.drop(index=lost)).drawn("lhd")
    assert len(fewer) == len(whole) - 1 and not np.isnan(fewer).any()


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_every_figure_of_our_own_searches_can_be_drawn(seeds):
    results = made_up(by_method, seeds, noise=2.0)
    figures = [draw.sketch(), draw.released(), draw.spread(results.random())]
    figures += [draw.transfer(lhd_tables.transferred(results)), own_figures.ranks(results)]
    figures += [own_figures.budgets(results), own_figures.proxy(results)]
    figures += [own_figures.found_cell(results, "DARTS")]
    for figure, table in figures:
        figure.canvas.draw()
        assert len(table)
        plt.close(figure)
    assert len(lhd_tables.spaces_table(results)) == 2 and len(lhd_tables.noise_table(results)) == 2
    assert len(lhd_tables.cost_table(results)) == 24


def test_figures_of_our_own_searches_are_read():
    results = made_up(by_method, noise=0.2)
    text = readings.ranks(results)
    assert "from 1.0 (SurgeNAS) to 12.0 (Random)" in text and "Random is number 12." in text
    assert "p of 0.0002" in text
    moved = readings.transfer(lhd_tables.transferred(made_up(by_transfer)))
    assert (
        "better than those searched on CIFAR-100 in all 11 methods, Random not counted (mean"
        " difference +2.0 points)" in moved
    )
    assert (
        "Trained on CIFAR-100, the architectures that were searched there are better than" in moved
    )
    spread = readings.spread(results.random())
    assert "LHD: 62.5 % in the mean, deviation 9.4 points" in spread and "(n = 6)" in spread


def test_with_one_data_set_nothing_is_transferred():
    results = made_up(by_method, (0, 1))
    alone = results.finals[results.finals["target"] == results.finals["searched"]]
    assert lhd_tables.transferred(Results(results.searches, alone, results.steps)).empty


def test_conditions_that_are_not_complete_have_no_ranks():
    results = made_up(by_method, (0, 1))
    of_random = results.finals["method"] == "Random"
    missing = (results.finals["policy"] == "4out") & of_random & results.finals["kind"].eq("final")
    partly = Results(results.searches, results.finals[~missing], results.steps)
    table = lhd_tables.condition_ranks(partly)
    assert set(table["policy"]) == {"base", "1m", "3ops"} and table["rank"].notna().all()
    _, chance = lhd_tables.rank_table(partly)
    assert chance["conditions"] == len(table[["dataset", "policy"]].drop_duplicates())


def test_the_widget_moves_one_figure_for_some_conditions(monkeypatch):
    results = made_up(by_policy)
    shown, figures, panels = [f"{d}, {p}" for d, p in results.conditions], [], plots.panels
    monkeypatch.setattr(
        widgets.plots, "panels", lambda *a, **k: figures.append(made := panels(*a, **k)) or made
    )
    box = widgets.ranking_explorer(shown, results.methods, results.ranks())
    ((_, axes),) = figures
    before, limits = box.children[1].value, (axes[0, 0].get_xlim(), axes[0, 0].get_ylim())
    box.children[0].value = (shown[2],)
    assert box.children[1].value != before and len(figures) == 1
    assert (axes[0, 0].get_xlim(), axes[0, 0].get_ylim()) == limits
    assert axes[0, 0].get_title(loc="right") == "1 of 8 conditions"
    at = {
        line.get_ydata()[0]: line.get_xdata()[0]
        for line in axes[0, 0].lines
        if line.get_marker() == "h"
    }
    assert [*at.values()] == [1]  # Random is first under 3ops
    box.children[0].value = ()
    assert box.children[1].value == before


def test_the_toy_node_is_derived_as_a_search_is():
    """Two operations of one edge survive, which no rule of one operation per edge would keep."""
    toy = lhd_tables.toy()
    assert toy["formula"].tolist() == pytest.approx(toy["autograd"].tolist(), abs=1e-12)
    assert toy["p"].sum() == pytest.approx(1)
    kept = toy.sort_values("p", ascending=False)
    assert (kept["base"] == "kept").tolist() == [True] * 2 + [False] * 12
    assert (kept["3ops"] == "kept").tolist() == [True] * 3 + [False] * 11
    assert set(kept["edge"][kept["base"] == "kept"]) == {"from the sum"}
    nodes = lhd_tables.toy_outputs()
    assert ((nodes["beta"] > 0.2) == (nodes["sum, base"] == "yes")).all()
    assert ((nodes["gamma"] > nodes["gamma"].mean()) == (nodes["concat, base"] == "yes")).all()
    assert (nodes[["sum, 4out", "concat, 4out"]] == "yes").sum().tolist() == [4, 4]
    assert "`base` keeps max pool 3x3 from the sum and skip connect from the sum" in readings.toy(
        toy
    )


def test_without_random_networks_and_longer_trainings_the_rest_works():
    results = made_up(by_method, (0, 1), proxy_cells=0, random_networks=0)
    assert lhd_tables.spaces_table(results)["networks"].tolist() == [0, 0]
    assert lhd_tables.proxy_agreement(results)["n"].tolist() == [0, 0]
    verdicts = claims.verdicts(CLAIMS, results, "paper").set_index("claim")
    assert verdicts.loc["1 narrow", "verdict"] == "inconclusive"


def test_marks_of_the_methods_are_distinct():
    assert len({plots.look(method)["marker"] for method in METHODS}) == len(METHODS) == 12


def test_a_failed_search_leaves_a_gap():
    results = made_up(by_method)
    gap = results.finals[
        ~((results.finals["method"] == "GDAS") & (results.finals["target"] == "cifar10"))
    ]
    table, test = lhd_tables.rank_table(Results(results.searches, gap, results.steps))
    assert test["conditions"] == 4 and len(table) == 12


def test_the_last_mix_of_a_search_is_what_is_discretized(tmp_path):
    first, last = (methods.get("random", LHD, seed=seed).inference() for seed in (2, 3))
    with (tmp_path / "records.jsonl").open("w") as file:
        for mix in (first, last):
            rows = {name: weights.tolist() for name, weights in mix.items()}
            file.write(json.dumps({"mix": rows}) + "\n")
    found = study.final_mix(Experiment(space="lhd"), Run(tmp_path))
    assert all(torch.equal(found[name], last[name]) for name in last)
