"""A search in words (`measures.diagnosis`) and as a picture."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasutils.measures import stopping
from nasutils.measures.diagnosis import LIMITS, SHARES, Diagnosis, diagnose
from nasutils.report import plots

__all__ = ["Diagnosis", "diagnose", "figure"]


def figure(diagnosis: Diagnosis) -> tuple[Figure, pd.DataFrame]:
    """Per epoch: shares of the cell, magnitudes, how decided edges are, eigenvalue if logged;
    the collapse shaded.
    """
    table = diagnosis.table
    draws = [_shares, _magnitudes, _decided]
    rows, columns = 1, 3
    if not table["eigenvalue"].isna().all():
        draws.append(_eigenvalue)
        rows, columns = 2, 2
    drawn, axes = plots.panels(rows, columns, 2.4, sharex=True)
    for ax, draw in zip(axes.flat, draws, strict=True):
        draw(ax, table)
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    verdict = "no collapse"
    if diagnosis.since is not None:
        verdict = f"collapsed since epoch {diagnosis.since} (shaded)"
        for ax in axes.flat:
            ax.axvspan(diagnosis.since, table["epoch"].iloc[-1], color="C3", alpha=0.1, lw=0)
    drawn.suptitle(f"{diagnosis.space}: {verdict}", fontsize="medium")
    plots.note(
        drawn,
        "margin: weight of an edge's strongest operation minus that of the next, mean over edges",
    )
    return drawn, table


def _legend(ax: Axes, columns: int) -> None:
    """Above the axes, where no curve runs."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize="x-small",
        borderaxespad=0.2,
    )


def _shares(ax: Axes, table: pd.DataFrame) -> None:
    for (column, name), style in zip(SHARES.items(), ("-", "--"), strict=True):
        (line,) = ax.plot(
            table["epoch"], table[column], style, label=name.lower(), drawstyle="steps-post"
        )
        ax.axhline(LIMITS[column][0], color=line.get_color(), ls=":", lw=0.9)
    ax.set(ylabel="share of the cell's edges\n(dotted: limit)", ylim=(-0.03, 1.03))
    _legend(ax, 1)


def _magnitudes(ax: Axes, table: pd.DataFrame) -> None:
    ops = [column.removeprefix("S_") for column in table.columns if column.startswith("S_")]
    every = max(len(table) // 8, 1)
    for op in ops:
        style = plots.look(op) | plots.MARKS | {"lw": 1.3, "markevery": every}
        ax.plot(table["epoch"], table[f"S_{op}"], label=plots.spaced(op), **style)
    values = table[[f"S_{op}" for op in ops]].to_numpy()
    low, high = values.min(), values.max()
    middle, half = (high + low) / 2, max(high - low, 0.2) * 0.55
    ax.set(ylabel="magnitude S", ylim=(middle - half, middle + half))
    _legend(ax, 2)


def _decided(ax: Axes, table: pd.DataFrame) -> None:
    highest = table["entropy"].max()
    ax.plot(table["epoch"], table["entropy"] / highest, label="entropy / its highest")
    ax.plot(table["epoch"], table["margin"], "--", label="margin")
    ax.set(ylabel="entropy and margin", ylim=(-0.03, 1.03))
    _legend(ax, 1)


def _eigenvalue(ax: Axes, table: pd.DataFrame) -> None:
    logged = table.dropna(subset="eigenvalue")
    ax.set_ylabel("Hessian eigenvalue")
    ax.plot(logged["epoch"], logged["eigenvalue"], "--", color="0.5", marker=".", label="measured")
    means = stopping.local_means(logged["eigenvalue"])
    ax.plot(logged["epoch"], means, label="mean of five")
    _legend(ax, 2)
