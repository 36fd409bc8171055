"""A search in words (`measures.diagnosis`) and as a picture."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasutils.measures import stopping
from nasutils.measures.diagnosis import LIMITS, NAMES, Diagnosis, diagnose
from nasutils.report import plots

__all__ = ["Diagnosis", "diagnose", "figure"]


def figure(diagnosis: Diagnosis) -> tuple[Figure, pd.DataFrame]:
    """Per epoch: shares of the cell, operation magnitudes, entropy and margin, eigenvalue; the collapse shaded."""
    table = diagnosis.table
    drawn, axes = plots.panels(2, 2, 2.6, sharex=True)
    _shares(axes[0, 0], table)
    _magnitudes(axes[0, 1], table)
    _sharpness(axes[1, 0], table)
    _eigenvalue(axes[1, 1], table)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    if diagnosis.since is not None:
        for ax in axes.flat:
            ax.axvspan(diagnosis.since, table["epoch"].iloc[-1], color="C3", alpha=0.1, lw=0)
        drawn.suptitle(f"collapsed since epoch {diagnosis.since} (shaded)", fontsize="medium")
    return drawn, table


def _legend(ax: Axes, columns: int) -> None:
    """Above the axes, where no curve runs."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize="x-small", borderaxespad=0.2)


def _shares(ax: Axes, table: pd.DataFrame) -> None:
    for (column, name), style in zip(NAMES.items(), ("-", "--"), strict=True):
        (line,) = ax.plot(table["epoch"], table[column], style, label=name.lower(), drawstyle="steps-post")
        ax.axhline(LIMITS[column][0], color=line.get_color(), ls=":", lw=0.9)
    ax.set(ylabel="share of the cell's edges\n(dotted: limit)", ylim=(-0.03, 1.03))
    _legend(ax, 2)


def _magnitudes(ax: Axes, table: pd.DataFrame) -> None:
    ops = [column.removeprefix("S_") for column in table.columns if column.startswith("S_")]
    every = max(len(table) // 8, 1)
    for op in ops:
        ax.plot(table["epoch"], table[f"S_{op}"], label=op, ms=3.5, lw=1.3, markevery=every, **plots.look(op))
    ax.set_ylabel("operation magnitude S")
    _legend(ax, 3)


def _sharpness(ax: Axes, table: pd.DataFrame) -> None:
    ax.plot(table["epoch"], table["entropy"], label="entropy (nats)")
    ax.plot(table["epoch"], table["margin"], "--", label="margin")
    ax.set(ylabel="entropy, margin", ylim=(-0.03, None))
    _legend(ax, 2)


def _eigenvalue(ax: Axes, table: pd.DataFrame) -> None:
    logged = table.dropna(subset="eigenvalue")
    ax.set_ylabel("Hessian eigenvalue")
    if logged.empty:
        ax.text(0.5, 0.5, "not logged", transform=ax.transAxes, ha="center", va="center", color="0.4")
        ax.set_yticks([])
        return
    ax.plot(logged["epoch"], logged["eigenvalue"], "--", color="0.5", marker=".", label="measured")
    ax.plot(logged["epoch"], stopping.local_means(logged["eigenvalue"]), label="mean of five")
    _legend(ax, 2)
