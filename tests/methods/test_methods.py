"""Search methods: names and options, their rules against the released code,
their gradients against brute force.

Run: pytest tests/methods/test_methods.py
"""

import copy
import json
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from nasutils import methods, spaces
from nasutils.methods import base, relax, schedules
from nasutils.methods.base import Method
from nasutils.methods.darts import unrolled_gradients
from nasutils.spaces.base import everything
from tests.toys import toy_space

TRUTH = Path(__file__).parents[1] / "truth"
RELAXATION = json.loads((TRUTH / "relaxation.json").read_text())
SCHEDULES = json.loads((TRUTH / "schedules.json").read_text())
DOUBLE_SOFTMAX = json.loads((TRUTH / "darts.json").read_text())["s1_s4_double_softmax"]
NB201 = spaces.get("nasbench201")
CELL = toy_space("toy", alpha_shapes={"cell": (2, 3)})
BOTH_CELLS = toy_space("darts", alpha_shapes={"normal": (2, 7), "reduce": (2, 7)})


def wave(rows, columns, phase=0.3):
    """The alpha of the truth files."""
    r, c = torch.meshgrid(
        *(torch.arange(1, n + 1).double() for n in (rows, columns)), indexing="ij"
    )
    return 1e-3 * torch.sin(1.7 * r * c + phase)


def make(name, space=CELL, **options):
    return methods.get(name, space, dtype=torch.float64, **options)


def set_alpha(method, **values):
    with torch.no_grad():
        for name, value in values.items():
            method.alphas[name].copy_(value)


# Names and options


def test_the_contract_of_a_method_lists_all_that_any_of_ours_overrides():
    """The table in `methods.base`: a row per hook."""
    (table,) = re.findall(r"\n    to change .*?\n\n", base.__doc__, re.DOTALL)
    rows = [re.split(r" {2,}", row.strip()) for row in table.strip().splitlines()[2:]]
    hooks = {hook.partition(",")[0] for _, hook, _ in rows}
    assert hooks <= vars(Method).keys()
    overridden = set()
    for name in methods.names:
        above = type(make(name, NB201)).__mro__
        for kind in above[: above.index(Method)]:
            overridden |= vars(kind).keys() & vars(Method).keys()
    fields = {"name", "temperature", "orders", "partial", "extra"}
    dunders = {name for name in overridden if name.startswith("__") or name == "_abc_impl"}
    assert overridden - dunders - fields - {"load_state_dict"} <= hooks


@pytest.mark.parametrize("name", methods.names)
def test_a_method_by_its_name(name):
    method = make(name, NB201)
    assert method.name == name
    assert method.recipe.order in method.orders


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make("pcd-dart"),
            "unknown method 'pcd-dart': .*'edd-darts'.*; did you mean 'pcd-darts'",
        ),
        (
            lambda: make("darts", preset="publishd"),
            "unknown preset 'publishd': .*'released'; did you mean 'published'",
        ),
        (
            lambda: make("sp-darts", sparce=1e-3),
            "unknown option of sp-darts 'sparce': .*; did you mean 'sparse'",
        ),
        (lambda: make("darts", order=3), "order of darts must be 1 or 2, not 3"),
        (
            lambda: make("pcd-darts", schedule="lineal"),
            "schedule 'lineal': .*'monotone'.*did you mean 'linear'",
        ),
        (lambda: methods.options("dart"), "unknown method 'dart'.*did you mean 'darts'"),
    ],
)
def test_a_bad_name_shows_the_choices_and_the_nearest(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("darts", "temperature", 0.0),
        ("darts", "temperature", "1"),
        ("sp-darts", "sparse", -1e-3),
        ("sp-darts", "ratio", 0.0),
        ("pcd-darts", "decay", -1.0),
        ("pcd-darts", "warmup", -3),
        ("edd-darts", "strength", -0.04),
        ("edd-darts", "warmup", "a"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name, option, value):
    with pytest.raises(ValueError, match=f"{option} must be"):
        make(name, NB201, **{option: value})


def test_a_constant_temperature_is_positive():
    with pytest.raises(ValueError, match="fixed must be a positive number, not 0.0"):
        make("pcd-darts", NB201, schedule="constant", fixed=0.0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "pcd-darts",
            {"schedule": "linear", "decay": 0.1},
            "the linear schedule of pcd-darts does not use decay",
        ),
        (
            "pcd-darts",
            {"schedule": "constant", "decay": 0.1},
            "the constant schedule of pcd-darts does not use decay",
        ),
        ("pcd-darts", {"fixed": 1e-3}, "the periodic schedule of pcd-darts does not use fixed"),
        ("random", {"alpha_lr": 0.1}, "random takes no alpha_lr"),
        ("random", {"alpha_decay": 0.0}, "random takes no alpha_decay"),
    ],
)
def test_an_option_without_effect_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        make(name, **options)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight_lr", 0.0),
        ("weight_lr_end", -1e-3),
        ("weight_decay", float("inf")),
        ("momentum", 2.0),
        ("negligible", 1.0),
        ("clip", -1.0),
        ("nesterov", 1),
        ("augment", "no"),
        ("split", "halves"),
        ("order", "alpha_first"),
        ("warmup_rule", "propper"),
        ("batch", 0),
        ("alpha_from", 1.5),
    ],
)
def test_a_field_of_a_recipe_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field} .*{value}"):
        methods.Recipe(**{field: value})


def test_options_of_each_method():
    own = {
        "darts": {"order", "temperature", "alpha_decay"},
        "sp-darts": {"sparse", "ratio", "schedule"},
        "pcd-darts": {"schedule", "decay", "warmup", "fixed", "noisy"},
        "edd-darts": {"strength", "warmup", "adaptive", "noisy"},
        "random": set(),
        "ex-darts": {"order", "temperature"},
        "milenas": {"train_weight", "valid_weight"},
        "gdas": {"hot", "cold"},
        "pc-darts": {"partial", "warmup"},
        "gaea-bilevel": set(),
        "gaea-erm": set(),
        "drnas": {"distance", "scale", "partial", "stages"},
        "darts-minus": {"initial", "fading"},
        "beta-darts": {"growth"},
        "surgenas": {"initial"},
        "sdarts-rs": {"epsilon_start", "epsilon_end", "order", "temperature"},
        "sdarts-adv": {"epsilon_start", "epsilon_end", "steps"},
    }
    for name in methods.names:
        assert own[name] | {"alpha_lr", "alpha_decay", "policy"} <= set(methods.options(name))


# Architecture parameters


def test_initial_alpha_is_normal_of_deviation_one_thousandth():
    alpha = make("darts", toy_space("toy", alpha_shapes={"cell": (200, 100)})).alphas["cell"]
    assert alpha.requires_grad
    assert alpha.mean().item() == pytest.approx(0, abs=4e-3 / 20_000**0.5)
    assert alpha.std().item() == pytest.approx(1e-3, rel=0.02)
    assert (alpha.abs() < 1e-3).double().mean().item() == pytest.approx(0.6827, abs=0.014)


@pytest.mark.parametrize("name", [name for name in methods.names if not name.startswith("gaea")])
def test_the_seed_determines_alpha(name):
    first, again, other = (make(name, NB201, seed=seed).alphas["cell"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    single = methods.get(name, NB201, seed=1).alphas["cell"]
    torch.testing.assert_close(single.double(), first, rtol=1e-6, atol=0.0)


def test_random_draws_every_operation_equally_often_and_learns_nothing():
    picks = [
        make("random", NB201, seed=seed).inference()["cell"].argmax(dim=1) for seed in range(2000)
    ]
    counts = torch.stack(
        [F.one_hot(torch.stack(picks)[:, e], 5).sum(dim=0) for e in range(6)]
    ).double()
    # 24 degrees of freedom; 1 in 10,000 lies above 60
    chi2 = ((counts - 400).square() / 400).sum().item()
    assert chi2 < 60
    assert make("random", NB201).recipe.epochs == 0


@pytest.mark.parametrize(
    "case", RELAXATION["alpha_one_adam_step"]["cases"], ids=lambda c: f"{c['kind']}-{c['T']}"
)
def test_one_adam_step(case):
    options = {
        "noisy": case["kind"] == "sparse_noisy",
        "schedule": "constant",
        "fixed": case["T"],
        "warmup": 0,
    }
    method = make("pcd-darts", BOTH_CELLS, **options)
    set_alpha(method, normal=wave(2, 7), reduce=wave(2, 7, 1.1))
    method.begin_epoch(0)
    g = torch.tensor(RELAXATION["relaxation"]["g_normal"], dtype=torch.float64)
    loss = (g * method.mixing()["normal"]).sum()
    method.update(
        list(torch.autograd.grad(loss, list(method.alphas.values()), materialize_grads=True))
    )
    expected = torch.tensor(case["alpha_normal_after"], dtype=torch.float64)
    torch.testing.assert_close(method.alphas["normal"].detach(), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", methods.names)
def test_the_optimizer_of_alpha(name):
    rates = {"ex-darts": 0.025, "pc-darts": 6e-4, "gaea-bilevel": 0.1, "gaea-erm": 0.1}
    without_decay = {"random", "sp-darts", "pcd-darts", "edd-darts", "gaea-bilevel", "gaea-erm"}
    for group in make(name, NB201).optimizer.param_groups:
        assert (group["betas"], group["eps"]) == ((0.5, 0.999), 1e-8)
        assert group["lr"] == rates.get(name, 3e-4)
        assert group["weight_decay"] == (0 if name in without_decay else 1e-3)


# Gradients of alpha, against brute force


@dataclass
class Toy:
    """Two weight vectors, coupled to the mixing weights by a quadratic training loss;
    a smooth validation loss.
    """

    weights: list
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 0.01
    linear_valid: bool = False

    def loss(self, batch, mix, active=None, weights=None, log=True):
        u, v = self.weights if weights is None else weights
        p = mix["cell"]
        if batch == "train":
            return (
                0.5 * ((p[0] * u).sum() - (p[1] * v).sum() + 0.3).square()
                + (p * torch.stack([v, u]).square()).sum()
            )
        if self.linear_valid:
            return (torch.tensor([1.0, -2.0, 0.5]).double() * (u + 2 * v)).sum() + p.square().sum()
        return torch.sin((p[0] * v).sum()) + (p[1] * u.square()).sum() + (u * v).sum().square()

    def unrolled_weights(self, gradients):
        moved = [
            g + self.decay * w + self.momentum * 0.1
            for g, w in zip(gradients, self.weights, strict=True)
        ]
        return [
            w.detach() - self.rate * m for w, m in zip(self.weights, moved, strict=True)
        ], self.rate


def toy(**options):
    weights = torch.tensor([[0.7, -0.4, 0.2], [-0.3, 0.9, 0.5]], dtype=torch.float64)
    return Toy([w.clone().requires_grad_() for w in weights], **options)


def slope(function, alpha, direction, step=1e-4):
    """d function / d alpha along a direction, central differences of fourth order;
    alpha is put back.
    """
    start, values = alpha.detach().clone(), {}
    for k in (-2, -1, 1, 2):
        with torch.no_grad():
            alpha.copy_(start + k * step * direction)
        values[k] = function()
    with torch.no_grad():
        alpha.copy_(start)
    return (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)


def valid_loss(problem, method, *, ahead, train="train", valid="valid"):
    """L_valid(w, alpha), or L_valid(w'(alpha), alpha) one training step ahead."""
    mix = {name: p.detach() for name, p in method.mixing().items()}
    run = everything(mix)
    if not ahead:
        return problem.loss(valid, mix, run).item()
    gradients = torch.autograd.grad(
        problem.loss(train, mix, run), problem.weights, materialize_grads=True
    )
    return problem.loss(valid, mix, run, problem.unrolled_weights(gradients)[0]).item()


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("order", [1, 2])
def test_darts_gradient_is_the_slope_of_the_validation_loss(order, temperature):
    problem, method = toy(), make("darts", order=order, temperature=temperature)
    set_alpha(method, cell=wave(2, 3) * 500)
    alpha = method.alphas["cell"]
    (found,) = method.alpha_gradients(problem, "train", "valid")
    for i in range(alpha.numel()):
        direction = F.one_hot(torch.tensor(i), 6).double().view(2, 3)
        expected = slope(lambda: valid_loss(problem, method, ahead=order == 2), alpha, direction)
        assert found.view(-1)[i].item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_implicit_term_is_linear_in_the_rate_with_the_right_sign():
    """With a validation loss linear in the weights, it is -rate * d<dL_train/dw,
    dL_valid/dw>/dalpha.
    """
    method = make("darts", order=2)
    (first_order,) = make("darts").alpha_gradients(toy(linear_valid=True), "train", "valid")
    parts = [
        method.alpha_gradients(toy(linear_valid=True, rate=rate), "train", "valid")[0]
        - first_order
        for rate in (0.05, 0.1, 0.2)
    ]
    torch.testing.assert_close(parts[1], 2 * parts[0], rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(parts[2], 2 * parts[1], rtol=1e-10, atol=1e-13)
    problem, alpha = toy(linear_valid=True), method.alphas["cell"]
    toward = [torch.tensor([1.0, -2.0, 0.5]).double() * k for k in (1, 2)]

    def along():
        gradients = torch.autograd.grad(problem.loss("train", method.mixing()), problem.weights)
        return sum((g * v).sum() for g, v in zip(gradients, toward, strict=True)).item()

    direction = torch.tensor([[0.3, -1.0, 0.5], [0.8, 0.2, -0.6]]).double()
    assert (parts[1] * direction).sum().item() == pytest.approx(
        -0.1 * slope(along, alpha, direction), rel=1e-6
    )


@dataclass
class Network:
    """A supernet and an SGD step without momentum, as a `Problem`;
    a batch is a pair of images and labels.
    """

    net: torch.nn.Module
    rate: float = 0.05

    @property
    def weights(self):
        return list(self.net.parameters())

    def loss(self, batch, mix, active=None, weights=None, log=True):
        images, labels = batch
        if weights is None:
            return F.cross_entropy(self.net(images, mix, active), labels)
        values = dict(zip((n for n, _ in self.net.named_parameters()), weights, strict=True))
        return F.cross_entropy(
            torch.func.functional_call(self.net, values, (images, mix, active)), labels
        )

    def unrolled_weights(self, gradients):
        return [
            w.detach() - self.rate * g for w, g in zip(self.weights, gradients, strict=True)
        ], self.rate


@pytest.mark.parametrize("channels", [2, 4])
def test_second_order_on_a_supernet_is_the_slope_of_the_unrolled_loss(channels):
    torch.manual_seed(channels)
    problem = Network(NB201.supernet(channels, 1, 10).double())
    train, valid = ((torch.randn(6, 3, 8, 8).double(), torch.randint(10, (6,))) for _ in range(2))
    method = make("darts", NB201, order=2, seed=3)
    direction = torch.randn(6, 5).double()
    (found,) = unrolled_gradients(problem, method, train, valid)
    ahead = {"ahead": True, "train": train, "valid": valid}
    step = 1e-6  # the gradient jumps where a ReLU switches: stay on one side
    expected = slope(
        lambda: valid_loss(problem, method, **ahead), method.alphas["cell"], direction, step
    )
    assert (found * direction).sum().item() == pytest.approx(expected, rel=1e-6)
    (first,) = make("darts", NB201, seed=3).alpha_gradients(problem, train, valid)
    assert abs(((found - first) * direction).sum().item()) > 1e-3 * abs(expected)


def test_a_saturated_cell_without_a_path_has_no_gradient():
    method = make("sp-darts", NB201)
    set_alpha(method, cell=F.one_hot(torch.zeros(6, dtype=torch.long), 5).double())
    method.begin_epoch(49)
    method.begin_step()
    torch.manual_seed(0)
    batch = (torch.randn(2, 3, 8, 8).double(), torch.tensor([0, 1]))
    (found,) = method.alpha_gradients(Network(NB201.supernet(2, 1, 10).double()), batch, batch)
    assert not found.any()


# SP-DARTS


@pytest.mark.parametrize("epoch", [0, 10, 30, 49])
def test_sp_iterations_are_sparse_with_the_probability_of_the_epoch(epoch):
    method, draws = make("sp-darts", NB201), 4000
    method.begin_epoch(epoch)
    sparse = 0
    for _ in range(draws):
        method.begin_step()
        assert method.step_temperature in ((10.0,) if epoch == 0 else (1.1e-3, 11 * 1.1e-3))
        sparse += method.step_temperature == 1.1e-3
    c = epoch / 49
    assert sparse / draws == pytest.approx(c, abs=4 * (c * (1 - c) / draws) ** 0.5 + 1e-12)


def test_sp_uses_one_temperature_for_both_updates_of_an_iteration():
    method, temperatures = make("sp-darts", NB201), set()
    method.begin_epoch(25)
    for _ in range(20):
        method.begin_step()
        first, second = method.mixing()["cell"], method.mixing()["cell"]
        assert torch.equal(first, second)
        assert torch.equal(first, relax.softmax(method.alphas["cell"], method.step_temperature))
        temperatures.add(method.step_temperature)
    assert len(temperatures) == 2


@pytest.mark.parametrize(("schedule", "expected"), [("always", 1.1e-3), ("never", 11 * 1.1e-3)])
def test_sp_always_or_never_sparse_after_the_dense_first_epoch(schedule, expected):
    method = make("sp-darts", NB201, schedule=schedule)
    found = []
    for epoch in range(4):
        method.begin_epoch(epoch)
        method.begin_step()
        found.append(method.step_temperature)
    assert found == [10.0, *[expected] * 3]


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [("linear", 0, 10.0), ("linear", 1, 1.1e-3), ("never", 3, 11 * 1.1e-3)],
)
def test_sp_darts_is_judged_at_the_temperature_of_its_sparsest_steps(schedule, epoch, expected):
    method = make("sp-darts", NB201, schedule=schedule)
    method.begin_epoch(epoch)
    assert method.temperature == pytest.approx(expected, rel=1e-12)


# PCD- and EDD-DARTS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SCHEDULES["pcd_d0.11_nb201_cifar10_warmup5"]),
        ({"warmup": 10}, SCHEDULES["pcd_d0.11_nb201_cifar100_warmup10"]),
        ({"decay": 0.13, "warmup": 0}, SCHEDULES["pcd_d0.13_darts_or_s1_s4_warmup0"]),
        ({"schedule": "linear", "warmup": 10}, SCHEDULES["pcd_linear_cifar100l_warmup10"]),
        ({"schedule": "constant", "fixed": 2e-3}, [1.0] * 5 + [2e-3] * 45),
        (
            {"schedule": "monotone"},
            [schedules.monotone_temperature(e, 0.11, 5) for e in range(50)],
        ),
    ],
)
def test_pcd_temperatures(options, expected):
    method, found = make("pcd-darts", NB201, **options), []
    for epoch in range(50):
        method.begin_epoch(epoch)
        found.append(method.temperature)
    assert found == pytest.approx(expected, rel=1e-9, abs=0.0)


@pytest.mark.parametrize(
    ("name", "space", "alphas", "options"),
    [
        ("nb201", NB201, {"cell": wave(6, 5)}, {}),
        (
            "darts",
            toy_space("darts", alpha_shapes={"normal": (14, 7), "reduce": (14, 7)}),
            {"normal": wave(14, 7)},
            {"strength": 0.06, "warmup": 5},
        ),
        (
            "s1",
            toy_space("s1", alpha_shapes={"normal": (14, 2), "reduce": (14, 2)}),
            {"normal": wave(14, 2)},
            {"strength": 0.12, "warmup": 5},
        ),
    ],
)
def test_edd_closes_the_loop_over_a_frozen_alpha(name, space, alphas, options):
    method = make("edd-darts", space, **options)
    set_alpha(method, **alphas)
    updates = {u["epoch"]: u for u in SCHEDULES[f"edd_closed_loop_{name}_frozen_alpha"]["updates"]}
    expected = 1.0
    for epoch in range(50):
        if epoch in updates:
            assert method.entropy() == pytest.approx(updates[epoch]["H"], rel=1e-9)
            expected = updates[epoch]["T"]
        method.begin_epoch(epoch)
        assert method.temperature == pytest.approx(expected, rel=1e-9)


def test_edd_without_adaptation_sees_the_largest_entropy():
    method = make("edd-darts", NB201, adaptive=False)
    set_alpha(method, cell=wave(6, 5) * 1000)
    found = []
    for epoch in range(50):
        method.begin_epoch(epoch)
        found.append(method.temperature)
    assert found == pytest.approx(SCHEDULES["edd_nb201_Hsum_6ln5"]["T"], rel=1e-9)


@pytest.mark.parametrize("name", ["pcd-darts", "edd-darts"])
def test_small_temperature_methods_use_the_sparse_noisy_gradient(name):
    method = make(name, NB201)
    set_alpha(method, cell=wave(6, 5))
    method.begin_epoch(10)
    method.temperature, alpha, g = 1e-3, method.alphas["cell"], wave(6, 5, 2.0) * 500
    (found,) = torch.autograd.grad((g * method.mixing()["cell"]).sum(), alpha)
    p, q = relax.softmax(alpha, 1e-3).detach(), relax.softmax(alpha, 1.0).detach()
    expected = relax.softmax_gradient(p, g, 1e-3) + relax.softmax_gradient(q, g)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


# Presets


def difference(name, space=NB201):
    """Fields of the recipe in which the released preset departs from the published one."""
    published, released = (
        make(name, space, preset=preset).recipe for preset in ("published", "released")
    )
    return {
        f.name
        for f in fields(published)
        if getattr(published, f.name) != getattr(released, f.name)
    }


@pytest.mark.parametrize("name", ["sp-darts", "pcd-darts", "edd-darts"])
def test_released_recipe_clips_alpha_with_the_weights_on_nasbench201(name):
    assert difference(name) == {"clip_includes_alpha"}
    assert make(name, NB201, preset="released").recipe.clip_includes_alpha
    assert difference(name, BOTH_CELLS) == {"valid_batch"}


def test_released_darts_clips_alpha_with_the_weights_on_nasbench201():
    assert difference("darts") == {"clip_includes_alpha"}


def test_released_edd_has_no_noisy_gradient_on_nasbench201():
    for preset, space, noisy in (
        ("published", NB201, True),
        ("released", NB201, False),
        ("released", BOTH_CELLS, True),
    ):
        assert make("edd-darts", space, preset=preset).noisy == noisy
    assert make("edd-darts", NB201, preset="released", noisy=True).noisy


def test_released_noisy_gradient_leaves_the_reduction_cell_out():
    g = {name: wave(2, 7, phase) * 500 for name, phase in (("normal", 1.0), ("reduce", 2.0))}
    for preset, is_plain in (("published", False), ("released", True)):
        method = make("pcd-darts", BOTH_CELLS, preset=preset)
        method.temperature = 1e-3
        mix = method.mixing()
        for name, plain in (("normal", False), ("reduce", is_plain)):
            (found,) = torch.autograd.grad((g[name] * mix[name]).sum(), method.alphas[name])
            expected = relax.softmax_gradient(mix[name].detach(), g[name], 1e-3)
            assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12) == plain


def run_flags(name, preset, **options):
    """Which operations the two steps run where one weight is exactly 0:
    (alpha step, weight step).
    """
    method = make(name, NB201, preset=preset, **options)
    mix = {"cell": relax.one_hot(wave(6, 5))}
    steps = method.active_in_alpha_step(mix), method.active_in_weight_step(mix)
    return tuple(all(map(all, active["cell"])) for active in steps)


@pytest.mark.parametrize("name", ["darts", "sp-darts", "pcd-darts", "edd-darts"])
def test_released_runs_every_operation_and_published_skips_the_idle_ones(name):
    assert run_flags(name, "released") == (True, True)
    noisy = name in ("pcd-darts", "edd-darts")
    assert run_flags(name, "published") == (noisy, False)
    if noisy:
        assert run_flags(name, "published", noisy=False) == (False, False)


def test_weight_rates_of_the_recipes():
    authors = ("darts", "sp-darts", "pcd-darts", "edd-darts", "ex-darts")
    recipes = {name: make(name, NB201).recipe for name in authors}
    assert {
        name: (recipe.weight_lr, recipe.weight_lr_end) for name, recipe in recipes.items()
    } == {
        "darts": (0.025, 0.001),
        "sp-darts": (0.05, 0.05),
        "pcd-darts": (0.025, 0.025),
        "edd-darts": (0.025, 0.025),
        "ex-darts": (3e-4, 3e-4),
    }
    recipe = recipes["darts"]
    small = make("darts", NB201, temperature=1e-3).recipe
    assert small == replace(recipe, weight_lr_end=0.025)  # constant, as of PCD-DARTS
    assert (recipe.batch, recipe.weight_decay, recipe.nesterov, recipe.clip) == (
        256,
        5e-4,
        True,
        5.0,
    )
    assert (recipe.order, make("darts", BOTH_CELLS).recipe.order) == (
        "weights-first",
        "alpha-first",
    )


# State


@pytest.mark.parametrize("name", methods.names)
def test_a_restored_method_goes_on_bit_for_bit(name):
    def epoch(method, number):
        """What an epoch of three steps does: temperatures, mixing weights, alpha."""
        seen = []
        method.begin_epoch(number)
        for step in range(3):
            method.begin_step()
            mix = method.mixing()["cell"]
            loss = (mix * wave(6, 5, step)).sum()
            method.update(
                list(
                    torch.autograd.grad(loss, list(method.alphas.values()), materialize_grads=True)
                )
            )
            seen += [method.temperature, mix.tolist(), method.alphas["cell"].tolist()]
        return seen

    method = make(name, NB201, seed=1)
    for number in range(41):
        epoch(method, number)
    state = copy.deepcopy(method.state_dict())
    expected = [epoch(method, number) for number in (41, 42)]
    restored = make(name, NB201, seed=2)
    restored.load_state_dict(state)
    assert [epoch(restored, number) for number in (41, 42)] == expected


# The settings of each space


@pytest.mark.parametrize(
    ("space", "preset", "sparse", "ratio", "schedule", "batch", "rate"),
    [
        ("nasbench201", "published", 1.1e-3, 11, "linear", 256, 0.05),
        ("darts", "published", 1e-3, 10, "linear", 80, 0.05),
        ("s1", "published", 7e-4, 10, "offset", 128, 0.025),
        ("s4", "published", 4e-4, 10, "offset", 128, 0.025),
        ("s2", "released", 3e-4, 10, "offset", 128, 0.025),
    ],
)
def test_sp_darts_takes_the_papers_setting_of_the_space(
    space, preset, sparse, ratio, schedule, batch, rate
):
    method = methods.get("sp-darts", spaces.get(space), preset=preset)
    assert (method.sparse, method.ratio, method.schedule) == (sparse, ratio, schedule)
    assert (method.recipe.batch, method.recipe.weight_lr, method.recipe.weight_lr_end) == (
        batch,
        rate,
        rate,
    )


def test_sp_darts_on_s_spaces_is_sparse_from_the_start_and_always_in_the_end():
    method = methods.get("sp-darts", spaces.get("s2"))
    method.begin_epoch(0)
    assert (method.now.probability, method.now.sparse) == (pytest.approx(0.806), 6e-4)
    method.begin_epoch(33)
    method.begin_step()
    assert method.step_temperature == 6e-4


@pytest.mark.parametrize(
    ("name", "space", "expected"),
    [
        ("pcd-darts", "darts", {"decay": 0.11, "warmup": 0, "batch": 80}),
        ("pcd-darts", "s1", {"decay": 0.10, "warmup": 0, "batch": 192}),
        ("pcd-darts", "s4", {"decay": 0.13, "warmup": 0, "batch": 192}),
        ("pcd-darts", "nasbench201", {"decay": 0.11, "warmup": 5}),
        ("edd-darts", "darts7", {"strength": 0.06, "warmup": 5}),
        ("edd-darts", "s3", {"strength": 0.48, "warmup": 5}),
        ("edd-darts", "nasbench201", {"strength": 0.04, "warmup": 10}),
    ],
)
def test_small_temperature_methods_take_the_papers_setting_of_the_space(name, space, expected):
    method = methods.get(name, spaces.get(space))
    asked = {**vars(method), "batch": method.recipe.batch}
    assert {field: asked[field] for field in expected} == expected


@pytest.mark.parametrize("name", ["sp-darts", "pcd-darts", "edd-darts"])
@pytest.mark.parametrize(
    "case", DOUBLE_SOFTMAX, ids=lambda case: f"{case['edge'][:2]} {case['T']}"
)
def test_released_weight_steps_on_s_spaces_softmax_twice(name, case):
    alpha = torch.tensor(case["alpha"], dtype=torch.float64)
    space = toy_space(
        "s3", alpha_shapes={"normal": tuple(alpha.shape), "reduce": tuple(alpha.shape)}
    )
    method = methods.get(name, space, preset="released", dtype=torch.float64)
    set_alpha(method, normal=alpha, reduce=alpha)
    method.temperature = method.step_temperature = case["T"]
    for mix, truth in (
        (method.mixing(), case["alpha_step_weights"]),
        (method.weight_mixing(), case["weight_step_weights_double_softmax"]),
    ):
        torch.testing.assert_close(
            mix["normal"], torch.tensor(truth, dtype=torch.float64), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize(
    ("name", "space", "policy"),
    [
        ("sp-darts", "darts7", "top2-sp"),
        ("sp-darts", "s3", "top2-s1-s4"),
        ("pcd-darts", "darts7", "top2-small-temperature"),
        ("edd-darts", "s1", "top2-s1-s4"),
        ("sp-darts", "nasbench201", None),
    ],
)
def test_released_genotypes_come_from_the_released_parser(name, space, policy):
    space = spaces.get(space)
    assert methods.get(name, space).policy is None
    method = methods.get(name, space, preset="released")
    assert method.policy == policy
    assert method.genotype() == space.discretize(method.inference(), policy)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("edd-darts", {"adaptive": "no"}, "adaptive must be True or False, not 'no'"),
        ("edd-darts", {"noisy": 1}, "noisy must be True or False, not 1"),
        ("darts", {"alpha_lr": "x"}, "alpha_lr must be a number, not 'x'"),
        ("darts", {"alpha_lr": -1.0}, "alpha_lr must be a number, at least 0"),
        ("darts", {"alpha_decay": float("nan")}, "alpha_decay must be a number, at least 0"),
    ],
)
def test_an_option_of_another_kind_is_refused_by_name(name, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        methods.get(name, "nasbench201", **given)


def test_a_space_may_be_given_by_its_name():
    assert methods.get("darts", "nasbench201").space.name == "nasbench201"
    with pytest.raises(ValueError, match="did you mean 'nasbench201'"):
        methods.get("darts", "nasbench21")
