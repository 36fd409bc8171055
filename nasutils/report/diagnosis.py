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
    if table["eigenvalue"].notna().any():
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
        last = table["epoch"].iloc[-1]
        for ax in axes.flat:
            ax.axvspan(diagnosis.since, last, color="C3", alpha=0.1, lw=0)
    drawn.suptitle(f"{diagnosis.space}: {verdict}", fontsize="medium")
    plots.note(
        drawn,
        "margin: how far the strongest operation leads the next that competes with it, mean",
    )
    return drawn, table


def _legend(ax: Axes, columns: int) -> None:
    plots.legend_above(ax, columns, fontsize="x-small", borderaxespad=0.2)


def _shares(ax: Axes, table: pd.DataFrame) -> None:
    epochs = table["epoch"]
    for (column, name), style in zip(SHARES.items(), ("-", "--"), strict=True):
        label = name.lower()
        (line,) = ax.plot(epochs, table[column], style, label=label, drawstyle="steps-post")
        limit, *_ = LIMITS[column]
        ax.axhline(limit, color=line.get_color(), ls=":", lw=0.9)
    ax.set(ylabel="share of the cell's edges\n(dotted: limit)", ylim=(-0.03, 1.03))
    _legend(ax, 1)


def _magnitudes(ax: Axes, table: pd.DataFrame) -> None:
    magnitudes = table.filter(regex="^S_")
    every = plots.mark_every(len(table))
    for column, values in magnitudes.items():
        op = str(column).removeprefix("S_")
        ax.plot(table["epoch"], values, label=plots.spaced(op), **plots.curve_style(op, every))
    low, high = magnitudes.to_numpy().min(), magnitudes.to_numpy().max()
    # At least 0.2 high, so that the noise of a search that has not begun to differ looks small.
    middle = (low + high) / 2
    half = 0.55 * max(high - low, 0.2)
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
