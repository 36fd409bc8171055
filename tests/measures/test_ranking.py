"""Rankings against numbers from hand, from scipy and from tables.

Run: pytest tests/measures/test_ranking.py
"""

import math

import numpy as np
import pytest
from scipy import stats

from nasutils.measures import ranking


def test_ranks_with_ties_by_hand():
    assert ranking.ranks(np.array([[90.0, 80.0, 90.0, 70.0], [1.0, 1.0, 1.0, 1.0]])).tolist() == [
        [1.5, 3.0, 1.5, 4.0],
        [2.5, 2.5, 2.5, 2.5],
    ]


def test_missing_scores_have_no_rank():
    assert np.nan_to_num(ranking.ranks(np.array([3.0, np.nan, 5.0])), nan=-1).tolist() == [
        2.0,
        -1.0,
        1.0,
    ]


# Chance


def null(generator, methods=6, datasets=2, policies=4, searches=5):
    """Scores without a difference between methods; what policies make of a search is the same."""
    found = generator.normal(size=(methods, datasets, 1, searches))
    return found + 0.3 * generator.normal(size=(methods, datasets, policies, searches))


def of_ranks(scores):
    means = scores.reshape(*scores.shape[:-2], -1)
    return ranking.average_ranks(means)


def test_searches_are_exchanged_within_a_data_set_and_with_all_of_their_policies():
    """Of two methods on two data sets; the second policy adds 1000 to every score."""
    searches = np.arange(12.0).reshape(2, 2, 3)
    searches[:, 1] += 100
    searches = np.stack([searches, searches + 1000], axis=2)
    draws = ranking.permuted(searches, draws=50)
    assert draws.shape == (50, 2, 2, 2)
    assert draws[..., 1] == pytest.approx(draws[..., 0] + 1000)
    assert draws.mean(axis=1) == pytest.approx(
        np.broadcast_to(searches.mean(axis=(0, 3)), (50, 2, 2))
    )
    assert len(np.unique(draws[:, 0, 0, 0])) > 5


def test_the_critical_difference_errs_as_seldom_as_it_says():
    """Nemenyi's, which takes the conditions for independent, errs in 64 of 100."""
    generator, apart, differ = np.random.default_rng(0), 0, 0
    for _ in range(120):
        scores = null(generator)
        chance, found = of_ranks(ranking.permuted(scores, 199)), of_ranks(scores.mean(axis=-1))
        apart += np.ptp(found) > ranking.critical_difference(chance)
        differ += ranking.differ(found, chance) < 0.05
    assert 1 <= apart <= 14 and 1 <= differ <= 14


def test_methods_that_differ_are_told_apart():
    scores = null(np.random.default_rng(1)) + 4 * np.arange(6)[:, None, None, None]
    chance, found = of_ranks(ranking.permuted(scores, 199)), of_ranks(scores.mean(axis=-1))
    assert found.tolist() == [6, 5, 4, 3, 2, 1]
    assert ranking.critical_difference(chance) < 5 and ranking.differ(found, chance) == 1 / 200


def test_the_critical_difference_of_means_is_tukeys_where_that_holds():
    """Of normal values with a common deviation: q s / sqrt(n)."""
    values = np.random.default_rng(0).normal(size=(6, 8)) + 10 * np.arange(6)[:, None]
    within = math.sqrt(values.var(axis=1, ddof=1).mean() / 8)
    tukey = stats.studentized_range.ppf(0.95, 6, 6 * 7) * within
    assert ranking.critical_difference_of_means(values) == pytest.approx(tukey, rel=0.05)
    assert math.isnan(ranking.critical_difference_of_means(values[:, :1]))
    assert math.isnan(ranking.critical_difference_of_means(np.ones((3, 2))))


def test_contrasts_are_those_of_the_registered_test():
    """Nearly Dunnett's, where all methods have the same variance and there are many searches."""
    values = np.random.default_rng(0).normal(size=(4, 60))
    found = ranking.contrasts(values)
    expected = stats.dunnett(*values[1:], control=values[0], random_state=0).confidence_interval()
    assert [e.mean for e in found] == pytest.approx(values[1:].mean(axis=1) - values[0].mean())
    assert [e.low for e in found] == pytest.approx(expected.low, abs=0.05)
    assert [e.high for e in found] == pytest.approx(expected.high, abs=0.05)
    assert math.isnan(ranking.contrasts(values[:, :1])[0].low)
    wider = ranking.contrasts(values[:, :5], values[0, 5:])
    assert wider[0].mean == pytest.approx(values[1, :5].mean() - values[0].mean())


def test_cliques_by_hand():
    assert ranking.cliques([1.0, 1.5, 2.4, 4.0, 4.2], 1.0) == [(0, 1), (1, 2), (3, 4)]
    assert ranking.cliques([1.0, 3.0, 5.0], 1.0) == []
    assert ranking.cliques([1.0, 1.2, 1.4], 1.0) == [(0, 2)]


def test_pairs_told_apart_by_hand():
    a, b, c = [10.0, 10.1, 9.9], [20.0, 20.1, 19.9], [10.0, 20.0, 15.0]
    assert ranking.told_apart(np.array([a, b, c]).T) == pytest.approx(1 / 3)
    assert ranking.told_apart(np.array([[1.0, 1.0, 2.0]] * 2)) == pytest.approx(2 / 3)  # constants
    assert math.isnan(ranking.told_apart(np.array([[1.0, 2.0]])))


def test_pairs_told_apart_agree_with_welch():
    scores = np.random.default_rng(0).normal((0, 1.8), size=(5, 2))
    p = stats.ttest_ind(*scores.T, equal_var=False).pvalue
    assert ranking.told_apart(scores) == float(p < 0.05)


@pytest.mark.parametrize("digits", [0, 6], ids=["ties", "no ties"])
def test_kendall_is_that_of_scipy(digits):
    a, b = np.random.default_rng(1).normal(0, 2, size=(2, 12)).round(digits)
    assert float(ranking.kendall(a, b)) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_kendall_of_nothing_but_ties_is_unknown():
    assert math.isnan(ranking.kendall(np.ones(4), np.arange(4.0)))
    assert math.isnan(ranking.kendall(np.array([1.0, np.nan, 2.0]), np.arange(3.0)))


def test_resampling_draws_seeds_of_each_method_and_keeps_policies_together():
    scores = np.arange(2 * 2 * 3 * 4, dtype=float).reshape(2, 2, 3, 4)
    draws = ranking.resampled(scores, draws=400)
    assert draws.shape == (400, 2, 2, 3)
    assert np.allclose(draws[..., 1] - draws[..., 0], 4) and np.allclose(
        draws.mean(axis=0), scores.mean(-1), atol=0.2
    )
    assert len(np.unique(draws[:, 0, 0, 0] - draws[:, 1, 1, 0])) > 1


def test_resampling_leaves_missing_seeds_out():
    scores = np.array([1.0, np.nan, 1.0])[None, None, None]
    assert set(np.nan_to_num(ranking.resampled(scores, 200), nan=-1).ravel()) <= {1.0, -1.0}


def test_correlations_are_those_of_scipy():
    a, b = np.random.default_rng(2).normal(size=(2, 12)) + np.linspace(0, 3, 12)
    for kind, expected in (
        ("kendall", stats.kendalltau(a, b)),
        ("spearman", stats.spearmanr(a, b)),
    ):
        e = ranking.correlation(a, b, kind)
        assert (
            e.mean == pytest.approx(expected.statistic)
            and e.low < e.mean < e.high <= 1
            and e.n == 12
        )


def test_a_mean_over_pairs_by_hand():
    """tau of the pairs (0, 1), (0, 2), (1, 2): 0.2, 0.4, 0.9;
    without 0, 1, 2 the means are 0.9, 0.4, 0.2.
    """
    values = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.9], [0.4, 0.9, 1.0]])
    e = ranking.over_pairs(values)
    pseudo = 3 * 0.5 - 2 * np.array([0.9, 0.4, 0.2])
    half = stats.t.ppf(0.975, 2) * pseudo.std(ddof=1) / math.sqrt(3)
    assert (e.mean, e.low, e.high, e.n) == pytest.approx((0.5, 0.5 - half, 0.5 + half, 3))
    two = ranking.over_pairs(values[:2, :2])
    assert two.mean == pytest.approx(0.2) and math.isnan(two.low) and two.n == 2
    assert ranking.over_pairs(np.ones((1, 1))).n == 0
