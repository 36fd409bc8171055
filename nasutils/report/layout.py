"""Where the nodes, edges and labels of a drawn cell go: geometry alone, in the units of the axes.

An edge is an arc whose height its two nodes fix: over the cell from the first input, under it from
the second, higher the farther it goes. So an edge lies at the same place in all cells of a space.
Labels are placed one after the other along their arcs, each where it hides least of what is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

RADIUS = 0.2
"""Radius of a node."""
SPACING = 1.3
"""Distance between the centres of two nodes."""
ARROW_HEAD = 0.15
"""Length of the head of an arrow."""
TOP = 1.3
"""How far up and down arcs go."""
RAIL = -1.5
"""Where the lines to the concatenation run, below all arcs."""
GREY = "0.9"
"""Fill of the nodes that are no intermediate ones."""
SAMPLES = 41
"""Number of points of an arc."""
PLACES = (20, 18, 22, 15, 25, 13, 27, 30, 10)
"""Candidates for the place of a label: points of its arc, the middle first."""
GRID = np.array(list(product(np.linspace(-1, 1, 7), (-1, 0, 1))))
"""Points over a label, (21, 2), of half width and half height 1."""


class Costs:
    """What a label costs at a place: where it hides something."""

    OFF_CENTRE = 0.1  # per point of its arc
    OVER_LABEL = 40.0
    OVER_ARC = 2.0  # per point of another arc
    OVER_NODE = 3.0  # per point of GRID
    OVER_HEAD = 5.0  # of its own arrow


@dataclass(frozen=True)
class DrawnNode:
    """text: inside. half: half the length of the straight part of its outline, 0 for a circle."""

    text: str
    x: float
    y: float
    half: float = 0.0
    color: str = "white"

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance of points (..., 2) from the outline, negative inside."""
        right = np.abs(points[..., 0] - self.x) - self.half
        up = points[..., 1] - self.y
        beside = np.clip(right, 0, None)  # 0 over and under the straight part
        return np.hypot(beside, up) - RADIUS


@dataclass(frozen=True)
class DrawnEdge:
    """op: "" where there is no label. label: width and height of its text, with a margin."""

    source: int
    target: int
    op: str = ""
    label: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Arc:
    """points: (SAMPLES, 2) between the outlines of its nodes. center, half: of its label, (2,)."""

    edge: DrawnEdge
    points: np.ndarray
    center: np.ndarray
    half: np.ndarray


def place_nodes(inputs: int, inner: int, output: bool, summed: bool = False) -> list[DrawnNode]:
    """Inputs above each other, then the others in a row; with a sum (LHD) two outputs."""
    if inputs == 1:  # NAS-Bench-201: the last inner node is the output
        colors = [GREY] + ["white"] * (inner - 1) + [GREY]
        return [DrawnNode(str(i), 2.1 * i, 0, color=color) for i, color in enumerate(colors)]
    before_last = "$s_{k-1}$" if summed else "$c_{k-2}$"
    nodes = [
        DrawnNode(before_last, 0, 0.85, 0.14, GREY),
        DrawnNode("$c_{k-1}$", 0, -0.85, 0.14, GREY),
    ]
    nodes += [DrawnNode(str(i), SPACING * (i + 1.35), 0) for i in range(inner)]
    end = SPACING * (inner + 1.1)
    if summed:
        nodes.append(DrawnNode("$s_k$", end, 0.7, 0.05, GREY))
    if output:
        height = -0.7 if summed else 0.0
        nodes.append(DrawnNode("$c_k$", end, height, 0.05, GREY))
    return nodes


def rail(source: DrawnNode, target: DrawnNode, side: int = 1) -> np.ndarray:
    """Points of the line to the concatenation: down, right, up; side -1: mirrored."""
    turn = 0.25  # radius of the corners
    bottom = RAIL + turn
    end = side * target.y - RADIUS - 0.03  # the tip stops short of the outline
    angle = np.linspace(0, np.pi / 2, 12)
    corner = turn * np.stack([1 - np.cos(angle), -np.sin(angle)], axis=-1)
    start = -RADIUS  # at the source's outline
    down = np.linspace([source.x, start], [source.x, bottom], 20)
    up = np.linspace([target.x, bottom], [target.x, end], 20)
    from_down = down[-1] + corner
    to_up = up[0] + corner * (-1, 1)  # mirrored, and so drawn from its end
    points = np.concatenate([down, from_down, to_up[::-1], up])
    return points * (1, side)


def arrange(nodes: Sequence[DrawnNode], edges: Sequence[DrawnEdge]) -> list[Arc]:
    """An arc for each edge, and the place of its label."""
    lines = []
    drawn = set()
    for edge in edges:
        between = edge.source, edge.target
        height = _height(nodes, edge, second=between in drawn)
        lines.append(_arc_points(nodes[edge.source], nodes[edge.target], height))
        drawn.add(between)
    arcs: list[Arc] = []
    for i, (edge, line) in enumerate(zip(edges, lines, strict=True)):
        others = np.delete(lines, i, axis=0).reshape(-1, 2)
        arcs.append(_labelled(edge, line, others, nodes, arcs))
    return arcs


def _height(nodes: Sequence[DrawnNode], edge: DrawnEdge, second: bool) -> float:
    """Height of the middle of an arc over the straight line. second: of two between the same
    nodes.
    """
    source, target = nodes[edge.source], nodes[edge.target]
    passed = edge.target - edge.source - 1
    if source.y > 0:  # the first input, for which the second is no node to pass
        side, height = 1, 0.2 * (passed - 1)
    elif source.y < 0:
        side, height = -1, 0.2 * passed
    else:
        side = 1 if edge.source % 2 == 0 else -1
        distance = target.x - source.x
        height = 0.4 * passed / (passed + 1) * distance / SPACING
        width, _ = edge.label
        straight = distance - 2 * RADIUS  # what is seen of a line between the nodes
        if width > 0.65 * straight:
            height += 0.6  # room for the label
    if second:
        side, height = -side, height + 0.5
    return side * min(height, TOP)


def _arc_points(source: DrawnNode, target: DrawnNode, height: float) -> np.ndarray:
    """Points (SAMPLES, 2) of the arc from outline to outline."""

    def at(t: np.ndarray) -> np.ndarray:
        """Points of the arc between the centres, t from 0 to 1."""
        x = source.x + t * (target.x - source.x)
        straight = source.y + t * (target.y - source.y)
        bow = 1 - np.abs(2 * t - 1) ** 2.2  # 0 at the ends, 1 in the middle; 2: a parabola
        return np.stack([x, straight + height * bow], axis=-1)

    t = np.linspace(0, 1, 200)
    points = at(t)
    # The tip of the arrow stops short of the outline.
    outside = (source.distance(points) > 0) & (target.distance(points) > 0.03)
    first, *_, last = t[outside]
    return at(np.linspace(first, last, SAMPLES))


def _labelled(
    edge: DrawnEdge,
    line: np.ndarray,
    others: np.ndarray,
    nodes: Sequence[DrawnNode],
    placed: Sequence[Arc],
) -> Arc:
    """The arc with its label where it costs least. others: points of the other arcs, (n, 2)."""
    half = np.array(edge.label) / 2

    def cost(place: int) -> float:
        center = line[place]
        grid = center + half * GRID
        labels = sum(_inside(center, arc.center, arc.half + half) for arc in placed)
        on_arcs = _inside(others, center, half).sum()
        on_nodes = sum((node.distance(grid) < 0.04).sum() for node in nodes)
        return (
            Costs.OFF_CENTRE * abs(place - PLACES[0])
            + Costs.OVER_LABEL * labels
            + Costs.OVER_ARC * on_arcs
            + Costs.OVER_NODE * on_nodes
            + Costs.OVER_HEAD * _inside(line[-1], center, half + 1.8 * ARROW_HEAD)
        )

    place = min(PLACES, key=cost) if edge.op else PLACES[0]
    return Arc(edge, line, line[place], half)


def _inside(points: np.ndarray, center: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Which points (..., 2) lie in a box."""
    return (np.abs(points - center) < half).all(axis=-1)
