"""Every stop rule against the released bookkeeping, refusals, online against offline,
and the diagnosis of real runs.

Run: pytest tests/measures/test_stopping.py
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nasutils import spaces
from nasutils.measures import stopping
from nasutils.measures.stopping import CRITERIA, Stopper
from nasutils.methods import relax
from nasutils.report.diagnosis import diagnose, figure
from nasutils.runs import Run
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment, build
from tests.toys import toy_space

ROOT = Path(__file__).resolve().parents[2]
TRUTH = {
    name: json.loads((ROOT / "tests" / "truth" / f"{name}.json").read_text())
    for name in ("selective_stop", "darts_es")
}
SELECTIVE = TRUTH["selective_stop"]
NB201 = spaces.get("nasbench201")
CONV3 = NB201.ops.index("nor_conv_3x3")
ROUNDED = {"rel": 1e-6, "abs": 5e-6}
"""The released bookkeeping is in float32, its residual a sum of five differences."""
TREND = {
    "A": lambda e, r: {3: 0.9 * math.exp(-(((e - 9 - r) / 6) ** 2)), 1: 0.06 * e * (1 + 0.1 * r)},
    "B": lambda e, _: {
        0: 0.4 * math.exp(-e / 4),
        3: 0.05 * e - 0.004 * max(0, e - 15) ** 2,
        1: 0.02 * max(0, e - 5),
    },
    "C": lambda e, _: {1: 0.3 + 0.05 * e, 3: 0.02 * e},
}
SERIES = {
    "step_up_at_20": lambda e: 0.2 + 0.01 * e + (0.15 if e >= 20 else 0),
    "slow_linear": lambda e: 0.3 + 0.002 * e,
    "exp_3pct": lambda e: 0.2 * 1.03**e,
    "noisy": lambda e: 0.25 + 0.05 * math.sin(2.1 * e) + 0.004 * e,
}


def trajectory(name, epochs=30):
    """The made-up alpha of the truth, (epochs, 6, 5)."""
    alpha = np.array(
        [[0.05 * math.sin(1.7 * (r + 1) * (k + 1) + 0.3) for k in range(5)] for r in range(6)]
    )
    alpha = np.stack([alpha] * epochs)
    for e in range(epochs):
        for r in range(6):
            for k, add in TREND[name](e, r).items():
                alpha[e, r, k] += add
    return alpha


def as_records(alpha, space=NB201, eigenvalues=None, temperature=1.0):
    """Records as `search` leaves them, of what the stop rules and the diagnosis read.
    alpha: (epochs, edges, ops).
    """
    rows = []
    for e, a in enumerate(torch.as_tensor(alpha, dtype=torch.float64)):
        mix = dict.fromkeys(space.alpha_shapes, relax.softmax(a, temperature))
        rows.append(
            {
                "epoch": e,
                "temperature": temperature,
                "alpha": {cell: a.tolist() for cell in mix},
                "mix": {cell: m.tolist() for cell, m in mix.items()},
                "entropy": {cell: relax.entropy(m).mean().item() for cell, m in mix.items()},
                "genotype": str(space.discretize(mix)),
            }
        )
    for row, value in zip(rows, [] if eigenvalues is None else eigenvalues, strict=False):
        row["leakage"] = {"eigenvalue": value}
    return rows


RECORDS = {name: as_records(trajectory(name)) for name in TREND}


def judged(records, criterion, **options):
    return stopping.stop(records, criterion, space=options.pop("space", NB201), **options)


@pytest.mark.parametrize("name", "AB")
def test_bookkeeping_of_the_selective_stop(name):
    truth, alpha = SELECTIVE[name], trajectory(name)
    epochs = len(truth["S"])
    s = stopping.magnitudes(alpha[:epochs])
    assert alpha[0] == pytest.approx(np.array(truth["alpha_epoch0"]), **ROUNDED)
    assert alpha[10] == pytest.approx(np.array(truth["alpha_epoch10"]), **ROUNDED)
    assert s == pytest.approx(np.array(truth["S"]), **ROUNDED)
    assert stopping.residual(s, CONV3) == pytest.approx(truth["op_res"], **ROUNDED)
    assert stopping.recorded(s, CONV3).tolist() == truth["recorded"]
    assert stopping.skip_counts(RECORDS[name][:epochs], NB201).tolist() == truth["num_skip"]
    assert stopping.ranking_kept(alpha[:epochs]).tolist() == truth["rank_retain"]


@pytest.mark.parametrize("name", "AB")
def test_selective_stop_after_every_epoch(name):
    truth = SELECTIVE[name]
    for criterion, so_far in (("peak", "peak_epoch_so_far"), ("residual", "res_o_epoch_so_far")):
        found = [judged(RECORDS[name][: e + 1], criterion).epoch for e in range(len(truth["S"]))]
        assert found == truth[so_far]


@pytest.mark.parametrize("name", "AB")
def test_final_decisions_of_the_released_scripts(name):
    truth, records = SELECTIVE[name], RECORDS[name]
    final, costed = truth["final"], truth["timecost_final"]
    for criterion, key in (("peak", "peak_epoch"), ("residual", "res_o_epoch")):
        assert judged(records, criterion).epoch == final[key] == costed[key]
    for criterion in ("res", "res_skip", "res_speed"):
        assert judged(records, criterion).epoch == costed[f"timecost_{criterion}_epoch"]
    exit = judged(records, "hard_exit")
    assert (exit.epoch if exit.fired else None) == final["hard_exit_all_six_edges_skip_at_epoch"]
    rules = {"criterion_one": ("skips", (2, 3, 4)), "criterion_two": ("ranking", (2, 3, 4, 10))}
    for key, (rule, numbers) in rules.items():
        for n in numbers:
            decision = judged(records, f"{rule}_{n}")
            released = (
                final["darts_plus"][f"{key}_{n}_flag"],
                final["darts_plus"][f"{key}_{n}_epoch"],
            )
            assert (decision.fired, decision.epoch if decision.fired else 0) == released
            assert decision.fired or decision.epoch == 29


def test_a_cell_of_skips_ends_the_selective_stop_at_once():
    assert (
        judged(RECORDS["C"], "hard_exit").epoch
        == SELECTIVE["C"]["final"]["hard_exit_all_six_edges_skip_at_epoch"]
    )
    peak = judged(RECORDS["C"], "peak")
    assert (peak.epoch, peak.fired, peak.decided) == (0, True, 0)
    assert "all edges are skips at epoch 0" in peak.reason
    assert judged(RECORDS["A"], "peak").decided == 13


def test_on_nasbench201_the_residual_is_a_function_of_the_magnitude():
    s = stopping.magnitudes(np.random.default_rng(0).normal(size=(40, 6, 5)))
    for o in range(5):
        assert stopping.residual(s, o) == pytest.approx(5 * s[:, o] - 6)


def test_the_gate_keeps_all_epochs_until_the_operation_first_leads():
    s = np.array([[1.0, 2.0], [1.2, 1.8], [2.0, 1.0], [1.4, 1.6], [1.5, 1.5]])
    assert stopping.recorded(s, 0).tolist() == [True, True, True, False, True]
    assert stopping.recorded(s, 1).tolist() == [True, True, False, True, False]


def released_chain(alpha):
    """DARTS+ criterion 2 as an else-if chain: {n: epoch}."""
    kept, hit, before = 1, {}, None
    for epoch, ranks in enumerate(np.argsort(alpha, axis=-1, kind="stable")):
        if 10 in hit:
            break
        same = before is not None and (ranks == before).all()
        kept, before = (kept + 1, before) if same else (1, ranks)
        if 2 not in hit and kept == 2:
            hit[2] = epoch
        elif 3 not in hit and kept == 3:
            hit[3] = epoch
        elif 4 not in hit and kept == 4:
            hit[4] = epoch
        elif kept == 10:
            hit[10] = epoch
    return hit


@pytest.mark.parametrize("seed", range(20))
def test_the_released_else_if_chain_decides_what_each_rule_alone_decides(seed):
    generator = np.random.default_rng(seed)
    orders = generator.normal(size=(6, 2, 3))
    alpha = orders[np.repeat(generator.integers(6, size=12), generator.integers(1, 12, size=12))]
    kept = stopping.ranking_kept(alpha)
    alone = {n: stopping.first(kept == n) for n in (2, 3, 4, 10)}
    assert {n: e for n, e in alone.items() if e is not None} == released_chain(alpha)


def test_darts_es_as_published_goes_back_and_survives_the_end():
    values = {name: [series(e) for e in range(50)] for name, series in SERIES.items()}
    found = {name: stopping.eigenvalue_stop(v) for name, v in values.items()}
    assert found == {
        "step_up_at_20": (22, 16),
        "slow_linear": None,
        "exp_3pct": None,
        "noisy": None,
    }
    assert stopping.eigenvalue_stop([1.1**e for e in range(50)]) == (6, 0)
    assert [stopping.eigenvalue_stop([1.0] * n) for n in range(8)] == [None] * 8
    decision = judged(
        as_records(trajectory("B"), eigenvalues=values["step_up_at_20"]), "eigenvalue"
    )
    assert (decision.epoch, decision.decided, decision.fired) == (16, 22, True)
    assert (
        judged(as_records(trajectory("B"), eigenvalues=values["noisy"]), "eigenvalue").epoch == 29
    )


def test_eigenvalues_of_some_epochs_are_counted_as_they_come():
    sparse = [1.1**e if e % 2 else None for e in range(30)]
    decision = judged(as_records(trajectory("B"), eigenvalues=sparse), "eigenvalue")
    assert (decision.epoch, decision.decided) == (11, 23)


def bump(space, peaks, epochs=30):
    """alpha of a DARTS space in which operation k is highest at epoch peaks[k]."""
    edges, choices = space.alpha_shapes["normal"]
    e, k = np.arange(epochs)[:, None], np.array(peaks)
    return np.repeat(np.exp(-(((e - k) / 4) ** 2))[:, None, :choices], edges, axis=1)


@pytest.mark.parametrize("name", ["darts", "darts7", "s2", "s3"])
def test_in_a_darts_space_every_operation_has_its_own_stop(name):
    space = spaces.get(name)
    peaks = [3 + 3 * k for k in range(len(space.ops))]
    records = as_records(bump(space, peaks), space)
    s = stopping.magnitudes(stopping.alphas(records, space))
    assert s.sum(axis=1) == pytest.approx(14)
    for k, operation in enumerate(space.ops):
        assert (
            judged(records, "peak_ungated", space=space, operation=operation).epoch
            == s[:, k].argmax()
        )
    with pytest.raises(ValueError, match=f"'peak' needs an operation on {name}: one of"):
        judged(records, "peak", space=space)


def test_where_operations_depend_on_the_edge_the_missing_ones_weigh_nothing():
    space = spaces.get("s1")
    records = as_records(np.zeros((3, 14, 2)), space)
    s = stopping.magnitudes(stopping.alphas(records, space))
    held = [sum(op in ops for ops in space.edge_ops["normal"]) for op in space.ops]
    assert s[0] == pytest.approx([n / 2 for n in held])
    assert judged(records, "skips_2", space=space).fired


def test_refusals_say_what_is_wrong_and_what_to_log():
    records = RECORDS["A"]
    with pytest.raises(ValueError, match="unknown criterion 'peek': .*did you mean 'peak'"):
        judged(records, "peek")
    with pytest.raises(ValueError, match="unknown operation of nasbench201 'sep_conv_3x3'"):
        judged(records, "peak", operation="sep_conv_3x3")
    with pytest.raises(ValueError, match="unknown operation of s4 'skip_connect'"):
        judged(
            as_records(np.zeros((2, 14, 2)), spaces.get("s4")), "skips_2", space=spaces.get("s4")
        )
    with pytest.raises(ValueError, match="no record holds an eigenvalue .*`eigenvalue_every`"):
        judged(records, "eigenvalue")
    with pytest.raises(ValueError, match="no record to judge"):
        judged([], "peak")
    bare = [{"epoch": 0}]
    with pytest.raises(ValueError, match="every record needs alpha\\['cell'\\], 6 x 5"):
        judged(bare, "ranking_2")
    with pytest.raises(ValueError, match="every record needs its genotype"):
        judged(bare, "skips_2")
    with pytest.raises(ValueError, match="every record needs alpha\\['normal'\\], 14 x 7"):
        judged(records, "res", space=spaces.get("darts7"), operation="sep_conv_3x3")
    with pytest.raises(ValueError, match="every record needs alpha"):
        judged(
            [{**r, "alpha": {"cell": np.full((6, 5), np.nan).tolist()}} for r in records], "res"
        )
    with pytest.raises(ValueError, match="genotype with the cell 'normal'"):
        judged(records, "skips_2", space=spaces.get("darts7"))


def test_all_criteria_in_one_table():
    table = stopping.decide_all(RECORDS["A"], NB201).set_index("criterion")
    assert table.index.tolist() == list(CRITERIA)
    assert table.loc["peak", ["operation", "epoch", "decided"]].tolist() == [
        "nor_conv_3x3",
        11,
        13,
    ]
    assert table["epoch"].isna()[table["epoch"].isna()].index.tolist() == ["eigenvalue"]
    assert "eigenvalue_every" in table.loc["eigenvalue", "reason"]
    space = spaces.get("darts7")
    table = stopping.decide_all(as_records(bump(space, range(7)), space), space)
    convolutions = ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
    assert table.loc[table["criterion"] == "peak", "operation"].tolist() == convolutions
    with pytest.raises(ValueError, match="did you mean 'sep_conv_3x3'"):
        stopping.decide_all(RECORDS["A"], space, ["sep_conv_3"])


def online(records, criterion, restart=0, **options):
    """The decision at which a search would have stopped itself,
    and the number of epochs it took.
    """
    stopper = Stopper(criterion, NB201, **options)
    for n, record in enumerate(records, start=1):
        if n == restart:
            # the last record is seen twice
            stopper = Stopper(criterion, NB201, records=records[:n], **options)
        if decision := stopper(record):
            return decision, n
    return None, len(records)


@pytest.mark.parametrize("criterion", [c for c, rule in CRITERIA.items() if not rule.designated])
@pytest.mark.parametrize("name", TREND)
@pytest.mark.parametrize("restart", [0, 5])
def test_a_search_stops_itself_where_it_would_be_judged_to(criterion, name, restart):
    eigenvalues = [None, *(SERIES["step_up_at_20"](e) for e in range(29))]
    records = as_records(trajectory(name), eigenvalues=eigenvalues)
    offline = judged(records, criterion)
    decision, took = online(records, criterion, restart)
    if offline.fired:
        assert decision == offline and took == offline.decided + 1
    else:
        assert decision is None


def test_a_peak_stops_a_search_once_it_is_old_enough():
    assert online(RECORDS["B"], "peak", patience=5)[1] == 20 + 5 + 1
    decision, _ = online(RECORDS["B"], "peak", patience=5)
    assert (decision.epoch, decision.decided) == (20, None)
    assert online(RECORDS["B"], "peak")[0] is None
    assert online(RECORDS["C"], "peak")[1] == 1
    with pytest.raises(ValueError, match="patience"):
        Stopper("peak", NB201, patience=0)


SIZES = {"dataset": "digits", "resolution": 8, "images": 32, "channels": 2, "cells": 1}


PLAIN = Experiment(
    epochs=6, recipe={"split": "half", "batch": 16}, options={"alpha_lr": 1e-9}, **SIZES
)
"""A search whose alpha hardly moves: its ranking is decided in epoch 1."""


def test_a_search_that_was_killed_when_it_had_decided_does_not_go_on(tmp_path, monkeypatch):
    """Between its last checkpoint and its result."""
    search, append = replace(PLAIN, stop={"criterion": "ranking_2"}), Run.append

    def dying(run, record, state):
        append(run, record, state)
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "append", dying)
        with pytest.raises(KeyboardInterrupt):
            search.run(Machine(tmp_path))
    run = search.run(Machine(tmp_path))
    assert [record["epoch"] for record in run.records] == [0, 1]
    assert run.result["epochs"] == 2 and run.result["stopped"]["decided"] == 1


def test_an_experiment_stops_itself_as_it_would_be_judged_to(tmp_path, monkeypatch):
    whole = PLAIN.run(Machine(tmp_path))
    offline = judged(whole.records, "ranking_2")
    assert offline.fired and offline.decided == 1
    stopped = replace(PLAIN, stop={"criterion": "ranking_2"})
    monkeypatch.setattr(Experiment, "decision", lambda *_: 1 / 0)  # it dies when it has to decide
    with pytest.raises(ZeroDivisionError):
        stopped.run(Machine(tmp_path))
    monkeypatch.undo()
    run = stopped.run(Machine(tmp_path))
    without_cost = [
        [{**r, "cost": 0} for r in records] for records in (run.records, whole.records)
    ]
    assert without_cost[0] == without_cost[1][: offline.decided + 1]
    assert (
        run.result["stopped"]["epoch"] == offline.epoch
        and run.result["epochs"] == offline.decided + 1
    )
    assert run.result["genotype"] == whole.records[offline.epoch]["genotype"]
    assert stopped.run(Machine(tmp_path)) == run and run.path != whole.path


@pytest.mark.parametrize(
    ("stop", "says"),
    [
        ({"criterion": "peek"}, "unknown criterion 'peek'"),
        ({"criterion": "peak", "patients": 3}, "unknown argument of stop 'patients'.*'patience'"),
        ({"patience": 3}, "stop needs a criterion"),
        (
            {"criterion": "peak", "operation": "sep_conv_3x3"},
            "unknown operation of nasbench201 'sep_conv_3x3'",
        ),
    ],
)
def test_an_experiment_says_what_cannot_stop_it(stop, says):
    with pytest.raises(ValueError, match=says):
        Experiment(stop=stop)


def test_a_stopper_refuses_before_or_early_in_a_search():
    with pytest.raises(ValueError, match="unknown criterion 'peek'.*did you mean 'peak'"):
        Stopper("peek", NB201)
    with pytest.raises(ValueError, match="needs an operation on darts7"):
        Stopper("peak", spaces.get("darts7"))
    stopper = Stopper("eigenvalue", NB201, patience=3)
    assert [stopper(record) for record in RECORDS["B"][:2]] == [None, None]
    with pytest.raises(ValueError, match="`eigenvalue_every`"):
        stopper(RECORDS["B"][2])


def words(records, space=NB201):
    """The diagnosis in words, on one line."""
    return " ".join(str(diagnose(records, space)).split())


def test_a_collapse_is_named_with_its_epoch_and_what_to_try():
    found = diagnose(RECORDS["A"], NB201)
    counts = stopping.skip_counts(RECORDS["A"], NB201)
    assert found.since == max(np.flatnonzero(counts <= 3)) + 1 and found.collapsed
    text = str(found)
    assert f"COLLAPSED, since epoch {found.since}" in text
    assert "Skip connections hold 6 of 6 edges of the cell" in text
    for paper in ("2306.06855", "2306.06858", "2109.13466", "1909.09656"):
        assert paper in text
    assert "`peak` takes epoch 11" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_healthy_search_is_not_accused():
    records = as_records(trajectory("B"), temperature=0.3)
    found = diagnose(records, NB201)
    assert not found.collapsed and found.since is None
    assert {f.level for f in found.findings} == {"normal", "unknown"} and not found.advice
    assert "no collapse" in words(
        records
    ) and "nor_conv_3x3 has the largest magnitude since epoch 4" in words(records)


def test_edges_have_decided_only_where_margin_and_entropy_say_so():
    alpha = np.zeros((12, 6, 5))
    alpha[:, :, 3] = 1.0  # 0.40 of the weight, the others 0.15 each: 1.51 of 1.61 nats
    assert "have a favourite, but much weight lies beside it" in words(as_records(alpha))
    assert "The edges have decided" in words(as_records(alpha, temperature=0.2))
    assert "The edges are undecided" in words(as_records(alpha, temperature=10.0))


def test_a_space_is_known_by_name_and_the_method_that_searched_is_not_advised():
    assert str(diagnose(RECORDS["A"], "nasbench201")) == str(diagnose(RECORDS["A"], NB201))
    advised = " ".join(diagnose(RECORDS["A"], NB201, "ex-darts").advice)
    assert "(ex-darts)" not in advised and "(sp-darts)" in advised
    with pytest.raises(ValueError, match="unknown space 'nasbench21'.*did you mean 'nasbench201'"):
        diagnose(RECORDS["A"], "nasbench21")


def test_a_young_excess_of_skips_is_watched_and_an_old_one_forgiven():
    assert "no collapse" in words(RECORDS["C"][:3]) and "may be a fluctuation" in words(
        RECORDS["C"][:3]
    )
    back = trajectory("B")
    back[:10, :, 1] += 2
    assert "Skips held more than half of them in 10 epochs, last in epoch 9" in words(
        as_records(back)
    )


def test_other_operations_without_parameters_collapse_too():
    alpha = trajectory("B")
    alpha[:, :5, 4] += 4
    alpha[:, 5, 3] += 4
    text = words(as_records(alpha, temperature=0.01))
    assert (
        "Operations without parameters hold 5 of 6 edges of the cell, more than two thirds since"
        " epoch 0" in text
    )
    assert "COLLAPSED, since epoch 0" in text and "Search at a small temperature" not in text
    space = spaces.get("s4")
    noise = words(as_records(np.tile([1.0, 0.0], (8, 14, 1)), space), space)
    assert (
        "COLLAPSED, since epoch 0" in noise
        and "Operations without parameters hold 8 of 8" in noise
    )


def test_skips_on_two_thirds_of_the_edges_are_a_collapse_by_themselves():
    """Half of the edges is their limit; two thirds, that of all operations without parameters."""
    alpha = trajectory("B")
    alpha[:, :4, 1] += 6
    alpha[:, 4:, 3] += 6
    text = words(as_records(alpha))
    assert "Skip connections hold 4 of 6 edges of the cell, more than half since epoch 0" in text
    assert "Operations without parameters hold" not in text


def test_eigenvalues_too_far_apart_are_not_judged():
    sparse = as_records(
        trajectory("B"), eigenvalues=[1.1**e if e % 5 == 4 else None for e in range(30)]
    )
    with pytest.raises(
        ValueError,
        match="at least every 2 epochs, not every 5: search with `eigenvalue_every` = 2",
    ):
        judged(sparse, "eigenvalue")
    assert "DARTS-ES takes an eigenvalue at least every 2 epochs" in words(sparse)


def test_a_rise_is_one_from_a_positive_mean():
    assert stopping.eigenvalue_stop([-1.0] * 6 + [-5.0] * 5) is None
    assert stopping.eigenvalue_stop([1.0] * 6 + [5.0] * 5) == (6, 0)


def test_weights_that_are_no_softmax_count_as_they_are():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=(4, 6))
    records = [
        {
            "epoch": e,
            "alpha": {"cell": w.tolist()},
            "mix": {"cell": w.tolist()},
            "softmax_temperature": t,
        }
        for t in (None, 1.0)
        for e, w in enumerate(weights)
    ]
    simplex, alpha = (
        stopping.magnitudes(stopping.alphas(part, NB201)) for part in (records[:4], records[4:])
    )
    assert simplex == pytest.approx(weights.sum(axis=1)) and not np.allclose(simplex, alpha)


def test_on_lhd_operations_are_decided_by_node():
    search = build(
        Experiment(
            "lhd",
            dataset="digits",
            recipe={"batch": 16},
            resolution=8,
            images=16,
            channels=4,
            cells=3,
            epochs=1,
        ),
        Machine(),
    )
    text = words(list(search.run()), spaces.get("lhd"))
    most = np.mean([math.log(7 * n) for n in (2, 3, 4, 5, 6)])
    assert (
        f"of a node lie 0.000 apart, entropy {most:.2f} of at most {most:.2f} nats per node"
        in text
    )


def test_a_rising_eigenvalue_is_watched():
    rising = [1.1**e if e % 2 == 0 else None for e in range(30)]
    text = words(as_records(trajectory("B"), eigenvalues=rising))
    assert "risen by a factor of 1.3 at epoch 22; DARTS-ES goes back to epoch 10" in text
    assert "from 0.3 to 0.3 without a rise" in words(
        as_records(trajectory("B"), eigenvalues=[0.3] * 30)
    )


def test_the_limits_stand_where_cells_become_worse_than_average():
    accuracy = spaces.nasbench201_table.accuracies("cifar10")
    cells = [spaces.nasbench201_table.operations(i) for i in range(0, 15625, 5)]
    accuracy, skips = accuracy[::5], np.array([c.count(1) for c in cells])
    free = np.array([sum(o in (0, 1, 4) for o in c) for c in cells])
    assert (
        abs(accuracy[skips == 3].mean() - accuracy.mean()) < 1.5
        and accuracy[skips == 4].mean() < accuracy.mean() - 3
    )
    assert (
        accuracy[free == 4].mean() > accuracy.mean() - 1
        and accuracy[free == 5].mean() < accuracy.mean() - 4
    )


def real_searches():
    for folder in sorted((ROOT / "figures" / "laptop" / "runs").glob("*"))[:80]:
        params = json.loads((folder / "params.json").read_text())
        if (
            params["kind"] == "search"
            and params["space"] == "nasbench201"
            and (folder / "result.json").exists()
        ):
            yield Run(folder)


def test_real_searches_are_diagnosed_by_what_they_ended_in():
    all_skip, healthy = [], []
    for run in real_searches():
        cells, found = [r["genotype"] for r in run.records], diagnose(run.records, NB201)
        if cells[-1].count("skip_connect") == 6:
            all_skip.append(found)
            since = max((e for e, cell in enumerate(cells) if cell != cells[-1]), default=-1) + 1
            text = " ".join(str(found).split())
            assert (
                f"Skip connections hold 6 of 6 edges of the cell since epoch {since}, more than"
                " half since" in text
            )
        if all(
            cell.count("nor_conv") >= 3 and cell.count("skip_connect") <= 2 for cell in cells[-5:]
        ):
            healthy.append(found)
    if not healthy:
        pytest.skip("no finished NAS-Bench-201 search under figures/laptop/runs")
    assert all(found.collapsed for found in all_skip) and not any(
        found.collapsed for found in healthy
    )


@pytest.mark.parametrize("eigenvalues", [None, [0.2 + 0.01 * e for e in range(30)]])
def test_the_figure_shows_every_column(eigenvalues):
    import matplotlib

    matplotlib.use("Agg")
    found = diagnose(as_records(trajectory("A"), eigenvalues=eigenvalues), NB201)
    drawn, table = figure(found)
    assert table is found.table and [f"S_{op}" for op in NB201.ops] == [
        c for c in table if c.startswith("S_")
    ]
    assert drawn.get_suptitle() == f"nasbench201: collapsed since epoch {found.since} (shaded)"
    matplotlib.pyplot.close(drawn)


def test_the_cell_of_an_own_space_is_its_first_unless_one_is_normal():
    of_one = toy_space("toy", alpha_shapes={"only": (2, 2)}, cell_types=("only",))
    assert stopping.cell_of(of_one) == "only"
    assert stopping.cell_of(spaces.get("darts")) == "normal" and stopping.cell_of(NB201) == "cell"
