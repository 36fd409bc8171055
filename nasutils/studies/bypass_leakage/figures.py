"""Figures and tables of `notebooks/bypass_leakage.ipynb` alone:
functions of results that return figure and table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nasutils.measures import tables
from nasutils.methods import schedules
from nasutils.report import plots
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.studies import outside
from nasutils.studies.bypass_leakage.results import Results
from nasutils.studies.bypass_leakage.variants import PROBED, VARIANTS
from nasutils.studies.figures import Drawn, covered, every_search, one_legend, present

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


def demonstration(results: Results, chance: float) -> Drawn:
    """Held-out accuracy of the supernets at the end of the search,
    as they are and with operations taken away.

    What stays keeps its weight; batch-norm statistics are estimated anew, but for the last row.
    Median and interval over seeds; chance: accuracy (%) of guessing.
    """
    table, labels = taken_away(results), probed(results)
    figure, (axes,) = plots.panels(1, len(labels), 2.3, sharey=True, sharex=True)
    right = table["accuracy"].max() + 12
    for ax, label in zip(axes, labels, strict=True):
        part = table[table["method"] == label]
        bar = {"color": plots.look(label)["color"], "edgecolor": "0.2", "linewidth": 0.6}
        for y, name in enumerate(TAKEN_AWAY):
            e = tables.central(part[part["supernet"] == name]["accuracy"])
            ax.barh(y, e.mean, height=0.65, **bar)
            plots.interval(ax, e, y)
            end = np.fmax(e.mean, e.high)
            ax.text(end + 1.5, y, f"{e.mean:.0f}", va="center", fontsize="small")
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
    table, labels = results.leaks(), probed(results, PROBED)
    figure, (axes,) = plots.panels(1, len(END), 0.9 + 0.36 * len(labels), sharey=True)
    for ax, (column, name) in zip(axes, END.items(), strict=True):
        every_search(ax, table, labels, column)
        ax.set(xlabel=name, xlim=(-0.04, 1.04))
    for place, label in enumerate(labels):
        spread = tables.central(tables.by_seed(table, label, "spread")).mean
        axes[0].vlines(spread, place - 0.42, place + 0.42, color="0.25", lw=1.2, ls=":")
    plots.note(
        figure,
        "marks: searches; bars: median and its interval"
        f" ({plots.covered(table['seed'].nunique())})",
    )
    return figure, table


def course(results: Results) -> Drawn:
    """Every measure of leakage per epoch: medians over seeds, without intervals,
    which would cover each other.
    """
    figure, axes = plots.panels(2, 3, 2.1, sharex=True)
    for ax, (column, (name, limits)) in zip(axes.flat, COURSE.items(), strict=True):
        for label in probed(results, PROBED):
            rows = results.leakage[results.leakage["method"] == label]
            medians = rows.groupby("epoch")[column].median()
            style = plots.look(label) | plots.MARKS | {"lw": 1.3, "markevery": 2}
            ax.plot(medians.index, medians, label=label, **style)
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
    low = float(np.min([mean.min() for mean in means.values()]))
    top = float(np.max([mean.max() for mean in means.values()]))
    figure, axes = plots.panels(len(labels), 2, 2.2, sharex=True, sharey=True)
    for ax, ((label, what), mean) in zip(axes.flat, means.items(), strict=True):
        image = ax.imshow(mean, vmin=min(low, 0), vmax=top, cmap="YlOrBr", aspect="auto")
        ax.set_title(f"{label}: {'cut' if what == 'cut' else 'the only one kept'}")
        names = [plots.spaced(op) for op in OPS]
        ax.set_xticks(range(len(OPS)), names, rotation=25, ha="right")
        ax.set_yticks(range(len(EDGES)), [f"{s} → {t}" for s, t in EDGES])
        ax.grid(False)
        for (edge, op), value in np.ndenumerate(mean):
            text = f"{value:.2f}".replace("-0.00", "0.00")
            color = "w" if value > 0.55 * top else "0.1"
            ax.text(op, edge, text, ha="center", va="center", fontsize=6, color=color)
    for ax in axes[:, 0]:
        ax.set_ylabel("edge")
    figure.colorbar(image, ax=axes, label="change of the loss (nats)", shrink=0.8)
    plots.note(figure, "means over seeds")
    return figure, _changes_table(means)


def _mean_changes(results: Results, labels: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """By label and what is done, the changes of the loss (edges, operations), means over seeds."""
    means = {}
    for label in labels:
        runs = [run for (name, _), run in results.runs.items() if name == label]
        last = [run.records[-1]["leakage"] for run in runs]
        for what in ("cut", "only"):
            means[label, what] = np.mean([measured[what]["cell"] for measured in last], axis=0)
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
        states = [at(epoch) for epoch in range(epochs)]
        share = np.array([min(state.probability, 1.0) for state in states])
        sparse = np.array([state.sparse for state in states])
        dense = np.array([state.dense for state in states])
        mean = np.exp(share * np.log(sparse) + (1 - share) * np.log(dense))
        left.plot(range(epochs), share, style, label=label)
        right.semilogy(range(epochs), mean, style)
        columns = {"C": share, "T_s": sparse, "T_d": dense, "mean_T": mean}
        parts.append(pd.DataFrame({"setting": label, "epoch": range(epochs), **columns}))
    left.set(xlabel="epoch", ylabel="probability C\nof a sparse step", ylim=(-0.03, 1.05))
    right.set(xlabel="epoch", ylabel="temperature\n(geometric mean)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, pd.concat(parts, ignore_index=True)


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
    plots.stretch(axes[0], "x", max(results.last["cifar10"].min() - 4, 0))
    plots.note(figure, f"marks: searches; bars: median and its interval ({covered(results)})")
    return figure, results.last[["method", "seed", "cifar10", "gap", "genotype"]]


def outside_evidence() -> Drawn:
    """RobustDARTS's own searches: skips of the normal cell, eigenvalue and one-shot error,
    two weight decays.
    """
    table = outside.searches()
    table = table[(table["drop_path"] == 0) & table["weight_decay"].isin([3e-4, 8.1e-3])]
    names = {
        "skips": ("skips (of 8 edges)", (-0.2, 8.2)),
        "eigenvalue": ("eigenvalue (nats)", (0, None)),
        "valid_error": ("one-shot error (%)", (0, None)),
    }
    spaces = {"s1": "S1, CIFAR-10", "s3": "S3, SVHN"}
    figure, axes = plots.panels(2, 3, 2.1, sharex=True)
    looks: Mapping[float, dict[str, Any]] = {
        3e-4: {"color": "C3", "ls": "-", "label": "weight decay 0.0003 (default)"},
        8.1e-3: {"color": "C0", "ls": "--", "label": "weight decay 0.0081"},
    }
    for row, (space, title) in zip(axes, spaces.items(), strict=True):
        for ax, (column, (label, limits)) in zip(row, names.items(), strict=True):
            for decay, look in looks.items():
                searched = (table["space"] == space) & (table["weight_decay"] == decay)
                rows = table[searched].dropna(subset=[column])
                plots.median_band(ax, rows, "epoch", column, **look)
            ax.set(title=title, ylabel=label, ylim=limits)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    one_legend(figure, axes, 2)
    plots.note(figure, "median of three searches each, and their range")
    return figure, table
