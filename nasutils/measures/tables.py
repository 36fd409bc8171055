"""Tables of runs: a row per epoch, per probe, per method; and estimates from their columns.

The unit of all statistics is an independent search (a seed).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nasutils.measures import stopping
from nasutils.measures.estimates import Estimate, central, estimate
from nasutils.measures.searches import cell_accuracies, gap_of, skip_share
from nasutils.measures.stopping import Records
from nasutils.runs import Run
from nasutils.spaces.base import SKIP
from nasutils.spaces.nasbench201_table import DATASETS

RANDOM_CELL = 87.06
"""Mean CIFAR-10 test accuracy (%) of all 15,625 cells: what a blindly drawn cell is worth."""
STILL = 10
"""Epochs at the end over which the alpha of a frozen edge does not move."""
NOT_JUDGED = dict.fromkeys(("relaxed", "discretized", "discretized_recalibrated"), math.nan)


def records_of(runs: Mapping[tuple[str, int], Run]) -> dict[tuple[str, int], Records]:
    """The records of each search, read once for all tables. Raises BadRun."""
    return {key: run.records for key, run in runs.items()}


def epochs_table(searches: Mapping[tuple[str, int], Records]) -> pd.DataFrame:
    """A row per method, seed and epoch of NAS-Bench-201 searches;
    searches: {(method label, seed): records}.

    Columns: temperature, entropy (nats per edge), relaxed, discretized, recalibrated (supernet
    accuracy, %), gap (relaxed - recalibrated, points), train_loss, valid_loss (nats), skips, nones
    (edges of the current cell), genotype, eigenvalue, a column of tabulated test accuracy (%) per
    data set, seconds. nan where an epoch was not judged or not measured.
    """
    rows = []
    for (label, seed), records in searches.items():
        for record in records:
            rows.append({"method": label, "seed": seed, **_epoch(record)})
    return pd.DataFrame(rows)


def _epoch(record: Mapping[str, Any]) -> dict[str, Any]:
    judged = record.get("supernet_accuracy", NOT_JUDGED)
    accuracies = cell_accuracies(record["genotype"])
    return {
        "epoch": record["epoch"],
        "temperature": record["temperature"],
        "entropy": record["entropy"]["cell"],
        "train_loss": record["train_loss"],
        "valid_loss": record["valid_loss"],
        "relaxed": judged["relaxed"],
        "discretized": judged["discretized"],
        "recalibrated": judged["discretized_recalibrated"],
        "gap": gap_of(judged),
        "skips": record["genotype"].count(SKIP),
        "nones": record["genotype"].count("none"),
        "genotype": record["genotype"],
        "eigenvalue": _number(stopping.eigenvalue(record)),
        **{name: accuracies[name] for name in DATASETS},
        "seconds": record["cost"]["seconds"],
    }


def leakage_table(searches: Mapping[tuple[str, int], Records]) -> pd.DataFrame:
    """A row per method, seed and probed epoch;
    cell types are averaged. Measures: see `nasutils.measures.leakage`.

    Columns: bypass, spread, matched_bypass (at half of the largest entropy), skip_cut (share of
    skips in what cutting any one operation changes), free_gradient, free_weight, free_strongest
    (shares), margin, entropy (nats per edge), eigenvalue (of the Hessian in alpha), curvature (of
    that in alpha / T, comparable across temperatures), drop, drop_recalibrated (points), loss
    (nats). Empty where no search was probed.
    """
    rows = []
    for (label, seed), records in searches.items():
        for record in records:
            if "leakage" in record:
                row = {"method": label, "seed": seed, "epoch": record["epoch"]}
                rows.append(row | _leakage(record))
    measures = [
        "bypass",
        "spread",
        "matched_bypass",
        "skip_cut",
        "free_gradient",
        "free_weight",
        "free_strongest",
        "margin",
        "entropy",
        "eigenvalue",
        "curvature",
    ]
    columns = ["method", "seed", "epoch", *measures, "drop", "drop_recalibrated", "loss"]
    return pd.DataFrame(rows, columns=columns)


def _leakage(record: Mapping[str, Any]) -> dict[str, float]:
    measured, judged = record["leakage"], record["supernet_accuracy"]
    matched = measured["matched"]
    dominance = measured["dominance"].values()
    cut = measured["cut"].get("cell")  # on NAS-Bench-201
    eigenvalue = _number(measured["eigenvalue"])
    return {
        "bypass": _mean(measured["bypass_total"].values()),
        "spread": _mean_of_means(measured["spread"].values()),
        "matched_bypass": _mean(matched["bypass_total"].values()) if matched else math.nan,
        "skip_cut": math.nan if cut is None else skip_share(cut),
        "free_gradient": _mean(measured["free_gradient"].values()),
        "free_weight": _mean(d["weight"] for d in dominance),
        "free_strongest": _mean(d["strongest"] for d in dominance),
        "margin": _mean_of_means(measured["margin"].values()),
        "entropy": _mean_of_means(measured["entropy"].values()),
        "eigenvalue": eigenvalue,
        # Per alpha / T, so that searches at different temperatures compare.
        "curvature": eigenvalue * _number(_softmax_temperature(record)) ** 2,
        "loss": measured["loss"],
        "drop": judged["relaxed"] - judged["discretized"],
        "drop_recalibrated": gap_of(judged),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _mean_of_means(lists: Iterable[Sequence[float]]) -> float:
    """Each cell type counts as much, however many edges it has."""
    return _mean(float(np.mean(values)) for values in lists)


def _softmax_temperature(record: Mapping[str, Any]) -> float | None:
    """Records of old say only the temperature;
    all of them are of methods whose weights are its softmax.
    """
    return record.get("softmax_temperature", record["temperature"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def last_epoch(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each search's last epoch."""
    return table.loc[table.groupby(["method", "seed"])["epoch"].idxmax()]


def by_seed(table: pd.DataFrame, method: str, column: str) -> pd.Series:
    """A column of one method's rows, indexed by seed."""
    return table[table["method"] == method].set_index("seed")[column]


def of_method(table: pd.DataFrame, method: str, column: str, minus: float = 0.0) -> Estimate:
    """Mean over a method's seeds of a column, less a constant;
    table has one row per method and seed.
    """
    return estimate(by_seed(table, method, column) - minus)


def paired(table: pd.DataFrame, first: str, second: str, column: str) -> Estimate:
    """Mean over seeds of first - second in a column, paired by seed;
    table has one row per method and seed.
    """
    return estimate(by_seed(table, first, column) - by_seed(table, second, column))


def correlations(table: pd.DataFrame, first: str, second: str) -> pd.Series:
    """Spearman's correlation of two columns over the rows of each seed, by seed;
    nan where one never changes.
    """
    found = {}
    for seed, part in table.groupby("seed"):
        found[seed] = math.nan
        if (part[[first, second]].nunique() > 1).all():
            found[seed] = part[first].corr(part[second], method="spearman")
    return pd.Series(found, dtype=float)


def summary(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Per method the median of each column and its interval, see `central`:
    columns `<column>`, `<column>_low`, `<column>_high`, and n.
    """
    rows = []
    for method, group in table.groupby("method", sort=False):
        row: dict[str, Any] = {"method": method, "n": len(group)}
        for column in columns:
            row |= central(group[column]).columns(column)
        rows.append(row)
    return pd.DataFrame(rows)


def frozen_edges(records: Sequence[Mapping[str, Any]]) -> float:
    """Share of edges whose alpha did not change by a single bit over the last STILL epochs:
    saturation.

    nan if the search is not longer than that.
    """
    if len(records) <= STILL:
        return math.nan
    now, before = (np.array(records[i]["alpha"]["cell"]) for i in (-1, -1 - STILL))
    return float((now == before).all(axis=-1).mean())
