"""Rankings of methods over conditions: ranks, whether they differ, how far they agree.

Accuracies come as arrays whose last axis is the methods; the highest has rank 1. Rank statistics
follow Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006).
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from nasutils.measures import comparisons
from nasutils.measures.comparisons import DRAWS, once, permutations
from nasutils.measures.estimates import LEVEL, Estimate, estimate

ERROR_RATE = 2 * LEVEL
"""Error rate of a test."""
RESAMPLES = 2000
"""Bootstrap draws of a correlation."""


def ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of each score among the last axis, 1 for the highest,
    the mean of their places for equal ones; nan stays.
    """
    highest_first = -np.asarray(scores, dtype=float)
    return stats.rankdata(highest_first, axis=-1, nan_policy="omit")


def average_ranks(means: np.ndarray) -> np.ndarray:
    """Mean rank over conditions: (..., methods, conditions) -> (..., methods)."""
    return ranks(np.swapaxes(means, -1, -2)).mean(axis=-2)


# Chance: what differences there are when searches are exchanged among the methods.
#
# Tests that take conditions for independent err where these share their searches: with four
# policies on two data sets, Friedman's in 76 and Nemenyi's in 64 of 100 cases in which there is
# no difference.


def permuted(scores: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Means over searches that were exchanged at random among the methods of each data set.

    The scores of a search under all policies move together.
    (methods, data sets, policies, searches) -> (draws, methods, data sets, policies).
    """
    methods, datasets, policies, searches = scores.shape
    # A pool of searches per data set, each with its scores under all policies.
    by_search = np.moveaxis(scores, (1, 0, 3), (0, 1, 2))
    pool = by_search.reshape(datasets, methods * searches, policies)
    places = np.broadcast_to(np.arange(methods * searches), pool.shape[:2])
    order = permutations(places, draws)
    drawn = np.take_along_axis(pool[None], order[..., None], axis=2)
    drawn = drawn.reshape(draws, datasets, methods, searches, policies)
    means = mean(np.moveaxis(drawn, 3, -1))
    return np.swapaxes(means, 1, 2)


def critical_difference(chance: np.ndarray) -> float:
    """What the largest difference of any two methods exceeds by chance in a share ERROR_RATE of
    draws.

    chance: a statistic of the methods in each draw, (draws, methods).
    """
    return float(np.quantile(np.ptp(chance, axis=-1), 1 - ERROR_RATE))


def differ(found: np.ndarray, chance: np.ndarray) -> float:
    """Permutation p of whether methods differ at all: their statistic, (methods,), varies as much.

    chance: that statistic in each draw, (draws, methods). Of average ranks it is Friedman's test.
    """
    reached = chance.var(axis=-1) >= found.var() - 1e-9
    return (1 + int(reached.sum())) / (1 + len(chance))


def critical_difference_of_means(values: np.ndarray) -> float:
    """Critical difference of the methods' means, in units of their values.

    values: (methods, searches), complete. Draws are compared in units of the deviation within
    methods, which an exchange of unlike searches makes larger. nan for one search per method or no
    spread.
    """
    if values.shape[1] < 2:
        return math.nan
    drawn = permutations(values.ravel(), DRAWS).reshape(-1, *values.shape)
    own = deviation_within(values)
    chance = deviation_within(drawn)
    if not np.all(chance):
        return math.nan
    return float(own) * critical_difference(drawn.mean(axis=-1) / chance[:, None])


def deviation_within(values: np.ndarray) -> np.ndarray:
    """Deviation pooled over the methods: (..., methods, searches) -> (...)."""
    return np.sqrt(values.var(axis=-1, ddof=1).mean(axis=-1))


def contrasts(values: np.ndarray, more: np.ndarray | None = None) -> list[Estimate]:
    """Mean of each method but the first minus that of the first, the control.

    values: (methods, searches). more: further values of the control, (networks,). Intervals at
    95 % hold for all methods together, see `comparisons.over_control`; none for one search per
    method.
    """
    searches = values.shape[1]
    if searches < 2:
        differences = values[1:, 0] - values[0, 0]
        return [Estimate(float(d), math.nan, math.nan, searches) for d in differences]
    arms = [once(values)]
    if more is not None:
        arms.append(once(more))
    estimates = []
    for method in range(1, len(values)):
        found = comparisons.over_control(arms, 0.0, method)
        estimates.append(Estimate(found.estimate, found.low, found.high, searches))
    return estimates


# Groups


def cliques(average: Sequence[float], difference: float) -> list[tuple[int, int]]:
    """The bars of a critical-difference diagram. average: ascending average ranks.

    Largest groups that span no more than the difference, as positions of their first and last
    member; a group of one is none.
    """
    groups: list[tuple[int, int]] = []
    reached = -1  # the last member of the group before
    for first, low in enumerate(average):
        last = max(i for i, rank in enumerate(average) if rank - low <= difference)
        if last > max(first, reached):
            groups.append((first, last))
            reached = last
    return groups


def told_apart(scores: np.ndarray) -> float:
    """Discernibility: the share of pairs of methods whose means differ by Welch's t-test, at 95 %.

    scores: (seeds, methods), nan where there is none. No correction for the number of pairs:
    without any difference the share is 5 %. nan with less than two seeds of any two methods. Two
    constants differ unless they are equal.
    """
    tested = []
    for column in np.asarray(scores, dtype=float).T:
        own = column[~np.isnan(column)]
        if len(own) > 1:
            tested.append(own)
    found = [_differ(a, b) for a, b in combinations(tested, 2)]
    return float(np.mean(found)) if found else math.nan


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    if np.ptp(a) + np.ptp(b) == 0:
        return bool(a[0] != b[0])
    # from moments: ttest_ind warns of an arm whose values are all the same
    test = stats.ttest_ind_from_stats(*_moments(a), *_moments(b), equal_var=False)
    return bool(test.pvalue < ERROR_RATE)


def _moments(values: np.ndarray) -> tuple[float, float, int]:
    return values.mean(), values.std(ddof=1), len(values)


def kendall(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of two rankings: (..., methods) each -> (...).
    nan where one is all ties or a score is nan.
    """
    first = _signs(np.asarray(scores, dtype=float))
    second = _signs(np.asarray(others, dtype=float))
    agreement = (first * second).sum(axis=-1)
    decided = np.abs(first).sum(axis=-1) * np.abs(second).sum(axis=-1)  # pairs that are no tie
    with np.errstate(invalid="ignore", divide="ignore"):
        return agreement / np.sqrt(decided)


def _signs(scores: np.ndarray) -> np.ndarray:
    """Which of each pair of methods is better: (..., methods) -> (..., pairs) of -1, 0, 1."""
    first, second = np.triu_indices(scores.shape[-1], 1)
    return np.sign(scores[..., first] - scores[..., second])


def over_pairs(values: np.ndarray) -> Estimate:
    """Mean of a symmetric statistic over all pairs of different seeds:
    (seeds, seeds), nan where there is none.

    As pairs share seeds, the interval is Student's of the jackknife's pseudo-values, one per seed;
    none below three.
    """
    n = len(values)
    values = np.where(np.eye(n, dtype=bool), np.nan, values)
    whole = float(mean(values.ravel()))
    if math.isnan(whole):
        return Estimate.unknown()
    if n < 3:
        return Estimate(whole, math.nan, math.nan, n)
    pseudo = []
    for seed in range(n):
        others = np.arange(n) != seed
        without = mean(values[np.ix_(others, others)].ravel())
        pseudo.append(n * whole - (n - 1) * without)
    spread = estimate(pseudo)
    half = (spread.high - spread.low) / 2
    return Estimate(whole, whole - half, whole + half, n)


def resampled(scores: np.ndarray, draws: int = 1000) -> np.ndarray:
    """Means over resampled search seeds.

    (methods, data sets, policies, seeds) -> (draws, methods, data sets, policies).

    The seeds of a method on a data set are drawn with replacement, the same for all policies,
    which share the searches. Seeds without a score are left out.
    """
    methods, datasets, _, seeds = scores.shape
    random = np.random.default_rng(0)
    drawn = random.integers(seeds, size=(draws, methods, datasets, 1, seeds))
    return mean(np.take_along_axis(scores[None], drawn, axis=-1))


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is there, nan where nothing is."""
    there = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        return np.where(there, scores, 0).sum(axis=-1) / there.sum(axis=-1)


def interval(value: float, draws: np.ndarray, n: int) -> Estimate:
    """A statistic with the 95 % percentile interval of its bootstrap draws;
    n: of the units that were resampled.
    """
    draws = draws[~np.isnan(draws)]
    if len(draws) == 0 or n < 2:
        return Estimate(float(value), math.nan, math.nan, n)
    low, high = np.quantile(draws, (LEVEL, 1 - LEVEL))
    return Estimate(float(value), float(low), float(high), n)


def correlation(first: np.ndarray, second: np.ndarray, kind: str = "kendall") -> Estimate:
    """Rank correlation, `kendall` or `spearman`, of two measures of the same cells;
    interval: of resampled cells.
    """
    values = np.stack([first, second]).astype(float)
    complete = ~np.isnan(values).any(axis=0)
    x, y = values[:, complete]
    n = len(x)
    if n < 2:
        return Estimate.unknown(n)
    measure = {"kendall": kendall, "spearman": _spearman}[kind]
    which = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    return interval(float(measure(x, y)), measure(x[which], y[which]), n)


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a = _centred_ranks(first)
    b = _centred_ranks(second)
    variances = (a**2).sum(axis=-1) * (b**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=-1) / np.sqrt(variances)


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    placed = ranks(values)
    return placed - placed.mean(axis=-1, keepdims=True)
