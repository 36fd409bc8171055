"""What the runs of the three comparisons say: tables, sentences, a figure.

Intervals and tests are of the kinds that the confirmatory study has (`measures.estimates`);
nothing here was fixed before the runs.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nasutils.measures import estimates, searches
from nasutils.report import plots
from nasutils.spaces.base import SKIP
from nasutils.spaces.genotype import Genotype
from nasutils.studies.figures import Drawn
from nasutils.studies.readings import counted
from nasutils.studies.rivals.tasks import Key, Runs

MOST_SKIPS = 2
"""Skip connections of the limited cell, see `tasks.cured`."""

# From runs to numbers


def selected_cells(searched: Runs, selected: Runs) -> pd.DataFrame:
    """Tabulated accuracy of the cell that argmax reads off each supernet, and of those that are
    selected from it."""
    argmax = {("argmax", seed): run for (_, seed), run in searched.items()}
    return tabulated({**argmax, **selected})


def tabulated(runs: Runs) -> pd.DataFrame:
    """Test accuracy (%, CIFAR-10) of the cell of every finished run, as tabulated by
    NAS-Bench-201: seeds by labels."""
    return _of_results(runs, lambda result: searches.cell_accuracy(result["genotype"]))


def tested(finals: Runs) -> pd.DataFrame:
    """Test accuracy (%) of every finished network: seeds by labels."""
    return _of_results(finals, lambda result: result["test_accuracy"])


def _of_results(runs: Runs, of: Callable[[Mapping[str, Any]], float]) -> pd.DataFrame:
    """A number of the result of every finished run: seeds by labels."""
    found = {}
    for key, run in runs.items():
        if result := run.sound_result:
            found[key] = of(result)
    return _by_seed(found)


def skips(found: Mapping[Key, str]) -> pd.DataFrame:
    """Skip connections in the normal cell: seeds by labels."""
    counts = {}
    for key, cell in found.items():
        normal, *_ = Genotype.parse(cell).cells
        counts[key] = normal.ops.count(SKIP)
    return _by_seed(counts)


def _by_seed(values: Mapping[Key, float]) -> pd.DataFrame:
    rows = [(*key, value) for key, value in values.items()]
    table = pd.DataFrame(rows, columns=["method", "seed", "value"])
    labels = list(dict.fromkeys(table["method"]))
    return table.pivot(index="seed", columns="method", values="value")[labels]


# What they say


def comparison(accuracy: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row per label: the median accuracy (%), and that of the differences to the reference, seed
    by seed (points).

    Intervals of order statistics (`estimates.median_only`). n: searches that have both. better,
    equal: how many of them end above the reference, and at the same accuracy.
    """
    rows = []
    for label in accuracy.columns:
        own = accuracy[label].dropna()
        row = {"method": label, **_interval("accuracy", own)}
        n = len(own)
        if label != reference:
            gain = (accuracy[label] - accuracy[reference]).dropna()
            row |= _interval("gain", gain)
            row["better"] = int((gain > 0).sum())
            row["equal"] = int((gain == 0).sum())
            n = len(gain)
        rows.append({**row, "n": n})
    return pd.DataFrame(rows)


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    if values.empty:
        return estimates.columns(name, math.nan, math.nan, math.nan)
    return estimates.median_only([values.to_numpy()]).columns(name)


def collapse(accuracy: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row per label: how many cells have collapsed (below `searches.COLLAPSE`), and the share of
    the reference minus its own, with Newcombe's interval and the one-sided p of Boschloo's test.
    """
    rows = []
    for label in accuracy.columns:
        own = _fallen(accuracy[label])
        row = {"method": label, "collapsed": int(own.sum()), "n": len(own)}
        if label != reference:
            found = estimates.boschloo_test([_fallen(accuracy[reference]), own])
            row |= found.columns("fewer") | {"p": found.p}
        rows.append(row)
    return pd.DataFrame(rows)


def _fallen(accuracy: pd.Series) -> np.ndarray:
    """1 for every search whose cell has collapsed, 0 for the others."""
    return (accuracy.dropna() < searches.COLLAPSE).to_numpy(float)


def gains(accuracy: pd.DataFrame, reference: str) -> str:
    """What `comparison` says, in sentences."""
    table = comparison(accuracy, reference).set_index("method")
    rivals = table.drop(index=reference)
    return " ".join(_gain(label, row, reference) for label, row in rivals.iterrows())


def _gain(label: Any, row: Any, reference: str) -> str:
    if not row["n"]:
        return f"No search has both {label} and {reference}."
    if row["equal"] == row["n"]:
        same = f"{label} and {reference} end in networks of the same accuracy in all"
        return f"{same} {int(row['n'])} searches: nothing tells them apart here."
    better = counted(int(row["better"]), int(row["n"]))
    interval = _interval_told(row["gain_low"], row["gain_high"], ".1f")
    return (
        f"{label} against {reference}: better in {better} searches, equal in"
        f" {int(row['equal'])}; {row['gain']:+.1f} points in the median, {interval}."
    )


def limited(counts: pd.DataFrame) -> str:
    """In how many searches there was anything to limit; counts: see `skips`."""
    many = int((counts["last cell"] > MOST_SKIPS).sum())
    told = (
        f"The last cell has more than {MOST_SKIPS} skip connections in"
        f" {counted(many, len(counts))} searches"
    )
    return f"{told}." if many else f"{told}: there was nothing to limit, so this is no test of it."


def collapses(accuracy: pd.DataFrame, reference: str) -> str:
    """What `collapse` says, in sentences."""
    table = collapse(accuracy, reference)
    cells = [f"{row.collapsed} of {row.n} ({row.method})" for row in table.itertuples()]
    rivals = table[table["method"] != reference]
    told = [_fewer(row, reference) for row in rivals.itertuples()]
    return (
        f"Collapsed cells, below {searches.COLLAPSE:.0f} %: {', '.join(cells)}. {'; '.join(told)}."
    )


def _fewer(row: Any, reference: str) -> str:
    interval = _interval_told(100 * row.fewer_low, 100 * row.fewer_high, ".0f")
    return f"{row.method} against {reference}: {100 * row.fewer:.0f} points fewer, {interval}"


def _interval_told(low: float, high: float, digits: str) -> str:
    """An interval, and on which side of 0 it lies."""
    if math.isnan(low) or math.isnan(high):
        return "too few searches for an interval"
    side = "not told apart from none"
    if low > 0:
        side = "a gain"
    elif high < 0:
        side = "a loss"
    return f"95 % interval [{low:{digits}}, {high:{digits}}], {side}"


def strips(accuracy: pd.DataFrame, quantity: str) -> Drawn:
    """A column per label: a point per search, the same seed joined by a line, and the median with
    its interval.

    quantity: what is drawn, with its unit.
    """
    figure, ax = plots.panel(2.6)
    places = np.arange(len(accuracy.columns))
    for _, row in accuracy.iterrows():
        ax.plot(places, row, color="0.75", lw=0.7, zorder=1)
    for place, label in zip(places, accuracy.columns, strict=True):
        values = accuracy[label].dropna()
        ax.scatter([place] * len(values), values, s=14, color="C0", alpha=0.7, zorder=2)
        middle, low, high = _interval("median", values).values()
        below, above = middle - low, high - middle
        style: Any = {"fmt": "_", "color": "0.1", "capsize": 3, "ms": 9, "zorder": 3}
        ax.errorbar(place + 0.08, middle, [[below], [above]], **style)
    ax.set_xticks(places, accuracy.columns)
    ax.set(ylabel=quantity, xlim=(-0.4, len(places) - 0.6))
    ax.margins(y=0.08)
    plots.note(figure, "points: searches, a line per seed; black: median, 95 % interval")
    return figure, accuracy.reset_index()
