"""Pictures of cells, with matplotlib alone: what a search found,
and the mixing weights while it searches.

Everything but line widths and hatches is drawn in the units of the axes, text as outlines: a
picture keeps its proportions at any size, and what does not overlap at one size overlaps at none.

* From left to right: inputs, intermediate nodes, output. An edge is an arc, which goes where
  `layout` says.
* Colour and line style tell the family of an operation, also in grey and to the colour-blind.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Polygon, Rectangle
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from nasutils.errors import choose
from nasutils.report import layout, plots
from nasutils.report.layout import ARROW_HEAD, RADIUS, RAIL, TOP, Arc, DrawnEdge, DrawnNode
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

TEXT = 0.2
"""Font size of labels."""
MARGIN = 0.1
"""Margin of a label, both sides together."""
RIBBONS = {1: 0.3, 2: 0.2}
"""Width of a ribbon whose weights sum to 1, by number of inputs."""
HATCHES = {"convolution": "", "parameter-free": "//////", "none": "......", "noise": "xxxxxx"}


def draw_genotype(ax: Axes, genotype: Genotype, cell: str | None = None) -> None:
    """Draw one cell of a genotype; cell: its name, None for the first,
    which is the normal cell of DARTS's lineage.

    Thin grey lines lead to the concatenation, and over the top to the sum where a cell has one
    (LHD). Raises ValueError naming the choices for a cell that it has not.
    """
    cells = {c.name: c for c in genotype.cells}
    chosen = genotype.cells[0] if cell is None else cells[choose("cell", cell, cells)]
    nodes, arcs, rails = _picture(chosen)
    for name, rail in rails.items():
        _draw_arrow(ax, rail, label=name, linewidth=0.8, color="0.7", zorder=1)
    for arc in arcs:
        _draw_arc(ax, arc)
    _draw_nodes(ax, nodes)
    bottom = RAIL if chosen.output else -TOP - 0.1
    top = -RAIL if chosen.sum else TOP + 0.1
    _frame(ax, nodes, bottom, top)


def draw_weights(
    ax: Axes,
    edges: Sequence[tuple[int, int]],
    ops: Sequence[str],
    weights: ArrayLike,
    key: bool = True,
) -> None:
    """Draw a cell during a search. weights: mixing weights (edges, operations).

    From left to right, an edge is a ribbon of one stripe per operation, as wide as its weight
    (weight 0 is not seen): separate lines cannot be told apart on the 14 edges of the DARTS
    spaces. The stripes of a family lie side by side, so that its share is seen at once; two
    operations have a shade each, more are parted by white lines only. key: whether the shades are
    explained below. Raises ValueError for weights of another shape.
    """
    weights = np.asarray(weights, dtype=float)
    shape = (len(edges), len(ops))
    if weights.shape != shape:
        raise ValueError(f"weights must be {shape}, edges by operations, not {weights.shape}")
    inputs = len({source for source, _ in edges} - {target for _, target in edges})
    inner = 1 + max(target for _, target in edges) - inputs
    nodes = layout.place_nodes(inputs, inner, output=False)
    arcs = layout.arrange(nodes, [DrawnEdge(source, target) for source, target in edges])
    shades = _shades(ops)
    for arc, row in zip(arcs, weights, strict=True):
        weight_of = dict(zip(ops, row.tolist(), strict=True))
        stripes = {op: weight_of[op] for op in shades}
        _draw_ribbon(ax, arc, RIBBONS[inputs], stripes, shades)
    _draw_nodes(ax, nodes)
    _frame(ax, nodes, -TOP - 0.65)
    if key:
        _draw_key(ax, shades)


def stripes_key(ops: Sequence[str]) -> list[Patch]:
    """What the stripes of `draw_weights` mean, for the legend of a figure."""
    return [Patch(label=label(op), **shade) for op, shade in _shades(ops).items()]


def genotype_figure(named: Mapping[str, Genotype | str]) -> Figure:
    """A row per genotype (or its text), its cells side by side;
    those of one cell share a row. Titles: their names. Raises ValueError for a genotype without.
    """
    if not isinstance(named, Mapping):
        raise ValueError(
            f"genotypes must be a dict by names, as in {{'found': genotype}}, not {named}"
        )
    genotypes = {name: Genotype.of(given) for name, given in named.items()}
    single = all(len(genotype.cells) == 1 for genotype in genotypes.values())
    rows = math.ceil(len(genotypes) / 2) if single else len(genotypes)
    figure, axes = plots.panels(rows, 2, 1.7)
    for ax in axes.flat:
        ax.set_axis_off()
    places = axes.reshape(-1, 1) if single else axes  # of each genotype
    for row, (name, genotype) in zip(places, genotypes.items(), strict=False):
        several = len(genotype.cells) > 1
        for ax, cell in zip(row, genotype.cells, strict=False):
            draw_genotype(ax, genotype, cell.name)
            ax.set_title(f"{name}, {cell.name} cell" if several else name)
    return figure


def family(op: str) -> str:
    """The key in FAMILIES: convolution, parameter-free (skip, pools), none or noise."""
    if op in ("none", "noise"):
        return op
    return "parameter-free" if op.startswith(("skip", "max_pool", "avg_pool")) else "convolution"


def label(op: str) -> str:
    """Short text of an operation."""
    return SHORT.get(op, plots.spaced(op))


def _picture(cell: Cell) -> tuple[list[DrawnNode], list[Arc], dict[str, np.ndarray]]:
    """The nodes of a cell, its arcs, and the lines to its outputs by their hidden names."""
    inputs = 2 if cell.output else 1
    nodes = layout.place_nodes(inputs, len(cell.nodes), bool(cell.output), bool(cell.sum))
    edges = []
    for target, pairs in enumerate(cell.nodes, start=inputs):
        for op, source in pairs:
            width, height = _extent(label(op)) + MARGIN
            edges.append(DrawnEdge(source, target, op, (width, height)))
    return nodes, layout.arrange(nodes, edges), _rails(cell, nodes)


def _rails(cell: Cell, nodes: Sequence[DrawnNode]) -> dict[str, np.ndarray]:
    """The lines to the concatenation, the last node, and to the sum, the one before it."""
    rails = {}
    for source in cell.output:
        node = nodes[source]
        rails[f"_output {node.text}"] = layout.rail(node, nodes[-1])
    for source in cell.sum:
        node = nodes[source]
        rails[f"_sum {node.text}"] = layout.rail(node, nodes[-2], side=-1)
    return rails


def _draw_arc(ax: Axes, arc: Arc) -> None:
    edge = arc.edge
    style = FAMILIES[family(edge.op)]
    name = f"_edge {edge.source}->{edge.target} {edge.op}"
    _draw_arrow(ax, arc.points, label=name, linewidth=1.3, **style)
    # The label interrupts all lines that it lies on.
    corner = arc.center - arc.half
    width, height = 2 * arc.half
    ax.add_patch(Rectangle(corner, width, height, color="white", lw=0, zorder=2.5))
    dark = tuple(0.75 * c for c in to_rgb(style["color"]))
    _put_text(ax, label(edge.op), arc.center, color=dark, label=f"_label {edge.op}")


def _shades(ops: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Fill of each operation, ordered by family; the family's own if it has more than two."""
    shades = {}
    for name, style in FAMILIES.items():
        members = sorted({op for op in ops if family(op) == name}, reverse=True)
        for i, op in enumerate(members):
            color = np.array(to_rgb(style["color"]))
            if len(members) == 2 and i == 1:
                color = 0.55 * color + 0.45  # the second of two is lighter
            shades[op] = {
                "facecolor": color,
                "hatch": HATCHES[name],
                "edgecolor": "white",
                "linewidth": 0.3,
            }
    return shades


def _draw_ribbon(
    ax: Axes,
    arc: Arc,
    width: float,
    stripes: Mapping[str, float],
    shades: Mapping[str, Mapping[str, Any]],
) -> None:
    """width: at weight 1. stripes: operations and weights from top to bottom."""
    along = np.gradient(arc.points, axis=0)
    normal = along[:, ::-1] * (-1, 1)  # a quarter turn to the left
    across = width * normal / np.linalg.norm(along, axis=1, keepdims=True)
    upper = arc.points + across * sum(stripes.values()) / 2
    for op, weight in stripes.items():
        lower = upper - across * weight
        outline = np.concatenate([upper, lower[::-1]])
        name = f"_edge {arc.edge.source}->{arc.edge.target} {op}"
        ax.add_patch(Polygon(outline, zorder=2, label=name, **shades[op]))
        upper = lower


def _draw_key(ax: Axes, shades: Mapping[str, Mapping[str, Any]]) -> None:
    """What the stripes mean, in a row below:
    operations, or families where one has more than two.
    """
    largest = max(Counter(map(family, shades)).values())
    name = label if largest <= 2 else family
    entries = {name(op): shade for op, shade in shades.items()}
    box = 0.32  # width of a sample
    space = 0.08  # between it and its text
    gap = 0.25  # between two entries
    widths = [box + space + _extent(text)[0] for text in entries]
    row = sum(widths) + gap * (len(widths) - 1)
    left, right = ax.get_xlim()
    x = (left + right - row) / 2
    y = -TOP - 0.45
    for (text, shade), width in zip(entries.items(), widths, strict=True):
        ax.add_patch(Rectangle((x, y - box / 4), box, box / 2, **shade))
        beside_box = (x + box + space + x + width) / 2
        center = np.array([beside_box, y])
        _put_text(ax, text, center, color="0.1")
        x += width + gap


def _draw_arrow(ax: Axes, points: np.ndarray, zorder: float = 2, **style: Any) -> None:
    """A line and the head of an arrow at its end."""
    tip = points[-1]
    distance = np.linalg.norm(points - tip, axis=-1)
    line = points[distance > ARROW_HEAD]
    direction = tip - line[-1]
    along = ARROW_HEAD * direction / np.linalg.norm(direction)
    across = 0.36 * along[::-1] * (1, -1)  # a quarter turn to the right
    back = tip - along
    notch = tip - 0.75 * along
    x, y = np.vstack([line, notch]).T
    ax.plot(x, y, zorder=zorder, **style)
    head = [tip, back - across, notch, back + across]
    ax.add_patch(Polygon(head, color=style["color"], lw=0, zorder=zorder))


def _draw_nodes(ax: Axes, nodes: Sequence[DrawnNode]) -> None:
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    circle = RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    side = np.sign(circle) * (1, 0)
    for node in nodes:
        center = np.array([node.x, node.y])
        # The two halves of the circle, moved apart by the straight part.
        outline = center + circle + node.half * side
        ax.add_patch(Polygon(outline, fc=node.color, ec="0.2", lw=0.9, zorder=3))
        _put_text(ax, node.text, center, color="0.1")


def _frame(ax: Axes, nodes: Sequence[DrawnNode], bottom: float, top: float = TOP + 0.1) -> None:
    """Limits of the axes, the same for all cells of a space, so that they can be compared."""
    first, last = nodes[0], nodes[-1]
    left = first.x - first.half - RADIUS - 0.05
    right = last.x + last.half + RADIUS + 0.05
    ax.set(xlim=(left, right), ylim=(bottom - 0.05, top + 0.05), aspect="equal")
    ax.set_axis_off()


@cache
def _outline(text: str) -> TextPath:
    return TextPath((0, 0), text, size=TEXT)


@cache
def _extent(text: str) -> np.ndarray:
    """Width and height of a text."""
    return np.array(_outline(text).get_extents().size)


def _put_text(ax: Axes, text: str, center: np.ndarray, color: Any, label: str = "_text") -> None:
    path = _outline(text)
    corners = path.get_extents().get_points()
    shift = center - corners.mean(axis=0)
    moved = path.transformed(Affine2D().translate(*shift))
    ax.add_patch(PathPatch(moved, color=color, lw=0, zorder=4, label=label))
