"""The NAS-Bench-201 supernet against a naive one of the same weights,
and both networks against the authors' code.

Equality is tested in float64; cotangents are random, because a batch norm passes nothing on of a
constant one.
"""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasutils import spaces
from nasutils.methods import relax
from nasutils.spaces.base import everything
from nasutils.spaces.sharing import Fan, mixed_sum
from nasutils.spaces.size import count_parameters
from tests.naive import NaiveSupernet, stack, unstack

TRUTH = json.loads((Path(__file__).parents[1] / "truth" / "nasbench201.json").read_text())
SPACE = spaces.get("nasbench201")
SCHEDULES = {"stacked": Fan.STACK_LIMIT, "one call per edge": 0}
DOUBLE = {"dtype": torch.float64}


@pytest.fixture(params=SCHEDULES)
def schedule(request, monkeypatch):
    """Both ways in which a fan runs its edges."""
    monkeypatch.setattr(Fan, "STACK_LIMIT", SCHEDULES[request.param])


def twins(channels=3, cells=1, classes=4):
    """Our supernet and the naive one with the same random weights and batch-norm statistics."""
    torch.manual_seed(0)
    ours = SPACE.supernet(channels, cells, classes).double()
    with torch.no_grad():
        for norm in (m for m in ours.modules() if isinstance(m, nn.BatchNorm2d)):
            for values in (norm.running_var, norm.weight):
                if values is not None:
                    values.uniform_(0.5, 1.5)
            for values in (norm.running_mean, norm.bias):
                if values is not None:
                    values.normal_(std=0.1)
    naive = NaiveSupernet(channels, cells, classes).double()
    naive.load_state_dict(unstack(ours.state_dict()))
    return ours, naive


def problem(classes=4, batch=4, side=8):
    """Random images, cotangents of the logits,
    and alpha (softmax at T = 0.01 is neither flat nor one-hot).
    """
    torch.manual_seed(1)
    alpha = (0.01 * torch.randn(6, 5, **DOUBLE)).requires_grad_()
    return (
        torch.randn(batch, 3, side, side, **DOUBLE),
        torch.randn(batch, classes, **DOUBLE),
        alpha,
    )


def gradients(net, outputs, cotangents, *others):
    """Gradients of others and, by name, of the network's weights."""
    weights = dict(net.named_parameters())
    found = torch.autograd.grad(
        outputs, [*others, *weights.values()], cotangents, materialize_grads=True
    )
    return found[: len(others)], dict(zip(weights, found[len(others) :], strict=True))


def assert_same(ours, theirs, tolerance=1e-12):
    """Equal to `tolerance`, relative to the tensor's largest number."""
    error, scale = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    assert error <= tolerance * scale, f"relative error {error / scale:.1e}"


def assert_same_gradients(ours, theirs, tolerance=1e-12):
    """By our names; biases in front of a batch norm:
    exactly 0 for us, rounding errors for the naive network.
    """
    theirs = stack(theirs, ours)
    largest = max(g.abs().max().item() for g in theirs.values())
    for name, gradient in ours.items():
        if name.endswith("conv.bias"):
            assert not gradient.any() and theirs[name].abs().max() <= tolerance * largest
        else:
            assert_same(gradient, theirs[name], tolerance)


def test_state_dict_translates_there_and_back():
    ours, naive = twins()
    state = ours.state_dict()
    back = stack(naive.state_dict(), state)
    assert all(torch.equal(back[name], state[name]) for name in state)


@pytest.mark.usefixtures("schedule")
@pytest.mark.parametrize("temperature", [1.0, 0.01])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_the_naive_ones(temperature, training):
    images, cotangents, alpha = problem()
    found = []
    for net in twins():
        outputs = net.train(training)(images, {"cell": relax.softmax(alpha, temperature)})
        found.append((outputs, *gradients(net, outputs, cotangents, alpha)))
    (ours, (to_alpha,), to_weights), (theirs, (alpha_truth,), weight_truth) = found
    assert_same(ours, theirs)
    assert_same(to_alpha, alpha_truth)
    if training:
        assert_same_gradients(to_weights, weight_truth)


@pytest.mark.usefixtures("schedule")
def test_batch_norm_statistics_are_the_naive_ones():
    images, _, alpha = problem()
    ours, naive = twins()
    for net in (ours, naive):
        net(images, {"cell": relax.softmax(alpha, 1.0)})
    truth = stack(naive.state_dict(), ours.state_dict())
    for name, statistics in ours.named_buffers():
        if "running" in name:
            assert_same(statistics, truth[name])


SPARSE = F.one_hot(torch.tensor([1, 2, 3, 4, 0, 0]), 5).double()
SPARSE[5] = torch.tensor([0, 0.5, 0, 0.3, 0.2])


@pytest.mark.usefixtures("schedule")
def test_skipping_operations_of_zero_weight_changes_nothing():
    images, cotangents, _ = problem()
    found = []
    for net in twins():
        outputs = net(images, {"cell": SPARSE})
        found.append((outputs, gradients(net, outputs, cotangents)[1]))
    assert_same(found[0][0], found[1][0])
    for gradient, truth in zip(
        found[0][1].values(), stack(found[1][1], found[0][1]).values(), strict=True
    ):
        torch.testing.assert_close(gradient, truth, rtol=1e-11, atol=1e-14)


def test_statistics_of_idle_operations_move_only_where_they_are_run():
    images, _, _ = problem()
    ours, _ = twins()
    idle = "layers.0.fans.2.2.bn.running_mean"  # edge 2-3, 1x1 convolution
    before = ours.state_dict()[idle].clone()
    sparse = ours(images, {"cell": SPARSE})
    assert torch.equal(ours.state_dict()[idle], before)
    ours, naive = twins()
    assert_same(ours(images, {"cell": SPARSE}, everything({"cell": SPARSE})), sparse)
    naive(images, {"cell": SPARSE})
    assert_same(ours.state_dict()[idle], stack(naive.state_dict(), [idle])[idle])


def test_gradient_of_a_zero_weight_is_known_where_mix_requires_it():
    images, cotangents, _ = problem()
    mix = SPARSE.clone().requires_grad_()
    ours, truth = (
        gradients(net, net(images, {"cell": mix}), cotangents, mix)[0][0] for net in twins()
    )
    assert_same(ours, truth)
    assert ours[0, 3] != 0


def test_a_cell_of_none_is_zero():
    images, _, _ = problem()
    ours, naive = twins()
    none = {"cell": F.one_hot(torch.zeros(6, dtype=torch.long), 5).double()}
    inside = []
    ours.layers[0].register_forward_hook(lambda module, inputs, output: inside.append(output))
    assert_same(ours(images, none), naive(images, none))
    assert not inside[0].any()


@pytest.mark.parametrize(("branches", "shared"), [(0, 2), (1, 1), (3, 2), (2, 0)])
def test_mixed_sum_has_first_and_second_derivatives(branches, shared):
    torch.manual_seed(0)
    weights = torch.randn(shared, **DOUBLE, requires_grad=shared > 0)
    terms = [
        torch.randn(2, 2, 2, 1, **DOUBLE, requires_grad=True) for _ in range(branches + shared)
    ]

    def ours(weights, *terms):
        return mixed_sum([t * t for t in terms[:branches]], list(terms[branches:]), weights)

    plain = sum(t * t for t in terms[:branches]) + sum(
        w * t for w, t in zip(weights, terms[branches:], strict=True)
    )
    torch.testing.assert_close(ours(weights, *terms), plain)
    assert torch.autograd.gradcheck(ours, [weights, *terms])
    assert torch.autograd.gradgradcheck(ours, [weights, *terms])


@pytest.mark.usefixtures("schedule")
def test_hessian_vector_product_is_the_naive_one():
    images, cotangents, alpha = problem()
    found = []
    for net in twins():
        logits = net(images, {"cell": relax.softmax(alpha, 1.0)})
        first = torch.autograd.grad((logits.square() * cotangents).sum(), alpha, create_graph=True)
        direction = torch.cos(torch.arange(30, **DOUBLE)).view(6, 5)
        found.append(gradients(net, first, direction, alpha))
    ((ours,), to_weights), ((truth,), weight_truth) = found
    assert_same(ours, truth, 1e-11)
    assert_same_gradients(to_weights, weight_truth, 1e-11)


def constant(net):
    """The weights of the authors' check: see `construction` in the truth."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    c = torch.arange(10, **DOUBLE) + 1
    with torch.no_grad():
        net.linear.weight.copy_((0.02 * c.sin())[:, None].expand_as(net.linear.weight))
        net.linear.bias.copy_(0.01 * c.cos())
    return net


def waves():
    """The images and labels of the authors' check."""
    n, c, h, w = torch.meshgrid(
        *[torch.arange(k, **DOUBLE) + 1 for k in (2, 3, 32, 32)], indexing="ij"
    )
    return torch.sin(0.1 * n * h + 0.05 * c * w), torch.tensor([1, 7])


def assert_meets(truth, logits, loss):
    for sample, row in enumerate(logits):
        if f"logits_sample{sample}" in truth:
            torch.testing.assert_close(
                row, torch.tensor(truth[f"logits_sample{sample}"], **DOUBLE), rtol=0, atol=1e-8
            )
    assert abs(loss.item() - truth["loss"]) <= 1e-8


def test_supernet_meets_the_authors_numbers():
    images, labels = waves()
    edge, op = torch.meshgrid(
        torch.arange(6, **DOUBLE) + 1, torch.arange(5, **DOUBLE) + 1, indexing="ij"
    )
    alpha = (1e-3 * torch.sin(1.7 * edge * op + 0.3)).requires_grad_()
    net = constant(SPACE.supernet(4, 2, 10).double())
    logits = net(images, {"cell": relax.softmax(alpha, 1.0)})
    loss = F.cross_entropy(logits, labels)
    assert_meets(TRUTH["supernet"], logits, loss)
    (gradient,) = torch.autograd.grad(loss, alpha)
    torch.testing.assert_close(
        gradient, torch.tensor(TRUTH["supernet"]["dL_dalpha"], **DOUBLE), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("truth", TRUTH["finalnets"], ids=lambda truth: truth["arch"])
def test_finalnet_meets_the_authors_numbers(truth):
    images, labels = waves()
    logits = constant(SPACE.finalnet(truth["arch"], 4, 2, 10).double())(images)
    assert_meets(truth, logits, F.cross_entropy(logits, labels))


def test_parameter_counts_are_the_authors():
    with torch.device("meta"):
        for t in TRUTH["supernet_parameters"]:
            assert (
                count_parameters(SPACE.supernet(t["C"], t["N"], t["num_classes"])) == t["weights"]
            ), t
        for t in TRUTH["finalnet_parameters"]:
            assert (
                count_parameters(SPACE.finalnet(t["arch"], t["C"], t["N"], t["num_classes"]))
                == t["params"]
            ), t


def test_discretize_takes_the_first_of_equals():
    mix = torch.full((6, 5), 0.2)
    assert str(SPACE.discretize({"cell": mix})).count("none") == 6
    mix[:, 2:4] = 0.3
    assert str(SPACE.discretize({"cell": mix})).count("nor_conv_1x1") == 6


@pytest.mark.parametrize("mix", [{"normal": torch.ones(6, 5)}, {"cell": torch.ones(5, 6)}, {}])
def test_other_keys_or_shapes_of_mix_are_refused(mix):
    with pytest.raises(
        ValueError, match=r"mixing weights must have the shapes .*'cell': \(6, 5\)"
    ):
        twins()[0](torch.zeros(1, 3, 8, 8, **DOUBLE), mix)
    with pytest.raises(ValueError, match="mixing weights must have the shapes"):
        SPACE.discretize(mix)


def test_unknown_policy_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"policy of nasbench201 'argmx': choose one of 'argmax'"):
        SPACE.discretize({"cell": torch.ones(6, 5)}, policy="argmx")


@pytest.mark.parametrize("size", [(0, 1), (4, 0), (-2, 1)])
def test_sizes_that_cannot_be(size):
    with pytest.raises(
        ValueError, match="(channels|cells) must be a whole number, 1 or more, not (0|-2)"
    ):
        SPACE.supernet(*size, 10)
    with pytest.raises(
        ValueError, match="(channels|cells) must be a whole number, 1 or more, not (0|-2)"
    ):
        SPACE.finalnet(15_624, *size, 10)


def test_sides_that_the_reductions_do_not_divide_are_refused():
    images = torch.randn(2, 3, 30, 30)
    mix = {"cell": torch.full((6, 5), 0.2)}
    final = SPACE.finalnet("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 2, 1, 4)
    for network, given in ((SPACE.supernet(2, 1, 4), (images, mix)), (final, (images,))):
        with pytest.raises(ValueError, match=r"divisible by 4, not \(30, 30\): resize"):
            network(*given)
