"""How often each test of the confirmatory study errs where nothing is to be found,
and how often its interval covers.

Run: python tests/benchmarks/calibration.py --out figures/calibration.csv
Values are drawn like ours: accuracies of which 30 % are the cell of six skips (54.30) and the
others lie around 90, gains that are 0 or large, shares, correlations of few epochs; of nine
methods with five searches each under several conditions, and of random networks trained twice,
with the deviations of the LHD pilot. A test should reject in 2.5 % of the draws or fewer; an
interval should hold the true value in 95 % or more.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nasutils.measures import comparisons, estimates
from nasutils.measures.estimates import LEVEL, Arms

Draw = Callable[[np.random.Generator], Arms]


@dataclass(frozen=True)
class Null:
    """A test of the plan, draws in which its statistic is just at `above`,
    and that statistic's true value.
    """

    test: str
    values: str
    above: float
    truth: float
    draw: Draw


def accuracies(
    n: int, spread: float = 2.5, collapsed: float = 0.3
) -> Callable[[np.random.Generator], np.ndarray]:
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


def _correlations(
    n: int, around: float, spread: float = 0.35
) -> Callable[[np.random.Generator], np.ndarray]:
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
    Null(
        "auc",
        "unequal spread, 20 and 40",
        0.5,
        0.5,
        _pair(accuracies(20, 4.0, 0.0), accuracies(40, 1.0, 0.0)),
    ),
    Null("share", "3.03 % of 40", 0.0303, 0.0303, _one(_shares(40, 0.0303))),
    Null("share", "half of 20", 0.5, 0.5, _one(_shares(20, 0.5))),
    Null(
        "share_difference",
        "0.4 of 40 and of 20",
        0.0,
        0.0,
        _pair(_shares(40, 0.4), _shares(20, 0.4)),
    ),
    Null(
        "share_difference",
        "0.1 of 25 and of 25",
        0.0,
        0.0,
        _pair(_shares(25, 0.1), _shares(25, 0.1)),
    ),
    Null("median", "gains, half of the positive ones large, 40", 0.0, 0.0, _one(_gains)),
    Null("centre", "normal, 12", 0.0, 0.0, _one(_normal(12, 0, 1))),
    Null("mean", "normal, 12", 0.0, 0.0, _one(_normal(12, 0, 1))),
    Null("mean", "gaps, skewed, 40", 5.0, 5.0, _one(_skewed(40))),
    Null(
        "difference",
        "unequal spread, 20 and 12",
        0.0,
        0.0,
        _pair(_normal(20, 1, 1), _normal(12, 1, 3)),
    ),
    Null("correlation", "around 0.3, 36", 0.3, 0.3, _one(_correlations(36, 0.3))),
    Null(
        "correlation_difference",
        "around 0.5, 40 and 25",
        0.0,
        0.0,
        _pair(_correlations(40, 0.5), _correlations(25, 0.5)),
    ),
    Null(
        "paired", "logs of seconds, 20", 0.0, 0.0, _pair(_normal(20, 3, 0.3), _normal(20, 3, 0.1))
    ),
    Null("equivalent", "5 apart of +-5, 12", 5.0, 5.0, _one(_normal(12, 5, 4))),
    Null(
        "equivalent",
        "2 apart of +-2, 15 and 15",
        2.0,
        2.0,
        _pair(_normal(15, 2, 1.6), _normal(15, 0, 1.6)),
    ),
)


METHODS = np.array([47.6, 47.0, 47.0, 47.0, 45.7, 44.6, 44.3, 43.7, 43.5])
"""Means (%) of the nine methods of the LHD pilot;
a search deviates by 1.3 around them, an evaluation by 0.8.
"""


def _noise(rng: np.random.Generator, evaluations: int) -> np.ndarray:
    return rng.normal(0, 0.8, (9, 5, evaluations))


def _searched(rng: np.random.Generator, effects: np.ndarray, evaluations: int = 1) -> np.ndarray:
    """A condition with searches of its own: (methods, searches, evaluations)."""
    return effects[:, None, None] + rng.normal(0, 1.3, (9, 5, 1)) + _noise(rng, evaluations)


def _methods(true: float, conditions: int, evaluations: int) -> Draw:
    """Effects such that the mean of five searches has this reliability."""
    noise = (1.3**2 + 0.8**2 / evaluations) / 5
    effects = (METHODS - METHODS.mean()) * np.sqrt(noise * true / (1 - true) / METHODS.var(ddof=1))
    return lambda rng: [_searched(rng, effects, evaluations) for _ in range(conditions)]


def _policies(noises: tuple[float, ...]) -> Draw:
    """Policies of the same searches, each with its mean and its noise;
    their effects are those of the search.
    """

    def draw(rng: np.random.Generator) -> Arms:
        cells = METHODS[:, None, None] + rng.normal(0, 1.3, (9, 5, 1))
        return [cells + 2 * i + noise * _noise(rng, 1) for i, noise in enumerate(noises)]

    return draw


def _data_sets(rng: np.random.Generator) -> Arms:
    """Two data sets, the second with a third of the deviations:
    accuracies of a hundred classes.
    """
    return [_searched(rng, METHODS), 10 + _searched(rng, METHODS) / 3]


def _one_method_above(rng: np.random.Generator) -> Arms:
    """Methods as good as the control, all of them: whether any is above it."""
    return [_searched(rng, np.full(9, 45.0))]


def _together(true: float, methods: float) -> Draw:
    """Two measures of 45 networks with this correlation within methods,
    whose means differ by `methods`.
    """

    def draw(rng: np.random.Generator) -> Arms:
        first = rng.normal(0, 1, (9, 5, 1))
        second = true * first + np.sqrt(1 - true**2) * rng.normal(0, 1, (9, 5, 1))
        return [
            first + rng.normal(0, methods, (9, 1, 1)),
            second + rng.normal(0, methods, (9, 1, 1)),
        ]

    return draw


def _networks(count: int, deviation: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Random networks, each trained twice; accuracies have a longer lower tail."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        means = 40 - deviation * (rng.gamma(6, 1 / np.sqrt(6), count) - np.sqrt(6))
        return means[:, None] + rng.normal(0, 1.0, (count, 2))

    return draw


def _spearman(true: float) -> float:
    """Of normal values with this correlation."""
    return 6 / np.pi * np.arcsin(true / 2)


OF_MANY = (
    Null("reliability", "9 methods, 5 searches, of 0.8", 0.8, 0.8, _methods(0.8, 1, 2)),
    Null("reliability", "the same, two sets of searches", 0.8, 0.8, _methods(0.8, 2, 1)),
    Null("reliability", "the same, methods all equal", 0.0, 0.0, _methods(0.0, 1, 1)),
    Null("over_control", "any of 8 methods", 0.0, 0.0, _one_method_above),
    Null("interaction_within", "3 policies", 0.0, 0.0, _policies((1.0, 1.0, 1.0))),
    Null(
        "interaction_within", "4 policies, one noisier", 0.0, 0.0, _policies((1.0, 1.0, 1.0, 1.5))
    ),
    Null("interaction_between", "2 data sets", 0.0, 0.0, _data_sets),
    Null("rank_correlation", "around 0, 45", 0.0, 0.0, _together(0.0, 0.0)),
    Null(
        "rank_correlation", "around 0.5, 45", _spearman(0.5), _spearman(0.5), _together(0.5, 0.0)
    ),
    Null("correlation_within", "around 0, methods apart", 0.0, 0.0, _together(0.0, 1.0)),
    Null(
        "log_deviation_ratio",
        "200 and 200 networks",
        0.0,
        0.0,
        _pair(_networks(200, 1.5), _networks(200, 1.5)),
    ),
    Null(
        "log_deviation_ratio",
        "100 and 200 networks",
        0.0,
        0.0,
        _pair(_networks(100, 1.5), _networks(200, 1.5)),
    ),
    Null(
        "repeatability_difference",
        "200 and 200 networks",
        0.0,
        0.0,
        _pair(_networks(200, 1.5), _networks(200, 1.5)),
    ),
)
"""Of comparisons.TESTS."""
SLOW = ("over_control", "log_deviation_ratio", "repeatability_difference")
"""Tests that take half a second: they are drawn a fifth as often."""
TESTS = {**estimates.TESTS, **comparisons.TESTS}


def rates(null: Null, draws: int, seed: int = 0) -> tuple[float, float]:
    """Shares of the draws in which the test rejects, and in which the interval holds the truth."""
    rng = np.random.default_rng(seed)
    found = [TESTS[null.test](null.draw(rng), null.above) for _ in range(draws)]
    return (
        float(np.mean([f.p < LEVEL for f in found])),
        float(np.mean([f.low <= null.truth <= f.high for f in found])),
    )


def table(draws: int) -> pd.DataFrame:
    """A row per case: rejections (%) and coverage (%)."""
    rows = []
    for null in (*NULLS, *OF_MANY):
        often = draws // 5 if null.test in SLOW else draws
        rejected, covered = rates(null, often)
        row = {"test": null.test, "values": null.values, "draws": often}
        rows.append(
            row | {"rejects (%)": round(100 * rejected, 2), "covers (%)": round(100 * covered, 2)}
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    comparisons.DRAWS = 999
    found = table(given.draws)
    found.to_csv(given.out, index=False)
    print(found.to_string(index=False))
