"""What the figures of `notebooks/lr_swap.ipynb` alone say, computed."""

from collections.abc import Iterable

import pandas as pd

from nasutils.measures.stopping import CRITERIA
from nasutils.report import plots
from nasutils.studies.lr_swap.results import Results
from nasutils.studies.lr_swap.variants import CORE, SPACE
from nasutils.studies.readings import counted, listed, median
from nasutils.studies.variants import of_label


def settings(results: Results, searched: Iterable[str]) -> str:
    """What each remedy does to the last cell, as the figure of this name shows."""
    labels = [label for label in results.present(searched) if label not in CORE]
    if not labels:
        return "No remedy was searched here."
    ends = listed(
        f"{median(results, label, 'cifar10'):.1f} % ({label})" for label in ["DARTS", *labels]
    )
    better = [label for label in labels if results.gain(label).median() > 0]
    which = f": {listed(better)}" if better else ""
    return (
        f"Medians of the last cells: {ends}. Paired by seed, {counted(len(better), len(labels))}"
        f" are better than DARTS in the median{which}."
    )


def overfitting(results: Results) -> str:
    """When the loss is lowest, and when the cell is best, as the figure of this name shows."""
    return " ".join(_turning(results, label) for label in results.present(("DARTS", "EX-DARTS")))


def _turning(results: Results, label: str) -> str:
    searches = of_label(results.epochs, label).groupby("seed")
    lowest = results.epochs.loc[searches["valid_loss"].idxmin(), "epoch"].median()
    best = results.epochs.loc[searches["cifar10"].idxmax(), "epoch"].median()
    return (
        f"{label}: the loss on alpha's images is lowest at epoch {int(lowest)}, and the cell best"
        f" at epoch {int(best)} (medians); at the end the supernet is right on"
        f" {median(results, label, 'relaxed'):.0f} %, its cell on"
        f" {median(results, label, 'cifar10'):.0f} %."
    )


def magnitudes(results: Results) -> str:
    """Which operation leads at the end, as the figure of this name shows."""
    columns = [f"S_{op}" for op in SPACE.ops]
    parts = []
    for label in results.present(results.judged):
        last = of_label(results.last, label)
        leaders = last[columns].idxmax(axis=1).str.removeprefix("S_").value_counts()
        led = listed(f"{plots.spaced(op)} in {count}" for op, count in leaders.items())
        parts.append(
            f"{label}: of {len(last)} searches, the operation of the largest magnitude at the end"
            f" is {led}."
        )
    return " ".join(parts)


def stops(results: Results) -> str:
    """What stopping wins for DARTS, as the figure of this name shows."""
    last = results.references("DARTS")["last epoch"]
    parts = []
    for name in ("peak", "skips_2", "eigenvalue"):
        gains = (results.stops("DARTS", name)["cifar10"].astype(float) - last).dropna()
        if len(gains):
            who, _, _ = CRITERIA[name].description.partition(":")
            parts.append(f"{gains.median():+.1f} points by {who} ({name})")
    return (
        f"Against its last cell, stopping DARTS changes the cell by {listed(parts)} (medians over"
        " seeds)."
    )


def rate_map(table: pd.DataFrame) -> str:
    """The best and the worst point of the figure of this name, from its table."""
    best = table.loc[table["cifar10"].idxmax()]
    worst = table.loc[table["cifar10"].idxmin()]
    return f"The best last cells are those of {_point(best)}, the worst those of {_point(worst)}."


def _point(row: pd.Series) -> str:
    return (
        f"a {row['schedule']} weight rate of {row['weight_rate']:g} with an alpha rate of"
        f" {row['alpha_rate']:g} ({row['cifar10']:.1f} %, n = {row['n']})"
    )
