"""The claims of the LHD paper and the statistics that test them.

The claims are the abstract's (arXiv 2306.06852); the statistics and all thresholds are ours and
were fixed before any search of the benchmark was judged.
"""

from collections.abc import Sequence
from functools import partial

from nasutils.measures.estimates import estimate
from nasutils.report.claims import Claim
from nasutils.studies.lhd_benchmark.results import (
    agreement_lost,
    contrast,
    deviation_of_means,
    discernibility,
    separable,
)

BOOTSTRAP = "bootstrap of networks"
JACKKNIFE = "jackknife over seeds"
CLAIMS: Sequence[Claim] = (
    Claim(
        "1 narrow",
        "The DARTS space has a narrow accuracy range; LHD's is wider.",
        "standard deviation of random networks' test accuracy: LHD minus DARTS space, same"
        " training, points (n: networks of a space)",
        0.0,
        lambda results: contrast(results, deviation_of_means),
        interval=BOOTSTRAP,
    ),
    Claim(
        "2 harder",
        "LHD is harder.",
        "mean test accuracy of random networks: DARTS space minus LHD, same training, channels and"
        " cells, points (n: networks of a space)",
        0.0,
        lambda results: contrast(results, lambda scores: -float(scores.mean())),
        "of equal channels and cells LHD's networks have fewer parameters",
        BOOTSTRAP,
    ),
    Claim(
        "3 accessible",
        "LHD, though larger, is still cheap to search.",
        "processor seconds of a search step: DARTS space over LHD minus 1, same channels, cells,"
        " batch (n: repeats)",
        0.0,
        lambda results: estimate(results.steps["darts"] / results.steps["lhd"] - 1),
        interval="Student's t over repeats",
    ),
    Claim(
        "4 discernible networks",
        "Networks are easier to tell apart on LHD.",
        "share of pairs of random networks told apart at 95 %: LHD minus DARTS space (n: networks"
        " of a space)",
        0.0,
        lambda results: contrast(results, separable),
        interval=BOOTSTRAP,
    ),
    Claim(
        "5 discernible methods",
        "LHD tells search methods apart.",
        "share of pairs of methods told apart at 95 % (Welch), mean over conditions (n:"
        " conditions)",
        0.5,
        lambda results: estimate(discernibility(results)),
        interval="Student's t over conditions, which share searches and so make it too short",
    ),
    Claim(
        "6 policies",
        "The ranking depends on the discretization policy.",
        "Kendall's tau of two seeds' rankings within a condition minus between policies, same"
        " data set",
        0.0,
        partial(agreement_lost, same_dataset=True, same_policy=False),
        interval=JACKKNIFE,
    ),
    Claim(
        "7 data sets",
        "The ranking depends on the data set (transductive robustness differs between methods).",
        "Kendall's tau of two seeds' rankings within a condition minus between data sets, same"
        " policy",
        0.0,
        partial(agreement_lost, same_dataset=False, same_policy=True),
        interval=JACKKNIFE,
    ),
)
