"""Figures of `notebooks/lr_swap.ipynb` alone:
functions of results that return figure and table.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from nasutils.measures.stopping import CRITERIA
from nasutils.report import plots
from nasutils.spaces.nasbench201_table import DATASETS
from nasutils.studies import outside
from nasutils.studies.figures import (
    Drawn,
    covered,
    label_outer,
    lowest,
    one_legend,
    panel_grid,
)
from nasutils.studies.lr_swap.results import Results
from nasutils.studies.lr_swap.tables import OUTSIDE, outside_table
from nasutils.studies.lr_swap.variants import (
    EPOCHS,
    LONG,
    SCHEDULES,
    SPACE,
    VARIANTS,
    Point,
    rules,
)
from nasutils.studies.variants import of_label

SETTINGS: Mapping[str, Sequence[str]] = {
    **{label: (label,) for label in VARIANTS if label.startswith("alpha")},
    **{f"warm-up {n}": (f"warm-up {n}", f"warm-up {n}, as released") for n in (10, 20, 30, 100)},
    **{label: (label,) for label in ("SS setting", "EX-DARTS, weight rate x 10", *LONG)},
}
"""Panel of the small multiples -> labels of the variants in it."""

GROUPS = {
    "selective stop": (
        "C0",
        "o",
        ("peak", "residual", "peak_ungated", "res", "res_skip", "res_speed"),
    ),
    "skips": ("C1", "s", ("hard_exit", "skips_2", "skips_3", "skips_4")),
    "ranking": ("C2", "^", ("ranking_2", "ranking_3", "ranking_4", "ranking_10")),
    "eigenvalue": ("C3", "D", ("eigenvalue",)),
}
"""What a criterion looks at -> colour and marker, and the criteria."""


def rates(labels: Sequence[str], epochs: int) -> Drawn:
    """Weight rate and alpha rate of every setting per epoch (alpha: 0 while it stands still)."""
    table = pd.concat([_rates_of(label, epochs) for label in labels], ignore_index=True)
    figure, axes = plots.panels(1, 2, 2.9, sharey=True)
    for ax, which in zip(axes[0], ("weight", "alpha"), strict=True):
        for label in labels:
            part = table[table["setting"] == label]
            rate = part[f"{which}_rate"]
            above_0 = rate.where(rate > 0)  # what a logarithm has
            ax.semilogy(part["epoch"], above_0, label=label, **plots.curve_style(label, 8))
        ax.set(xlabel="epoch", ylabel=f"{which} rate")
    axes[0, 0].set_ylim(1e-4, 0.1)
    one_legend(figure, axes, 3)
    plots.note(figure, "the alpha rates of DARTS and of all warm-ups are the same")
    return figure, table


def _rates_of(label: str, epochs: int) -> pd.DataFrame:
    """A row per epoch of a setting."""
    experiment = VARIANTS[label].experiment({}, epochs)
    method, recipe = rules(experiment)
    alpha = method.optimizer.param_groups[0]
    epoch = np.arange(experiment.epochs)
    return pd.DataFrame(
        {
            "setting": label,
            "epoch": epoch,
            "weight_rate": [recipe.rate(e) for e in range(len(epoch))],
            "alpha_rate": np.where(epoch >= recipe.alpha_from, alpha["lr"], 0.0),
            "alpha_decay": alpha["weight_decay"],
        }
    )


def settings(results: Results, searched: Iterable[str]) -> Drawn:
    """A panel per exploratory setting: each search and their median, that of DARTS in grey,
    the warm-up shaded.

    searched: the labels to show (points of the map may have fewer seeds).
    """
    wanted = results.present(searched)
    panels = {}
    for title, labels in SETTINGS.items():
        if shown := [label for label in labels if label in wanted]:
            panels[title] = shown
    panels = panels or {"no remedy was searched": []}
    columns = 2 if len(panels) == 4 else 3
    figure, axes = panel_grid(len(panels), 2.1, columns)
    baseline = of_label(results.epochs, "DARTS")
    medians = baseline.groupby("epoch")["cifar10"].median()
    epochs = int(baseline["epoch"].max()) + 1 if len(baseline) else EPOCHS
    seen = results.epochs[results.epochs["method"].isin([*wanted, "DARTS"])]
    low = lowest(seen["cifar10"])
    for ax, (title, labels) in zip(axes.flat, panels.items(), strict=False):
        ax.plot(medians.index, medians, color="0.5", lw=1.6, label="DARTS (median)")
        for label in labels:
            rows = of_label(results.epochs, label)
            style = plots.look(label)
            plots.median_band(ax, rows, "epoch", "cifar10", seeds=True, label=label, **style)
        # those of a panel share their warm-up
        warmup = VARIANTS[labels[0]].warmup_epochs(epochs) if labels else 0
        if warmup:
            shade = {"facecolor": "0.93", "edgecolor": "0.8", "hatch": "//", "lw": 0}
            ax.axvspan(0, warmup, zorder=0, label="warm-up", **shade)
        ax.set_title(title)
        plots.stretch(ax, "y", low)
    label_outer(axes, "epoch", "test accuracy\nof the cell (%)")
    one_legend(figure, axes, 3)
    plots.note(
        figure,
        "thin lines: searches; with marks: their median; the axis is that of the error's"
        " logarithm",
    )
    return figure, results.epochs[["method", "seed", "epoch", "genotype", *DATASETS]]


def magnitudes(results: Results) -> Drawn:
    """Magnitude of each operation and the Hessian's eigenvalue per epoch: medians over seeds."""
    labels = results.present(results.judged)
    figure, axes = plots.panels(2, len(labels), 2.0, sharex="col", sharey="row")
    for (upper, lower), label in zip(axes.T, labels, strict=True):
        rows = of_label(results.epochs, label)
        every = plots.mark_every(rows["epoch"].nunique())
        for op in SPACE.ops:
            medians = rows.groupby("epoch")[f"S_{op}"].median()
            name = plots.spaced(op)
            upper.plot(medians.index, medians, label=name, **plots.curve_style(op, every))
        upper.set_title(label)
        _eigenvalue_panel(lower, rows)
        lower.set_xlabel("epoch")
    axes[0, 0].set_ylabel("magnitude S")
    axes[1, 0].set_ylabel("Hessian\neigenvalue (nats)")
    one_legend(figure, axes, len(SPACE.ops))
    plots.note(
        figure, f"top: medians over seeds; bottom: median and its interval ({covered(results)})"
    )
    columns = ["method", "seed", "epoch", *(f"S_{op}" for op in SPACE.ops), "eigenvalue"]
    return figure, results.epochs.loc[results.epochs["method"].isin(labels), columns]


def _eigenvalue_panel(ax: Axes, rows: pd.DataFrame) -> None:
    logged = rows.dropna(subset=["eigenvalue"])
    if logged.empty:
        middle: dict[str, Any] = {"transform": ax.transAxes, "ha": "center", "va": "center"}
        ax.text(0.5, 0.5, "not measured", color="0.4", **middle)
    else:
        plots.median_band(ax, logged, "epoch", "eigenvalue", color="C3", marker="D", markevery=3)


def stops(results: Results) -> Drawn:
    """The epoch that every criterion takes, a mark per search."""
    labels = results.present(results.judged)
    judged = set(results.decisions.dropna(subset=["epoch"])["criterion"])
    names = []
    for _, _, members in GROUPS.values():
        names += [name for name in members if name in judged]
    height = 0.8 + 0.24 * len(names)
    figure, (axes,) = plots.panels(1, len(labels), height, sharex=True, sharey=True)
    for ax, label in zip(axes, labels, strict=True):
        _strip(ax, results, label, names)
        ax.set(title=label, xlabel="epoch taken", ylim=(len(names) - 0.4, -0.6))
    _name_criteria(axes[0], names)
    plots.note(
        figure, "a mark per search; hollow: the criterion never fired and takes the last epoch"
    )
    return figure, results.decisions


def _name_criteria(ax: Axes, names: Sequence[str]) -> None:
    """A row per criterion, named in words."""
    words = [CRITERIA[name].description for name in names]
    ax.set_yticks(range(len(names)), words, fontsize="x-small")


def _strip(ax: Axes, results: Results, label: str, names: Sequence[str]) -> None:
    """A mark per criterion and seed: filled where it fired,
    hollow where it took the last epoch for want of better.
    """
    for color, marker, members in GROUPS.values():
        style: dict[str, Any] = {"edgecolors": color, "marker": marker, "s": 14, "lw": 0.8}
        for name in members:
            if name not in names:
                continue
            taken = results.stops(label, name).dropna(subset=["epoch"])
            count = len(taken)
            jitter = np.linspace(-0.22, 0.22, count) if count > 1 else np.zeros(count)
            heights = names.index(name) + jitter
            fill = [color if fired else "none" for fired in taken["fired"]]
            ax.scatter(taken["epoch"].astype(float), heights, c=fill, **style)
    ax.grid(axis="y", lw=0.3)


def overfitting(results: Results) -> Drawn:
    """Losses and accuracy of the supernet, and accuracy of the cell, per epoch:
    who gets worse, and when?
    """
    labels = results.present(("DARTS", "EX-DARTS"))
    figure, axes = plots.panels(2, len(labels), 2.1, sharex=True, sharey="row")
    losses = {
        "train_loss": ("loss, images of the weights", "C0", "o", "-"),
        "valid_loss": ("loss, images of alpha", "C1", "s", "--"),
    }
    accuracies = {
        "relaxed": ("supernet", "C4", "^", ":"),
        "cifar10": ("its cell, trained alone", "C2", "D", "-"),
    }
    for (upper, lower), label in zip(axes.T, labels, strict=True):
        rows = of_label(results.epochs, label)
        for ax, curves in ((upper, losses), (lower, accuracies)):
            for column, (name, color, marker, line) in curves.items():
                style: Any = {"label": name, "color": color, "marker": marker, "ls": line}
                plots.median_band(ax, rows, "epoch", column, **style)
        upper.set_title(label)
        lower.set(xlabel="epoch", ylim=(0, 100))
    axes[0, 0].set_ylabel("supernet loss (nats)")
    axes[1, 0].set_ylabel("accuracy (%)")
    one_legend(figure, axes, 4)
    plots.note(figure, f"median over seeds and its interval ({covered(results)})")
    columns = ["method", "seed", "epoch", *losses, *accuracies]
    return figure, results.epochs.loc[results.epochs["method"].isin(labels), columns]


MAPPED = {"cifar10": "last cell, CIFAR-10 (%)", "relaxed": "supernet, held-out (%)"}


def rate_map(results: Results, points: Mapping[Point, str]) -> Drawn:
    """Last cell and supernet over weight rate and alpha rate,
    for a constant and a cosine weight rate: medians.
    """
    table = _rate_table(results, points)
    figure, axes = plots.panels(len(MAPPED), len(SCHEDULES), 2.3, sharex=True, sharey=True)
    for row, (column, name) in zip(axes, MAPPED.items(), strict=True):
        low, high = table[column].min(), table[column].max()
        for ax, schedule in zip(row, SCHEDULES, strict=True):
            part = table[table["schedule"] == schedule]
            image = _square(ax, part, column, low, high)
        row[0].set_ylabel("weight rate")
        figure.colorbar(image, ax=row, label=name)
    for ax, schedule in zip(axes[0], SCHEDULES, strict=True):
        ax.set_title(f"weight rate: {schedule}")
    for ax in axes[-1]:
        ax.set_xlabel("alpha rate")
    plots.note(figure, "medians over seeds; where there are several, their range and number")
    return figure, table


def _square(ax: Axes, part: pd.DataFrame, column: str, low: float, high: float) -> AxesImage:
    """A field per pair of rates, coloured between low and high."""
    square = part.pivot(index="weight_rate", columns="alpha_rate", values=column).sort_index()
    colors: Any = {"vmin": low, "vmax": high, "cmap": "cividis"}
    image = ax.imshow(square, aspect="auto", origin="lower", **colors)
    ax.set_xticks(range(square.shape[1]), [f"{rate:g}" for rate in square.columns])
    ax.set_yticks(range(square.shape[0]), [f"{rate:g}" for rate in square.index])
    ax.grid(False)
    dark = low + 0.6 * (high - low)
    for row in part.to_dict("records"):
        x = square.columns.get_loc(row["alpha_rate"])
        y = square.index.get_loc(row["weight_rate"])
        style: Any = {"ha": "center", "va": "center", "fontsize": "xx-small"}
        color = "w" if row[column] < dark else "0.1"
        ax.text(x, y, _told(row, column), color=color, **style)
    return image


def _told(row: Mapping[str, Any], column: str) -> str:
    """The value of a point, the range of the seeds where there are several,
    and its name if it has one.
    """
    text = f"{row[column]:.1f}"
    if row["n"] > 1:
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        text += f"\n{low:.0f} to {high:.0f}, n = {row['n']}"
    if row["label"] in VARIANTS:
        text += f"\n{row['label']}".replace(", ", ",\n")
    return text


def _rate_table(results: Results, points: Mapping[Point, str]) -> pd.DataFrame:
    """A row per point that was searched: n, and of every mapped column median, lowest, highest."""
    rows = []
    for (schedule, weight_rate, alpha_rate), label in points.items():
        part = of_label(results.last, label)
        if part.empty:
            continue
        row = {"schedule": schedule, "weight_rate": weight_rate, "alpha_rate": alpha_rate}
        row |= {"label": label, "n": len(part)}
        row |= {column: part[column].median() for column in MAPPED}
        row |= {f"{column}_low": part[column].min() for column in MAPPED}
        row |= {f"{column}_high": part[column].max() for column in MAPPED}
        rows.append(row)
    return pd.DataFrame(rows)


def outside_evidence() -> Drawn:
    """The criteria on RobustDARTS's searches:
    the epoch taken, and skips and one-shot error there less at the end.
    """
    stopped_at = outside_table()
    table = stopped_at.assign(
        fewer_skips=stopped_at["skips_end"] - stopped_at["skips"],
        more_error=stopped_at["error"] - stopped_at["error_end"],
    )
    names = [*OUTSIDE, "eigenvalue"]
    columns = {
        "epoch": "epoch taken",
        "fewer_skips": "skips at the end\nminus at the stop",
        "more_error": "one-shot error at the stop\nminus at the end (points)",
    }
    figure, axes = plots.panels(2, 3, 2.0, sharex="col", sharey=True)
    random = np.random.default_rng(0)
    stopped = table[table["fired"]]
    for row, (space, title) in zip(axes, outside.SPACES.items(), strict=True):
        for ax, column in zip(row, columns, strict=True):
            for place, name in enumerate(names):
                part = stopped[(stopped["space"] == space) & (stopped["criterion"] == name)]
                heights = place + random.uniform(-0.22, 0.22, len(part))
                color = "C3" if name == "eigenvalue" else "C1"
                ax.scatter(part[column], heights, s=9, color=color, alpha=0.4, lw=0)
                if len(part):
                    ax.plot(part[column].median(), place, "|", color="0.1", ms=12, mew=1.6)
            ax.set_title(title)
        _name_criteria(row[0], names)
    for ax, label in zip(axes[-1], columns.values(), strict=True):
        ax.set_xlabel(label)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    plots.note(figure, "dots: searches that the criterion stops; bars: their median")
    return figure, table
