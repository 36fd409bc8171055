"""Tables of `notebooks/sparsification.ipynb` alone."""

import numpy as np
import pandas as pd

from nasutils.measures import analysis
from nasutils.studies.sparsification.results import Results
from nasutils.sweep import planning


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
            "minutes": planning.seconds(run.records) / 60,
            "images_per_second_at_the_end": np.median([r["cost"]["samples_per_second"] for r in run.records[-10:]]),
        }
        for (label, _), run in results.runs.items()
    ]
    return pd.DataFrame(rows).groupby("method", sort=False).mean().reset_index()
