"""What the claims, tables and figures of the study are computed from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from nasutils import runs
from nasutils.measures import tables
from nasutils.runs import Run
from nasutils.studies.small_spaces import SpaceKey, finals_table
from nasutils.training.computation import Machine, measured
from nasutils.training.experiment import Experiment, build


@dataclass(frozen=True)
class Results:
    """What the claims are computed from: searches on NAS-Bench-201,
    and final networks of cells found on S1-S4.

    epochs: see `tables.epochs_table`; last: its last epochs. leakage: see
    `tables.leakage_table`. speedup: see `speedups`. finals: see `small_spaces.finals_table`.
    """

    runs: Mapping[tuple[str, int], Run]
    epochs: pd.DataFrame
    last: pd.DataFrame
    leakage: pd.DataFrame
    speedup: pd.DataFrame
    finals: pd.DataFrame

    @classmethod
    def of(
        cls,
        runs: Mapping[tuple[str, int], Run],
        speedup: pd.DataFrame,
        finals: Mapping[SpaceKey, Run],
    ) -> "Results":
        """The results of the searches that finished (n says how many), and of final networks,
        finished or not.
        """
        records = tables.records_of(runs)
        epochs = tables.epochs_table(records)
        return cls(
            runs=runs,
            epochs=epochs,
            last=tables.last_epoch(epochs),
            leakage=tables.leakage_table(records),
            speedup=speedup,
            finals=finals_table(finals),
        )

    def leaks(self) -> pd.DataFrame:
        """The measures of leakage at the end of each search, a row per method and seed."""
        return tables.last_epoch(self.leakage)


def speedups(
    searches: Mapping[tuple[str, int], Experiment],
    found: Mapping[tuple[str, int], Run],
    machine: Machine,
    pairs: int = 8,
) -> pd.DataFrame:
    """How much faster a sparse iteration is than a dense one:
    columns method, seed, ratio (of seconds).

    Both updates of an iteration, with alpha as the search left it; the median over pairs, measured
    in turns. Measured once and kept among the runs.
    """
    rows = []
    for (label, seed), run in found.items():
        if label == "SP-DARTS":
            ratio = _speedup(searches[label, seed], run, machine, pairs)
            rows.append({"method": label, "seed": seed, "ratio": ratio})
    return pd.DataFrame(rows, columns=["method", "seed", "ratio"])


def _speedup(experiment: Experiment, search: Run, machine: Machine, pairs: int) -> float:
    params = {"kind": "speedup", "version": 1, "search": search.path.name, "pairs": pairs}

    def measure() -> runs.Result:
        return {"ratio": _ratio(experiment, search.records[-1], machine, pairs)}

    return measured(measure, params, machine)["ratio"]


def _ratio(
    experiment: Experiment, record: Mapping[str, Any], machine: Machine, pairs: int
) -> float:
    search = build(experiment, machine)
    method: Any = search.method
    with torch.no_grad():
        for cell_type, alpha in method.alphas.items():
            alpha.copy_(torch.tensor(record["alpha"][cell_type]))
    method.begin_epoch(record["epoch"])
    index = torch.arange(min(search.recipe.batch, len(search.train)))
    train = search.batch("train", search.train, index)
    valid = search.batch("valid", search.valid, index)

    def seconds(sparse: bool) -> float:
        method.now = replace(method.now, probability=float(sparse))
        started = time.perf_counter()
        search.step(train, valid)
        search.weights[0].detach().sum().item()  # waits for a GPU
        return time.perf_counter() - started

    ratios = [seconds(sparse=False) / seconds(sparse=True) for _ in range(pairs + 1)]
    return float(np.median(ratios[1:]))  # the first pair warms up
