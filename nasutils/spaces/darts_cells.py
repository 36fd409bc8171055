"""The graph of a DARTS cell, and what a genotype must satisfy to be one of its cells."""

from collections.abc import Mapping

from nasutils.errors import choose
from nasutils.genotype import Cell, Genotype

NODES = 4
EDGES = tuple((source, target) for target in range(2, 2 + NODES) for source in range(target))
"""(source, target) of the 14 edges in the order of the rows of alpha; 0 and 1 are the cell's inputs."""
INCOMING = [[e for e, (_, target) in enumerate(EDGES) if target == node] for node in range(2, 2 + NODES)]

FINAL_OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
    "noise",
)
"""What a final network can be built of: the spaces' operations, and those of NASNet's and AmoebaNet's cells."""


def check_genotype(genotype: Genotype, space: str, edge_ops: Mapping[str, tuple[tuple[str, ...], ...]] | None) -> None:
    """Raise ValueError, with the cell, the place and the reason, unless the genotype fits the space.

    edge_ops: the operations of each edge by cell type; None: the DARTS space, where the hand-made cells of
    five nodes (NASNet, AmoebaNet) and their operations are taken, too.
    """
    names = [cell.name for cell in genotype.cells]
    if names != ["normal", "reduce"]:
        raise ValueError(f"a genotype of {space} has the cells normal and reduce, not {names}")
    for cell in genotype.cells:
        _check_nodes(cell, space, (NODES,) if edge_ops else (NODES, NODES + 1))
        for target, node in enumerate(cell.nodes, start=2):
            for op, source in node:
                place = f"operation of edge {source} -> {target} in the {cell.name} cell of {space}"
                allowed = edge_ops[cell.name][EDGES.index((source, target))] if edge_ops else FINAL_OPS
                choose(place, op, allowed)


def _check_nodes(cell: Cell, space: str, allowed: tuple[int, ...]) -> None:
    if len(cell.nodes) not in allowed:
        edges = " or ".join(str(2 * n) for n in allowed)
        found = sum(len(node) for node in cell.nodes)
        raise ValueError(f"the {cell.name} cell of {space} has {edges} edges, two per node, not {found}")
    for target, node in enumerate(cell.nodes, start=2):
        for op, source in node:
            if not 0 <= source < target:
                raise ValueError(f"node {target} of the {cell.name} cell takes 0 to {target - 1}, not {source} ({op})")
    inside = range(2, 2 + len(cell.nodes))
    if not cell.output or any(n not in inside for n in cell.output):
        raise ValueError(
            f"the {cell.name} cell concatenates nodes of {inside[0]} to {inside[-1]}, not {list(cell.output)}"
        )
