"""Figures of `notebooks/lr_swap.ipynb` alone: functions of results that return figure and table."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasutils.report import plots
from nasutils.studies.figures import NAMES, Drawn
from nasutils.studies.lr_swap.results import Results
from nasutils.studies.lr_swap.tables import OUTSIDE, outside_table
from nasutils.studies.lr_swap.variants import EPOCHS, JUDGED, LONG, SCHEDULES, SPACE, VARIANTS, Point, rules

SETTINGS: Mapping[str, Sequence[str]] = {
    **{label: (label,) for label in VARIANTS if label.startswith("alpha")},
    **{f"warm-up {n}": (f"warm-up {n}", f"warm-up {n}, as released") for n in (10, 20, 30, 100)},
    **{label: (label,) for label in ("SS setting", "EX-DARTS, weight rate x 10", *LONG)},
}
"""Panel of the small multiples -> labels of the variants in it."""


FAMILIES = {
    "selective stop": ("C0", "o", ("peak", "residual", "peak_ungated", "res", "res_skip", "res_speed")),
    "skips": ("C1", "s", ("hard_exit", "skips_2", "skips_3", "skips_4")),
    "ranking": ("C2", "^", ("ranking_2", "ranking_3", "ranking_4", "ranking_10")),
    "eigenvalue": ("C3", "D", ("eigenvalue",)),
}
"""What a criterion looks at -> colour and marker, and the criteria."""


def rates(labels: Sequence[str], epochs: int) -> Drawn:
    """Weight rate and alpha rate of every setting per epoch (alpha: 0 while it stands still)."""
    figure, ((left, right),) = plots.panels(1, 2, 2.9)
    rows = []
    for label in labels:
        experiment = VARIANTS[label].experiment({}, epochs)
        method, recipe = rules(experiment)
        alpha = method.optimizer.param_groups[0]
        rows += [
            {"setting": label, "epoch": e, "weight_rate": recipe.rate(e)}
            | {"alpha_rate": alpha["lr"] if e >= recipe.alpha_from else 0.0, "alpha_decay": alpha["weight_decay"]}
            for e in range(experiment.epochs)
        ]
    table = pd.DataFrame(rows)
    for label in labels:
        part = table[table["setting"] == label]
        style = plots.look(label) | {"lw": 1.3, "ms": 3.5, "markevery": 8}
        left.semilogy(part["epoch"], part["weight_rate"].where(part["weight_rate"] > 0), label=label, **style)
        right.semilogy(part["epoch"], part["alpha_rate"].where(part["alpha_rate"] > 0), **style)
    left.set(xlabel="epoch", ylabel="weight rate")
    right.set(xlabel="epoch", ylabel="alpha rate")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, table


def settings(results: Results, searched: Iterable[str]) -> Drawn:
    """A panel per exploratory setting: accuracy of the current cell on CIFAR-10, DARTS in grey, warm-up shaded.

    searched: the labels to show (points of the map may have fewer seeds).
    """
    wanted = set(results.present(searched))
    shown = {title: [label for label in labels if label in wanted] for title, labels in SETTINGS.items()}
    panels = {title: labels for title, labels in shown.items() if labels}
    columns = 2 if len(panels) == 4 else max(min(len(panels), 3), 1)
    figure, axes = plots.panels(max(-(-len(panels) // columns), 1), columns, 1.9, sharey=True)
    baseline = results.epochs[results.epochs["method"] == "DARTS"]
    epochs = int(baseline["epoch"].max()) + 1 if len(baseline) else EPOCHS
    for ax, (title, labels) in zip(axes.flat, panels.items(), strict=False):
        if len(baseline):
            plots.median_band(ax, baseline, "epoch", "cifar10", label="DARTS", **plots.look("DARTS"))
        for label in labels:
            rows = results.epochs[results.epochs["method"] == label]
            plots.median_band(ax, rows, "epoch", "cifar10", label=label.removeprefix(f"{title}, "), **plots.look(label))
        ax.legend(fontsize="xx-small")
        if warmup := VARIANTS[labels[0]].warmup_epochs(epochs):
            ax.axvspan(0, warmup, color="0.88", lw=0, zorder=0)
        ax.set_title(title)
        plots.stretch(ax, "y", 5)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("CIFAR-10 (%)")
    for ax in axes.flat[max(len(panels) - columns, 0) : len(panels)]:
        ax.set_xlabel("epoch")
    return figure, results.epochs[["method", "seed", "epoch", "genotype", *NAMES]]


def _one_legend(figure: Figure, axes: np.ndarray, columns: int) -> None:
    """What all axes show, each once, above them."""
    found = {name: h for ax in axes.flat for h, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=columns)


def stops(results: Results) -> Drawn:
    """Operation magnitudes, the Hessian's eigenvalue, and the epochs that every criterion takes, per epoch."""
    labels = results.present(JUDGED)
    figure, axes = plots.panels(3, len(labels), 2.2, sharex="col", gridspec_kw={"height_ratios": (1, 0.7, 1.3)})
    judged = set(results.decisions.dropna(subset=["epoch"])["criterion"])
    names = [name for _, _, members in FAMILIES.values() for name in members if name in judged]
    for column, label in enumerate(labels):
        rows = results.epochs[results.epochs["method"] == label]
        for op in SPACE.ops:
            plots.median_band(axes[0, column], rows, "epoch", f"S_{op}", label=op.replace("_", " "), **plots.look(op))
        for epoch in results.stops(label, "peak")["epoch"]:
            axes[0, column].axvline(epoch, color="0.2", lw=0.7, ls=":")
        axes[0, column].set_title(label)
        _eigenvalue(axes[1, column], results, label)
        _strip(axes[2, column], results, label, names)
        axes[2, column].set(xlabel="epoch", ylim=(len(names) - 0.4, -0.6))
        shown = names if column == 0 else [""] * len(names)
        axes[2, column].set_yticks(range(len(names)), shown, fontsize="x-small")
    axes[0, 0].set_ylabel("magnitude S")
    axes[1, 0].set_ylabel("Hessian\neigenvalue")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(SPACE.ops))
    return figure, results.decisions


def _eigenvalue(ax: Axes, results: Results, label: str) -> None:
    rows = results.epochs[results.epochs["method"] == label].dropna(subset=["eigenvalue"])
    if rows.empty:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center", color="0.4")
        ax.set_yticks([])
    else:
        plots.median_band(ax, rows, "epoch", "eigenvalue", color="C3", marker="D", markevery=3)


def _strip(ax: Axes, results: Results, label: str, names: Sequence[str]) -> None:
    """A mark per criterion and seed: filled where it fired, hollow where it took the last epoch for want of better."""
    for color, marker, members in FAMILIES.values():
        for name in [name for name in members if name in names]:
            found = results.stops(label, name).dropna(subset=["epoch"])
            place = names.index(name) + np.linspace(-0.22, 0.22, len(found)) * (len(found) > 1)
            filled = [color if fired else "none" for fired in found["fired"]]
            ax.scatter(found["epoch"].astype(float), place, s=11, c=filled, edgecolors=color, marker=marker, lw=0.7)
    ax.grid(axis="y", lw=0.3)


def overfitting(results: Results) -> Drawn:
    """Losses and accuracy of the supernet, and accuracy of the cell, per epoch: who gets worse, and when?"""
    labels = results.present(("DARTS", "EX-DARTS"))
    figure, axes = plots.panels(2, len(labels), 2.1, sharex=True, sharey="row")
    for column, label in enumerate(labels):
        rows = results.epochs[results.epochs["method"] == label]
        upper, lower = axes[:, column]
        plots.median_band(
            upper, rows, "epoch", "train_loss", label="loss, images of the weights", color="C0", marker="o"
        )
        plots.median_band(
            upper, rows, "epoch", "valid_loss", label="loss, images of alpha", color="C1", marker="s", ls="--"
        )
        plots.median_band(lower, rows, "epoch", "relaxed", label="supernet", color="C4", marker="^", ls=":")
        plots.median_band(lower, rows, "epoch", "cifar10", label="its cell, trained alone", color="C2", marker="D")
        upper.set_title(label)
        lower.set(xlabel="epoch", ylim=(0, 100))
    axes[0, 0].set_ylabel("supernet loss (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    _one_legend(figure, axes, 4)
    columns = ["method", "seed", "epoch", "train_loss", "valid_loss", "relaxed", "cifar10"]
    return figure, results.epochs.loc[results.epochs["method"].isin(labels), columns]


MAPPED = {"cifar10": "last cell, CIFAR-10 (%)", "relaxed": "supernet, held-out (%)"}


def rate_map(results: Results, points: Mapping[Point, str]) -> Drawn:
    """Last cell and supernet over weight rate and alpha rate, for a constant and a cosine weight rate; means."""
    rows = [
        {"schedule": schedule, "weight_rate": w, "alpha_rate": a, "label": label}
        | {"n": len(part)}
        | {column: part[column].mean() for column in MAPPED}
        for (schedule, w, a), label in points.items()
        if len(part := results.last[results.last["method"] == label])
    ]
    table = pd.DataFrame(rows)
    figure, axes = plots.panels(len(MAPPED), len(SCHEDULES), 2.1, sharex=True, sharey=True)
    for r, (column, name) in enumerate(MAPPED.items()):
        low, high = table[column].min(), table[column].max()
        for c, schedule in enumerate(SCHEDULES):
            ax, part = axes[r, c], table[table["schedule"] == schedule]
            square = part.pivot(index="weight_rate", columns="alpha_rate", values=column).sort_index()
            image = ax.imshow(square, vmin=low, vmax=high, cmap="cividis", aspect="auto", origin="lower")
            ax.set_xticks(range(square.shape[1]), [f"{a:g}" for a in square.columns])
            ax.set_yticks(range(square.shape[0]), [f"{w:g}" for w in square.index])
            ax.grid(False)
            _annotate(ax, square, points, schedule, (low + high) / 2)
            if r == 0:
                ax.set_title(f"weight rate: {schedule}")
        axes[r, 0].set_ylabel("weight rate")
        figure.colorbar(image, ax=axes[r], label=name)
    for ax in axes[-1]:
        ax.set_xlabel("alpha rate")
    return figure, table


def _annotate(ax: Axes, square: pd.DataFrame, points: Mapping[Point, str], schedule: str, middle: float) -> None:
    """The value in each field, and the name of the point where it has one."""
    for (y, x), value in np.ndenumerate(square.to_numpy()):
        label = points[schedule, square.index[y], square.columns[x]]
        name = label.replace(", ", ",\n") if label in VARIANTS else ""
        color = "w" if value < middle else "0.1"
        ax.text(x, y, f"{value:.1f}\n{name}".strip(), ha="center", va="center", fontsize="x-small", color=color)


def outside_evidence() -> Drawn:
    """The criteria on RobustDARTS's searches: the epoch taken, and skips and one-shot error there less at the end."""
    table = outside_table()
    table["fewer_skips"] = table["skips_end"] - table["skips"]
    table["more_error"] = table["error"] - table["error_end"]
    names = [*OUTSIDE, "eigenvalue"]
    columns = {
        "epoch": "epoch taken",
        "fewer_skips": "skips at the end\nminus at the stop",
        "more_error": "one-shot error at the stop\nminus at the end (points)",
    }
    spaces = {"s1": "S1, CIFAR-10", "s3": "S3, SVHN"}
    figure, axes = plots.panels(2, 3, 2.0, sharex="col", sharey=True)
    draws = np.random.default_rng(0)
    for row, (space, title) in enumerate(spaces.items()):
        for ax, (column, label) in zip(axes[row], columns.items(), strict=True):
            for place, name in enumerate(names):
                part = table[(table["space"] == space) & (table["criterion"] == name) & table["fired"]]
                jitter = place + draws.uniform(-0.22, 0.22, len(part))
                ax.scatter(part[column], jitter, s=5, color="C3" if name == "eigenvalue" else "C1", alpha=0.4, lw=0)
                if len(part):
                    ax.plot(part[column].mean(), place, "|", color="0.1", ms=12, mew=1.6)
            if row == 1:
                ax.set_xlabel(label)
            ax.set_title(title if column == "fewer_skips" else None)
        axes[row, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    return figure, table
