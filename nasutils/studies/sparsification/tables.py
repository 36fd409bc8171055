"""Tables of `notebooks/sparsification.ipynb` alone."""

import numpy as np
import pandas as pd
import torch

from nasutils.measures import tables
from nasutils.methods import relax
from nasutils.studies.figures import toy_table
from nasutils.studies.sparsification.results import Results
from nasutils.sweep import planning

TOY_ALPHA = (0.0, 1e-3, 2e-3, 0.0, -1e-3)
TOY_UPSTREAM = (0.0, -1.0, 1.0, 2.0, 0.0)
"""One edge that can be followed by hand: alpha, and dL/dp, of five operations."""


def toy(temperature: float) -> pd.DataFrame:
    """One edge at one temperature: weights p,
    and the gradient in alpha by the formula beside that by autograd.

    plain: of softmax(alpha / T). noisy: of the sparse-noisy softmax, which adds the gradient at T
    = 1.
    """
    alpha = torch.tensor(TOY_ALPHA, dtype=torch.float64, requires_grad=True)
    g = torch.tensor(TOY_UPSTREAM, dtype=torch.float64)
    p = torch.softmax(alpha / temperature, 0)
    plain = p * (g - p @ g) / temperature
    at_1 = torch.softmax(alpha, 0)
    noise = at_1 * (g - at_1 @ g)
    noisy = relax.sparse_noisy_softmax(alpha, temperature)
    (plain_by_autograd,) = torch.autograd.grad(p @ g, alpha, retain_graph=True)
    (noisy_by_autograd,) = torch.autograd.grad(noisy @ g, alpha)
    return toy_table(
        {
            "alpha": alpha,
            "dL/dp": g,
            "p": p,
            "plain, formula": plain,
            "plain, autograd": plain_by_autograd,
            "noisy, formula": plain + noise,
            "noisy, autograd": noisy_by_autograd,
        }
    )


def ablation(results: Results) -> pd.DataFrame:
    """Each ingredient on against off, paired over seeds:
    accuracy of the last cell and gap, both in points.
    """
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
            e = tables.paired(results.last, first, second, column)
            row |= {**e.columns(column), "n": e.n}
        rows.append(row)
    return pd.DataFrame(rows)


def cost(results: Results) -> pd.DataFrame:
    """Minutes per search and speed at its end: skipped operations make sparse searches fast."""
    rows = []
    for (label, _), run in results.runs.items():
        records = run.records
        speeds = [record["cost"]["samples_per_second"] for record in records[-10:]]
        rows.append(
            {
                "method": label,
                "minutes": planning.seconds(records) / 60,
                "images_per_second_at_the_end": np.median(speeds),
            }
        )
    return pd.DataFrame(rows).groupby("method", sort=False).mean().reset_index()
