"""Robustifying DARTS by Eliminating Information Bypass Leakage (SP-DARTS): the variants compared and the claims tested.

The claims are the abstract's (arXiv 2306.06858); the definitions of leakage (`nasutils.leakage`), the statistics and
all thresholds are ours and were fixed before leakage was measured at laptop scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from nasutils import analysis
from nasutils.analysis import Estimate
from nasutils.claims import Claim
from nasutils.errors import choose
from nasutils.experiment import Experiment
from nasutils.finalnet import Evaluation
from nasutils.runs import Run

Variant = tuple[str, Mapping[str, Any]]
VARIANTS: Mapping[str, Variant] = {
    "DARTS": ("darts", {}),
    "SP-DARTS": ("sp-darts", {}),
    "always sparse": ("sp-darts", {"schedule": "always"}),
    "never sparse": ("sp-darts", {"schedule": "never"}),
    "T_s x 3": ("sp-darts", {"sparse": 3.3e-3, "ratio": 11 / 3}),
    "ratio 100": ("sp-darts", {"ratio": 100.0}),
}
"""Label -> (method, options), on NAS-Bench-201. `T_s x 3` keeps T_d; `ratio 100` keeps T_s (and its dense steps are
almost those of DARTS)."""
S_VARIANTS: Mapping[str, str] = {"DARTS": "darts", "SP-DARTS": "sp-darts", "random cell": "random"}
"""Label -> method, on S1-S4."""


def chosen(labels: Sequence[str]) -> Mapping[str, Variant]:
    """The variants of these labels, all of them if there is none. Raises ValueError for an unknown label."""
    return {choose("variant", label, VARIANTS): VARIANTS[label] for label in labels or VARIANTS}


def s_searches(spaces: Sequence[str], seeds: Sequence[int], **setting: Any) -> dict[tuple[str, str, int], Experiment]:
    """The searches on S1-S4: {(space, label, seed): experiment}; setting: fields of `Experiment`."""
    return {
        (space, label, seed): Experiment(space=space, method=method, seed=seed, **setting)
        for space in spaces
        for label, method in S_VARIANTS.items()
        for seed in seeds
    }


def s_evaluations(
    searches: Mapping[tuple[str, str, int], Run], **setting: Any
) -> dict[tuple[str, str, int], Evaluation]:
    """A final network for the cell of every finished search; setting: fields of `Evaluation`."""
    return {
        (space, label, seed): Evaluation(genotype=run.result["genotype"], space=space, seed=seed, **setting)
        for (space, label, seed), run in searches.items()
        if run.result is not None
    }


@dataclass(frozen=True)
class Results:
    """What the claims are computed from: searches on NAS-Bench-201, and final networks of cells found on S1-S4.

    epochs: see `analysis.epochs_table`; last: its last epochs. leakage: see `analysis.leakage_table`; speed: images per
    second by method, seed and epoch. finals: a row per final network: space, method, seed, test_accuracy (%),
    best_test_accuracy, params, genotype.
    """

    runs: Mapping[tuple[str, int], Run]
    epochs: pd.DataFrame
    last: pd.DataFrame
    leakage: pd.DataFrame
    finals: pd.DataFrame

    @classmethod
    def of(cls, runs: Mapping[tuple[str, int], Run], finals: Mapping[tuple[str, str, int], Run]) -> "Results":
        """Collect the finished runs; failed ones are left out (and their number shows in n)."""
        finished = {key: run for key, run in runs.items() if run.result is not None}
        epochs = analysis.epochs_table(finished)
        columns = ["space", "method", "seed", "test_accuracy", "best_test_accuracy", "params", "genotype"]
        rows = [(*key, *(run.result[c] for c in columns[3:])) for key, run in finals.items() if run.result is not None]
        table = pd.DataFrame(rows, columns=columns)
        return cls(finished, epochs, analysis.last_epoch(epochs), analysis.leakage_table(finished), table)

    def leaks(self) -> pd.DataFrame:
        """The measures of leakage at the end of each search, a row per method and seed."""
        return analysis.last_epoch(self.leakage)

    def sped_up(self) -> pd.DataFrame:
        """Per method and seed: images per second in the last fifth of the epochs over those in the first fifth."""
        rows = []
        for (label, seed), run in self.runs.items():
            speed = [r["cost"]["samples_per_second"] for r in run.records]
            part = max(len(speed) // 5, 1)
            rows.append({"method": label, "seed": seed, "ratio": np.median(speed[-part:]) / np.median(speed[:part])})
        return pd.DataFrame(rows)


def _alone(table: pd.DataFrame, method: str, column: str, offset: float = 0.0) -> Estimate:
    return analysis.estimate((analysis.by_seed(table, method, column) - offset).to_numpy())


def _leak(results: Results, column: str) -> Estimate:
    return analysis.paired(results.leaks(), "DARTS", "SP-DARTS", column)


def _growth(results: Results) -> Estimate:
    """Free weight of DARTS at its last probe minus that of a uniform distribution (3 of 5 operations)."""
    return _alone(results.leaks(), "DARTS", "free_weight", 0.6)


def _s_space(results: Results, space: str) -> Estimate:
    return analysis.paired(results.finals[results.finals["space"] == space], "SP-DARTS", "DARTS", "test_accuracy")


CLAIMS: Sequence[Claim] = (
    Claim(
        "1 brittle",
        "DARTS is brittle, because of skip connections.",
        "DARTS: accuracy of its best cell of any epoch minus that of its last cell, CIFAR-10 test, points",
        1.0,
        lambda results: analysis.estimate(
            results.epochs[results.epochs["method"] == "DARTS"].groupby("seed")["cifar10"].max().to_numpy()
            - analysis.by_seed(results.last, "DARTS", "cifar10").sort_index().to_numpy()
        ),
    ),
    Claim(
        "2 leak",
        "Information bypasses the operation that an edge is to judge.",
        "DARTS, end of the search: bypass (share of the loss change that goes around the strongest operation)",
        0.5,
        lambda results: _alone(results.leaks(), "DARTS", "bypass"),
    ),
    Claim(
        "3 free operations",
        "What leaks goes through operations without parameters, skips above all.",
        "DARTS, end: mixing weight of operations without parameters minus 0.6, their share when all are equal",
        0.0,
        _growth,
    ),
    Claim(
        "4 discrepancy",
        "The leakage explains the discrepancy of supernet and final network.",
        "DARTS, end: supernet accuracy relaxed minus one operation per edge (batch norm recalibrated), points",
        5.0,
        lambda results: _alone(results.last, "DARTS", "gap"),
    ),
    Claim(
        "5 removed",
        "Mixed-sparsity training removes the leakage.",
        "bypass at the end: DARTS minus SP-DARTS, paired",
        0.0,
        partial(_leak, column="bypass"),
    ),
    Claim(
        "6 closed",
        "Mixed-sparsity training closes the discrepancy.",
        "gap at the end: DARTS minus SP-DARTS, paired, points",
        0.0,
        lambda results: analysis.paired(results.last, "DARTS", "SP-DARTS", "gap"),
    ),
    Claim(
        "7 robust",
        "SP-DARTS repairs DARTS (NAS-Bench-201).",
        "accuracy of the last cell: SP-DARTS minus DARTS, paired, CIFAR-10 test, points",
        0.0,
        lambda results: analysis.paired(results.last, "SP-DARTS", "DARTS", "cifar10"),
    ),
    Claim(
        "8 efficient",
        "Mixed-sparsity training is efficient.",
        "SP-DARTS: images per second in the last fifth of the epochs over the first fifth, minus 1",
        0.0,
        lambda results: _alone(results.sped_up(), "SP-DARTS", "ratio", 1.0),
    ),
    Claim(
        "9 S2",
        "It works on other spaces: S2.",
        "accuracy of the final network (short protocol): SP-DARTS minus DARTS on S2, paired, points",
        0.0,
        partial(_s_space, space="s2"),
    ),
    Claim(
        "10 S4",
        "It works on other spaces: S4.",
        "accuracy of the final network (short protocol): SP-DARTS minus DARTS on S4, paired, points",
        0.0,
        partial(_s_space, space="s4"),
    ),
)
