"""What the figures and tables of `notebooks/bypass_leakage.ipynb` alone say, computed."""

import numpy as np
import pandas as pd

from nasutils.measures import tables
from nasutils.measures.estimates import central
from nasutils.studies.bypass_leakage.figures import probed, taken_away
from nasutils.studies.bypass_leakage.results import Results
from nasutils.studies.bypass_leakage.variants import PROBED
from nasutils.studies.readings import listed


def toy(table: pd.DataFrame) -> str:
    """The bypass of the strongest operation of the toy edge."""
    strongest = table.loc[table["p"].idxmax()]
    return (
        f"The strongest operation, {strongest['operation']}, has a weight of {strongest['p']:.2f}"
        f" and a bypass of {strongest['bypass']:.2f}."
    )


def demonstration(results: Results) -> str:
    """What the figure of this name says."""
    medians = taken_away(results).groupby(["method", "supernet"])["accuracy"].median()
    parts = []
    for label in probed(results):
        here = medians[label]
        parts.append(
            f"{label}: {here['relaxed']:.0f} % with all operations,"
            f" {here['discretized_recalibrated']:.0f} % with one per edge,"
            f" {here['without_skip']:.0f} % without the skips."
        )
    return " ".join(parts)


def leakage(results: Results) -> str:
    """What the figure of this name says."""
    table = results.leaks()
    searched, equal = [], []
    for label in probed(results, PROBED):
        bypass = central(tables.by_seed(table, label, "bypass"))
        matched = central(tables.by_seed(table, label, "matched_bypass"))
        searched.append(f"{bypass.mean:.2f} ({label})")
        equal.append(f"{matched.mean:.2f} ({label})")
    return f"Bypass as searched: {listed(searched)}. At equal sparsity: {listed(equal)} (medians)."


def interventions(table: pd.DataFrame) -> str:
    """What the figure of this name says, from its table."""
    medians = table.groupby(["method", "what"], sort=False)["nats"].median().unstack()
    parts = []
    for label, row in medians.iterrows():
        parts.append(
            f"{label}: cutting an operation changes the loss by {row['cut']:.2f} nats, keeping it"
            f" alone by {row['only']:.2f} (medians over edges and operations)."
        )
    return " ".join(parts)


def ablation(results: Results) -> str:
    """What the figure of this name says."""
    medians = results.last.groupby("method", sort=False)[["cifar10", "gap"]].median()
    parts = []
    for label, row in medians.iterrows():
        parts.append(f"{row['cifar10']:.1f} % and {round(row['gap'])} points ({label})")
    return f"Last cell and gap, medians: {listed(parts)}."


def speed(results: Results) -> str:
    """How much faster a sparse step is."""
    ratios = results.speedup["ratio"]
    if ratios.empty or np.isnan(ratios).all():
        return "No search of SP-DARTS, so no speed."
    return (
        f"A dense iteration takes {ratios.min():.2f} to {ratios.max():.2f} times as long as a"
        " sparse one."
    )
