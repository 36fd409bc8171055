"""Figures of our own twelve methods at a small scale, which show what the machine does."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nasutils.measures import ranking
from nasutils.measures.estimates import Estimate
from nasutils.report import drawing, plots
from nasutils.spaces.genotype import Genotype
from nasutils.studies.figures import DATASET_TITLES, Drawn
from nasutils.studies.lhd_benchmark.figures import (
    SEARCHED,
    draw_cliques,
    draw_difference,
    marked,
)
from nasutils.studies.lhd_benchmark.results import Results
from nasutils.studies.lhd_benchmark.tables import (
    budget_ranks,
    condition_ranks,
    proxy_agreement,
    proxy_pairs,
    rank_table,
)


def found_cell(results: Results, method: str) -> Drawn:
    """The cells that the first search of a method gives under `base`."""
    table = results.own.query("method == @method and policy == 'base'").head(1)
    figure = drawing.genotype_figure({method: Genotype.parse(table["genotype"].item())})
    return figure, table[["method", "searched", "seed", "genotype"]]


def budgets(results: Results) -> Drawn:
    """Rank of each method on each data set, `base`:
    under the first budget (left) and under the others.
    """
    table = budget_ranks(results)
    methods, datasets = len(results.methods), len(results.datasets)
    figure, (axes,) = plots.panels(1, datasets, 0.9 + 0.19 * methods, sharey=True)
    for ax, dataset in zip(axes, results.datasets, strict=True):
        part = table[table["dataset"] == dataset]
        ranks = part.pivot(index="method", columns="budget", values="rank")
        _draw_budgets(ax, ranks[results.budgets], results.methods)
        ax.set_title(DATASET_TITLES[dataset])
    axes[0].set(ylabel="rank (1: best)", ylim=(methods + 0.5, 0.5))
    axes[0].set_yticks(range(1, methods + 1))
    plots.note(figure, "ranks of means over searches; thick: moved by three places or more")
    return figure, table


def _draw_budgets(ax: Axes, ranks: pd.DataFrame, methods: Sequence[str]) -> None:
    """A panel of budgets, side by side. ranks: methods by budgets; methods: in their order."""
    budgets = list(ranks)
    _draw_moves(ax, ranks.loc[list(methods)])
    _name_ends(ax, ranks[budgets[-1]], len(budgets) - 1)
    ax.set_xticks(range(len(budgets)), [f"{budget} budget" for budget in budgets])
    ax.set_xlim(-0.1, len(budgets) - 0.5)
    ax.grid(visible=False)


def _draw_moves(ax: Axes, ranks: pd.DataFrame) -> None:
    """A line per method over the budgets. ranks: methods by budgets."""
    for method, places in ranks.iterrows():
        moved = places.max() - places.min() >= 3
        width = 1.6 if moved else 0.7
        ax.plot(range(len(places)), places, ms=5, lw=width, clip_on=False, **marked(str(method)))


def _name_ends(ax: Axes, ranks: pd.Series, x: float) -> None:
    """Name the lines that end at x, one below the other though ranks may be equal."""
    for place, (method, rank) in enumerate(ranks.dropna().sort_values().items(), 1):
        ax.plot([x + 0.03, x + 0.09], [rank, place], color="0.6", lw=0.6)
        ax.text(x + 0.1, place, str(method), fontsize="x-small", va="center")


def proxy(results: Results) -> Drawn:
    """Cells trained as the benchmark does against the same cells trained longer."""
    table = proxy_pairs(results)
    tau = proxy_agreement(results).iloc[0]
    found = Estimate(tau["value"], tau["value_low"], tau["value_high"], int(tau["n"]))
    figure, ax = plots.plt.subplots(figsize=(plots.WIDTH * 0.75, 2.9))
    for row in table.itertuples():
        ax.plot(row.accuracy, row.longer, ls="", ms=6, label=row.method, **marked(row.method))
    ax.set(
        title=f"Kendall's tau {found}",
        xlabel="test accuracy, training of the benchmark (%)",
        ylabel="the same cells,\ntrained longer (%)",
    )
    figure.legend(loc="outside right center", fontsize="x-small")
    return figure, table


def ranks(results: Results) -> Drawn:
    """Average rank of each method over the complete conditions, and its rank in each of them, by
    data set.

    Bars on the right join methods that are not told apart, by the permutation's critical
    difference, which is drawn above.
    """
    table, chance = rank_table(results)
    figure, ax = plots.panel(1.2 + 0.2 * len(table))
    _draw_conditions(ax, condition_ranks(results), list(table["method"]))
    ax.plot(table["rank"], table.index, "|", ms=13, mew=2, color="0.1", label="average")
    _critical(ax, table["rank"].tolist(), chance["difference"])
    ax.set_yticks(range(len(table)), table["method"])
    # Over the first row: the critical difference.
    ax.set(ylim=(len(table) - 0.4, -2.3), xlim=(0.5, len(table) + 0.5))
    ax.set_xlabel(f"rank in {chance['conditions']} conditions (1: best)")
    figure.legend(loc="outside upper center", ncols=3)
    plots.note(figure, "bars on the right join methods that are not told apart by average rank")
    return figure, table


def _draw_conditions(ax: Axes, placed: pd.DataFrame, methods: Sequence[str]) -> None:
    """A row per method: a mark per condition, those of a data set a little below each other.

    placed: see `condition_ranks`.
    """
    for dataset, part in placed.groupby("dataset", sort=False):
        policies = part["policy"].unique()
        offsets = dict(zip(policies, np.linspace(-0.18, 0.18, len(policies)), strict=True))
        heights = part["method"].map(methods.index) + part["policy"].map(offsets)
        color, marker = SEARCHED[str(dataset)]
        label = f"{DATASET_TITLES[str(dataset)]}, four policies"
        ax.plot(part["rank"], heights, marker, color=color, ms=3, alpha=0.7, label=label)


def _critical(ax: Axes, average: Sequence[float], difference: float) -> None:
    if np.isnan(difference):
        return
    draw_difference(ax, 1, difference, -1.1)
    ax.text(1, -1.3, f"critical difference {difference:.2f}", fontsize="small", va="bottom")
    draw_cliques(ax, ranking.cliques(average, difference))
