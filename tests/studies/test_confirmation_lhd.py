"""The parts of the plan that train given networks: which, how, with what outcome.

Run: pytest tests/studies/test_confirmation_lhd.py
"""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from nasutils import Genotype, data
from nasutils.measures import comparisons
from nasutils.spaces.lhd_final import finalnet_parameters
from nasutils.studies import lhd_architectures
from nasutils.studies.confirmation import outcomes, page, plan
from nasutils.studies.confirmation.__main__ import main
from nasutils.studies.confirmation.campaign import Campaign
from nasutils.studies.confirmation.plan import Networks, Study, Trained
from nasutils.studies.lhd_benchmark.variants import Training
from nasutils.training.computation import Machine

PLAN = plan.read()
LHD = PLAN["lhd"]
AS_PILOT = Training(
    channels=8,
    cells=4,
    capacity=30_000,
    epochs=28,
    batch=32,
    auxiliary=0.0,
    images=2000,
    resolution=16,
)
FIRST = Trained("darts, trial 4", 1)
TINY = {
    **{
        "dataset": "digits",
        "resolution": 8,
        "images": 32,
        "test_images": 32,
        "channels": 4,
        "cells": 3,
    },
    **{
        "space": "lhd",
        "preset": "lhd-cifar10",
        "protocol": {"epochs": 1, "batch": 16, "auxiliary": 0.0},
    },
}
SMALL = {
    "registered": None,
    "settings": {"tiny": TINY, "absent": {**TINY, "dataset": "sha256:0"}},
    "arms": [
        {
            "name": "a",
            "block": 1,
            "setting": "tiny",
            "networks": {"space": "lhd", "numbers": "0-1"},
            "seeds": "1-2",
        },
        {
            "name": "b",
            "block": 1,
            "setting": "absent",
            "networks": {"space": "lhd", "numbers": 0},
            "seeds": 1,
        },
    ],
    "claims": {},
}


def untested(evaluation):
    """But for when it is tested."""
    protocol = {
        name: value
        for name, value in evaluation.protocol.items()
        if name not in ("test_late", "test_last")
    }
    return replace(evaluation, protocol=protocol)


@pytest.mark.parametrize("policy", ["base", "1m", "3ops", "4out"])
def test_released_architectures_are_trained_as_in_the_pilot(policy):
    """The plan's settings, written out, are what the study's own Training makes of them."""
    found = LHD.arm(f"CIFAR-10, {policy}").evaluations(LHD.settings)[FIRST]
    genotype = str(lhd_architectures.genotype("cifar10", "darts", 4, policy))
    assert untested(found) == untested(AS_PILOT.of(genotype, policy, "cifar10", 1))
    assert found.protocol["test_last"] and "test_late" not in found.protocol


def test_those_of_cifar100_are_sized_for_its_classes():
    """Its images are own data, which the plan names by their content."""
    study = PLAN["lhd_cifar100"]
    for policy in ("base", "1m"):
        found = study.arm(f"CIFAR-100, {policy}").evaluations(study.settings)[FIRST]
        genotype = str(lhd_architectures.genotype("cifar100", "darts", 4, policy))
        same = AS_PILOT.of(genotype, policy, "cifar100", 1)
        assert untested(replace(found, dataset="cifar100")) == untested(same)
        assert found.content == found.dataset and found.dataset.startswith("sha256:")


@pytest.mark.parametrize("space", ["lhd", "darts"])
def test_random_networks_are_trained_as_the_studys(space):
    arm = LHD.arm({"lhd": "random LHD", "darts": "random DARTS space"}[space])
    few = arm.model_copy(update={"networks": plan.Drawn(space=space, numbers=12)})
    (first, _) = few.evaluations(LHD.settings).values()
    assert untested(first) == untested(
        replace(AS_PILOT, images=640).drawn(space, 12, "cifar10", 1)
    )


def test_random_networks_of_equal_parameters_are_as_large_as_those_of_the_darts_space():
    arm = LHD.arm("random LHD, equal parameters")
    few = arm.model_copy(update={"networks": plan.Drawn(space="lhd", numbers="12-31"), "seeds": 1})
    sizes = [
        finalnet_parameters(Genotype.parse(e.genotype), e.channels, e.cells, 10)
        for e in few.evaluations(LHD.settings).values()
    ]
    assert np.mean(sizes) == pytest.approx(40_800, rel=0.03)


def test_the_plan_is_as_large_as_it_says_and_leaves_the_pilot_out():
    """Random cells 0 to 11 were the pilot's; no cell is drawn for two arms that differ in more."""
    arms = [arm for arm in LHD.arms if isinstance(arm, Networks)]
    counts = {arm.name: len(arm.networks.names()) * len(plan.seeds_of(arm.seeds)) for arm in arms}
    assert sum(counts.values()) == 360 + 60 + 1000
    assert all(min(plan.seeds_of(arm.seeds)) == 1 for arm in arms)
    drawn = [plan.seeds_of(a.networks.numbers) for a in arms if isinstance(a.networks, plan.Drawn)]
    assert [len(numbers) for numbers in drawn] == [15, 15, 200, 200, 100]
    assert min(map(min, drawn)) == 12 and drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])


@pytest.mark.parametrize("arm", ["CIFAR-10, base", "CIFAR-10, 1m"])
def test_more_random_networks_are_trained_as_the_released_ones(arm):
    """But for the cell, and under 1m the channels that bring it to the same size."""
    released, drawn = (
        next(iter(LHD.arm(name).evaluations(LHD.settings).values()))
        for name in (arm, f"{arm}, random draws")
    )
    same = replace(drawn, genotype=released.genotype, channels=released.channels)
    assert same == released and drawn.genotype != released.genotype
    sizes = [
        finalnet_parameters(Genotype.parse(e.genotype), e.channels, e.cells, 10)
        for name in (arm, f"{arm}, random draws")
        for e in LHD.arm(name).evaluations(LHD.settings).values()
        if name != arm or e.seed == 1
    ]
    assert arm == "CIFAR-10, base" or (min(sizes) >= 30_000 and max(sizes) < 41_000)


@pytest.mark.parametrize("part", ["lhd", "lhd_cifar100"])
def test_every_test_of_the_plan_can_be_computed_of_its_arms(part, monkeypatch):
    """On made-up accuracies of the arms' sizes: no claim fails when its last run arrives."""
    monkeypatch.setattr(comparisons, "DRAWS", 199)
    study, rng = PLAN[part], np.random.default_rng(0)
    monkeypatch.setattr(outcomes, "values", lambda run, names: {names[0]: run})
    results = outcomes.Results(study, {}, {})
    claims = study.claims["lhd_benchmark"]
    keys = {
        key for c in claims for h in c.tests for sample in results.samples(h) for key in sample
    }
    level = {(arm, which.cell): rng.normal(45, 2) for arm, which in sorted(keys)}
    results.networks = {
        (arm, which): rng.normal(level[arm, which.cell], 1) for arm, which in sorted(keys)
    }
    for hypothesis in (h for claim in claims for h in claim.tests):
        found = outcomes.finding(hypothesis, results)
        assert found.low <= found.estimate <= found.high and 0 <= found.p <= 1


def test_values_of_an_arm_lie_by_method_search_and_evaluation(monkeypatch):
    """The accuracy of method m, trial t, seed s is m + t / 10 + s / 100:
    DARTS over Random is 1, whatever the order.
    """
    monkeypatch.setattr(outcomes, "values", lambda run, names: {names[0]: run})
    results = outcomes.Results(LHD, {}, {})
    places = enumerate(LHD.arm("CIFAR-10, base").networks.names())
    results.networks = {
        ("CIFAR-10, base", Trained(name, seed)): i // 5 + i % 5 / 10 + seed / 100
        for i, name in places
        for seed in (2, 1)
    }
    hypothesis = plan.Hypothesis(
        test="over_control",
        of="final_accuracy",
        arms=["CIFAR-10, base"],
        method="milenas",
        interest=1,
    )
    found = outcomes.finding(hypothesis, results)
    assert found.estimate == pytest.approx(
        lhd_architectures.RELEASED_METHODS.index("milenas")
    ) and found.n == (
        5,
        5,
    )


def test_covariates_are_those_of_the_architectures():
    square, table = (
        lhd_architectures.column("cifar10", "params_base"),
        lhd_architectures.architectures(),
    )
    row = table.query("dataset == 'cifar10' and method == 'gdas' and trial == 2")
    assert square[lhd_architectures.RELEASED_METHODS.index("gdas"), 1] == row["params_base"].item()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": {"searched": "cifar10", "policy": "bse"}}, "did you mean 'base'"),
        ({"networks": {"space": "lhd", "numbers": "a"}}, "written 5-16 or 7"),
        ({"networks": {"space": "lhd"}}, "numbers"),
        ({"networks": {"space": "lhd", "numbers": 1}, "seeds": "x"}, "written 5-16 or 7"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, message):
    with pytest.raises(ValidationError, match=message):
        Study.model_validate({**SMALL, "arms": [{**SMALL["arms"][0], **change}]})


def test_given_networks_are_computed_once_and_those_without_images_wait(tmp_path, capsys):
    """And a damaged one is set aside and computed again, while the others stay."""
    campaign = Campaign(Study.model_validate(SMALL), Machine(tmp_path))
    campaign.compute(workers=1)
    text = campaign.status(1)
    assert (
        "left out, sha256:0: own data are read from where they lie" in text
        and text.count("left out, ") == 1
    )
    assert "4 of 5 runs finished" in text and len(campaign.results().networks) == 4
    assert text.endswith("about 1 h left on 1 processes once the images are there")
    assert "here --data says in which folder images lie" in text
    assert f"\n4 of the finished runs lie in {tmp_path}, the others in the repository\n" in text
    (run, *_) = [run for key, run in campaign.results().networks.items() if key[0] == "a"]
    (run.path / "result.json").write_text("{")
    again = Campaign(Study.model_validate(SMALL), Machine(tmp_path))
    assert "3 of 5 runs finished" in again.status(1)
    capsys.readouterr()
    again.compute(workers=1)
    out = capsys.readouterr().out
    assert (
        "4 of 5 runs finished" in out and out.count("finished:") == 1 and "number 0, seed 1" in out
    )
    assert (tmp_path / f"{run.path.name}.damaged").exists()


def test_own_data_that_the_plan_names_by_content_are_used_from_where_they_lie(tmp_path):
    rng = np.random.default_rng(0)
    images = {
        f"{part}images": rng.integers(0, 255, (32, 8, 8, 3), dtype=np.uint8)
        for part in ("", "test_")
    }
    labels = {f"{part}labels": np.arange(32) % 10 for part in ("", "test_")}
    np.savez(tmp_path / "own.npz", **images, **labels)
    name = data.content(str(tmp_path / "own.npz"))
    settings = {**SMALL["settings"], "absent": {**TINY, "dataset": name}}
    study = Study.model_validate({**SMALL, "settings": settings, "arms": [SMALL["arms"][1]]})
    campaign = Campaign(study, Machine(tmp_path / "runs"), own=[tmp_path / "own.npz"])
    campaign.compute(workers=1)
    later = Campaign(study, Machine(tmp_path / "runs"))
    assert len(later.results().networks) == 1 and "left out" not in later.status(1)


def test_nothing_of_a_part_is_computed_before_it_is_registered(monkeypatch, capsys):
    waiting = {"lhd": LHD.model_copy(update={"registered": None})}
    monkeypatch.setattr(plan, "read", lambda: waiting)
    monkeypatch.setattr("sys.argv", ["confirmation", "run", "--part", "lhd"])
    with pytest.raises(SystemExit):
        main()
    assert "is not registered yet" in capsys.readouterr().err


def test_the_page_says_what_the_pilot_of_the_released_architectures_said():
    """The numbers of the pilot: F(8, 36) = 7.7, DARTS over Random by 3.3 and, at equal size,
    by 5.2 points.
    """
    claims = {claim.claim: claim for claim in LHD.claims["lhd_benchmark"]}

    def said(name):
        return page._released_pilot(claims[name])

    assert said("5a discernible methods, base")[0].startswith(
        "released architectures: 0.871 [0.719, 0.928]"
    )
    assert said("5g better than chance, base")[0].startswith("released architectures: 3.29 [")
    assert said("5i1 DARTS, base") == said("5g better than chance, base")
    assert said("5h1 DARTS, equal size")[0].startswith("released architectures: 5.12 [")
    for untrained in (
        "5h2 MiLeNAS, equal size",
        "5c discernible methods, new searches",
        "10 size",
    ):
        assert said(untrained) == []


def test_the_pilot_is_that_of_the_released_architectures():
    methods = lhd_architectures.pilot_by_method()
    found = {policy: np.stack([*rows.values()]) for policy, rows in methods.items()}
    assert {name: square.shape for name, square in found.items()} == {"base": (9, 5), "1m": (3, 5)}
    assert found["base"].mean(axis=1).round(1).tolist() == pytest.approx(
        [44.3, 47.6, 46.9, 47.0, 43.5, 45.7, 44.6, 43.7, 47.0]
    )
    assert set(lhd_architectures.RELEASED_METHODS) == set(
        lhd_architectures.architectures()["method"]
    )


def test_a_campaign_is_spread_over_gpus_or_a_cluster(monkeypatch):
    asked = []
    monkeypatch.setattr(Campaign, "compute", lambda campaign, **how: asked.append(how))
    options = ["--workers", "64", "--engine", "ray", "--gpus", "0.125", "--device", "cuda"]
    monkeypatch.setattr("sys.argv", ["confirmation", "run", *options])
    main()
    assert asked == [{"workers": 64, "engine": "ray", "gpus": 0.125}]
