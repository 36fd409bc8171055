"""Where the nodes, edges and labels of a drawn cell go: geometry alone, in the units of the axes.

An edge is an arc over or under the straight line between its nodes. Its height, and the place of
its label along it, are chosen from a few candidates: edges are placed one after the other, each
where it costs least beside those that are there, and moved again until none can be improved. What
costs how much: `Costs`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np

RADIUS, SPACING, HEAD = 0.2, 1.3, 0.15
"""Of a node, between nodes, of the head of an arrow."""
TOP, RAIL = 1.3, -1.5
"""How far up and down arcs go; where the lines to the concatenation run."""
HEIGHTS = (0.0, 0.2, -0.2, 0.4, -0.4, 0.6, -0.6, 0.8, -0.8, 1.05, -1.05, 1.3, -1.3)
"""Candidates for the height of an arc."""
PLACES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.74)
"""Candidates for the place of a label along its arc, from 0 to 1."""
SAMPLES = 41
"""Points of an arc."""
GRID = np.linspace(-1.0, 12.0, 200)
"""Where two arcs are compared; x of all nodes lies within it."""


class Costs:
    """What an arc and its label cost: where a cell is ugly or cannot be read."""

    # By themselves.
    OVER_NODE = 12.0  # per point of the arc on another node
    OUTSIDE = 12.0  # per point beyond the top or the bottom
    DETOUR = 4.0  # per length of the straight line that the arc is longer
    HEIGHT = 0.3
    OFF_CENTRE = 3.0  # of a label, per length of its arc
    LABEL_OVER_NODE = 3.0  # per point of a grid over the label
    LABEL_OVER_RAIL = 0.3  # per point of the rail
    LABEL_HIDES_ARC = 20.0  # per share of its own arc beyond 60 %
    LABEL_OVER_HEAD = 5.0
    # Two of them.
    LABELS_OVERLAP = 40.0
    LABEL_OVER_ARC = 6.0  # per point of the other arc
    CROSSING = 4.0
    CLOSE = 0.5  # per point of the grid at which they touch
    HEADS_OVERLAP = 6.0


@dataclass(frozen=True)
class DrawnNode:
    """text: inside. half: half the length of the straight part of its outline, 0 for a circle."""

    text: str
    x: float
    y: float
    half: float = 0.0
    color: str = "white"

    def distance(self, points: np.ndarray) -> np.ndarray:
        """From points (..., 2) to the outline, negative inside."""
        x = np.clip(np.abs(points[..., 0] - self.x) - self.half, 0, None)
        return np.hypot(x, points[..., 1] - self.y) - RADIUS


@dataclass(frozen=True)
class DrawnEdge:
    """op: "" where there is no label. label: width and height of its text, with a margin."""

    source: int
    target: int
    op: str = ""
    label: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Arc:
    """points: (SAMPLES, 2) between the outlines of its nodes.
    center, half: of its label, (2,) each.

    profile: its height at each x of GRID, nan where it is not; an arc never turns back. cost: by
    itself.
    """

    edge: DrawnEdge
    points: np.ndarray
    center: np.ndarray
    half: np.ndarray
    profile: np.ndarray
    cost: float


Conflict = Callable[[Arc, Arc], float]


def place_nodes(inputs: int, inner: int, output: bool, summed: bool = False) -> list[DrawnNode]:
    """Inputs above each other, then the others in a row;
    with a sum (LHD) two outputs above each other.
    """
    if inputs == 1:
        return [
            DrawnNode(str(i), 2.1 * i, 0, color="white" if 0 < i < inner else "0.9")
            for i in range(inner + 1)
        ]
    first = "$s_{k-1}$" if summed else "$c_{k-2}$"
    nodes = [DrawnNode(first, 0, 0.85, 0.14, "0.9"), DrawnNode("$c_{k-1}$", 0, -0.85, 0.14, "0.9")]
    nodes += [DrawnNode(str(i), SPACING * (i + 1.35), 0) for i in range(inner)]
    last = SPACING * (inner + 1.1)
    if summed:
        nodes += [
            DrawnNode("$s_k$", last, 0.7, 0.05, "0.9"),
            DrawnNode("$c_k$", last, -0.7, 0.05, "0.9"),
        ]
    elif output:
        nodes.append(DrawnNode("$c_k$", last, 0.0, 0.05, "0.9"))
    return nodes


def rail(source: DrawnNode, target: DrawnNode, side: int = 1) -> np.ndarray:
    """Points of the line to the concatenation: down, to the right, up, with round corners;
    side -1: mirrored.
    """
    angle = np.linspace(0, np.pi / 2, 12)
    turn = 0.25 * np.stack([1 - np.cos(angle), -np.sin(angle)], axis=-1)
    down = np.linspace([source.x, -RADIUS], [source.x, RAIL + 0.25], 20)
    up = np.linspace([target.x, RAIL + 0.25], [target.x, side * target.y - RADIUS - 0.03], 20)
    corner, mirrored = down[-1] + turn, (up[0] + turn * (-1, 1))[::-1]
    return np.concatenate([down, corner, mirrored, up]) * (1, side)


def arrange(
    nodes: Sequence[DrawnNode], edges: Sequence[DrawnEdge], rails: np.ndarray
) -> list[Arc]:
    """An arc for each edge. rails: all points (n, 2) of the lines that labels should not cover."""
    choices = [list(_candidates(nodes, edge, rails)) for edge in edges]
    conflict = cache(_conflict)
    # What comes first has the choice. No one order is best for all cells, so several are tried.
    numbers = range(len(edges))
    short_first = sorted(numbers, key=lambda i: _span(nodes, edges[i]))
    orders = [short_first, short_first[::-1], list(numbers), list(numbers)[::-1]]
    return min(
        (_place(choices, order, conflict) for order in orders),
        key=lambda found: _total(found, conflict),
    )


def _place(
    choices: Sequence[Sequence[Arc]], order: Sequence[int], conflict: Conflict
) -> list[Arc]:
    """One of the choices of each edge: placed in this order,
    then moved until no edge can be improved alone.
    """
    chosen: dict[int, Arc] = {}
    while True:
        before = dict(chosen)
        for i in order:
            others = [arc for j, arc in chosen.items() if j != i]
            chosen[i] = min(
                choices[i],
                key=lambda arc: arc.cost + sum(conflict(arc, other) for other in others),
            )
        if chosen == before:
            return [chosen[i] for i in range(len(choices))]


def _total(arcs: Sequence[Arc], conflict: Conflict) -> float:
    return sum(arc.cost for arc in arcs) + sum(conflict(a, b) for a, b in combinations(arcs, 2))


def _span(nodes: Sequence[DrawnNode], edge: DrawnEdge) -> float:
    return nodes[edge.target].x - nodes[edge.source].x


def _candidates(nodes: Sequence[DrawnNode], edge: DrawnEdge, rails: np.ndarray) -> Iterator[Arc]:
    """Every height, and every place of the label, with what they cost by themselves."""
    others = [node for i, node in enumerate(nodes) if i not in (edge.source, edge.target)]
    half = np.array(edge.label) / 2
    for height in HEIGHTS:
        points = _arc_points(nodes[edge.source], nodes[edge.target], height)
        profile = np.interp(GRID, points[:, 0], points[:, 1], left=np.nan, right=np.nan)
        own = _arc_cost(points, height, others)
        for place in PLACES if edge.op else PLACES[:1]:
            center = points[round(place * (SAMPLES - 1))]
            cost = own + Costs.OFF_CENTRE * abs(place - 0.5)
            if edge.op:
                cost += _label_cost(points, center, half, nodes, rails)
            yield Arc(edge, points, center, half, profile, cost)


def _arc_points(source: DrawnNode, target: DrawnNode, height: float) -> np.ndarray:
    """Points (SAMPLES, 2) of the arc from outline to outline."""

    def at(t: np.ndarray) -> np.ndarray:
        x = source.x + t * (target.x - source.x)
        y = source.y + t * (target.y - source.y) + height * (1 - np.abs(2 * t - 1) ** 2.2)
        return np.stack([x, y], axis=-1)

    t = np.linspace(0, 1, 200)
    outside = t[(source.distance(at(t)) > 0) & (target.distance(at(t)) > 0.03)]
    return at(np.linspace(outside[0], outside[-1], SAMPLES))


def _arc_cost(points: np.ndarray, height: float, others: Sequence[DrawnNode]) -> float:
    on_nodes = sum((node.distance(points) < 0.08).sum() for node in others)
    beyond = (np.abs(points[:, 1]) > TOP).sum()
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    detour = length / np.linalg.norm(points[-1] - points[0]) - 1
    return float(
        Costs.OVER_NODE * on_nodes
        + Costs.OUTSIDE * beyond
        + Costs.DETOUR * detour
        + Costs.HEIGHT * abs(height)
    )


def _label_cost(
    points: np.ndarray,
    center: np.ndarray,
    half: np.ndarray,
    nodes: Sequence[DrawnNode],
    rails: np.ndarray,
) -> float:
    """Of a label that covers nodes, rails, or too much of its own arc or the head of its arrow."""
    grid = center + half * np.array(list(product(np.linspace(-1, 1, 7), (-1, 0, 1))))
    over_nodes = sum((node.distance(grid) < 0.04).sum() for node in nodes)
    over_rails = inside(rails, center, half).sum()
    hidden = inside(points, center, half).mean()
    over_head = inside(points[-1], center, half + 1.8 * HEAD)
    return float(
        Costs.LABEL_OVER_NODE * over_nodes
        + Costs.LABEL_OVER_RAIL * over_rails
        + Costs.LABEL_HIDES_ARC * max(hidden - 0.6, 0)
        + Costs.LABEL_OVER_HEAD * over_head
    )


def _conflict(a: Arc, b: Arc) -> float:
    """What two arcs cost together: labels on each other or on an arc, arcs and heads too close."""
    apart = a.profile - b.profile  # nan where one of them is not
    crossings = (apart[1:] * apart[:-1] < 0).sum()
    clear = 0.2 if a.edge.op else 0.4  # lines, ribbons
    close = np.nansum(np.clip(1 - np.abs(apart) / clear, 0, None))
    heads = float(np.hypot(*(a.points[-1] - b.points[-1])))
    cost = (
        Costs.CROSSING * crossings
        + Costs.CLOSE * close
        + Costs.HEADS_OVERLAP * max(1 - heads / 0.16, 0)
    )
    if a.edge.op:
        covered = (
            inside(b.points, a.center, a.half).sum() + inside(a.points, b.center, b.half).sum()
        )
        overlap = inside(a.center, b.center, a.half + b.half)
        cost += Costs.LABEL_OVER_ARC * covered + Costs.LABELS_OVERLAP * overlap
    return float(cost)


def inside(points: np.ndarray, center: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Which points (..., 2) lie in a box."""
    x, y = (np.abs(points[..., i] - center[..., i]) < half[..., i] for i in (0, 1))
    return x & y
