"""Tests of many networks at once: the methods of a benchmark under its conditions,
and the networks of two spaces.

An arm is a condition. Of methods it is an array (methods, searches, evaluations), of random
networks (networks, evaluations); its values are accuracies. The unit is the search, or the random
network: its evaluations are averaged, since they are not independent of each other. The first
method is the control.

The methods are those of the benchmark, not a sample of all methods, so their effects are fixed and
F statistics have a noncentral F distribution; its noncentrality divided by the degrees of freedom
is the variance of what is compared over that of the noise.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from nasutils.measures.estimates import BOTH_SIDES, LEVEL, Arms, Finding, Test

DRAWS = 4999
"""Permutations, and bootstrap samples."""


def _searches(arms: Arms) -> list[np.ndarray]:
    """Means over evaluations: (methods, searches), or (networks,)."""
    return [arm.mean(axis=-1) for arm in arms]


# Are methods told apart?


def reliability(arms: Arms, above: float) -> Finding:
    """Share of the variance between methods' means of k searches that is not noise,
    k the searches of one arm.

    arms: conditions with searches of their own, whose means are removed. One arm: 1 - 1/F of the
    analysis of variance, the intraclass correlation ICC(1, k) of Shrout and Fleiss (1979), for
    fixed methods.
    """
    values = _searches(arms)
    methods, searches = values[0].shape
    means = np.mean([v.mean(axis=1) - v.mean() for v in values], axis=0)
    within = [v - v.mean(axis=1, keepdims=True) for v in values]
    freedom = methods - 1, len(values) * methods * (searches - 1)
    noise = sum((v**2).sum() for v in within) / freedom[1]
    f = len(values) * searches * (means**2).sum() / freedom[0] / noise

    def reliable(ratio: float) -> float:
        """ratio: of the variance of means over that of their noise, in all arms."""
        return ratio / (ratio + len(values))

    p = (
        stats.ncf.sf(f, *freedom, freedom[0] * len(values) * above / (1 - above))
        if above
        else stats.f.sf(f, *freedom)
    )
    low, high = (reliable(ratio) for ratio in _ratios(f, freedom))
    return Finding(reliable(max(f - 1, 0.0)), low, high, float(p), tuple(v.size for v in values))


def _ratios(f: float, freedom: tuple[int, int]) -> tuple[float, float]:
    """The 95 % interval of the noncentrality of an F over its first degrees of freedom."""
    low, high = (_noncentrality(f, freedom, p) for p in (1 - LEVEL, LEVEL))
    return low / freedom[0], high / freedom[0]


def _noncentrality(f: float, freedom: tuple[int, int], p: float) -> float:
    """That of which the probability of a smaller F is p; 0 where there is none."""
    if stats.f.cdf(f, *freedom) <= p:
        return 0.0
    most = 1.0
    while stats.ncf.cdf(f, *freedom, most) > p:
        most *= 2
    return float(brentq(lambda nc: stats.ncf.cdf(f, *freedom, nc) - p if nc else 1.0, 0.0, most))


def over_control(arms: Arms, above: float, method: int | None = None) -> Finding:
    """Mean of a method minus that of the control, Dunnett's test:
    p and interval hold for all methods together.

    arms: one. method: its place; None: the one with the largest difference, so whether any method
    is above the control.
    """
    (values,) = _searches(arms)
    control, *others = values
    which = int(np.argmax(values[1:].mean(axis=1))) if method is None else method - 1
    above_it = stats.dunnett(
        *(v - above for v in others), control=control, alternative="greater", random_state=0
    )
    interval = stats.dunnett(*others, control=control, random_state=0).confidence_interval(
        BOTH_SIDES
    )
    difference = others[which].mean() - control.mean()
    sizes = len(others[which]), len(control)
    low, high = float(interval.low[which]), float(interval.high[which])
    return Finding(float(difference), low, high, float(above_it.pvalue[which]), sizes)


# Does the ranking depend on the condition?


def interaction_within(arms: Arms, above: float = 0.0) -> Finding:
    """Deviation of the interaction of methods with conditions that share their searches,
    such as policies.

    In units of the deviation of a condition's networks, so that a condition that only spreads them
    more has none. F of the interaction over what is left within searches. p: the values of a
    search, without their condition's mean, are permuted among the conditions. Raises ValueError
    for another number than 0.
    """
    values = np.stack(_standardised(arms), axis=-1)  # (methods, searches, conditions)
    methods, searches, conditions = values.shape
    freedom = (methods - 1) * (conditions - 1), methods * (searches - 1) * (conditions - 1)

    def squares(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean squares of the interaction and of the rest:
        (..., methods, searches, conditions) -> (...).
        """
        v = v - v.mean(axis=-1, keepdims=True)
        v = v - v.mean(axis=(-3, -2), keepdims=True)
        cells = v.mean(axis=-2, keepdims=True)
        rest = ((v - cells) ** 2).sum(axis=(-3, -2, -1)) / freedom[1]
        return searches * (cells**2).sum(axis=(-3, -2, -1)) / freedom[0], rest

    centred = values - values.mean(axis=-1, keepdims=True)
    centred = centred - centred.mean(axis=(0, 1))
    permuted = np.random.default_rng(0).permuted(
        np.broadcast_to(centred, (DRAWS, *centred.shape)), axis=-1
    )
    return _interaction(squares, values, permuted, freedom, searches, above)


def interaction_between(arms: Arms, above: float = 0.0) -> Finding:
    """The same with conditions whose searches differ, such as data sets.

    p: what is left of the values without the means of their method and condition is permuted
    within methods.
    """
    values = np.stack(_standardised(arms), axis=1)  # (methods, conditions, searches)
    methods, conditions, searches = values.shape
    freedom = (methods - 1) * (conditions - 1), methods * conditions * (searches - 1)

    def squares(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean squares of the interaction and of the rest:
        (..., methods, conditions, searches) -> (...).
        """
        cells = v.mean(axis=-1)
        rest = ((v - cells[..., None]) ** 2).sum(axis=(-3, -2, -1)) / freedom[1]
        cells = cells - cells.mean(axis=-1, keepdims=True) - cells.mean(axis=-2, keepdims=True)
        cells = cells - cells.mean(axis=(-2, -1), keepdims=True)
        return searches * (cells**2).sum(axis=(-2, -1)) / freedom[0], rest

    centred = (
        values
        - values.mean(axis=(1, 2), keepdims=True)
        - values.mean(axis=(0, 2), keepdims=True)
        + values.mean()
    )
    flat = np.broadcast_to(centred.reshape(methods, -1), (DRAWS, methods, conditions * searches))
    permuted = np.random.default_rng(0).permuted(flat, axis=-1).reshape(DRAWS, *values.shape)
    return _interaction(squares, values, permuted, freedom, searches, above)


def _standardised(arms: Arms) -> list[np.ndarray]:
    return [(v - v.mean()) / v.std(ddof=1) for v in _searches(arms)]


def _interaction(
    squares: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    values: np.ndarray,
    permuted: np.ndarray,
    freedom: tuple[int, int],
    searches: int,
    above: float,
) -> Finding:
    if above:
        raise ValueError(f"an interaction is compared with 0, not with {above}")
    effect, rest = squares(values)
    effects, rests = squares(permuted)
    f = float(effect / rest)
    p = (1 + int((effects / rests >= f).sum())) / (1 + len(permuted))
    low, high = (math.sqrt(ratio * rest / searches) for ratio in _ratios(f, freedom))
    return Finding(math.sqrt(max(f - 1, 0.0) * rest / searches), low, high, p, (values.size,))


# Do two measures of the same networks go together?


def rank_correlation(arms: Arms, above: float = 0.0) -> Finding:
    """Spearman's rank correlation of two arms of the same networks in the same order;
    interval by Fisher's z.
    """
    first, second = (stats.rankdata(v) for v in _searches(arms))
    return _correlation(first, second, 0, above)


def correlation_within(arms: Arms, above: float = 0.0) -> Finding:
    """The same within methods: the partial correlation of ranks over all networks,
    given the method.
    """
    ranked = [stats.rankdata(v).reshape(v.shape) for v in _searches(arms)]
    first, second = ((v - v.mean(axis=1, keepdims=True)).ravel() for v in ranked)
    return _correlation(first, second, len(ranked[0]) - 1, above)


def _correlation(first: np.ndarray, second: np.ndarray, given: int, above: float) -> Finding:
    """Pearson's, of values from which `given` covariates have been taken;
    1.06 is Fieller's factor for ranks.
    """
    found = float(stats.pearsonr(first, second).statistic)
    z, deviation = (
        np.arctanh(np.clip(found, -0.999, 0.999)),
        math.sqrt(1.06 / (len(first) - given - 3)),
    )
    half = stats.norm.ppf(1 - LEVEL) * deviation
    p = stats.norm.sf((z - math.atanh(above)) / deviation)
    return Finding(found, math.tanh(z - half), math.tanh(z + half), float(p), (len(first),))


# Random networks of two spaces


def deviation(networks: np.ndarray) -> np.ndarray:
    """Deviation of networks (..., networks, evaluations) without the noise of their evaluations;
    at least 1e-9.
    """
    noise = networks.var(axis=-1, ddof=1).mean(axis=-1) / networks.shape[-1]
    return np.sqrt(np.maximum(networks.mean(axis=-1).var(axis=-1, ddof=1) - noise, 1e-18))


def repeatability(networks: np.ndarray) -> np.ndarray:
    """Share of the variance of single evaluations (..., networks,
    evaluations) between networks: ICC(1, 1).
    """
    evaluations = networks.shape[-1]
    noise = networks.var(axis=-1, ddof=1).mean(axis=-1)
    between = evaluations * networks.mean(axis=-1).var(axis=-1, ddof=1)
    return (between - noise) / (between + (evaluations - 1) * noise)


def log_deviation_ratio(arms: Arms, above: float = 0.0) -> Finding:
    """log of the first arm's deviation over the second's, both without evaluation noise;
    see `_bootstrap`.
    """
    return _bootstrap(
        arms, above, lambda first, second: np.log(deviation(first) / deviation(second))
    )


def repeatability_difference(arms: Arms, above: float = 0.0) -> Finding:
    """Repeatability of the first arm's networks minus the second's; see `_bootstrap`."""
    return _bootstrap(
        arms, above, lambda first, second: repeatability(first) - repeatability(second)
    )


def _bootstrap(
    arms: Arms, above: float, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Finding:
    """BCa bootstrap of networks, of each arm on its own.
    p: the least level whose one-sided interval lies above.
    """
    first, second = arms

    def drawn(i: np.ndarray, j: np.ndarray, axis: int = -1) -> np.ndarray:
        """Of the networks of these numbers, (..., networks)."""
        return measure(first[np.moveaxis(i, axis, -1)], second[np.moveaxis(j, axis, -1)])

    places = np.arange(len(first)), np.arange(len(second))
    found = stats.bootstrap(
        places, drawn, n_resamples=DRAWS, confidence_level=BOTH_SIDES, method="BCa", rng=0
    )

    def excess(p: float) -> float:
        """By how much the lower bound of the one-sided interval of level 1 - p is above the
        number.
        """
        again = stats.bootstrap(
            *(places, drawn),
            **{"n_resamples": 0, "bootstrap_result": found, "method": "BCa"},
            **{"confidence_level": 1 - p, "alternative": "greater"},
        )
        return float(again.confidence_interval.low) - above

    interval = found.confidence_interval
    sizes = len(first), len(second)
    return Finding(
        float(measure(first, second)),
        float(interval.low),
        float(interval.high),
        _root(excess),
        sizes,
    )


def _root(excess: Callable[[float], float]) -> float:
    """The p at which an excess that grows with p turns positive, to a hundredth of itself;
    by bisection.
    """
    low, high = 1 / (2 * DRAWS), 1 - 1 / (2 * DRAWS)
    if excess(low) > 0:
        return low
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return high


TESTS: Mapping[str, Test] = {
    "reliability": reliability,
    "over_control": over_control,
    "interaction_within": interaction_within,
    "interaction_between": interaction_between,
    "rank_correlation": rank_correlation,
    "correlation_within": correlation_within,
    "log_deviation_ratio": log_deviation_ratio,
    "repeatability_difference": repeatability_difference,
}
"""By the name that a plan calls them."""
