"""Pictures of cells, with matplotlib alone: what a search found, and the mixing weights while it searches.

Everything but line widths and hatches is drawn in the units of the axes, text as outlines: a picture keeps its
proportions at any size, and what does not overlap at one size overlaps at none.

* From left to right: inputs, intermediate nodes, output. An edge is an arch over or under the straight line.
* How high each arch is, and where on it its label sits, is chosen from a few candidates so that labels keep clear of
  everything and arches of each other: exact costs of all pairs of candidates, then descent from several starts.
* Colour and line style tell the family of an operation, also in grey and to the colour-blind.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from nasutils.errors import choose
from nasutils.report import plots
from nasutils.spaces.genotype import Cell, Genotype

SHORT = {
    "none": "none",
    "noise": "noise",
    "skip_connect": "skip",
    "max_pool_3x3": "max 3×3",
    "avg_pool_3x3": "avg 3×3",
    "sep_conv_3x3": "sep 3×3",
    "sep_conv_5x5": "sep 5×5",
    "sep_conv_7x7": "sep 7×7",
    "dil_conv_3x3": "dil 3×3",
    "dil_conv_5x5": "dil 5×5",
    "conv_7x1_1x7": "7×1, 1×7",
    "nor_conv_1x1": "conv 1×1",
    "nor_conv_3x3": "conv 3×3",
}
"""Labels of the operations; others are written out."""
_PALETTE = sns.color_palette("colorblind")
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "convolution": {"color": _PALETTE[0], "linestyle": "-"},
    "parameter-free": {"color": _PALETTE[3], "linestyle": (0, (3.2, 1.4))},
    "none": {"color": "0.55", "linestyle": (0, (1, 1.6))},
    "noise": {"color": _PALETTE[4], "linestyle": (0, (5, 1.4, 1, 1.4))},
}
"""Colour and line style of each family of operations."""

RADIUS, SPACING, TEXT, HEAD = 0.2, 1.3, 0.2, 0.15
"""Of a node, between nodes, of labels (font size), of an arrow."""
HEIGHTS = (0.0, 0.2, -0.2, 0.4, -0.4, 0.6, -0.6, 0.8, -0.8, 1.05, -1.05, 1.3, -1.3)
PLACES = (0.5, 0.42, 0.58, 0.34, 0.66, 0.74)
"""Candidates: height of an arch, place of its label along it."""
RIBBONS = {1: 0.3, 2: 0.2}
"""Width of a ribbon whose weights sum to 1, by number of inputs."""
HATCHES = {"convolution": "", "parameter-free": "//////", "none": "......", "noise": "xxxxxx"}
TOP, RAIL = 1.3, -1.5
"""How far up and down arches go; where the lines to the concatenation run."""
_SAMPLES = 41


@dataclass(frozen=True)
class _Node:
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
class _Edge:
    """op: "" where there is no label."""

    source: int
    target: int
    op: str = ""


@dataclass(frozen=True)
class _Arch:
    """points: (samples, 2) between the outlines of its nodes. center, half: of its label, (2,) each."""

    edge: _Edge
    points: np.ndarray
    center: np.ndarray
    half: np.ndarray
    cost: float


def draw_genotype(ax: Axes, genotype: Genotype, cell: str | None = None) -> None:
    """Draw one cell of a genotype; cell: its name, None for the first, which is the normal cell of DARTS's lineage.

    Thin grey lines lead to the concatenation, and over the top to the sum where a cell has one (LHD). Raises
    ValueError naming the choices for a cell that it has not.
    """
    cells = {c.name: c for c in genotype.cells}
    chosen = genotype.cells[0] if cell is None else cells[choose("cell", cell, cells)]
    nodes, arches, rails = _picture(chosen)
    for arch in arches:
        _draw_arch(ax, arch)
    for name, rail in rails.items():
        _arrow(ax, rail, arches, label=name, linewidth=0.8, color="0.7", zorder=1)
    _draw_nodes(ax, nodes)
    _frame(ax, nodes, RAIL if chosen.output else -TOP - 0.1, -RAIL if chosen.sum else TOP + 0.1)


def draw_weights(
    ax: Axes,
    edges: Sequence[tuple[int, int]],
    ops: Sequence[str] | Sequence[Sequence[str]],
    weights: ArrayLike,
    key: bool = True,
) -> None:
    """Draw a cell during a search. ops: of all edges, or of each. weights: mixing weights (edges, operations).

    From left to right, an edge is a ribbon of one stripe per operation, as wide as its weight (weight 0 is not seen):
    separate lines cannot be told apart on the 14 edges of the DARTS spaces. The stripes of a family lie side by side,
    so that its share is seen at once; two operations have a shade each, more are parted by white lines only.
    key: whether the shades are explained below. Raises ValueError for weights of another shape.
    """
    weights = np.asarray(weights, dtype=float)
    each = [[str(op) for op in ops]] * len(edges) if isinstance(ops[0], str) else [list(names) for names in ops]
    if weights.shape != (len(edges), len(each[0])):
        raise ValueError(f"weights must be ({len(edges)}, {len(each[0])}), edges by operations, not {weights.shape}")
    inputs = len({s for s, _ in edges} - {t for _, t in edges})
    nodes, arches = _weights_picture(tuple(edges), inputs)
    shades = _shades([op for names in each for op in names])
    order = {op: i for i, op in enumerate(shades)}
    for arch, names, row in zip(arches, each, weights.tolist(), strict=True):
        stripes = sorted(zip(names, row, strict=True), key=lambda stripe: order[stripe[0]])
        _draw_ribbon(ax, arch, RIBBONS[inputs], stripes, shades)
    _draw_nodes(ax, nodes)
    _frame(ax, nodes, -TOP - 0.65)
    if key:
        _draw_key(ax, shades)


def genotype_figure(named: Mapping[str, Genotype | str]) -> Figure:
    """A row per genotype (or its text), its cells side by side; those of one cell share a row. Titles: their names."""
    genotypes = {name: Genotype.parse(g) if isinstance(g, str) else g for name, g in named.items()}
    single = all(len(g.cells) == 1 for g in genotypes.values())
    rows = -(-len(genotypes) // 2) if single else len(genotypes)
    figure, axes = plots.panels(rows, 2, 1.7)
    for ax in axes.flat:
        ax.set_axis_off()
    for i, (name, genotype) in enumerate(genotypes.items()):
        for ax, cell in zip(axes.flat[i if single else 2 * i :], genotype.cells, strict=False):
            draw_genotype(ax, genotype, cell.name)
            ax.set_title(name if len(genotype.cells) == 1 else f"{name}, {cell.name} cell")
    return figure


def family(op: str) -> str:
    """The key in FAMILIES: convolution, parameter-free (skip, pools), none or noise."""
    if op in ("none", "noise"):
        return op
    return "parameter-free" if op.startswith(("skip", "max_pool", "avg_pool")) else "convolution"


def label(op: str) -> str:
    """Short text of an operation."""
    return SHORT.get(op, op.replace("_", " "))


@cache
def _picture(cell: Cell) -> tuple[list[_Node], list[_Arch], dict[str, np.ndarray]]:
    inputs = 2 if cell.output else 1
    nodes = _nodes(inputs, len(cell.nodes), bool(cell.output), bool(cell.sum))
    edges = [_Edge(s, t, op) for t, node in enumerate(cell.nodes, start=inputs) for op, s in node]
    rails = {f"_output {nodes[s].text}": _rail(nodes[s], nodes[-1]) for s in cell.output}
    rails |= {f"_sum {nodes[s].text}": _rail(nodes[s], nodes[-2], -1) for s in cell.sum}
    return nodes, _arrange(nodes, edges, np.reshape([*rails.values()], (-1, 2))), rails


@cache
def _weights_picture(edges: tuple[tuple[int, int], ...], inputs: int) -> tuple[list[_Node], list[_Arch]]:
    nodes = _nodes(inputs, 1 + max(t for _, t in edges) - inputs, False)
    return nodes, _arrange(nodes, [_Edge(s, t) for s, t in edges], np.empty((0, 2)))


def _nodes(inputs: int, inner: int, output: bool, summed: bool = False) -> list[_Node]:
    """Inputs above each other, then the others in a row; with a sum (LHD) two outputs above each other."""
    if inputs == 1:
        return [_Node(str(i), 2.1 * i, 0, color="white" if 0 < i < inner else "0.9") for i in range(inner + 1)]
    first = "$s_{k-1}$" if summed else "$c_{k-2}$"
    nodes = [_Node(first, 0, 0.85, 0.14, "0.9"), _Node("$c_{k-1}$", 0, -0.85, 0.14, "0.9")]
    nodes += [_Node(str(i), SPACING * (i + 1.35), 0) for i in range(inner)]
    outputs = (("s", 0.7), ("c", -0.7)) if summed else (("c", 0.0),) * output
    return nodes + [_Node(f"${name}_k$", SPACING * (inner + 1.1), y, 0.05, "0.9") for name, y in outputs]


def _arrange(nodes: Sequence[_Node], edges: Sequence[_Edge], rails: np.ndarray) -> list[_Arch]:
    """Choose an arch for each edge."""
    places = PLACES if edges[0].op else PLACES[:1]
    flat = [arch for edge in edges for arch in _candidates(nodes, edge, places, rails)]
    cost, own = _conflicts(flat, len(places)), np.array([arch.cost for arch in flat])
    starts = np.random.default_rng(0).integers(len(flat) // len(edges), size=(300, len(edges)))
    ends = [_descend(start, cost, own) for start in starts + np.arange(0, len(flat), len(flat) // len(edges))]
    return [flat[i] for i in min(ends, key=lambda c: own[c].sum() + cost[np.ix_(c, c)].sum() / 2)]


def _descend(chosen: np.ndarray, cost: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Improve one edge after the other until none can be. chosen: a candidate of each edge."""
    total = own + cost[chosen].sum(axis=0)
    groups = np.split(np.arange(len(own)), len(chosen))
    while True:
        before = chosen.copy()
        for edge, group in enumerate(groups):
            best = group[np.argmin(total[group])]
            total += cost[best] - cost[chosen[edge]]
            chosen[edge] = best
        if (chosen == before).all():
            return chosen


def _candidates(nodes: Sequence[_Node], edge: _Edge, places: Sequence[float], rails: np.ndarray) -> list[_Arch]:
    """Every height and place of the label, with what they cost by themselves."""
    ends = nodes[edge.source], nodes[edge.target]
    others = [n for i, n in enumerate(nodes) if i not in (edge.source, edge.target)]
    half = _extent(label(edge.op)) / 2 + 0.05 if edge.op else np.full(2, -9.0)
    arches = []
    for height in HEIGHTS:
        points = _arch(*ends, height)
        hit = sum((n.distance(points) < 0.08).sum() for n in others) + (np.abs(points[:, 1]) > TOP).sum()
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        bent = length / np.linalg.norm(points[-1] - points[0]) - 1
        for place in places:
            center = points[round(place * (_SAMPLES - 1))]
            cost = 12 * hit + 4 * bent + 0.3 * abs(height) + 3 * abs(place - 0.5)
            if edge.op:
                cost += _label_cost(points, center, half, nodes, rails)
            arches.append(_Arch(edge, points, center, half, float(cost)))
    return arches


def _label_cost(
    points: np.ndarray, center: np.ndarray, half: np.ndarray, nodes: Sequence[_Node], rails: np.ndarray
) -> float:
    """Of a label that covers nodes, rails, or too much of its own arch or arrow."""
    grid = center + half * np.array(list(product(np.linspace(-1, 1, 7), (-1, 0, 1))))
    covered = sum((n.distance(grid) < 0.04).sum() for n in nodes)
    crossed = _inside(rails, center, half).sum()
    hidden = _inside(points, center, half).mean()
    blunt = _inside(points[-1], center, half + 1.8 * HEAD)
    return 3 * covered + 0.3 * crossed + 20 * max(hidden - 0.6, 0) + 5 * blunt


def _inside(points: np.ndarray, center: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Which points (..., 2) lie in a box."""
    x, y = (np.abs(points[..., i] - center[..., i]) < half[..., i] for i in (0, 1))
    return x & y


def _arch(source: _Node, target: _Node, height: float) -> np.ndarray:
    """Points (samples, 2) of the arch from outline to outline."""

    def at(t: np.ndarray) -> np.ndarray:
        x = source.x + t * (target.x - source.x)
        y = source.y + t * (target.y - source.y) + height * (1 - np.abs(2 * t - 1) ** 2.2)
        return np.stack([x, y], axis=-1)

    t = np.linspace(0, 1, 200)
    dense = at(t)
    outside = t[(source.distance(dense) > 0) & (target.distance(dense) > 0.03)]
    return at(np.linspace(outside[0], outside[-1], _SAMPLES))


def _rail(source: _Node, target: _Node, side: int = 1) -> np.ndarray:
    """Points of the line to the concatenation: down, to the right, up, with round corners; side -1: mirrored."""
    turn = 0.25 * np.stack([1 - np.cos(np.linspace(0, np.pi / 2, 12)), -np.sin(np.linspace(0, np.pi / 2, 12))], axis=-1)
    down = np.linspace([source.x, -RADIUS], [source.x, RAIL + 0.25], 20)
    up = np.linspace([target.x, RAIL + 0.25], [target.x, side * target.y - RADIUS - 0.03], 20)
    return np.concatenate([down, down[-1] + turn, (up[0] + turn * (-1, 1))[::-1], up]) * (1, side)


def _conflicts(arches: Sequence[_Arch], places: int) -> np.ndarray:
    """Cost of each pair, of different edges: labels on each other or on an arch, arches and arrows too close."""
    shapes = np.stack([a.points for a in arches[::places]])
    which = np.arange(len(arches)) // places
    clear = 0.2 if arches[0].edge.op else 0.4  # lines, ribbons
    centers, halves = np.stack([a.center for a in arches]), np.stack([a.half for a in arches])
    overlaps = _inside(centers, centers[:, None], halves[:, None] + halves)
    covered = _inside(shapes, centers[:, None, None], halves[:, None, None]).sum(axis=-1)[:, which]
    cost = 40 * overlaps + 6 * (covered + covered.T) + _closeness(shapes, clear)[np.ix_(which, which)]
    cost[which[:, None] // len(HEIGHTS) == which // len(HEIGHTS)] = 0
    return cost


def _closeness(shapes: np.ndarray, clear: float) -> np.ndarray:
    """Of each pair of arches, which never turn back: crossings, how long they are close, arrows on each other."""
    grid = np.linspace(shapes[..., 0].min(), shapes[..., 0].max(), 100)
    y = np.stack([np.interp(grid, shape[:, 0], shape[:, 1], left=np.nan, right=np.nan) for shape in shapes])
    apart = y[:, None] - y
    crossings = (apart[..., 1:] * apart[..., :-1] < 0).sum(axis=-1)
    near = np.nan_to_num(np.clip(1 - np.abs(apart) / clear, 0, None)).sum(axis=-1)
    heads = np.linalg.norm(shapes[:, None, -1] - shapes[None, :, -1], axis=-1)
    return 4 * crossings + 0.5 * near + 6 * np.clip(1 - heads / 0.16, 0, None)


def _draw_arch(ax: Axes, arch: _Arch) -> None:
    style, edge = FAMILIES[family(arch.edge.op)], arch.edge
    _arrow(ax, arch.points, [arch], label=f"_edge {edge.source}->{edge.target} {edge.op}", linewidth=1.3, **style)
    dark = tuple(0.75 * c for c in to_rgb(style["color"]))
    _write(ax, label(edge.op), arch.center, color=dark, label=f"_label {edge.op}")


def _shades(ops: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Fill of each operation, ordered by family; the family's own if it has more than two."""
    shades = {}
    for name, style in FAMILIES.items():
        members = sorted({op for op in ops if family(op) == name}, reverse=True)
        for i, op in enumerate(members):
            mixed = np.array(to_rgb(style["color"])) * (1 - 0.45 * i) + 0.45 * i if len(members) < 3 else style["color"]
            shades[op] = {"facecolor": mixed, "hatch": HATCHES[name], "edgecolor": "white", "linewidth": 0.3}
    return shades


def _draw_ribbon(
    ax: Axes, arch: _Arch, width: float, stripes: Sequence[tuple[str, float]], shades: Mapping[str, Mapping[str, Any]]
) -> None:
    """width: at weight 1. stripes: operations and weights from top to bottom."""
    along = np.gradient(arch.points, axis=0)
    across = width * along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
    upper = arch.points + across * sum(weight for _, weight in stripes) / 2
    for op, weight in stripes:
        lower = upper - across * weight
        name = f"_edge {arch.edge.source}->{arch.edge.target} {op}"
        ax.add_patch(Polygon(np.concatenate([upper, lower[::-1]]), zorder=2, label=name, **shades[op]))
        upper = lower


def _draw_key(ax: Axes, shades: Mapping[str, Mapping[str, Any]]) -> None:
    """What the stripes mean, in a row below: operations, or families where one has more than two."""
    name = label if max(Counter(map(family, shades)).values()) < 3 else family
    entries = {name(op): shade for op, shade in shades.items()}
    widths = [0.4 + _extent(text)[0] for text in entries]
    y, x = -TOP - 0.45, (sum(ax.get_xlim()) - sum(widths) - 0.25 * (len(widths) - 1)) / 2
    for (text, shade), width in zip(entries.items(), widths, strict=True):
        ax.add_patch(Rectangle((x, y - 0.08), 0.32, 0.16, **shade))
        _write(ax, text, np.array([x + (0.4 + width) / 2, y]), color="0.1")
        x += width + 0.25


def _arrow(ax: Axes, points: np.ndarray, holes: Sequence[_Arch], **style: Any) -> None:
    """A line that labels interrupt, and the head of an arrow at its end."""
    steps = np.linspace(0, 1, 500)
    fine = np.stack([np.interp(steps, np.linspace(0, 1, len(points)), column) for column in points.T], axis=-1)
    remaining = np.linalg.norm(fine - fine[-1], axis=-1)
    back = fine[np.argmin(np.abs(remaining - HEAD))] - fine[-1]
    hidden = np.any([_inside(fine, hole.center, hole.half) for hole in holes] + [remaining < 0.7 * HEAD], axis=0)
    ax.plot(*np.where(hidden[:, None], np.nan, fine).T, **{"zorder": 2, **style})
    side = 0.36 * back[::-1] * (1, -1)
    corners = fine[-1] + np.stack([0 * back, back + side, 0.75 * back, back - side])
    ax.add_patch(Polygon(corners, color=style["color"], lw=0, zorder=style.get("zorder", 2)))


def _draw_nodes(ax: Axes, nodes: Sequence[_Node]) -> None:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    outline = RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    for n in nodes:
        straight = np.stack([n.half * np.sign(outline[:, 0]), 0 * angle], axis=-1)
        ax.add_patch(Polygon(outline + straight + (n.x, n.y), fc=n.color, ec="0.2", lw=0.9, zorder=3))
        _write(ax, n.text, np.array([n.x, n.y]), color="0.1")


def _frame(ax: Axes, nodes: Sequence[_Node], bottom: float, top: float = TOP + 0.1) -> None:
    """The same for all cells of a space, so that they can be compared."""
    left, right = (n.x + sign * (n.half + RADIUS + 0.05) for n, sign in ((nodes[0], -1), (nodes[-1], 1)))
    ax.set(xlim=(left, right), ylim=(bottom - 0.05, top + 0.05), aspect="equal")
    ax.set_axis_off()


@cache
def _outline(text: str) -> TextPath:
    return TextPath((0, 0), text, size=TEXT)


@cache
def _extent(text: str) -> np.ndarray:
    """Width and height of a text."""
    return np.array(_outline(text).get_extents().size)


def _write(ax: Axes, text: str, center: np.ndarray, color: Any, label: str = "_text") -> None:
    path = _outline(text)
    shift = center - path.get_extents().get_points().mean(axis=0)
    ax.add_patch(PathPatch(path.transformed(Affine2D().translate(*shift)), color=color, lw=0, zorder=4, label=label))
