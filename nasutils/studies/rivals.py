"""Beyond the four papers: do three well-known answers cure the collapse, too? Exploratory,
nothing here is registered.

    bypass_leakage  selection by perturbation (`training.selection`) against argmax, in the
                    same supernets
    sparsification  SmoothDARTS (`methods.sdarts`) against DARTS, under the recipe of DARTS
    lr_swap         at most two skip connections against selective stop, of the same searches,
                    on S2
                      (`spaces.darts_policies`, `measures.stopping`)

Each has tasks to hand to `gather`, an accuracy (%) by seed and label from their runs, and from
that a table, a figure and a sentence. The supernets are those of the registered DARTS arm, whose
searches kept no weights, so they are searched once more, with the same seeds. The searches on S2
have seeds of their own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from nasutils import spaces
from nasutils.measures import estimates, searches, stopping
from nasutils.report import plots
from nasutils.runs import Run
from nasutils.spaces.genotype import Genotype
from nasutils.studies import variants
from nasutils.studies.figures import Drawn
from nasutils.studies.readings import counted
from nasutils.studies.variants import Variant, Variants
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation
from nasutils.training.selection import Selection

SUPERNET_SEEDS = tuple(range(5, 17))
S2_SEEDS = tuple(range(100, 112))
TUNE_EPOCHS = 5
"""Between two rounds of choices, as in DARTS-PT."""

Key = tuple[str, int]
"""Label and seed."""


# Selection by perturbation


def supernets(seeds: Sequence[int], **setting: Any) -> dict[Key, Experiment]:
    """The searches of DARTS, which keep their weights;
    setting: see `variants.Variant.experiment`.
    """
    return variants.searches({"DARTS": Variant("darts")}, seeds, keep_weights=True, **setting)


def selections(
    searched: Mapping[Key, Experiment], images: int, tune_epochs: int = TUNE_EPOCHS
) -> dict[Key, Selection]:
    """The selections in these supernets, without and with tuning;
    images: on so many they are judged.
    """
    how = {"perturbation": 0, "perturbation, tuned": tune_epochs}
    return {
        (label, seed): Selection(search, images=images, tune_epochs=epochs, seed=seed)
        for (_, seed), search in searched.items()
        for label, epochs in how.items()
    }


def selected_cells(searched: Mapping[Key, Run], selected: Mapping[Key, Run]) -> pd.DataFrame:
    """Tabulated accuracy of the cell that argmax reads off each supernet,
    and of those that are selected from it.
    """
    return tabulated(
        {**{("argmax", seed): run for (_, seed), run in searched.items()}, **selected}
    )


# SmoothDARTS

AS_DARTS = {"weight_decay": 5e-4, "nesterov": True, "order": "weights-first"}
"""What DARTS's recipe on NAS-Bench-201 says where that of SmoothDARTS's code differs:
only the method is varied.
"""
SMOOTH: Variants = {
    "DARTS": Variant("darts"),
    "SDARTS-RS": Variant("sdarts-rs", recipe=AS_DARTS),
    "SDARTS-ADV": Variant("sdarts-adv", recipe=AS_DARTS),
}


def smooth(seeds: Sequence[int], **setting: Any) -> dict[Key, Experiment]:
    """The searches; DARTS's are the `supernets`. setting: see `variants.Variant.experiment`."""
    others = {label: variant for label, variant in SMOOTH.items() if label != "DARTS"}
    return {**supernets(seeds, **setting), **variants.searches(others, seeds, **setting)}


def tabulated(runs: Mapping[Key, Run]) -> pd.DataFrame:
    """Test accuracy (%, CIFAR-10) of the cell of every finished run in NAS-Bench-201's table:
    seeds by labels.
    """
    return _by_seed(
        {
            key: searches.cell_accuracy(run.result["genotype"])
            for key, run in runs.items()
            if run.result
        }
    )


def _by_seed(values: Mapping[Key, float]) -> pd.DataFrame:
    table = pd.DataFrame(
        [(*key, value) for key, value in values.items()], columns=["method", "seed", "accuracy"]
    )
    labels = list(dict.fromkeys(table["method"]))
    return table.pivot(index="seed", columns="method", values="accuracy")[labels]


# The hand cure

CURES = ("last cell", "at most 2 skips", "selective stop")


def s2_searches(seeds: Sequence[int], **setting: Any) -> dict[Key, Experiment]:
    """The searches of DARTS on S2; setting: see `variants.Variant.experiment`."""
    return variants.searches({"DARTS": Variant("darts")}, seeds, space="s2", **setting)


def cured(searched: Mapping[Key, Run]) -> dict[Key, str]:
    """Three cells of every finished search: its last one, the same with at most two skip
    connections in the normal cell, and the one of the epoch at which the selective stop stops."""
    found: dict[Key, str] = {}
    for (_, seed), run in searched.items():
        if run.finished:
            found |= {(label, seed): cell for label, cell in zip(CURES, _cures(run), strict=True)}
    return found


def _cures(run: Run) -> tuple[str, str, str]:
    space, records = spaces.get("s2"), run.records
    mix = {kind: torch.tensor(rows) for kind, rows in records[-1]["mix"].items()}
    decision = stopping.stop(records, "peak", space=space, operation="sep_conv_3x3")
    stopped = next(record for record in records if record["epoch"] == decision.epoch)
    return (
        records[-1]["genotype"],
        str(space.discretize(mix, policy="top2-skips2")),
        stopped["genotype"],
    )


def final_networks(found: Mapping[Key, str], **setting: Any) -> dict[Key, Evaluation]:
    """The training of every cell of `cured`;
    setting: fields of `Evaluation`. Equal cells of a seed are one run.
    """
    return {
        (label, seed): Evaluation(genotype=cell, space="s2", seed=seed, **setting)
        for (label, seed), cell in found.items()
    }


def tested(finals: Mapping[Key, Run]) -> pd.DataFrame:
    """Test accuracy (%) of every finished network: seeds by labels."""
    return _by_seed(
        {key: run.result["test_accuracy"] for key, run in finals.items() if run.result}
    )


def skips(found: Mapping[Key, str]) -> pd.DataFrame:
    """Skip connections in the normal cell: seeds by labels."""
    return _by_seed(
        {
            key: str(Genotype.parse(cell).cells[0]).count("skip_connect")
            for key, cell in found.items()
        }
    )


# What they say


def comparison(accuracy: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row per label: the median accuracy (%), and that of the differences to the reference,
    seed by seed (points).

    Intervals of order statistics, as in the confirmatory study (`estimates.median_only`). n:
    searches that have both. better, equal: how many of them end above the reference, and at the
    same accuracy.
    """
    rows = []
    for label in accuracy.columns:
        own = accuracy[label].dropna()
        row = {"method": label, **_interval("accuracy", own)}
        if label != reference:
            gain = (accuracy[label] - accuracy[reference]).dropna()
            row |= _interval("gain", gain)
            row |= {"better": int((gain > 0).sum()), "equal": int((gain == 0).sum())}
        rows.append({**row, "n": len(own if label == reference else gain)})
    return pd.DataFrame(rows)


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    if not len(values):
        return {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan}
    found = estimates.median_only([values.to_numpy()])
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


def collapse(accuracy: pd.DataFrame, reference: str) -> pd.DataFrame:
    """A row per label: how many cells have collapsed (below `searches.COLLAPSE`), and the share of
    the reference minus its own, with Newcombe's interval and the one-sided p of Boschloo's
    test."""
    fallen = {
        label: (accuracy[label].dropna() < searches.COLLAPSE).to_numpy(float)
        for label in accuracy.columns
    }
    rows = []
    for label, own in fallen.items():
        row = {"method": label, "collapsed": int(own.sum()), "n": len(own)}
        if label != reference:
            found = estimates.boschloo_test([fallen[reference], own])
            row |= {
                "fewer": found.estimate,
                "fewer_low": found.low,
                "fewer_high": found.high,
                "p": found.p,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def gains(accuracy: pd.DataFrame, reference: str) -> str:
    """What `comparison` says, in sentences."""
    table = comparison(accuracy, reference).set_index("method")
    return " ".join(
        _gain(label, row, reference) for label, row in table.iterrows() if label != reference
    )


def _gain(label: Any, row: Any, reference: str) -> str:
    if not row["n"]:
        return f"No search has both {label} and {reference}."
    interval = f"[{row['gain_low']:.1f}, {row['gain_high']:.1f}]"
    return (
        f"{label} against {reference}: better in {counted(int(row['better']), int(row['n']))}"
        f" searches, equal in {int(row['equal'])}; {row['gain']:+.1f} points in the median, 95 %"
        f" interval {interval}, {_told(row['gain_low'], row['gain_high'])}."
    )


def collapses(accuracy: pd.DataFrame, reference: str) -> str:
    """What `collapse` says, in sentences."""
    table = collapse(accuracy, reference)
    cells = ", ".join(f"{row.collapsed} of {row.n} ({row.method})" for row in table.itertuples())
    told = [
        f"{row.method} against {reference}: {100 * row.fewer:.0f} points fewer, 95 % interval"
        f" [{100 * row.fewer_low:.0f}, {100 * row.fewer_high:.0f}],"
        f" {_told(row.fewer_low, row.fewer_high)}"
        for row in table.itertuples()
        if row.method != reference
    ]
    return f"Collapsed cells, below {searches.COLLAPSE:.0f} %: {cells}. {'; '.join(told)}."


def _told(low: float, high: float) -> str:
    """Whether an interval lies on one side of 0."""
    if math.isnan(low) or math.isnan(high):
        return "too few searches for an interval"
    if low > 0:
        return "a gain"
    return "a loss" if high < 0 else "not told apart from none"


def strips(accuracy: pd.DataFrame, quantity: str) -> Drawn:
    """A column per label: a point per search, the same seed joined by a line,
    and the median with its interval.

    quantity: what is drawn, with its unit.
    """
    figure, ((ax,),) = plots.panels(1, 1, 2.6)
    places = np.arange(len(accuracy.columns))
    for _, row in accuracy.iterrows():
        ax.plot(places, row, color="0.75", lw=0.7, zorder=1)
    for place, label in zip(places, accuracy.columns, strict=True):
        values = accuracy[label].dropna()
        ax.scatter(np.full(len(values), place), values, s=14, color="C0", alpha=0.7, zorder=2)
        if len(values):
            found = _interval("median", values)
            ends = [
                [found["median"] - found["median_low"]],
                [found["median_high"] - found["median"]],
            ]
            ax.errorbar(
                place + 0.15,
                found["median"],
                ends,
                fmt="_",
                color="0.1",
                capsize=3,
                ms=9,
                zorder=3,
            )
    ax.set_xticks(places, accuracy.columns)
    ax.set(ylabel=quantity, xlim=(-0.4, len(places) - 0.6))
    return figure, accuracy.reset_index()
