"""Tests of many networks against cases by hand, other libraries and simulated nulls.

Run: pytest tests/measures/test_comparisons.py
"""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from nasutils.measures import comparisons
from tests.benchmarks import calibration

RNG = np.random.default_rng(5)
METHODS = RNG.normal(0, 1.5, (9, 1)) + RNG.normal(0, 1, (9, 5)) + 45
TWICE = METHODS[..., None] + RNG.normal(0, 1, (9, 5, 2))


def test_reliability_is_one_minus_the_inverse_of_f():
    found = comparisons.reliability([TWICE], 0.0)
    f = stats.f_oneway(*TWICE.mean(axis=-1))
    assert found.estimate == pytest.approx(1 - 1 / f.statistic) and found.p == pytest.approx(
        f.pvalue
    )
    assert found.n == (45,)


def test_reliability_by_hand():
    """Means 1 and 5 of two searches each, within variance 2: F = 2 * 8 / 2 = 8."""
    found = comparisons.reliability([np.array([[0.0, 2.0], [4.0, 6.0]])[..., None]], 0.0)
    assert found.estimate == pytest.approx(7 / 8)


def test_the_interval_of_a_reliability_ends_where_the_noncentral_f_says():
    found = comparisons.reliability([TWICE], 0.8)
    f = stats.f_oneway(*TWICE.mean(axis=-1)).statistic
    for end, p in ((found.low, 0.025), (found.high, 0.975)):
        assert stats.ncf.sf(f, 8, 36, 8 * end / (1 - end)) == pytest.approx(p, abs=1e-6)
    assert found.p == pytest.approx(stats.ncf.sf(f, 8, 36, 32))
    assert comparisons.reliability([TWICE], found.low).p == pytest.approx(0.025, abs=1e-6)


def test_methods_that_do_not_differ_have_no_reliability():
    same = np.tile(np.arange(5.0), (9, 1))[..., None]
    found = comparisons.reliability([same], 0.8)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0) and found.p > 0.99


def test_a_second_set_of_searches_leaves_the_reliability_and_narrows_its_interval():
    """The same values again, shifted: the means of five searches are as reliable,
    which is known better.
    """
    one, two = (comparisons.reliability([TWICE, TWICE + 20][:n], 0.8) for n in (1, 2))
    f = 2 * stats.f_oneway(*TWICE.mean(axis=-1)).statistic
    assert two.estimate == pytest.approx((f - 1) / (f + 1)) and two.estimate == pytest.approx(
        one.estimate, abs=0.02
    )
    assert two.high - two.low < one.high - one.low and two.n == (45, 45)


def test_over_control_is_dunnetts():
    values = TWICE.mean(axis=-1)
    expected = stats.dunnett(*values[1:], control=values[0], alternative="greater", random_state=0)
    for method in (1, 8):
        found = comparisons.over_control([TWICE], 0.0, method)
        assert found.estimate == pytest.approx(values[method].mean() - values[0].mean())
        assert found.p == pytest.approx(expected.pvalue[method - 1], abs=1e-3)
    best = comparisons.over_control([TWICE], 0.0)
    assert (
        best.p == pytest.approx(expected.pvalue.min(), abs=1e-3)
        and best.low < best.estimate < best.high
    )
    assert comparisons.over_control([TWICE], best.low).p == pytest.approx(0.025, abs=5e-3)


def test_dunnetts_constant_is_that_of_the_table():
    """Two-sided 5 %, 3 treatments, 20 degrees of freedom: 2.54 (Dunnett 1964)."""
    arm = np.random.default_rng(5).normal(0, 1, (4, 6, 1))
    found = comparisons.over_control([arm], 0.0, 1)
    noise = math.sqrt(arm[..., 0].var(axis=1, ddof=1).mean())
    assert (found.high - found.low) / 2 / (noise * math.sqrt(2 / 6)) == pytest.approx(
        2.54, abs=0.01
    )


def long(arms, shared):
    """A row per search and condition of standardised values."""
    rows = [
        {
            "y": value,
            "method": m,
            "search": f"{m} {s}" if shared else f"{c} {m} {s}",
            "condition": c,
        }
        for c, arm in enumerate(comparisons._standardised(arms))
        for (m, s), value in np.ndenumerate(arm)
    ]
    return pd.DataFrame(rows)


def split_plot(arms):
    """F, p and mean square of the rest of method x condition within searches,
    of two nested least squares.
    """
    table = long(arms, True)
    without, full = (
        ols(f"y ~ C(search) + {term}", table).fit()
        for term in ("C(condition)", "C(method):C(condition)")
    )
    f, p, _ = full.compare_f_test(without)
    return f, p, full.mse_resid


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.SingularMatrixWarning")
def test_the_interaction_of_policies_is_that_of_a_split_plot():
    arms = [
        TWICE,
        TWICE + RNG.normal(0, 1, TWICE.shape),
        TWICE[::-1] + RNG.normal(0, 1, TWICE.shape),
    ]
    found, (f, p, rest) = comparisons.interaction_within(arms), split_plot(arms)
    assert found.estimate == pytest.approx(
        math.sqrt((f - 1) * rest / 5)
    ) and found.p == pytest.approx(p, abs=0.02)


def test_the_interaction_of_data_sets_is_that_of_two_way_analysis():
    arms = [TWICE, RNG.permutation(TWICE)]
    found = comparisons.interaction_between(arms)
    table = anova_lm(ols("y ~ C(method) * C(condition)", long(arms, False)).fit(), typ=2)
    f, rest = (
        table.loc["C(method):C(condition)", "F"],
        table.loc["Residual", "sum_sq"] / (9 * 2 * 4),
    )
    assert found.estimate == pytest.approx(math.sqrt((f - 1) * rest / 5)) and found.p < 0.01


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.SingularMatrixWarning")
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_the_p_of_permutations_is_near_that_of_f_where_noise_is_normal(seed):
    rng = np.random.default_rng(seed)
    arms = [METHODS[..., None] + rng.normal(0, 1, (9, 5, 1)) for _ in range(3)]
    assert comparisons.interaction_within(arms).p == pytest.approx(split_plot(arms)[1], abs=0.05)


def test_a_condition_that_only_spreads_the_networks_more_has_no_interaction():
    wide = 10 + 3 * TWICE
    assert comparisons.interaction_within([TWICE, wide]).estimate == 0
    assert comparisons.interaction_between([TWICE, wide]).estimate == 0
    with pytest.raises(ValueError, match="compared with 0, not with 1"):
        comparisons.interaction_within([TWICE, wide], 1)


def test_rank_correlations_are_those_of_scipy():
    other = TWICE + RNG.normal(0, 1, TWICE.shape)
    a, b = TWICE.mean(axis=-1).ravel(), other.mean(axis=-1).ravel()
    found = comparisons.rank_correlation([TWICE, other])
    assert (
        found.estimate == pytest.approx(stats.spearmanr(a, b).statistic)
        and found.low < found.estimate < found.high < 1
    )
    half = 1.96 * math.sqrt(1.06 / 42)
    assert (found.low, found.high) == pytest.approx(
        np.tanh(np.arctanh(found.estimate) + np.array([-half, half])), abs=1e-4
    )


def test_a_correlation_within_methods_does_not_see_the_methods():
    """The partial correlation given the method:
    Pearson's of the residuals of ranks, by regression.
    """
    other = RNG.normal(0, 1, TWICE.shape) + 10 * np.arange(9)[:, None, None]
    steep = TWICE + 10 * np.arange(9)[:, None, None]
    assert comparisons.rank_correlation([steep, other]).estimate > 0.9
    found = comparisons.correlation_within([steep, other])
    table = pd.DataFrame(
        {"a": stats.rankdata(steep.mean(-1)), "b": stats.rankdata(other.mean(-1))}
    )
    table["method"] = np.repeat(np.arange(9), 5)
    left = [ols(f"{name} ~ C(method)", table).fit().resid for name in "ab"]
    assert (
        found.estimate == pytest.approx(stats.pearsonr(*left).statistic)
        and abs(found.estimate) < 0.5
    )


def test_a_deviation_is_without_the_noise_of_evaluations():
    """Means 1, 3, 5 have variance 4; evaluations differ by 2, variance 2,
    of a mean of two 1: sqrt(3).
    """
    networks = np.array([[0.0, 2.0], [2.0, 4.0], [4.0, 6.0]])
    assert comparisons.deviation(networks) == pytest.approx(math.sqrt(3))
    assert comparisons.repeatability(networks) == pytest.approx((8 - 2) / (8 + 2))
    assert comparisons.deviation(np.array([[0.0, 4.0], [1.0, 3.0], [2.0, 2.0]])) == pytest.approx(
        1e-9
    )


def networks(deviation, count=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(40, deviation, (count, 1)) + rng.normal(0, 1, (count, 2))


def test_a_log_ratio_has_the_bootstraps_interval():
    wide, narrow = networks(2.0), networks(1.0, seed=1)
    found = comparisons.log_deviation_ratio([wide, narrow])
    assert found.estimate == pytest.approx(
        math.log(comparisons.deviation(wide) / comparisons.deviation(narrow))
    )
    assert found.low < math.log(2) < found.high and found.n == (60, 60)
    mirrored = comparisons.log_deviation_ratio([narrow, wide])
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=0.1)
    assert comparisons.log_deviation_ratio([wide, narrow], found.low).p == pytest.approx(
        0.025, rel=0.02
    )
    assert comparisons.log_deviation_ratio([wide, narrow], found.high).p == pytest.approx(
        0.975, abs=0.01
    )


def test_repeatability_differs_where_one_space_is_wider():
    found = comparisons.repeatability_difference([networks(2.0), networks(0.5, seed=1)])
    assert found.p < 0.01 and 0 < found.low < found.estimate < found.high


QUICK = [null for null in calibration.OF_MANY if null.test not in calibration.SLOW]


@pytest.mark.parametrize("null", QUICK, ids=lambda null: f"{null.test}: {null.values}")
def test_tests_err_at_their_level_and_intervals_cover(null, monkeypatch):
    """2.5 % of 200 draws are 5: more than 14 have a probability below 1e-3.
    All of it: figures/calibration.csv.
    """
    monkeypatch.setattr(comparisons, "DRAWS", 199)
    rejected, covered = calibration.rates(null, draws=200, seed=1)
    assert rejected <= 14 / 200
    assert covered >= 0.9
