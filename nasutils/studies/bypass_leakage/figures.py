"""Figures and tables of `notebooks/bypass_leakage.ipynb` alone:
functions of results that return figure and table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from nasutils.measures import tables
from nasutils.measures.estimates import central
from nasutils.methods import schedules
from nasutils.report import plots
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.studies import outside
from nasutils.studies.bypass_leakage.results import Results
from nasutils.studies.bypass_leakage.variants import PROBED, VARIANTS
from nasutils.studies.figures import Drawn, covered, every_search, lowest, one_legend, present
from nasutils.studies.variants import of_label

END = {
    "bypass": "bypass, as searched\n(share; dotted: spread)",
    "matched_bypass": "bypass at equal\nsparsity (share)",
    "skip_cut": "skips' part of what\ncutting changes (share)",
}
COURSE = {
    "bypass": ("bypass, as searched\n(share)", (0, 1.02)),
    "matched_bypass": ("bypass at equal\nsparsity (share)", (0, 1.02)),
    "skip_cut": ("skips' part of what\ncutting changes (share)", (0, 1.02)),
    "free_gradient": ("gradient through free\noperations (share)", (0, 1.02)),
    "drop_recalibrated": ("gap (points)", None),
    "curvature": ("largest Hessian\neigenvalue (nats)", None),
}
"""Measure -> its name, and limits where it is a share."""

TAKEN_AWAY = {
    "relaxed": "all operations, as searched",
    "without_skip": "without skip",
    "free_only": "only operations without parameters",
    "parametric_only": "only convolutions",
    "discretized_recalibrated": "one operation per edge",
    "discretized": "the same, old batch-norm statistics",
}
"""Supernet with operations taken away, as its records call it -> its name."""

INTERVENTIONS = {"cut": "cut", "only": "the only one kept"}
"""What is done to an operation, as the records call it -> its name."""

DECAYS: Mapping[float, dict[str, Any]] = {
    3e-4: {"color": "C3", "ls": "-", "label": "weight decay 0.0003 (default)"},
    8.1e-3: {"color": "C0", "ls": "--", "label": "weight decay 0.0081"},
}
"""Weight decay of RobustDARTS's searches -> how it is drawn."""


def demonstration(results: Results, chance: float) -> Drawn:
    """Held-out accuracy of the supernets at the end of the search,
    as they are and with operations taken away.

    What stays keeps its weight; batch-norm statistics are estimated anew, but for the first and
    the last row. Median and interval over seeds; chance: accuracy (%) of guessing.
    """
    table = taken_away(results)
    labels = probed(results)
    figure, (axes,) = plots.panels(1, len(labels), 2.3, sharey=True, sharex=True)
    right = table["accuracy"].max() + 12  # room for the numbers
    for ax, label in zip(axes, labels, strict=True):
        _bars(ax, of_label(table, label), plots.look(label)["color"])
        ax.axvline(chance, color="0.4", ls=":", lw=0.9)
        ax.set(title=label, xlabel="held-out accuracy (%)", xlim=(0, right))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(TAKEN_AWAY)), list(TAKEN_AWAY.values()))
    axes[0].invert_yaxis()
    seeds = table["seed"].nunique()
    plots.note(
        figure, f"median over seeds and its interval ({plots.covered(seeds)}); dotted: guessing"
    )
    return figure, table


def _bars(ax: Axes, table: pd.DataFrame, color: str) -> None:
    """The median of each supernet as a bar, with its interval and its number."""
    for y, name in enumerate(TAKEN_AWAY):
        e = central(table.loc[table["supernet"] == name, "accuracy"])
        ax.barh(y, e.mean, height=0.65, color=color, edgecolor="0.2", linewidth=0.6)
        plots.interval(ax, e, y)
        end = np.fmax(e.mean, e.high)  # without an interval, of the bar
        ax.text(end + 1.5, y, f"{e.mean:.0f}", va="center", fontsize="small")


def taken_away(results: Results) -> pd.DataFrame:
    """A row per search and supernet of TAKEN_AWAY at the end:
    method, seed, supernet, accuracy (%).
    """
    rows = []
    for (label, seed), run in results.runs.items():
        record = run.records[-1]
        if "leakage" not in record:
            continue
        accuracies = record["supernet_accuracy"] | record["leakage"]["accuracy"]
        for name in TAKEN_AWAY:
            row = {"method": label, "seed": seed, "supernet": name}
            rows.append(row | {"accuracy": accuracies[name]})
    return pd.DataFrame(rows)


def probed(results: Results, labels: Sequence[str] = ("DARTS", "SP-DARTS")) -> list[str]:
    """The variants of these labels that were probed, all of those probed if none of them was."""
    found = list(results.leakage["method"].unique())
    return [label for label in labels if label in found] or found


def leakage(results: Results) -> Drawn:
    """What the claims ask at the end of the searches:
    a point per seed, median and interval per method.
    """
    table = results.leaks()
    labels = probed(results, PROBED)
    figure, (axes,) = plots.panels(1, len(END), 0.9 + 0.36 * len(labels), sharey=True)
    for ax, (column, name) in zip(axes, END.items(), strict=True):
        every_search(ax, table, labels, column)
        ax.set(xlabel=name, xlim=(-0.04, 1.04))
    for place, label in enumerate(labels):
        spread = central(tables.by_seed(table, label, "spread"))
        axes[0].vlines(spread.mean, place - 0.42, place + 0.42, color="0.25", lw=1.2, ls=":")
    seeds = table["seed"].nunique()
    plots.note(figure, f"marks: searches; bars: median and its interval ({plots.covered(seeds)})")
    return figure, table


def course(results: Results) -> Drawn:
    """Every measure of leakage per epoch: medians over seeds, without intervals,
    which would cover each other.
    """
    figure, axes = plots.panels(2, 3, 2.1, sharex=True)
    for ax, (column, (name, limits)) in zip(axes.flat, COURSE.items(), strict=True):
        for label in probed(results, PROBED):
            rows = of_label(results.leakage, label)
            medians = rows.groupby("epoch")[column].median()
            ax.plot(medians.index, medians, label=label, **plots.curve_style(label, 2))
        ax.set(ylabel=name, ylim=limits)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    one_legend(figure, axes, 4)
    plots.note(figure, "medians over seeds")
    return figure, results.leakage


def interventions(results: Results) -> Drawn:
    """Change of the loss at the end when an operation is cut,
    and when it is the only one of its edge.
    """
    labels = probed(results)
    means = _mean_changes(results, labels)
    every = np.stack(list(means.values()))
    low, high = min(every.min(), 0), every.max()
    figure, axes = plots.panels(len(labels), 2, 2.2, sharex=True, sharey=True)
    for ax, ((label, what), mean) in zip(axes.flat, means.items(), strict=True):
        image = ax.imshow(mean, vmin=low, vmax=high, cmap="YlOrBr", aspect="auto")
        _write_changes(ax, mean, high)
        ax.set_title(f"{label}: {INTERVENTIONS[what]}")
    for ax in axes[:, 0]:
        ax.set_ylabel("edge")
    figure.colorbar(image, ax=axes, label="change of the loss (nats)", shrink=0.8)
    plots.note(figure, "means over seeds")
    return figure, _changes_table(means)


def _write_changes(ax: Axes, mean: np.ndarray, high: float) -> None:
    """Name edges and operations of a panel, and write each number on its field."""
    names = [plots.spaced(op) for op in OPS]
    ax.set_xticks(range(len(OPS)), names, rotation=25, ha="right")
    ax.set_yticks(range(len(EDGES)), [f"{source} → {target}" for source, target in EDGES])
    ax.grid(False)
    for (edge, op), value in np.ndenumerate(mean):
        text = f"{value:.2f}".replace("-0.00", "0.00")
        color = "w" if value > 0.55 * high else "0.1"  # white on dark fields
        ax.text(op, edge, text, ha="center", va="center", fontsize=6, color=color)


def _mean_changes(results: Results, labels: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """Changes of the loss (edges, operations), means over seeds, by label and what is done."""
    means = {}
    for label in labels:
        runs = [run for (name, _), run in results.runs.items() if name == label]
        probes = [run.records[-1]["leakage"] for run in runs]
        for what in INTERVENTIONS:
            changes = [probe[what]["cell"] for probe in probes]
            means[label, what] = np.mean(changes, axis=0)
    return means


def _changes_table(means: Mapping[tuple[str, str], np.ndarray]) -> pd.DataFrame:
    rows = []
    for (label, what), mean in means.items():
        for (edge, op), nats in np.ndenumerate(mean):
            source, target = EDGES[edge]
            row = {"method": label, "what": what, "edge": f"{source} to {target}"}
            rows.append(row | {"operation": OPS[op], "nats": nats})
    return pd.DataFrame(rows)


def sparsity_schedules(epochs: int) -> Drawn:
    """C_e, the probability of a sparse step, and the mean temperature (geometric) that it makes,
    per setting.
    """
    settings = {
        "NAS-Bench-201, CIFAR-10": lambda e: schedules.sp_linear(e, epochs, 1.1e-3, 11),
        "NAS-Bench-201, CIFAR-100": lambda e: schedules.sp_cifar100(e, epochs, 1.3e-3, 6e-4, 11),
        "DARTS space": lambda e: schedules.sp_linear(e, epochs, 1e-3, 10),
        "S2": lambda e: schedules.sp_offset(e, epochs, 6e-4),
    }
    figure, ((left, right),) = plots.panels(1, 2)
    parts = []
    for (label, at), style in zip(settings.items(), ("C0-", "C1--", "C2-.", "C3:"), strict=True):
        part = _schedule_table([at(epoch) for epoch in range(epochs)])
        left.plot(part["epoch"], part["C"], style, label=label)
        right.semilogy(part["epoch"], part["mean_T"], style)
        part.insert(0, "setting", label)
        parts.append(part)
    left.set(xlabel="epoch", ylabel="probability C\nof a sparse step", ylim=(-0.03, 1.05))
    right.set(xlabel="epoch", ylabel="temperature\n(geometric mean)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, pd.concat(parts, ignore_index=True)


def _schedule_table(states: Sequence[schedules.TwoTemperatures]) -> pd.DataFrame:
    """A row per epoch: probability, temperature of a sparse and a dense step, and their mean."""
    probability = np.array([min(state.probability, 1.0) for state in states])
    sparse = np.array([state.sparse for state in states])
    dense = np.array([state.dense for state in states])
    log_mean = probability * np.log(sparse) + (1 - probability) * np.log(dense)
    columns = {"C": probability, "T_s": sparse, "T_d": dense, "mean_T": np.exp(log_mean)}
    return pd.DataFrame({"epoch": range(len(states)), **columns})


def ablation(results: Results) -> Drawn:
    """Last cell on CIFAR-10 and gap at the end of every variant:
    a point per seed, median and interval.
    """
    labels = present(results, VARIANTS)
    figure, (axes,) = plots.panels(1, 2, 0.9 + 0.36 * len(labels), sharey=True)
    names = {
        "cifar10": "CIFAR-10 test accuracy of the last cell (%)",
        "gap": "gap at the end (points)",
    }
    for ax, (column, name) in zip(axes, names.items(), strict=True):
        every_search(ax, results.last, labels, column)
        ax.set_xlabel(name)
    plots.stretch(axes[0], "x", lowest(results.last["cifar10"]))
    plots.note(figure, f"marks: searches; bars: median and its interval ({covered(results)})")
    return figure, results.last[["method", "seed", "cifar10", "gap", "genotype"]]


def outside_evidence() -> Drawn:
    """RobustDARTS's own searches: skips of the normal cell, eigenvalue and one-shot error,
    two weight decays.
    """
    table = outside.searches()
    table = table[(table["drop_path"] == 0) & table["weight_decay"].isin(list(DECAYS))]
    names = {
        "skips": ("skips (of 8 edges)", (-0.2, 8.2)),
        "eigenvalue": ("eigenvalue (nats)", (0, None)),
        "valid_error": ("one-shot error (%)", (0, None)),
    }
    figure, axes = plots.panels(2, 3, 2.1, sharex=True)
    for row, (space, title) in zip(axes, outside.SPACES.items(), strict=True):
        for ax, (column, (label, limits)) in zip(row, names.items(), strict=True):
            for decay, look in DECAYS.items():
                searched = (table["space"] == space) & (table["weight_decay"] == decay)
                rows = table[searched].dropna(subset=[column])
                plots.median_band(ax, rows, "epoch", column, **look)
            ax.set(title=title, ylabel=label, ylim=limits)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    one_legend(figure, axes, 2)
    plots.note(figure, "median of three searches each, and their range")
    return figure, table
