"""From the values of independent searches to an estimate and its interval, and tests of them.

`estimate` and `central` describe: a mean, a median. The others are the tests of the confirmatory
study.

Every test takes one array of values per arm and asks whether its statistic is above a number,
one-sided; intervals are two-sided at 95 %, so that "the interval lies above" and "p < 2.5 %" say
the same. Only for an AUC and for a difference of shares, whose interval (through the logit,
Newcombe's) is built in another way than the test, can they differ near the threshold: then p
decides on "supported", the interval on "refuted". The tests are those of scipy and statsmodels.
Arms are not paired, but for costs (`paired`): over seeds the values of most arms hardly correlate.
"""

import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

LEVEL = 0.025
"""Error rate of a one-sided test, and of each side of an interval."""
BOTH_SIDES = 1 - 2 * LEVEL


def columns(name: str, centre: float, low: float, high: float) -> dict[str, float]:
    """A centre and its interval as columns of a table: `<name>`, `<name>_low`, `<name>_high`."""
    return {name: centre, f"{name}_low": low, f"{name}_high": high}


# What is described


@dataclass(frozen=True)
class Estimate:
    """A mean, or another centre, over n seeds with its 95 % interval (nan without a spread)."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def unknown(cls, n: int = 0) -> "Estimate":
        """The estimate of n values from which none can be made: nan, without an interval."""
        return cls(math.nan, math.nan, math.nan, n)

    def columns(self, name: str) -> dict[str, float]:
        """For a table, see `columns`."""
        return columns(name, self.mean, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"


def estimate(values: ArrayLike | pd.Series) -> Estimate:
    """Mean and Student-t 95 % interval of independent values; nan values are left out."""
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    n = len(x)
    if n == 0:
        return Estimate.unknown()
    mean = float(x.mean())
    if n == 1:  # one value has no spread
        return Estimate(mean, math.nan, math.nan, 1)
    half = float(stats.t.ppf(1 - LEVEL, n - 1) * x.std(ddof=1) / math.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def central(values: ArrayLike) -> Estimate:
    """Median of independent values and its interval of order statistics; nan values are left out.

    It asks nothing of the distribution and never leaves the range of the values. From six of them
    on it covers at least 95 %; of fewer it is their whole range, which covers 1 - 2^(1-n): 94 % of
    five.
    """
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    n = len(x)
    if n < 2:
        return estimate(x)
    low, high = _median_interval(x)
    if math.isnan(low):  # fewer than six
        low, high = float(x.min()), float(x.max())
    return Estimate(float(np.median(x)), low, high, n)


# What is tested


@dataclass(frozen=True)
class Finding:
    """A statistic, its 95 % interval, the one-sided p of its being above a number,
    and how many values each arm has.

    p is nan where nothing is tested.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: tuple[int, ...]

    def columns(self, name: str) -> dict[str, float]:
        """For a table, see `columns`."""
        return columns(name, self.estimate, self.low, self.high)

    def __str__(self) -> str:
        sizes = " and ".join(map(str, self.n))
        return f"{self.estimate:.3g} [{self.low:.3g}, {self.high:.3g}], n = {sizes}"


Arms = Sequence[np.ndarray]
"""Per arm the values of its searches, (searches,); lists of them are taken for arrays."""
Test = Callable[[Arms, float], Finding]


def _as_arrays(arms: Arms) -> list[np.ndarray]:
    """The arms as arrays: from a notebook they may come as lists."""
    return [np.asarray(values) for values in arms]


# One arm


def binomial_test(arms: Arms, above: float) -> Finding:
    """Share of ones among zeros and ones: exact binomial test, Clopper and Pearson's interval."""
    (values,) = _as_arrays(arms)
    count, n = int(values.sum()), len(values)
    tested = stats.binomtest(count, n, above, alternative="greater")
    interval = stats.binomtest(count, n).proportion_ci(BOTH_SIDES, method="exact")
    return Finding(count / n, interval.low, interval.high, float(tested.pvalue), (n,))


def sign_test(arms: Arms, above: float) -> Finding:
    """Median of any distribution: sign test, interval of order statistics."""
    (values,) = _as_arrays(arms)
    tested = stats.quantile_test(values, q=above, p=0.5, alternative="greater")
    low, high = _median_interval(values)
    return Finding(float(np.median(values)), low, high, float(tested.pvalue), (len(values),))


def median_only(arms: Arms, above: float = math.nan) -> Finding:
    """Median with its interval and no test, for what is only described."""
    (values,) = _as_arrays(arms)
    low, high = _median_interval(values)
    return Finding(float(np.median(values)), low, high, math.nan, (len(values),))


def _median_interval(values: np.ndarray) -> tuple[float, float]:
    """nan of fewer than six values."""
    low, high = _median_places(len(values))
    if math.isnan(low):
        return low, high
    ends = np.sort(values)[[int(low), int(high)]]
    return float(ends[0]), float(ends[1])


@cache
def _median_places(n: int) -> tuple[float, float]:
    """The places of those of n sorted values between which their median lies; nan of too few.

    They depend on n alone, and scipy takes a millisecond to find them: figures ask every epoch.
    """
    low, high = stats.quantile_test(np.arange(n), p=0.5).confidence_interval(BOTH_SIDES)
    return float(low), float(high)


def signed_rank_test(arms: Arms, above: float) -> Finding:
    """Centre of a distribution with one hump:
    Wilcoxon's signed ranks, the Hodges-Lehmann estimate.

    The interval holds the centres that the two tests do not reject: it ends at means of pairs of
    values.
    """
    (values,) = _as_arrays(arms)
    first, second = np.triu_indices(len(values))
    pairs = (values[first] + values[second]) / 2
    means = np.unique(pairs)
    # p changes only at the means, so it is asked for between them.
    between = (means[1:] + means[:-1]) / 2

    def p(centre: float, alternative: str) -> float:
        return float(stats.wilcoxon(values - centre, alternative=alternative).pvalue)

    # From the first place on at which a test does not reject, from below and from above.
    places = range(len(between))
    below = bisect_left(places, True, key=lambda i: p(float(between[i]), "greater") > LEVEL)
    beyond = bisect_left(places, True, key=lambda i: p(float(between[-1 - i]), "less") > LEVEL)
    low, high = float(means[below]), float(means[-1 - beyond])
    centre = float(np.median(pairs))
    return Finding(centre, low, high, p(above, "greater"), (len(values),))


def t_test(arms: Arms, above: float) -> Finding:
    """Mean of a distribution with one hump: Student's t."""
    (values,) = _as_arrays(arms)
    tested = stats.ttest_1samp(values, above, alternative="greater")
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(BOTH_SIDES)
    low, high = (float(end) for end in interval)
    return Finding(float(values.mean()), low, high, float(tested.pvalue), (len(values),))


def fisher_t_test(arms: Arms, above: float) -> Finding:
    """Mean of correlations, one per search: Student's t of Fisher's z."""
    found = t_test([fisher_z(values) for values in arms], math.atanh(above))
    return replace(
        found,
        estimate=math.tanh(found.estimate),
        low=math.tanh(found.low),
        high=math.tanh(found.high),
    )


def fisher_z(correlations: ArrayLike) -> np.ndarray:
    """Fisher's z of correlations, artanh; a perfect one, of few points, has no finite z and counts
    as 0.999.
    """
    return np.arctanh(np.clip(correlations, -0.999, 0.999))


# Two arms


def boschloo_test(arms: Arms, above: float = 0.0) -> Finding:
    """Share of ones in the first arm minus that in the second:
    Boschloo's exact test of 0, Newcombe's interval.

    Raises ValueError for another number than 0.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    if above:
        raise ValueError(f"two shares are compared with a difference of 0, not of {above}")
    a, b = (int(values.sum()) for values in _as_arrays(arms))
    m, n = (len(values) for values in _as_arrays(arms))
    tested = stats.boschloo_exact([[a, b], [m - a, n - b]], alternative="greater")
    low, high = confint_proportions_2indep(
        a, m, b, n, method="newcomb", compare="diff", alpha=2 * LEVEL
    )
    return Finding(a / m - b / n, float(low), float(high), float(tested.pvalue), (m, n))


def brunner_munzel_test(arms: Arms, above: float = 0.5) -> Finding:
    """P(X > Y) + P(X = Y) / 2 of the first arm X and the second Y:
    Brunner and Munzel, its interval through the logit.

    Arms that do not overlap show no variance to go by: their p is that of the permutations, their
    interval Newcombe's. Raises ValueError for another number than 0.5.
    """
    from statsmodels.stats.nonparametric import rank_compare_2indep

    if above != 0.5:
        raise ValueError(f"an AUC is compared with 0.5, not with {above}")
    x, y = _as_arrays(arms)
    sizes = len(x), len(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = rank_compare_2indep(x, y)
    value = float(found.prob1)
    deviation = math.sqrt(found.var_prob)
    if deviation == 0:
        low, high = _newcombe(value, *sizes)
        p = 1 / math.comb(sum(sizes), len(x)) if value == 1 else 1.0
        return Finding(value, low, high, p, sizes)
    p = float(stats.t.sf((value - 0.5) / deviation, found.df))
    logit = math.log(value / (1 - value))
    half = stats.t.ppf(1 - LEVEL, found.df) * deviation / (value * (1 - value))
    low = 1 / (1 + math.exp(-(logit - half)))
    high = 1 / (1 + math.exp(-(logit + half)))
    return Finding(value, low, high, p, sizes)


def _newcombe(found: float, m: int, n: int) -> tuple[float, float]:
    """Interval of an AUC, Newcombe (2006), method 5:
    the values whose Hanley-McNeil deviation does not exclude it.
    """
    z = stats.norm.ppf(1 - LEVEL)

    def excess(value: float) -> float:
        """How much farther `found` is from a value than its deviations reach."""
        shares = (1 - value) / (2 - value) + value / (1 + value)
        pairs = 1 + ((m + n) / 2 - 1) * shares
        variance = value * (1 - value) * pairs / (m * n)
        return abs(found - value) - z * math.sqrt(variance)

    low = brentq(excess, 1e-9, found - 1e-9) if found > 0 else 0.0
    high = brentq(excess, found + 1e-9, 1 - 1e-9) if found < 1 else 1.0
    return low, high


def welch_test(arms: Arms, above: float = 0.0) -> Finding:
    """Mean of the first arm minus that of the second, of values with one hump: Welch's t."""
    first, second = _as_arrays(arms)
    with warnings.catch_warnings():
        # Of an arm whose values are all the same, such as what a schedule alone decides, scipy
        # says that its variance may be rounding: it is, and nothing beside the other arm's.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        tested = stats.ttest_ind(first - above, second, equal_var=False, alternative="greater")
        interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(BOTH_SIDES)
    difference = float(first.mean() - second.mean())
    low, high = (float(end) for end in interval)
    return Finding(difference, low, high, float(tested.pvalue), (len(first), len(second)))


def fisher_welch_test(arms: Arms, above: float = 0.0) -> Finding:
    """Welch's t of Fisher's z: mean of the first arm's correlations, one per search, minus that of
    the second's, in units of z.
    """
    return welch_test([fisher_z(values) for values in arms], above)


def paired_signed_rank_test(arms: Arms, above: float = 0.0) -> Finding:
    """Centre of the first arm minus the second, seed by seed:
    of what shares a machine and an hour, as costs do.
    """
    first, second = _as_arrays(arms)
    return signed_rank_test([first - second], above)


def equivalence_test(arms: Arms, above: float) -> Finding:
    """Whether a mean, or the difference of two, lies within +-`above`:
    two one-sided t tests, the larger p.
    """
    if len(arms) == 1:
        (values,) = _as_arrays(arms)
        found = t_test([values], -above)
        mirrored = t_test([-values], -above)
    else:
        first, second = _as_arrays(arms)
        found = welch_test([first, second], -above)
        mirrored = welch_test([second, first], -above)
    return replace(found, p=max(found.p, mirrored.p))


TESTS: Mapping[str, Test] = {
    "share": binomial_test,
    "median": sign_test,
    "described": median_only,
    "centre": signed_rank_test,
    "mean": t_test,
    "correlation": fisher_t_test,
    "share_difference": boschloo_test,
    "auc": brunner_munzel_test,
    "difference": welch_test,
    "correlation_difference": fisher_welch_test,
    "paired": paired_signed_rank_test,
    "equivalent": equivalence_test,
}
"""The tests, by the name that a plan calls them."""


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p of a family of tests."""
    from statsmodels.stats.multitest import multipletests

    return [float(q) for q in multipletests(list(p), method="holm")[1]] if len(p) else []
