"""What one search or one final network says:
a number from its records, by the names that a plan calls them.

Accuracies of cells are those of NAS-Bench-201's table (CIFAR-10 test, %), so these measures are
for searches there, but for those of final networks. A search in which something never changes has
a correlation of 0 with it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import stats

from nasutils import spaces
from nasutils.errors import choose
from nasutils.measures import stopping
from nasutils.measures.stopping import Records
from nasutils.runs import Run
from nasutils.spaces import nasbench201_table
from nasutils.spaces.base import SKIP
from nasutils.spaces.nasbench201_table import OPS

NASBENCH201_SPACE = spaces.get("nasbench201")
SKIP_COLUMN, NONE_COLUMN, CONV_COLUMN = (OPS.index(op) for op in (SKIP, "none", "nor_conv_3x3"))
COLLAPSE = 60.0
"""Accuracy (%) below which a cell has collapsed: that of six skips has, and 3.03 % of all have."""
BROKEN = 12.0
"""Accuracy (%) up to which a network of ten classes has learned nothing."""
LAST = 10
"""Epochs at the end of a search that are looked at together."""
EARLY = slice(5, 15)
"""The epochs with which the last ones are compared."""
FIXED = 24
"""The epoch, half of a search, at which one may stop without looking at anything."""


@cache
def median_cell() -> float:
    """Accuracy (%) of the median of all 15,625 cells;
    a random cell is below it with probability 1/2.
    """
    return float(np.median(nasbench201_table.accuracies("cifar10")))


def beaten(accuracies: ArrayLike) -> np.ndarray:
    """Share of all 15,625 cells that are worse than accuracies (%), equal ones counted half:
    the probability that a cell drawn blindly is.
    """
    cells = np.sort(nasbench201_table.accuracies("cifar10"))
    worse = np.searchsorted(cells, accuracies, side="left")
    not_better = np.searchsorted(cells, accuracies, side="right")
    return (worse + not_better) / (2 * len(cells))


@cache
def cell_accuracies(genotype: str) -> Mapping[str, float]:
    """Tabulated test accuracy (%) of a cell by data set."""
    return nasbench201_table.query(genotype).test_accuracy


def cell_accuracy(genotype: str) -> float:
    """Tabulated test accuracy (%) of a cell on CIFAR-10."""
    return cell_accuracies(genotype)["cifar10"]


def _last(records: Records) -> Mapping[str, Any]:
    """The record of the last epoch. Raises ValueError if there is none."""
    if not records:
        raise ValueError(
            "there is no record: the cell of a search without epochs, such as random search, is in"
            " its result alone, see cell_accuracy(run.result['genotype'])"
        )
    return records[-1]


def trajectory(records: Records) -> np.ndarray:
    """Tabulated test accuracy (%) of the cell of every epoch, (epochs,)."""
    return np.array([cell_accuracy(record["genotype"]) for record in records])


def accuracy(records: Records) -> float:
    """Tabulated test accuracy (%) of the last cell. Raises ValueError if there is no epoch."""
    return cell_accuracy(_last(records)["genotype"])


def collapsed(records: Records) -> float:
    """Whether the last cell has collapsed."""
    return float(accuracy(records) < COLLAPSE)


def degraded(records: Records) -> float:
    """Whether the last cell is below the median cell."""
    return float(accuracy(records) < median_cell())


def gap(records: Records) -> float:
    """Accuracy of the supernet at the end, relaxed minus one operation per edge,
    batch norms recalibrated (points).
    """
    return gap_of(_last(records)["supernet_accuracy"])


def gap_of(judged: Mapping[str, float]) -> float:
    """The gap (points) in a record's `supernet_accuracy`, see `gap`."""
    return judged["relaxed"] - judged["discretized_recalibrated"]


def relaxed(records: Records) -> float:
    """Accuracy of the relaxed supernet at the end (%)."""
    return _last(records)["supernet_accuracy"]["relaxed"]


def best_minus_last(records: Records) -> float:
    """What the search loses from its best cell of any epoch to the last one (points)."""
    found = trajectory(records)
    return float(found.max() - found[-1])


def late_loss(records: Records) -> float:
    """Mean accuracy of the cells of epochs 5 to 14 minus that of the last ten (points)."""
    found = trajectory(records)
    return float(found[EARLY].mean() - found[-LAST:].mean())


def late_gain(records: Records) -> float:
    """Mean accuracy of the cells of the last ten epochs minus that of epochs 5 to 14 (points)."""
    return -late_loss(records)


def log_move(records: Records) -> float:
    """log10 of the largest move of any alpha over the last ten epochs;
    one below 1e-9 counts as that.
    """
    now = np.array(_last(records)["alpha"]["cell"])
    before = np.array(records[-1 - LAST]["alpha"]["cell"])
    largest = np.abs(now - before).max()
    return float(np.log10(max(largest, 1e-9)))


def sharp_epochs(records: Records) -> float:
    """Share of the epochs whose mixing weights have less than half of the largest entropy."""
    half = math.log(len(OPS)) / 2
    return float(np.mean([record["entropy"]["cell"] < half for record in records]))


def skip_gain(records: Records) -> float:
    """What the last cell gains (points) if every skip in it gives way to its edge's next-best
    operation (not none).
    """
    mix = torch.tensor(_last(records)["mix"]["cell"], dtype=torch.float64)
    rivals = mix.clone()
    rivals[:, [SKIP_COLUMN, NONE_COLUMN]] = -1.0
    strongest = mix.argmax(dim=1)
    chosen = torch.where(strongest == SKIP_COLUMN, rivals.argmax(dim=1), strongest)
    one_hot = torch.nn.functional.one_hot(chosen, len(OPS)).double()
    replaced = NASBENCH201_SPACE.discretize({"cell": one_hot})
    return cell_accuracy(str(replaced)) - accuracy(records)


def bypass_over_spread(records: Records) -> float:
    """Bypass at the end over the weight beside the strongest operations:
    1 if all mattered by their weight alone.
    """
    probed = _last(records)["leakage"]
    return probed["bypass_total"]["cell"] / float(np.mean(probed["spread"]["cell"]))


def matched_bypass(records: Records) -> float:
    """Bypass at the end, at half of the largest entropy;
    as it is where no temperature gives that (one-hot weights).
    """
    probed = _last(records)["leakage"]
    return (probed["matched"] or probed)["bypass_total"]["cell"]


def bypass_gap_correlation(records: Records) -> float:
    """Rank correlation, over the probed epochs,
    of the bypass at half of the largest entropy and the gap.
    """
    probed = [r for r in records if "leakage" in r and r["leakage"]["matched"]]
    bypass = [r["leakage"]["matched"]["bypass_total"]["cell"] for r in probed]
    gaps = [gap([record]) for record in probed]
    return rank_correlation(bypass, gaps)


def skip_cut_over_weight(records: Records) -> float:
    """Skips' share of what cutting single operations does to the loss,
    minus their share of the weights but none's.
    """
    weights = np.array(_last(records)["mix"]["cell"])
    weights[:, NONE_COLUMN] = 0.0
    return skip_share(_last(records)["leakage"]["cut"]["cell"]) - skip_share(weights)


def skip_share(values: ArrayLike) -> float:
    """Share of the skip connections in the sizes of values (edges, operations); nan of zeros."""
    sizes = np.abs(np.asarray(values))
    total = sizes.sum()
    return float(sizes[:, SKIP_COLUMN].sum() / total) if total else math.nan


def log_training_seconds(records: Records) -> float:
    """log of the CPU seconds of all updates of the search:
    without judging and probes, which differ between arms.
    """
    return math.log(sum(record["cost"]["training_cpu_seconds"] for record in records))


def held_out_rise(records: Records) -> float:
    """Loss (nats) of the supernet on images that nothing was trained on:
    at the best cell minus at the end.
    """
    losses = [record["held_out"]["loss"] for record in records]
    return losses[int(trajectory(records).argmax())] - losses[-1]


def skip_bias(records: Records) -> float:
    """Magnitude S of skip_connect minus that of nor_conv_3x3 at the end;
    both are 6/5 at the start.
    """
    (s,) = stopping.magnitudes(stopping.alphas(records[-1:], NASBENCH201_SPACE))
    return float(s[SKIP_COLUMN] - s[CONV_COLUMN])


def tied(records: Records) -> float:
    """Rank correlation over epochs of the magnitude of nor_conv_3x3 and the current cell's
    accuracy.
    """
    magnitudes = stopping.magnitudes(stopping.alphas(records, NASBENCH201_SPACE))
    return rank_correlation(magnitudes[:, CONV_COLUMN], trajectory(records))


def rank_correlation(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> float:
    """Spearman's rank correlation; 0 where one of them never changes, or of one or two points."""
    if len(first) < 3 or min(np.ptp(first), np.ptp(second)) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def _taken(records: Records, criterion: str) -> float:
    """Accuracy (%) of the cell that a stop criterion takes."""
    decision = stopping.stop(records, criterion, space=NASBENCH201_SPACE)
    return cell_accuracy(stopping.taken_record(records, decision)["genotype"])


def peak_over_last(records: Records) -> float:
    """Cell at the peak of the designated operation
    (selective stop) minus the last cell (points).
    """
    return _taken(records, "peak") - accuracy(records)


def peak_over_fixed(records: Records) -> float:
    """Cell at the peak of the designated operation minus that of epoch 24, half of the search
    (points).
    """
    return _taken(records, "peak") - cell_accuracy(records[FIXED]["genotype"])


def peak_over_median(records: Records) -> float:
    """Cell at the peak of the designated operation minus the median cell (points)."""
    return _taken(records, "peak") - median_cell()


def peak_over_two_skips(records: Records) -> float:
    """Cell at that peak minus the one DARTS+ takes, the first with two skips (points)."""
    return _taken(records, "peak") - _taken(records, "skips_2")


def peak_over_eigenvalue(records: Records) -> float:
    """Cell at that peak minus the one DARTS-ES takes, before the eigenvalue rises (points)."""
    return _taken(records, "peak") - _taken(records, "eigenvalue")


def final_accuracy(result: Mapping[str, Any]) -> float:
    """Test accuracy (%) of a final network after its last epoch."""
    return result["test_accuracy"]


def broken(result: Mapping[str, Any]) -> float:
    """Whether a final network has learned nothing."""
    return float(final_accuracy(result) <= BROKEN)


OF_SEARCHES: Mapping[str, Callable[[Records], float]] = {
    measure.__name__: measure
    for measure in (
        accuracy,
        collapsed,
        degraded,
        gap,
        relaxed,
        best_minus_last,
        late_loss,
        late_gain,
        log_move,
        sharp_epochs,
        skip_gain,
        bypass_over_spread,
        matched_bypass,
        bypass_gap_correlation,
        skip_cut_over_weight,
        log_training_seconds,
        held_out_rise,
        skip_bias,
        tied,
        peak_over_last,
        peak_over_fixed,
        peak_over_median,
        peak_over_two_skips,
        peak_over_eigenvalue,
    )
}
OF_NETWORKS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    measure.__name__: measure for measure in (final_accuracy, broken)
}
MEASURES: Mapping[str, Callable[[Any], float]] = {**OF_SEARCHES, **OF_NETWORKS}
ACCURACIES = frozenset(
    {"accuracy", "collapsed", "degraded", "best_minus_last", "final_accuracy", "broken"}
)
"""Measures that rest on the accuracy of a cell or a network, whose distribution has two humps."""


LOGGED_BY = {"leakage": "probe_every", "held_out": "held_out"}
"""What a record holds only if the search was asked for it, and the field that asks."""


def values(run: Run, names: Sequence[str]) -> dict[str, float]:
    """These measures of a finished run: all of a search, or all of a network.

    Raises ValueError for an unknown name, naming the nearest one, and for a run that lacks what a
    measure rests on, naming the field of a search that asks for it, or is too short for it.
    """
    for name in names:
        choose("measure", name, MEASURES)
    network = all(name in OF_NETWORKS for name in names)
    said = run.result if network else run.records
    return {name: _value(run, name, said) for name in names}


def _value(run: Run, name: str, said: Any) -> float:
    """A measure of a run. said: the records of a search, or the result of a network."""
    try:
        return MEASURES[name](said)
    except KeyError as error:
        (lacking,) = error.args
        hint = f": search with `{LOGGED_BY[lacking]}`" if lacking in LOGGED_BY else ""
        raise ValueError(f"{run.path} has no {lacking!r}, on which {name} rests{hint}") from None
    except IndexError:
        raise ValueError(f"{run.path} has too few epochs for {name}: {len(said)}") from None
