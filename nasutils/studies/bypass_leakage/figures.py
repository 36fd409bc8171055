"""Figures and tables of `notebooks/bypass_leakage.ipynb` alone: functions of results that return figure and table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nasutils.measures import analysis
from nasutils.methods import schedules
from nasutils.report import plots
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.studies import outside
from nasutils.studies.bypass_leakage.results import Results
from nasutils.studies.bypass_leakage.variants import PROBED, VARIANTS
from nasutils.studies.figures import Drawn, every_search, present

MEASURES = {
    "bypass": ("bypass, as searched\n(share)", (0, 1.02)),
    "matched_bypass": ("bypass at equal\nsparsity (share)", (0, 1.02)),
    "skip_cut": ("skips' part of what\ncutting changes (share)", (0, 1.02)),
    "free_gradient": ("gradient through\nfree operations (share)", (0, 1.02)),
    "drop_recalibrated": ("discretization drop\n(points)", None),
    "curvature": ("largest eigenvalue of the\nHessian in alpha / T (nats)", None),
}


TAKEN_AWAY = {
    "relaxed": "all operations, as searched",
    "without_skip": "without skip",
    "free_only": "only operations without parameters",
    "parametric_only": "only convolutions",
    "discretized_recalibrated": "one operation per edge",
    "discretized": "the same, old batch-norm statistics",
}


def demonstration(results: Results, chance: float) -> Drawn:
    """Held-out accuracy of the supernets at the end of the search, as they are and with operations taken away.

    What stays keeps its weight; batch-norm statistics are estimated anew, but for the last row. Mean and
    95 % interval over seeds; chance: accuracy (%) of guessing.
    """
    rows = []
    for (label, seed), run in results.runs.items():
        record = run.records[-1]
        if "leakage" in record:
            accuracies = record["supernet_accuracy"] | record["leakage"]["accuracy"]
            rows += [{"method": label, "seed": seed, "supernet": k, "accuracy": accuracies[k]} for k in TAKEN_AWAY]
    table, labels = pd.DataFrame(rows), probed(results)
    figure, (axes,) = plots.panels(1, len(labels), 2.3, sharey=True, sharex=True)
    right = min(table["accuracy"].max() + 18, 112)
    for ax, label in zip(axes, labels, strict=True):
        part = table[table["method"] == label]
        for y, name in enumerate(TAKEN_AWAY):
            e = analysis.estimate(part[part["supernet"] == name]["accuracy"])
            ax.barh(y, e.mean, color=plots.look(label)["color"], edgecolor="0.2", linewidth=0.6, height=0.65)
            plots.interval(ax, e, y)
            at = min(np.fmax(e.mean, e.high), right - 6) + 1.5
            ax.text(at, y, f"{e.mean:.0f}", va="center", fontsize="small")
        ax.axvline(chance, color="0.4", ls=":", lw=0.9)
        ax.set(title=label, xlabel="held-out accuracy (%)", xlim=(0, right))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(TAKEN_AWAY)), list(TAKEN_AWAY.values()))
    axes[0].invert_yaxis()
    return figure, table


def probed(results: Results, labels: Sequence[str] = ("DARTS", "SP-DARTS")) -> list[str]:
    """The variants of these labels that were probed, all of those probed if none of them was."""
    found = list(results.leakage["method"].unique())
    return [label for label in labels if label in found] or found


def leakage(results: Results) -> Drawn:
    """Every measure of leakage per epoch, mean and interval over seeds.

    Thin lines in the first panel: the spread, which is the bypass of operations that matter by their weight alone.
    """
    figure, axes = plots.panels(2, 3, 2.1, sharex=True)
    for ax, (column, (name, limits)) in zip(axes.flat, MEASURES.items(), strict=True):
        for label in probed(results, PROBED):
            rows = results.leakage[results.leakage["method"] == label]
            plots.median_band(ax, rows, "epoch", column, label=label, **plots.look(label))
            if column == "bypass":
                mean = rows.groupby("epoch")["spread"].mean()
                ax.plot(mean.index, mean, color=plots.look(label)["color"], lw=0.7, ls=":")
        ax.set(ylabel=name, ylim=limits)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure, results.leakage


def interventions(results: Results) -> Drawn:
    """Change of the loss at the end when an operation is cut, and when it is the only one of its edge."""
    labels = probed(results)
    rows, means = [], {}
    for label in labels:
        last = [run.records[-1]["leakage"] for (name, _), run in results.runs.items() if name == label]
        for what in ("cut", "only"):
            mean = np.mean([m[what]["cell"] for m in last], axis=0)
            means[label, what] = mean
            rows += [
                {"method": label, "what": what, "edge": f"{s} to {t}", "operation": op, "nats": mean[e, k]}
                for e, (s, t) in enumerate(EDGES)
                for k, op in enumerate(OPS)
            ]
    top = max(float(np.abs(m).max()) for m in means.values())
    figure, axes = plots.panels(len(labels), 2, 2.2, sharex=True, sharey=True)
    for (label, what), mean in means.items():
        ax = axes[labels.index(label), ("cut", "only").index(what)]
        image = ax.imshow(mean, vmin=-top, vmax=top, cmap="PuOr_r", aspect="auto")
        ax.set_title(f"{label}: {'cut' if what == 'cut' else 'the only one kept'}")
        ax.set_xticks(range(len(OPS)), [op.replace("_", " ") for op in OPS], rotation=25, ha="right")
        ax.set_yticks(range(len(EDGES)), [f"{s} → {t}" for s, t in EDGES])
        ax.grid(False)
        for (e, k), value in np.ndenumerate(mean):
            dark = abs(value) > 0.6 * top
            ax.text(
                k,
                e,
                f"{value:.2f}".replace("-0.00", "0.00"),
                ha="center",
                va="center",
                fontsize=6,
                color="w" if dark else "0.1",
            )
    for ax in axes[:, 0]:
        ax.set_ylabel("edge")
    figure.colorbar(image, ax=axes, label="change of the loss (nats)", shrink=0.8)
    return figure, pd.DataFrame(rows)


def sparsity_schedules(epochs: int) -> Drawn:
    """C_e, the probability of a sparse step, and the mean temperature (geometric) that it makes, per setting."""
    settings = {
        "NAS-Bench-201, CIFAR-10": lambda e: schedules.sp_linear(e, epochs, 1.1e-3, 11),
        "NAS-Bench-201, CIFAR-100": lambda e: schedules.sp_cifar100(e, epochs, 1.3e-3, 6e-4, 11),
        "DARTS space": lambda e: schedules.sp_linear(e, epochs, 1e-3, 10),
        "S2": lambda e: schedules.sp_offset(e, epochs, 6e-4),
    }
    figure, ((left, right),) = plots.panels(1, 2)
    rows = []
    for (label, at), style in zip(settings.items(), ("C0-", "C1--", "C2-.", "C3:"), strict=True):
        states = [at(e) for e in range(epochs)]
        share = np.array([min(s.probability, 1.0) for s in states])
        mean = np.exp([c * np.log(s.sparse) + (1 - c) * np.log(s.dense) for c, s in zip(share, states, strict=True)])
        left.plot(range(epochs), share, style, label=label)
        right.semilogy(range(epochs), mean, style)
        rows += [
            {"setting": label, "epoch": e, "C": c, "T_s": s.sparse, "T_d": s.dense, "mean_T": m}
            for e, (c, s, m) in enumerate(zip(share, states, mean, strict=True))
        ]
    left.set(xlabel="epoch", ylabel="probability C\nof a sparse step", ylim=(-0.03, 1.05))
    right.set(xlabel="epoch", ylabel="temperature\n(geometric mean)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, pd.DataFrame(rows)


def ablation(results: Results) -> Drawn:
    """Last cell on CIFAR-10 and gap at the end of every variant: a point per seed, mean and 95 % interval."""
    labels = present(results, VARIANTS)
    figure, (axes,) = plots.panels(1, 2, 0.6 + 0.33 * len(labels), sharey=True)
    names = {"cifar10": "CIFAR-10 test accuracy of the last cell (%)", "gap": "gap, relaxed - discretized (points)"}
    for ax, (column, name) in zip(axes, names.items(), strict=True):
        every_search(ax, results.last, labels, column)
        ax.set(xlabel=name)
    return figure, results.last[["method", "seed", "cifar10", "gap", "genotype"]]


def outside_evidence() -> Drawn:
    """RobustDARTS's own searches: skips of the normal cell, eigenvalue and one-shot error, two weight decays."""
    table = outside.searches()
    table = table[(table["drop_path"] == 0) & table["weight_decay"].isin([3e-4, 8.1e-3])]
    names = {
        "skips": ("skips (of 8 edges)", (-0.2, 8.2)),
        "eigenvalue": ("largest\neigenvalue (nats)", (0, None)),
        "valid_error": ("one-shot error (%)", (0, None)),
    }
    spaces = {"s1": "S1, CIFAR-10", "s3": "S3, SVHN"}
    figure, axes = plots.panels(2, 3, 2.1, sharex=True)
    looks = {3e-4: ("C3", "-", "weight decay 0.0003 (default)"), 8.1e-3: ("C0", "--", "weight decay 0.0081")}
    for row, (space, title) in enumerate(spaces.items()):
        for column, (name, (label, limits)) in enumerate(names.items()):
            ax = axes[row, column]
            for decay, (color, ls, text) in looks.items():
                rows = table[(table["space"] == space) & (table["weight_decay"] == decay)].dropna(subset=[name])
                plots.median_band(ax, rows, "epoch", name, color=color, ls=ls, label=text)
            ax.set(title=title if column == 1 else None, ylabel=label, ylim=limits)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure, table


def speed(results: Results) -> Drawn:
    """Images per second and epoch: operations of weight 0 are skipped."""
    rows = [
        {"method": label, "seed": seed, "epoch": r["epoch"], "images_per_second": r["cost"]["samples_per_second"]}
        for (label, seed), run in results.runs.items()
        for r in run.records
    ]
    table = pd.DataFrame(rows)
    figure, ((ax,),) = plots.panels(1, 1, 2.2)
    for label in present(results, VARIANTS):
        rows = table[table["method"] == label]
        plots.median_band(ax, rows, "epoch", "images_per_second", label=label, **plots.look(label))
    ax.set(xlabel="epoch", ylabel="images per second", ylim=(0, None))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper")
    return figure, table
