"""The graph of a DARTS cell, and what a genotype must satisfy to be one of its cells."""

from collections.abc import Mapping

from nasutils.errors import choose
from nasutils.spaces.genotype import Cell, Genotype

NODES = 4
EDGES = tuple((source, target) for target in range(2, 2 + NODES) for source in range(target))
"""(source, target) of the 14 edges in the order of the rows of alpha; 0 and 1 are the cell's inputs."""
INCOMING = [[e for e, (_, target) in enumerate(EDGES) if target == node] for node in range(2, 2 + NODES)]

HANDMADE_OPS = ("sep_conv_7x7", "conv_7x1_1x7")
"""What NASNet's and AmoebaNet's cells, which have five nodes, are built of beside the operations of the DARTS space."""


def check_genotype(
    genotype: Genotype, space: str, edge_ops: Mapping[str, tuple[tuple[str, ...], ...]], handmade: tuple[str, ...] = ()
) -> None:
    """Raise ValueError, with the cell, the place and the reason, unless the genotype fits the space.

    edge_ops: the operations of each edge by cell type. handmade: operations that cells of five nodes may have, too; ():
    there are no such cells in the space.
    """
    names = [cell.name for cell in genotype.cells]
    if names != ["normal", "reduce"]:
        raise ValueError(f"a genotype of {space} has the cells normal and reduce, not {names}")
    for cell in genotype.cells:
        _check_nodes(cell, space, (NODES, NODES + 1) if handmade else (NODES,))
        for target, node in enumerate(cell.nodes, start=2):
            for op, source in node:
                place = f"operation of edge {source} -> {target} in the {cell.name} cell of {space}"
                ops = edge_ops[cell.name]
                large = len(cell.nodes) > NODES
                choose(place, op, (*ops[0], *handmade) if large else ops[EDGES.index((source, target))])


def _check_nodes(cell: Cell, space: str, allowed: tuple[int, ...]) -> None:
    if cell.sum:
        raise ValueError(f"the {cell.name} cell of {space} has one output, but {cell.name}_sum is a second one (lhd's)")
    if len(cell.nodes) not in allowed:
        edges = " or ".join(str(2 * n) for n in allowed)
        found = sum(len(node) for node in cell.nodes)
        raise ValueError(f"the {cell.name} cell of {space} has {edges} edges, two per node, not {found}")
    for target, node in enumerate(cell.nodes, start=2):
        if len(node) != 2:
            raise ValueError(f"node {target} of the {cell.name} cell of {space} takes two edges, not {len(node)}")
        for op, source in node:
            if not 0 <= source < target:
                raise ValueError(f"node {target} of the {cell.name} cell takes 0 to {target - 1}, not {source} ({op})")
    inside = range(2, 2 + len(cell.nodes))
    if not cell.output or any(n not in inside for n in cell.output):
        raise ValueError(
            f"the {cell.name} cell concatenates nodes of {inside[0]} to {inside[-1]}, not {list(cell.output)}"
        )
    for i, number in enumerate(cell.output):
        if number in cell.output[:i]:
            place = f"in the {cell.name} cell of {space}, {cell.name}_concat[{i}]"
            raise ValueError(f"{place}: a node is concatenated once, but {number} stands there again")
