"""What the figures of `notebooks/lhd_benchmark.ipynb` say, computed."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nasutils.measures import comparisons, ranking
from nasutils.studies.figures import DATASET_TITLES
from nasutils.studies.lhd_benchmark.figures import SIZE, contrast_table, correlations
from nasutils.studies.lhd_benchmark.released import Condition, Conditions
from nasutils.studies.lhd_benchmark.results import Results, deviation_of_means, noise
from nasutils.studies.lhd_benchmark.tables import rank_table
from nasutils.studies.readings import counted, listed


def toy(table: pd.DataFrame) -> str:
    """Which operations of the toy node `base` keeps, and by how much the last one of them won."""
    is_kept = table["base"] == "kept"
    kept, others = table[is_kept], table[~is_kept]
    places = listed(kept["operation"] + " " + kept["edge"])
    margin = kept["p"].min() - others["p"].max()
    return f"`base` keeps {places}; the weaker one leads the next by a weight of {margin:.3f}."


def _told(parts: Sequence[str]) -> str:
    """Sentences on several conditions: more than three are a list."""
    if len(parts) <= 3:
        return " ".join(parts)
    return "\n\n" + "\n".join(f"- {part}" for part in parts)


def contrasts(conditions: Conditions) -> str:
    """What the figure of this name says."""
    return _told([_contrasts(name, condition) for name, condition in conditions.items()])


def _contrasts(name: str, condition: Condition) -> str:
    table = contrast_table(name, condition)
    above = table[table["difference_low"] > 0]
    worse = table[table["difference_high"] < 0]
    return (
        f"{name}: better networks than {condition.controls} random draws are found by"
        f" {counted(len(above), len(table))} methods{_by(above)}, worse ones by"
        f" {len(worse) or 'none'}{_by(worse)}."
    )


def _by(methods: pd.DataFrame) -> str:
    """In brackets: by how much each of them differs from a random draw."""
    named = [f"{row.method} by {abs(row.difference):.1f}" for row in methods.itertuples()]
    return f" ({listed(named)} points)" if named else ""


def trials(conditions: Conditions) -> str:
    """How far a method's mean can be trusted, as the figure of this name shows."""
    parts = []
    for name, condition in conditions.items():
        _, searches = condition.accuracy.shape
        reliability = comparisons.reliability([comparisons.once(condition.accuracy)], 0.0)
        apart = 100 * ranking.told_apart(condition.accuracy.T)
        within = condition.accuracy.std(axis=1, ddof=1)
        parts.append(
            f"{name}: the mean of {searches} searches has a reliability of"
            f" {_estimated(reliability)}, and {apart:.0f} % of the pairs of methods are told apart"
            " (Welch, uncorrected; by chance 5 %); searches of one method deviate by"
            f" {within.min():.1f} to {within.max():.1f} points."
        )
    return _told(parts)


def pilot_again(table: pd.DataFrame) -> str:
    """How well the registered study meets the pilot, from the table of this name."""
    parts = []
    for name, rows in table.groupby("condition", sort=False):
        error, p = rows["error"].iloc[0], rows["p"].iloc[0]
        near = (rows["difference"].abs() < 2 * error).sum()
        farthest = rows.loc[rows["difference"].abs().idxmax()]
        parts.append(
            f"{name}: the noise of training gives a difference a standard error of {error:.2f}"
            f" points. {counted(int(near), len(rows)).capitalize()} lie within two of them, the"
            f" largest is {farthest['method']}'s ({farthest['difference']:+.1f} points);"
            f" differences as large in the mean come of that noise alone in {100 * p:.2g} % of all"
            " studies (F test)."
        )
    return _told(parts)


def _estimated(found: comparisons.Finding) -> str:
    """An estimate with its interval."""
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


def agreement(table: pd.DataFrame) -> str:
    """What the figure of this name says, from its table."""
    parts = []
    for compared, rows in table.groupby("compared", sort=False):
        overall, within = correlations(rows)
        parts.append(
            f"{compared}: rank correlation {_estimated(overall)}, within methods"
            f" {_estimated(within)} (n = {overall.n[0]}).{_sizes(rows)}"
        )
    return _told(parts)


def _sizes(rows: pd.DataFrame) -> str:
    """Whether the best method has large networks, and the one with the largest is good, where the
    size is compared with the accuracy.
    """
    if rows["first"].iloc[0] != SIZE:
        return ""
    size, accuracy = (rows.groupby("method", sort=False)[name].mean() for name in ("x", "y"))
    best, largest = accuracy.idxmax(), size.idxmax()
    control = size.index[0]
    place = int(accuracy.rank(ascending=False)[largest])
    return (
        f" {best}, the best method, has networks of {size[best]:.1f} thousand weights in the mean,"
        f" {control} of {size[control]:.1f}, {largest}, which has the largest, of"
        f" {size[largest]:.1f}; it is number {place} of {len(size)}."
    )


def transfer(table: pd.DataFrame) -> str:
    """What the figure of this name says, from its table, of the methods that search: *Random*
    knows no data set.
    """
    parts = []
    for target, trained in table[table["method"] != "Random"].groupby("target", sort=False):
        # (methods, data sets of the search)
        means = trained.pivot_table(
            index="method", columns="searched", values="accuracy", sort=False
        )
        if target not in means:
            continue
        own = means[target]
        for source in means.columns.drop(target):
            differences = own - means[source]
            tau = ranking.kendall(own.to_numpy(), means[source].to_numpy())
            better = counted(int((differences > 0).sum()), len(differences))
            parts.append(
                f"Trained on {DATASET_TITLES[str(target)]}, the architectures that were searched"
                f" there are better than those searched on {DATASET_TITLES[source]} in {better}"
                f" methods, Random not counted (mean difference {differences.mean():+.1f}"
                f" points); the two rankings agree by a Kendall's tau of {tau:.2f}."
            )
    return _told(parts)


def spread(networks: Mapping[str, np.ndarray]) -> str:
    """What the figure of this name says."""
    parts = []
    for name, scores in networks.items():
        if len(scores) > 1:
            parts.append(
                f"{name}: {scores.mean():.1f} % in the mean, deviation"
                f" {deviation_of_means(scores):.1f} points, {_noise(scores)} between evaluations"
                f" of one network (n = {len(scores)})."
            )
    return _told(parts)


def _noise(scores: np.ndarray) -> str:
    found = noise(scores)
    return "unknown" if np.isnan(found) else f"{found:.1f}"


def ranks(results: Results) -> str:
    """What the figure of this name says."""
    table, chance = rank_table(results)
    best, worst = table.iloc[0], table.iloc[-1]
    bars = ranking.cliques(table["rank"].tolist(), chance["difference"])
    apart = f"joined by {len(bars)} bars" if len(bars) > 1 else "all joined by one bar"
    if not bars:
        apart = "not joined by any bar"
    order = table["method"].tolist()
    random = f" Random is number {order.index('Random') + 1}." if "Random" in order else ""
    return (
        f"Average ranks go from {best['rank']:.1f} ({best['method']}) to {worst['rank']:.1f}"
        f" ({worst['method']}); the methods are {apart}, and that they differ at all has a"
        f" permutation p of {chance['p']:.2g}.{random}"
    )
