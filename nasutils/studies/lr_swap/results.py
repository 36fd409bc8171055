"""What the claims, tables and figures of the study are computed from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nasutils.measures import stopping, tables
from nasutils.measures.searches import cell_accuracies, cell_accuracy
from nasutils.measures.tables import RANDOM_CELL
from nasutils.runs import Run
from nasutils.studies.lr_swap.variants import JUDGED, SPACE
from nasutils.studies.variants import of_label


@dataclass(frozen=True)
class Results:
    """What the claims are computed from.

    epochs: see `tables.epochs_table`, and S_<operation>, see `stopping.magnitudes`; last: its
    last epochs. decisions: see `decisions`, of the labels in `judged`. operation: the designated
    one.
    """

    runs: Mapping[tuple[str, int], Run]
    epochs: pd.DataFrame
    last: pd.DataFrame
    decisions: pd.DataFrame
    operation: str
    judged: Sequence[str] = JUDGED

    @classmethod
    def of(
        cls,
        runs: Mapping[tuple[str, int], Run],
        operation: str,
        judged: Sequence[str] = JUDGED,
    ) -> "Results":
        """The results of the runs that finished; n says how many.
        Raises ValueError if there is none.
        """
        if not runs:
            raise ValueError("runs must hold a finished search at least, by label and seed")
        records = tables.records_of(runs)
        epochs = tables.epochs_table(records).join(_magnitudes(records.values()))
        last = tables.last_epoch(epochs)
        decided = decisions({key: of for key, of in records.items() if key[0] in judged})
        return cls(runs, epochs, last, decided, operation, judged)

    def present(self, labels: Iterable[str]) -> list[str]:
        """The given labels that were searched, in their order."""
        searched = set(self.last["method"])
        return [label for label in labels if label in searched]

    def degradation(self, label: str) -> pd.Series:
        """Best cell of any epoch minus last cell on CIFAR-10 (points), by seed."""
        searches = of_label(self.epochs, label).groupby("seed")
        return searches["cifar10"].max() - tables.by_seed(self.last, label, "cifar10")

    def gain(self, label: str) -> pd.Series:
        """Last cell minus DARTS's last cell on CIFAR-10 (points), by seed."""
        baseline = tables.by_seed(self.last, "DARTS", "cifar10")
        return tables.by_seed(self.last, label, "cifar10") - baseline

    def references(self, label: str) -> dict[str, pd.Series]:
        """CIFAR-10 accuracy (%) of what no criterion chooses, by seed."""
        table = of_label(self.epochs, label).sort_values("epoch")
        found = table.groupby("seed")["cifar10"].agg(["last", "max", "mean"])
        return {
            "last epoch": found["last"],
            "best epoch (hindsight)": found["max"],
            "an epoch at random": found["mean"],
            "a cell at random": pd.Series(RANDOM_CELL, found.index),
        }

    def stops(self, label: str, criterion: str, operation: str | None = None) -> pd.DataFrame:
        """What a criterion decides on the searches of a label, indexed by seed;
        operation: if not the designated.
        """
        table = self.decisions
        own = (table["method"] == label) & (table["criterion"] == criterion)
        asked = table["operation"] == (operation or self.operation)
        return table[own & (asked | table["operation"].isna())].set_index("seed")


def _magnitudes(searches: Iterable[stopping.Records]) -> pd.DataFrame:
    """S_<operation>: a row per epoch of all searches, one after the other."""
    magnitudes = [np.empty((0, len(SPACE.ops)))]
    for records in searches:
        magnitudes.append(stopping.magnitudes(stopping.alphas(records, SPACE)))
    return pd.DataFrame(np.concatenate(magnitudes), columns=[f"S_{op}" for op in SPACE.ops])


def decisions(searches: Mapping[tuple[str, int], stopping.Records]) -> pd.DataFrame:
    """A row per search and criterion, and per operation where one is designated;
    see `stopping.decide_all`.

    Beside its columns: method, seed, the tabulated test accuracy (%) of the cell taken per data
    set, share (of the search, until nothing could change the decision) and seconds (the same; nan
    where it cannot be judged).
    """
    parts = [_decisions(label, seed, records) for (label, seed), records in searches.items()]
    if parts:
        return pd.concat(parts, ignore_index=True)
    columns = ["method", "seed", "criterion", "operation", "epoch", "fired", "decided", "reason"]
    return pd.DataFrame(columns=[*columns, "share", "seconds", *tables.DATASETS])


def _decisions(label: str, seed: int, records: stopping.Records) -> pd.DataFrame:
    table = stopping.decide_all(records, SPACE, SPACE.ops)
    seconds = np.cumsum([record["cost"]["seconds"] for record in records])
    # How many epochs pass until the decision; all where it takes the whole search.
    passed = (table["decided"] + 1).fillna(len(records)).to_numpy(int)
    known = table["epoch"].notna()
    table = table.assign(
        method=label,
        seed=seed,
        share=np.where(known, passed / len(records), np.nan),
        seconds=np.where(known, seconds[passed - 1], np.nan),
    )
    cells = pd.DataFrame([cell_accuracies(record["genotype"]) for record in records])
    epochs = pd.Series([record["epoch"] for record in records], name="epoch", dtype="Int64")
    return table.merge(cells.join(epochs), on="epoch", how="left")


def online(
    records: stopping.Records, criterion: str, operation: str, patience: int
) -> tuple[int, float]:
    """Epochs after which the criterion stops the running search,
    and the CIFAR-10 accuracy (%) of the cell it takes.

    All of the epochs, and the last cell, if it does not.
    """
    stopper = stopping.Stopper(criterion, SPACE, operation=operation, patience=patience)
    for count, record in enumerate(records, 1):
        if decision := stopper(record):
            taken = stopping.taken_record(records, decision)
            return count, cell_accuracy(taken["genotype"])
    return len(records), cell_accuracy(records[-1]["genotype"])
