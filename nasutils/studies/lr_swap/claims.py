"""The claims about EX-DARTS and selective stop,
and the statistics that test them.

The claims are the abstract's (arXiv 2109.13466); the statistics and all thresholds are ours and
were fixed before EX-DARTS was judged at laptop scale. The caveats came later; they only take
support away.
"""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from nasutils.measures import tables
from nasutils.measures.estimates import Estimate, estimate
from nasutils.report.claims import Claim
from nasutils.studies.lr_swap.results import Results
from nasutils.studies.variants import of_label


def _cure(results: Results, label: str, sign: int) -> Estimate:
    """What the setting gains on the last cell, minus half of what DARTS loses;
    sign -1: the reverse.
    """
    return estimate(sign * (results.gain(label) - results.degradation("DARTS") / 2))


def _overfitting(results: Results) -> Estimate:
    """Validation loss (nats) of DARTS's supernet in the epoch of its best cell minus that in the
    last epoch.
    """
    table = of_label(results.epochs, "DARTS")
    best = table.loc[table.groupby("seed")["cifar10"].idxmax()]
    at_best = best.set_index("seed")["valid_loss"]
    return estimate(at_best - tables.by_seed(results.last, "DARTS", "valid_loss"))


def magnitude_correlation(results: Results, label: str, operation: str) -> pd.Series:
    """Spearman's correlation over epochs of the operation's magnitude and the current cell's
    accuracy, by seed.

    nan where one of them never changes.
    """
    table = of_label(results.epochs, label)
    return tables.correlations(table, f"S_{operation}", "cifar10")


def _bias(results: Results) -> Estimate:
    skips = tables.by_seed(results.last, "DARTS", "S_skip_connect")
    convolutions = tables.by_seed(results.last, "DARTS", "S_nor_conv_3x3")
    return estimate(skips - convolutions)


def _stop_gain(results: Results, against: str | None) -> Estimate:
    """Cell at the peak of the designated operation minus the last cell,
    or that of another criterion (DARTS).
    """
    at_peak = results.stops("DARTS", "peak")["cifar10"]
    if against is None:
        return estimate(at_peak - tables.by_seed(results.last, "DARTS", "cifar10"))
    return estimate(at_peak - results.stops("DARTS", against)["cifar10"])


CLAIMS: Sequence[Claim] = (
    Claim(
        "1 degradation",
        "The performance of DARTS degrades as the search goes on.",
        "DARTS: accuracy of its best cell of any epoch minus that of its last cell, CIFAR-10 test,"
        " points",
        1.0,
        lambda results: estimate(results.degradation("DARTS")),
    ),
    Claim(
        "2a regularisation",
        "Stronger regularisation of alpha does not cure it.",
        "half of what DARTS loses (best minus last cell) minus what `alpha decay x 10` gains,"
        " paired, points",
        0.0,
        partial(_cure, label="alpha decay x 10", sign=-1),
    ),
    Claim(
        "2b warm-up",
        "Warming the weights up does not cure it.",
        "half of what DARTS loses minus what `warm-up 10` gains on the last cell, paired, points",
        0.0,
        partial(_cure, label="warm-up 10", sign=-1),
    ),
    Claim(
        "3a swap",
        "Swapping the learning rates of weights and alpha cures it.",
        "what EX-DARTS gains on the last cell minus half of what DARTS loses, paired, points",
        0.0,
        partial(_cure, label="EX-DARTS", sign=1),
    ),
    Claim(
        "3b better",
        "EX-DARTS finds better cells than DARTS.",
        "accuracy of the last cell: EX-DARTS minus DARTS, paired, CIFAR-10 test, points",
        0.0,
        lambda results: estimate(results.gain("EX-DARTS")),
    ),
    Claim(
        "3c competitive",
        "EX-DARTS is competitive.",
        "EX-DARTS: accuracy of the last cell minus 93.41 (PC-DARTS as published), CIFAR-10 test,"
        " points",
        -1.0,
        lambda results: tables.of_method(results.last, "EX-DARTS", "cifar10", minus=93.41),
    ),
    Claim(
        "4 raw weights",
        "DARTS does not need well-trained weights.",
        "supernet accuracy at the end: DARTS minus EX-DARTS, paired, points",
        0.0,
        lambda results: tables.paired(results.last, "DARTS", "EX-DARTS", "relaxed"),
        "says that the swap acts; it takes better cells of EX-DARTS to make it an argument",
    ),
    Claim(
        "5 not overfitting",
        "The degradation is not overfitting of the validation set.",
        "DARTS: validation loss in the epoch of the best cell minus that in the last epoch, nats",
        0.0,
        _overfitting,
        "the loss is that of alpha's own images: a rise would show overfitting, a fall does not"
        " exclude it",
    ),
    Claim(
        "6a bias",
        "The bilevel dynamics prefer some operations: skip over convolution.",
        "DARTS: magnitude S of skip_connect minus that of nor_conv_3x3 at the end",
        0.0,
        _bias,
    ),
    Claim(
        "6b tied",
        "The degradation goes with that bias.",
        "DARTS: rank correlation over epochs of the designated operation's S and the cell's"
        " accuracy",
        0.5,
        lambda results: estimate(magnitude_correlation(results, "DARTS", results.operation)),
    ),
    Claim(
        "7a stop",
        "The magnitude of an operation tells when to stop.",
        "DARTS: accuracy of the cell at the operation's peak minus that of the last cell, paired,"
        " points",
        0.0,
        partial(_stop_gain, against=None),
    ),
    Claim(
        "7b against DARTS+",
        "Selective stop is better than counting skips (the paper's code compares them).",
        "DARTS: accuracy at the peak minus that at the first epoch with two skips, paired, points",
        0.0,
        partial(_stop_gain, against="skips_2"),
    ),
    Claim(
        "7c against DARTS-ES",
        "Selective stop is better than watching the eigenvalue (the paper's code compares them).",
        "DARTS: accuracy at the peak minus that before the eigenvalue's rise, paired, points",
        0.0,
        partial(_stop_gain, against="eigenvalue"),
    ),
)
