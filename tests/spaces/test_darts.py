"""The DARTS family against a naive supernet of the same weights,
and all its networks against the authors' code.

Equality is tested in float64; logits and gradients of the released code are known to ten digits.
"""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.profiler import ProfilerActivity, profile

from nasutils import Genotype, methods, spaces
from nasutils.spaces import catalogue, darts_policies
from nasutils.spaces.base import everything
from nasutils.spaces.darts import DARTS, S1
from nasutils.spaces.darts_cells import EDGES
from nasutils.spaces.darts_final import imagenet_stems
from nasutils.spaces.finalnets import AuxiliaryHead, dropped
from nasutils.spaces.genotype import Cell
from nasutils.spaces.ops import DilatedConv, RandomDraws
from nasutils.spaces.sharing import Node, from_lattice, mixed_sum, thinned
from nasutils.spaces.size import count_parameters
from tests.naive_darts import Supernet as NaiveSupernet

TRUTH = json.loads((Path(__file__).parents[1] / "truth" / "darts.json").read_text())
FAMILY = ("darts", "darts7", "s1", "s2", "s3", "s4")
PARSERS = {
    "SP-DARTS/SP-DARTS/model_search.py": "top2-sp",
    "PCDEDD/PCDEDD-DARTS/model_search_cyc.py": "top2-small-temperature",
    "Selective-Stop/SS-DARTS/model_search.py": "top2",
    "SmoothDARTS/sota/cnnmul/model_search.py": "top2-s1-s4",
}


def of_truth(name):
    """The space that the released code's name means."""
    return spaces.get({"s5": "darts7", "DARTS": "darts7"}.get(name, name))


def home(name):
    """The space of a published genotype, as the counts of the truth were taken for it."""
    known = catalogue.catalogue()
    return spaces.get(known[name].space)


def random_mix(space, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: (
            torch.randn(shape, generator=generator, dtype=torch.float64)
            .softmax(-1)
            .requires_grad_(**options)
        )
        for kind, shape in space.alpha_shapes.items()
    }


# Sizes


@pytest.mark.parametrize(
    "case", TRUTH["param_counts"]["darts_supernets"] + TRUTH["param_counts"]["s1_s4_supernets"]
)
def test_supernet_has_the_parameters_of_the_released_one(case):
    space = of_truth(case.get("space", "darts7"))
    with torch.device("meta"):
        net = space.supernet(case["C"], case["layers"], case["num_classes"])
    assert count_parameters(net) == case["params"]
    assert [list(s) for s in space.alpha_shapes.values()] == case["alpha_shapes"]


def test_the_operation_none_has_no_parameters():
    assert count_parameters(spaces.get("darts").supernet(16, 8, 10)) == 1_930_618


@pytest.mark.parametrize("network", ["darts_eval_cifar", "darts_eval_imagenet", "s1_s4_finalnets"])
def test_finalnet_has_the_parameters_of_the_released_one(network):
    stem = "imagenet" if network == "darts_eval_imagenet" else "cifar"
    for case in TRUTH["param_counts"][network][::5]:
        auxiliary = case.get("auxiliary", True)
        with torch.device("meta"):
            net = home(case["genotype"]).finalnet(
                catalogue.get(case["genotype"]).genotype,
                case["C"],
                case["layers"],
                case["num_classes"],
                auxiliary=auxiliary,
                stem=stem,
            )
        head = count_parameters(net.auxiliary) if auxiliary else 0
        assert count_parameters(net) == case.get(
            "params_total", case.get("params_with_auxiliary")
        ), case
        assert count_parameters(net) - head == case.get(
            "params_without_auxiliary", case.get("params_no_auxiliary")
        ), case


def test_size_of_the_spaces():
    per_cell = math.prod(math.comb(n, 2) * 7**2 for n in (2, 3, 4, 5))
    assert (
        spaces.get("darts").num_architectures
        == spaces.get("darts7").num_architectures
        == per_cell**2
    )
    for name in ("s1", "s2", "s3", "s4"):
        assert spaces.get(name).num_architectures == (180 * 2**8) ** 2


# Whole networks against the released code


def filled(net):
    """Constant weights and the classifier of the truth file: independent of names and order."""
    net = net.double().train()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(1 / module.weight[0].numel())
            elif isinstance(module, nn.Linear):
                c = torch.arange(1, module.out_features + 1, dtype=torch.float64)
                module.weight.copy_((0.02 * torch.sin(c))[:, None].expand_as(module.weight))
                module.bias.copy_(0.01 * torch.cos(c))
    return net


def wave():
    n, c, h, w = torch.meshgrid(
        *(torch.arange(k, dtype=torch.float64) for k in (2, 3, 32, 32)), indexing="ij"
    )
    return torch.sin(0.1 * (n + 1) * (h + 1) + 0.05 * (c + 1) * (w + 1)), torch.tensor([1, 7])


def waved_alpha(shape, phase, scale=1e-3):
    r, c = torch.meshgrid(
        *(torch.arange(1, k + 1, dtype=torch.float64) for k in shape), indexing="ij"
    )
    return scale * torch.sin(1.7 * r * c + phase)


def alphas(space, scale=1e-3):
    return {
        kind: waved_alpha(space.alpha_shapes[kind], s, scale)
        for kind, s in (("normal", 0.3), ("reduce", 1.1))
    }


SUPERNETS = [case for case in TRUTH["full_network_checks"] if "supernet" in case["net"]]
FINALNETS = [case for case in TRUTH["full_network_checks"] if "supernet" not in case["net"]]


@pytest.mark.parametrize(
    "case", SUPERNETS, ids=lambda case: f"{case['net'].split()[0]} {case['T']}"
)
def test_supernet_computes_what_the_released_one_does(case):
    space = of_truth(case["net"].split()[0])
    net, (images, labels) = filled(space.supernet(4, 8, 10)), wave()
    alpha = {kind: a.requires_grad_() for kind, a in alphas(space).items()}
    logits = net(images, {kind: torch.softmax(a / case["T"], -1) for kind, a in alpha.items()})
    loss = F.cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-8)
    for i, row in enumerate(logits.tolist()):
        assert row == pytest.approx(case[f"logits_sample{i}"], rel=1e-7)
    for kind, gradient in zip(alpha, torch.autograd.grad(loss, list(alpha.values())), strict=True):
        torch.testing.assert_close(
            gradient,
            torch.tensor(case[f"dL_dalpha_{kind}"], dtype=torch.float64),
            rtol=1e-6,
            atol=1e-8,
        )


@pytest.mark.parametrize(
    "case", FINALNETS, ids=lambda case: case["net"].split("genotype ")[1].split()[0]
)
def test_finalnet_computes_what_the_released_one_does(case):
    name = case["net"].split("genotype ")[1].split()[0]
    net, (images, labels) = (
        filled(home(name).finalnet(catalogue.get(name).genotype, 4, 8, 10, auxiliary=True)),
        wave(),
    )
    logits, auxiliary = net(images)
    loss = F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary, labels)
    assert logits[0].tolist() == pytest.approx(case["logits_sample0"], rel=1e-7)
    assert auxiliary[0].tolist() == pytest.approx(case["aux_logits_sample0"], rel=1e-7)
    assert loss.item() == pytest.approx(case["loss_with_0p4_aux"], rel=1e-8)


# The fast supernet equals the naive one


# 20: the last cells have an odd side, where dilation has no sub-lattices
@pytest.mark.parametrize("name", [n for n in FAMILY if n != "s4"])
@pytest.mark.parametrize("side", [16, 20])
def test_supernet_equals_the_naive_one(name, side):
    space = spaces.get(name)
    torch.manual_seed(0)
    ours = space.supernet(4, 3, 5).double()
    naive = NaiveSupernet(space.edge_ops, 4, 3, 5).double()
    naive.load_state_dict(ours.state_dict(), strict=False)
    images, labels = torch.randn(3, 3, side, side, dtype=torch.float64), torch.tensor([0, 3, 4])
    found = []
    for net in (ours, naive):
        mix = random_mix(space)
        named = dict(net.named_parameters())
        loss = F.cross_entropy(net(images, mix), labels)
        weights = [named[n] for n, _ in naive.named_parameters()]
        found.append(
            [loss, *torch.autograd.grad(loss, [*mix.values(), *weights], materialize_grads=True)]
        )
    assert {n for n, _ in ours.named_parameters()} == {n for n, _ in naive.named_parameters()}
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["s1", "s2", "darts7"])
def test_an_auxiliary_skip_lies_on_every_edge_whatever_its_operations(name):
    space = spaces.get(name)
    torch.manual_seed(0)
    ours = space.supernet(4, 3, 5, extra=("auxiliary_skip",)).double()
    with_skip = {
        kind: tuple((*names, "auxiliary_skip") for names in edges)
        for kind, edges in space.edge_ops.items()
    }
    naive = NaiveSupernet(with_skip, 4, 3, 5).double()
    naive.load_state_dict(ours.state_dict(), strict=False)
    assert {n for n, _ in ours.named_parameters()} == {n for n, _ in naive.named_parameters()}
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    plain = random_mix(space)
    for coefficient in (0.7, 0.0):
        added = torch.full((14, 1), coefficient, dtype=torch.float64)
        mix = {kind: torch.cat([weights, added], dim=1) for kind, weights in plain.items()}
        expected = naive(images, mix)
        torch.testing.assert_close(ours(images, mix), expected, rtol=1e-9, atol=1e-12)
    # A column that is not given is one of zeros.
    torch.testing.assert_close(ours(images, plain), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(ours(images, plain, everything(plain)), ours(images, plain))


def test_darts_minus_and_surgenas_search_where_nothing_skips():
    for name in ("darts-minus", "surgenas"):
        method = methods.get(name, spaces.get("s4"), epochs=2)
        assert method.extra == ("auxiliary_skip",)
        assert method.mixing()["normal"][:, 2].tolist() == [1.0] * 14
        with pytest.raises(ValueError, match="unknown extra of a DARTS space 'auxilary_skip'"):
            spaces.get("s4").supernet(4, 3, 5, extra=("auxilary_skip",))


@pytest.mark.parametrize("name", [n for n in FAMILY if n != "s4"])
@pytest.mark.parametrize("partial", [2, 4])
def test_partial_channels_are_the_mixed_operation_of_pc_darts(name, partial):
    space = spaces.get(name)
    torch.manual_seed(0)
    ours = space.supernet(4, 3, 5, partial=partial).double()
    naive = NaiveSupernet(space.edge_ops, 4, 3, 5, partial).double()
    naive.load_state_dict(ours.state_dict(), strict=False)
    images, labels = torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 3, 4])
    of_edges = torch.linspace(0.5, 1.5, 14, dtype=torch.float64).unsqueeze(1)
    found = []
    for net in (ours, naive):
        mix = random_mix(space)
        logits = net(images, {kind: of_edges * m for kind, m in mix.items()})
        found.append(
            [logits, *torch.autograd.grad(F.cross_entropy(logits, labels), list(mix.values()))]
        )
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("partial", [1, 2])
def test_zero_weights_may_be_skipped(name, partial):
    space = spaces.get(name)
    torch.manual_seed(0)
    net = space.supernet(4, 3, 5, partial=partial).double().train()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    mix = {
        kind: F.one_hot(torch.arange(14) % shape[1], shape[1]).double()
        for kind, shape in space.alpha_shapes.items()
    }
    if "noise" in space.ops:  # its draws depend on which noises are run
        mix = {kind: torch.tensor([[0.0, 1.0]] * len(m)).double() for kind, m in mix.items()}
    torch.testing.assert_close(
        net(images, mix), net(images, mix, everything(mix)), rtol=1e-12, atol=1e-12
    )


def test_all_weights_zero_gives_the_classifiers_bias():
    space = spaces.get("s2")
    net = space.supernet(4, 3, 5)
    mix = {kind: torch.zeros(shape) for kind, shape in space.alpha_shapes.items()}
    torch.testing.assert_close(net(torch.randn(2, 3, 16, 16), mix), net.linear.bias.expand(2, 5))


@pytest.mark.parametrize("name", FAMILY)
def test_cells_can_be_recomputed_operation_by_operation(name):
    space = spaces.get(name)
    torch.manual_seed(0)
    net = space.supernet(4, 3, 5).double().train()
    mix = {kind: m.detach() for kind, m in random_mix(space).items()}
    seen = []
    for cell in net.cells:
        cell.register_forward_hook(
            lambda cell, inputs, output: seen.append((cell, inputs, output))
        )
    if "noise" in space.ops:
        net.random.normal_like = torch.ones_like
    net(torch.randn(2, 3, 16, 16, dtype=torch.float64), mix)
    for cell, (first, second, _), output in seen:
        states = cell.enter(first, second)
        for target in range(2, 6):
            terms = [
                w * y
                for e, (source, into) in enumerate(cell.edges)
                if into == target
                for w, y in zip(
                    mix[cell.cell_type][e], cell.branches(e, states[source]), strict=True
                )
            ]
            states.append(sum(terms))
        torch.testing.assert_close(cell.leave(states), output, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_convolution_on_sub_lattices(kernel, stride):
    torch.manual_seed(0)
    op = DilatedConv(4, kernel, stride, affine=False).double()
    x = torch.randn(2, 4, 12, 8, dtype=torch.float64)
    plain = op.bn(
        op.pointwise(
            F.conv2d(F.relu(x), op.depthwise.weight, None, stride, kernel - 1, 2, groups=4)
        )
    )
    torch.testing.assert_close(op(Node(x)), plain, rtol=1e-10, atol=1e-12)


def test_lattice_is_a_permutation():
    x = torch.rand(2, 3, 6, 4)
    torch.testing.assert_close(from_lattice(Node(x).lattice), x, rtol=0, atol=0)


@pytest.mark.parametrize("first", [0, 1])
def test_every_second_pixel_is_that_of_indexing_with_a_gradient_laid_out_as_the_image(first):
    x = torch.randn(2, 3, 6, 4).to(memory_format=torch.channels_last).requires_grad_()
    ours, plain = thinned(x, first), x[:, :, first::2, first::2]
    g = torch.randn_like(plain)
    (gradient,), (expected,) = (torch.autograd.grad(y, x, g) for y in (ours, plain))
    assert torch.equal(ours, plain) and torch.equal(gradient, expected)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    small = torch.randn(1, 2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: thinned(x, first) ** 3, small)


def test_the_sum_of_a_node_makes_no_product_for_a_term_without_gradient():
    term, constant = torch.rand(2, 2, 2, 2, requires_grad=True), torch.ones(2, 2, 2, 2)
    out = mixed_sum([], [term, constant], torch.tensor([0.5, 0.25], requires_grad=True))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        (gradient,) = torch.autograd.grad(out, term, torch.ones_like(out))
    products = [event for event in seen.events() if event.name == "aten::mul"]
    assert len(products) == 1 and torch.equal(gradient, torch.full_like(term, 0.5))


# Noise and dropped paths


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_draws_begun_on_a_gpu_start_anew_on_a_cpu():
    draws, other = RandomDraws(), RandomDraws()
    other.set_extra_state({**draws.get_extra_state(), "device": "cuda"})
    assert torch.equal(other.normal_like(torch.zeros(9)), draws.normal_like(torch.zeros(9)))


def test_noise_is_standard_normal_and_drawn_anew_also_in_evaluation():
    torch.manual_seed(0)
    random = RandomDraws()
    a, b = (random.normal_like(torch.zeros(64, 8, 16, 16)) for _ in range(2))
    assert abs(a.mean()) < 0.01 and abs(a.std() - 1) < 0.01 and not torch.equal(a, b)
    net = spaces.get("s4").supernet(4, 3, 5).eval()
    mix = {kind: torch.tensor([[1.0, 0.0]] * 14) for kind in ("normal", "reduce")}
    images = torch.randn(2, 3, 16, 16)
    assert not torch.equal(net(images, mix), net(images, mix))


def test_noise_follows_the_generator_in_the_state_dict():
    space = spaces.get("s4")
    torch.manual_seed(0)
    net = space.supernet(4, 3, 5)
    mix = {kind: torch.full(shape, 0.5) for kind, shape in space.alpha_shapes.items()}
    images = torch.randn(2, 3, 16, 16)
    state, clone = copy.deepcopy(net.state_dict()), copy.deepcopy(net)
    first = net(images, mix)
    torch.manual_seed(1)
    assert torch.equal(clone(images, mix), first)
    assert not torch.equal(net(images, mix), first)
    net.load_state_dict(state)
    assert torch.equal(net(images, mix), first)


def test_noise_passes_no_gradient_back_but_one_to_its_weight():
    space = spaces.get("s4")
    torch.manual_seed(0)
    net = space.supernet(4, 3, 5).double()
    mix = random_mix(space)
    loss = F.cross_entropy(
        net(torch.randn(2, 3, 16, 16, dtype=torch.float64), mix), torch.tensor([0, 1])
    )
    gradients = torch.autograd.grad(loss, list(mix.values()))
    assert all((g[:, 0] != 0).any() for g in gradients)
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    noise, conv = net.float().cells[0].branches(0, x)
    assert not noise.requires_grad and conv.requires_grad


def test_drop_path_zeroes_whole_images_and_keeps_the_mean():
    torch.manual_seed(0)
    y = dropped(torch.ones(4000, 2, 3, 3), 0.2, RandomDraws())
    assert {round(v, 6) for v in y.unique().tolist()} == {0.0, 1.25}
    assert torch.equal(y, y[:, :1, :1, :1].expand_as(y))
    assert abs(y.mean() - 1) < 0.03


def test_identity_is_never_dropped_and_evaluation_drops_nothing():
    pairs = {op: [(op, 0), (op, 1)] * 4 for op in ("skip_connect", "max_pool_3x3")}
    skips = Genotype.parse(
        f"Genotype(normal={pairs['skip_connect']}, normal_concat=range(2, 6), "
        f"reduce={pairs['max_pool_3x3']}, reduce_concat=range(2, 6))"
    )
    torch.manual_seed(0)
    net = spaces.get("darts").finalnet(skips, 4, 3, 5)
    images = torch.randn(8, 3, 16, 16)
    net.eval().drop_path = 0.9
    assert torch.equal(net(images), net(images))
    cell = net.train().cells[0]
    node = Node(torch.randn(8, 12, 16, 16))
    dropping, keeping = (cell(node, node, probability)[-1].x for probability in (0.9, 0.0))
    assert torch.equal(dropping, keeping)
    assert not torch.equal(net(images), net(images))


# Discretization


DERIVED = [
    case
    for part in ("darts_space", "s1_s4")
    for case in TRUTH["discretisation"][part]
    if case["parser"] in PARSERS  # the others were made by a parser that no released script uses
]


@pytest.mark.parametrize("case", DERIVED)
def test_policies_derive_what_the_released_parsers_do(case):
    space = of_truth(case.get("space", "s5"))
    mix = {
        kind: torch.softmax(a.float() / case["T"], -1)
        for kind, a in alphas(space, case["alpha_scale"]).items()
    }
    genotype = space.discretize(mix, policy=PARSERS[case["parser"]])
    for cell in genotype.cells:
        assert [list(pair) for node in cell.nodes for pair in node] == case[cell.name]


def test_ties_and_none():
    space = spaces.get("darts")
    even = {kind: torch.full(shape, 1 / 8) for kind, shape in space.alpha_shapes.items()}
    first = space.discretize(even)
    assert first.cells[0].nodes == ((("max_pool_3x3", 0), ("max_pool_3x3", 1)),) * 4
    later = space.discretize(even, policy="top2-sp").cells[0].nodes
    assert later[3] == (("max_pool_3x3", 4), ("max_pool_3x3", 3))
    s2 = spaces.get("s2")
    even = {kind: torch.full(shape, 1 / 2) for kind, shape in s2.alpha_shapes.items()}
    assert s2.discretize(even, policy="top2-s1-s4").cells[0].nodes[0] == (
        ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 1),
    )
    assert (
        space.discretize(dict.fromkeys(("normal", "reduce"), torch.eye(8)[[0] * 14]))
        .cells[0]
        .nodes[0][0][0]
        != "none"
    )


def falling():
    """On S2, edge by edge: skip connections of 0.90, 0.89 to 0.77,
    separable convolutions of what is left of 1.
    """
    skip = torch.tensor([0.90 - 0.01 * edge for edge in range(14)], dtype=torch.float64)
    return {kind: torch.stack([skip, 1 - skip], dim=1) for kind in ("normal", "reduce")}


SKIP, SEP = "skip_connect", "sep_conv_3x3"


@pytest.mark.parametrize(
    ("policy", "nodes"),
    [
        ("top2", (((SKIP, 0), (SKIP, 1)),) * 4),
        # Without its second edge's skip the last node takes that of its third edge (0.79), and so
        # on, and then the convolution of its last edge (0.23).
        ("top2-skips7", (*(((SKIP, 0), (SKIP, 1)),) * 3, ((SKIP, 0), (SEP, 4)))),
        ("top2-skips6", (*(((SKIP, 0), (SKIP, 1)),) * 3, ((SEP, 4), (SEP, 3)))),
        ("top2-skips2", (((SKIP, 0), (SKIP, 1)), *(((SEP, n), (SEP, n - 1)) for n in (2, 3, 4)))),
        ("top2-skips1", (((SKIP, 0), (SEP, 1)), *(((SEP, n), (SEP, n - 1)) for n in (2, 3, 4)))),
        ("top2-skips0", tuple(((SEP, n), (SEP, n - 1)) for n in (1, 2, 3, 4))),
    ],
)
def test_skip_connections_are_restricted_by_dropping_the_weakest(policy, nodes):
    normal, reduce = spaces.get("s2").discretize(falling(), policy=policy).cells
    assert normal.nodes == nodes
    assert reduce.nodes == (((SKIP, 0), (SKIP, 1)),) * 4


def test_of_equal_skip_connections_the_first_is_dropped():
    mix = {kind: torch.tensor([[0.6, 0.4]] * 14) for kind in ("normal", "reduce")}
    nodes = spaces.get("s2").discretize(mix, policy="top2-skips7").cells[0].nodes
    assert nodes[0] == ((SKIP, 1), (SEP, 0)) and nodes[1:] == (((SKIP, 0), (SKIP, 1)),) * 3


def test_a_restricted_skip_connection_is_not_taken_among_weights_of_zero():
    mix = {kind: torch.tensor([[1.0, 0.0]] * 14) for kind in ("normal", "reduce")}
    assert SKIP not in str(spaces.get("s2").discretize(mix, policy="top2-skips0").cells[0])


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("most", [0, 2, 5])
def test_a_restricted_normal_cell_has_at_most_so_many_skip_connections(name, most):
    space = spaces.get(name)
    generator = torch.Generator().manual_seed(most)
    mix = {
        kind: torch.rand(shape, generator=generator) for kind, shape in space.alpha_shapes.items()
    }
    for kind, ops in space.edge_ops.items():
        mix[kind] += 0.5 * torch.tensor([[op == SKIP for op in edge] for edge in ops])
    genotype = space.discretize(mix, policy=f"top2-skips{most}")
    assert str(genotype.cells[0]).count(SKIP) <= most
    assert genotype.cells[1] == space.discretize(mix).cells[1]
    space.finalnet(genotype, 2, 3, 10)


def test_where_all_operations_are_skip_connections_none_is_restricted():
    rows = darts_policies.restricted([[1.0]] * 14, [[SKIP]] * 14, darts_policies.Policy(skips=2))
    assert sum(row == [-math.inf] for row in rows) >= 8


@pytest.mark.parametrize("name", FAMILY)
def test_what_is_derived_fits_and_trains(name):
    space = spaces.get(name)
    mix = {kind: m.detach() for kind, m in random_mix(space, seed=3).items()}
    genotype = space.discretize(mix)
    assert Genotype.parse(str(genotype)) == genotype
    net = space.finalnet(genotype, 4, 3, 5)
    net(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None for p in net.parameters()) or "noise" in str(genotype)
    assert net.stem0[0].weight.grad.abs().sum() > 0


# Published genotypes


def test_published_genotypes_are_complete():
    known = catalogue.catalogue()
    assert {
        "DARTS_V1",
        "DARTS_V2",
        "PC_DARTS_cifar",
        "GDAS_V1",
        "DrNAS_cifar10",
        "SP-DARTS",
    } < set(known)
    assert {f"SS-DARTS-{op}{k}" for op in ("SepConv", "DilConv") for k in (3, 5)} < set(known)
    for published in list(known.values())[::6]:
        with torch.device("meta"):
            net = spaces.get(published.space).finalnet(published.genotype, 36, 20, 10)
        assert count_parameters(net) == published.params


def test_unknown_published_genotype():
    with pytest.raises(ValueError, match="DARTS_V2"):
        catalogue.get("DARTS_V3")


# Bad input

V2 = catalogue.get("DARTS_V2").genotype


@pytest.mark.parametrize(
    ("space", "change", "message"),
    [
        (
            "darts",
            ("'sep_conv_3x3', 0", "'sep_conf_3x3', 0"),
            r"edge 0 -> 2 in the normal cell of darts.*sep_conv_3x3",
        ),
        (
            "darts",
            ("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 6]"),
            "concatenates nodes of 2 to 5",
        ),
        (
            "darts",
            ("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3, 2]"),
            r"normal_concat\[2\]: .*but 2 stands there",
        ),
        ("s2", ("", ""), r"edge . -> . in the (normal|reduce) cell of s2"),
        (
            "darts",
            ("('dil_conv_3x3', 2)], normal", "('dil_conv_3x3', 7)], normal"),
            r"node 5 takes .*0 to 4.*7",
        ),
    ],
)
def test_genotype_that_does_not_fit(space, change, message):
    with pytest.raises(ValueError, match=message):
        spaces.get(space).finalnet(str(V2).replace(*change), 4, 3, 5)


def test_wrong_number_of_edges():
    three = (
        "Genotype(normal=[('skip_connect', 0), ('skip_connect', 1)], normal_concat=[2], reduce=[],"
        " reduce_concat=[])"
    )
    with pytest.raises(ValueError, match="8 or 10 edges, two per node, not 2"):
        spaces.get("darts").finalnet(three, 4, 3, 5)
    with pytest.raises(ValueError, match="normal and reduce"):
        spaces.get("darts").finalnet("|skip_connect~0|", 4, 3, 5)
    with pytest.raises(ValueError, match="8 edges"):
        spaces.get("s1").finalnet(catalogue.get("NASNet").genotype, 4, 3, 5)


@pytest.mark.parametrize(
    ("space", "op", "known"),
    [
        ("darts7", "none", "'max_pool_3x3', "),
        ("darts7", "noise", "'max_pool_3x3', "),
        ("darts", "noise", "'none', 'max_pool_3x3', "),
        ("darts", "sep_conv_7x7", "'none', 'max_pool_3x3', .*did you mean 'sep_conv_5x5'"),
        ("s2", "sep_conv_3x", "'skip_connect', 'sep_conv_3x3'; did you mean 'sep_conv_3x3'"),
        ("s4", "skip_connect", "'noise', 'sep_conv_3x3'"),
    ],
)
def test_operation_that_the_space_lacks(space, op, known):
    good = "('sep_conv_3x3', 0), ('sep_conv_3x3', 1), " * 3 + "('sep_conv_3x3', 0), "
    normal, reduce = f"[{good}('sep_conv_3x3', 1)]", f"[{good}('{op}', 1)]"
    text = (
        f"Genotype(normal={normal}, normal_concat=[2, 3, 4, 5], reduce={reduce}, reduce_concat=[2,"
        " 3, 4, 5])"
    )
    message = (
        f"unknown operation of edge 1 -> 5 in the reduce cell of {space} '{op}': choose one of"
        f" {known}"
    )
    with pytest.raises(ValueError, match=message):
        spaces.get(space).finalnet(text, 4, 3, 5)


def test_only_darts_takes_the_hand_made_cells_and_not_with_any_operation():
    handmade = catalogue.get("AmoebaNet").genotype
    spaces.get("darts").finalnet(handmade, 4, 3, 5)
    with pytest.raises(
        ValueError, match="the normal cell of darts7 has 8 edges, two per node, not 10"
    ):
        spaces.get("darts7").finalnet(handmade, 4, 3, 5)
    with pytest.raises(ValueError, match="edge . -> . in the reduce cell of darts 'noise'"):
        spaces.get("darts").finalnet(str(handmade).replace("conv_7x1_1x7", "noise"), 4, 3, 5)


def test_genotype_of_lhd_is_refused():
    pairs = (("skip_connect", 0), ("sep_conv_3x3", 1))
    normal = Cell("normal", (pairs,) * 5, output=(2, 3), sum=(4, 5, 6))
    theirs = Genotype((normal, replace(normal, name="reduce")))
    spaces.get("lhd").finalnet(theirs, 4, 3, 5)
    with pytest.raises(
        ValueError,
        match=r"the normal cell of darts has one output, but normal_sum is a second one",
    ):
        spaces.get("darts").finalnet(theirs, 4, 3, 5)
    uneven = replace(normal, nodes=(pairs, pairs, pairs[:1], (*pairs, pairs[0])), sum=())
    with pytest.raises(
        ValueError, match="node 4 of the normal cell of darts takes two edges, not 1"
    ):
        spaces.get("darts").finalnet(Genotype((uneven, replace(uneven, name="reduce"))), 4, 3, 5)


@pytest.mark.parametrize("build", ["supernet", "finalnet"])
def test_sizes_that_cannot_be(build):
    space = spaces.get("darts")
    make = space.supernet if build == "supernet" else lambda *size: space.finalnet(V2, *size)
    with pytest.raises(
        ValueError, match="channels must be an even number.*not 3; the nearest is 4"
    ):
        make(3, 3, 5)
    with pytest.raises(
        ValueError, match="channels must be an even number.*not 0; the nearest is 2"
    ):
        make(0, 3, 5)
    with pytest.raises(ValueError, match="cells must be at least 3.*not 2"):
        make(4, 2, 5)


@pytest.mark.parametrize("partial", [0, 4])
def test_channels_that_partial_does_not_divide(partial):
    with pytest.raises(
        ValueError, match=f"channels must be divisible by partial = {partial}, not 6"
    ):
        spaces.get("s2").supernet(6, 3, 5, partial=partial)


def test_what_is_derived_from_a_space_has_its_operations():
    class Mine(S1):
        name = "mine"

    class Fewer(S1):
        name = "fewer"
        ops = ("skip_connect", "sep_conv_3x3")

    class Counted(DARTS):
        name = "counted"
        num_architectures = 5

    assert Mine.edge_ops == S1.edge_ops and Mine.alpha_shapes == S1.alpha_shapes
    assert Mine.num_architectures == S1.num_architectures
    assert Fewer.alpha_shapes["normal"] == (14, 2)
    assert Fewer.edge_ops["reduce"] == (Fewer.ops,) * 14
    assert Counted.num_architectures == 5


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        (
            {"ops": ("skip_connect", "sep_conv3x3")},
            "operation of Wrong 'sep_conv3x3'.*did you mean 'sep_conv_3x3'",
        ),
        ({"ops": ("skip_connect", "sep_conv_7x7")}, "operation of Wrong 'sep_conv_7x7'"),
        (
            {"edge_ops": {"normal": (("none", "skip_connect"),) * 13 + (("none",),)}},
            "edge_ops of Wrong must have as many operations on each of 14.*1 or 2 on 14",
        ),
        (
            {"edge_ops": {"normal": (("none", "skip_connect"),) * 13}},
            "on each of 14 edges; normal has 2 on 13",
        ),
    ],
)
def test_operations_that_the_networks_do_not_have_are_refused(attributes, says):
    with pytest.raises(ValueError, match=says):
        type("Wrong", (DARTS,), {"name": "wrong", **attributes})


def test_images_and_stems_that_cannot_be():
    space = spaces.get("s2")
    mix = {kind: m.detach().float() for kind, m in random_mix(space).items()}
    with pytest.raises(ValueError, match=r"divisible by 4.*18"):
        space.supernet(4, 3, 5)(torch.randn(1, 3, 18, 16), mix)
    with pytest.raises(ValueError, match=r"divisible by 4.*30.*set resolution"):
        spaces.get("darts").finalnet(V2, 4, 3, 5)(torch.randn(1, 3, 30, 30))
    with pytest.raises(ValueError, match=r"imagenet"):
        spaces.get("darts").finalnet(V2, 4, 3, 5, stem="imagnet")
    with pytest.raises(ValueError, match="policy of s2.*top2"):
        space.discretize(mix, policy="top3")


def test_auxiliary_head_takes_every_side_from_two_on():
    for side in (2, 4, 7, 8, 14):
        assert AuxiliaryHead(8, 5, imagenet=False)(torch.randn(2, 8, side, side)).shape == (2, 5)


def test_the_head_of_imagenet_pools_seven_pixels_by_windows_of_stride_two():
    x, seen = torch.randn(2, 8, 7, 7), []
    head = AuxiliaryHead(8, 5, imagenet=True)
    head.conv1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    head(x)
    assert torch.equal(seen[0], F.avg_pool2d(x.relu(), 5, 2))


def test_imagenet_goes_from_224_pixels_to_56_and_28():
    first, second = imagenet_stems(4)
    half = first(torch.randn(2, 3, 224, 224))
    assert half.shape == (2, 4, 56, 56) and second(half).shape == (2, 4, 28, 28)


def test_edges_are_in_the_order_of_alpha():
    assert EDGES[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)) and EDGES[9:] == tuple(
        (s, 5) for s in range(5)
    )


@pytest.mark.parametrize("name", spaces.names)
@pytest.mark.parametrize("classes", [0, -1, 2.5])
def test_every_space_needs_a_class(name, classes):
    space = spaces.get(name)
    genotype = methods.get("random", space).genotype()
    for build in (space.supernet, lambda *sizes: space.finalnet(genotype, *sizes)):
        with pytest.raises(
            ValueError, match=f"num_classes must be a whole number, 1 or more, not {classes}"
        ):
            build(4, 3, classes)
