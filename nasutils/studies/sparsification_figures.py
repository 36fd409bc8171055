"""Figures and tables of `notebooks/sparsification.ipynb`: functions of results that return figure and table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from nasutils import analysis, plots, schedules
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.studies.published import NASBENCH201
from nasutils.studies.sparsification import RANDOM_CELL, VARIANTS, Results

__all__ = ["EDGES", "OPS", "accuracy", "distributions", "final_cells", "gap", "gradients", "temperatures", "toy_edge"]

LOOK = plots.look(list(VARIANTS))
NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet16-120"}
RANGE = {"cifar10": (50, 96), "cifar100": (10, 76), "imagenet16-120": (10, 50)}
"""Test accuracies (%) that cells of interest reach, for the axes."""
OPTIMUM = {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
ALL_SKIP = {"cifar10": 54.30, "cifar100": 15.61, "imagenet16-120": 16.32}
Drawn = tuple[Figure, pd.DataFrame]


def toy_edge(scale: float = 1e-3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha ~ N(0, scale^2) and dL/dp ~ N(0, 1) of a cell, (6, 5) each, in float64."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    return scale * draw[0], draw[1]


def gradients() -> Drawn:
    """Size and direction of the alpha gradient against T, at the scale alpha starts with and a later one."""
    temperatures = np.logspace(0.5, -4.3, 97)
    tables = {}
    for scale, when in ((1e-3, "at the start (alpha ~ 0.001)"), (3e-2, "later (alpha ~ 0.03)")):
        tables[when] = analysis.gradient_profile(*toy_edge(scale), temperatures.tolist())
    figure, axes = plots.panels(2, 2, 2.0, sharex=True, sharey="row")
    for column, (when, table) in enumerate(tables.items()):
        for (name, rows), style in zip(table.groupby("softmax", sort=False), ("-", "--"), strict=True):
            seen = rows[rows["norm"] > 0]
            axes[0, column].loglog(seen["temperature"], seen["norm"], style, label=name)
            axes[1, column].semilogx(rows["temperature"], rows["cosine"], style)
        axes[0, column].set_title(when)
        axes[1, column].set_xlabel("temperature T")
    axes[0, 0].set(ylabel="gradient norm", ylim=(1e-4, None))
    axes[1, 0].set(ylabel="cosine to the\ngradient at T = 1")
    axes[0, 0].invert_xaxis()
    axes[0, 0].legend(title="softmax")
    return figure, pd.concat([t.assign(alpha=when) for when, t in tables.items()])


def temperatures(epochs: int) -> Drawn:
    """Temperature per epoch of every schedule, and exp(mu / T), what it does to a typical positive alpha."""
    state, edd = schedules.EDD(), []
    for epoch in range(epochs):
        if schedules.edd_due(epoch, 10):
            state = schedules.edd_update(state, epoch, 6 * np.log(5), 0.04)
        edd.append(state.temperature)
    curves = {
        "linear": [schedules.linear_temperature(e, 5) for e in range(epochs)],
        "PCD": [schedules.pcd_temperature(e, 0.11, 5) for e in range(epochs)],
        "EDD, open loop": edd,
    }
    table = pd.DataFrame({"epoch": range(epochs), **curves})
    figure, ((left, right),) = plots.panels(1, 2)
    for label, curve in curves.items():
        style = {k: v for k, v in LOOK[label].items() if k != "marker"}
        left.semilogy(table["epoch"], curve, label=label, **style)
        right.plot(table["epoch"], np.exp(schedules.MU / np.array(curve)), **style)
    left.set(xlabel="epoch", ylabel="temperature T")
    right.set(xlabel="epoch", ylabel="exp(E0 / T)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, table


def present(results: Results, labels: Sequence[str] = tuple(VARIANTS)) -> list[str]:
    """The variants that have been searched, in order: of these labels, or all if none of them has."""
    searched = [label for label in VARIANTS if label in set(results.last["method"])]
    return [label for label in labels if label in searched] or searched


def distributions(results: Results, shown: Sequence[str] = ("DARTS", "small T + noisy", "PCD", "EDD")) -> Drawn:
    """Mean mixing weight of each operation, and entropy of an edge, per epoch; means over edges and seeds."""
    rows = [
        {"method": label, "seed": seed, "epoch": r["epoch"], "entropy": r["entropy"]["cell"]}
        | dict(zip(OPS, np.mean(r["mix"]["cell"], axis=0), strict=True))
        for (label, seed), run in results.runs.items()
        for r in run.records
    ]
    table, shown = pd.DataFrame(rows), present(results, shown)
    figure, axes = plots.panels(2, len(shown), 2.2, sharex=True, sharey="row")
    ops = plots.look(OPS)
    for column, label in enumerate(shown):
        part = table[table["method"] == label]
        for op in OPS:
            plots.mean_band(axes[0, column], part, "epoch", op, label=op, **ops[op])
        plots.mean_band(axes[1, column], part, "epoch", "entropy", **LOOK[label])
        axes[1, column].axhline(np.log(len(OPS)), color="0.5", lw=0.8, ls=":")
        axes[0, column].set(title=label, ylim=(0, 0.8))
        axes[1, column].set(xlabel="epoch", ylim=(-0.05, 1.75))
    axes[0, 0].set_ylabel("mean mixing weight")
    axes[1, 0].set_ylabel("entropy per edge (nats)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(OPS))
    return figure, table


def gap(results: Results) -> Drawn:
    """Supernet accuracy relaxed and with one operation per edge, per epoch and method: the gap lies between."""
    labels = present(results)
    columns = min(len(labels), 4)
    figure, axes = plots.panels(-(-len(labels) // columns), columns, 2.2, sharex=True, sharey=True)
    top = results.epochs["relaxed"].max() + 10
    for ax, label in zip(axes.flat, labels, strict=False):
        rows = results.epochs[results.epochs["method"] == label]
        plots.mean_band(ax, rows, "epoch", "relaxed", label="relaxed", color="C0", marker="o")
        plots.mean_band(
            ax, rows, "epoch", "recalibrated", label="one operation per edge", color="C1", marker="s", ls="--"
        )
        ax.set(title=label, ylim=(0, top))
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, results.epochs[["method", "seed", "epoch", "relaxed", "discretized", "recalibrated", "gap"]]


def accuracy(results: Results, shown: Sequence[str] = ("DARTS", "small T + noisy", "PCD", "EDD")) -> Drawn:
    """Tabulated test accuracy of the current cell per epoch on the three data sets."""
    figure, (axes,) = plots.panels(1, 3, 2.7, sharex=True)
    for ax, (column, name) in zip(axes, NAMES.items(), strict=True):
        for label in present(results, shown):
            rows = results.epochs[results.epochs["method"] == label]
            plots.mean_band(ax, rows, "epoch", column, label=label, **LOOK[label])
        ax.axhline(OPTIMUM[column], color="0.3", lw=0.9, ls="--", label="optimum of the space")
        ax.axhline(ALL_SKIP[column], color="0.3", lw=0.9, ls=":", label="cell of skips only")
        ax.set(title=name, xlabel="epoch", ylim=RANGE[column])
    axes[0].set_ylabel("test accuracy of the cell (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, results.epochs[["method", "seed", "epoch", "genotype", *NAMES]]


def final_cells(results: Results) -> Drawn:
    """Every search's last cell on CIFAR-10: a point per seed, mean and 95 % interval per method."""
    labels = present(results)
    figure, ((ax,),) = plots.panels(1, 1, 2.8)
    for place, label in enumerate(labels):
        values = analysis.by_seed(results.last, label, "cifar10")
        e = analysis.estimate(values)
        jitter = np.linspace(-0.15, 0.15, len(values))
        style = LOOK[label]
        ax.scatter(values, place + jitter, s=16, color=style["color"], marker=style["marker"], alpha=0.75)
        half = 0 if np.isnan(e.low) else e.mean - e.low
        ax.errorbar(e.mean, place + 0.3, xerr=half, fmt="|", color="0.15", capsize=3, ms=9)
    ax.axvline(RANDOM_CELL, color="0.4", ls="--", lw=0.9)
    ax.text(RANDOM_CELL, -0.75, "mean of all cells ", ha="right", va="center", fontsize="small", color="0.3")
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlabel="CIFAR-10 test accuracy of the last cell (%)", ylim=(len(labels) - 0.4, -1.1), xlim=RANGE["cifar10"])
    return figure, results.last[["method", "seed", "genotype", *NAMES]]


def main_table(results: Results) -> pd.DataFrame:
    """Methods by data sets: mean accuracy of the last cell with its interval and n, published numbers below."""
    ours = analysis.summary(results.last, list(NAMES)).assign(source="this run")
    return pd.concat([ours, NASBENCH201.assign(source="published: " + NASBENCH201["source"])], ignore_index=True)


def ablation(results: Results) -> pd.DataFrame:
    """Each ingredient on against off, paired over seeds: accuracy of the last cell and gap, both in points."""
    pairs = [
        ("sparse-noisy gradient", "small T + noisy", "small T"),
        ("exponential against linear schedule", "PCD", "linear"),
        ("adaptive against fixed decay", "EDD", "EDD, open loop"),
        ("periodic schedule against constant T", "PCD", "small T + noisy"),
        ("small T against none", "small T", "DARTS"),
    ]
    rows = []
    for what, first, second in pairs:
        row: dict[str, object] = {"ingredient": what, "with": first, "without": second}
        for column in ("cifar10", "gap"):
            e = analysis.paired(results.last, first, second, column)
            row |= {column: e.mean, f"{column}_low": e.low, f"{column}_high": e.high, "n": e.n}
        rows.append(row)
    return pd.DataFrame(rows)


def cost(results: Results) -> pd.DataFrame:
    """Minutes per search and speed at its end: skipped operations make sparse searches fast."""
    rows = [
        {
            "method": label,
            "minutes": sum(r["cost"]["seconds"] for r in run.records) / 60,
            "images_per_second_at_the_end": np.median([r["cost"]["samples_per_second"] for r in run.records[-10:]]),
        }
        for (label, _), run in results.runs.items()
    ]
    return pd.DataFrame(rows).groupby("method", sort=False).mean().reset_index()
