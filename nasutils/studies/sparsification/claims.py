"""Search at a small temperature: the claims and the statistics that test them.

The claims are the abstract's (arXiv 2306.06855); the wording of the statistics and all thresholds
are ours and were fixed before the first run of a small-temperature method at laptop scale.
"""

from collections.abc import Sequence
from functools import partial

from nasutils.measures import tables
from nasutils.measures.estimates import Estimate
from nasutils.measures.tables import RANDOM_CELL
from nasutils.report.claims import Claim
from nasutils.studies.sparsification.results import Results


def _last(results: Results, method: str, column: str, minus: float = 0.0) -> Estimate:
    return tables.of_method(results.last, method, column, minus)


def _paired(results: Results, first: str, second: str, column: str) -> Estimate:
    return tables.paired(results.last, first, second, column)


def _unfrozen(results: Results) -> Estimate:
    return tables.paired(results.frozen(), "small T", "small T + noisy", "frozen")


CLAIMS: Sequence[Claim] = (
    Claim(
        "1 gap",
        "Pruning the relaxed supernet after search mismatches training and evaluation.",
        "DARTS: supernet accuracy relaxed minus one operation per edge (batch norm recalibrated),"
        " points",
        5.0,
        partial(_last, method="DARTS", column="gap"),
    ),
    Claim(
        "2 collapse",
        "The performance discrepancy ends, in extreme cases, in collapse.",
        "mean accuracy of all 15,625 cells minus that of DARTS's last cell, CIFAR-10 test, points",
        0.0,
        lambda results: _negated(_last(results, "DARTS", "cifar10", RANDOM_CELL)),
    ),
    Claim(
        "3 sparsity",
        "A small softmax temperature during search closes the gap.",
        "gap of DARTS minus gap of `small T`, paired, points",
        0.0,
        partial(_paired, first="DARTS", second="small T", column="gap"),
    ),
    Claim(
        "4a saturation",
        "A naive small temperature saturates gradients; the sparse-noisy softmax gets around it.",
        "edges whose alpha stood still in the last 10 epochs: `small T` minus `small T + noisy`,"
        " paired, %",
        0.0,
        _unfrozen,
    ),
    Claim(
        "4b noisy gain",
        "The sparse-noisy softmax improves the search at a small temperature.",
        "accuracy of the last cell: `small T + noisy` minus `small T`, paired, CIFAR-10 test,"
        " points",
        0.0,
        partial(_paired, first="small T + noisy", second="small T", column="cifar10"),
    ),
    Claim(
        "5 exponential",
        "The exponential schedule controls the distribution better than a linear one.",
        "accuracy of the last cell: PCD minus its linear control, paired, CIFAR-10 test, points",
        0.0,
        partial(_paired, first="PCD", second="linear", column="cifar10"),
    ),
    Claim(
        "6 adaptive",
        "The entropy-based adaptive scheme improves on a fixed one.",
        "accuracy of the last cell: EDD minus `EDD, open loop`, paired, CIFAR-10 test, points",
        0.0,
        partial(_paired, first="EDD", second="EDD, open loop", column="cifar10"),
    ),
    Claim(
        "7a PCD repairs",
        "Searching at a small temperature keeps DARTS from degrading (periodic schedule).",
        "accuracy of the last cell: PCD minus DARTS, paired, CIFAR-10 test, points",
        0.0,
        partial(_paired, first="PCD", second="DARTS", column="cifar10"),
    ),
    Claim(
        "7b EDD repairs",
        "Searching at a small temperature keeps DARTS from degrading (entropy-driven schedule).",
        "accuracy of the last cell: EDD minus DARTS, paired, CIFAR-10 test, points",
        0.0,
        partial(_paired, first="EDD", second="DARTS", column="cifar10"),
    ),
)


def _negated(e: Estimate) -> Estimate:
    return Estimate(-e.mean, -e.high, -e.low, e.n)
