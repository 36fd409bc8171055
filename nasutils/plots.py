"""Figures: one palette, labelled axes, intervals shown, readable in grey; saved with the table they were drawn from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasutils import places
from nasutils.runs import stamp

STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 1, 2)))
MARKERS = "osD^vP*X"
WIDTH = 7.2
"""Width in inches of a figure over two journal columns."""


def use_style() -> None:
    """Set the look of every figure (seaborn's colour-blind palette, light grid, vector-friendly text)."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", font_scale=0.9)
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 200,
            "figure.constrained_layout.use": True,
            "axes.titlesize": "medium",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.linewidth": 0.5,
            "legend.frameon": False,
            "svg.hashsalt": "nasutils",
        }
    )


def look(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, line style and marker of each label, distinct in colour and in grey."""
    palette = sns.color_palette("colorblind")
    colors = [palette[i] for i in (7, 9, 2, 1, 0, 5, 3, 4)]
    return {
        label: {
            "color": colors[i % len(colors)],
            "linestyle": STYLES[i % len(STYLES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, label in enumerate(labels)
    }


class Gallery:
    """Where a notebook's figures and tables go, and the caption they all carry: scale, data, seeds, machine."""

    def __init__(self, scale: str, notebook: str, caption: str) -> None:
        self.folder, self.caption = places.figures(scale, notebook), caption
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stamp.json").write_text(
            json.dumps({"scale": scale, "what": caption, **stamp()}, indent=1) + "\n"
        )

    def figure(self, name: str, figure: Figure, table: pd.DataFrame, caption: str | None = None) -> None:
        """Save <name>.png, .svg and .csv, and show the figure; caption: instead of the gallery's own."""
        figure.supxlabel(caption or self.caption, fontsize="x-small", color="0.4", x=0.01, ha="left")
        figure.savefig(self.folder / f"{name}.png")
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        self.table(name, table)
        plt.show()

    def table(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Save <name>.csv (six significant digits); returns the table for display."""
        table.to_csv(self.folder / f"{name}.csv", index=False, float_format="%.6g")
        return table


def best_picture(notebook: str, name: str) -> Path | None:
    """A figure from the largest scale that has it in figures/ (None: nowhere yet)."""
    candidates = (places.figures(scale, notebook) / f"{name}.png" for scale in places.SCALES)
    return next((path for path in candidates if path.exists()), None)


def mean_band(ax: Axes, table: pd.DataFrame, x: str, y: str, **style: Any) -> None:
    """Mean over seeds of y against x with a band of the 95 % t-interval (no band with one seed)."""
    from scipy.stats import t

    stats = table.groupby(x)[y].agg(["mean", "std", "count"])
    style.setdefault("markevery", max(len(stats) // 8, 1))
    (line,) = ax.plot(stats.index, stats["mean"], markersize=3.5, linewidth=1.3, **style)
    half = t.ppf(0.975, (stats["count"] - 1).clip(lower=1)) * stats["std"] / np.sqrt(stats["count"])
    ax.fill_between(stats.index, stats["mean"] - half, stats["mean"] + half, color=line.get_color(), alpha=0.13, lw=0)


def panels(rows: int, columns: int, height: float = 2.3, **kwargs: Any) -> tuple[Figure, np.ndarray]:
    """A grid of axes over the full width; height in inches per row."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **kwargs)
