"""The registered searches in one picture: what the last cell of each is worth."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from nasutils.measures import tables
from nasutils.measures.searches import OF_SEARCHES, accuracy, median_cell
from nasutils.report import plots
from nasutils.studies.confirmation.outcomes import Results
from nasutils.studies.confirmation.plan import Arm
from nasutils.studies.figures import CELL_LINES, Drawn


def last_cells(parts: Sequence[Results], paper: str) -> pd.DataFrame:
    """A row per search: arm, seed, tabulated CIFAR-10 test accuracy (%) of the last cell.

    Of the arms of searches that the paper's claims rest on, those that are complete: nobody looks
    at half an arm.
    """
    rows = [
        {
            "arm": arm.name,
            "seed": seed,
            "accuracy": accuracy(results.searches[arm.name, seed].records),
        }
        for results in parts
        for arm in complete(results, paper)
        for seed in arm.seeds()
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "accuracy"])


def complete(results: Results, paper: str) -> Iterator[Arm]:
    """The arms of searches that the tests of a paper rest on and of which no run is missing."""
    tests = [h for claim in results.study.claims.get(paper, ()) for h in claim.tests]
    groups = [group for h in tests if h.of in OF_SEARCHES for group in h.groups()]
    arms = [arm for arm in results.study.arms if isinstance(arm, Arm)]
    for arm in arms:
        taken = any(arm.name in group for group in groups)
        if taken and all((arm.name, seed) in results.searches for seed in arm.seeds()):
            yield arm


def strips(cells: pd.DataFrame) -> Drawn:
    """A row per arm of `last_cells`: a point per search, the median and its interval."""
    arms = list(cells["arm"].unique())
    figure, ((ax,),) = plots.panels(1, 1, 1.0 + 0.5 * len(arms))
    low = cells["accuracy"].min() - 4
    for name, (value, line) in CELL_LINES.items():
        if value > low:
            ax.axvline(value, color="0.25", lw=0.9, ls=line, label=name)
    for place, arm in enumerate(arms):
        values = np.sort(cells.loc[cells["arm"] == arm, "accuracy"])
        # sorted, so equal cells make a slanted line instead of one point
        heights = place + np.linspace(0.36, -0.36, len(values))
        ax.scatter(values, heights, s=13, color=plots.look(arm)["color"], alpha=0.7, lw=0)
        plots.interval(ax, tables.central(values), place)
    plots.stretch(ax, "x", low)
    labels = [f"{arm} ({(cells['arm'] == arm).sum()})" for arm in arms]
    ax.set_yticks(range(len(arms)), labels)
    ax.set(xlabel="test accuracy of the last cell (%)", ylim=(len(arms) - 0.5, -0.5))
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
