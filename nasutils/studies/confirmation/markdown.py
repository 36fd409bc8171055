"""How the page of results writes tables, numbers and the names of tests."""

import math
from collections.abc import Iterable, Sequence

TEST_NAMES = {
    "share": "exact binomial",
    "median": "sign",
    "described": "none",
    "centre": "Wilcoxon",
    "mean": "t",
    "correlation": "t of Fisher's z",
    "share_difference": "Boschloo",
    "auc": "Brunner-Munzel",
    "difference": "Welch",
    "correlation_difference": "Welch of Fisher's z",
    "paired": "Wilcoxon, paired",
    "equivalent": "two one-sided t",
    "reliability": "noncentral F",
    "over_control": "many to one (all methods together), a variance for the control",
    "difference_within": "Welch, given the method",
    "interaction_within": "F, permuted within searches",
    "interaction_between": "F, permuted within methods",
    "rank_correlation": "Fisher's z of ranks",
    "correlation_within": "Fisher's z of ranks, given the method",
    "log_deviation_ratio": "t of jackknives",
    "repeatability_difference": "t of jackknives",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def p_value(value: float) -> str:
    """p as text, with two digits; empty for nan."""
    if math.isnan(value):
        return ""
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"
