"""The registered searches: what the last cell of each is worth, in one picture,
and how each arm does by every criterion.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nasutils.measures import tables
from nasutils.measures.estimates import binomial_test
from nasutils.measures.searches import (
    OF_SEARCHES,
    accuracy,
    best_minus_last,
    degraded,
    late_gain,
    median_cell,
)
from nasutils.report import plots
from nasutils.studies.confirmation.outcomes import Results
from nasutils.studies.confirmation.plan import Arm
from nasutils.studies.figures import CELL_LINES, Drawn

CRITERIA = {
    "last_cell": accuracy,
    "best_minus_last": best_minus_last,
    "late_minus_early": late_gain,
}
"""Column of a table -> what it says of a search."""


def last_cells(parts: Sequence[Results], paper: str) -> pd.DataFrame:
    """A row per search: arm, seed, tabulated CIFAR-10 test accuracy (%) of the last cell.

    Of the arms of searches that the paper's claims rest on, those that are complete: nobody looks
    at half an arm.
    """
    rows = []
    for results in parts:
        for arm in complete(results, paper):
            for seed in arm.seeds():
                search = results.searches[arm.name, seed]
                rows.append((arm.name, seed, accuracy(search.records)))
    return pd.DataFrame(rows, columns=["arm", "seed", "accuracy"])


def by_criterion(parts: Sequence[Results], paper: str) -> pd.DataFrame:
    """A row per complete arm: what the registered tests judge a degradation, or its cure, by.

    Medians with their intervals: last_cell (%), best_minus_last, late_minus_early (the cells of
    the last ten epochs minus those of epochs 5 to 14, points). below_median: the share of the last
    cells below the median cell, with Clopper and Pearson's interval.
    """
    rows = []
    for results in parts:
        for arm in complete(results, paper):
            searched = [results.searches[arm.name, seed].records for seed in arm.seeds()]
            row: dict[str, Any] = {"arm": arm.name, "n": len(searched)}
            for column, measure in CRITERIA.items():
                values = [measure(records) for records in searched]
                row |= tables.central(values).columns(column)
            below = np.array([degraded(records) for records in searched])
            rows.append(row | binomial_test([below], 0.5).columns("below_median"))
    return pd.DataFrame(rows)


def complete(results: Results, paper: str) -> Iterator[Arm]:
    """The arms of searches that the tests of a paper rest on and of which no run is missing, but
    for those that an earlier part of the plan has.
    """
    tested: set[str] = set()
    for claim in results.study.claims.get(paper, ()):
        for hypothesis in claim.tests:
            if hypothesis.of in OF_SEARCHES:
                tested.update(*hypothesis.groups())
    for arm in results.study.arms:
        if isinstance(arm, Arm) and arm.name in tested and not arm.registered:
            searches = {(arm.name, seed) for seed in arm.seeds()}
            if searches <= results.searches.keys():
                yield arm


def strips(cells: pd.DataFrame) -> Drawn:
    """A row per arm of `last_cells`: a point per search, the median and its interval."""
    by_arm = cells.groupby("arm", sort=False)["accuracy"]
    figure, ax = plots.panel(1.0 + 0.5 * by_arm.ngroups)
    low = cells["accuracy"].min() - 4
    for name, (value, line) in CELL_LINES.items():
        if value > low:
            ax.axvline(value, color="0.25", lw=0.9, ls=line, label=name)
    labels = []
    for place, (arm, accuracies) in enumerate(by_arm):
        values = np.sort(accuracies)
        # sorted, so equal cells make a slanted line instead of one point
        heights = place + np.linspace(0.36, -0.36, len(values))
        color = plots.look(str(arm))["color"]
        ax.scatter(values, heights, s=13, color=color, alpha=0.7, lw=0)
        plots.interval(ax, tables.central(values), place)
        labels.append(f"{arm} ({len(values)})")
    plots.stretch(ax, "x", low)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlabel="test accuracy of the last cell (%)", ylim=(len(labels) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=len(CELL_LINES))
    plots.note(figure, "points: searches, sorted; black: median, 95 % interval")
    return figure, cells


def reading(cells: pd.DataFrame) -> str:
    """Of each arm of `last_cells`, in words: the median, the share below the median cell."""
    told = []
    for arm, values in cells.groupby("arm", sort=False)["accuracy"]:
        below = 100 * (values < median_cell()).mean()
        told.append(f"{arm}: median {values.median():.1f} %, {below:.0f} % below the median cell")
    return f"{'; '.join(told)}. A cell drawn blindly is below it with probability 1/2."
