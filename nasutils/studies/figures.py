"""Figures and tables that several notebooks show of searches on NAS-Bench-201:
functions of results and labels.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nasutils.errors import choose
from nasutils.measures import tables
from nasutils.measures.estimates import central
from nasutils.measures.tables import RANDOM_CELL
from nasutils.report import drawing, plots
from nasutils.runs import Run
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.spaces.nasbench201_table import DATASETS
from nasutils.studies.published import NASBENCH201
from nasutils.studies.variants import of_label

DATASET_TITLES = {
    "digits": "digits",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
}
"""Data set -> its name in a figure."""
OPTIMUM, ALL_SKIP = 94.37, 54.30
"""CIFAR-10 test accuracy (%) of the best of all 15,625 cells, and of the cell of skips only."""
CELL_LINES = {
    "best of all cells": (OPTIMUM, "--"),
    "mean of all cells": (RANDOM_CELL, "-."),
    "cell of skips only": (ALL_SKIP, ":"),
}
"""What the accuracy of a cell is held against: accuracy and line style."""
Drawn = tuple[Figure, pd.DataFrame]


class Results(Protocol):
    """What every study's results have. epochs: see `tables.epochs_table`;
    last: its rows of the last epochs.
    """

    @property
    def runs(self) -> Mapping[tuple[str, int], Run]: ...

    @property
    def epochs(self) -> pd.DataFrame: ...

    @property
    def last(self) -> pd.DataFrame: ...


def present(results: Results, labels: Iterable[str]) -> list[str]:
    """The given labels that were searched, in their order. If none was: every searched label that
    `plots.LOOKS` knows. Raises ValueError for one that neither knows.
    """
    searched = [label for label, _ in results.runs]
    labels = [
        label if label in plots.LOOKS else choose("label", label, searched) for label in labels
    ]
    wanted = [label for label in labels if label in searched]
    if wanted:
        return wanted
    return [label for label in dict.fromkeys(searched) if label in plots.LOOKS]


def one_search(results: Results, label: str, seed: int) -> tuple[str, Run]:
    """A search's name, for a heading, and the search, see `picked`."""
    label, seed = picked(results, label, seed)
    return f"{label}, seed {seed}", results.runs[label, seed]


def picked(results: Results, label: str, seed: int) -> tuple[str, int]:
    """The search of that label and seed. If it was not made or failed: the first of that label,
    or of all.
    """
    of_label = [key for key in results.runs if key[0] == label]
    if (label, seed) in of_label:
        return label, seed
    return [*of_label, *results.runs][0]


def covered(results: Results) -> str:
    """In words, how sure the intervals over the seeds of these searches are."""
    return plots.covered(results.last.groupby("method").size().max())


def accuracy(results: Results, labels: Iterable[str]) -> Drawn:
    """Tabulated CIFAR-10 test accuracy of the cell of each epoch, a panel per method:
    each search, and their median.
    """
    shown = present(results, labels)
    rows = results.epochs[results.epochs["method"].isin(shown)]
    figure, axes = panel_grid(len(shown), 2.3)
    low = lowest(rows["cifar10"])
    for ax, label in zip(axes.flat, shown, strict=False):
        part = of_label(rows, label)
        style = plots.look(label)
        plots.median_band(ax, part, "epoch", "cifar10", seeds=True, label="median", **style)
        reference_lines(ax.axhline, low)
        ax.set_title(label)
        plots.stretch(ax, "y", low)
    label_outer(axes, "epoch", "test accuracy\nof the cell (%)")
    one_legend(figure, axes, skip=("median",))
    plots.note(
        figure,
        "thin lines: searches; with marks: their median; the axis is that of the error's"
        " logarithm",
    )
    columns = ["method", "seed", "epoch", "genotype", *DATASETS]
    return figure, rows[columns]


def reference_lines(draw: Callable[..., Any], low: float) -> None:
    """The CELL_LINES that lie above `low` (%); draw: `ax.axhline` or `ax.axvline`."""
    for name, (value, line) in CELL_LINES.items():
        if value > low:
            draw(value, color="0.25", lw=0.9, ls=line, label=name)


def lowest(accuracies: pd.Series) -> float:
    """Where an axis of accuracies (%) begins, see `plots.stretch`."""
    return max(accuracies.min() - 4, 0)


def grid(count: int, height: float, columns: int, **kwargs: Any) -> tuple[Figure, np.ndarray]:
    """So many panels, at most `columns` a row; those left over are not seen."""
    columns = min(count, columns) or 1
    rows = math.ceil(count / columns) or 1
    figure, axes = plots.panels(rows, columns, height, **kwargs)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    return figure, axes


def panel_grid(count: int, height: float, columns: int = 4) -> tuple[Figure, np.ndarray]:
    """So many panels of one scale, over epochs."""
    figure, axes = grid(count, height, columns, sharex=True, sharey=True)
    for ax in axes.flat[:count]:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure, axes


def label_outer(axes: np.ndarray, x: str, y: str) -> None:
    """The labels of a grid whose panels share both axes:
    left, and below the lowest panel of each column.
    """
    for ax in axes[:, 0]:
        ax.set_ylabel(y)
    for column in axes.T:
        lowest = [ax for ax in column if ax.get_visible()][-1]
        lowest.set_xlabel(x)
        lowest.tick_params(labelbottom=True)


def one_legend(
    figure: Figure, axes: np.ndarray, columns: int = 5, skip: Sequence[str] = ()
) -> None:
    """What all panels show, each once, above them."""
    shown = {}
    for ax in axes.flat:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            if name not in skip:
                shown[name] = handle
    figure.legend(list(shown.values()), list(shown), loc="outside upper center", ncols=columns)


SUPERNETS: Mapping[str, dict[str, Any]] = {
    "relaxed": {"label": "all operations at their weights", "color": "C0", "marker": "o"},
    "recalibrated": {"label": "one operation per edge", "color": "C1", "marker": "s", "ls": "--"},
}


def gap(results: Results, labels: Iterable[str]) -> Drawn:
    """Held-out accuracy of the supernet with all operations and with one per edge, per epoch:
    the gap lies between.
    """
    shown = present(results, labels)
    figure, axes = panel_grid(len(shown), 2.1)
    top = results.epochs["relaxed"].max() + 6
    for ax, label in zip(axes.flat, shown, strict=False):
        rows = of_label(results.epochs, label)
        for column, style in SUPERNETS.items():
            plots.median_band(ax, rows, "epoch", column, **style)
        at_end = central(tables.by_seed(results.last, label, "gap"))
        ax.set(title=f"{label}: gap {round(at_end.mean)}", ylim=(0, top))
    label_outer(axes, "epoch", "held-out\naccuracy (%)")
    one_legend(figure, axes)
    plots.note(
        figure,
        f"median over seeds and its interval ({covered(results)}); in the titles: gap at the end,"
        " points",
    )
    columns = ["method", "seed", "epoch", "relaxed", "discretized", "recalibrated", "gap"]
    return figure, results.epochs[columns]


OPERATION_HATCHES = ("", "///", "...", "---", "xx")
"""Hatches of operations stacked on each other, for eyes that see no colour."""


def distributions(results: Results, labels: Iterable[str]) -> Drawn:
    """Mean mixing weight of each operation, stacked, and entropy of an edge,
    per epoch and method.
    """
    table = _weights_table(results)
    shown = present(results, labels)
    figure, axes = plots.panels(2, len(shown), 2.0, sharex=True, sharey="row")
    for (upper, lower), label in zip(axes.T, shown, strict=True):
        part = of_label(table, label)
        _stack(upper, part)
        upper.set_title(label)
        plots.median_band(lower, part, "epoch", "entropy", **plots.look(label))
        uniform = np.log(len(OPS))
        lower.axhline(uniform, color="0.5", lw=0.8, ls=":")
        lower.set(xlabel="epoch", ylim=(-0.05, 1.75))
    axes[0, 0].set_ylabel("mixing weight,\nmean of all edges")
    axes[1, 0].set_ylabel("entropy of an\nedge (nats)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(OPS))
    seeds = len({seed for _, seed in results.runs})
    plots.note(
        figure,
        f"top: means over seeds; bottom: median and its interval ({plots.covered(seeds)}), dotted:"
        " uniform",
    )
    return figure, table


def _stack(ax: Axes, table: pd.DataFrame) -> None:
    """The mean mixing weights on each other, per epoch."""
    means = table.groupby("epoch")[list(OPS)].mean()
    names = [plots.spaced(op) for op in OPS]
    areas = ax.stackplot(means.index, means.T, labels=names, alpha=0.8)
    for area, op, hatch in zip(areas, OPS, OPERATION_HATCHES, strict=True):
        color = plots.look(op)["color"]
        area.set(facecolor=color, hatch=hatch, edgecolor="w", linewidth=0.4)
    ax.set_ylim(0, 1)
    ax.grid(False)


def _weights_table(results: Results) -> pd.DataFrame:
    """A row per search and epoch: entropy of an edge, mean mixing weight of each operation."""
    rows = []
    for (label, seed), run in results.runs.items():
        for record in run.records:
            row = {"method": label, "seed": seed, "epoch": record["epoch"]}
            row["entropy"] = record["entropy"]["cell"]
            weights = np.mean(record["mix"]["cell"], axis=0)
            rows.append(row | dict(zip(OPS, weights, strict=True)))
    return pd.DataFrame(rows)


def during(results: Results, labels: Iterable[str], seed: int) -> Drawn:
    """The cell at the start, in the middle and at the end of a search of each label;
    ribbons: weights.
    """
    shown = present(results, labels)
    figure, axes = plots.panels(len(shown), 3, 1.5)
    rows = []
    for row, label in zip(axes, shown, strict=True):
        _, own_seed = picked(results, label, seed)
        records = results.runs[label, own_seed].records
        for ax, place in zip(row, (0, len(records) // 2, -1), strict=True):
            record = records[place]
            epoch, mix = record["epoch"], record["mix"]["cell"]
            drawing.draw_weights(ax, EDGES, OPS, mix, key=False)
            ax.set_title(f"{label}, epoch {epoch}")
            for (source, target), weights in zip(EDGES, mix, strict=True):
                edge = {"method": label, "seed": own_seed, "epoch": epoch}
                edge["edge"] = f"{source} to {target}"
                rows.append(edge | dict(zip(OPS, weights, strict=True)))
    key = drawing.stripes_key(OPS)
    figure.legend(handles=key, loc="outside upper center", ncols=len(key))
    plots.note(
        figure,
        "one search each; an edge has a stripe per operation, as wide as its weight",
    )
    return figure, pd.DataFrame(rows)


def every_search(ax: Axes, table: pd.DataFrame, labels: Sequence[str], column: str) -> None:
    """A row per method: a point per seed at the end of the search,
    and their median with its interval below.
    """
    for place, label in enumerate(labels):
        values = tables.by_seed(table, label, column)
        look = plots.look(label)
        style = {"color": look["color"], "marker": look["marker"], "s": 16, "alpha": 0.75}
        jitter = np.linspace(-0.15, 0.15, len(values))
        ax.scatter(values, place + jitter, **style)
        plots.interval(ax, central(values), place + 0.32)
    plots.name_rows(ax, labels)


def main_table(results: Results) -> pd.DataFrame:
    """Methods by data sets: median accuracy of the last cell with its interval and n,
    published numbers, which are means, below.
    """
    ours = tables.summary(results.last, list(DATASETS)).assign(source="this run")
    return with_published(ours)


def with_published(ours: pd.DataFrame) -> pd.DataFrame:
    """A table of accuracies on NAS-Bench-201, with those of other papers below."""
    published = NASBENCH201.assign(source="published: " + NASBENCH201["source"])
    return pd.concat([ours, published], ignore_index=True)


def toy_table(columns: Mapping[str, Tensor]) -> pd.DataFrame:
    """A row per operation of an edge that can be followed by hand; columns: (operations,) each."""
    values = {name: column.detach().numpy() for name, column in columns.items()}
    return pd.DataFrame({"operation": [plots.spaced(op) for op in OPS], **values})
