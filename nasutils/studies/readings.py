"""What a figure says, in one or two sentences computed from the results: true at every scale.
Shared by notebooks.
"""

from collections.abc import Iterable

import numpy as np

from nasutils.measures import tables
from nasutils.measures.estimates import central
from nasutils.measures.tables import RANDOM_CELL
from nasutils.runs import Run
from nasutils.studies.figures import Results, one_search, present
from nasutils.studies.variants import of_label


def median(results: Results, label: str, column: str) -> float:
    """Median over seeds of a column at the end of the search."""
    return central(tables.by_seed(results.last, label, column)).mean


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def counted(count: int, of: int) -> str:
    """How many of how many, with the words that a sentence wants at the ends."""
    if count == of:
        return f"all {of}"
    if count == 0:
        return f"none of {of}"
    return f"{count} of {of}"


def gap(results: Results, labels: Iterable[str]) -> str:
    """What the figure of this name says."""
    first, *others = present(results, labels)
    on = median(results, first, "relaxed")
    off = median(results, first, "recalibrated")
    between = median(results, first, "gap")
    text = (
        f"At the end of the search the supernet of {first} is right on {on:.0f} % of the held-out"
        f" images with all its operations, and on {off:.0f} % with one per edge: a gap of"
        f" {between:.0f} points."
    )
    if not others:
        return text
    gaps = {label: median(results, label, "gap") for label in others}
    smaller = [label for label, value in gaps.items() if value < between / 2]
    told = listed(f"{value:.0f} in {label}" for label, value in gaps.items())
    return (
        f"{text} It is less than half as large in {counted(len(smaller), len(gaps))} other"
        f" settings; it is {told.replace('-0 in', '0 in')} (medians)."
    )


def accuracy(results: Results, labels: Iterable[str]) -> str:
    """What the figure of this name says."""
    return " ".join(_course(results, label) for label in present(results, labels))


def _course(results: Results, label: str) -> str:
    """How a method's cells fared: how many searches ended below their best cell, and where."""
    searches = of_label(results.epochs, label)
    last = tables.by_seed(results.last, label, "cifar10")
    loss = searches.groupby("seed")["cifar10"].max() - last
    lost = counted(int((loss > 1).sum()), len(last))
    skips = int((tables.by_seed(results.last, label, "skips") == 6).sum())
    end = f", {skips} of them in the cell of skips only" if skips and skips < len(last) else ""
    return (
        f"{label}: {lost} searches end more than a point below their own best cell{end}; the"
        f" median of the last cells is {last.median():.1f} %."
    )


def distributions(results: Results, labels: Iterable[str]) -> str:
    """What the figure of this name says."""
    highest = float(np.log(5))
    parts = []
    for label in present(results, labels):
        share = median(results, label, "entropy") / highest
        parts.append(f"{100 * share:.0f} % in {label}")
    return (
        f"At the end an edge has this part of the highest possible entropy: {listed(parts)}"
        " (medians)."
    )


def during(results: Results, labels: Iterable[str], seed: int) -> str:
    """What the figure of this name says."""
    parts = []
    for label in present(results, labels):
        _, search = one_search(results, label, seed)
        parts.append(_strongest(label, search))
    return (
        f"At the end, the strongest operation of an edge holds {listed(parts)} of its weight in"
        " the mean."
    )


def _strongest(label: str, search: Run) -> str:
    weights = search.records[-1]["mix"]["cell"]
    share = np.max(weights, axis=-1).mean()
    return f"{100 * share:.0f} % ({label})"


def final_cells(results: Results, labels: Iterable[str]) -> str:
    """The range of the medians of the last cells, and who is no better than a blind draw."""
    medians = {label: median(results, label, "cifar10") for label in present(results, labels)}
    worst = min(medians, key=medians.__getitem__)
    best = max(medians, key=medians.__getitem__)
    below = [label for label, value in medians.items() if value <= RANDOM_CELL]
    no_better = ""
    if below:
        no_better = (
            f"; no better than a blindly drawn cell ({RANDOM_CELL} %) in the median:"
            f" {listed(below)}"
        )
    return (
        f"The medians of the last cells go from {medians[worst]:.1f} % ({worst}) to"
        f" {medians[best]:.1f} % ({best}){no_better}."
    )
