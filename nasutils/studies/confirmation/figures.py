"""The registered searches: what the last cell of each is worth, in one picture,
and how each arm does by every criterion.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nasutils.measures.estimates import Finding, binomial_test, central, estimate
from nasutils.measures.searches import (
    COLLAPSE,
    OF_SEARCHES,
    accuracy,
    beaten,
    best_minus_last,
    late_gain,
    median_cell,
)
from nasutils.report import plots
from nasutils.studies.confirmation.outcomes import Results
from nasutils.studies.confirmation.plan import Arm
from nasutils.studies.figures import CELL_LINES, Drawn, reference_lines
from nasutils.studies.readings import listed

CRITERIA = {
    "accuracy": accuracy,
    "best_minus_last": best_minus_last,
    "late_minus_early": late_gain,
}
"""Column of a table -> what it says of a search."""


def searched(parts: Sequence[Results], paper: str) -> pd.DataFrame:
    """A row per search: arm, seed, accuracy (%, CIFAR-10 test, tabulated) of the last cell;
    best_minus_last: of the best cell of any epoch minus that; late_minus_early: mean of the last
    ten epochs minus that of epochs 5 to 14 (points).

    Of the arms of searches that the paper's claims rest on, those that are complete: nobody looks
    at half an arm.
    """
    rows = []
    for results in parts:
        for arm in complete(results, paper):
            for seed in arm.seeds():
                records = results.searches[arm.name, seed].records
                measured = (measure(records) for measure in CRITERIA.values())
                rows.append((arm.name, seed, *measured))
    return pd.DataFrame(rows, columns=["arm", "seed", *CRITERIA])


def by_criterion(searches: pd.DataFrame) -> pd.DataFrame:
    """A row per arm of `searched`: what the registered tests judge a degradation, or its cure, by,
    and how its last cells compare with random ones.

    Medians (last_cell in %) with their intervals, and shares with Clopper and Pearson's:
    below_median, of last cells below the median of all cells; collapsed. beats_random: the
    probability that a last cell is better than one drawn blindly, mean and Student's t.
    """
    rows = []
    for arm, ends in searches.groupby("arm", sort=False):
        row: dict[str, Any] = {"arm": arm, "n": len(ends)}
        row |= central(ends["accuracy"]).columns("last_cell")
        row |= _share(ends["accuracy"] < median_cell()).columns("below_median")
        row |= _share(ends["accuracy"] < COLLAPSE).columns("collapsed")
        row |= estimate(beaten(ends["accuracy"])).columns("beats_random")
        for column in ("best_minus_last", "late_minus_early"):
            row |= central(ends[column]).columns(column)
        rows.append(row)
    return pd.DataFrame(rows)


def _share(which: pd.Series) -> Finding:
    return binomial_test([which.to_numpy()], 0.5)


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
    """A row per arm of `searched`: a point per search, the median and its interval."""
    by_arm = cells.groupby("arm", sort=False)["accuracy"]
    figure, ax = plots.panel(1.0 + 0.5 * by_arm.ngroups)
    low = cells["accuracy"].min() - 4
    reference_lines(ax.axvline, low)
    labels = []
    for place, (arm, accuracies) in enumerate(by_arm):
        values = np.sort(accuracies)
        # sorted, so equal cells make a slanted line instead of one point
        heights = place + np.linspace(0.36, -0.36, len(values))
        color = plots.look(str(arm))["color"]
        ax.scatter(values, heights, s=13, color=color, alpha=0.7, lw=0)
        plots.interval(ax, central(values), place)
        labels.append(f"{arm} ({len(values)})")
    plots.stretch(ax, "x", low)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlabel="test accuracy of the last cell (%)", ylim=(len(labels) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=len(CELL_LINES))
    plots.note(figure, "points: searches, sorted; black: median, 95 % interval")
    return figure, cells


def reading(arms: pd.DataFrame) -> str:
    """What `by_criterion` says, in words: which arms end in better, or worse, cells than a blind
    draw.
    """
    better = arms["beats_random_low"] > 0.5
    worse = arms["beats_random_high"] < 0.5
    groups = {
        "better than a cell drawn blindly": better,
        "worse": worse,
        "neither, as far as these searches tell": ~(better | worse),
    }
    names = "`" + arms["arm"] + "`"
    told = [f"{what}: {listed(names[of])}" for what, of in groups.items() if of.any()]
    return f"The last cells are, by arm, {'; '.join(told)} (95 % intervals)."
