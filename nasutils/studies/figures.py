"""Figures and tables that several notebooks show of searches on NAS-Bench-201: functions of results and labels."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasutils.measures import analysis
from nasutils.report import drawing, plots
from nasutils.runs import Run
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.studies.published import NASBENCH201

NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet16-120"}
RANGE = {"cifar10": (50, 96), "cifar100": (10, 76), "imagenet16-120": (10, 50)}
"""Test accuracies (%) that cells of interest reach, for the axes."""
OPTIMUM = {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
ALL_SKIP = {"cifar10": 54.30, "cifar100": 15.61, "imagenet16-120": 16.32}
Drawn = tuple[Figure, pd.DataFrame]


class Results(Protocol):
    """What every study's results have. epochs: see `analysis.epochs_table`; last: its rows of the last epochs."""

    @property
    def runs(self) -> Mapping[tuple[str, int], Run]: ...

    @property
    def epochs(self) -> pd.DataFrame: ...

    @property
    def last(self) -> pd.DataFrame: ...


def present(results: Results, labels: Iterable[str]) -> list[str]:
    """Those of these labels that were searched, in their order; all that were and have a look, if none of them was."""
    searched = dict.fromkeys(label for label, _ in results.runs)
    return [label for label in labels if label in searched] or [label for label in searched if label in plots.LOOKS]


def one_search(results: Results, label: str, seed: int) -> tuple[str, Run]:
    """The name, for a heading, and the search of that label and seed; of the first one if it was not made or failed."""
    key = (label, seed) if (label, seed) in results.runs else next(iter(results.runs))
    return "{}, seed {}".format(*key), results.runs[key]


def accuracy(results: Results, labels: Iterable[str]) -> Drawn:
    """Tabulated test accuracy of the current cell per epoch on three data sets: mean, band, and a thin line a seed."""
    shown = present(results, labels)
    figure, (axes,) = plots.panels(1, 3, 2.7, sharex=True)
    for ax, (column, name) in zip(axes, NAMES.items(), strict=True):
        for label in shown:
            rows, style = results.epochs[results.epochs["method"] == label], plots.look(label)
            for _, search in rows.groupby("seed"):
                ax.plot(search["epoch"], search[column], color=style["color"], lw=0.5, alpha=0.4)
            plots.mean_band(ax, rows, "epoch", column, label=label, **style)
        ax.axhline(OPTIMUM[column], color="0.3", lw=0.9, ls="--", label="optimum of the space")
        ax.axhline(ALL_SKIP[column], color="0.3", lw=0.9, ls=":", label="cell of skips only")
        ax.set(title=name, xlabel="epoch", ylim=RANGE[column])
    axes[0].set_ylabel("test accuracy of the cell (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    columns = ["method", "seed", "epoch", "genotype", *NAMES]
    return figure, results.epochs.loc[results.epochs["method"].isin(shown), columns]


def gap(results: Results, labels: Iterable[str]) -> Drawn:
    """Supernet accuracy relaxed and with one operation per edge, per epoch and method: the gap lies between."""
    shown = present(results, labels)
    columns = min(len(shown), 4)
    figure, axes = plots.panels(-(-len(shown) // columns), columns, 2.2, sharex=True, sharey=True)
    top = results.epochs["relaxed"].max() + 10
    lines = {
        "relaxed": {"label": "relaxed", "color": "C0", "marker": "o"},
        "recalibrated": {"label": "one operation per edge", "color": "C1", "marker": "s", "ls": "--"},
    }
    for ax, label in zip(axes.flat, shown, strict=False):
        rows = results.epochs[results.epochs["method"] == label]
        for column, style in lines.items():
            plots.mean_band(ax, rows, "epoch", column, **style)
        ax.set(title=label, ylim=(0, top))
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, results.epochs[["method", "seed", "epoch", "relaxed", "discretized", "recalibrated", "gap"]]


def distributions(results: Results, labels: Iterable[str]) -> Drawn:
    """Mean mixing weight of each operation, and entropy of an edge, per epoch; means over edges and seeds."""
    rows = [
        {"method": label, "seed": seed, "epoch": r["epoch"], "entropy": r["entropy"]["cell"]}
        | dict(zip(OPS, np.mean(r["mix"]["cell"], axis=0), strict=True))
        for (label, seed), run in results.runs.items()
        for r in run.records
    ]
    table, shown = pd.DataFrame(rows), present(results, labels)
    figure, axes = plots.panels(2, len(shown), 2.2, sharex=True, sharey="row")
    for (upper, lower), label in zip(axes.T, shown, strict=True):
        part = table[table["method"] == label]
        for op in OPS:
            plots.mean_band(upper, part, "epoch", op, label=op, **plots.look(op))
        plots.mean_band(lower, part, "epoch", "entropy", **plots.look(label))
        lower.axhline(np.log(len(OPS)), color="0.5", lw=0.8, ls=":")
        upper.set(title=label, ylim=(0, 0.8))
        lower.set(xlabel="epoch", ylim=(-0.05, 1.75))
    axes[0, 0].set_ylabel("mean mixing weight")
    axes[1, 0].set_ylabel("entropy per edge (nats)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(OPS))
    return figure, table


def during(results: Results, labels: Iterable[str], seed: int) -> Drawn:
    """The cell at the start, in the middle and at the end of a search of each label; ribbons: weights."""
    shown = present(results, labels)
    figure, axes = plots.panels(len(shown), 3, 1.5)
    rows = []
    for row, label in zip(axes, shown, strict=True):
        _, run = one_search(results, label, seed)
        records = run.records
        for ax, record in zip(row, (records[0], records[len(records) // 2], records[-1]), strict=True):
            drawing.draw_weights(ax, EDGES, OPS, record["mix"]["cell"])
            ax.set_title(f"{label}, epoch {record['epoch']}")
            rows += [
                {"method": label, "seed": seed, "epoch": record["epoch"], "edge": f"{s} to {t}"}
                | dict(zip(OPS, weights, strict=True))
                for (s, t), weights in zip(EDGES, record["mix"]["cell"], strict=True)
            ]
    return figure, pd.DataFrame(rows)


def every_search(ax: Axes, results: Results, labels: Sequence[str], column: str) -> None:
    """A row per method: a point per seed at the end of the search, and their mean with its 95 % interval."""
    for place, label in enumerate(labels):
        values, style = analysis.by_seed(results.last, label, column), plots.look(label)
        jitter = np.linspace(-0.15, 0.15, len(values))
        ax.scatter(values, place + jitter, s=16, color=style["color"], marker=style["marker"], alpha=0.75)
        plots.interval(ax, analysis.estimate(values), place + 0.3)
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)


def main_table(results: Results) -> pd.DataFrame:
    """Methods by data sets: mean accuracy of the last cell with its interval and n, published numbers below."""
    ours = analysis.summary(results.last, list(NAMES)).assign(source="this run")
    return pd.concat([ours, NASBENCH201.assign(source="published: " + NASBENCH201["source"])], ignore_index=True)
