"""Pictures of cells: everything of the genotype is drawn, once, and can be read.

Run: pytest tests/report/test_drawing.py
"""

from itertools import combinations

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from nasutils import Genotype, spaces
from nasutils.report import drawing
from nasutils.spaces import catalogue, darts_cells, nasbench201_table
from nasutils.studies import lhd_architectures

NB201 = Genotype.parse(
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|"
)
SHIPPED = [(name, cell) for name in ("DARTS_V2", "SP-DARTS") for cell in ("normal", "reduce")]


@pytest.fixture
def ax():
    figure, ax = plt.subplots(figsize=(3.6, 1.7))
    yield ax
    plt.close(figure)


def named(ax, kind):
    """The artists of a kind, edge, label or output, by their hidden name;
    heads of arrows have none.
    """
    found = ax.findobj(lambda artist: str(artist.get_label()).startswith(f"_{kind} "))
    texts = [(str(artist.get_label()).removeprefix(f"_{kind} "), artist) for artist in found]
    return sorted(texts, key=lambda pair: pair[0])


def overlapping(ax):
    """Pairs of labels whose bounding boxes overlap."""
    boxes = [(op, artist.get_window_extent()) for op, artist in named(ax, "label")]
    return [(a, b) for (a, box), (b, other) in combinations(boxes, 2) if box.overlaps(other)]


@pytest.mark.parametrize(("name", "cell"), SHIPPED)
def test_every_edge_is_drawn_and_no_label_overlaps_another(ax, name, cell):
    genotype = catalogue.get(name).genotype
    drawing.draw_genotype(ax, genotype, cell)
    chosen = next(c for c in genotype.cells if c.name == cell)
    edges = sorted(
        f"{s}->{t} {op}" for t, node in enumerate(chosen.nodes, start=2) for op, s in node
    )
    assert [text for text, _ in named(ax, "edge")] == edges
    assert [op for op, _ in named(ax, "label")] == sorted(
        op for node in chosen.nodes for op, _ in node
    )
    assert len(named(ax, "output")) == len(chosen.output)
    assert overlapping(ax) == []


def test_parallel_edges_are_apart(ax):
    """NASNet's fourth node takes c_{k-2} twice, by average pooling both."""
    drawing.draw_genotype(ax, catalogue.get("NASNet").genotype)
    (_, first), (_, second) = [
        edge for edge in named(ax, "edge") if edge[0] == "0->5 avg_pool_3x3"
    ]
    gap = np.abs(first.get_ydata() - np.interp(first.get_xdata(), *second.get_data()))
    assert np.nanmax(gap) > 0.15
    assert overlapping(ax) == []


def test_nasbench201_cell(ax):
    drawing.draw_genotype(ax, NB201)
    assert len(named(ax, "edge")) == len(named(ax, "label")) == 6 and named(ax, "output") == []
    assert overlapping(ax) == []


def test_families_differ_in_colour_and_line_style():
    looks = list(drawing.FAMILIES.values())
    assert (
        len({str(look["linestyle"]) for look in looks})
        == len({str(look["color"]) for look in looks})
        == 4
    )
    names = ("darts", "s4", "lhd", "nasbench201")
    known = {op for name in names for op in spaces.get(name).ops} | set(darts_cells.HANDMADE_OPS)
    assert {drawing.family(op) for op in known} == set(drawing.FAMILIES)
    assert len({drawing.label(op) for op in known}) == len(known)


def test_unknown_cell_is_refused(ax):
    with pytest.raises(
        ValueError, match=r"unknown cell 'normle': choose one of 'normal', 'reduce'; did you mean"
    ):
        drawing.draw_genotype(ax, catalogue.get("DARTS_V2").genotype, "normle")


def width(artist):
    """Of a stripe in the middle of its ribbon."""
    upper, lower = np.split(artist.get_xy()[:-1], 2)
    middle = len(upper) // 2
    return np.linalg.norm(upper[middle] - lower[::-1][middle])


@pytest.mark.parametrize(
    ("edges", "ops"),
    [(nasbench201_table.EDGES, nasbench201_table.OPS), (darts_cells.EDGES, ("none", "x"))],
)
def test_stripes_are_as_wide_as_weights(ax, edges, ops):
    weights = np.random.default_rng(0).dirichlet(np.ones(len(ops)), len(edges))
    drawing.draw_weights(ax, edges, ops, weights)
    drawn = {name: width(stripe) for name, stripe in named(ax, "edge")}
    wanted = {
        f"{s}->{t} {op}": w
        for (s, t), row in zip(edges, weights, strict=True)
        for op, w in zip(ops, row, strict=True)
    }
    assert drawn.keys() == wanted.keys()
    ratios = [drawn[name] / wanted[name] for name in drawn]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)


def test_weights_of_another_shape_are_refused(ax):
    with pytest.raises(
        ValueError, match=r"weights must be \(6, 5\), edges by operations, not \(5, 6\)"
    ):
        drawing.draw_weights(ax, nasbench201_table.EDGES, nasbench201_table.OPS, np.ones((5, 6)))


def test_figure_has_a_titled_picture_per_cell():
    figure = drawing.genotype_figure({"DARTS": catalogue.get("DARTS_V2").genotype, "small": NB201})
    assert [ax.get_title() for ax in figure.axes] == [
        "DARTS, normal cell",
        "DARTS, reduce cell",
        "small",
        "",
    ]
    plt.close(figure)


def test_a_genotype_without_a_name_is_refused():
    with pytest.raises(ValueError, match="genotypes must be a dict by names, .*not \\|nor_conv"):
        drawing.genotype_figure(NB201)


def test_a_cell_with_two_outputs_has_both_drawn(ax):
    """LHD: the sum above, the concatenation below, one line for each of their nodes."""
    genotype = lhd_architectures.genotype("cifar10", "sp-darts", 1)
    drawing.draw_genotype(ax, genotype, "normal")
    cell = genotype.cells[0]
    assert len(named(ax, "sum")) == len(cell.sum) and len(named(ax, "output")) == len(cell.output)
    assert all(np.nanmax(artist.get_ydata()) > drawing.TOP for _, artist in named(ax, "sum"))
    assert [op for op, _ in named(ax, "label")] == sorted(
        op for node in cell.nodes for op, _ in node
    )
    assert overlapping(ax) == []
