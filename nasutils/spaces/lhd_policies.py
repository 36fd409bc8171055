"""From the mixing weights of an LHD cell to its genotype: the four policies of the benchmark.

Equal weights: the first one in order, that is the lowest source, operation and node. (The authors'
sort is not stable; among their published searches that matters in four places.) Source:
chaoji90/LHD, eval/gen_trans.py, `genotype_unbind`, and the flags of its eval/*/train_*.sh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasutils.spaces.base import Mix
from nasutils.spaces.genotype import Cell, Genotype, Pairs
from nasutils.spaces.lhd_cells import CELL_TYPES, EDGES, INCOMING, NODES, OPS

SUM_THRESHOLD = 0.2


@dataclass(frozen=True)
class Policy:
    """What is kept of a supernet's cell, and the size of its final network.

    ops: operations kept per node, from any of its edges. outputs: nodes kept in each of the two
    outputs, None: those above 0.2 (sum) and above the mean (concatenation). cells, channels: of
    the final network; capacity: the number of parameters that the channels are raised to.
    """

    ops: int = 2
    outputs: int | None = None
    cells: int = 20
    channels: int = 36
    capacity: int = 0


POLICIES: Mapping[str, Policy] = {
    "base": Policy(),
    "1m": Policy(cells=25, capacity=1_500_000),
    "3ops": Policy(ops=3),
    "4out": Policy(outputs=4),
}


def derive(mix: Mix, policy: Policy) -> Genotype:
    """The genotype of mixing weights, of any floating type:
    thresholds are compared in that type.
    """
    cells = []
    for name in CELL_TYPES:
        rows = mix[name].tolist()
        outputs = mix[f"{name}_output"].detach().cpu()
        cells.append(_derive_cell(name, rows, outputs, policy))
    return Genotype(tuple(cells))


def _derive_cell(
    name: str, rows: Sequence[Sequence[float]], outputs: Tensor, policy: Policy
) -> Cell:
    to_sum, to_concat = outputs
    threshold = torch.tensor(SUM_THRESHOLD, dtype=outputs.dtype)
    summed = _chosen(to_sum, threshold, policy.outputs)
    joined = _chosen(to_concat, to_concat.mean(), policy.outputs)

    nodes = [_largest(rows, edges, policy.ops) for edges in INCOMING]
    living = _ancestors(nodes, {*summed, *joined})
    for target in range(2, 2 + NODES):
        if target not in living:
            nodes[target - 2] = ()
    return Cell(name, tuple(nodes), output=joined, sum=summed)


def _largest(rows: Sequence[Sequence[float]], edges: Sequence[int], ops: int) -> Pairs:
    """The largest weights of all edges into a node,
    in the order of their sources and operations.
    """
    weights: dict[tuple[int, int], float] = {}
    for edge in edges:
        for op, weight in enumerate(rows[edge]):
            weights[edge, op] = weight
    # The sort is stable, also reversed, so the first one of equals is taken.
    ranked = sorted(weights, key=weights.__getitem__, reverse=True)
    kept = sorted(ranked[:ops])
    return tuple((OPS[op], EDGES[edge][0]) for edge, op in kept)


def _chosen(weights: Tensor, threshold: Tensor, count: int | None) -> tuple[int, ...]:
    """The `count` nodes of largest weight, or those above the threshold:
    (nodes,) -> their numbers, ascending.

    If all are equal and none is above it, the first one (there the authors' code fails).
    """
    if count is None:
        count = max(1, int((weights > threshold).sum()))
    values = weights.tolist()
    strongest = sorted(range(NODES), key=lambda i: -values[i])[:count]
    return tuple(sorted(2 + i for i in strongest))


def _ancestors(nodes: Sequence[Pairs], outputs: set[int]) -> set[int]:
    """The outputs and all nodes that they take something from, over any number of steps."""
    living = set(outputs)
    for target in reversed(range(2, 2 + NODES)):
        if target in living:
            living |= {source for _, source in nodes[target - 2]}
    return living
