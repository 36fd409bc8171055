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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from nasutils.measures.estimates import BOTH_SIDES, LEVEL, Arms, Finding, Test, fisher_z

DRAWS = 4999
"""Permutations; ten times as many draws of a parametric bootstrap."""


def once(accuracy: np.ndarray) -> np.ndarray:
    """Networks that were evaluated once, as an arm: (...) -> (..., 1), evaluations last."""
    return accuracy[..., None]


def _searches(arms: Arms) -> list[np.ndarray]:
    """Means over evaluations: (methods, searches), or (networks,)."""
    return [arm.mean(axis=-1) for arm in arms]


# Are methods told apart?


def reliability(arms: Arms, above: float) -> Finding:
    """Share of the variance between methods' means of k searches that is not noise.

    k: the searches of one arm. arms: conditions with searches of their own, whose means are
    removed. One arm: 1 - 1/F of the analysis of variance, the intraclass correlation ICC(1, k) of
    Shrout and Fleiss (1979), for fixed methods; see `_freedom`.
    """
    values = _searches(arms)
    methods, searches = values[0].shape
    means = np.mean([v.mean(axis=1) - v.mean() for v in values], axis=0)
    variances = np.concatenate([v.var(axis=1, ddof=1) for v in values])
    sizes = tuple(v.size for v in values)
    if not variances.mean() > 0:  # no spread, no test
        return Finding(math.nan, math.nan, math.nan, math.nan, sizes)
    freedom = methods - 1, _freedom(variances, searches)
    between = len(values) * searches * (means**2).sum() / freedom[0]
    f = between / variances.mean()

    def reliable(ratio: float) -> float:
        """ratio: of the variance of means over that of their noise, in all arms."""
        return ratio / (ratio + len(values))

    if above:
        p = stats.ncf.sf(f, *freedom, freedom[0] * len(values) * above / (1 - above))
    else:
        p = stats.f.sf(f, *freedom)
    low, high = (reliable(ratio) for ratio in _ratios(f, freedom))
    return Finding(reliable(max(f - 1, 0.0)), low, high, float(p), sizes)


def _freedom(variances: np.ndarray, searches: int) -> float:
    """Degrees of freedom of a mean of variances, each of that many searches.

    Those of a variance that deviates by as much as this mean does, by how the variances differ
    (2 m^2 / Var m, Satterthwaite): fewer than their sum where methods differ in their spread or
    values have heavy tails. F is sensitive to both where it is compared with more than 1.
    """
    most = len(variances) * (searches - 1)
    squared_error = variances.var(ddof=1) / len(variances)
    if squared_error == 0:
        return most
    return float(min(most, 2 * variances.mean() ** 2 / squared_error))


def _ratios(f: float, freedom: tuple[int, float]) -> tuple[float, float]:
    """The 95 % interval of the noncentrality of an F over its first degrees of freedom."""
    low = _noncentrality(f, freedom, 1 - LEVEL)
    high = _noncentrality(f, freedom, LEVEL)
    return low / freedom[0], high / freedom[0]


def _noncentrality(f: float, freedom: tuple[int, float], p: float) -> float:
    """Noncentrality of which the probability of a smaller F is p; 0 where there is none."""
    if stats.f.cdf(f, *freedom) <= p:
        return 0.0
    most = 1.0
    while stats.ncf.cdf(f, *freedom, most) > p:
        most *= 2

    def excess(nc: float) -> float:
        return stats.ncf.cdf(f, *freedom, nc) - p if nc else 1.0

    return float(brentq(excess, 0.0, most))


def over_control(arms: Arms, above: float, method: int | None = None) -> Finding:
    """Mean of a method minus that of the control; p and interval hold for all methods together.

    arms: the methods, and perhaps more networks of the control, (networks, evaluations). method:
    its place; None: the one of the largest mean, so whether any method is above the control.

    As Dunnett's test (1955), but the control has a variance of its own: random networks may
    deviate by more than those that searches find, and one variance for all then errs three times
    as often as it should. The methods share one. The distribution of the largest t comes from a
    parametric bootstrap, as Krishnamoorthy, Lu and Mathew (2007) do for unequal variances.
    """
    values, *more = _searches(arms)
    control = np.concatenate([values[0], *more])
    others = values[1:]
    networks, searches = len(control), others.shape[1]
    variances = control.var(ddof=1), float(others.var(axis=1, ddof=1).mean())
    error = math.sqrt(variances[0] / networks + variances[1] / searches)
    differences = others.mean(axis=1) - control.mean()
    which = int(np.argmax(differences)) if method is None else method - 1
    found = float(differences[which])
    sizes = searches, networks
    if error == 0.0:  # no spread, no test
        return Finding(found, math.nan, math.nan, math.nan, sizes)
    nulls = _studentised_nulls(others.shape, networks, variances)
    reached = nulls.max(axis=-1) >= (found - above) / error
    p = (1 + int(reached.sum())) / (1 + len(nulls))
    half = error * float(np.quantile(np.abs(nulls).max(axis=-1), BOTH_SIDES))
    return Finding(found, found - half, found + half, p, sizes)


@lru_cache(maxsize=8)
def _studentised_nulls(
    shape: tuple[int, ...], control: int, variances: tuple[float, float]
) -> np.ndarray:
    """Differences over their error, of methods as good as the control: (draws, methods).

    shape: methods, searches of each; control: its number of networks; variances: of a network of
    the control, of a search. They are the same for every method of a comparison, so those of the
    last eight are kept.
    """
    rng = np.random.default_rng(0)
    draws = 10 * DRAWS
    methods, searches = shape
    noise = np.array([variances[0] / control, variances[1] / searches])  # of the two means
    freedom = np.array([control - 1, methods * (searches - 1)])
    of_control = math.sqrt(noise[0]) * rng.normal(size=(draws, 1))
    of_methods = math.sqrt(noise[1]) * rng.normal(size=(draws, methods))
    error = np.sqrt(rng.chisquare(freedom, (draws, 2)) @ (noise / freedom))
    return (of_methods - of_control) / error[:, None]


def difference_within(arms: Arms, above: float = 0.0) -> Finding:
    """Mean of the first condition minus that of the second, whose searches differ.

    Welch's t with the variances within methods: the methods are the same in both.
    """
    first, second = _searches(arms)
    squares, freedom = [], []
    for v in (first, second):
        methods, searches = v.shape
        squares.append(v.var(axis=1, ddof=1).mean() / v.size)
        freedom.append(methods * (searches - 1))
    difference = float(first.mean() - second.mean())
    return _t(difference, squares, freedom, above, (first.size, second.size))


def _t(
    difference: float,
    squares: Sequence[float],
    freedom: Sequence[int],
    above: float,
    sizes: tuple[int, ...],
) -> Finding:
    """Finding of a difference whose two parts have these squared errors; degrees of freedom by
    Welch. nan where these are no errors.
    """
    error = math.sqrt(sum(squares))
    if not error > 0:
        return Finding(difference, math.nan, math.nan, math.nan, sizes)
    parts = sum(square**2 / f for square, f in zip(squares, freedom, strict=True))
    t = stats.t(error**4 / parts)
    half = t.ppf(1 - LEVEL) * error
    p = float(t.sf((difference - above) / error))
    return Finding(difference, float(difference - half), float(difference + half), p, sizes)


# Does the ranking depend on the condition?


class Squares(NamedTuple):
    """Mean squares (...) of an interaction and of the rest, and the degrees of freedom of both."""

    effect: np.ndarray
    rest: np.ndarray
    freedom: tuple[int, int]


def interaction_within(arms: Arms, above: float = 0.0) -> Finding:
    """Deviation of the interaction of methods with conditions that share their searches.

    Policies are such conditions. In units of the deviation of a condition's networks, so that a
    condition that only spreads them more has none. F of the interaction over what is left within
    searches. p: what is left of the values of a search, without their mean and their condition's,
    is permuted among the conditions. Raises ValueError for another number than 0.
    """
    values = np.stack(_searches(arms), axis=-1)  # (methods, searches, conditions)
    standardised = _standardised(values, (-3, -2))
    of_search = standardised.mean(axis=-1, keepdims=True)
    left = standardised - of_search
    left = left - left.mean(axis=(0, 1))
    drawn = of_search + permutations(left, DRAWS)
    return _interaction(_squares_within, values, drawn, values.shape[1], above)


def interaction_between(arms: Arms, above: float = 0.0) -> Finding:
    """Deviation of the interaction of methods with conditions whose searches differ, such as data
    sets; in the same units as `interaction_within`.

    p: what is left of the values without the means of their method and condition is permuted
    within methods. Raises ValueError for another number than 0.
    """
    values = np.stack(_searches(arms), axis=1)  # (methods, conditions, searches)
    standardised = _standardised(values, (-3, -1))
    of_method = standardised.mean(axis=(1, 2), keepdims=True)
    left = (standardised - of_method).reshape(len(values), -1)
    drawn = of_method + permutations(left, DRAWS).reshape(-1, *values.shape)
    return _interaction(_squares_between, values, drawn, values.shape[2], above)


def _squares_within(values: np.ndarray) -> Squares:
    """values: (..., methods, searches, conditions), of conditions that share their searches."""
    methods, searches, conditions = values.shape[-3:]
    v = _standardised(values, (-3, -2))
    v = v - v.mean(axis=-1, keepdims=True)
    v = v - v.mean(axis=(-3, -2), keepdims=True)
    cells = v.mean(axis=-2, keepdims=True)
    effect = searches * (cells**2).sum(axis=(-3, -2, -1))
    rest = ((v - cells) ** 2).sum(axis=(-3, -2, -1))
    freedom = (methods - 1) * (conditions - 1), methods * (searches - 1) * (conditions - 1)
    return Squares(effect / freedom[0], rest / freedom[1], freedom)


def _squares_between(values: np.ndarray) -> Squares:
    """values: (..., methods, conditions, searches), of conditions whose searches differ."""
    methods, conditions, searches = values.shape[-3:]
    v = _standardised(values, (-3, -1))
    cells = v.mean(axis=-1)
    rest = ((v - cells[..., None]) ** 2).sum(axis=(-3, -2, -1))
    cells = cells - cells.mean(axis=-1, keepdims=True) - cells.mean(axis=-2, keepdims=True)
    cells = cells - cells.mean(axis=(-2, -1), keepdims=True)
    effect = searches * (cells**2).sum(axis=(-2, -1))
    freedom = (methods - 1) * (conditions - 1), methods * conditions * (searches - 1)
    return Squares(effect / freedom[0], rest / freedom[1], freedom)


def _standardised(values: np.ndarray, within: tuple[int, ...]) -> np.ndarray:
    """Each condition with mean 0 and deviation 1 over these axes, its networks.

    That also takes from the interaction what goes with the methods' means. Permuted values are
    therefore standardised again: otherwise the test errs less often than it may.
    """
    centred = values - values.mean(axis=within, keepdims=True)
    return centred / centred.std(axis=within, ddof=1, keepdims=True)


def permutations(values: np.ndarray, draws: int) -> np.ndarray:
    """So many copies of values, each shuffled along the last axis: (...) -> (draws, ...)."""
    copies = np.broadcast_to(values, (draws, *values.shape))
    return np.random.default_rng(0).permuted(copies, axis=-1)


def _interaction(
    squares: Callable[[np.ndarray], Squares],
    values: np.ndarray,
    drawn: np.ndarray,
    searches: int,
    above: float,
) -> Finding:
    """drawn: values in which what is left was permuted, (draws, *values.shape)."""
    if above:
        raise ValueError(f"an interaction is compared with 0, not with {above}")
    found = squares(values)
    if not found.rest > 0:  # no spread, no test
        return Finding(math.nan, math.nan, math.nan, math.nan, (values.size,))
    chance = squares(drawn)
    f = float(found.effect / found.rest)
    reached = chance.effect / chance.rest >= f
    p = (1 + int(reached.sum())) / (1 + len(drawn))
    low, high = (math.sqrt(ratio * found.rest / searches) for ratio in _ratios(f, found.freedom))
    estimate = math.sqrt(max(f - 1, 0.0) * found.rest / searches)
    return Finding(estimate, low, high, p, (values.size,))


# Do two measures of the same networks go together?


def rank_correlation(arms: Arms, above: float = 0.0) -> Finding:
    """Spearman's rank correlation of two arms of the same networks in the same order;
    interval by Fisher's z.
    """
    first, second = (stats.rankdata(v) for v in _searches(arms))
    return _correlation(first, second, 0, above)


def correlation_within(arms: Arms, above: float = 0.0) -> Finding:
    """Partial correlation of the ranks of two arms over all networks, given the method."""
    residuals = []
    for values in _searches(arms):
        ranked = stats.rankdata(values).reshape(values.shape)
        residuals.append((ranked - ranked.mean(axis=1, keepdims=True)).ravel())
    first, second = residuals
    return _correlation(first, second, len(arms[0]) - 1, above)


def _correlation(first: np.ndarray, second: np.ndarray, given: int, above: float) -> Finding:
    """Pearson's correlation of values from which `given` covariates have been taken;
    1.06 is Fieller's factor for ranks.
    """
    found = float(stats.pearsonr(first, second).statistic)
    z = fisher_z(found)
    deviation = math.sqrt(1.06 / (len(first) - given - 3))
    half = stats.norm.ppf(1 - LEVEL) * deviation
    p = stats.norm.sf((z - math.atanh(above)) / deviation)
    return Finding(found, math.tanh(z - half), math.tanh(z + half), float(p), (len(first),))


# Random networks of two spaces


def deviation(networks: np.ndarray) -> np.ndarray:
    """Deviation of networks (..., networks, evaluations) without the noise of their evaluations;
    nan where it is not larger than that.
    """
    noise = networks.var(axis=-1, ddof=1).mean(axis=-1) / networks.shape[-1]
    between = networks.mean(axis=-1).var(axis=-1, ddof=1)
    return np.sqrt(np.where(between > noise, between - noise, np.nan))


def repeatability(networks: np.ndarray) -> np.ndarray:
    """Share of the variance of single evaluations that is between networks: ICC(1, 1).

    networks: (..., networks, evaluations) -> (...).
    """
    evaluations = networks.shape[-1]
    noise = networks.var(axis=-1, ddof=1).mean(axis=-1)
    between = evaluations * networks.mean(axis=-1).var(axis=-1, ddof=1)
    return (between - noise) / (between + (evaluations - 1) * noise)


def log_deviation_ratio(arms: Arms, above: float = 0.0) -> Finding:
    """log of the first arm's deviation over the second's, both without evaluation noise.

    See `_jackknife`.
    """
    return _jackknife(arms, above, lambda networks: np.log(deviation(networks)))


def repeatability_difference(arms: Arms, above: float = 0.0) -> Finding:
    """Repeatability of the first arm's networks minus the second's; see `_jackknife`."""
    found = _jackknife(arms, above, repeatability)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def _jackknife(arms: Arms, above: float, measure: Callable[[np.ndarray], np.ndarray]) -> Finding:
    """A measure of the first arm's networks minus that of the second's, by jackknives.

    Each arm's error is that of its jackknife over networks, t has Welch's degrees of freedom:
    Miller's test (1968), which needs no normal values. A bootstrap, studentised or BCa, errs more
    often at these sizes. measure: (..., networks, evaluations) -> (...).
    """
    estimates, squares = [], []
    for networks in arms:
        count = len(networks)
        others = [np.delete(networks, i, axis=0) for i in range(count)]
        without = measure(np.stack(others))
        estimates.append(float(measure(networks)))
        squares.append(float((count - 1) * without.var()))
    sizes = tuple(len(networks) for networks in arms)
    first, second = estimates
    return _t(first - second, squares, [n - 1 for n in sizes], above, sizes)


TESTS: Mapping[str, Test] = {
    "reliability": reliability,
    "over_control": over_control,
    "difference_within": difference_within,
    "interaction_within": interaction_within,
    "interaction_between": interaction_between,
    "rank_correlation": rank_correlation,
    "correlation_within": correlation_within,
    "log_deviation_ratio": log_deviation_ratio,
    "repeatability_difference": repeatability_difference,
}
"""The tests, by the name that a plan calls them."""
