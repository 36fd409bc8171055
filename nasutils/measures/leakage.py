"""Information bypass leakage: how much of what a cell passes on goes around the operation that an
edge is to judge.

The definitions are ours, the paper's (SP-DARTS, ICDM 2021) are not available. All are taken per
cell type, whose cells share their mixing weights, on one fixed batch of validation images; batch
norms use the statistics of that batch, as in the two steps of a search. Losses are mean cross
entropies in nats.

* Interventions: `cut` takes one operation off an edge, `only` takes off all others; the weights of
  what stays are not changed. So both only remove, and together they remove the edge: to first
  order in the edge's output, the two changes of the loss are the parts of the operation and of
  what goes around it, and `bypass` is the second one's share. What goes around on other edges is
  not seen. (At weight 1 instead, a lone operation would also be scaled up against the other edges
  of its node. That is what discretization does, and it is measured as that: the gap.) The
  strongest operation is judged among those that carry something: never `none`.
* The same at equal sparsity (`at_entropy`): an operation that holds all the weight of its edge
  cannot be bypassed, whatever the network has learned. So the interventions are repeated with the
  weights sharpened or flattened to half of the largest entropy, where supernets searched at
  different temperatures are comparable; and `spread`, the weight beside the strongest operation,
  says what bypass would follow if all operations mattered by their weight alone.
* Gradient: of the squared norms of what reaches the inputs of edges, the share through operations
  without parameters.
* Mixing weights: dominance of those operations, entropy, margin.
* Curvature: the largest eigenvalue of the Hessian of the loss in alpha, as RobustDARTS (ICLR 2020)
  follows it (`nasutils.measures.curvature`).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from torch import Tensor, nn

from nasutils.measures.curvature import LossOfMix, curvature
from nasutils.methods import relax
from nasutils.spaces.base import SKIP, EdgeOps, Mix, nonzero
from nasutils.spaces.graph import Edges
from nasutils.spaces.sharing import added

FREE_OPS = frozenset({"none", SKIP, "avg_pool_3x3", "max_pool_3x3", "noise"})
"""Operations without parameters. A skip connection of stride 2 has some, but counts as a skip."""
IMAGES = 100
"""A search probes that many images: the changes of the loss are paired,
and each costs a pass through the network.
"""
MATCHED = 0.5
"""Share of the largest entropy (ln of the number of operations) at which supernets are compared.
"""
CURVATURE_IMAGES = 32
"""The eigenvalue is that of the first so many images of the probe:
a product with the Hessian costs nine passes.
"""


@runtime_checkable
class Measurable(Protocol):
    """A supernet's cell as it is measured; its forward takes its inputs first and returns one
    tensor.

    cell_type: a key of the mixing weights. edges: (source, target) nodes, in the order of the
    weights' rows; the inputs are the first nodes. edge_ops: per edge, the names of its operations.
    """

    cell_type: str
    edges: Edges
    edge_ops: EdgeOps

    def enter(self, *inputs: Any) -> list[Tensor]:
        """The first nodes, from what forward is given."""

    def branches(self, edge: int, x: Tensor) -> list[Tensor]:
        """Outputs of an edge's operations at weight 1, from its source node x; zeros for none."""

    def leave(self, states: list[Tensor]) -> Tensor:
        """The cell's output, from all of its nodes."""


def measure(
    net: nn.Module,
    mix: Mix,
    images: Tensor,
    labels: Tensor,
    *,
    temperature: float | None = 1.0,
) -> dict[str, Any]:
    """All measures of a supernet under mixing weights, as plain numbers and lists by cell type.

    net: `net(images, mix, active) -> logits` with a `Measurable` for every key of mix; it is left
    as it was found, and so are all random states. images (batch, 3, H, W), labels (batch,): the
    probe. temperature: by which mix is taken for a softmax of alpha, see `curvature` (None: no
    eigenvalue).

    loss: nats. cut, only: (edges, operations) nats. bypass, spread, entropy (nats), margin: per
    edge. bypass_total, free_gradient: one number. dominance: {"weight", "strongest"}. eigenvalue:
    of all cell types together. matched: {"loss", "bypass_total", "spread"} at the weights of
    `at_entropy`, None where they have no such entropy.

    Raises ValueError for a network whose cells cannot be measured.
    """
    mix = {cell_type: weights.detach() for cell_type, weights in mix.items()}
    names = operations_of(net, mix)
    with undisturbed(net) as rewind:
        loss = _loss_of_mix(net, images, labels, rewind)
        base, cut, only = interventions(loss, mix, names)
        gradients = branch_gradients(net, loss, mix)
        matched = _at_matched_entropy(loss, mix, names)
    eigenvalue = None
    if temperature is not None:
        eigenvalue = dominant_eigenvalue(net, mix, images, labels, temperature)
    measures: dict[str, dict[str, Any]] = defaultdict(dict)
    for cell_type, weights in mix.items():
        changes = cut[cell_type], only[cell_type]
        of_type = _of_cell_type(*changes, gradients[cell_type], weights, names[cell_type])
        for name, value in of_type.items():
            measures[name][cell_type] = value
    return {"loss": base, **measures, "eigenvalue": eigenvalue, "matched": matched}


def _of_cell_type(
    cut: Tensor, only: Tensor, gradients: Tensor, weights: Tensor, ops: EdgeOps
) -> dict[str, Any]:
    """The measures of one cell type by name, as plain numbers and lists; see `measure`.

    cut, only, gradients, weights: (edges, operations).
    """
    return {
        "cut": cut.tolist(),
        "only": only.tolist(),
        "bypass": bypass(cut, only, weights, ops).tolist(),
        "bypass_total": bypass_total(cut, only, weights, ops),
        "spread": spread(weights, ops).tolist(),
        "free_gradient": free_share(gradients, ops),
        "dominance": dominance(weights, ops),
        "entropy": relax.entropy(weights).tolist(),
        "margin": margin(weights).tolist(),
    }


def dominant_eigenvalue(
    net: nn.Module, mix: Mix, images: Tensor, labels: Tensor, temperature: float
) -> float:
    """The eigenvalue of `measure` alone, for a fraction of its cost;
    the network and random states are left alone.
    """
    images, labels = images[:CURVATURE_IMAGES], labels[:CURVATURE_IMAGES]
    mix = {cell_type: weights.detach() for cell_type, weights in mix.items()}
    with undisturbed(net) as rewind:
        return curvature(_loss_of_mix(net, images, labels, rewind), mix, temperature)


def _loss_of_mix(
    net: nn.Module, images: Tensor, labels: Tensor, rewind: Callable[[], None]
) -> LossOfMix:
    """The loss of the probe as a function of mixing weights;
    every call sees the same random draws.
    """

    def loss(mix: Mix) -> Tensor:
        rewind()
        return F.cross_entropy(net(images, mix, nonzero(mix)).double(), labels)

    return loss


def _at_matched_entropy(
    loss: LossOfMix, mix: Mix, names: Mapping[str, EdgeOps]
) -> dict[str, Any] | None:
    """The interventions at the weights of `at_entropy`, None where they have no such entropy."""
    matched = at_entropy(mix)
    if matched is None:
        return None
    base, cut, only = interventions(loss, matched, names)
    totals, spreads = {}, {}
    for cell_type, weights in matched.items():
        ops = names[cell_type]
        totals[cell_type] = bypass_total(cut[cell_type], only[cell_type], weights, ops)
        spreads[cell_type] = spread(weights, ops).tolist()
    return {"loss": base, "bypass_total": totals, "spread": spreads}


def _cells(net: nn.Module) -> list[Measurable]:
    return [m for m in net.modules() if isinstance(m, Measurable)]


def operations_of(net: nn.Module, mix: Mix) -> dict[str, EdgeOps]:
    """The names of the operations by cell type and edge. Raises ValueError where the cells that
    can be measured are not of the types of the mixing weights.
    """
    names: dict[str, EdgeOps] = {cell.cell_type: cell.edge_ops for cell in _cells(net)}
    if names.keys() != mix.keys():
        raise ValueError(
            f"leakage is measured in cells of the types {sorted(mix)}; the network's are"
            f" {sorted(names)}"
        )
    return names


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[Callable[[], None]]:
    """Training mode; afterwards mode, buffers and random states are as before.

    Yields a function that rewinds the random states, so that every loss sees the same draws.
    """
    own = []  # generators of the network's own
    for module in net.modules():
        own += [value for value in vars(module).values() if isinstance(value, torch.Generator)]
    generators = [torch.default_generator, *torch.cuda.default_generators, *own]
    states = [g.get_state() for g in generators]
    buffers = [(b, b.clone()) for b in net.buffers()]
    training = net.training

    def rewind() -> None:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)

    net.train()
    try:
        yield rewind
    finally:
        rewind()
        net.train(training)
        for buffer, before in buffers:
            buffer.copy_(before)


def ablated(net: nn.Module, mix: Mix) -> dict[str, Mix]:
    """Mixing weights with operations taken off all edges at once, what stays unchanged.

    without_skip; free_only: operations without parameters; parametric_only: the others.
    """
    names = operations_of(net, mix)
    removed = {
        "without_skip": lambda op: op == SKIP,
        "free_only": lambda op: op not in FREE_OPS,
        "parametric_only": lambda op: op in FREE_OPS,
    }
    ablations: dict[str, Mix] = {}
    for name, rule in removed.items():
        left = {}
        for cell_type, weights in mix.items():
            left[cell_type] = weights.masked_fill(_where(names[cell_type], rule, weights), 0.0)
        ablations[name] = left
    return ablations


# Interventions


@torch.no_grad()
def interventions(
    loss: LossOfMix, mix: Mix, names: Mapping[str, EdgeOps]
) -> tuple[float, dict[str, Tensor], dict[str, Tensor]]:
    """The loss, and its change (nats) when one operation is cut and when it is the only one kept:
    cut, only.

    Both (edges, operations) by cell type; see the module's text. An operation of weight 0 and
    `none` carry nothing: cutting them changes nothing, keeping only them removes the edge.
    """
    base = loss(mix).item()
    cut, only = {}, {}
    for cell_type, weights in mix.items():
        rows = []
        for edge in range(len(weights)):
            rows.append(_edge_changes(loss, mix, base, cell_type, edge, names[cell_type][edge]))
        cuts, onlys = zip(*rows, strict=True)
        cut[cell_type] = torch.tensor(cuts, dtype=torch.float64)
        only[cell_type] = torch.tensor(onlys, dtype=torch.float64)
    return base, cut, only


def _edge_changes(
    loss: LossOfMix, mix: Mix, base: float, cell_type: str, edge: int, ops: Sequence[str]
) -> tuple[list[float], list[float]]:
    """What cutting each operation of an edge changes in the loss, and leaving it alone there."""
    row = mix[cell_type][edge].tolist()
    for k, op in enumerate(ops):
        if op == "none":
            row[k] = 0.0
    known = {tuple(row): base}

    def change(kept: list[float]) -> float:
        if tuple(kept) not in known:
            weights = mix[cell_type].clone()
            weights[edge] = weights.new_tensor(kept)
            known[tuple(kept)] = loss({**mix, cell_type: weights}).item()
        return known[tuple(kept)] - base

    zeros = [0.0] * len(row)
    cut = [change([*row[:k], 0.0, *row[k + 1 :]]) for k in range(len(row))]
    only = [change([*zeros[:k], weight, *zeros[k + 1 :]]) for k, weight in enumerate(row)]
    return cut, only


def bypass(cut: Tensor, only: Tensor, weights: Tensor, names: EdgeOps) -> Tensor:
    """|only| / (|cut| + |only|) of the strongest operation of each edge (the first one of equals):
    (edges,) in [0, 1].

    0: cutting the operation matters, cutting all others does not, so nothing goes around it. 1:
    the other way round, everything does. 1/2: both matter as much. An edge without either counts
    as 0. All (edges, operations). Of operations named `none`, which carry nothing, none is the
    strongest.
    """
    own, around = _of_strongest(cut, only, weights, names)
    return (around / (own + around)).nan_to_num(0.0)


def bypass_total(cut: Tensor, only: Tensor, weights: Tensor, names: EdgeOps) -> float:
    """Bypass of all edges together, each counting as much as it matters to the loss:
    sums before the ratio.
    """
    own, around = _of_strongest(cut, only, weights, names)
    share = around.sum() / (own.sum() + around.sum())
    return float(share.nan_to_num(0.0))


def _of_strongest(
    cut: Tensor, only: Tensor, weights: Tensor, names: EdgeOps
) -> tuple[Tensor, Tensor]:
    """|cut| and |only| of each edge's strongest operation that carries something:
    (edges,) each.
    """
    strongest = _carrying(weights, names).argmax(dim=-1, keepdim=True).cpu()
    own = cut.gather(-1, strongest).squeeze(-1).abs()
    around = only.gather(-1, strongest).squeeze(-1).abs()
    return own, around


def _carrying(weights: Tensor, names: EdgeOps) -> Tensor:
    """The weights with those of `none` below all others: -1."""
    return weights.masked_fill(_where(names, lambda op: op == "none", weights), -1.0)


def _where(names: EdgeOps, rule: Callable[[str], bool], like: Tensor) -> Tensor:
    return torch.tensor([[rule(op) for op in ops] for ops in names], device=like.device)


def spread(weights: Tensor, names: EdgeOps) -> Tensor:
    """Weight beside an edge's strongest operation, as a share of all that carry something:
    (edges,) in [0, 1].

    It is the bypass of an edge whose operations all put out the same. 0 where nothing carries.
    """
    carrying = _carrying(weights, names).clamp(min=0)
    strongest = carrying.amax(dim=-1) / carrying.sum(dim=-1)
    return (1 - strongest).nan_to_num(0.0)


def at_entropy(mix: Mix) -> Mix | None:
    """Mixing weights p^(1/T), each edge's sum as it was, with the one T that gives a mean entropy
    per edge of half of the largest possible (the mean of ln(operations)). A softmax keeps its
    alpha and changes temperature.

    None where no T between 1e-6 and 1e6 does: too many weights are exactly 0, or all are equal.
    """
    logs = {}
    largest = {}
    for cell_type, weights in mix.items():
        edges, operations = weights.shape
        logs[cell_type] = weights.double().log()
        largest[cell_type] = torch.full((edges,), math.log(operations))
    target = MATCHED * _edge_mean(largest)

    def at(log_temperature: float) -> dict[str, Tensor]:
        temperature = math.exp(log_temperature)
        return {name: (log / temperature).softmax(dim=-1) for name, log in logs.items()}

    def excess(log_temperature: float) -> float:
        weights = at(log_temperature)
        entropies = {name: relax.entropy(p) for name, p in weights.items()}
        return _edge_mean(entropies) - target

    low, high = -math.log(1e6), math.log(1e6)
    if not excess(low) < 0 < excess(high):
        return None
    found = at(brentq(excess, low, high))
    matched = {}
    for cell_type, weights in mix.items():
        total = weights.sum(dim=-1, keepdim=True)
        matched[cell_type] = total * found[cell_type].to(weights)
    return matched


def _edge_mean(values: Mapping[str, Tensor]) -> float:
    return torch.cat([v.double().cpu() for v in values.values()]).mean().item()


# Gradient


@torch.enable_grad()
def branch_gradients(net: nn.Module, loss: LossOfMix, mix: Mix) -> dict[str, Tensor]:
    """||dL/dx through one branch||^2, x the source node of an edge, summed over a type's cells:
    (edges, operations).

    loss runs the network once, in training mode.
    """
    cells = _cells(net)
    with _watched(cells) as calls:
        value = loss(mix)
    totals = {}
    for cell in cells:
        shape = mix[cell.cell_type].shape
        totals[cell.cell_type] = torch.zeros(shape, dtype=torch.float64)
    # Cells whose operations are all none are cut off from the loss.
    reached = [call for call in calls if call.output.requires_grad]
    if not reached:
        return totals
    outputs = [call.output for call in reached]
    upstream = torch.autograd.grad(value, outputs, materialize_grads=True)
    for call, g in zip(reached, upstream, strict=True):
        name = call.cell.cell_type
        totals[name] += _through_branches(call.cell, call.inputs, mix[name], g)
    return totals


class _Call(NamedTuple):
    """One forward of a cell."""

    cell: Measurable
    inputs: tuple[Any, ...]
    output: Tensor


@contextmanager
def _watched(cells: Iterable[Measurable]) -> Iterator[list[_Call]]:
    """The forwards of cells while the block runs, in their order."""
    calls: list[_Call] = []

    def keep(cell: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        calls.append(_Call(cell, inputs, output))

    hooks = [cell.register_forward_hook(keep) for cell in cells]  # type: ignore[attr-defined]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _through_branches(
    cell: Measurable, inputs: Sequence[Any], weights: Tensor, g: Tensor
) -> Tensor:
    """The squared norms in one cell: backpropagation by hand, from the last node to the first,
    branch by branch.
    """
    states, branches = unroll(cell, inputs, weights)
    output = cell.leave(states)
    upstream = list(torch.autograd.grad(output, states, g, materialize_grads=True))
    norms = torch.zeros(weights.shape, dtype=torch.float64)
    last_first = sorted(range(len(cell.edges)), key=lambda e: -cell.edges[e][1])
    for edge in last_first:
        source, target = cell.edges[edge]
        for op, branch in enumerate(branches[edge]):
            weight = weights[edge, op]
            if weight == 0 or not branch.requires_grad:
                continue
            sent = weight * upstream[target]
            (received,) = torch.autograd.grad(branch, states[source], sent, retain_graph=True)
            norms[edge, op] = received.double().square().sum()
            upstream[source] = upstream[source] + received
    return norms


def unroll(
    cell: Measurable, inputs: Sequence[Any], weights: Tensor
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """A cell computed plainly, operation by operation:
    its nodes, and the branches [edge][op] at weight 1.

    Each node is a leaf of autograd, so a branch's graph ends at its source. inputs: what the
    cell's forward was called with. weights: (edges, operations).
    """
    targets = [target for _, target in cell.edges]
    first, last = min(targets), max(targets)
    states = [x.detach().requires_grad_() for x in cell.enter(*inputs[:first])]
    branches: list[list[Tensor]] = [[] for _ in cell.edges]
    for node in range(first, last + 1):
        terms = []
        for edge, (source, target) in enumerate(cell.edges):
            if target != node:
                continue
            branches[edge] = cell.branches(edge, states[source])
            for weight, branch in zip(weights[edge], branches[edge], strict=True):
                terms.append(weight * branch)
        states.append(added(terms).detach().requires_grad_())
    return states, branches


def free_share(values: Tensor, names: EdgeOps) -> float:
    """Share of the operations without parameters in the sum of values (edges, operations) >= 0;
    0 if all are 0.
    """
    free = _where(names, lambda op: op in FREE_OPS, values)
    own, rest = values[free].sum(), values[~free].sum()
    share = own / (own + rest)
    return float(share.nan_to_num(0.0))


# Mixing weights


def dominance(weights: Tensor, names: EdgeOps) -> dict[str, float]:
    """Share of the operations without parameters in the mixing weights,
    and in the strongest ones of the edges.
    """
    return {
        "weight": free_share(weights, names),
        "strongest": free_share(relax.one_hot(weights), names),
    }


def margin(weights: Tensor) -> Tensor:
    """Largest minus second largest mixing weight of each edge: (edges, operations) -> (edges,)."""
    best = weights.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]
