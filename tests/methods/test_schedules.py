"""Every schedule at every epoch against the released code, and the facts that the papers build on.

Run: pytest tests/methods/test_schedules.py
"""

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from nasutils.methods import Recipe, relax, schedules
from nasutils.methods.schedules import EDD, TwoTemperatures

TRUTH = json.loads((Path(__file__).parents[1] / "truth" / "schedules.json").read_text())
EPOCHS = range(50)
SP = {
    "sp_darts_space": lambda e: schedules.sp_linear(e, 50, 0.001, 10),
    "sp_nb201_cifar10": lambda e: schedules.sp_linear(e, 50, 0.0011, 11),
    "sp_nb201_cifar100": lambda e: schedules.sp_cifar100(e, 50, 0.0013, 0.0006, 11),
    "sp_s1_s4": lambda e: schedules.sp_offset(e, 50, 0.0003),
}
PCD = {
    "pcd_d0.1_darts_or_s1_s4_warmup0": (0.1, 0),
    "pcd_d0.11_darts_or_s1_s4_warmup0": (0.11, 0),
    "pcd_d0.12_darts_or_s1_s4_warmup0": (0.12, 0),
    "pcd_d0.13_darts_or_s1_s4_warmup0": (0.13, 0),
    "pcd_d0.11_nb201_cifar10_warmup5": (0.11, 5),
    "pcd_d0.11_nb201_cifar100_warmup10": (0.11, 10),
}
EDDS = {
    "edd_darts_space_H_ln7": (0.06, 5, lambda e: math.log(7)),
    "edd_darts_space_H_linear": (0.06, 5, lambda e: math.log(7) * (1 - e / 60)),
    "edd_s1_strength0.12_H_ln2": (0.12, 5, lambda e: math.log(2)),
    "edd_s2_strength0.24_H_ln2": (0.24, 5, lambda e: math.log(2)),
    "edd_s3_strength0.48_H_ln3": (0.48, 5, lambda e: math.log(3)),
    "edd_s4_strength0.96_H_ln2": (0.96, 5, lambda e: math.log(2)),
    "edd_nb201_Hsum_6ln5": (0.04, 10, lambda e: 6 * math.log(5)),
    "edd_nb201_Hsum_linear": (0.04, 10, lambda e: 6 * math.log(5) * (1 - e / 60)),
}
CLOSED_LOOPS = {
    "edd_closed_loop_darts_frozen_alpha": (14, 7, 0.06, 5, torch.mean),
    "edd_closed_loop_nb201_frozen_alpha": (6, 5, 0.04, 10, torch.sum),
    "edd_closed_loop_s1_frozen_alpha": (14, 2, 0.12, 5, torch.mean),
}
EXACT = {"rel": 1e-9, "abs": 0.0}
FILLED_IN = TwoTemperatures(1.0, 10.0, 0.0)
"""Our epoch 0 of SP-DARTS where the released NAS-Bench-201 scripts stop:
dense, as in the DARTS space.
"""


def test_every_block_of_the_truth_is_tested():
    known = {
        *SP,
        *PCD,
        *EDDS,
        *CLOSED_LOOPS,
        "pcd_linear_cifar10l_warmup0",
        "pcd_linear_cifar100l_warmup10",
    }
    assert known | {"source", "note", "nb201_w_lr"} == TRUTH.keys()


@pytest.mark.parametrize("name", SP)
def test_sp_two_temperatures(name):
    truth = TRUTH[name]
    for e in EPOCHS:
        now = SP[name](e)
        if truth["T_sparse"][e] is None:
            assert now == FILLED_IN
            continue
        assert now.sparse == pytest.approx(truth["T_sparse"][e], **EXACT)
        assert now.dense == pytest.approx(truth["T_dense"][e], **EXACT)
        assert now.probability == pytest.approx(truth["prob_sparse"][e], **EXACT)


def test_sp_laid_out_over_fewer_epochs_still_ends_sparse():
    assert [schedules.sp_linear(e, 5, 1e-3, 10).probability for e in range(5)] == [
        0,
        0.25,
        0.5,
        0.75,
        1,
    ]
    assert schedules.sp_linear(0, 1, 1e-3, 10) == FILLED_IN


def test_sp_of_s1_to_s4_is_always_sparse_from_epoch_33():
    assert [schedules.sp_offset(e, 50, 3e-4).probability >= 1 for e in (32, 33)] == [False, True]


def test_sp_of_s1_to_s4_is_exactly_as_published_at_50_epochs_and_ends_at_the_same_probability_at_others():
    assert [schedules.sp_offset(e, 50, 3e-4).probability for e in EPOCHS] == [
        0.8 + 0.006 * (e + 1) for e in EPOCHS
    ]
    for epochs in (2, 25, 100):
        assert schedules.sp_offset(epochs - 1, epochs, 3e-4).probability == pytest.approx(1.1)
    assert [schedules.sp_offset(e, 25, 3e-4).probability >= 1 for e in (15, 16)] == [False, True]


@pytest.mark.parametrize("name", PCD)
def test_periodic_temperatures(name):
    decay, warmup = PCD[name]
    assert [schedules.pcd_temperature(e, decay, warmup) for e in EPOCHS] == pytest.approx(
        TRUTH[name], **EXACT
    )


@pytest.mark.parametrize(("name", "warmup"), [("cifar10l_warmup0", 0), ("cifar100l_warmup10", 10)])
def test_linear_control(name, warmup):
    truth = TRUTH[f"pcd_linear_{name}"]
    assert [schedules.linear_temperature(e, warmup) for e in EPOCHS] == pytest.approx(
        truth, **EXACT
    )


@pytest.mark.parametrize(
    ("decay", "steps"),
    [
        (0.10, [4.186331e-3, 2.188441e-3, 1.520786e-3, 1.185833e-3, 9.840551e-4, 5.756353e-4]),
        (0.11, [3.823303e-3, 2.006529e-3, 1.399122e-3, 1.094221e-3, 9.104290e-4, 5.377813e-4]),
        (0.12, [3.520733e-3, 1.854853e-3, 1.297626e-3, 1.017748e-3, 8.489296e-4, 5.060515e-4]),
        (0.13, [3.264668e-3, 1.726438e-3, 1.211647e-3, 9.529261e-4, 7.967646e-4, 4.790439e-4]),
    ],
)
def test_table_of_exponential_temperatures(decay, steps):
    found = [schedules.exponential_temperature(i, decay) for i in (1, 2, 3, 4, 5, 10)]
    assert found == pytest.approx(steps, rel=5e-7)


def test_the_typical_exponential_grows_linearly():
    grown = [
        math.exp(schedules.MU / schedules.exponential_temperature(i, 0.11)) for i in range(1, 11)
    ]
    assert grown == pytest.approx([1 + 0.11 * i for i in range(1, 11)], rel=1e-12)


def test_mu_is_the_mean_of_the_positive_half_of_the_initial_alpha():
    exact = 1e-3 / math.sqrt(2 * math.pi)
    assert round(exact, 6) == schedules.MU


def test_monotone_schedule_only_falls_after_its_warmup():
    temperatures = [schedules.monotone_temperature(e, 0.11, 5) for e in EPOCHS]
    assert temperatures[:5] == [1.0] * 5
    assert temperatures[5:15] == [schedules.exponential_temperature(i, 0.11) for i in range(1, 11)]
    assert all(a > b for a, b in itertools.pairwise(temperatures[4:]))


def test_periodic_schedule_returns_to_dense_until_epoch_40_and_then_falls():
    temperatures = [schedules.pcd_temperature(e, 0.11) for e in EPOCHS]
    assert [e for e in EPOCHS if temperatures[e] == 1] == [0, 10, 20, 30]
    tail = temperatures[40:]
    assert tail == sorted(tail, reverse=True)


def trace(strength, warmup, entropy):
    """Per epoch the state after its start; entropy: of (epoch, temperature)."""
    state, states = EDD(), []
    for e in EPOCHS:
        if schedules.edd_due(e, warmup):
            state = schedules.edd_update(state, e, entropy(e, state.temperature), strength)
        states.append(state)
    return states


@pytest.mark.parametrize("name", EDDS)
def test_entropy_driven_decay_of_a_given_entropy(name):
    strength, warmup, entropy = EDDS[name]
    states, truth = trace(strength, warmup, lambda e, _: entropy(e)), TRUTH[name]
    assert [s.count for s in states] == truth["count"]
    assert [s.decay for s in states] == pytest.approx(truth["decay"], **EXACT)
    assert [s.temperature for s in states] == pytest.approx(truth["T"], **EXACT)


@pytest.mark.parametrize("name", CLOSED_LOOPS)
def test_entropy_driven_decay_in_a_closed_loop(name):
    edges, ops, strength, warmup, reduce = CLOSED_LOOPS[name]
    r, c = torch.meshgrid(
        torch.arange(1, edges + 1).double(), torch.arange(1, ops + 1).double(), indexing="ij"
    )
    alpha, entropies = 1e-3 * torch.sin(1.7 * r * c + 0.3), {}

    def entropy(epoch, temperature):
        entropies[epoch] = float(reduce(relax.entropy(relax.softmax(alpha, temperature))))
        return entropies[epoch]

    states, updates = trace(strength, warmup, entropy), TRUTH[name]["updates"]
    assert list(entropies) == [u["epoch"] for u in updates]
    assert list(entropies.values()) == pytest.approx([u["H"] for u in updates], **EXACT)
    assert [states[u["epoch"]].temperature for u in updates] == pytest.approx(
        [u["T"] for u in updates], **EXACT
    )
    assert [states[u["epoch"]].decay for u in updates] == pytest.approx(
        [u["decay"] for u in updates], **EXACT
    )
    assert [states[u["epoch"]].count for u in updates] == [u["count"] for u in updates]


def test_entropy_driven_decay_moves_at_its_warmup_then_every_five_and_after_40_every_epoch():
    assert [e for e in EPOCHS if schedules.edd_due(e, 7)] == [
        7,
        10,
        15,
        20,
        25,
        30,
        35,
        *range(40, 50),
    ]


def test_a_steady_entropy_lets_the_temperature_fall_and_a_falling_one_may_raise_it():
    steady = [s.temperature for s in trace(0.04, 10, lambda *_: 6 * math.log(5))]
    assert steady == sorted(steady, reverse=True)
    falling = [s.temperature for s in trace(0.04, 10, lambda e, _: 6 * math.log(5) * (1 - e / 60))]
    assert falling[49] > falling[48]


def test_no_entropy_and_no_decay_keep_the_temperature():
    assert schedules.edd_update(EDD(), 10, 0.0, 0.04) == EDD(1.0, 0.0, 1)
    halved = schedules.edd_update(EDD(1e-3, 0.2, 3), 20, 0.0, 0.04)
    assert (halved.decay, halved.count) == (0.1, 4)


def weight_rate(entry, epoch):
    recipe = Recipe(
        epochs=entry["cos_epochs"] + entry["warmup"],
        warmup=entry["warmup"],
        warmup_rule="released",
        weight_lr=entry["w_lr"],
        weight_lr_end=entry["w_eta_min"],
    )
    return recipe.rate(epoch)


@pytest.mark.parametrize("name", TRUTH["nb201_w_lr"])
def test_weight_rates_of_the_nasbench201_experiments(name):
    entry = TRUTH["nb201_w_lr"][name]
    for epoch, rate in entry["w_lr_at"].items():
        assert weight_rate(entry, int(epoch)) == pytest.approx(rate, **EXACT)
    for epoch, rate in entry["w_lr_mid_epoch_at"].items():
        assert weight_rate(entry, int(epoch) + 0.5) == pytest.approx(rate, **EXACT)


def test_a_proper_warmup_rises_within_its_epochs_and_then_falls_to_the_end():
    recipe = Recipe(epochs=60, warmup=10, weight_lr=0.025, weight_lr_end=0.001)
    assert [recipe.rate(e) for e in (0, 5, 9.5)] == pytest.approx([0, 0.0125, 0.02375])
    assert recipe.rate(10) == recipe.rate(10.9) == 0.025
    assert recipe.rate(35) == pytest.approx(0.013)
    assert recipe.rate(59) == pytest.approx(schedules.cosine(49, 50, 0.025, 0.001))


def test_a_cosine_without_warmup_is_the_plain_one_and_equal_ends_are_constant():
    for e in EPOCHS:
        assert schedules.cosine(e, 50, 0.025, 0.001) == schedules.warmup_cosine(
            e, 50, 0, 0.025, 0.001
        )
        assert schedules.cosine(e, 50, 0.05, 0.05) == 0.05
    assert schedules.cosine(50, 50, 0.025, 0.001) == pytest.approx(0.001, rel=1e-12)
