"""How often each test of the confirmatory study errs where nothing is to be found, and how often its interval covers.

Run: python tests/benchmarks/calibration.py --out figures/calibration.csv
Values are drawn like ours: accuracies of which 30 % are the cell of six skips (54.30) and the others lie around 90,
gains that are 0 or large, shares, correlations of few epochs. A test should reject in 2.5 % of the draws or fewer; an
interval should hold the true value in 95 % or more.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nasutils.measures import estimates
from nasutils.measures.estimates import LEVEL, Arms

Draw = Callable[[np.random.Generator], Arms]


@dataclass(frozen=True)
class Null:
    """A test of estimates.TESTS, draws in which its statistic is just at `above`, and that statistic's true value."""

    test: str
    values: str
    above: float
    truth: float
    draw: Draw


def accuracies(n: int, spread: float = 2.5, collapsed: float = 0.3) -> Callable[[np.random.Generator], np.ndarray]:
    """Of last cells (%): a share of collapses, the others around 90; rounded as the table is."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        found = np.round(rng.normal(90, spread, n), 2)
        return np.where(rng.random(n) < collapsed, 54.30, found)

    return draw


def _pair(first: Callable[..., np.ndarray], second: Callable[..., np.ndarray]) -> Draw:
    return lambda rng: [first(rng), second(rng)]


def _one(draw: Callable[[np.random.Generator], np.ndarray]) -> Draw:
    return lambda rng: [draw(rng)]


def _shares(n: int, share: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: (rng.random(n) < share).astype(float)


def _gains(rng: np.random.Generator) -> np.ndarray:
    """Half of them around nothing, half of the rest large: the median is 0."""
    small = rng.normal(0, 1, 40)
    return np.where((small > 0) & (rng.random(40) < 0.5), small + 35, small)


def _correlations(n: int, around: float, spread: float = 0.35) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.tanh(rng.normal(np.arctanh(around), spread, n))


def _normal(n: int, centre: float, spread: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.normal(centre, spread, n)


def _skewed(n: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Gaps (points) as the supernets of DARTS show them: one hump, a longer upper tail, mean 5."""
    return lambda rng: 5 + 4 * (rng.gamma(9, 1 / 3, n) - 3)


WIDE, NARROW = accuracies(40, 4.0, 0.0), accuracies(20, 1.0, 0.0)
NULLS = (
    Null("auc", "accuracies, 40 and 20", 0.5, 0.5, _pair(accuracies(40), accuracies(20))),
    Null("auc", "accuracies, 12 and 12", 0.5, 0.5, _pair(accuracies(12), accuracies(12))),
    Null("auc", "unequal spread, 40 and 20", 0.5, 0.5, _pair(WIDE, NARROW)),
    Null("auc", "unequal spread, 20 and 40", 0.5, 0.5, _pair(accuracies(20, 4.0, 0.0), accuracies(40, 1.0, 0.0))),
    Null("share", "3.03 % of 40", 0.0303, 0.0303, _one(_shares(40, 0.0303))),
    Null("share", "half of 20", 0.5, 0.5, _one(_shares(20, 0.5))),
    Null("share_difference", "0.4 of 40 and of 20", 0.0, 0.0, _pair(_shares(40, 0.4), _shares(20, 0.4))),
    Null("share_difference", "0.1 of 25 and of 25", 0.0, 0.0, _pair(_shares(25, 0.1), _shares(25, 0.1))),
    Null("median", "gains, half of the positive ones large, 40", 0.0, 0.0, _one(_gains)),
    Null("centre", "normal, 12", 0.0, 0.0, _one(_normal(12, 0, 1))),
    Null("mean", "normal, 12", 0.0, 0.0, _one(_normal(12, 0, 1))),
    Null("mean", "gaps, skewed, 40", 5.0, 5.0, _one(_skewed(40))),
    Null("difference", "unequal spread, 20 and 12", 0.0, 0.0, _pair(_normal(20, 1, 1), _normal(12, 1, 3))),
    Null("correlation", "around 0.3, 36", 0.3, 0.3, _one(_correlations(36, 0.3))),
    Null(
        "correlation_difference",
        "around 0.5, 40 and 25",
        0.0,
        0.0,
        _pair(_correlations(40, 0.5), _correlations(25, 0.5)),
    ),
    Null("paired", "logs of seconds, 20", 0.0, 0.0, _pair(_normal(20, 3, 0.3), _normal(20, 3, 0.1))),
    Null("equivalent", "5 apart of +-5, 12", 5.0, 5.0, _one(_normal(12, 5, 4))),
    Null("equivalent", "2 apart of +-2, 15 and 15", 2.0, 2.0, _pair(_normal(15, 2, 1.6), _normal(15, 0, 1.6))),
)


def rates(null: Null, draws: int, seed: int = 0) -> tuple[float, float]:
    """Shares of the draws in which the test rejects, and in which the interval holds the truth."""
    rng = np.random.default_rng(seed)
    found = [estimates.TESTS[null.test](null.draw(rng), null.above) for _ in range(draws)]
    return (
        float(np.mean([f.p < LEVEL for f in found])),
        float(np.mean([f.low <= null.truth <= f.high for f in found])),
    )


def table(draws: int) -> pd.DataFrame:
    """A row per case: rejections (%) and coverage (%)."""
    rows = []
    for null in NULLS:
        rejected, covered = rates(null, draws)
        row = {"test": null.test, "values": null.values, "draws": draws}
        rows.append(row | {"rejects (%)": round(100 * rejected, 2), "covers (%)": round(100 * covered, 2)})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = table(given.draws)
    found.to_csv(given.out, index=False)
    print(found.to_string(index=False))
