"""Tests of the confirmatory study against cases by hand, other libraries and simulated nulls.

Run: pytest tests/measures/test_estimates.py
"""

import math

import numpy as np
import pytest
from scipy import stats

from nasutils.measures import estimates
from tests.benchmarks import calibration

RNG = np.random.default_rng(7)
X, Y = RNG.normal(1.0, 1.0, 15), RNG.normal(0.0, 2.0, 12)


def test_a_share_by_hand():
    """Three of ten: P(3 or more | 3.03 %), and Clopper and Pearson's textbook interval."""
    found = estimates.binomial_test([np.array([1.0] * 3 + [0.0] * 7)], 0.0303)
    p = sum(math.comb(10, k) * 0.0303**k * 0.9697 ** (10 - k) for k in range(3, 11))
    assert found.estimate == 0.3 and found.p == pytest.approx(p)
    assert (found.low, found.high) == pytest.approx((0.0667, 0.6525), abs=1e-4)


def test_all_of_three_are_enough_against_a_rare_event():
    assert estimates.binomial_test([np.ones(3)], 0.0303).p == pytest.approx(0.0303**3)


def test_a_median_is_tested_by_signs():
    found = estimates.sign_test([np.array([-1.0, 1, 2, 3, 4, 5, 6, 7, 8, 90])], 0.0)
    assert found.p == pytest.approx((1 + 10) / 1024)
    assert (found.estimate, found.low, found.high) == (4.5, 1.0, 8.0)
    assert estimates.sign_test([np.zeros(8)], 0.0).p == 1.0


def test_a_centre_has_the_interval_that_its_test_does_not_reject():
    found = estimates.signed_rank_test([X], 0.0)
    assert found.p == pytest.approx(stats.wilcoxon(X, alternative="greater").pvalue)
    inside, outside = (np.nextafter(found.low, side) for side in (math.inf, -math.inf))
    assert stats.wilcoxon(X - inside, alternative="greater").pvalue > estimates.LEVEL
    assert stats.wilcoxon(X - outside, alternative="greater").pvalue <= estimates.LEVEL
    pairs = [(a + b) / 2 for i, a in enumerate(X) for b in X[i:]]  # Hodges and Lehmann's
    assert found.estimate == pytest.approx(np.median(pairs))
    mirrored = estimates.signed_rank_test([-X], 0.0)
    assert (mirrored.low, mirrored.high) == (-found.high, -found.low)


def test_the_centre_of_six_is_their_range():
    """The least one-sided p of six signs is 1/64, below 2.5 %."""
    values = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6])
    found = estimates.signed_rank_test([values], 0.0)
    assert (found.low, found.high, found.p) == (1.0, 9.0, pytest.approx(1 / 64))
    assert estimates.signed_rank_test([np.full(6, 2.0)], 0.0).low == 2.0


def test_an_auc_by_counting_pairs():
    x, y = np.array([1.0, 2, 3, 5]), np.array([0.0, 1, 2, 2.5, 9])
    found = estimates.brunner_munzel_test([x, y])
    assert found.estimate == np.mean([(a > b) + (a == b) / 2 for a in x for b in y])
    assert found.p == pytest.approx(stats.brunnermunzel(x, y).pvalue / 2)
    assert 0 < found.low < 0.5 < found.high < 1


def test_arms_that_do_not_overlap():
    above, below = (
        estimates.brunner_munzel_test([X + 100, Y]),
        estimates.brunner_munzel_test([Y, X + 100]),
    )
    assert (above.estimate, above.high, above.p) == (1.0, 1.0, 1 / math.comb(27, 15))
    assert 0.8 < above.low < 0.95 and below.high == pytest.approx(1 - above.low)
    assert below.p == 1.0 and estimates.brunner_munzel_test([np.ones(6), np.ones(6)]).p == 1.0


def test_two_shares():
    arms = [np.array([1.0] * 8 + [0.0] * 2), np.array([1.0] * 2 + [0.0] * 8)]
    found = estimates.boschloo_test(arms)
    fisher = stats.fisher_exact([[8, 2], [2, 8]], alternative="greater").pvalue
    assert found.estimate == pytest.approx(0.6) and 0 < found.p < fisher < 0.025
    assert 0 < found.low < 0.6 < found.high < 1
    assert estimates.boschloo_test(arms[::-1]).p > 0.9


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_arm_that_its_schedule_alone_decides_is_compared_without_a_warning():
    found = estimates.welch_test([np.array([0.8, 0.9, 0.85]), np.full(12, 0.14)])
    assert found.p < 0.01 and found.estimate == pytest.approx(0.71)


def test_differences_and_means_are_students_and_welchs():
    found = estimates.welch_test([X, Y], 0.5)
    assert found.p == pytest.approx(
        stats.ttest_ind(X - 0.5, Y, equal_var=False, alternative="greater").pvalue
    )
    exact = stats.ttest_ind(X, Y, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert found.estimate == pytest.approx(X.mean() - Y.mean())
    found, exact = estimates.t_test([X], 0.0), stats.ttest_1samp(X, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert estimates.t_test([X], 0.0).p == pytest.approx(
        stats.ttest_1samp(X, 0, alternative="greater").pvalue
    )


def test_correlations_stay_within_their_range():
    found = estimates.fisher_t_test([np.array([0.9, 0.99, 1.0, 0.95, 0.5, 0.97])], 0.3)
    assert found.p < 0.025 and 0.3 < found.low < found.estimate < found.high < 1


def test_a_perfect_correlation_counts_as_999_thousandths():
    z = estimates.fisher_z([1.0, -1.0, 0.5])
    assert z == pytest.approx([math.atanh(0.999), -math.atanh(0.999), math.atanh(0.5)])


@pytest.mark.parametrize(("shift", "expected"), [(0.0, True), (4.0, False), (-4.0, False)])
def test_equivalence_needs_both_sides(shift, expected):
    values = np.random.default_rng(1).normal(shift, 1.0, 20)
    alone, two = (
        estimates.equivalence_test([values], 2.0),
        estimates.equivalence_test([values + Y.mean(), Y], 2.5),
    )
    assert (alone.p < 0.025) is expected and (two.p < 0.025) is expected
    sides = [
        stats.ttest_1samp(values, side, alternative=a).pvalue
        for side, a in ((-2, "greater"), (2, "less"))
    ]
    assert alone.p == pytest.approx(max(sides))


def test_pairs_are_compared_pair_by_pair():
    first = np.array([1.0, 10, 100, 1000, 10000, 1e5])
    assert estimates.paired_signed_rank_test([first + 1, first]).p == pytest.approx(
        1 / 64, rel=0.6
    )


def test_holm_by_hand():
    assert estimates.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert estimates.holm([]) == []


def test_other_numbers_than_the_null_are_refused():
    with pytest.raises(ValueError, match="compared with 0.5, not with 0.6"):
        estimates.brunner_munzel_test([X, Y], 0.6)
    with pytest.raises(ValueError, match="difference of 0, not of 0.1"):
        estimates.boschloo_test([X > 0, Y > 0], 0.1)


NULLS = [case for case in calibration.OF_SEARCHES if case.truth == case.above]


@pytest.mark.parametrize("null", NULLS, ids=lambda null: f"{null.test}: {null.values}")
def test_tests_err_at_their_level_and_intervals_cover(null):
    """2.5 % of 300 draws are 7.5: more than 18 have a probability below 1e-3.
    All of it: figures/calibration.csv.
    """
    rejected, covered = calibration.rates(null, draws=300, seed=3)
    assert rejected <= 18 / 300
    assert covered >= 0.91


def test_a_mean_of_accuracies_errs_where_few_searches_collapse():
    """Which the page of results says of the claim that is tested so."""
    rejected, _ = calibration.rates(calibration.RARE_COLLAPSES, draws=300, seed=3)
    assert rejected > 0.15


@pytest.mark.parametrize(
    ("test", "arms", "above"),
    [
        (estimates.binomial_test, [[1, 0, 1, 1]], 0.5),
        (estimates.signed_rank_test, [X], 0.0),
        (estimates.t_test, [X], 0.0),
        (estimates.boschloo_test, [[1, 1, 1, 0], [0, 0, 1, 0]], 0.0),
        (estimates.brunner_munzel_test, [X, Y], 0.5),
        (estimates.welch_test, [X, Y], 0.5),
        (estimates.paired_signed_rank_test, [X[:12], Y], 0.0),
    ],
)
def test_the_values_of_an_arm_may_be_a_list(test, arms, above):
    lists = [np.asarray(values).tolist() for values in arms]
    assert test(lists, above) == test([np.asarray(values) for values in arms], above)
