"""The graph that the cells of the DARTS family share:
two inputs, then nodes that take something from all before them.

Nodes are numbered: 0 and 1 are the inputs, the first node that computes something is 2.
"""

from collections.abc import Iterator

INPUTS = 2

Edges = tuple[tuple[int, int], ...]
"""(source, target) of each edge, in the order of the rows of alpha."""


def edges_between(nodes: int) -> Edges:
    """All edges of a cell with so many nodes behind its inputs, by target and then by source."""
    targets = range(INPUTS, INPUTS + nodes)
    return tuple((source, target) for target in targets for source in range(target))


def incoming_edges(edges: Edges) -> list[list[int]]:
    """The numbers of the edges that enter each node behind the inputs."""
    entering: dict[int, list[int]] = {}
    for number, (_, target) in enumerate(edges):
        entering.setdefault(target, []).append(number)
    return [entering[target] for target in sorted(entering)]


def edge_stride(cell_type: str, source: int) -> int:
    """Stride of an edge: 2 in a reduction cell if it leaves an input, else 1."""
    return 2 if cell_type == "reduce" and source < INPUTS else 1


def reduction_cells(cells: int) -> tuple[int, int]:
    """Which cells of a network halve the resolution and double the channels:
    at one and two thirds of its depth.
    """
    return cells // 3, 2 * cells // 3


def cell_widths(cells: int, channels: int) -> Iterator[tuple[bool, int]]:
    """Whether each cell of a network is a reduction cell, and its channels,
    if the first one has `channels`.
    """
    width = channels
    for i in range(cells):
        reduction = i in reduction_cells(cells)
        if reduction:
            width *= 2
        yield reduction, width
