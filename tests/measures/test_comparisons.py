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

from nasutils import paths
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
    freedom = comparisons._freedom(TWICE.mean(axis=-1).var(axis=1, ddof=1), 5)
    for end, p in ((found.low, 0.025), (found.high, 0.975)):
        assert stats.ncf.sf(f, 8, freedom, 8 * end / (1 - end)) == pytest.approx(p, abs=1e-6)
    assert found.p == pytest.approx(stats.ncf.sf(f, 8, freedom, 32))
    assert comparisons.reliability([TWICE], found.low).p == pytest.approx(0.025, abs=1e-6)


def test_variances_that_differ_have_fewer_degrees_of_freedom():
    """Two variances 1 and 3: mean 2, squared error 2 / 2: 2 * 4 / 1 = 8, at most 2 (n - 1)."""
    assert comparisons._freedom(np.array([1.0, 3.0]), 21) == pytest.approx(8)
    assert comparisons._freedom(np.array([1.0, 3.0]), 4) == 6
    assert comparisons._freedom(np.ones(9), 5) == 36


def test_methods_that_do_not_differ_have_no_reliability():
    same = np.tile(np.arange(5.0), (9, 1))[..., None]
    found = comparisons.reliability([same], 0.8)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0) and found.p > 0.99


@pytest.mark.parametrize(
    ("test", "values"),
    [
        (comparisons.reliability, [np.tile(np.arange(3.0)[:, None, None], (1, 4, 1))]),
        (comparisons.reliability, [TWICE[:, :1]]),
        (comparisons.interaction_within, [TWICE, np.full((9, 5, 1), 45.0)]),
        (comparisons.interaction_between, [TWICE[:, :1], TWICE[:, 1:2]]),
    ],
    ids=["alike", "one search", "a flat condition", "one search each"],
)
@pytest.mark.filterwarnings("ignore")
def test_without_spread_there_is_no_test(test, values):
    found = test(values, 0.0)
    assert np.isnan([found.estimate, found.low, found.high, found.p]).all()


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


def test_over_control_is_near_dunnetts_where_all_vary_alike():
    """With many control networks, whose variance is then known as well as that of the methods."""
    rng = np.random.default_rng(7)
    methods, more = rng.normal(0, 1, (9, 40, 1)), rng.normal(0, 1, (360, 1))
    methods[3] += 0.5
    values = methods[..., 0]
    control = np.concatenate([values[0], more[:, 0]])
    expected = stats.dunnett(*values[1:], control=control, alternative="greater", random_state=0)
    for method in (1, 3, 8):
        found = comparisons.over_control([methods, more], 0.0, method)
        assert found.estimate == pytest.approx(values[method].mean() - control.mean())
        assert found.p == pytest.approx(expected.pvalue[method - 1], abs=0.02)
        assert found.n == (40, 400)
    best = comparisons.over_control([methods, more], 0.0)
    assert best.p == comparisons.over_control([methods, more], 0.0, 3).p
    assert best.low < best.estimate < best.high
    assert comparisons.over_control([methods, more], best.low).p == pytest.approx(0.025, abs=2e-3)


def test_the_constant_of_many_to_one_is_that_of_the_table():
    """Two-sided 5 %, 3 treatments, 20 degrees of freedom: 2.54 (Dunnett 1964).

    The control and the methods have 1 : 1 variances and, here, degrees of freedom in that
    proportion, so that the sum of their variances has about 20.
    """
    draws = comparisons._studentised_nulls((3, 11), 11, (1.0, 1.0))
    freedom = 2**2 / (1 / 10 + 1 / 30)
    again = stats.multivariate_t(shape=np.full((3, 3), 0.5) + np.eye(3) / 2, df=freedom)
    expected = np.abs(again.rvs(100_000, random_state=0)).max(axis=-1)
    found = np.quantile(np.abs(draws).max(axis=-1), 0.95)
    assert found == pytest.approx(np.quantile(expected, 0.95), abs=0.04)


def test_a_control_that_varies_more_is_not_beaten_by_its_own_luck():
    """Its variance shows in the p: pooled over the methods, as Dunnett's, it would be hidden."""
    rng = np.random.default_rng(3)
    values = 1.8 + rng.normal(0, 0.5, (9, 5, 1))
    values[0] = np.array([-4.0, -2, 0, 2, 4])[:, None]
    pooled = stats.dunnett(*values[1:, :, 0], control=values[0, :, 0], alternative="greater")
    found = comparisons.over_control([values], 0.0)
    assert pooled.pvalue.min() < 0.05 < 0.1 < found.p


def test_simulations_draw_as_often_as_they_are_told(monkeypatch):
    monkeypatch.setattr(comparisons, "DRAWS", 19)
    rng = np.random.default_rng(0)
    apart = 10 * rng.normal(size=(9, 1, 1)) + rng.normal(0, 0.1, (9, 5, 1))
    other = 10 * rng.normal(size=(9, 1, 1)) + rng.normal(0, 0.1, (9, 5, 1))
    for interaction in (comparisons.interaction_within, comparisons.interaction_between):
        assert interaction([apart, other]).p == 1 / 20  # the least of 19 draws


def test_a_difference_within_methods_does_not_see_how_the_methods_differ():
    apart = TWICE + 10 * np.arange(9)[:, None, None]
    other = RNG.permutation(TWICE, axis=1) - 1 + 10 * np.arange(9)[:, None, None]
    found = comparisons.difference_within([apart, other])
    table = pd.DataFrame(
        {
            "y": np.concatenate([apart.mean(-1).ravel(), other.mean(-1).ravel()]),
            "method": np.tile(np.repeat(np.arange(9), 5), 2),
            "first": np.repeat([1.0, 0.0], 45),
        }
    )
    fitted = ols("y ~ C(method, Sum) * C(first, Sum)", table).fit()
    assert found.estimate == pytest.approx(1)
    assert found.p == pytest.approx(fitted.t_test("C(first, Sum)[S.0.0] = 0").pvalue / 2, rel=0.01)
    pooled = stats.ttest_ind(apart.mean(-1).ravel(), other.mean(-1).ravel(), equal_var=False)
    assert found.p < pooled.pvalue / 2 / 10
    assert comparisons.difference_within([apart, other], found.low).p == pytest.approx(0.025)


def standardised(arms):
    return [(v - v.mean()) / v.std(ddof=1) for v in (arm.mean(axis=-1) for arm in arms)]


def long(arms, shared):
    """A row per search and condition of standardised values."""
    rows = [
        {
            "y": value,
            "method": m,
            "search": f"{m} {s}" if shared else f"{c} {m} {s}",
            "condition": c,
        }
        for c, arm in enumerate(standardised(arms))
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


def test_the_interval_of_a_correlation_within_methods_counts_the_methods():
    """45 networks less 8 of 9 methods, and Fieller's factor."""
    other = TWICE + np.random.default_rng(0).normal(0, 1, TWICE.shape)
    found = comparisons.correlation_within([TWICE, other])
    half = 1.959964 * math.sqrt(1.06 / (45 - 8 - 3))
    ends = np.tanh(np.arctanh(found.estimate) + np.array([-half, half]))
    assert (found.low, found.high) == pytest.approx(ends)


def test_a_deviation_is_without_the_noise_of_evaluations():
    """Means 1, 3, 5 have variance 4; evaluations differ by 2, variance 2,
    of a mean of two 1: sqrt(3).
    """
    networks = np.array([[0.0, 2.0], [2.0, 4.0], [4.0, 6.0]])
    assert comparisons.deviation(networks) == pytest.approx(math.sqrt(3))
    assert comparisons.repeatability(networks) == pytest.approx((8 - 2) / (8 + 2))


def test_where_networks_differ_by_noise_alone_there_is_no_test_of_their_deviation():
    alike = np.array([[0.0, 4.0], [1.0, 3.0], [2.0, 2.0]])
    assert math.isnan(comparisons.deviation(alike))
    for other in (alike, networks(2.0)):
        found = comparisons.log_deviation_ratio([alike, other])
        assert math.isnan(found.p) and math.isnan(found.low)
    constant = np.ones((3, 2, 1))
    assert math.isnan(comparisons.difference_within([constant, constant]).p)


def networks(deviation, count=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(40, deviation, (count, 1)) + rng.normal(0, 1, (count, 2))


def test_a_log_ratio_has_the_jackknifes_interval():
    wide, narrow = networks(2.0), networks(1.0, seed=1)
    found = comparisons.log_deviation_ratio([wide, narrow])
    errors = [
        jackknife_error(arm, lambda a: math.log(comparisons.deviation(a)))
        for arm in (wide, narrow)
    ]
    freedom = sum(e**2 for e in errors) ** 2 / sum(e**4 / 59 for e in errors)
    half = stats.t.ppf(0.975, freedom) * math.hypot(*errors)
    ratio = math.log(comparisons.deviation(wide) / comparisons.deviation(narrow))
    assert found.estimate == pytest.approx(ratio) and found.n == (60, 60)
    assert (found.low, found.high) == pytest.approx((ratio - half, ratio + half))
    assert found.low < math.log(2) < found.high
    assert comparisons.log_deviation_ratio([wide, narrow], found.low).p == pytest.approx(0.025)
    mirrored = comparisons.log_deviation_ratio([narrow, wide])
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def jackknife_error(values, measure):
    """Square root of (n - 1) / n times the squared deviations of what is left without one."""
    n = len(values)
    left = np.array([measure(np.delete(values, i, axis=0)) for i in range(n)])
    return math.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())


def test_repeatability_differs_where_one_space_is_wider():
    found = comparisons.repeatability_difference([networks(2.0), networks(0.5, seed=1)])
    assert found.p < 0.01 and 0 < found.low < found.estimate < found.high


NULLS = {case.test: case for case in calibration.OF_MANY if case.truth == case.above}
"""The last one of each test, of heavy tails where the test has shapes."""


@pytest.mark.parametrize("case", NULLS.values(), ids=lambda case: case.test)
def test_tests_err_at_their_level_and_intervals_cover(case, monkeypatch):
    """3.5 % of 200 draws are 7: more than 17 are rare. All of it: figures/calibration.csv."""
    monkeypatch.setattr(comparisons, "DRAWS", 199)
    rejected, covered = calibration.rates(case, draws=200, seed=1)
    assert rejected <= 17 / 200
    assert covered >= 0.9


def test_the_committed_table_is_of_these_cases_and_no_level_is_far_off():
    """2.5 % in 2,000 draws: 1.5 to 3.5 %, but where the worst tails meet an uneven spread."""
    table = pd.read_csv(paths.ROOT / "figures" / "calibration.csv")
    rows = [(case.test, case.values, round(case.truth, 3)) for case in calibration.CASES]
    assert list(table[["test", "values", "truth"]].itertuples(index=False, name=None)) == rows
    nulls = table[(table["above"] == table["truth"]) & table["test"].isin(comparisons.TESTS)]
    assert (nulls["draws"] >= 2000).all()
    assert nulls["rejects (%)"].between(1.1, 3.8).all()
    assert (nulls["rejects (%)"].between(1.5, 3.5)).mean() > 0.8
