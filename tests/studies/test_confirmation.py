"""The plan of the confirmatory study, what it refuses, its runs and its outcomes.

Run: pytest tests/studies/test_confirmation.py
"""

import math
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from nasutils import paths
from nasutils.measures import searches
from nasutils.measures.estimates import Estimate, Finding
from nasutils.methods import schedules
from nasutils.report.claims import Claim
from nasutils.runs import UNKNOWN, Run, key, stamp
from nasutils.spaces import nasbench201_table
from nasutils.studies import bypass_leakage, lr_swap, sparsification
from nasutils.studies.confirmation import campaign as campaigns
from nasutils.studies.confirmation import figures, machines, outcomes, page, plan
from nasutils.studies.confirmation.__main__ import main
from nasutils.studies.confirmation.campaign import Campaign
from nasutils.studies.confirmation.outcomes import REFUTED, SUPPORTED, UNRESOLVED
from nasutils.studies.confirmation.plan import Hypothesis, Study
from nasutils.studies.lr_swap import claims as lr_swap_claims
from nasutils.training.computation import Machine

PLAN = plan.read()
SEARCHES, LHD = PLAN["searches"], PLAN["lhd"]
PROXY = {"batch": 32, "split": "nasbench201"}
TINY = {
    **{
        "dataset": "digits",
        "resolution": 8,
        "images": 32,
        "evaluation": 32,
        "channels": 4,
        "cells": 1,
        "epochs": 2,
    },
    "recipe": {"batch": 16, "split": "half"},
}
SMALL = {
    "registered": None,
    "settings": {"tiny": TINY},
    "arms": [
        {
            "name": "DARTS",
            "block": 1,
            "setting": "tiny",
            "search": {"method": "darts"},
            "parts": [{"seeds": "5-7"}],
        },
        {
            **{"name": "S2", "block": 1, "setting": "tiny", "parts": [{"seeds": 5}]},
            "search": {"method": "darts", "space": "s2", "cells": 3},
            "final": {
                "images": 32,
                "test_images": 32,
                "channels": 4,
                "cells": 3,
                "protocol": {"epochs": 1},
            },
        },
    ],
    "claims": {
        "paper": [
            {
                **{"claim": "1", "sentence": "a", "statistic": "b", "role": "primary"},
                "tests": [
                    {
                        "test": "centre",
                        "of": "gap",
                        "arms": ["DARTS"],
                        "interest": 0,
                        "at_least": 3,
                    }
                ],
            }
        ]
    },
}


def changed(**fields):
    return Study.model_validate({**SMALL, **fields})


def claim(*tests, role="primary", name="1"):
    return {"claim": name, "sentence": "a", "statistic": "b", "role": role, "tests": list(tests)}


def finding(low, high, p):
    return Finding((low + high) / 2, low, high, p, (20,))


# The plan


def test_the_plan_is_large_enough():
    """At least 300 new searches on NAS-Bench-201 and 80 on S2 and S4,
    none with a seed of the pilot.
    """
    found = [search for _, _, search in SEARCHES.searches()]
    assert (
        sum(s.space == "nasbench201" and s.resolution == 16 and s.images == 2000 for s in found)
        >= 300
    )
    assert sum(s.space in ("s2", "s4") for s in found) == 80
    assert min(s.seed for s in found) == 5
    assert len({key(s.params()) for s in found}) == len(found)


@pytest.mark.parametrize(
    ("study", "arms"),
    [
        (
            sparsification.VARIANTS,
            ["DARTS", "small T", "small T + noisy", "linear", "PCD", "EDD, open loop", "EDD"],
        ),
        (bypass_leakage.VARIANTS, ["DARTS", "SP-DARTS", "never sparse"]),
        (lr_swap.VARIANTS, ["DARTS", "EX-DARTS", "alpha decay x 10", "warm-up 10"]),
    ],
)
def test_arms_are_the_variants_of_the_pilot(study, arms):
    """But for seeds and what is measured: so the one and only difference between pilot and
    confirmation is the seed.
    """
    sizes = {
        name: SEARCHES.settings["proxy"][name]
        for name in ("images", "evaluation", "channels", "cells", "epochs")
    }
    for arm in arms:
        _, search = next(iter(SEARCHES.arm(arm).experiments(SEARCHES.settings).items()))
        same = study[arm].experiment(PROXY, seed=5, dataset="cifar10", resolution=16, **sizes)
        measured = ("judge_every", "held_out", "probe_every", "eigenvalue_every")
        assert {n: v for n, v in vars(search).items() if n not in measured} == {
            n: v for n, v in vars(same).items() if n not in measured
        }


def test_the_linear_control_of_equal_dose_has_the_mean_log_temperature_of_pcd():
    top = SEARCHES.arm("linear, equal dose").search["options"]["top"]
    dose = [
        np.mean([math.log(t(e)) for e in range(50)])
        for t in (
            lambda e: schedules.pcd_temperature(e, 0.11, 5),
            lambda e: schedules.linear_temperature(e, 5, top),
        )
    ]
    assert dose == pytest.approx([-5.462, -5.462], abs=5e-4)


def test_arms_of_a_block_are_computed_by_turns():
    first = [(arm.name, seed) for arm, seed, _ in SEARCHES.searches()][:4]
    assert first == [("DARTS", 5), ("SP-DARTS", 5), ("DARTS", 6), ("SP-DARTS", 6)]


def test_an_unknown_arm_is_told_the_nearest():
    with pytest.raises(ValueError, match="unknown arm 'DARTSS'.*did you mean 'DARTS'"):
        plan.read()["searches"].arm("DARTSS")


def test_pilot_claims_that_are_named_exist():
    known = {
        "sparsification": sparsification.CLAIMS,
        "bypass_leakage": bypass_leakage.CLAIMS,
        "lr_swap": lr_swap_claims.CLAIMS,
    }
    for paper, claims in SEARCHES.claims.items():
        assert {name for c in claims for name in c.pilot} <= {c.name for c in known[paper]}


@pytest.mark.parametrize("part", ["searches", "on_a_cpu"])
def test_every_test_of_the_plan_can_be_computed_of_its_arms(part):
    """On made-up values of the arms' sizes: no claim fails when its last run arrives."""
    rng = np.random.default_rng(0)
    study = plan.read()[part]
    for hypothesis in (h for claims in study.claims.values() for c in claims for h in c.tests):
        sizes = [
            sum(len(plan.chosen(hypothesis, study.arm(a))) for a in group)
            for group in hypothesis.groups()
        ]
        binary = hypothesis.test.startswith("share")
        arms = [rng.random(n).round() if binary else rng.uniform(-0.9, 0.9, n) for n in sizes]
        found = plan.TESTS[hypothesis.test](arms, hypothesis.above)
        assert not (
            found.low > found.estimate or found.high < found.estimate or math.isinf(found.estimate)
        )
        assert math.isnan(found.p) == (hypothesis.test == "described")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {
                "claims": {
                    "p": [claim({"test": "t", "of": "gap", "arms": ["DARTS"], "interest": 0})]
                }
            },
            "unknown test 't'",
        ),
        (
            {
                "claims": {
                    "p": [claim({"test": "mean", "of": "gapp", "arms": ["DARTS"], "interest": 0})]
                }
            },
            "mean 'gap'",
        ),
        (
            {
                "claims": {
                    "p": [claim({"test": "mean", "of": "gap", "arms": ["DRTS"], "interest": 0})]
                }
            },
            "mean 'DARTS'",
        ),
        (
            {
                "claims": {
                    "p": [claim({"test": "mean", "of": "gap", "arms": ["DARTS"], "interest": 0})]
                }
            },
            "6 needed",
        ),
        (
            {
                "claims": {
                    "p": [
                        claim({"test": "mean", "of": "accuracy", "arms": ["DARTS"], "interest": 0})
                    ]
                }
            },
            "10 needed",
        ),
        (
            {"claims": {"p": [claim({"test": "mean", "of": "gap", "arms": ["DARTS"]})]}},
            "smallest effect of interest",
        ),
        ({"arms": [SMALL["arms"][0]] * 2}, "names of arms must differ"),
        (
            {"arms": [{**SMALL["arms"][0], "parts": [{"seeds": "5-7"}, {"seeds": 6}]}]},
            r"must differ: \[6\]",
        ),
        ({"arms": [{**SMALL["arms"][0], "parts": [{"seeds": "5 to 7"}]}]}, "written 5-16 or 7"),
        ({"sedes": 3}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, message):
    with pytest.raises(ValidationError, match=message):
        changed(**change)


# Registration


@pytest.mark.parametrize("part", PLAN)
def test_what_was_registered_is_unchanged(part):
    if PLAN[part].registered is None:
        pytest.skip("the part is not registered yet")
    if not _has(PLAN[part].registered):
        pytest.skip("a clone without the history that holds the registered commit")
    assert plan.changes(part) == []


def _has(commit):
    found = subprocess.run(
        ["git", "-C", paths.ROOT, "cat-file", "-e", commit], capture_output=True, check=False
    )
    return found.returncode == 0


def git(folder, *arguments):
    """What git says in a clone."""
    settings = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", folder, *settings, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A clone with a plan, registered in its second commit;
    returns a function that commits a text of the plan.
    """
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    plan.later_commits.cache_clear()

    def commit(study):
        file = tmp_path / plan.FILE
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump({"searches": study}))
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-m", "plan", "--allow-empty")
        return git(tmp_path, "rev-parse", "--short=12", "HEAD")

    git(tmp_path, "init", "-q")
    yield commit
    plan.later_commits.cache_clear()


def test_a_change_of_any_field_of_the_plan_is_found(repository, tmp_path):
    before = repository(SMALL)
    (test,) = SMALL["claims"]["paper"][0]["tests"]
    fixed = {
        "settings": {"tiny": {**TINY, "epochs": 3}},
        "arms": [{**SMALL["arms"][0], "parts": [{"seeds": "5-8"}]}, SMALL["arms"][1]],
        "claims": {"paper": [claim({**test, "interest": 1})]},
    }
    free = {"deviations": ["one seed less"], "remarks": {"paper": {"1": "Or so."}}}
    assert Study.model_fields.keys() == {"registered"} | fixed.keys() | free.keys()
    for field, value in fixed.items():
        repository({**SMALL, "registered": before, field: value})
        assert plan.changes("searches", tmp_path / plan.FILE) == [field]
    repository({**SMALL, "registered": before, **free})
    assert plan.changes("searches", tmp_path / plan.FILE) == []


def test_runs_count_from_the_registered_commit_on(repository):
    before, registered, after = (
        repository(SMALL),
        repository({**SMALL, "deviations": ["x"]}),
        repository(SMALL),
    )
    assert (
        plan.refusal({"commit": registered}, registered)
        is plan.refusal({"commit": after}, registered)
        is None
    )
    assert "not built on" in plan.refusal({"commit": before}, registered)
    assert "in no commit" in plan.refusal({"commit": f"{after}-dirty"}, registered)
    assert "unknown" in plan.refusal({}, registered)
    resumed = {"commit": after, "before": [{"commit": registered}, {"commit": before}]}
    assert f"commit {before}" in plan.refusal(resumed, registered)


def test_runs_of_a_branch_that_was_merged_later_do_not_count(repository, tmp_path):
    """Its commits are in the history, but not built on the registered one."""
    before = repository(SMALL)
    git(tmp_path, "checkout", "-q", "-b", "beside")
    beside = repository({**SMALL, "deviations": ["beside"]})
    git(tmp_path, "checkout", "-q", before)
    registered = repository({**SMALL, "deviations": ["x"]})
    git(tmp_path, "merge", "-q", "-s", "ours", "-m", "merge", beside)
    after = repository(SMALL)
    assert plan.refusal({"commit": after}, registered) is None
    assert "not built on" in plan.refusal({"commit": beside}, registered)


# Outcomes


@pytest.mark.parametrize(
    ("interest", "low", "high", "p", "expected"),
    [
        (1.0, 2.0, 4.0, 0.001, SUPPORTED),
        (1.0, -0.5, 0.9, 0.1, REFUTED),
        (1.0, 0.1, 0.9, 0.001, REFUTED),  # there, but too small to matter
        (1.0, -1.0, 3.0, 0.1, UNRESOLVED),
        (1.0, 0.1, 3.0, 0.03, UNRESOLVED),
    ],
)
def test_three_outcomes(interest, low, high, p, expected):
    study = changed(
        claims={"p": [claim({**SMALL["claims"]["paper"][0]["tests"][0], "interest": interest})]}
    )
    assert outcomes._outcome(study.claims["p"][0], [finding(low, high, p)], p) == expected


@pytest.mark.parametrize("turn", [1, -1])
def test_one_of_two_tests_refutes_a_claim(turn):
    (test,) = SMALL["claims"]["paper"][0]["tests"]
    study = changed(claims={"p": [claim(test, {**test, "of": "relaxed"})]})
    found = [finding(1, 3, 0.001), finding(-3, -1, 0.99)][::turn]
    assert outcomes._outcome(study.claims["p"][0], found, 0.99) == REFUTED


def test_equivalence_is_refuted_from_outside():
    hypothesis = Hypothesis(test="equivalent", of="gap", arms=("DARTS",), above=5)
    refuted = [
        outcomes._refuted(hypothesis, finding(*i, 0.5))
        for i in ((6, 9), (-9, -6), (4, 6), (-1, 1))
    ]
    assert refuted == [True, True, False, False]


def test_pairs_of_the_plan_are_of_equal_seeds():
    pairs = []
    for study in PLAN.values():
        results = outcomes.Results(study, {}, {})
        tests = [h for claims in study.claims.values() for c in claims for h in c.tests]
        for hypothesis in (h for h in tests if h.test == "paired"):
            pairs += zip(*results.samples(hypothesis), strict=True)
    assert pairs and all(one == other for (_, one), (_, other) in pairs)


# Runs


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    campaign = Campaign(Study.model_validate(SMALL), Machine(tmp_path_factory.mktemp("runs")))
    campaign.compute(workers=2)
    return campaign


def test_a_campaign_computes_all_of_the_plan_and_then_nothing(computed, capsys):
    results = computed.results()
    assert [*results.searches] == [("DARTS", 5), ("S2", 5), ("DARTS", 6), ("DARTS", 7)]
    assert [*results.networks] == [("S2", 5)] and computed.left() == {}
    assert (
        computed.status(2).splitlines()[-1]
        == "5 of 5 runs finished, about 0 h left on 2 processes"
    )
    computed.compute(workers=2)
    assert "finished:" not in capsys.readouterr().out


def test_finished_runs_of_the_repository_are_not_computed_again(computed, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "runs", lambda scale: computed.machine.runs)
    elsewhere = Campaign(computed.study, Machine(tmp_path))
    assert elsewhere.left() == {} and "5 of 5 runs finished" in elsewhere.status(1)


@pytest.mark.parametrize(
    ("lost", "done", "hours"),
    [
        (("DARTS", 6), 4, 8),  # as long as the other two of its arm
        (("S2", 5), 3, 16),  # it and its network: nothing of their arms is finished
    ],
)
def test_the_time_left_is_that_of_what_is_missing_by_arm(lost, done, hours, computed, monkeypatch):
    """Here the searches, of two epochs, took 8 hours each, and the network of one epoch 1 hour."""
    monkeypatch.setattr(campaigns, "seconds", lambda records: 3600.0 * len(records) ** 3)
    missing, run = computed.searches()[lost], Campaign.run
    monkeypatch.setattr(
        Campaign, "run", lambda own, task: None if task == missing else run(own, task)
    )
    for workers in (1, 2):
        assert computed.status(workers).endswith(
            f"{done} of 5 runs finished, about {hours // workers} h left on {workers} processes"
        )


def test_the_command_says_what_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "read", lambda: {"searches": Study.model_validate(SMALL)})
    monkeypatch.setattr("sys.argv", ["confirmation", "status", "--runs", str(tmp_path)])
    main()
    assert "0 of 5 runs finished, time left not known yet" in capsys.readouterr().out


def test_a_block_comes_to_an_end_before_the_next_one_begins(tmp_path, capsys):
    darts, s2 = SMALL["arms"]
    arms = [{**s2, "block": 1}, {**darts, "block": 2, "parts": [{"seeds": 5}]}]
    study = Study.model_validate({**SMALL, "arms": arms, "claims": {}})
    Campaign(study, Machine(tmp_path)).compute(workers=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "finished:" in line]
    assert [line.split(" (")[0] for line in lines] == [
        "finished: S2, seed 5",
        "finished: S2, final networks, seed 5",
        "finished: DARTS, seed 5",
    ]


def test_a_claim_waits_for_its_last_run(computed):
    whole = computed.results()
    (done,) = outcomes.ended("paper", [whole])
    assert done.findings[0].n == (3,) and done.outcome in (SUPPORTED, REFUTED, UNRESOLVED)
    whole.searches.pop(("DARTS", 6))
    (waiting,) = outcomes.ended("paper", [whole])
    assert (waiting.findings, waiting.outcome) == ((), "2 of 3 runs")


@pytest.mark.parametrize("order", [(0.01, np.nan), (np.nan, 0.01)])
def test_a_test_that_could_not_be_made_leaves_its_claim_unresolved(computed, monkeypatch, order):
    tests = [{"test": "described", "of": "gap", "arms": ["DARTS"], "at_least": 3}] * 2
    study = changed(claims={"paper": [claim(*tests)]})
    made = iter(finding(0.6, 0.9, p) for p in order)
    monkeypatch.setattr(outcomes, "finding", lambda hypothesis, results: next(made))
    part = outcomes.Results(study, computed.results().searches, {})
    (done,) = outcomes.ended("paper", [part])
    assert np.isnan(done.p) and done.outcome != SUPPORTED


def test_a_run_of_code_in_no_commit_does_not_count_nor_the_network_of_its_cell():
    dirty = SimpleNamespace(result={}, stamp={"commit": "0123456789ab-dirty"}, path=Path("a"))
    clean = SimpleNamespace(result={}, stamp={"commit": "0123456789ab"}, path=Path("b"))
    study = changed(registered="ffffffffffff")  # in no clone: only -dirty is refused
    for given in ({("DARTS", 5): dirty}, {}), ({}, {("S2", 5): dirty}):
        results = outcomes.Results(study, *given)
        assert not results.searches and not results.networks
        assert "in no commit" in results.refused["a"]
    assert not outcomes.Results(study, {("S2", 5): dirty}, {("S2", 5): clean}).networks


def test_a_claim_that_waits_for_runs_counts_in_the_family(computed):
    whole, half = computed.results(), computed.results()
    half.searches.pop(("DARTS", 6))
    done, waits = outcomes.ended("paper", [whole, half])
    assert done.holm == min(1, 2 * done.p) and np.isnan(waits.holm)


def test_the_page_says_what_each_arm_searches(computed):
    lines = page._arms([computed.results()] * 2, {"DARTS": ["3", "80", "0.2"]}).splitlines()
    assert lines[-2:] == [
        "| DARTS | tiny | darts |  | 3 | 80 | 0.2 |",
        "| S2 | tiny | darts | space s2, cells 3 | 1 | no table |  |",
    ]
    results = computed.results()
    again = page._arms([results], {})
    none = page._arms([outcomes.Results(results.study, {}, {})], {})
    assert "| DARTS | tiny | darts |  | 3 | searches of the first part |  |" in again
    assert none.count("|  | waiting for runs |  |") == 2


def test_primary_claims_of_all_parts_are_corrected_together(computed):
    (alone,) = outcomes.ended("paper", [computed.results()])
    both = outcomes.ended("paper", [computed.results(), computed.results()])
    assert [o.holm for o in both] == [min(1, 2 * alone.p)] * 2 and alone.holm == alone.p


def test_the_records_of_a_run_are_read_once_for_all_tests(computed, monkeypatch):
    """Also by a test that the plan does not have, whose measure is asked for by itself."""
    of = {"test": "described", "arms": ["DARTS"], "at_least": 3}
    claims = [claim({**of, "of": name}, name=name) for name in ("accuracy", "gap", "relaxed")]
    study = changed(claims={"paper": claims})
    read = []

    def values(run, names):
        read.append(run)
        return searches.values(run, names)

    monkeypatch.setattr(outcomes, "values", values)
    results = outcomes.Results(study, computed.results().searches, {})
    found = outcomes.ended("paper", [results])
    gaps = [searches.gap(run.records) for run in read]
    assert len(read) == len(set(read)) == 3
    assert [outcome.findings[0].n for outcome in found] == [(3,)] * 3
    assert found[1].findings[0].estimate == np.median(gaps)
    other = Hypothesis(of="collapsed", **of)
    assert outcomes.finding(other, results).n == (3,) and len(read) == 6


def test_damaged_and_failed_runs_do_not_stop_the_others(tmp_path):
    arms = [
        {
            **SMALL["arms"][0],
            "search": {"method": "darts", "recipe": {"weight_lr": 1e30, "clip": 1e30}},
        }
    ]
    study = Study.model_validate(
        {**SMALL, "arms": [{**SMALL["arms"][0], "parts": [{"seeds": "5-6"}]}], "claims": {}}
    )
    campaign = Campaign(study, Machine(tmp_path))
    campaign.compute(workers=1)
    homes = [run.path for run in campaign.results().searches.values()]
    (homes[0] / "result.json").write_text("{")
    assert "1 of 2 runs finished" in campaign.status(1) and "is damaged" in campaign.status(1)
    campaign.compute(workers=1)
    assert (tmp_path / f"{homes[0].name}.damaged").exists() and "2 of 2 runs" in campaign.status(1)
    failing = Campaign(
        Study.model_validate({**SMALL, "arms": arms, "claims": {}}), Machine(tmp_path)
    )
    failing.compute(workers=1)
    assert "failed: DARTS, seed 5: NotFinite" in failing.status(
        1
    ) and "0 of 3 runs" in failing.status(1)


def test_the_damage_of_a_run_is_named_by_its_file(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "result.json").write_text("{")
    study = Study.model_validate(SMALL)
    refused = outcomes.Results(study, {("DARTS", 5): Run(tmp_path / "a")}, {}).refused
    assert "result.json is damaged" in refused["a"]


# The page


def test_the_page_of_results_is_that_of_the_committed_runs():
    if SEARCHES.registered is None or not _has(SEARCHES.registered):
        pytest.skip("a clone without the history that holds the registered commit")
    current = page.current()
    assert {file: file.read_text() for file in current} == current
    text = current[paths.ROOT / "figures" / "README.md"]
    assert "- 3 accessible: " in text  # the pilot alone has it
    assert text.count(f"registered as `{plan.read()['lhd'].registered}`") == 1


def test_the_page_says_what_became_of_each_claim():
    study = SEARCHES.claims["sparsification"][0]
    ended = outcomes.Outcome(study, (finding(20, 40, 1e-6),), 1e-6, 9e-6, SUPPORTED)
    waits = outcomes.Outcome(
        SEARCHES.claims["bypass_leakage"][1], (), math.nan, math.nan, "3 of 20 runs"
    )
    registered = changed(registered="0123456789ab", deviations=["a seed less"])
    results = outcomes.Results(registered, {}, {})
    text = page.page([results], {"sparsification": [ended], "bypass_leakage": [waits]})
    row = next(line for line in text.splitlines() if line.startswith("| **1 gap**"))
    pilot, confirmed = "37.3 [31.8, 42.8], n = 5: supported", "30 [20, 40], n = 20"
    assert row.startswith("| **1 gap** | supported | Pruning the relaxed supernet")
    assert row.endswith(f"| Wilcoxon | {confirmed} | < 0.0001 | < 0.0001 | {pilot} |")
    assert "| 3 of 20 runs |" in text and "- a seed less" in text
    assert (
        "- *supported*, 1 gap: Pruning the relaxed supernet" in text
        and "1 of 1 claims wait for runs." in text
    )


def test_outcomes_are_a_table_with_a_row_per_test():
    claims = {claim.claim: claim for claim in SEARCHES.claims["sparsification"]}
    repairs, gap = claims["7a PCD repairs"], claims["1 gap"]
    findings = finding(0.6, 0.9, 1e-6), finding(0.1, 0.5, 0.01)
    ended = outcomes.Outcome(repairs, findings, 0.01, 0.04, UNRESOLVED, "Or so.")
    waits = outcomes.Outcome(gap, (), math.nan, math.nan, "3 of 20 runs")
    table = outcomes.table({"sparsification": [ended, waits]})
    assert table["claim"].tolist() == ["7a PCD repairs", "7a PCD repairs", "1 gap"]
    assert table["test"].tolist() == ["auc", "share_difference", "centre"]
    assert table["arms"].tolist() == ["PCD; DARTS", "DARTS; PCD", "DARTS"]
    assert table["low"].tolist()[:2] == [0.6, 0.1] and table["p"].tolist()[:2] == [1e-6, 0.01]
    assert table["holm"].tolist()[:2] == [0.04, 0.04] and table["remark"][1] == "Or so."
    waiting = table.iloc[2]
    assert waiting[["estimate", "low", "high", "n", "p"]].isna().all()
    assert waiting["outcome"] == "3 of 20 runs"


def test_a_notebook_tells_the_registered_outcome_before_that_of_its_own_run():
    gap, collapse = SEARCHES.claims["sparsification"][:2]
    found = [
        outcomes.Outcome(gap, (finding(20, 40, 1e-6),), 1e-6, 9e-6, SUPPORTED),
        outcomes.Outcome(collapse, (), math.nan, math.nan, "35 of 40 runs"),
    ]
    measured = [
        Claim("1 gap", gap.sentence, "a gap", 5.0, lambda results: results),
        Claim("2 collapse", "Another sentence.", "a share", 0.0, lambda results: results),
    ]
    lines = page.told(found, measured, Estimate(7, 6, 8, 5), "laptop").data.splitlines()
    assert lines[0] == f"- **Claim 1 gap:** *{gap.sentence}*"
    registered = "30 [20, 40], n = 20 (Wilcoxon); **supported**."
    assert lines[1] == f"  - *Registered study, 1 gap:* {gap.statistic}: {registered}"
    assert lines[2].startswith("  - *This run:* a gap: 7.00 [6.00, 8.00], n = 5; **supported**")
    said = f"*{collapse.sentence}* {collapse.statistic}: waiting for runs."
    assert lines[4] == f"  - *Registered study, 2 collapse:* {said}"  # no count, no half an arm
    assert page.state(found).endswith("primary claims: 1 supported, 1 waiting for runs.")


def test_only_complete_arms_of_the_papers_claims_are_drawn():
    def ended(op):
        cell = f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|"
        return SimpleNamespace(records=[{"genotype": cell}] * 50)

    seeds = SEARCHES.arm("EX-DARTS").seeds()
    found = {("EX-DARTS", seed): ended("nor_conv_3x3") for seed in seeds}
    found |= {("DARTS", seed): ended("skip_connect") for seed in seeds}  # 25 of 40
    found |= {("small T", seed): ended("none") for seed in SEARCHES.arm("small T").seeds()}
    parts = [SimpleNamespace(study=SEARCHES, searches=found)]
    cells = figures.searched(parts, "lr_swap")
    assert set(cells["arm"]) == {"EX-DARTS"} and list(cells["seed"]) == seeds
    drawn, table = figures.strips(cells)
    (points,) = [c for c in drawn.axes[0].collections if len(c.get_offsets()) == len(seeds)]
    assert set(points.get_offsets()[:, 0]) == set(table["accuracy"]) == {93.76}
    assert figures.searched([], "lr_swap").empty


def test_arms_are_told_by_every_criterion():
    good, bad = "nor_conv_3x3", "skip_connect"
    cells = {op: f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|" for op in (good, bad)}
    cured = [{"genotype": cells[bad]}] * 30 + [{"genotype": cells[good]}] * 20
    degraded = [{"genotype": cells[good]}] * 30 + [{"genotype": cells[bad]}] * 20
    seeds = SEARCHES.arm("EX-DARTS").seeds()
    found = {}
    for i, seed in enumerate(seeds):
        found["EX-DARTS", seed] = SimpleNamespace(records=degraded if i < 5 else cured)
    arms = figures.by_criterion(
        figures.searched([SimpleNamespace(study=SEARCHES, searches=found)], "lr_swap")
    )
    (row,) = arms.to_dict("records")
    assert (row["arm"], row["n"]) == ("EX-DARTS", 25)
    assert row["below_median"] == row["collapsed"] == 0.2
    assert row["below_median_low"] == pytest.approx(0.0683, abs=1e-4)  # scipy's exact interval
    assert row["last_cell"] == 93.76 and row["best_minus_last"] == 0
    assert row["late_minus_early"] == pytest.approx(93.76 - 54.2967, abs=0.001)
    accuracies = nasbench201_table.accuracies("cifar10")
    worse = [(accuracies < value).mean() for value in (93.76, searches.cell_accuracy(cells[bad]))]
    assert row["beats_random"] == pytest.approx(0.8 * worse[0] + 0.2 * worse[1], abs=1e-3)
    assert figures.reading(arms) == (
        "The last cells are, by arm, better than a cell drawn blindly: `EX-DARTS` (95 % intervals)."
    )


def test_the_page_names_the_machines_of_the_runs(computed):
    here = stamp()
    row = (
        f"| {here['device']}, {here['instructions']}, PyTorch {here['torch']} | 5 | DARTS (3), S2"
        " (2) |"
    )
    assert row in page.page([computed.results()], {}).splitlines()


def searched(op, device, instructions="AVX512"):
    """A finished search that ends with six times this operation, as a device computed it."""
    cell = f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|"
    kind = "cpu" if device == "EPYC" else "cuda"
    software = {"torch": "2", "tf32": False, "instructions": instructions}
    stamp = {"device": device, "type": kind, **software}
    return SimpleNamespace(
        result={}, stamp=stamp, records=[{"genotype": cell}], path=Path(f"{op} {device}")
    )


def test_a_claim_whose_arms_lie_on_several_devices_is_computed_on_one_alone():
    (better,) = (c for c in SEARCHES.claims["lr_swap"] if c.claim == "3b better")
    study = SEARCHES.model_copy(update={"claims": {"lr_swap": (better,)}, "registered": None})
    seeds = study.arm("DARTS").seeds()
    found = {}
    for i, seed in enumerate(seeds):
        device = "NVIDIA H100 80GB HBM3" if i < 20 else "EPYC"
        found["DARTS", seed] = searched(("skip_connect", "none")[i % 2], device)
    good = searched("nor_conv_3x3", "NVIDIA H100 80GB HBM3")
    found |= {("EX-DARTS", seed): good for seed in study.arm("EX-DARTS").seeds()}
    text = machines.section([outcomes.Results(study, found, {})])
    assert (
        "1 tests of searches compare or pool several devices. 1 can be made again on one: 1 of"
        in text
    )
    assert "these pass at 2.5 % on all runs, 1 of those 1 on each such device, too." in text
    row = next(line for line in text.splitlines() if line.startswith("| 3b better |"))
    assert "| EX-DARTS: 25 H100; DARTS: 20 CPU, 20 H100 |" in row
    assert "n = 25 and 40" in row and row.endswith("n = 25 and 20, p < 0.0001 |")
    assert row.count("CPU: ") == 0 and row.count("H100: ") == 1  # no EX-DARTS on a CPU
    assert "3b better" not in machines.section([outcomes.Results(study, {}, {})])


def test_a_run_of_two_parts_is_counted_once_and_one_that_two_machines_computed_names_both():
    arm = {("DARTS", 5): searched("none", "EPYC")}
    arm["DARTS", 5].stamp["before"] = [searched("none", "EPYC", "AVX2").stamp, UNKNOWN]
    parts = [outcomes.Results(changed(registered=None), arm, {})] * 2
    table = machines.run_table(parts)
    cpu = "EPYC, AVX2, PyTorch 2, then unknown, then EPYC, AVX512, PyTorch 2"
    assert table["machine"].tolist() == [cpu]
    assert f"| {cpu} | 1 | DARTS (1) |" in machines.section(parts)


def test_searches_of_an_earlier_part_count_from_its_commit_and_are_drawn_once():
    part = PLAN["on_a_cpu"]
    earlier = {arm.name for arm in part.arms if arm.registered}
    assert len(earlier) == 7 and len(part.arms) == 13
    keys = {key(search.params()) for _, _, search in SEARCHES.searches()}
    for arm, _, search in part.searches():
        assert (key(search.params()) in keys) == (arm.name in earlier)
    assert {part.registered_by(name) for name in earlier} == {SEARCHES.registered}
    found = {(a.name, seed): searched("none", "EPYC") for a, seed, _ in part.searches()}
    results = outcomes.Results(part.model_copy(update={"registered": None}), {}, {})
    results.searches = found
    drawn = figures.complete(results, "lr_swap")
    assert [arm.name for arm in drawn] == ["EX-DARTS on a CPU"]


def test_searches_whose_seconds_are_compared_ran_on_the_same_processor():
    results, found = page.committed(SEARCHES), []
    hypotheses = [
        h for claims in SEARCHES.claims.values() for claim in claims for h in claim.tests
    ]
    for hypothesis in (h for h in hypotheses if h.of == "log_training_seconds"):
        for pair in zip(*results.samples(hypothesis), strict=True):
            there = [results.searches[key].stamp for key in pair if key in results.searches]
            found.append(len({(s["type"], s["processor"], s["instructions"]) for s in there}))
    assert found and set(found) <= {0, 1}


def test_without_history_only_a_dirty_tree_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    plan.later_commits.cache_clear()
    assert plan.refusal({"commit": "0123456789ab"}, "ab") is None
    assert plan.refusal({"commit": "0123456789ab-dirty"}, "ab") is not None
    plan.later_commits.cache_clear()
