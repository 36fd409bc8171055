"""LHD against a naive supernet of the same weights,
its final networks and policies against the authors' code.

Equality is tested in float64. With NASUTILS_TRUTH naming the folder of the full truth files, all
of their cases run.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasutils import Genotype, spaces
from nasutils.methods import relax
from nasutils.spaces import lhd_cells
from nasutils.spaces.base import everything
from nasutils.spaces.genotype import Cell
from nasutils.spaces.lhd_cells import CELL_TYPES, EDGES, INCOMING, NODES, OPS
from nasutils.spaces.lhd_final import finalnet_parameters
from nasutils.spaces.ops import ThinDilatedConv
from nasutils.spaces.sharing import Node
from nasutils.spaces.size import count_parameters
from tests.lhd_truth import COPIES, FULL, LHD, NETWORKS, batch, close, filled, wave
from tests.naive_lhd import Supernet as NaiveSupernet

CELLS = json.loads((COPIES / "lhd.json").read_text())["archs"]


pytestmark = pytest.mark.usefixtures("one_thread")


def softmax(temperature=1.0):
    return lambda scores: relax.softmax(scores, temperature)


def random_mix(seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    scores = {
        k: torch.randn(s, generator=generator, dtype=torch.float64)
        for k, s in LHD.alpha_shapes.items()
    }
    return {k: m.requires_grad_(**options) for k, m in LHD.relax(scores, softmax()).items()}


def test_fill_rule():
    assert wave(3)[1].item() == (7919 + 12345) % 10007 / 10007
    weights = filled(LHD.supernet(4, 3, 10)).stem0[0].weight.flatten()[:2].tolist()
    assert weights == pytest.approx(
        [(2 * h - 1) / 3 for h in (12345 % 10007 / 10007, 20264 % 10007 / 10007)], 1e-6
    )


@pytest.mark.parametrize(
    "key", [k for k in NETWORKS["finalnet_forward"] if k.split("|")[0] in CELLS]
)
def test_finalnet_computes_what_the_released_one_does(key):
    (name, policy), case = key.split("|"), NETWORKS["finalnet_forward"][key]
    net = filled(
        LHD.finalnet(LHD.discretize(mix_of(CELLS[name]), policy), 4, 3, 10, auxiliary=True)
    )
    images, labels = batch(777, [3, 7, 1, 9])
    close(net.eval()(images).detach(), case["logits_eval"])
    logits, auxiliary = net.train()(images)
    loss = F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary, labels)
    gradients = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
    close(logits.detach(), case["logits_train"])
    close(auxiliary.detach(), case["logits_aux_train"])
    assert loss.item() == pytest.approx(case["loss_train_with_aux0.4"], rel=1e-9)
    assert torch.cat([g.flatten() for g in gradients]).norm().item() == pytest.approx(
        case["grad_l2"], rel=1e-9
    )


# Policies and sizes


def mix_of(arch):
    return {name: torch.tensor(arch["mix"][name]) for name in LHD.alpha_shapes}


def canonical(cell):
    pairs = [
        f"n{target}<-{f'in{source}' if source < 2 else f'n{source - 2}'}:{op}"
        for target, node in enumerate(cell.nodes)
        for op, source in node
    ]
    sets = [",".join(str(n - 2) for n in chosen) for chosen in (cell.sum, cell.output)]
    return f"{' '.join(pairs)} | sum={sets[0]} | concat={sets[1]}"


def check_arch(arch):
    for policy, expected in arch["policies"].items():
        genotype = LHD.discretize(mix_of(arch), policy.lower())
        assert Genotype.parse(str(genotype)) == genotype
        assert [canonical(cell) for cell in genotype.cells] == [
            expected["normal"],
            expected["reduce"],
        ]
        for classes, size in expected["by_num_classes"].items():
            channels, cells = LHD.finalnet_size(genotype, policy.lower(), int(classes))
            assert (channels, cells) == (size["init_channels"], size["layers"])
            assert (
                finalnet_parameters(genotype, channels, cells, int(classes))
                == size["params_no_aux"]
            )


@pytest.mark.parametrize("name", CELLS)
def test_policies_derive_the_released_cells_and_sizes(name):
    check_arch(CELLS[name])


@pytest.mark.skipif(FULL is None, reason="NASUTILS_TRUTH names no folder with lhd.json")
def test_policies_derive_all_released_cells_and_sizes():
    archs = json.loads((Path(FULL) / "lhd.json").read_text())["archs"]
    with np.load(Path(FULL).parent / "data" / "tables" / "lhd_architectures.npz") as table:
        row = {str(name): i for i, name in enumerate(table["name"])}
        weights = {name: table[name] for name in LHD.alpha_shapes}
    for name, arch in archs.items():
        check_arch({**arch, "mix": {kind: w[row[name]] for kind, w in weights.items()}})


@pytest.mark.parametrize("case", ["base cifar", "1m cifar", "3ops cifar", "base imagenet"])
def test_finalnet_has_the_parameters_of_the_released_one(case):
    policy, stem = case.split()
    name = list(CELLS)[("base", "1m", "3ops").index(policy)]
    expected = CELLS[name]["policies"][policy.upper() if policy == "1m" else policy]
    genotype = LHD.discretize(mix_of(CELLS[name]), policy)
    size = (*LHD.finalnet_size(genotype, policy, 100), 100) if stem == "cifar" else (48, 14, 1000)
    with torch.device("meta"):
        net = LHD.finalnet(genotype, *size, auxiliary=True, stem=stem)
    counts = (
        expected["by_num_classes"]["100"]
        if stem == "cifar"
        else expected["imagenet_patched_C48_L14_n1000"]
    )
    assert count_parameters(net) == counts["params_with_aux"]
    assert count_parameters(net) - count_parameters(net.auxiliary) == counts["params_no_aux"]


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("base", {}),
        ("pcdarts", {"partial": 4, "extra": ("rest",)}),
        ("minus", {"extra": ("auxiliary_skip",)}),
        ("surge", {"extra": ("auxiliary_skip",)}),
    ],
)
def test_supernet_has_the_parameters_of_the_released_one(network, options):
    for size in ((4, 3, 10), (16, 8, 100)):
        with torch.device("meta"):
            net = LHD.supernet(*size, **options)
        expected = NETWORKS["supernet_param_counts"][network]["C{}_L{}_n{}".format(*size)]
        assert count_parameters(net) == (
            expected["weights"] if isinstance(expected, dict) else expected
        )


def test_size_of_the_space():
    assert lhd_cells.operator_choices() == 3_700_603_916_100 == 91 * 210 * 378 * 595 * 861
    assert LHD.num_architectures == (3_700_603_916_100 * 30 * 30) ** 2
    assert f"{lhd_cells.count_architectures(ops=3):.4e}" == "1.1502e+40"
    assert f"{lhd_cells.count_architectures(outputs=4):.4e}" == "8.5590e+27"


def test_ties_go_to_the_first():
    even = {name: torch.full(shape, 0.25) for name, shape in LHD.alpha_shapes.items()}
    cell = LHD.discretize(even, "4out").cells[0]
    assert cell.nodes[3] == (("max_pool_3x3", 0), ("avg_pool_3x3", 0))
    assert cell.sum == cell.output == (2, 3, 4, 5) and cell.nodes[4] == ()
    even["normal"][INCOMING[1], 6] = 0.5
    assert LHD.discretize(even, "4out").cells[0].nodes[1] == (
        ("dil_conv_5x5", 0),
        ("dil_conv_5x5", 1),
    )
    assert LHD.discretize(even, "3ops").cells[0].nodes[1][2] == ("dil_conv_5x5", 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_thresholds_are_strict_and_never_leave_an_output_empty(dtype):
    even = LHD.relax(
        {name: torch.zeros(shape, dtype=dtype) for name, shape in LHD.alpha_shapes.items()},
        softmax(),
    )
    cell = LHD.discretize(even).cells[1]
    assert cell.sum == cell.output == (2,)
    assert cell.nodes[1:] == ((),) * 4
    even["reduce_output"] = torch.tensor(
        [[0.2, 0.3, 0.1, 0.2, 0.2], [0.5, 0.5, 0.6, 0.5, 0.4]], dtype=dtype
    )
    cell = LHD.discretize(even, "base").cells[1]
    assert (cell.sum, cell.output) == ((3,), (4,))


def test_ancestors_of_outputs_stay():
    mix = {name: torch.zeros(shape) for name, shape in LHD.alpha_shapes.items()}
    for target, source in ((2, 1), (3, 0), (4, 2), (5, 3), (6, 4)):
        mix["normal"][EDGES.index((source, target)), :2] = 1.0
    mix["normal_output"][:, 4] = 1.0
    nodes = LHD.discretize(mix).cells[0].nodes
    assert [{source for _, source in node} for node in nodes] == [{1}, set(), {2}, set(), {4}]


@pytest.mark.parametrize("policy", LHD.policies)
def test_what_is_derived_fits_and_trains(policy):
    genotype = LHD.discretize(random_mix(seed=3), policy)
    assert Genotype.parse(str(genotype)) == genotype
    net = LHD.finalnet(str(genotype), 4, 3, 5, auxiliary=True)
    logits, auxiliary = net(torch.randn(2, 3, 16, 16))
    (logits.sum() + auxiliary.sum()).backward()
    assert net.cells[-1].enter1.conv.weight.grad.abs().sum() > 0
    assert net.eval()(torch.randn(2, 3, 16, 16)).shape == (2, 5)


# The relaxation


def test_everything_into_a_node_competes():
    scores = {
        name: torch.randn(shape, dtype=torch.float64) for name, shape in LHD.alpha_shapes.items()
    }
    mix = LHD.relax(scores, softmax(0.5))
    for edges in INCOMING:
        node = torch.softmax(scores["reduce"][edges].flatten() / 0.5, dim=0)
        torch.testing.assert_close(mix["reduce"][edges].flatten(), node)
    torch.testing.assert_close(
        mix["normal_output"][0], torch.softmax(scores["normal_output"][0] / 0.5, dim=0)
    )
    torch.testing.assert_close(
        mix["normal_output"][1], 1 / (1 + torch.exp(-scores["normal_output"][1]))
    )
    best = LHD.relax(scores, relax.one_hot)
    assert best["normal"].sum() == NODES and best["normal_output"][0].sum() == 1


def test_relaxation_of_other_spaces_is_per_edge():
    darts = spaces.get("darts")
    scores = {name: torch.randn(shape) for name, shape in darts.alpha_shapes.items()}
    for name, mix in darts.relax(scores, softmax()).items():
        torch.testing.assert_close(mix, torch.softmax(scores[name], dim=-1))


# The fast supernet equals the naive one


# 20: the last cells have an odd side, where dilation has no sub-lattices
@pytest.mark.parametrize("side", [16, 20])
def test_supernet_equals_the_naive_one(side):
    torch.manual_seed(0)
    ours = LHD.supernet(4, 3, 5).double()
    naive = NaiveSupernet(4, 3, 5).double()
    naive.load_state_dict(ours.state_dict(), strict=False)
    assert {n for n, _ in ours.named_parameters()} == {n for n, _ in naive.named_parameters()}
    images, labels = torch.randn(2, 3, side, side, dtype=torch.float64), torch.tensor([0, 3])
    found = []
    for net in (ours, naive):
        mix, named = random_mix(), dict(net.named_parameters())
        logits = net(images, mix)
        weights = [named[n] for n, _ in naive.named_parameters()]
        loss = F.cross_entropy(logits, labels)
        found.append(
            [logits, *torch.autograd.grad(loss, [*mix.values(), *weights], materialize_grads=True)]
        )
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_zero_weights_may_be_skipped():
    torch.manual_seed(0)
    net = LHD.supernet(4, 3, 5).double().train()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    mix = random_mix(requires_grad=False)
    mix |= {
        kind: F.one_hot(3 * torch.arange(len(EDGES)) % len(OPS), len(OPS)).double()
        for kind in CELL_TYPES
    }
    torch.testing.assert_close(
        net(images, mix), net(images, mix, everything(mix)), rtol=1e-12, atol=1e-12
    )
    zero = {
        name: torch.zeros(shape, dtype=torch.float64) for name, shape in LHD.alpha_shapes.items()
    }
    torch.testing.assert_close(net(images, zero), net.linear.bias.expand(2, 5))


def test_sampled_operations_alone_are_run():
    torch.manual_seed(0)
    net, run = LHD.supernet(4, 3, 5), []
    for key, module in net.named_modules():
        if key.endswith(("conv_3x3", "conv_5x5")):
            module.depthwise.register_forward_hook(lambda *_, key=key: run.append(key))
    mix = LHD.relax({k: torch.zeros(s) for k, s in LHD.alpha_shapes.items()}, relax.one_hot)
    mix["normal"][[0, 2]] = F.one_hot(torch.tensor([3, 5]), len(OPS)).float()
    net(torch.randn(2, 3, 16, 16), mix)
    assert run == ["cells.0.ops.0_sep_conv_3x3", "cells.0.ops.2_dil_conv_3x3"]


@pytest.mark.parametrize("partial", [1, 2])
def test_cells_can_be_recomputed_operation_by_operation(partial):
    torch.manual_seed(0)
    net = LHD.supernet(4, 3, 5, partial=partial).double().train()
    mix, seen = random_mix(requires_grad=False), []
    for cell in net.cells:
        cell.register_forward_hook(
            lambda cell, inputs, outputs: seen.append((cell, inputs, outputs))
        )
    net(torch.randn(2, 3, 16, 16, dtype=torch.float64), mix)
    for cell, (first, second, plan), outputs in seen:
        states, before_gates = cell.enter(first, second), []
        for node, edges in enumerate(INCOMING):
            z = 0
            for e in edges:
                x = states[cell.edges[e][0]]
                part, rest = x[:, : x.shape[1] // partial], x[:, x.shape[1] // partial :]
                weights = zip(cell.edge_ops[e], mix[cell.cell_type][e], strict=True)
                mixed = sum(w * cell.branch(e, name, Node(part)) for name, w in weights)
                rest = F.max_pool2d(rest, 2) if partial > 1 and cell.stride(e) == 2 else rest
                joined = (
                    torch.cat([mixed, mix[cell.cell_type][e].sum() * rest], dim=1)
                    if partial > 1
                    else mixed
                )
                z = z + F.channel_shuffle(joined, partial)
            before_gates.append(z)
            states.append(mix[f"{cell.cell_type}_output"][1, node] * z)
        for a, b in zip(cell.leave(before_gates, states, plan), outputs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_thin_dilated_convolution_on_sub_lattices(kernel, stride):
    torch.manual_seed(0)
    op = ThinDilatedConv(4, kernel, stride, affine=False).double()
    x = torch.randn(2, 4, 12, 8, dtype=torch.float64)
    plain = op.bn(F.conv2d(F.relu(x), op.depthwise.weight, None, stride, kernel - 1, 2, groups=4))
    torch.testing.assert_close(op(Node(x)), plain, rtol=1e-10, atol=1e-12)


# Dropped paths

SKIPS = Genotype.parse(
    "Genotype("
    + ", ".join(
        f"{kind}={[[(op, 0), (op, 1)]] * NODES}, {kind}_sum=[2, 6], {kind}_concat=[2, 3, 4, 5, 6]"
        for kind, op in (("normal", "skip_connect"), ("reduce", "avg_pool_3x3"))
    )
    + ")"
)


def test_identity_is_never_dropped_and_evaluation_drops_nothing():
    torch.manual_seed(0)
    net = LHD.finalnet(SKIPS, 4, 3, 5)
    images = torch.randn(8, 3, 16, 16)
    net.eval().drop_path = 0.9
    assert torch.equal(net(images), net(images))
    node = [Node(torch.randn(8, channels, 16, 16)) for channels in (4, 12)]
    for index, same in ((0, True), (1, False)):
        cell = net.train().cells[index]
        inputs = node if index == 0 else net.cells[0](*node, 0.0)
        pairs = zip(cell(*inputs, 0.9), cell(*inputs, 0.0), strict=True)
        assert all(torch.equal(a.x, b.x) for a, b in pairs) == same
    assert not torch.equal(net(images), net(images))


def test_dropped_paths_follow_the_generator_in_the_state_dict():
    torch.manual_seed(0)
    net = LHD.finalnet(SKIPS, 4, 3, 5)
    net.drop_path, images, state = 0.5, torch.randn(8, 3, 16, 16), net.random.get_extra_state()
    first = net(images)
    net.random.set_extra_state(state)
    assert torch.equal(net(images), first)


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("'avg_pool_3x3', 0", "'avg_pol_3x3', 0"),
            r"edge 0 -> 2 in the reduce cell of lhd.*avg_pool_3x3",
        ),
        (
            ("normal_concat=[2, 3, 4, 5, 6]", "normal_concat=[2, 7]"),
            r"normal_concat takes nodes of \[2, 3.*\[2, 7\]",
        ),
        (
            ("normal_sum=[2, 6]", "normal_sum=[6, 2]"),
            r"normal_sum takes .*ascending order, not \[6, 2\]",
        ),
        (("reduce_concat=[2, 3, 4, 5, 6]", "reduce_concat=[]"), "reduce_concat takes"),
        (
            ("('skip_connect', 1)], [", "('skip_connect', 2)], ["),
            r"expected.*node 2 takes .*0 to 1.*2",
        ),
        (
            (", [('skip_connect', 0), ('skip_connect', 1)]]", "]"),
            "the normal cell of lhd has 5 nodes, not 4",
        ),
    ],
)
def test_genotype_that_does_not_fit(change, message):
    assert change[0] in str(SKIPS)
    with pytest.raises(ValueError, match=message):
        LHD.finalnet(str(SKIPS).replace(*change, 1), 4, 3, 5)


def test_genotype_that_takes_from_a_dead_node_or_of_another_space():
    skip, from_dead = (("skip_connect", 0),), (("skip_connect", 2),)
    normal = Cell("normal", ((), skip, skip, skip, skip), output=(3, 4), sum=(5, 6))
    reduce = replace(normal, name="reduce")
    LHD.finalnet(Genotype((normal, reduce)), 4, 3, 5)
    dead = replace(normal, nodes=((), skip, skip, skip, from_dead))
    with pytest.raises(
        ValueError, match="node 6 of the normal cell takes skip_connect from 2, which has no value"
    ):
        LHD.finalnet(Genotype((dead, reduce)), 4, 3, 5)
    for text in (
        "|skip_connect~0|",
        "Genotype(normal=[('max_pool_3x3', 0), ('skip_connect', 1)], normal_concat=[2])",
    ):
        with pytest.raises(ValueError, match="normal and reduce"):
            LHD.finalnet(text, 4, 3, 5)


def test_sizes_that_cannot_be():
    for build in (LHD.supernet, lambda *size: LHD.finalnet(SKIPS, *size)):
        with pytest.raises(ValueError, match="channels must be an even number.*not 3"):
            build(3, 3, 5)
        with pytest.raises(ValueError, match="cells must be at least 3.*not 2"):
            build(4, 2, 5)
    with pytest.raises(ValueError, match="divisible by partial = 4, not 6"):
        LHD.supernet(6, 3, 5, partial=4)
    with pytest.raises(ValueError, match="unknown extra of lhd 'auxilary_skip'.*auxiliary_skip"):
        LHD.supernet(4, 3, 5, extra=("auxilary_skip",))
    with pytest.raises(ValueError, match="nothing goes around"):
        LHD.supernet(4, 3, 5, extra=("rest",))
    with pytest.raises(ValueError, match="imagenet"):
        LHD.finalnet(SKIPS, 4, 3, 5, stem="imagnet")


def test_mixing_weights_and_policies_that_cannot_be():
    mix = random_mix(requires_grad=False)
    with pytest.raises(ValueError, match="policy of lhd '1M'.*1m"):
        LHD.discretize(mix, "1M")
    with pytest.raises(ValueError, match="must have the shapes.*normal_output"):
        LHD.discretize({kind: mix[kind] for kind in CELL_TYPES})
    with torch.device("meta"):
        net = LHD.supernet(4, 3, 5)
    with pytest.raises(ValueError, match=r"divisible by 4.*18"):
        net(torch.randn(1, 3, 18, 16), mix)


def test_edges_are_in_the_order_of_alpha():
    assert EDGES[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)) and EDGES[14:] == tuple(
        (s, 6) for s in range(6)
    )
