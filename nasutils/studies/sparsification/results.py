"""What the claims, tables and figures of the study are computed from."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from nasutils.measures import tables
from nasutils.runs import Run


@dataclass(frozen=True)
class Results:
    """What the claims are computed from. epochs: see `tables.epochs_table`;
    last: its rows of the last epochs.
    """

    runs: Mapping[tuple[str, int], Run]
    epochs: pd.DataFrame
    last: pd.DataFrame

    @classmethod
    def of(cls, runs: Mapping[tuple[str, int], Run]) -> "Results":
        """The results of the runs that finished; n says how many."""
        epochs = tables.epochs_table(tables.records_of(runs))
        return cls(runs, epochs, tables.last_epoch(epochs))

    def frozen(self) -> pd.DataFrame:
        """Per method and seed the share of edges
        (%) whose alpha stood still over the last 10 epochs.
        """
        rows = []
        for (label, seed), run in self.runs.items():
            rows.append((label, seed, 100 * tables.frozen_edges(run.records)))
        return pd.DataFrame(rows, columns=["method", "seed", "frozen"])
