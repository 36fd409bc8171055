"""The look of figures: one palette, labelled axes, intervals shown, readable in grey."""

from collections.abc import Sequence
from functools import partialmethod
from typing import Any
from zlib import crc32

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from nasutils.measures.estimates import Estimate, central

Dashes = str | tuple[int, tuple[int, ...]]
LOOKS: dict[str, tuple[str, Dashes, str]] = {
    "DARTS": ("C7", "-", "o"),
    "SP-DARTS": ("C4", (0, (8, 2, 1, 2)), "X"),
    "EX-DARTS": ("C3", "--", "s"),
    "Random": ("C5", ":", "h"),
    "MiLeNAS": ("C0", "-.", "D"),
    "GAEA-bilevel": ("C2", "-", "^"),
    "GAEA-ERM": ("C2", "--", "v"),
    "DrNAS": ("C1", "-", "<"),
    "GDAS": ("C3", ":", ">"),
    "PC-DARTS": ("C9", "-", "P"),
    "DARTS-": ("C0", "-", "s"),
    "Beta-DARTS": ("C3", "-.", "*"),
    "SurgeNAS": ("C1", "-.", "p"),
    "SDARTS-RS": ("C6", "-", "d"),
    "SDARTS-ADV": ("C6", "--", "H"),
    "small T": ("C9", "--", "s"),
    "small T + noisy": ("C2", "-.", "D"),
    "linear": ("C1", ":", "^"),
    "linear, equal dose": ("C4", ":", "v"),
    "PCD": ("C0", (0, (5, 1)), "v"),
    "EDD, open loop": ("C5", (0, (3, 1, 1, 1)), "P"),
    "EDD": ("C3", (0, (1, 1)), "*"),
    "rate control": ("C6", "--", "d"),
    "small rate 3e-4": ("C0", ":", "v"),
    "small rate 3e-3": ("C2", ":", "p"),
    "always sparse": ("C0", "--", "s"),
    "never sparse": ("C1", "-.", "D"),
    "T_s x 3": ("C2", ":", "^"),
    "ratio 100": ("C5", (0, (5, 1)), "v"),
    "alpha decay x 5": ("C4", (0, (5, 1)), "v"),
    "alpha decay x 10": ("C4", (0, (5, 1)), "^"),
    "alpha rate 1e-3": ("C5", (0, (1, 1)), "v"),
    "alpha rate 2e-3": ("C5", (0, (1, 1)), "^"),
    "alpha rate 3e-3": ("C5", (0, (1, 1)), "D"),
    "warm-up 10": ("C1", "-.", "v"),
    "warm-up 10, as released": ("C1", ":", "v"),
    "warm-up 20": ("C9", "-.", "D"),
    "warm-up 20, as released": ("C9", ":", "D"),
    "warm-up 30": ("C0", "-.", "P"),
    "warm-up 30, as released": ("C0", ":", "P"),
    "warm-up 100": ("C2", "-.", "*"),
    "warm-up 100, as released": ("C2", ":", "*"),
    "SS setting": ("C9", (0, (8, 2, 1, 2)), "X"),
    "EX-DARTS, weight rate x 10": ("C3", (0, (3, 1, 1, 1)), "P"),
    "long horizon": ("C9", "-", "o"),
    "very long horizon": ("C9", "-", "s"),
    "none": ("C7", "-", "o"),
    "skip_connect": ("C9", "--", "s"),
    "nor_conv_1x1": ("C2", "-.", "D"),
    "nor_conv_3x3": ("C1", ":", "^"),
    "avg_pool_3x3": ("C0", (0, (5, 1)), "v"),
    "max_pool_3x3": ("C1", ":", "<"),
    "sep_conv_3x3": ("C3", (0, (3, 1, 1, 1)), "P"),
    "sep_conv_5x5": ("C5", (0, (1, 1)), "*"),
    "dil_conv_3x3": ("C4", (0, (8, 2, 1, 2)), "X"),
    "dil_conv_5x5": ("C2", "-.", "d"),
    "noise": ("C7", ":", "o"),
}
"""Method, variant or operation -> colour of the palette, line style and marker:
the same in every notebook.
"""
_FORMAT = Styler.format
MARKS: dict[str, Any] = {"markersize": 4.5, "markeredgewidth": 0}
"""Style of a line's marks: an edge would fill what tells a cross or a star from a circle."""
WIDTH = 7.2
"""Width in inches of a figure over two journal columns."""


def use_style() -> None:
    """Set the look of all figures and tables.

    Texts in styled tables are shown as they are, HTML among them: some come from other people's
    run folders.
    """
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
            "svg.fonttype": "none",  # text that can be searched and read aloud
        }
    )
    pd.set_option("styler.format.escape", "html")
    # given another format, it would forget the option
    Styler.format = partialmethod(_FORMAT, escape="html")


DASHES: tuple[Dashes, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1)),
    (0, (3, 1, 1, 1)),
    (0, (8, 2, 1, 2)),
)
MARKERS = "osD^v<>PX*phd"


def look(label: str) -> dict[str, Any]:
    """How a method, variant or operation is drawn.

    One that is not in LOOKS, such as an own method, has a look made from its name, which is the
    same in every figure; to choose another, give LOOKS the label.
    """
    color, line, marker = LOOKS.get(label) or _made_up(label)
    return {"color": color, "linestyle": line, "marker": marker}


def _made_up(label: str) -> tuple[str, Dashes, str]:
    number = crc32(label.encode())
    dashes = DASHES[number // 10 % len(DASHES)]
    marker = MARKERS[number // 70 % len(MARKERS)]
    return f"C{number % 10}", dashes, marker


def median_band(
    ax: Axes, table: pd.DataFrame, x: str, y: str, seeds: bool = False, **style: Any
) -> None:
    """Median over seeds of y against x, in the band of its interval (`estimates.central`);
    seeds: a thin line each.

    Unlike the band of a mean it cannot leave what the searches reached.
    """
    rows = table.dropna(subset=[y])
    centres = {place: central(part[y]) for place, part in rows.groupby(x)}
    places = list(centres)
    style.setdefault("markevery", mark_every(len(places)))
    medians = [e.mean for e in centres.values()]
    (line,) = ax.plot(places, medians, **MARKS, linewidth=1.4, **style)
    if not seeds:
        lows = [e.low for e in centres.values()]
        highs = [e.high for e in centres.values()]
        ax.fill_between(places, lows, highs, color=line.get_color(), alpha=0.16, lw=0)
        return
    for _, search in rows.groupby("seed"):
        ax.plot(search[x], search[y], color=line.get_color(), lw=0.5, alpha=0.5)


def mark_every(points: int) -> int:
    """`markevery` of a line of so many points: about eight marks."""
    return max(points // 8, 1)


def curve_style(label: str, every: int) -> dict[str, Any]:
    """Style of a curve of its own, with a mark at each so many points; see `look`."""
    return look(label) | MARKS | {"lw": 1.3, "markevery": every}


def legend_above(ax: Axes, columns: int, **style: Any) -> None:
    """A legend on top of the axes, where no curve runs."""
    ax.legend(ncols=columns, loc="lower left", bbox_to_anchor=(0, 1), **style)


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """The rows of a panel at heights 0, 1, ..., the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)


def interval(ax: Axes, e: Estimate, y: float) -> None:
    """Centre and interval of an estimate as a horizontal bar at height y;
    a centre without a spread is a tick.
    """
    below, above = e.mean - e.low, e.high - e.mean
    if np.isnan(e.low):
        below = above = 0.0
    style: Any = {"fmt": "|", "color": "0.15", "capsize": 2.5, "ms": 8, "lw": 1}
    ax.errorbar(e.mean, y, xerr=[[below], [above]], **style)


def spaced(op: str) -> str:
    """The name of an operation in words."""
    return op.replace("_", " ")


def note(figure: Figure, text: str) -> None:
    """What lines, bands and marks of a figure are:
    `Gallery` puts it below, after the setting of the searches.
    """
    figure.supxlabel(text)


def covered(seeds: int) -> str:
    """In words, how sure the interval of `estimates.central` is with so many seeds."""
    if seeds < 2:
        return "none with one seed"
    if seeds > 5:
        return "95 %"
    return f"{100 * (1 - 2.0 ** (1 - seeds)):.0f} %, the range of {seeds} seeds"


def stretch(ax: Axes, which: str, low: float) -> None:
    """An axis ("x" or "y") of accuracies (%) on the logarithm of the error,
    from `low` to just above the best cell.

    So cells of 90 and 94 % lie apart, and a search that falls to 10 % stays in sight.
    """

    def forward(accuracy: np.ndarray) -> np.ndarray:
        return -np.log(100.1 - np.minimum(accuracy, 100))

    def backward(x: np.ndarray) -> np.ndarray:
        return 100.1 - np.exp(-x)

    ticks = [tick for tick in (10, 30, 50, 70, 80, 85, 90, 92, 94) if low <= tick]
    getattr(ax, f"set_{which}scale")("function", functions=(forward, backward))
    getattr(ax, f"set_{which}ticks")(ticks, [str(tick) for tick in ticks])
    getattr(ax, f"set_{which}lim")(low, 94.9)


def panels(
    rows: int, columns: int, height: float = 2.3, **kwargs: Any
) -> tuple[Figure, np.ndarray]:
    """A grid of axes over the full width; height in inches per row."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **kwargs)


def panel(height: float) -> tuple[Figure, Axes]:
    """One axes over the full width; height in inches."""
    figure, axes = panels(1, 1, height)
    return figure, axes[0, 0]
