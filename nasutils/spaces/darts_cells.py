"""The graph of a DARTS cell, and what a genotype must satisfy to be one of its cells."""

from collections.abc import Mapping

from nasutils.errors import choose
from nasutils.spaces.base import EdgeOps
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.graph import edges_between, incoming_edges

NODES = 4
EDGES = edges_between(NODES)
"""(source, target) of the 14 edges in the order of the rows of alpha;
0 and 1 are the cell's inputs.
"""
INCOMING = incoming_edges(EDGES)

HANDMADE_OPS = ("sep_conv_7x7", "conv_7x1_1x7")
"""What NASNet's and AmoebaNet's cells, which have five nodes,
have beside the operations of the DARTS space.
"""


def check_genotype(
    genotype: Genotype, space: str, edge_ops: Mapping[str, EdgeOps], handmade: tuple[str, ...] = ()
) -> None:
    """Raise ValueError, with the cell, the place and the reason,
    unless the genotype fits the space.

    edge_ops: the operations of each edge by cell type. handmade: operations that cells of five
    nodes may have, too; (): there are no such cells in the space.
    """
    names = [cell.name for cell in genotype.cells]
    if names != ["normal", "reduce"]:
        raise ValueError(f"a genotype of {space} has the cells normal and reduce, not {names}")
    for cell in genotype.cells:
        _check_nodes(cell, space, (NODES, NODES + 1) if handmade else (NODES,))
        _check_output(cell, space)
        _check_operations(cell, space, edge_ops[cell.name], handmade)


def _check_nodes(cell: Cell, space: str, allowed: tuple[int, ...]) -> None:
    if cell.sum:
        raise ValueError(
            f"the {cell.name} cell of {space} has one output, but {cell.name}_sum is a second one"
            " (lhd's)"
        )
    if len(cell.nodes) not in allowed:
        edges = " or ".join(str(2 * n) for n in allowed)
        found = sum(len(pairs) for pairs in cell.nodes)
        raise ValueError(
            f"the {cell.name} cell of {space} has {edges} edges, two per node, not {found}"
        )
    for target, pairs in enumerate(cell.nodes, start=2):
        if len(pairs) != 2:
            raise ValueError(
                f"node {target} of the {cell.name} cell of {space} takes two edges, not"
                f" {len(pairs)}"
            )
        for op, source in pairs:
            if not 0 <= source < target:
                raise ValueError(
                    f"node {target} of the {cell.name} cell takes 0 to {target - 1}, not {source}"
                    f" ({op})"
                )


def _check_output(cell: Cell, space: str) -> None:
    inside = range(2, 2 + len(cell.nodes))
    if not cell.output or any(n not in inside for n in cell.output):
        allowed = f"nodes of {inside[0]} to {inside[-1]}"
        raise ValueError(f"the {cell.name} cell concatenates {allowed}, not {list(cell.output)}")
    for i, number in enumerate(cell.output):
        if number in cell.output[:i]:
            place = f"in the {cell.name} cell of {space}, {cell.name}_concat[{i}]"
            raise ValueError(
                f"{place}: a node is concatenated once, but {number} stands there again"
            )


def _check_operations(
    cell: Cell, space: str, edge_ops: EdgeOps, handmade: tuple[str, ...]
) -> None:
    for target, pairs in enumerate(cell.nodes, start=2):
        for op, source in pairs:
            if len(cell.nodes) == NODES:
                allowed = edge_ops[EDGES.index((source, target))]
            else:
                allowed = (*edge_ops[0], *handmade)
            choose(
                f"operation of edge {source} -> {target} in the {cell.name} cell of {space}",
                op,
                allowed,
            )
