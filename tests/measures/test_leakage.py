"""Measures of leakage: each separates a supernet that leaks from one that cannot,
and none disturbs a search.

Run: pytest tests/measures/test_leakage.py
"""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasutils import data, methods, runs, spaces
from nasutils.measures import curvature, leakage, tables
from nasutils.methods import relax
from nasutils.spaces.base import everything
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment, build
from nasutils.training.search import Search
from tests.naive import NaiveSupernet, unstack

NB201 = spaces.get("nasbench201")
DIGITS = data.load("digits", resolution=8)
TRAIN, VALID = data.search_split(DIGITS, "half", 64)
IMAGES = data.normalize(VALID.images, DIGITS, torch.float64)
NAMES = {"cell": (NB201.ops,) * 6}
LEAKY = {"cell": torch.tensor([[0.1, 0.35, 0.1, 0.4, 0.05]]).double().repeat(6, 1)}
SOUND = {"cell": torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]]).double().repeat(6, 1)}


pytestmark = pytest.mark.usefixtures("one_thread")


def supernet(space="nasbench201", channels=4, cells=1, seed=0):
    torch.manual_seed(seed)
    return spaces.get(space).supernet(channels, cells, 10).double()


def random_mix(space, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = spaces.get(space).alpha_shapes
    return {
        k: torch.randn(s, generator=generator).double().softmax(dim=-1) for k, s in shapes.items()
    }


def loss_of(net, size=None):
    return lambda mix: F.cross_entropy(
        net(IMAGES[:size], mix, everything(mix)), VALID.labels[:size]
    )


def trained(net, mix, steps=15):
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(net)(mix).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net


@pytest.fixture(scope="module")
def leaky():
    """Every convolution of the cells puts out 0 for ever:
    the identity branches carry everything.
    """
    net = supernet()
    for name, parameter in net.named_parameters():
        if ".fans." in name:
            parameter.detach().zero_()
            parameter.requires_grad_(False)
    return trained(net, LEAKY)


@pytest.fixture(scope="module")
def sound():
    """One convolution per edge, nothing beside it."""
    return trained(supernet(), SOUND)


@pytest.fixture(scope="module")
def measured(leaky, sound):
    return [
        leakage.measure(net, mix, IMAGES, VALID.labels)
        for net, mix in ((leaky, LEAKY), (sound, SOUND))
    ]


def same(a, b):
    """Whether two states are equal bit for bit, tensors inside dicts and lists included."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def accuracy(net, mix):
    return 100 * (net(IMAGES, mix).argmax(dim=1) == VALID.labels).double().mean().item()


# A supernet that leaks against one that cannot


def test_cutting_the_strongest_operation_matters_only_where_nothing_goes_around_it(measured):
    leaks, holds = ([row[3] for row in m["cut"]["cell"]] for m in measured)
    assert max(map(abs, leaks)) < 1e-12
    assert min(map(abs, holds)) > 1e-3


def test_keeping_only_the_strongest_operation_matters_only_where_something_goes_around_it(
    measured,
):
    leaks, holds = ([row[3] for row in m["only"]["cell"]] for m in measured)
    assert min(map(abs, leaks)) > 1e-4
    assert holds == [0.0] * 6


def test_bypass_separates(measured):
    leaks, holds = measured
    assert leaks["bypass"]["cell"] == pytest.approx([1.0] * 6)
    assert holds["bypass"]["cell"] == [0.0] * 6
    assert [m["bypass_total"]["cell"] for m in measured] == [pytest.approx(1.0), 0.0]


def test_the_gradient_separates(measured):
    assert [m["free_gradient"]["cell"] for m in measured] == [1.0, 0.0]


def test_the_mixing_weights_separate(measured):
    leaks, holds = measured
    assert leaks["dominance"]["cell"] == {"weight": pytest.approx(0.5), "strongest": 0.0}
    assert holds["dominance"]["cell"] == {"weight": 0.0, "strongest": 0.0}
    assert leaks["margin"]["cell"] == pytest.approx([0.05] * 6)
    assert holds["margin"]["cell"] == [1.0] * 6
    assert leaks["entropy"]["cell"] == pytest.approx(
        [-sum(p * math.log(p) for p in LEAKY["cell"][0].tolist())] * 6
    )
    assert holds["entropy"]["cell"] == [0.0] * 6


def test_the_eigenvalue_separates(measured):
    leaks, holds = measured
    assert leaks["eigenvalue"] > 1e-3
    assert holds["eigenvalue"] == 0.0


def test_the_discretization_drop_separates(leaky, sound):
    drops = []
    for net, mix in ((leaky, LEAKY), (sound, SOUND)):
        discretized = {"cell": relax.one_hot(mix["cell"])}
        drops.append(accuracy(net, mix) - accuracy(net, discretized))
    assert drops[0] > 30 and drops[1] == 0


def test_a_dense_supernet_as_initialised_lies_between():
    found = leakage.measure(supernet(), random_mix("nasbench201"), IMAGES, VALID.labels)
    assert 0 < found["free_gradient"]["cell"] < 1
    assert 0 < found["bypass_total"]["cell"] < 1


# Interventions


def test_interventions_by_hand():
    """Loss: w0 of an edge counts 100 times (none), w1 3 times, w2 -1 time."""
    mix = {"cell": torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]).double()}
    effect, seen = torch.tensor([0.0, 3.0, -1.0]).double(), []
    loss = lambda mix: seen.append(mix) or (mix["cell"] @ effect).sum()  # noqa: E731
    base, cut, only = leakage.interventions(
        loss, mix, {"cell": (("none", "skip_connect", "conv"),) * 2}
    )
    assert base == 3.5
    assert cut["cell"].tolist() == [[0.0, -0.75, 0.25], [0.0, -3.0, 0.0]]
    assert only["cell"].tolist() == [[-0.5, 0.25, -0.75], [-3.0, 0.0, -3.0]]
    assert len(seen) == 1 + 3 + 1  # one operation is what is left when the other is cut


def test_interventions_run_no_operation_that_carries_nothing():
    seen = []
    loss = lambda mix: seen.append(mix) or torch.tensor(0.0)  # noqa: E731
    leakage.interventions(loss, SOUND, NAMES)
    assert len(seen) == 1 + 6


def test_cut_and_only_are_losses_of_supernets_with_changed_weights():
    net, mix = supernet(), random_mix("nasbench201")
    found = leakage.measure(net, mix, IMAGES, VALID.labels, temperature=None)
    net.train()
    for kept, name in (([1, 1, 0, 1, 1], "cut"), ([0, 0, 1, 0, 0], "only")):
        changed = mix["cell"].clone()
        changed[4] *= torch.tensor(kept)
        expected = (loss_of(net)({"cell": changed}) - loss_of(net)(mix)).item()
        assert found[name]["cell"][4][2] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("cut", "only", "expected"),
    [
        (1.0, 0.0, 0.0),
        (0.0, 1.0, 1.0),
        (1.0, 3.0, 0.75),
        (-1.0, 3.0, 0.75),
        (2.0, -2.0, 0.5),
        (0.0, 0.0, 0.0),
    ],
)
def test_bypass_by_hand(cut, only, expected):
    weights, names = torch.tensor([[0.2, 0.4, 0.4]]), [["conv", "skip_connect", "pool"]]
    pair = [torch.tensor([[9.0, x, 9.0]]) for x in (cut, only)]
    assert leakage.bypass(*pair, weights, names).tolist() == [expected]
    assert leakage.bypass_total(*pair, weights, names) == expected


def test_an_edge_whose_strongest_operation_is_none_is_judged_by_the_next():
    cut, only = (
        torch.tensor([[0.0, 1.0, 9.0], [0.0, 9.0, 2.0]]),
        torch.tensor([[9.0, 3.0, 9.0], [9.0, 9.0, 6.0]]),
    )
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.0, 0.1]])
    names = [["none", "skip_connect", "conv"]] * 2
    assert leakage.bypass(cut, only, weights, names).tolist() == [0.75, 0.75]
    assert leakage.bypass_total(cut, only, weights, names) == 0.75
    assert leakage.spread(weights, names).tolist() == pytest.approx([0.4, 0.0])
    assert leakage.spread(torch.tensor([[1.0, 0.0, 0.0]]), names[:1]).tolist() == [0.0]


def test_the_bypass_of_operations_that_put_out_the_same_is_the_spread():
    weights, names = torch.tensor([[0.6, 0.3, 0.1]]).double(), [["a", "b", "c"]]
    loss = lambda mix: mix["cell"].sum()  # noqa: E731
    _, cut, only = leakage.interventions(loss, {"cell": weights}, {"cell": names})
    assert leakage.bypass(cut["cell"], only["cell"], weights, names).tolist() == pytest.approx(
        [0.4]
    )
    assert leakage.spread(weights, names).tolist() == pytest.approx([0.4])


# At equal sparsity


@pytest.mark.parametrize("temperature", [0.01, 1.0, 30.0])
def test_weights_of_any_temperature_meet_at_the_same_entropy(temperature):
    alphas = {"normal": torch.randn(14, 8, generator=torch.Generator().manual_seed(0)).double()}
    alphas["reduce"] = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)).double()
    mix = {kind: relax.softmax(a, temperature) for kind, a in alphas.items()}
    found = leakage.at_entropy(mix)
    entropies = torch.cat([relax.entropy(p) for p in found.values()])
    assert entropies.mean().item() == pytest.approx(
        0.5 * (14 * math.log(8) + 3 * math.log(2)) / 17
    )
    power = (found["normal"][0].log() - found["normal"][0, 0].log()) / (
        alphas["normal"][0] - alphas["normal"][0, 0]
    )
    assert torch.allclose(power[1:], power[1], rtol=1e-6)
    others = leakage.at_entropy({kind: relax.softmax(a, 1.7) for kind, a in alphas.items()})
    torch.testing.assert_close(found["reduce"], others["reduce"], rtol=1e-6, atol=1e-9)


def test_weights_keep_the_sum_of_their_edge_and_hard_ones_have_no_such_entropy():
    mix = {"cell": 0.3 * torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]]).double()}
    assert leakage.at_entropy(mix)["cell"].sum(dim=1).tolist() == pytest.approx([0.3, 0.3])
    assert leakage.at_entropy(SOUND) is None
    assert leakage.at_entropy({"cell": torch.full((6, 5), 0.2)}) is None


def test_equal_sparsity_separates_what_training_made_of_a_supernet(measured):
    leaks, holds = measured
    assert leaks["matched"]["bypass_total"]["cell"] == pytest.approx(1.0)
    assert holds["matched"] is None
    assert leaks["spread"]["cell"] == pytest.approx([0.5 / 0.9] * 6)


def test_bypass_of_all_edges_counts_each_as_much_as_it_matters():
    cut, only = torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.1, 0.0], [0.9, 0.0]])
    weights, names = torch.tensor([[0.9, 0.1], [0.9, 0.1]]), [["conv", "pool"]] * 2
    assert leakage.bypass(cut, only, weights, names).tolist() == pytest.approx([1.0, 0.9 / 3.9])
    assert leakage.bypass_total(cut, only, weights, names) == pytest.approx(1.0 / 4.0)


# Gradient


def calls_of(net, mix, images):
    """(cell, inputs, output) of every cell in a forward."""
    seen = []
    cells = [m for m in net.modules() if isinstance(m, leakage.Measurable)]
    hooks = [c.register_forward_hook(lambda *call: seen.append(call)) for c in cells]
    net(images, mix)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("space", "cells"), [("nasbench201", 1), ("darts", 3), ("s1", 3), ("s2", 3)]
)
def test_a_cell_computed_plainly_is_the_cell(space, cells):
    net, mix = supernet(space, cells=cells), random_mix(space)
    calls = calls_of(net, mix, IMAGES[:16])
    assert len(calls) == 3
    for cell, inputs, output in calls:
        states, branches = leakage.unroll(cell, inputs, mix[cell.cell_type])
        torch.testing.assert_close(cell.leave(states), output, rtol=1e-10, atol=1e-10)
        assert [len(b) for b in branches] == [len(names) for names in cell.edge_ops]


def with_aliases(cell, inputs, weights):
    """The cell on a view of its source node for each branch:
    the output and the views, [edge][operation].
    """
    first, views = min(t for _, t in cell.edges), {}
    states = cell.enter(*inputs[:first])
    for node in range(first, max(t for _, t in cell.edges) + 1):
        total = 0
        for e, (source, target) in enumerate(cell.edges):
            if target == node:
                for k, w in enumerate(weights[e]):
                    views[e, k] = states[source].view_as(states[source])
                    total = total + w * cell.branches(e, views[e, k])[k]
        states.append(total)
    return cell.leave(states), views


@pytest.mark.parametrize("space", ["nasbench201", "darts", "s2"])
def test_branch_gradients_are_those_of_autograd(space):
    net, mix = supernet(space, cells=1 if space == "nasbench201" else 3), random_mix(space)
    net.train()
    calls = calls_of(net, mix, IMAGES[:16])
    value = loss_of(net, 16)
    found = leakage.branch_gradients(net, value, mix)
    expected = {kind: torch.zeros_like(m) for kind, m in mix.items()}
    again = []
    hooks = [c.register_forward_hook(lambda *call: again.append(call)) for c, *_ in calls]
    upstream = torch.autograd.grad(value(mix), [output for *_, output in again])
    for hook in hooks:
        hook.remove()
    for (cell, inputs, _), g in zip(again, upstream, strict=True):
        output, views = with_aliases(cell, inputs, mix[cell.cell_type])
        gradients = torch.autograd.grad(output, list(views.values()), g, materialize_grads=True)
        for at, gradient in zip(views, gradients, strict=True):
            expected[cell.cell_type][at] += gradient.square().sum()
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-18)


def test_a_network_cut_off_by_none_has_no_gradient():
    none = {"cell": torch.tensor([[1.0, 0, 0, 0, 0]]).double().repeat(6, 1)}
    found = leakage.measure(supernet(), none, IMAGES, VALID.labels)
    assert found["free_gradient"] == {"cell": 0.0}
    assert found["dominance"]["cell"] == {"weight": 1.0, "strongest": 1.0}
    json.dumps(found, allow_nan=False)


# Curvature


def quadratic(eigenvalues, seed=0):
    """A symmetric matrix of these eigenvalues,
    and the function x/2 A x of a dict of two parts of x.
    """
    size = len(eigenvalues)
    basis, _ = torch.linalg.qr(
        torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    )
    matrix = basis @ torch.diag(torch.tensor(eigenvalues).double()) @ basis.T
    alphas = {"normal": torch.ones(2, 2).double(), "reduce": torch.ones(size - 4).double()}
    return (
        matrix,
        alphas,
        lambda a: (x := torch.cat([p.flatten() for p in a.values()])) @ matrix @ x / 2,
    )


@pytest.mark.parametrize(
    "eigenvalues", [[-10, -3, 0, 0.5, 1, 2, 2], [-5, -4, -3, -2, -1, -0.5, -0.25], [7.0] * 7]
)
def test_the_algebraically_largest_eigenvalue_is_found(eigenvalues):
    matrix, alphas, loss = quadratic(eigenvalues)
    product, size = curvature.hessian_product(loss, alphas)
    torch.testing.assert_close(product(torch.ones(7).double()), matrix @ torch.ones(7).double())
    assert curvature.largest_eigenvalue(product, size, tolerance=1e-12) == pytest.approx(
        max(eigenvalues), abs=1e-10
    )


def test_a_few_products_suffice_for_a_dominant_eigenvalue():
    products, eigenvalues = [], torch.linspace(-1, 1, 200).double()
    eigenvalues[-1] = 5.0
    found = curvature.largest_eigenvalue(lambda v: products.append(v) or eigenvalues * v, 200)
    assert found == pytest.approx(5.0, rel=1e-3)
    assert len(products) < 15


def test_a_loss_without_curvature_has_the_eigenvalue_zero():
    product, size = curvature.hessian_product(
        lambda a: 3 * a["x"].sum(), {"x": torch.ones(4).double()}
    )
    assert curvature.largest_eigenvalue(product, size) == 0.0


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_eigenvalue_of_a_supernet_is_that_of_its_full_hessian_in_alpha(temperature):
    net, alpha = (
        supernet(channels=2),
        torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).double(),
    )
    net.train()
    loss, images = loss_of(net, 16), lambda a: {"cell": relax.softmax(a, temperature)}
    full = torch.autograd.functional.hessian(lambda a: loss(images(a)), alpha).reshape(30, 30)
    expected = torch.linalg.eigvalsh((full + full.T) / 2)
    product, size = curvature.hessian_product(lambda a: loss(images(a["cell"])), {"cell": alpha})
    assert curvature.largest_eigenvalue(product, size, steps=30, tolerance=1e-9) == pytest.approx(
        expected[-1].item()
    )
    found = curvature.curvature(loss, images(alpha), temperature)
    assert found == pytest.approx(expected[-1].item(), abs=0.01 * expected.abs().max().item())


def test_second_derivatives_of_the_supernet_are_those_of_the_plain_one():
    net, plain, mix = (
        supernet(channels=2),
        NaiveSupernet(2, 1, 10).double(),
        random_mix("nasbench201"),
    )
    plain.load_state_dict(unstack(net.state_dict()))
    products = [
        curvature.hessian_product(loss, mix)[0]
        for loss in (loss_of(net, 16), plain_loss(plain, 16))
    ]
    v = torch.randn(30, generator=torch.Generator().manual_seed(2)).double()
    torch.testing.assert_close(products[0](v), products[1](v), rtol=1e-8, atol=1e-10)


def plain_loss(net, size):
    return lambda mix: F.cross_entropy(net(IMAGES[:size], mix), VALID.labels[:size])


def test_weights_that_are_zero_have_no_curvature_and_edges_keep_their_sum():
    target = torch.tensor([[0.3, 0.3, 0.4], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]).double()
    loss = lambda mix: (mix["x"] - target).square().sum()  # noqa: E731
    alone = curvature.curvature(loss, {"x": target}, temperature=2.0)
    p = target[0]
    jacobian = (torch.diag(p) - torch.outer(p, p)) / 2.0
    assert alone == pytest.approx(
        torch.linalg.eigvalsh(2 * jacobian @ jacobian)[-1].item(), rel=1e-2
    )


# Probing disturbs nothing


@pytest.mark.parametrize("space", ["nasbench201", "s4"])
def test_measuring_leaves_no_trace_and_repeats_itself(space):
    net, mix = supernet(space, 2, cells=1 if space == "nasbench201" else 3), random_mix(space)
    net.eval()
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    first, again = (leakage.measure(net, mix, IMAGES[:4], VALID.labels[:4]) for _ in range(2))
    assert first == again
    json.dumps(first, allow_nan=False)
    assert same(before, net.state_dict())
    assert torch.equal(torch.get_rng_state(), random)
    assert not net.training and all(p.grad is None for p in net.parameters())


def test_cells_of_other_types_are_refused():
    with pytest.raises(
        ValueError, match=r"of the types \['normal'\]; the network's are \['cell'\]"
    ):
        leakage.measure(supernet(), {"normal": LEAKY["cell"]}, IMAGES, VALID.labels)
    with pytest.raises(ValueError, match="network's are"):
        leakage.measure(nn.Linear(2, 2), LEAKY, IMAGES, VALID.labels)


def search(name="sp-darts", *, space=NB201, epochs=3, probe_every=0, precision="float32"):
    dtype = torch.float32 if precision == "float32" else torch.float64
    method = methods.get(name, space, epochs=epochs, dtype=dtype)
    recipe = replace(method.recipe, epochs=epochs, batch=32, split="half")
    torch.manual_seed(0)
    net = space.supernet(2, 1 if space is NB201 else 3, 10).to(dtype)
    return Search(
        net, method, recipe, DIGITS, TRAIN, VALID, precision=precision, probe_every=probe_every
    )


@pytest.mark.parametrize("space", [NB201, spaces.get("s4")])
def test_the_eigenvalue_alone_is_that_of_the_probe_and_disturbs_nothing(space):
    both, plain = search(space=space, probe_every=1, epochs=2), search(space=space, epochs=2)
    both.eigenvalue_every = 2
    first, second = both.run()
    assert "eigenvalue" not in first and second["eigenvalue"] == second["leakage"]["eigenvalue"]
    assert [r["train_loss"] for r in plain.run()] == [first["train_loss"], second["train_loss"]]
    assert same(plain.state_dict(), both.state_dict())


def test_the_eigenvalue_is_refused_where_edges_have_no_softmax():
    with pytest.raises(ValueError, match="must be 0 on lhd"):
        build(
            Experiment(
                "lhd", dataset="digits", resolution=8, channels=4, cells=3, eigenvalue_every=1
            ),
            Machine(),
        )


def test_leakage_is_tabulated_on_every_space(tmp_path):
    records = list(search("darts", space=spaces.get("s2"), probe_every=1, epochs=1).run())
    table = tables.leakage_table({("DARTS", 0): records})
    assert len(table) == 1 and table["bypass"].notna().all() and table["skip_cut"].isna().all()


def test_the_table_says_what_discretizing_loses_and_the_curvature_by_alpha_over_temperature():
    (record,) = search(probe_every=1, epochs=1).run()
    accuracies = {"relaxed": 60.0, "discretized": 25.0, "discretized_recalibrated": 40.0}
    record["supernet_accuracy"] = accuracies
    record["leakage"]["eigenvalue"], record["softmax_temperature"] = 3.0, 0.1
    table = tables.leakage_table({("SP-DARTS", 0): [record]})
    columns = ["drop", "drop_recalibrated", "eigenvalue", "curvature"]
    assert table.loc[0, columns].tolist() == pytest.approx([35.0, 20.0, 3.0, 0.03])


@pytest.mark.parametrize(
    ("name", "space"), [("darts", NB201), ("sp-darts", NB201), ("darts", spaces.get("s4"))]
)
def test_a_probed_search_is_the_same_search_bit_for_bit(name, space, monkeypatch):
    monkeypatch.setattr(leakage, "IMAGES", 8)
    plain, probed = search(name, space=space), search(name, space=space, probe_every=2)
    random = torch.get_rng_state()
    expected, found = list(plain.run()), list(probed.run())
    assert ["leakage" in record for record in found] == [False, True, True]
    for a, b in zip(expected, found, strict=True):
        assert {k: v for k, v in a.items() if k != "cost"} == {
            k: v for k, v in b.items() if k not in ("cost", "leakage")
        }
    assert same(plain.state_dict(), probed.state_dict())
    assert torch.equal(torch.get_rng_state(), random)


def test_ablated_weights_lose_the_operations_they_are_named_after():
    mix = {"cell": torch.full((6, 5), 0.2)}
    taken = {
        name: m["cell"][0].tolist()
        for name, m in leakage.ablated(NB201.supernet(2, 1, 10), mix).items()
    }
    w = pytest.approx(0.2)
    assert taken == {
        "without_skip": [w, 0, w, w, w],
        "free_only": [w, w, 0, 0, w],
        "parametric_only": [0, 0, w, w, 0],
    }


def test_a_record_of_leakage_is_json_of_the_documented_form():
    task = search("darts", epochs=1, probe_every=1)
    (record,) = task.run()
    found = record["leakage"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found.keys() == {
        *("loss", "cut", "only", "bypass", "bypass_total", "spread", "matched", "free_gradient"),
        *("dominance", "entropy", "margin", "eigenvalue", "accuracy"),
    }
    assert [
        len(found["cut"]["cell"]),
        len(found["only"]["cell"][0]),
        len(found["bypass"]["cell"]),
    ] == [6, 5, 6]
    images = data.normalize(VALID.images, DIGITS)
    ablated = leakage.ablated(task.net, task.method.inference())
    accuracy = {what: task.recalibrated_accuracy(mix) for what, mix in ablated.items()}
    measured = leakage.measure(task.net, task.method.inference(), images, VALID.labels)
    assert found == {**measured, "accuracy": accuracy}


@pytest.mark.parametrize("space", ["nasbench201", "darts"])
@pytest.mark.parametrize("preset", methods.PRESETS)
@pytest.mark.parametrize("name", methods.names)
def test_the_eigenvalue_is_taken_where_the_weights_are_a_softmax_of_alpha(name, preset, space):
    method = methods.get(name, spaces.get(space), preset=preset, dtype=torch.float64)
    method.begin_epoch(7)
    temperature, kinds = method.softmax_temperature, method.space.cell_types
    if name in ("gaea-bilevel", "gaea-erm", "drnas") and preset == "published":
        assert temperature is None
        return
    p = method.inference()[kinds[0]]
    found = p / p.sum(dim=1, keepdim=True)
    softmaxes = [relax.softmax(method.alphas[kind], temperature) for kind in kinds]
    # beta-darts exchanges its cells
    assert any(torch.allclose(found, q, rtol=1e-9, atol=1e-12) for q in softmaxes)


def test_the_name_of_a_run_without_probes_is_what_it_was():
    assert runs.key(Experiment(dataset="digits").params()) == "b58fdb7082f5"
    assert "probe_every" not in Experiment().params()
    assert (
        Experiment(probe_every=5).params().items()
        >= {"probe_every": 5, "probe_version": 2}.items()
    )


def test_an_experiment_hands_the_probe_on():
    task = build(
        Experiment(
            dataset="digits",
            images=32,
            channels=2,
            cells=1,
            recipe={"split": "half", "batch": 32},
            probe_every=7,
        ),
        Machine(),
    )
    assert task.probe_every == 7


def test_probes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="probe_every must be a whole number, 0 or more, not -1"):
        search(probe_every=-1)
    with pytest.raises(
        ValueError, match="must be 0 on lhd, where not all .*: normal_output, reduce_output"
    ):
        search("darts", space=spaces.get("lhd"), probe_every=1)
    partial = methods.get("pc-darts", NB201, partial=2)
    net = NB201.supernet(4, 1, 10, partial=2)
    with pytest.raises(ValueError, match="must be 0 on partial channels .pc-darts"):
        Search(net, partial, partial.recipe, DIGITS, TRAIN, VALID, probe_every=1)
