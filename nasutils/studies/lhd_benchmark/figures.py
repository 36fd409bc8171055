"""Figures of `notebooks/lhd_benchmark.ipynb`:
functions of results that return figure and table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyArrowPatch

from nasutils.measures import ranking
from nasutils.measures import tables as analysis
from nasutils.report import drawing, plots
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.lhd_cells import EDGES, NODES
from nasutils.studies.figures import Drawn
from nasutils.studies.lhd_benchmark import architectures as lhd_architectures
from nasutils.studies.lhd_benchmark.results import SPACES, Results
from nasutils.studies.lhd_benchmark.tables import (
    agreement_matrix,
    budget_ranks,
    main_table,
    proxy_pairs,
    rank_table,
    transfer_table,
)
from nasutils.studies.lhd_benchmark.variants import METHODS, POLICY_NAMES

NAMES = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}


OUTPUTS = {"sum": "C0", "concat": "C1"}


def _marked(method: str) -> dict[str, Any]:
    """Colour and marker of a method; no two of the twelve have the same marker."""
    return {name: value for name, value in plots.look(method).items() if name != "linestyle"}


def spread(results: Results) -> Drawn:
    """Test accuracy of random networks of both spaces:
    a dot per network, its evaluation seeds joined by a line.
    """
    table = results.kind("random")[["method", "seed", "eval_seed", "accuracy", "params"]]
    figure, ((ax,),) = plots.panels(1, 1, 2.0)
    for place, (space, name) in enumerate(SPACES.items()):
        scores = results.drawn(space)
        heights = place + np.linspace(-0.25, 0.25, len(scores))
        style = {"color": f"C{place}", "marker": "os"[place]}
        for y, row in zip(heights, scores, strict=True):
            ax.plot([row.min(), row.max()], [y, y], color="0.6", lw=0.8, zorder=1)
        ax.scatter(ranking.mean(scores), heights, s=16, zorder=2, label=name, **style)
        e = analysis.estimate(ranking.mean(scores))
        plots.interval(ax, e, place + 0.38)
    ax.set_yticks(range(len(SPACES)), list(SPACES.values()))
    ax.set(xlabel="test accuracy of random networks (%)", ylim=(len(SPACES) - 0.4, -0.5))
    return figure, table


def sketch() -> Drawn:
    """An LHD cell during a search: its edges, and its two outputs."""
    figure, ((ax,),) = plots.panels(1, 1, 2.7)
    places = {0: (0.0, 0.7), 1: (0.0, -0.7)} | {2 + i: (1.5 + 1.4 * i, 0.0) for i in range(NODES)}
    for source, target in EDGES:
        bend = (
            (0.28 if source == 0 else -0.28)
            if source < 2
            else (0.3 if (source + target) % 2 else -0.3)
        )
        _arrow(
            ax,
            places[source],
            places[target],
            -bend if target > source + 1 or source < 2 else 0,
            "0.65",
            0.9,
        )
    end = 1.5 + 1.4 * NODES
    for i in range(NODES):
        x = places[2 + i][0]
        for (name, color), side in zip(OUTPUTS.items(), (1, -1), strict=True):
            style = "-" if name == "sum" else (0, (3, 1.4))
            ax.plot([x, x], [0.24 * side, 1.75 * side], color=color, ls=style, lw=1.2, zorder=1)
            weight = rf"$\beta_{i}$" if name == "sum" else rf"$\gamma_{i}$"
            ax.text(x + 0.08, 1.5 * side, weight, color=color, va="center", fontsize="small")
        ax.text(x, 0, f"$z_{i}$", ha="center", va="center", fontsize="small", zorder=4)
    for (name, color), side in zip(OUTPUTS.items(), (1, -1), strict=True):
        style = "-" if name == "sum" else (0, (3, 1.4))
        ax.plot([places[2][0], end - 0.2], [1.75 * side] * 2, color=color, ls=style, lw=1.6)
        text = (
            r"sum: $\sum_i \beta_i z_i$, C channels"
            if name == "sum"
            else r"concat of $\gamma_i z_i$, 5C channels"
        )
        ax.text(end - 0.1, 1.75 * side, text, color=color, va="center", fontsize="small")
    for node, (x, y) in places.items():
        ax.scatter(
            x,
            y,
            s=260,
            facecolor="0.9" if node < 2 else "white",
            edgecolor="0.2",
            lw=0.9,
            zorder=3,
        )
    for node, text in ((0, "sum of the\ncell before"), (1, "concat of the\ncell before")):
        ax.text(-0.3, places[node][1], text, ha="right", va="center", fontsize="small")
    ax.set(xlim=(-2.1, end + 2.7), ylim=(-2.05, 2.05))
    ax.set_axis_off()
    return figure, pd.DataFrame(EDGES, columns=["source", "target"])


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    bend: float,
    color: str,
    lw: float,
) -> None:
    arc = f"arc3,rad={bend}"
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=arc,
        arrowstyle="-|>",
        mutation_scale=7,
        color=color,
        lw=lw,
        shrinkA=8,
        shrinkB=8,
    )
    ax.add_patch(arrow)


def found_cell(results: Results, method: str) -> Drawn:
    """The cells that the first search of a method gives under `base`."""
    table = results.own.query("method == @method and policy == 'base'").head(1)
    figure = drawing.genotype_figure({method: Genotype.parse(table["genotype"].item())})
    return figure, table[["method", "searched", "seed", "genotype"]]


def trials(results: Results) -> Drawn:
    """A dot per search, mean and interval per method:
    a panel per condition, data sets down, policies across.
    """
    scores, table = results.scores(), main_table(results)
    height = 0.7 + 0.14 * len(results.methods)
    figure, axes = plots.panels(
        len(results.datasets), len(POLICY_NAMES), height, sharex="row", sharey=True
    )
    for (d, p), ax in np.ndenumerate(axes):
        for place, method in enumerate(results.methods):
            ax.plot(
                scores[place, d, p],
                [place - 0.12] * scores.shape[-1],
                ls="",
                ms=3.5,
                mew=0.8,
                **_marked(method),
            )
            plots.interval(ax, analysis.estimate(scores[place, d, p]), place + 0.25)
        ax.set_title(f"{NAMES[results.datasets[d]]}, {POLICY_NAMES[p]}")
        ax.grid(axis="y", lw=0.3)
        if d == len(results.datasets) - 1:
            ax.set_xlabel("test accuracy (%)")
    for d, ax in enumerate(axes[:, 0]):  # long intervals of few seeds are cut off
        low, high = np.nanmin(scores[:, d]), np.nanmax(scores[:, d])
        ax.set_xlim(low - 0.4 * (high - low) - 0.5, high + 0.4 * (high - low) + 0.5)
    axes[0, 0].set_yticks(range(len(results.methods)), results.methods, fontsize="small")
    axes[0, 0].set_ylim(len(results.methods) - 0.4, -0.6)
    return figure, table


def rank_heatmap(results: Results) -> Drawn:
    """Rank of each method in each condition;
    data sets whose images were not there are empty columns.
    """
    means = results.by_condition()
    table = pd.DataFrame(ranking.ranks(means.T).T, index=results.methods, columns=_labels(results))
    for dataset in results.missing:
        for policy in POLICY_NAMES:
            table[f"{NAMES[dataset]}\n{policy}"] = np.nan
    figure, ((ax,),) = plots.panels(1, 1, 0.9 + 0.24 * len(results.methods))
    image = _field(ax, table, "cividis_r", 1, max(len(results.methods), 2), "{:g}")
    for i, dataset in enumerate(results.missing):
        x = len(results.conditions) + len(POLICY_NAMES) * (i + 0.5) - 0.5
        text = f"{NAMES[dataset]}:\nimages not at hand"
        ax.text(
            x,
            len(results.methods) / 2 - 0.5,
            text,
            ha="center",
            va="center",
            fontsize="small",
            color="0.4",
        )
    ax.tick_params(axis="x", labelsize="x-small")
    figure.colorbar(image, label="rank (1: highest mean accuracy)")
    return figure, table.rename_axis("method").rename(
        columns=lambda c: c.replace("\n", " ")
    ).reset_index()


def _labels(results: Results) -> list[str]:
    return [f"{NAMES[dataset]}\n{policy}" for dataset, policy in results.conditions]


def _field(
    ax: Axes, table: pd.DataFrame, cmap: str, low: float, high: float, form: str
) -> AxesImage:
    """A heat map with its numbers in it."""
    image = ax.imshow(table.to_numpy(dtype=float), cmap=cmap, vmin=low, vmax=high, aspect="auto")
    for (y, x), value in np.ndenumerate(table.to_numpy(dtype=float)):
        if not np.isnan(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            color = "w" if dark else "0.1"
            ax.text(
                x, y, form.format(value), ha="center", va="center", fontsize="x-small", color=color
            )
    ax.set_xticks(range(table.shape[1]), [str(c) for c in table.columns])
    ax.set_yticks(range(table.shape[0]), [str(i) for i in table.index])
    ax.grid(False)
    return image


def agreement(results: Results) -> Drawn:
    """Kendall's tau between the rankings of every two conditions;
    the table has the intervals (resampled seeds).
    """
    matrix = agreement_matrix(results.by_condition())
    resampled = ranking.resampled(results.scores())
    draws = agreement_matrix(resampled.reshape(*resampled.shape[:2], -1))
    labels = _labels(results)
    figure, ((ax,),) = plots.panels(1, 1, 1.4 + 0.27 * len(labels))
    square = pd.DataFrame(
        matrix, index=[label.replace("\n", ", ") for label in labels], columns=labels
    )
    image = _field(ax, square, "PuOr_r", -1, 1, "{:.2f}")
    ax.tick_params(axis="x", labelsize="x-small")
    figure.colorbar(image, label="Kendall's tau")
    rows = []
    for i, j in zip(*np.triu_indices(len(labels), 1), strict=True):
        e = ranking.interval(matrix[i, j], draws[:, i, j], len(results.seeds))
        (a, b), (c, d) = results.conditions[i], results.conditions[j]
        row = {"dataset": a, "policy": b, "other_dataset": c, "other_policy": d}
        rows.append(row | {"tau": e.mean, "tau_low": e.low, "tau_high": e.high, "n": e.n})
    return figure, pd.DataFrame(rows)


def critical(results: Results) -> Drawn:
    """Critical-difference diagram: average ranks, intervals over seeds in grey.

    Vertical bars on the right join methods that Nemenyi's test does not tell apart.
    """
    table, test = rank_table(results)
    table = table.dropna(subset=["rank"]).reset_index(drop=True)
    groups = ranking.cliques(table["rank"].tolist(), test["difference"])
    figure, ((ax,),) = plots.panels(1, 1, 1.2 + 0.17 * len(table))
    for y, row in table.iterrows():
        ax.plot(
            [row["rank_low"], row["rank_high"]],
            [y, y],
            color="0.75",
            lw=3,
            solid_capstyle="butt",
            zorder=1,
        )
        ax.plot(row["rank"], y, ms=6, ls="", zorder=3, **_marked(row["method"]))
    edge = max(len(results.methods), table["rank_high"].max(), 1 + test["difference"])
    for i, (first, last) in enumerate(groups):
        ax.plot(
            [edge + 0.3 * (i + 1)] * 2,
            [first - 0.25, last + 0.25],
            color="0.15",
            lw=2.2,
            solid_capstyle="butt",
        )
    ax.plot([1, 1 + test["difference"]], [-1.2, -1.2], color="0.15", lw=1.2, marker="|", ms=7)
    ax.text(
        1, -1.4, f"critical difference {test['difference']:.2f}", fontsize="small", va="bottom"
    )
    ax.set_yticks(range(len(table)), table["method"])
    ax.set(ylim=(len(table) - 0.4, -2.3), xlim=(0.6, edge + 0.3 * (len(groups) + 1)))
    ax.set_xlabel(f"average rank over {test['conditions']} conditions (1: best)")
    return figure, table


def budgets(results: Results) -> Drawn:
    """Rank of each method on each data set, `base`:
    under the first budget (left) and under the others.
    """
    table = budget_ranks(results)
    figure, (axes,) = plots.panels(
        1, len(results.datasets), 0.9 + 0.19 * len(results.methods), sharey=True
    )
    for ax, dataset in zip(axes, results.datasets, strict=True):
        square = table[table["dataset"] == dataset].pivot(
            index="method", columns="budget", values="rank"
        )
        square = square[results.budgets]
        for method in results.methods:
            style = _marked(method)
            moved = square.loc[method].max() - square.loc[method].min() >= 3
            ax.plot(
                range(square.shape[1]),
                square.loc[method],
                ms=5,
                lw=1.6 if moved else 0.7,
                clip_on=False,
                **style,
            )
        for i, method in enumerate(square[results.budgets[-1]].dropna().sort_values().index):
            ends = (
                [square.shape[1] - 0.97, square.shape[1] - 0.91],
                [square.loc[method, results.budgets[-1]], i + 1],
            )
            ax.plot(*ends, color="0.6", lw=0.6)
            ax.text(square.shape[1] - 0.9, i + 1, method, fontsize="x-small", va="center")
        ax.set_xticks(range(square.shape[1]), [f"{b} budget" for b in results.budgets])
        ax.set(title=NAMES[dataset], xlim=(-0.1, square.shape[1] - 0.5))
        ax.grid(axis="x", visible=False)
    axes[0].set(ylabel="rank (1: best)", ylim=(len(results.methods) + 0.5, 0.5))
    return figure, table


def transfer(results: Results) -> Drawn:
    """What a cell loses for having been searched on another data set, per method;
    none with one data set.
    """
    table = transfer_table(results)
    targets = [d for d in results.datasets if d in set(table["target"])]
    figure, (axes,) = plots.panels(
        1, max(len(targets), 1), 0.9 + 0.17 * len(results.methods), sharey=True
    )
    for ax, target in zip(axes, targets, strict=False):
        part = table[table["target"] == target]
        for k, (source, rows) in enumerate(part.groupby("searched", sort=False)):
            for row in rows.itertuples():
                e = analysis.Estimate(row.loss, row.loss_low, row.loss_high, row.n)
                y = results.methods.index(row.method) + 0.25 * k
                plots.interval(ax, e, y)
                ax.plot(
                    e.mean,
                    y,
                    "os"[k % 2],
                    color=f"C{k}",
                    ms=4,
                    label=f"searched on {NAMES[source]}",
                )
        handles, labels = ax.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        ax.legend(unique.values(), unique.keys(), fontsize="x-small", loc="lower right")
        ax.axvline(0, color="0.3", lw=0.9, ls="--")
        ax.set(
            title=f"evaluated on {NAMES[target]}", xlabel="loss against a search there (points)"
        )
    axes[0].set_yticks(range(len(results.methods)), results.methods)
    # room for the legend
    axes[0].set_ylim(len(results.methods) + 0.4 * max(len(targets), 1), -0.6)
    return figure, table


def proxy(results: Results) -> Drawn:
    """Cells trained as the benchmark does against the same cells trained longer."""
    table = proxy_pairs(results)
    figure, ax = plots.plt.subplots(figsize=(plots.WIDTH * 0.75, 2.9))
    for row in table.itertuples():
        ax.plot(row.accuracy, row.longer, ls="", ms=6, label=row.method, **_marked(row.method))
    ax.set(
        xlabel="test accuracy, training of the benchmark (%)",
        ylabel="the same cells,\ntrained longer (%)",
    )
    figure.legend(loc="outside right center", fontsize="x-small")
    return figure, table


def released() -> Drawn:
    """The released architectures: parameters, skips and entropy by method;
    a mark per data set, mean of 5 trials.
    """
    table = lhd_architectures.statistics()
    names = {value: label for label, value in METHODS.items()}
    order = [m for m in METHODS.values() if m in set(table["method"])]
    columns = {
        "params_base": "parameters, base (M)",
        "skips": "skips in the normal cell",
        "entropy": "entropy of a node's weights\n(1: uniform)",
    }
    figure, (axes,) = plots.panels(1, 3, 0.9 + 0.2 * len(order), sharey=True)
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for k, (dataset, rows) in enumerate(table.groupby("dataset", sort=False)):
            places = [order.index(m) + 0.2 * (k - 1) for m in rows["method"]]
            errors = rows["params_base_sd"] if column == "params_base" else None
            ax.errorbar(
                rows[column],
                places,
                xerr=errors,
                fmt="osD"[k],
                color=f"C{k}",
                ms=4,
                lw=0.9,
                label=NAMES[str(dataset)],
            )
        ax.set_xlabel(label)
    axes[0].set_yticks(range(len(order)), [names[m] for m in order])
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, table


def ranking_of(results: Results, conditions: Sequence[str]) -> Figure:
    """Average rank over some conditions (`data set, policy`) beside that over all,
    for the widget.
    """
    labels = [f"{d}, {p}" for d, p in results.conditions]
    placed = ranking.ranks(results.by_condition().T)
    selected = np.isin(labels, list(conditions))
    everywhere, here = ranking.mean(placed.T), ranking.mean(placed[selected].T)
    order = np.argsort(here, kind="stable")
    figure, ((ax,),) = plots.panels(1, 1, 0.8 + 0.2 * len(order))
    for y, m in enumerate(order):
        ax.plot([everywhere[m], here[m]], [y, y], color="0.7", lw=1, zorder=1)
        ax.plot(here[m], y, ms=6, ls="", **_marked(results.methods[m]))
    ax.scatter(
        everywhere[order],
        range(len(order)),
        marker="|",
        s=60,
        color="0.3",
        zorder=2,
        label="all conditions",
    )
    ax.set_yticks(range(len(order)), [results.methods[m] for m in order])
    ax.set(
        xlabel=f"average rank over {selected.sum()} of {len(labels)} conditions",
        ylim=(len(order) - 0.4, -0.6),
    )
    ax.legend(loc="lower right", fontsize="small")
    return figure
