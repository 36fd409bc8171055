"""Intervals and verdicts against hand-computed numbers;
the claims of the sparsification study on made-up searches.
"""

import math

import pandas as pd
import pytest

from nasutils.measures import tables
from nasutils.measures.estimates import Estimate, central, estimate
from nasutils.report import claims
from nasutils.studies import sparsification as study


def test_estimate_is_students_interval():
    e = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451051977987 * math.sqrt(2.5 / 5)
    assert (e.mean, e.n) == (3.0, 5)
    assert e.low == pytest.approx(3 - half) and e.high == pytest.approx(3 + half)


def test_one_seed_has_no_interval_and_none_no_mean():
    assert math.isnan(estimate([2.0]).low)
    assert estimate([math.nan]).n == 0


def test_the_interval_of_the_median_are_order_statistics():
    """Ranks from the binomial distribution: 1 and 5 of 5, 2 and 9 of 10, 6 and 15 of 20."""
    for n, low, high in ((5, 1, 5), (6, 1, 6), (10, 2, 9), (20, 6, 15)):
        e = central(range(1, n + 1))
        assert (e.mean, e.low, e.high, e.n) == ((n + 1) / 2, low, high, n)
    assert math.isnan(central([2.0]).low) and central([math.nan]).n == 0


def test_a_claim_is_told_with_its_test_and_what_came_of_it():
    claim = claims.Claim("1 gap", "It gapes.", "a gap, points", 5.0, lambda results: results)
    text = claims.told([claim], Estimate(7, 6, 8, 5), "laptop").data
    assert (
        "*It gapes.*" in text
        and "above 5)." in text
        and "7.00 [6.00, 8.00], n = 5; **supported**" in text
    )
    with pytest.raises(ValueError, match="unknown claim '1 gape'.*did you mean '1 gap'"):
        claims.told([claim], Estimate(7, 6, 8, 5), "laptop", "1 gape")


@pytest.mark.parametrize(
    ("estimate", "scale", "expected"),
    [
        (Estimate(2, 1, 3, 5), "laptop", "supported"),
        (Estimate(-2, -3, -1, 5), "laptop", "not supported"),
        (Estimate(1, -1, 3, 5), "laptop", "inconclusive"),
        (Estimate(2, 1, 3, 4), "laptop", "inconclusive"),
        (Estimate(math.nan, math.nan, math.nan, 0), "paper", "inconclusive"),
        (Estimate(2, 1, 3, 5), "smoke", "not tested at this scale"),
    ],
)
def test_verdict(estimate, scale, expected):
    claim = claims.Claim("a", "b", "c", 0.0, lambda results: results)
    assert claim.verdict(estimate, scale) == expected


def test_a_statistic_that_is_not_sufficient_can_only_refute():
    claim = claims.Claim("a", "b", "c", 0.0, lambda results: results, "d")
    found = [claim.verdict(e, "laptop") for e in (Estimate(2, 1, 3, 5), Estimate(-2, -3, -1, 5))]
    assert found == ["inconclusive", "not supported"]
    assert claims.verdicts([claim], Estimate(2, 1, 3, 5), "laptop")["caveat"].tolist() == ["d"]


def results(**accuracies):
    rows = [
        {
            "method": label,
            "seed": seed,
            "epoch": 0,
            "cifar10": value,
            "gap": (40.0 if label == "DARTS" else 2.0) + seed,
        }
        for label, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    return study.Results({}, table, table)


def test_the_studys_claims_have_the_right_sign():
    made_up = results(
        DARTS=[54, 55, 56, 57, 58],
        PCD=[92, 93, 92, 93, 92],
        EDD=[93, 94, 93, 94, 93],
        linear=[93.0, 94, 94, 95, 93],
    )
    tested = [
        c
        for c in study.CLAIMS
        if c.name in {"1 gap", "2 collapse", "5 exponential", "7a PCD repairs"}
    ]
    verdicts = claims.verdicts(tested, made_up, "laptop").set_index("claim")["verdict"]
    assert verdicts.to_dict() == {
        "1 gap": "supported",
        "2 collapse": "supported",
        "5 exponential": "not supported",
        "7a PCD repairs": "supported",
    }


def test_a_missing_variant_is_inconclusive():
    only = results(DARTS=[54, 55, 56, 57, 58])
    claim = next(c for c in study.CLAIMS if c.name == "7b EDD repairs")
    assert claim.verdict(claim.measure(only), "laptop") == "inconclusive"


def test_pairing_is_by_seed():
    table = pd.DataFrame({"method": list("aabb"), "seed": [0, 1, 1, 0], "x": [1.0, 2.0, 1.5, 0.0]})
    assert tables.paired(table, "a", "b", "x").mean == pytest.approx(0.75)


def test_frozen_edges_counts_bits():
    records = [{"alpha": {"cell": [[0.1, 0.2], [0.3, 0.4]]}} for _ in range(11)]
    assert tables.frozen_edges(records) == 1.0
    records[-1] = {"alpha": {"cell": [[0.1, 0.2], [0.3, 0.4 + 1e-12]]}}
    assert tables.frozen_edges(records) == 0.5
    assert math.isnan(tables.frozen_edges(records[:10]))
