"""How often each test of the confirmatory study errs where nothing is to be found, how often its
interval covers, and how often it finds the smallest effect of interest.

Run: python tests/benchmarks/calibration.py --out figures/calibration.csv
Values are drawn like ours: accuracies of which 30 % are the cell of six skips (54.30) and the
others lie around 90, gains that are 0 or large, shares, correlations of few epochs; of nine
methods with five searches each under several conditions, and of random networks trained twice,
with the deviations of the LHD pilot, whether normal, skewed or of heavy tails. A row whose truth is
the number that the test asks about (`above`) is a null: there it should reject in 2.5 % of the
draws. In the others, rejections are its power. An interval should hold the true value in 95 %.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nasutils.measures import comparisons, estimates
from nasutils.measures.estimates import LEVEL, Arms

Draw = Callable[[np.random.Generator], Arms]


@dataclass(frozen=True)
class Case:
    """A test of the plan, the number it asks about, draws, and their statistic's true value."""

    test: str
    values: str
    above: float
    truth: float
    draw: Draw


def accuracies(
    n: int, spread: float = 2.5, collapsed: float = 0.3
) -> Callable[[np.random.Generator], np.ndarray]:
    """Of last cells (%): a share of collapses, the others around 90; rounded as the table is."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        found = np.round(rng.normal(90, spread, n), 2)
        return np.where(rng.random(n) < collapsed, 54.30, found)

    return draw


def _pair(first: Callable[..., np.ndarray], second: Callable[..., np.ndarray]) -> Draw:
    return lambda rng: [first(rng), second(rng)]


def _one(draw: Callable[[np.random.Generator], np.ndarray]) -> Draw:
    return lambda rng: [draw(rng)]


def _shares(n: int, share: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: (rng.random(n) < share).astype(float)


def _gains(rng: np.random.Generator) -> np.ndarray:
    """Half of them around nothing, half of the rest large: the median is 0."""
    small = rng.normal(0, 1, 40)
    return np.where((small > 0) & (rng.random(40) < 0.5), small + 35, small)


def _correlations(
    n: int, around: float, spread: float = 0.35
) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.tanh(rng.normal(np.arctanh(around), spread, n))


def _normal(n: int, centre: float, spread: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.normal(centre, spread, n)


def _skewed(n: int) -> Callable[[np.random.Generator], np.ndarray]:
    """Gaps (points) as the supernets of DARTS show them: one hump, a longer upper tail, mean 5."""
    return lambda rng: 5 + 4 * (rng.gamma(9, 1 / 3, n) - 3)


WIDE, NARROW = accuracies(40, 4.0, 0.0), accuracies(20, 1.0, 0.0)
OF_SEARCHES = (
    Case("auc", "accuracies, 40 and 20", 0.5, 0.5, _pair(accuracies(40), accuracies(20))),
    Case("auc", "accuracies, 12 and 12", 0.5, 0.5, _pair(accuracies(12), accuracies(12))),
    Case("auc", "accuracies, 30 and 12", 0.5, 0.5, _pair(accuracies(30), accuracies(12))),
    Case("auc", "unequal spread, 40 and 20", 0.5, 0.5, _pair(WIDE, NARROW)),
    Case(
        "auc",
        "unequal spread, 20 and 40",
        0.5,
        0.5,
        _pair(accuracies(20, 4.0, 0.0), accuracies(40, 1.0, 0.0)),
    ),
    Case("share", "3.03 % of 40", 0.0303, 0.0303, _one(_shares(40, 0.0303))),
    Case("share", "half of 20", 0.5, 0.5, _one(_shares(20, 0.5))),
    Case(
        "share_difference",
        "0.4 of 40 and of 20",
        0.0,
        0.0,
        _pair(_shares(40, 0.4), _shares(20, 0.4)),
    ),
    Case(
        "share_difference",
        "0.1 of 25 and of 25",
        0.0,
        0.0,
        _pair(_shares(25, 0.1), _shares(25, 0.1)),
    ),
    Case("median", "gains, half of the positive ones large, 40", 0.0, 0.0, _one(_gains)),
    Case("centre", "normal, 12", 0.0, 0.0, _one(_normal(12, 0, 1))),
    Case("mean", "normal, 12", 0.0, 0.0, _one(_normal(12, 0, 1))),
    Case("mean", "gaps, skewed, 40", 5.0, 5.0, _one(_skewed(40))),
    Case(
        "difference",
        "unequal spread, 20 and 12",
        0.0,
        0.0,
        _pair(_normal(20, 1, 1), _normal(12, 1, 3)),
    ),
    Case("correlation", "around 0.3, 36", 0.3, 0.3, _one(_correlations(36, 0.3))),
    Case(
        "correlation_difference",
        "around 0.5, 40 and 25",
        0.0,
        0.0,
        _pair(_correlations(40, 0.5), _correlations(25, 0.5)),
    ),
    Case(
        "paired", "logs of seconds, 20", 0.0, 0.0, _pair(_normal(20, 3, 0.3), _normal(20, 3, 0.1))
    ),
    Case("equivalent", "5 apart of +-5, 12", 5.0, 5.0, _one(_normal(12, 5, 4))),
    Case(
        "equivalent",
        "2 apart of +-2, 15 and 15",
        2.0,
        2.0,
        _pair(_normal(15, 2, 1.6), _normal(15, 0, 1.6)),
    ),
)


RARE_COLLAPSES = Case(
    "difference",
    "accuracies, one in 25 collapsed, 25 and 20",
    -1.0,
    -1.0,
    _pair(accuracies(25, collapsed=0.04), _normal(20, 91 - 0.04 * (90 - 54.3), 1)),
)
"""What Welch's test is not made for, but asked in *3c competitive*: in a third of the draws no
search collapses, and then the mean is too high with a small spread."""
SHAPES: Mapping[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, *shape: rng.normal(size=shape),
    "skewed": lambda rng, *shape: np.sqrt(6) - rng.gamma(6, 1 / np.sqrt(6), shape),
    "heavy-tailed": lambda rng, *shape: rng.standard_t(5, shape) / np.sqrt(5 / 3),
    "light-tailed": lambda rng, *shape: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
}
"""Values of mean 0 and deviation 1; those of accuracies have a longer lower tail. t of 5 degrees
of freedom."""
THREE = ("normal", "skewed", "heavy-tailed")


# Methods of a benchmark

METHODS = np.array([44.3, 47.6, 47.0, 47.0, 43.5, 45.7, 44.6, 43.7, 47.0])
"""Means (%) of the nine methods of the LHD pilot, the control first."""
SPREAD = np.array([2.1, 1.2, 1.2, 1.0, 1.2, 0.9, 1.3, 1.4, 1.0])
"""Deviations of a method's networks there."""
FOUND = np.array([1.4, 1.5, 0.8, 1.0, 1.0, 0.7, 0.9, 0.7, 1.3])
"""The same in the registered arm `CIFAR-10, base`, simulated when it was known."""
EVEN = np.full(9, 1.3)
NOISE = 0.8
"""Deviation of an evaluation around its network."""


def _searched(
    rng: np.random.Generator, effects: np.ndarray, spread: np.ndarray, shape: str
) -> np.ndarray:
    """A condition with searches of its own, (methods, searches, 1): one evaluation of each."""
    return effects[:, None, None] + spread[:, None, None] * SHAPES[shape](rng, 9, 5, 1)


def _methods(true: float, conditions: int, spread: np.ndarray, shape: str) -> Draw:
    """Effects such that the mean of five searches has this reliability."""
    noise = (spread**2).mean() / 5
    scale = np.sqrt(noise * true / (1 - true) / METHODS.var(ddof=1))
    effects = (METHODS - METHODS.mean()) * scale
    return lambda rng: [_searched(rng, effects, spread, shape) for _ in range(conditions)]


def _above_control(best: float, spread: np.ndarray, shape: str, drawn: int = 15) -> Draw:
    """Methods as good as the control but one; and more networks of the control."""
    effects = np.where(np.arange(9) == 1, best, 0.0)

    def draw(rng: np.random.Generator) -> Arms:
        more = spread[0] * SHAPES[shape](rng, drawn, 1)
        return [_searched(rng, effects, spread, shape), *([more] if drawn else [])]

    return draw


def _transferred(difference: float, ratio: float, shape: str) -> Draw:
    """Searches on two data sets, those of the second spread by so many times as much."""

    def draw(rng: np.random.Generator) -> Arms:
        first = _searched(rng, METHODS + difference, SPREAD, shape)
        return [first, _searched(rng, METHODS, ratio * SPREAD, shape)]

    return draw


def _interacting(rng: np.random.Generator, deviation: float, conditions: int) -> np.ndarray:
    """Effects of method and condition that are of neither alone: (methods, conditions)."""
    effects = rng.normal(size=(9, conditions))
    effects -= effects.mean(axis=0)
    effects -= effects.mean(axis=1, keepdims=True)
    return deviation * effects / np.sqrt((effects**2).sum() / (8 * (conditions - 1)))


def _standardised(interaction: float, conditions: int, noise: float, draws: int = 1000) -> float:
    """An interaction of so many points in the unit of its test, the deviation of a condition's 45
    networks, by which each condition is divided: the mean of draws without chance.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        means = METHODS[:, None] + _interacting(rng, interaction, conditions)
        within = (SPREAD**2).mean() + noise**2
        values = means / np.sqrt(5 * 8 / 44 * means.var(axis=0, ddof=1) + within)
        values -= values.mean(axis=0)
        values -= values.mean(axis=1, keepdims=True)
        found.append(np.sqrt((values**2).sum() / (8 * (conditions - 1))))
    return float(np.mean(found))


def _policies(noises: tuple[float, ...], shape: str, interaction: float = 0.0) -> Draw:
    """Policies of the same searches, each with its mean and its noise."""

    def draw(rng: np.random.Generator) -> Arms:
        networks = _searched(rng, METHODS, SPREAD, shape)
        effects = _interacting(rng, interaction, len(noises))
        noise = [NOISE * n * SHAPES[shape](rng, 9, 5, 1) for n in noises]
        return [
            networks + 2 * i + effects[:, i, None, None] + noise[i] for i in range(len(noises))
        ]

    return draw


def _data_sets(scales: tuple[float, ...], shape: str, interaction: float = 0.0) -> Draw:
    """Data sets whose accuracies deviate by so many times as much."""

    def draw(rng: np.random.Generator) -> Arms:
        effects = _interacting(rng, interaction, len(scales))
        return [
            10 + scale * _searched(rng, METHODS + effects[:, i], SPREAD, shape)
            for i, scale in enumerate(scales)
        ]

    return draw


def _together(true: float, methods: float) -> Draw:
    """Two measures of 45 networks with this correlation within methods, whose means differ."""

    def draw(rng: np.random.Generator) -> Arms:
        first = rng.normal(0, 1, (9, 5, 1))
        second = true * first + np.sqrt(1 - true**2) * rng.normal(0, 1, (9, 5, 1))
        between = methods * rng.normal(size=(2, 9, 1, 1))
        return [first + between[0], second + between[1]]

    return draw


def _spearman(true: float) -> float:
    """Of normal values with this correlation."""
    return float(6 / np.pi * np.arcsin(true / 2))


# Random networks


def _networks(
    count: int, shape: str, deviation: float = 1.5, mean: float = 40.0
) -> Callable[[np.random.Generator], np.ndarray]:
    """Each trained twice, with noise of deviation 1."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        means = mean + deviation * SHAPES[shape](rng, count)
        return means[:, None] + rng.normal(0, 1.0, (count, 2))

    return draw


def _means(draw: Draw) -> Draw:
    """Of the two evaluations, for tests that take a value per network."""
    return lambda rng: [networks.mean(axis=-1) for networks in draw(rng)]


def _reliabilities() -> list[Case]:
    kinds = {"": EVEN, ", control spread more": SPREAD}
    cases = [
        Case("reliability", f"{n} x 45, {shape}{words}", 0.8, 0.8, _methods(0.8, n, s, shape))
        for n in (1, 2)
        for shape in THREE
        for words, s in kinds.items()
    ]
    zero = Case("reliability", "1 x 45, normal, equal", 0.0, 0.0, _methods(0, 1, EVEN, "normal"))
    power = [
        Case("reliability", f"{n} x 45, normal", 0.8, t, _methods(t, n, EVEN, "normal"))
        for n in (1, 2)
        for t in (0.87, 0.92)
    ]
    return [*cases, zero, *power]


def _controls() -> list[Case]:
    kinds = {", spread more": SPREAD, ", spread evenly": EVEN}
    nulls = [
        Case("over_control", f"20, {shape}{words}", 0.0, 0.0, _above_control(0, s, shape))
        for shape in THREE
        for words, s in kinds.items()
    ]
    five = _above_control(0, SPREAD, "normal", 0)
    power = [
        Case(
            "over_control", "20, normal, spread more", 0.0, t, _above_control(t, SPREAD, "normal")
        )
        for t in (1.0, 2.0, 3.0)
    ]
    as_found = _above_control(0, FOUND, "normal")
    return [
        *nulls,
        Case("over_control", "20, normal, spread as found", 0.0, 0.0, as_found),
        Case("over_control", "5, normal, spread more", 0.0, 0.0, five),
        *power,
    ]


def _conditions() -> list[Case]:
    policies = {"3 policies": (1.0, 1.0, 1.0), "4 policies": (1.0, 1.0, 1.0, 1.0)}
    sets = {"2 data sets": (1.0, 0.3), "3 data sets": (1.0, 0.6, 1.0)}
    within, between = "interaction_within", "interaction_between"
    cases = [
        Case(
            "difference_within", f"45 and 45, {shape}, {k} x", 0.0, 0.0, _transferred(0, k, shape)
        )
        for shape in THREE
        for k in (1.0, 1.5)
    ]
    cases += [
        Case("difference_within", "45 and 45, normal, 1 x", 0.0, 1.0, _transferred(1, 1, "normal"))
    ]
    for shape in THREE:
        cases += [
            Case(within, f"{words}, {shape}", 0.0, 0.0, _policies(noises, shape))
            for words, noises in policies.items()
        ]
        cases += [
            Case(between, f"{words}, {shape}", 0.0, 0.0, _data_sets(scales, shape))
            for words, scales in sets.items()
        ]
    for points in (0.21, 0.42, 0.84):
        drawn = _policies(policies["4 policies"], "normal", points)
        truth = _standardised(points, 4, NOISE)
        cases.append(Case(within, "4 policies, normal", 0.0, truth, drawn))
        drawn = _data_sets(sets["3 data sets"], "normal", points)
        truth = _standardised(points, 3, 0.0)
        cases.append(Case(between, "3 data sets, normal", 0.0, truth, drawn))
    return cases


def _correlated() -> list[Case]:
    ranks, within = "rank_correlation", "correlation_within"
    nulls = [(0.0, 0.0), (_spearman(0.5), 0.5)]
    return [
        *(Case(ranks, "45", above, above, _together(true, 0)) for above, true in nulls),
        Case(ranks, "45", 0.0, _spearman(0.3), _together(0.3, 0)),
        Case(within, "45, methods apart", 0.0, 0.0, _together(0.0, 1)),
        Case(within, "45, methods apart", _spearman(-0.3), _spearman(-0.3), _together(-0.3, 1)),
        Case(within, "45, methods apart", 0.0, _spearman(0.3), _together(0.3, 1)),
        Case(within, "45, methods apart", -0.3, 0.0, _together(0.0, 1)),
    ]


def _random_networks() -> list[Case]:
    alike = [(shape, shape) for shape in SHAPES]
    unlike = [("skewed", "normal"), ("normal", "heavy-tailed"), ("heavy-tailed", "normal")]
    cases = []
    for count in (200, 100):
        for first, second in alike + unlike if count == 200 else alike[:3]:
            words = f"{count} {first}, 200 {second}"
            drawn = _pair(_networks(count, first), _networks(200, second))
            cases.append(Case("log_deviation_ratio", words, 0.0, 0.0, drawn))
            cases.append(Case("repeatability_difference", words, 0.0, 0.0, drawn))
        for ratio in (0.1, 0.2, 0.3):
            wider = _networks(count, "normal", 1.5 * np.exp(ratio))
            drawn = _pair(wider, _networks(200, "normal"))
            words = f"{count} normal, 200 normal"
            cases.append(Case("log_deviation_ratio", words, 0.0, ratio, drawn))
        clear = _networks(count, "normal", 2.0)  # of ICC 0.8; the other has 0.7 and 0.6
        for less in (0.7, 0.6):
            unclear = _networks(200, "normal", np.sqrt(less / (1 - less)))
            words, difference = f"{count} normal, 200 normal", round(0.8 - less, 1)
            drawn = _pair(clear, unclear)
            cases.append(Case("repeatability_difference", words, 0.0, difference, drawn))
    for shape in THREE:
        drawn = _means(_pair(_networks(200, shape), _networks(100, shape, 2.5)))
        cases.append(Case("difference", f"networks, 200 and 100 {shape}", 0.0, 0.0, drawn))
    higher = _means(_pair(_networks(200, "normal", 1.5, 41.0), _networks(100, "normal", 2.5)))
    return [*cases, Case("difference", "networks, 200 and 100 normal", 0.0, 1.0, higher)]


OF_MANY = (
    *_reliabilities(),
    *_controls(),
    *_conditions(),
    *_correlated(),
    *_random_networks(),
)
"""Of comparisons.TESTS, at the sizes of the plan of LHD."""
CASES = (*OF_SEARCHES, RARE_COLLAPSES, *OF_MANY)
"""The rows of the table, in order."""
TESTS = {**estimates.TESTS, **comparisons.TESTS}


def rates(case: Case, draws: int, seed: int = 0) -> tuple[float, float]:
    """Shares of the draws in which the test rejects, and in which the interval holds the truth."""
    rng = np.random.default_rng(seed)
    found = [TESTS[case.test](case.draw(rng), case.above) for _ in range(draws)]
    return (
        float(np.mean([f.p < LEVEL for f in found])),
        float(np.mean([f.low <= case.truth <= f.high for f in found])),
    )


def table(draws: int) -> pd.DataFrame:
    """A row per case: rejections (%) and coverage (%)."""
    rows = []
    for case in CASES:
        rejected, covered = rates(case, draws)
        row = {"test": case.test, "values": case.values, "above": round(case.above, 3)}
        row |= {"truth": round(case.truth, 3), "draws": draws}
        row |= {"rejects (%)": round(100 * rejected, 2), "covers (%)": round(100 * covered, 2)}
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    comparisons.DRAWS = 999
    found = table(given.draws)
    found.to_csv(given.out, index=False)
    print(found.to_string(index=False))
