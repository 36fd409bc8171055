"""The baselines of the LHD benchmark and EX-DARTS:
every rule against numbers, and a search with each.

Run: pytest tests/methods/test_more_methods.py
"""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from scipy import special
from torch.distributions import Dirichlet, kl_divergence

from nasutils import data, methods, spaces
from nasutils.methods import relax, schedules
from nasutils.methods.beta_darts import penalty
from nasutils.methods.darts_minus import skip_masks, with_added_skip
from nasutils.methods.drnas import better_half, concentration, kl_to_flat
from nasutils.methods.gaea_bilevel import simplex
from nasutils.methods.gdas import gumbel, hard_softmax
from nasutils.methods.milenas import mixed_level
from nasutils.methods.pc_darts import edge_weights, incoming
from nasutils.spaces.nasbench201 import (
    EDGES,
    KERNELS,
    LEAVING,
    NASBench201,
    PartialCell,
    StackedWeights,
    SupernetCell,
)
from nasutils.training.search import Search
from tests.toys import toy_space

NB201 = spaces.get("nasbench201")
TWO_CELLS = toy_space(
    "toy", ops=("none", "skip_connect", "conv"), alpha_shapes={"normal": (5, 3), "reduce": (5, 3)}
)
DIGITS = data.load("digits", resolution=8)
TRAIN, VALID = data.search_split(DIGITS, "half", 64)
GDAS_TRUTH = json.loads((Path(__file__).parents[1] / "truth" / "lhd_gdas.json").read_text())
UNIFORM = torch.full((6, 5), 0.2, dtype=torch.float64)
NEW = (
    *("ex-darts", "milenas", "gdas", "pc-darts", "gaea-bilevel", "gaea-erm"),
    *("drnas", "darts-minus", "beta-darts", "surgenas"),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def make(name, space=NB201, **options):
    return methods.get(name, space, dtype=torch.float64, **options)


def double(rows):
    return torch.tensor(rows, dtype=torch.float64)


def noise(*shape, seed=0, scale=1.0):
    return scale * torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def set_alpha(method, seed=0, scale=1.0):
    with torch.no_grad():
        for i, alpha in enumerate(method.alphas.values()):
            alpha.copy_(noise(*alpha.shape, seed=seed + i, scale=scale))


def slopes(function, x, step=1e-5):
    """d function / d x by central differences, entry by entry; x is a tensor without gradient."""
    found = torch.zeros_like(x)
    for i in range(x.numel()):
        moved = [x.clone() for _ in range(2)]
        moved[0].view(-1)[i] += step
        moved[1].view(-1)[i] -= step
        found.view(-1)[i] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return found


def tiny(name, *, epochs=2, seed=0, preset="published", options=None, **recipe):
    """A search over 64 digits for the weights and 64 (or the same ones) for alpha,
    C = 4 and a cell per stage.
    """
    method = make(name, epochs=epochs, preset=preset, seed=seed, **(options or {}))
    split = "all" if method.recipe.split == "all" else "half"
    chosen = replace(
        method.recipe, **{"epochs": epochs, "batch": 32, "split": split, "alpha_from": 0, **recipe}
    )
    torch.manual_seed(seed)
    net = NB201.supernet(4, 1, 10, partial=method.partial).double()
    train, valid = data.search_split(DIGITS, split, 64)
    return Search(
        net, method, chosen, DIGITS, train, valid, recalibration=1, seed=seed, precision="float64"
    )


def two_batches(search, epoch=0):
    search.epoch = epoch
    search.begin_epoch()
    search.method.begin_step()
    index = torch.arange(32)
    return search.batch("train", TRAIN, index), search.batch("valid", VALID, index)


def gradients_at(search, batch):
    """dL/dw and dL/dalpha of one batch at the current point."""
    loss = F.cross_entropy(search.net(batch.images, search.method.mixing()), batch.labels)
    wanted = [*search.weights, *search.method.alphas.values()]
    found = torch.autograd.grad(loss, wanted, materialize_grads=True)
    return list(found[: len(search.weights)]), list(found[len(search.weights) :])


# Searches


@pytest.mark.parametrize("preset", ["published", "released"])
@pytest.mark.parametrize("name", [*NEW, "sdarts-rs", "sdarts-adv"])
def test_a_search_learns_and_resumes_bit_for_bit(name, preset):
    def epochs(search, count):
        records = [search.one_epoch() for _ in range(count)]
        return [
            {key: value for key, value in record.items() if key != "cost"} for record in records
        ]

    search = tiny(name, preset=preset, batch=64)
    random = torch.get_rng_state()
    start = {key: alpha.tolist() for key, alpha in search.method.alphas.items()}
    (first,) = epochs(search, 1)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(first["alpha"][key] != start[key] for key in start)
    state = copy.deepcopy(search.state_dict())
    expected = epochs(search, 1)
    restored = tiny(name, preset=preset, batch=64, seed=7)
    restored.load_state_dict(state)
    assert epochs(restored, 1) == expected


@pytest.mark.parametrize(
    ("name", "order", "allowed"),
    [
        ("gaea-erm", "alpha-first", "'together'"),
        ("milenas", "weights-first", "'together'"),
        ("darts", "together", "'al"),
    ],
)
def test_an_order_that_a_method_cannot_follow_is_refused(name, order, allowed):
    with pytest.raises(
        ValueError, match=f"unknown order of {name} '{order}': choose one of .*{allowed}"
    ):
        tiny(name, order=order)


def test_only_pc_darts_asks_for_partial_channels():
    assert {name: make(name).partial for name in NEW if make(name).partial != 1} == {"pc-darts": 4}
    assert make("drnas", partial=2).partial == 2


def test_a_supernet_without_the_partial_channels_is_refused():
    method = make("pc-darts")
    with pytest.raises(ValueError, match="pc-darts needs a supernet.*partial=4"):
        Search(NB201.supernet(4, 1, 10).double(), method, method.recipe, DIGITS, TRAIN, VALID)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("milenas", "train_weight", 0.0),
        ("gdas", "cold", -0.1),
        ("pc-darts", "partial", 0),
        ("pc-darts", "warmup", -1),
        ("drnas", "warmup", 1.5),
        ("gaea-bilevel", "alpha_lr", 0.0),
        ("drnas", "scale", -1e-3),
        ("drnas", "distance", "l1"),
        ("darts-minus", "initial", -1.0),
        ("darts-minus", "fading", "slowly"),
        ("beta-darts", "growth", float("nan")),
        ("surgenas", "initial", "1"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(name, option, value):
    with pytest.raises(ValueError, match=option):
        make(name, **{option: value})


# EX-DARTS


def test_ex_darts_swaps_the_initial_rates_and_nothing_else():
    swapped, plain = make("ex-darts"), make("darts")
    assert replace(swapped.recipe, weight_lr=0.025, weight_lr_end=0.001) == plain.recipe
    assert (swapped.recipe.weight_lr, swapped.recipe.weight_lr_end) == (3e-4, 3e-4)
    groups = [method.optimizer.param_groups[0] for method in (swapped, plain)]
    assert [group["lr"] for group in groups] == [0.025, 3e-4]
    assert [group["weight_decay"] for group in groups] == [1e-3, 1e-3]
    assert make("ex-darts", order=2).order == 2


# Single-level and mixed-level search


@pytest.mark.parametrize("name", ["gaea-erm", "surgenas"])
def test_single_level_takes_both_gradients_from_one_pass_over_all_data(name):
    search = tiny(name)
    assert (search.method.recipe.order, search.method.recipe.split) == ("together", "all")
    train, valid = two_batches(search)
    to_weights, to_alpha = gradients_at(search, train)
    passes, loss = [], search.loss
    search.loss = lambda batch, *rest: passes.append(batch.role) or loss(batch, *rest)
    found = search.method.joint_gradients(search, train, valid)
    assert passes == ["train"]
    torch.testing.assert_close(found, (to_weights, to_alpha), rtol=1e-12, atol=1e-14)


def test_both_move_from_the_same_point():
    search = tiny("surgenas", momentum=0.0, nesterov=False, weight_decay=0.0, clip=1e9)
    train, valid = two_batches(search)
    to_weights, to_alpha = gradients_at(search, train)
    before = [w.detach().clone() for w in search.weights]
    twin = copy.deepcopy(search.method)
    twin.update([g.clone() for g in to_alpha])
    search._joint_step(train, valid)
    for w, b, g in zip(search.weights, before, to_weights, strict=True):
        torch.testing.assert_close(
            w.detach(), b - search.recipe.weight_lr * g, rtol=1e-10, atol=1e-14
        )
    torch.testing.assert_close(
        search.method.alphas["cell"], twin.alphas["cell"], rtol=1e-10, atol=1e-14
    )


def test_single_level_leaves_no_validation_loss_and_counts_its_images_once():
    search = tiny("gaea-erm", epochs=1)
    record = search.one_epoch()
    assert record["valid_loss"] is None and record["train_loss"] > 0
    assert len(search.train) == len(search.valid) == 64
    assert torch.equal(search.train.images, search.valid.images)


def test_the_split_all_is_the_training_set_twice():
    train, valid = data.search_split(DIGITS, "all")
    assert len(train) == len(valid) == len(DIGITS.train)
    train, valid = data.search_split(DIGITS, "all", 50)
    assert torch.equal(train.images, valid.images) and len(train) == 50


def test_mixed_level_by_hand():
    (found,) = mixed_level([torch.tensor([1.0, -2.0])], [torch.tensor([10.0, 4.0])], 0.5, 2.0)
    assert found.tolist() == [20.5, 7.0]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 3.0)])
def test_milenas_follows_both_losses_at_one_point_in_two_passes(weights):
    search = tiny(
        "milenas", options=dict(zip(("train_weight", "valid_weight"), weights, strict=True))
    )
    train, valid = two_batches(search)
    (to_weights, of_train), (_, of_valid) = (
        gradients_at(search, train),
        gradients_at(search, valid),
    )
    passes, loss = [], search.loss
    search.loss = lambda batch, *rest: passes.append(batch.role) or loss(batch, *rest)
    found_weights, found_alpha = search.method.joint_gradients(search, train, valid)
    assert sorted(passes) == ["train", "valid"]
    torch.testing.assert_close(found_weights, to_weights, rtol=1e-12, atol=1e-14)
    expected = weights[0] * of_train[0] + weights[1] * of_valid[0]
    torch.testing.assert_close(found_alpha[0], expected, rtol=1e-12, atol=1e-14)


# GDAS


def test_gdas_temperatures_fall_linearly_from_10_to_a_tenth():
    method, found = make("gdas"), []
    for epoch in range(50):
        method.begin_epoch(epoch)
        found.append(method.temperature)
    assert found == pytest.approx([10 - 9.9 * e / 49 for e in range(50)], rel=1e-12)
    assert schedules.linear(0, 1, 10.0, 0.1) == 10.0


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_a_hard_sample_is_exactly_one_hot_with_the_gradient_of_the_softmax(temperature):
    scores, g = noise(6, 5), noise(6, 5, seed=1)
    leaf = scores.clone().requires_grad_()
    hard = hard_softmax(leaf, temperature)
    assert torch.equal(hard.detach(), F.one_hot(scores.argmax(dim=-1), 5).double())
    (found,) = torch.autograd.grad((hard * g).sum(), leaf)
    expected = slopes(lambda s: (torch.softmax(s / temperature, dim=-1) * g).sum(), scores)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_a_float32_sample_is_one_hot_too():
    hard = hard_softmax(noise(1000, 5).float() * 30, 0.1)
    assert set(hard.unique().tolist()) == {0.0, 1.0}


def test_gdas_samples_operations_with_the_probabilities_of_the_softmax():
    method, draws = make("gdas", epochs=1), 2000
    set_alpha(method)
    counts = torch.zeros(6, 5, dtype=torch.float64)
    for _ in range(draws):
        method.begin_step()
        counts += method.mixing()["cell"].detach()
    expected = draws * torch.softmax(method.alphas["cell"].detach(), dim=-1)
    chi2 = ((counts - expected).square() / expected).sum().item()  # 24 degrees of freedom
    assert chi2 < 60
    torch.testing.assert_close(method.inference()["cell"], expected / draws)


def test_gdas_draws_anew_for_each_of_the_two_steps():
    method, same = make("gdas"), 0
    for _ in range(200):
        method.begin_step()
        alpha_step, again = method.mixing()["cell"], method.mixing()["cell"]
        assert torch.equal(alpha_step, again)
        same += (alpha_step * method.weight_mixing()["cell"]).sum().item()
    # alpha is all but uniform
    assert same / 1200 == pytest.approx(0.2, abs=4 * math.sqrt(0.16 / 1200))


@pytest.mark.parametrize("preset", ["published", "released"])
def test_gdas_runs_only_the_sampled_operations(preset):
    search = tiny("gdas", preset=preset, batch=64)
    seen, forward = [], search.net.forward
    search.net.forward = lambda images, mix, active=None: (
        seen.append((mix, active)) or forward(images, mix, active)
    )
    search.step(*two_batches(search))
    assert len(seen) == 2
    for mix, active in seen:
        assert torch.equal(torch.tensor(active["cell"]), mix["cell"] != 0)
        assert [sum(edge) for edge in active["cell"]] == [1] * 6


def test_gdas_passes_on_the_gradient_at_the_sampled_operation_only():
    search = tiny("gdas")
    train, valid = two_batches(search)
    method = search.method
    (found,) = method.alpha_gradients(search, train, valid)
    hard = method.mixing()["cell"].detach().requires_grad_()
    loss = F.cross_entropy(search.net(valid.images, {"cell": hard}), valid.labels)
    (g,) = torch.autograd.grad(loss, hard)
    alpha = method.alphas["cell"].detach()
    drawn = gumbel(alpha, torch.Generator().manual_seed(method.seeds[0]))
    p = torch.softmax((alpha + drawn) / method.temperature, dim=-1)
    expected = relax.softmax_gradient(p, g * hard.detach(), method.temperature)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_straight_through_gradients_of_the_reference_at_two_temperatures(kind):
    """Both forwards are equal, so dL/dsample, recovered at tau = 10,
    must give the gradient at tau = 0.1.
    """
    i = torch.arange(140) + {"normal": 1000, "reduce": 2000}[kind]
    h = ((7919 * i + 12345) % 10007).double() / 10007
    alpha, compared = 0.5 * (2 * h - 1), 0
    hot, cold = (
        torch.tensor(GDAS_TRUTH[f"tau {tau}"][kind], dtype=torch.float64).flatten()
        for tau in (10, 0.1)
    )
    for node in range(5):
        size, start = 7 * (2 + node), 7 * (0, 2, 5, 9, 14)[node]
        part = slice(start, start + size)
        leaf = alpha[part].clone().requires_grad_()
        g = 10 * hot[part] / torch.softmax(leaf.detach() / 10, dim=0)
        (found,) = torch.autograd.grad((hard_softmax(leaf, 0.1) * g).sum(), leaf)
        torch.testing.assert_close(found, cold[part], rtol=1e-8, atol=1e-12)
        compared += size
    assert compared == 140


# DrNAS


def test_concentration_by_hand():
    found = concentration(double([-1.0, 0.0, 2.0]))
    assert found.tolist() == pytest.approx([math.exp(-1), 1.0, 3.0], rel=1e-12)


def test_dirichlet_samples_have_the_moments_of_the_distribution():
    c = concentration(noise(3, 4))
    draws = torch.Generator().manual_seed(0)
    samples = torch.stack([relax.dirichlet(c, draws) for _ in range(20_000)])
    torch.testing.assert_close(samples.sum(dim=-1), torch.ones(20_000, 3).double())
    total = c.sum(dim=-1, keepdim=True)
    mean = c / total
    variance = mean * (1 - mean) / (total + 1)
    torch.testing.assert_close(
        samples.mean(dim=0), mean, rtol=0, atol=4 * (variance.max() / 20_000).sqrt().item()
    )
    torch.testing.assert_close(samples.var(dim=0), variance, rtol=0.06, atol=0)


def test_the_dirichlet_gradient_moves_each_weight_along_its_quantile():
    """x_j keeps its quantile in Beta(c_j, C - c_j), the others share the rest in proportion."""
    c, g = concentration(noise(20, 4, scale=0.7)), noise(20, 4, seed=1)
    leaf = c.clone().requires_grad_()
    x = relax.dirichlet(leaf, torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad((x * g).sum(), leaf)
    x, step = x.detach(), 1e-4
    expected = torch.zeros_like(c)
    for j in range(4):
        a, b = c[:, j].numpy(), (c.sum(dim=1) - c[:, j]).numpy()
        quantile = special.betainc(a, b, x[:, j].numpy())
        up, down = (torch.tensor(special.betaincinv(a + d, b, quantile)) for d in (step, -step))
        moved = (up - down) / (2 * step)
        others = (x * g).sum(dim=1) - x[:, j] * g[:, j]
        expected[:, j] = moved * (g[:, j] - others / (1 - x[:, j]))
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=1e-4)


def test_the_mean_dirichlet_gradient_is_that_of_the_mean():
    c, g = double([[0.6, 1.0, 1.7]]), double([[1.0, -2.0, 0.5]])
    many = c.expand(40_000, 3).clone().requires_grad_()
    (found,) = torch.autograd.grad(
        (relax.dirichlet(many, torch.Generator().manual_seed(0)) * g).sum(), many
    )
    expected = slopes(lambda c: (c / c.sum() * g).sum(), c)
    error = found.std(dim=0) / 200
    assert ((found.mean(dim=0) - expected[0]).abs() < 4 * error).all()


def test_the_dirichlet_gradient_is_pytorchs():
    c, g = concentration(noise(6, 5)), noise(6, 5, seed=1)
    ours, theirs = (c.clone().requires_grad_() for _ in range(2))
    x = relax.dirichlet(ours, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    y = Dirichlet(theirs).rsample()
    assert torch.equal(x, y)
    for value in (x, y):
        (value * g).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


def test_kl_to_the_flat_distribution():
    c = concentration(noise(6, 5))
    torch.testing.assert_close(
        kl_to_flat(c), kl_divergence(Dirichlet(c), Dirichlet(torch.ones_like(c)))
    )
    torch.testing.assert_close(
        kl_to_flat(torch.ones(1, 5).double()), torch.zeros(1).double(), rtol=0, atol=1e-12
    )


def test_drnas_adds_the_distance_that_it_is_asked_for():
    problem = SimpleNamespace(
        loss=lambda batch, mix, active: sum(m.sum() * 0 for m in mix.values())
    )
    found = {}
    for distance in ("l2", "kl", "none"):
        method = make("drnas", distance=distance, **({} if distance == "none" else {"scale": 0.1}))
        set_alpha(method)
        found[distance] = (
            method.alpha_gradients(problem, None, None)[0],
            method.optimizer.param_groups[0],
        )
    alpha = method.alphas["cell"].detach()
    expected = 0.1 * slopes(lambda a: kl_to_flat(concentration(a)).sum(), alpha)
    torch.testing.assert_close(found["kl"][0], expected, rtol=1e-6, atol=1e-9)
    assert not found["l2"][0].any() and not found["none"][0].any()
    assert [group["weight_decay"] for _, group in found.values()] == [0.1, 0, 0]
    assert make("drnas").distance == "l2" and make("drnas", preset="released").distance == "none"


def test_drnas_is_judged_by_the_mean_as_published_and_by_the_softmax_as_released():
    for preset in ("published", "released"):
        method = make("drnas", preset=preset)
        set_alpha(method)
        alpha = method.alphas["cell"].detach()
        c = torch.where(alpha > 0, alpha + 1, alpha.exp())
        expected = (
            c / c.sum(dim=1, keepdim=True)
            if preset == "published"
            else torch.softmax(alpha, dim=1)
        )
        torch.testing.assert_close(method.inference()["cell"], expected)


def test_the_better_half_is_the_best_of_those_left_and_the_first_of_equals():
    scores = torch.tensor([[0.0, 3.0, 1.0, 2.0, 9.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    kept = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 0.0]])
    assert better_half(scores, kept).tolist() == [[0, 1, 0, 1, 0], [1, 1, 0, 0, 0]]
    assert better_half(scores, torch.ones(2, 5)).sum(dim=1).tolist() == [3, 3]


def test_drnas_removes_the_worse_half_in_each_later_stage_for_good():
    method = make("drnas", epochs=9, stages=3)
    with torch.no_grad():
        method.alphas["cell"].copy_(torch.arange(30.0).view(6, 5) % 7)
    left = []
    for epoch in range(9):
        method.begin_epoch(epoch)
        method.begin_step()
        drawn, mean = method.mixing()["cell"], method.inference()["cell"]
        torch.testing.assert_close(drawn.sum(dim=1), torch.ones(6), check_dtype=False)
        torch.testing.assert_close(mean.sum(dim=1), torch.ones(6), check_dtype=False)
        assert ((drawn > 0) == (mean > 0)).all()
        left.append((mean > 0).sum(dim=1).unique().tolist())
    assert left == [[5]] * 3 + [[3]] * 3 + [[2]] * 3
    best = method.alphas["cell"].topk(2, dim=1).indices.sort(dim=1).values
    assert mean.nonzero()[:, 1].view(6, 2).tolist() == best.tolist()
    (gradient,) = torch.autograd.grad(
        (method.mixing()["cell"] * torch.randn(6, 5)).sum(), method.alphas["cell"]
    )
    assert gradient[mean == 0].abs().max() < 1e-6 < gradient[mean > 0].abs().min()

    again = make("drnas", epochs=9, stages=3)
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.mixing()["cell"] > 0, mean > 0)
    with pytest.raises(ValueError, match="stages of drnas must be 1 as released"):
        make("drnas", preset="released", stages=2)


def test_drnas_keeps_only_what_competes_in_the_space():
    class WithoutNone(NASBench201):
        def relax(self, scores, rule, **how):
            return {"cell": F.pad(rule(scores["cell"][:, 1:]), (1, 0))}

    method = make("drnas", WithoutNone(), epochs=9, stages=3)
    with torch.no_grad():
        method.alphas["cell"].copy_(torch.tensor([9.0, 1.0, 2.0, 3.0, 4.0]))
    for epoch, left in ((0, [1, 2, 3, 4]), (3, [3, 4]), (6, [4])):
        method.begin_epoch(epoch)
        assert method.inference()["cell"][0].nonzero().flatten().tolist() == left


def test_the_stages_of_drnas_are_equal_parts_of_the_search():
    """The authors: 25 and 25 epochs, alpha moves from epoch 10 on."""
    method, left = make("drnas", TWO_CELLS, epochs=50, stages=2), []
    for epoch in range(50):
        method.begin_epoch(epoch)
        left.append(int((method.inference()["normal"] > 0).sum(dim=1).unique()))
    assert left == [3] * 25 + [2] * 25
    assert method.recipe.alpha_from == 10


def test_a_stage_of_drnas_in_which_alpha_only_rests_is_refused():
    assert make("drnas", TWO_CELLS, epochs=6, stages=3, warmup=1).recipe.alpha_from == 1
    with pytest.raises(
        ValueError,
        match="must be fewer than 3: the first of them, 2 epochs long, must outlast .* of 2",
    ):
        make("drnas", TWO_CELLS, epochs=6, stages=3, warmup=2)


def test_drnas_reads_its_cell_off_the_mean_or_off_the_softmax_of_alpha():
    """The best of 8 operations on the edges from 0, 1, 2: mean 0.280, 0.300, 0.222;
    softmax 0.280, 0.300, 0.514.
    """
    found = {}
    for read in ("mean", "softmax"):
        method = make("drnas", spaces.get("darts"), read=read)
        with torch.no_grad():
            for edge, best, others in ((2, 0.0, -1.0), (3, 0.0, -1.1), (4, 3.0, 1.0)):
                method.alphas["normal"][edge] = others
                method.alphas["normal"][edge, 4] = best
        found[read] = [source for _, source in method.genotype().cells[0].nodes[1]]
    assert found == {"mean": [1, 0], "softmax": [2, 1]}
    with pytest.raises(ValueError, match="read of drnas must be 'softmax' as released"):
        make("drnas", preset="released", read="mean")


@pytest.mark.parametrize("options", [{"distance": "none"}, {"preset": "released"}])
def test_drnas_refuses_a_scale_of_no_distance(options):
    with pytest.raises(
        ValueError, match="scale of drnas is the weight of a distance, of which there is none"
    ):
        make("drnas", scale=0.1, **options)


def test_drnas_draws_anew_for_each_step_and_keeps_the_draw_within_it():
    method, seen = make("drnas"), []
    for _ in range(2):
        method.begin_step()
        assert torch.equal(method.mixing()["cell"], method.mixing()["cell"])
        seen += [method.mixing()["cell"], method.weight_mixing()["cell"]]
    assert len({tuple(mix.flatten().tolist()) for mix in seen}) == 4
    assert (make("drnas").recipe.alpha_from, make("drnas", TWO_CELLS).recipe.alpha_from) == (0, 10)


# GAEA


def exponentiated(p, gradient, rate):
    return simplex(p.log() - rate * gradient)


def test_one_exponentiated_step_by_hand():
    p, g = double([[0.5, 0.3, 0.2]]), double([[1.0, 0.0, -2.0]])
    moved = [0.5 * math.exp(-0.1), 0.3, 0.2 * math.exp(0.2)]
    assert exponentiated(p, g, 0.1)[0].tolist() == pytest.approx(
        [m / sum(moved) for m in moved], rel=1e-12
    )


def test_exponentiated_weights_are_a_softmax_of_the_summed_gradients():
    p, g = UNIFORM, noise(6, 5)
    for _ in range(20):
        p = exponentiated(p, g, 0.1)
    torch.testing.assert_close(p, torch.softmax(-2.0 * g, dim=-1), rtol=1e-12, atol=0)


def test_no_weight_falls_below_the_floor():
    p, g = UNIFORM[:1], double([[1e3, 0.0, 0.0, 0.0, -1e-3]])
    p = exponentiated(p, g, 0.1)
    floored = [1e-5, 0.2, 0.2, 0.2, 0.2 * math.exp(1e-4)]
    assert p[0].tolist() == pytest.approx([f / sum(floored) for f in floored], rel=1e-12)


@pytest.mark.parametrize("steep", [1e3, 1e30])
def test_a_step_beyond_what_exp_can_hold_has_finite_weights_above_the_floor(steep):
    p, g = (
        torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]]),
        torch.tensor([[-steep, 0.0, steep], [0.0, 0.0, 0.0]]),
    )
    moved = exponentiated(p, g, 0.1)
    torch.testing.assert_close(moved[0], torch.tensor([1.0, 1e-5, 1e-5]) / (1 + 2e-5))
    torch.testing.assert_close(moved[1], p[1])
    assert exponentiated(moved, g, 0.1).isfinite().all()


@pytest.mark.parametrize("name", ["gaea-bilevel", "gaea-erm"])
def test_gaea_starts_uniform_and_mixes_with_the_simplex_or_with_a_softmax_of_it(name):
    g = noise(6, 5)
    expected = exponentiated(UNIFORM, g, 0.1)
    for preset in ("published", "released"):
        method = make(name, preset=preset)
        assert torch.equal(method.alphas["cell"].detach(), UNIFORM)
        method.update([g])
        mix = method.mixing()["cell"]
        torch.testing.assert_close(
            mix, expected if preset == "published" else torch.softmax(expected, dim=-1)
        )
        assert torch.equal(method.inference()["cell"], mix)
        method.update([100 * g])
        ratio = (
            (method.mixing()["cell"].amax(dim=1) / method.mixing()["cell"].amin(dim=1))
            .max()
            .item()
        )
        assert ratio > 1e3 if preset == "published" else ratio < math.e


def test_gaea_refuses_a_decay_of_alpha():
    with pytest.raises(ValueError, match="gaea-erm takes no alpha_decay"):
        make("gaea-erm", alpha_decay=1e-3)


# Auxiliary skips


def plain(cell, x, weights, groups=1, extra=lambda weights, x: 0.0):
    """A NAS-Bench-201 supernet cell edge by edge: operations on C / groups channels;
    `extra` is added on an edge.
    """
    q, nodes = x.shape[1] // groups, [x]
    for node in (1, 2, 3):
        total = torch.zeros_like(x)
        for e, (source, target) in enumerate(EDGES):
            if target != node:
                continue
            head, rest = nodes[source][:, :q], nodes[source][:, q:]
            outs = [
                torch.zeros_like(head),
                head,
                None,
                None,
                F.avg_pool2d(head, 3, 1, 1, count_include_pad=False),
            ]
            own = slice(LEAVING[source].index(e) * q, (LEAVING[source].index(e) + 1) * q)
            for op, kernel in KERNELS.items():
                y = F.conv2d(
                    F.relu(head), cell.fans[source][str(op)].conv.weight[own], padding=kernel // 2
                )
                outs[op] = F.batch_norm(y, None, None, training=True)
            mixed = sum(w * y for w, y in zip(weights[e], outs, strict=True)) + extra(
                weights[e], head
            )
            joined = torch.cat([mixed, weights[e].sum() * rest], dim=1)
            total = total + joined.unflatten(1, (groups, q)).transpose(1, 2).flatten(1, 2)
        nodes.append(total)
    return nodes[-1]


def run(cell, x, weights):
    return cell(x, StackedWeights(weights, [[True] * 5] * 6))


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("darts-minus", lambda weights, x: 0.7 * x),
        ("surgenas", lambda weights, x: sum(w * 0.7 * x for w in weights)),
    ],
)
def test_an_added_identity_is_an_added_weight_of_the_skip(name, extra):
    torch.manual_seed(0)
    cell, x, weights = (
        SupernetCell(4).double(),
        noise(3, 4, 6, 6),
        noise(6, 5, seed=1).abs().requires_grad_(),
    )
    method = make(name, initial=0.7)
    mix = with_added_skip({"cell": weights}, NB201, skip_masks(NB201, "test"), method.added)
    found, expected = run(cell, x, mix["cell"]), plain(cell, x, weights, extra=extra)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    g = noise(*found.shape, seed=2)
    gradients = [torch.autograd.grad((y * g).sum(), weights)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("darts-minus", {}, lambda e: (50 - e) / 50),
        ("darts-minus", {"initial": 0.4}, lambda e: 0.4 * (50 - e) / 50),
        ("darts-minus", {"fading": "cosine"}, lambda e: 0.5 * (1 + math.cos(math.pi * e / 50))),
        ("darts-minus", {"fading": "never"}, lambda e: 1.0),
        ("surgenas", {}, lambda e: (50 - e) / 50),
    ],
)
def test_the_auxiliary_coefficient_fades_and_is_not_judged(name, options, expected):
    method = make(name, **options)
    set_alpha(method)
    p = torch.softmax(method.alphas["cell"].detach(), dim=-1)
    for epoch in (0, 1, 25, 49):
        method.begin_epoch(epoch)
        mix = method.mixing()["cell"].detach()
        torch.testing.assert_close(mix[:, 1], p[:, 1] + expected(epoch))
        torch.testing.assert_close(mix[:, [0, 2, 3, 4]], p[:, [0, 2, 3, 4]])
        torch.testing.assert_close(method.inference()["cell"], p)


def test_without_a_coefficient_darts_minus_and_surgenas_mix_as_darts():
    mixes = []
    for name in ("darts", "darts-minus", "surgenas"):
        method = make(name, seed=4)
        method.coefficient = 0.0
        mixes.append(method.mixing()["cell"])
    assert torch.equal(mixes[0], mixes[1]) and torch.equal(mixes[0], mixes[2])


def test_skips_are_found_edge_by_edge():
    space = toy_space(
        "toy",
        alpha_shapes={"normal": (3, 2)},
        edge_ops={"normal": (("skip_connect", "a"), ("a", "skip_connect"), ("a", "b"))},
    )
    assert skip_masks(space, "test")["normal"].tolist() == [[1, 0], [0, 1], [0, 0]]
    more = toy_space(
        "toy",
        ops=TWO_CELLS.ops,
        alpha_shapes={"normal": (5, 3), "normal_output": (2, 5)},
        cell_types=("normal",),
    )
    assert skip_masks(more, "test").keys() == {"normal"}


@pytest.mark.parametrize("name", ["darts-minus", "surgenas"])
def test_a_space_without_skips_is_refused(name):
    with pytest.raises(
        ValueError, match=f"{name} adds to skip connections, and the space toy has none"
    ):
        make(name, toy_space("toy", ops=("noise", "conv"), alpha_shapes={"cell": (2, 2)}))


# Beta-DARTS


def test_the_penalty_by_hand_and_its_gradient():
    assert penalty([double([[0.0, 0.0], [0.0, math.log(3)]])]).item() == pytest.approx(
        (math.log(2) + math.log(4)) / 2
    )
    alphas = [noise(4, 3).requires_grad_(), noise(2, 3, seed=1).requires_grad_()]
    found = torch.autograd.grad(penalty(alphas), alphas)
    for i in range(2):
        fixed = [a.detach() for a in alphas]
        expected = slopes(
            lambda a, i=i, fixed=fixed: penalty([*fixed[:i], a, *fixed[i + 1 :]]), fixed[i]
        )
        torch.testing.assert_close(found[i], expected, rtol=1e-6, atol=1e-10)
        torch.testing.assert_close(found[i], torch.softmax(fixed[i], dim=-1) / 6)


@pytest.mark.parametrize("epoch", [0, 10])
def test_the_penalty_grows_as_published_and_has_no_gradient_as_released(epoch):
    problem = SimpleNamespace(
        loss=lambda batch, mix, active: sum((m * 3).square().sum() for m in mix.values())
    )
    plain_gradient = make("darts").alpha_gradients(problem, None, None)[0]
    for preset, strength in (("published", 0.5 * epoch), ("released", 0.0)):
        method = make("beta-darts", preset=preset)
        method.begin_epoch(epoch)
        (found,) = method.alpha_gradients(problem, None, None)
        expected = (
            plain_gradient + strength * torch.softmax(method.alphas["cell"].detach(), dim=-1) / 6
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_released_beta_darts_exchanges_the_cell_types():
    for preset in ("published", "released"):
        method = make("beta-darts", TWO_CELLS, preset=preset)
        set_alpha(method)
        other = {"published": ("normal", "reduce"), "released": ("reduce", "normal")}[preset]
        for mix in (method.mixing(), method.inference()):
            for name, source in zip(("normal", "reduce"), other, strict=True):
                assert torch.equal(mix[name], torch.softmax(method.alphas[source], dim=-1))


# PC-DARTS


@pytest.mark.parametrize("partial", [2, 4])
def test_a_partial_cell_is_the_plain_one_edge_by_edge(partial):
    torch.manual_seed(0)
    cell, x = PartialCell(8, partial).double(), noise(3, 8, 6, 6)
    weights = noise(6, 5, seed=1).abs().requires_grad_()
    found, expected = run(cell, x, weights), plain(cell, x, weights, groups=partial)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    g = noise(*found.shape, seed=2)
    gradients = [torch.autograd.grad((y * g).sum(), weights)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-9)


def test_the_channels_are_shuffled_as_published():
    """Output channel q * K + g is input channel g * C / K + q;
    a cell of skips alone shows it three times over.
    """
    x = torch.arange(8).double().view(1, 8, 1, 1).expand(1, 8, 2, 2)
    weights = torch.zeros(6, 5).double()
    weights[3, 1] = 1  # the one edge from the input to the output
    found = run(PartialCell(8, 4).double(), x, weights)
    assert found[0, :, 0, 0].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_partial_channels_shrink_the_operations_only():
    sizes = [
        sum(p.numel() for p in NB201.supernet(16, 1, 10, partial=k).parameters()) for k in (1, 4)
    ]
    cells = sum(6 * (10 * c * c + 2 * c) for c in (16, 32, 64))
    smaller = sum(6 * (10 * c * c + 2 * c) for c in (4, 8, 16))
    assert sizes[0] - sizes[1] == cells - smaller
    with pytest.raises(ValueError, match="channels must be divisible by partial = 4, not 6"):
        NB201.supernet(6, 1, 10, partial=4)


def test_idle_operations_are_skipped_in_a_partial_cell():
    torch.manual_seed(0)
    cell, x = PartialCell(8, 4).double(), noise(2, 8, 4, 4)
    weights = relax.one_hot(noise(6, 5))
    found = cell(x, StackedWeights(weights, (weights != 0).tolist()))
    torch.testing.assert_close(found, run(cell, x, weights), rtol=1e-10, atol=1e-12)


def test_edge_weights_by_hand():
    assert (incoming(6), incoming(14), incoming(20)) == ([1, 2, 3], [2, 3, 4, 5], [2, 3, 4, 5, 6])
    beta = double([5.0, 0.0, math.log(3), 0.0, 0.0, math.log(2)])
    assert edge_weights(beta).tolist() == pytest.approx([1, 0.25, 0.75, 0.25, 0.25, 0.5])
    with pytest.raises(ValueError, match="has 7 edges"):
        incoming(7)


def test_pc_darts_weighs_edges_as_published_and_not_as_released():
    for preset in ("published", "released"):
        method = make("pc-darts", preset=preset)
        set_alpha(method)
        mix, p = method.mixing()["cell"], torch.softmax(method.alphas["cell"].detach(), dim=-1)
        edges = (
            edge_weights(method.alphas["cell edges"])
            if preset == "published"
            else torch.ones(6).double()
        )
        torch.testing.assert_close(mix, edges.unsqueeze(1) * p)
        torch.testing.assert_close(mix.sum(dim=1), edges)
        assert torch.equal(method.inference()["cell"], mix)
        assert method.recipe.alpha_from == 15


def test_alpha_and_edge_weights_rest_while_pc_darts_warms_up():
    search = tiny("pc-darts", epochs=3, alpha_from=2)
    records = list(search.run())
    for key in ("cell", "cell edges"):
        first, second, third = (record["alpha"][key] for record in records)
        assert first == second != third
