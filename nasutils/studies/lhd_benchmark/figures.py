"""Figures of `notebooks/lhd_benchmark.ipynb`:
functions of what networks reach that return figure and table.

Those of conditions (`released.Conditions`) are drawn of the pilot and of the registered study.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

from nasutils.data import CLASSES
from nasutils.measures import comparisons, ranking
from nasutils.measures.estimates import estimate
from nasutils.report import plots
from nasutils.spaces.lhd_cells import EDGES, NODES
from nasutils.studies import lhd_architectures
from nasutils.studies.figures import DATASET_TITLES, Drawn, grid, one_legend
from nasutils.studies.lhd_benchmark.released import LABELS, Condition, Conditions
from nasutils.studies.readings import listed

SEARCHED = {
    "cifar10": ("C0", "o"),
    "cifar100": ("C1", "s"),
    "svhn": ("C2", "D"),
    "digits": ("C3", "^"),
}
"""Data set of a search -> colour and marker."""
SIZE = "parameters (thousands)"


def marked(method: str) -> dict[str, Any]:
    """Colour and marker of a method; no two of the twelve have the same marker."""
    return {name: value for name, value in plots.look(method).items() if name != "linestyle"}


def contrasts(conditions: Conditions) -> Drawn:
    """How much better each method's networks are than those of random architectures, a panel per
    condition, the best method on top.

    Intervals hold for all methods together. Bars on the right join methods that do not differ, by
    the permutation's critical difference, which is drawn above. The control is the line at 0: its
    mean is one of more architectures, for which that difference does not hold.
    """
    most = max(len(condition.methods) for condition in conditions.values()) - 1
    figure, axes = grid(len(conditions), 1.3 + 0.18 * most, 2)
    tables = [contrast_table(name, condition) for name, condition in conditions.items()]
    for ax, name, table in zip(axes.flat, conditions, tables, strict=False):
        _draw_contrasts(ax, table)
        ax.set_title(name)
    for ax in axes.flat:
        ax.set_ylim(most - 0.4, -2.4)  # over the first row: the critical difference
        ax.set_xlabel("accuracy minus that of Random (points)")
    controls = sorted({condition.controls for condition in conditions.values()})
    plots.note(
        figure,
        f"means of five architectures, of Random {' or '.join(map(str, controls))}; 95 % intervals"
        " for all methods together; bars on the right join methods that are not told apart from"
        " each other",
    )
    return figure, pd.concat(tables, ignore_index=True)


def contrast_table(name: str, condition: Condition) -> pd.DataFrame:
    """A row per method but the control, the best first: its difference to the control (points)
    with the interval, and the difference from which two methods are told apart.
    """
    _, *methods = condition.methods
    accuracy = condition.accuracy[1:]
    found = ranking.contrasts(condition.accuracy, condition.draws)
    rows: list[dict[str, Any]] = []
    for method, e in zip(methods, found, strict=True):
        rows.append({"method": method, **e.columns("difference")})
    table = pd.DataFrame(rows).assign(condition=name, accuracy=accuracy.mean(axis=1))
    table["told_apart_from"] = ranking.critical_difference_of_means(accuracy)
    return table.sort_values("difference", ascending=False, ignore_index=True)


def _draw_contrasts(ax: Axes, table: pd.DataFrame) -> None:
    for y, row in table.iterrows():
        low, high = row["difference_low"], row["difference_high"]
        if not np.isnan(low):
            ax.plot([low, high], [y, y], color="0.2", lw=1, marker="|", ms=5, zorder=2)
        ax.plot(row["difference"], y, ms=6, ls="", zorder=3, **marked(row["method"]))
    ax.axvline(0, color="0.3", lw=0.9, ls="--")
    ax.set_yticks(range(len(table)), table["method"])
    needed = float(table["told_apart_from"].iloc[0])
    if np.isnan(needed):
        return
    draw_difference(ax, 0, needed, -1.0)
    text = f"two methods are told apart from {needed:.1f} points on"
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the line of zero
    place = ax.get_yaxis_transform()
    ax.text(0.02, -1.35, text, fontsize="x-small", va="bottom", transform=place, bbox=ground)
    below_best = -table["difference"]  # cliques wants the best first, ascending
    draw_cliques(ax, ranking.cliques(list(below_best), needed))


def draw_difference(ax: Axes, start: float, difference: float, y: float) -> None:
    """The difference from which methods are told apart, as a bar over the first row."""
    ends = [start, start + difference]
    ax.plot(ends, [y, y], color="0.15", lw=1.2, marker="|", ms=7)


def draw_cliques(ax: Axes, groups: Sequence[tuple[int, int]]) -> None:
    """Bars right of the panel, each along the rows of methods that are not told apart."""
    style: Any = {"color": "0.15", "lw": 2.2, "solid_capstyle": "butt", "clip_on": False}
    for i, (first, last) in enumerate(groups):
        x = 1.03 + 0.03 * i  # in widths of the panel
        rows = [first - 0.25, last + 0.25]
        ax.plot([x, x], rows, transform=ax.get_yaxis_transform(), **style)


def trials(conditions: Conditions) -> Drawn:
    """A mark per architecture, mean and Student's 95 % interval per method below;
    a panel per condition.
    """
    most = max(len(condition.methods) for condition in conditions.values())
    figure, axes = grid(len(conditions), 1.1 + 0.22 * most, 2)
    tables = []
    for ax, (name, condition) in zip(axes.flat, conditions.items(), strict=False):
        table = _trials_table(name, condition)
        methods = table["method"].unique()
        for y, method in enumerate(methods):
            values = table.loc[table["method"] == method, "accuracy"]
            ax.plot(values, [y - 0.14] * len(values), ls="", ms=4, mew=0.8, **marked(method))
            plots.interval(ax, estimate(values), y + 0.2)
        ax.set_yticks(range(len(methods)), methods)
        ax.set(title=f"{name}:\n{_reliable(condition)}", xlabel="test accuracy (%)")
        ax.set_ylim(most - 0.4, -0.6)
        ax.grid(axis="y", lw=0.3)
        tables.append(table)
    targets = {condition.target for condition in conditions.values()}
    plots.note(figure, f"marks: architectures; bars: mean and 95 % interval; {_guessing(targets)}")
    return figure, pd.concat(tables, ignore_index=True)


def _trials_table(name: str, condition: Condition) -> pd.DataFrame:
    """condition, method, trial, accuracy: the method with the best mean first."""
    order = np.argsort(-condition.accuracy.mean(axis=1), kind="stable")
    tables = []
    for m in order:
        accuracy = condition.accuracy[m]
        trial = range(1, len(accuracy) + 1)
        columns = {"method": condition.methods[m], "trial": trial, "accuracy": accuracy}
        tables.append(pd.DataFrame({"condition": name, **columns}))
    return pd.concat(tables, ignore_index=True)


def _reliable(condition: Condition) -> str:
    found = comparisons.reliability([comparisons.once(condition.accuracy)], 0.0)
    return f"reliability {found.estimate:.2f}"


def agreement(conditions: Conditions) -> Drawn:
    """Accuracy of the same architectures under two policies, and against the size of their
    networks; a mark per architecture.
    """
    pairs = compared(conditions)
    figure, axes = grid(len(pairs), 2.7, 2)
    rows = []
    for ax, (title, first, second) in zip(axes.flat, pairs, strict=False):
        table = _paired(first, second)
        for method, part in table.groupby("method", sort=False):
            style = marked(str(method))
            ax.plot(part["x"], part["y"], label=method, ls="", ms=5, mew=0.8, **style)
        ax.set(xlabel=first.quantity, ylabel=second.quantity)
        ax.set_title(f"{title}:\n{_together(table)}")
        rows.append(table.assign(compared=title, first=first.quantity))
    fullest = max(axes.flat, key=lambda ax: len(ax.lines))
    handles, labels = fullest.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize="small")
    plots.note(figure, "marks: architectures; in the titles: Spearman's correlation")
    return figure, pd.concat(rows, ignore_index=True)


class Measured(NamedTuple):
    """quantity: what is measured, in words, with its unit. values: (methods, trials)."""

    quantity: str
    methods: Sequence[str]
    values: np.ndarray


def compared(conditions: Conditions) -> list[tuple[str, Measured, Measured]]:
    """What `agreement` compares: `base` with every other policy of the same searches, and with the
    size of the networks. Nothing where `base` is missing.
    """
    pairs = []
    bases = [c for c in conditions.values() if c.policy == "base" and c.searched == c.target]
    for base in bases:
        place = DATASET_TITLES[base.target]
        ours = _accuracy(base)
        for other in conditions.values():
            same = (other.searched, other.target) == (base.searched, base.target)
            if same and other.policy != "base":
                pairs.append((f"{place}, base and {other.policy}", ours, _accuracy(other)))
        size = Measured(SIZE, base.methods, base.parameters / 1e3)
        pairs.append((f"{place}, parameters and base", size, ours))
    return pairs


def _accuracy(condition: Condition) -> Measured:
    quantity = f"accuracy, {condition.policy} (%)"
    return Measured(quantity, condition.methods, condition.accuracy)


def _paired(first: Measured, second: Measured) -> pd.DataFrame:
    """A row per architecture of the methods that both have: method, trial, x, y."""
    y = dict(zip(second.methods, second.values, strict=True))
    tables = []
    for method, x in zip(first.methods, first.values, strict=True):
        if method in y:
            trial = range(1, len(x) + 1)
            columns = {"method": method, "trial": trial, "x": x, "y": y[method]}
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def correlations(table: pd.DataFrame) -> tuple[comparisons.Finding, comparisons.Finding]:
    """Rank correlation of x and y over all architectures, and within the methods."""
    squares = []  # (methods, trials, 1)
    for name in ("x", "y"):
        square = table.pivot(index="method", columns="trial", values=name)
        squares.append(comparisons.once(square.to_numpy()))
    return comparisons.rank_correlation(squares), comparisons.correlation_within(squares)


def _together(table: pd.DataFrame) -> str:
    overall, within = correlations(table)
    return f"correlation {overall.estimate:.2f}, within methods {within.estimate:.2f}"


def transfer(table: pd.DataFrame) -> Drawn:
    """Networks trained on one data set, by the data set on which their architecture was searched:
    mean and interval per method.

    table: see `tables.transferred`.
    """
    methods = list(table["method"].unique())
    targets = table["target"].unique()
    figure, axes = grid(len(targets), 0.9 + 0.26 * len(methods), 2, sharey=True)
    for ax, target in zip(axes.flat, targets, strict=False):
        trained = table[table["target"] == target]
        sources = trained["searched"].unique()
        for k, source in enumerate(sources):
            shift = 0.3 * (k - (len(sources) - 1) / 2)  # in the middle of a row: 0
            _draw_means(ax, trained[trained["searched"] == source], methods, shift)
        ax.set(title=f"trained on {DATASET_TITLES[target]}", xlabel="test accuracy (%)")
    plots.name_rows(axes[0, 0], methods)
    one_legend(figure, axes, table["searched"].nunique())
    plots.note(figure, f"mean and 95 % interval over searches; {_guessing(targets)}")
    return figure, table


def _draw_means(ax: Axes, rows: pd.DataFrame, methods: Sequence[str], shift: float) -> None:
    """Mean and interval of each method in its row; rows: of one data set of the searches."""
    source = rows["searched"].iloc[0]
    color, marker = SEARCHED[source]
    for place, method in enumerate(methods):
        e = estimate(rows.loc[rows["method"] == method, "accuracy"])
        y = place + shift
        plots.interval(ax, e, y)
        label = "" if place else f"searched on {DATASET_TITLES[source]}"
        ax.plot(e.mean, y, marker, color=color, ms=5, label=label)


def _guessing(targets: Iterable[str]) -> str:
    """What guessing reaches on these data sets."""
    known = [name for name in DATASET_TITLES if name in targets]
    shares = [f"{100 / CLASSES[name]:.0f} % on {DATASET_TITLES[name]}" for name in known]
    return f"guessing: {listed(shares)}"


def spread(networks: Mapping[str, np.ndarray]) -> Drawn:
    """Test accuracy of random networks of several spaces: a mark per network, a line between its
    evaluations; mean and interval below.

    networks: by space, (networks, evaluations).
    """
    figure, ax = plots.panel(0.7 + 0.65 * len(networks))
    rows = []
    for place, (name, scores) in enumerate(networks.items()):
        count, _ = scores.shape
        heights = place + np.linspace(-0.27, 0.2, count)
        low, high = scores.min(axis=1), scores.max(axis=1)
        ax.hlines(heights, low, high, color="0.6", lw=0.8, zorder=1)
        means = scores.mean(axis=1)
        size = 16 if count < 50 else 5  # many of them lie close
        marker = "osD"[place % 3]
        ax.scatter(means, heights, size, color=f"C{place}", marker=marker, zorder=2)
        plots.interval(ax, estimate(means), place + 0.37)
        for (network, evaluation), accuracy in np.ndenumerate(scores):
            rows.append((name, network, evaluation, accuracy))
    ax.set_yticks(range(len(networks)), list(networks))
    ax.set(xlabel="test accuracy of random networks (%)", ylim=(len(networks) - 0.4, -0.5))
    plots.note(
        figure,
        "marks: networks, grey lines: between their evaluations; bars: mean and 95 % interval",
    )
    return figure, pd.DataFrame(rows, columns=["space", "network", "evaluation", "accuracy"])


class Output(NamedTuple):
    """How an output of a cell is drawn. height: of its line over the nodes. weight: its letter."""

    height: float
    color: str
    line: Any
    weight: str
    text: str


OUTPUTS = (
    Output(1.75, "C0", "-", r"\beta", r"sum: $\sum_i \beta_i z_i$, C channels"),
    Output(-1.75, "C1", (0, (3, 1.4)), r"\gamma", r"concat of $\gamma_i z_i$, 5C channels"),
)
BESIDE: Any = {"va": "center", "fontsize": "small"}
"""Style of the sketch's texts."""


def sketch() -> Drawn:
    """An LHD cell during a search: its edges, and its two outputs."""
    figure, ax = plots.panel(2.7)
    inputs = [(0.0, 0.7), (0.0, -0.7)]
    nodes = [(1.5 + 1.4 * i, 0.0) for i in range(NODES)]
    places = [*inputs, *nodes]
    for source, target in EDGES:
        _arrow(ax, places[source], places[target], _bend(source, target))
    for i, (x, _) in enumerate(nodes):
        for output in OUTPUTS:
            _draw_weight(ax, output, x, i)
        ax.text(x, 0, f"$z_{i}$", ha="center", zorder=4, **BESIDE)
    end = 1.5 + 1.4 * NODES
    for output in OUTPUTS:
        y = output.height
        first, _ = nodes[0]
        ax.plot([first, end - 0.2], [y, y], color=output.color, ls=output.line, lw=1.6)
        ax.text(end - 0.1, y, output.text, color=output.color, **BESIDE)
    for node, (x, y) in enumerate(places):
        fill = "0.9" if node < len(inputs) else "white"
        ax.scatter(x, y, s=260, facecolor=fill, edgecolor="0.2", lw=0.9, zorder=3)
    names = ("sum of the\ncell before", "concat of the\ncell before")
    for (_, y), text in zip(inputs, names, strict=True):
        ax.text(-0.3, y, text, ha="right", **BESIDE)
    ax.set(xlim=(-2.1, end + 2.7), ylim=(-2.05, 2.05))
    ax.set_axis_off()
    return figure, pd.DataFrame(EDGES, columns=["source", "target"])


def _draw_weight(ax: Axes, output: Output, x: float, node: int) -> None:
    """The line from a node to an output, and the weight that the node has there."""
    side = np.sign(output.height)
    ends = [0.24 * side, output.height]
    ax.plot([x, x], ends, color=output.color, ls=output.line, lw=1.2, zorder=1)
    weight = f"${output.weight}_{node}$"
    ax.text(x + 0.08, output.height - 0.25 * side, weight, color=output.color, **BESIDE)


def _bend(source: int, target: int) -> float:
    """How an arrow of the sketch bows, so that none runs through another node."""
    if source == 0:
        return -0.28
    if source == 1:
        return 0.28
    if target == source + 1:
        return 0.0
    return -0.3 if (source + target) % 2 else 0.3


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], bend: float) -> None:
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=f"arc3,rad={bend}",
        arrowstyle="-|>",
        mutation_scale=7,
        color="0.65",
        lw=0.9,
        shrinkA=8,  # room for the nodes
        shrinkB=8,
    )
    ax.add_patch(arrow)


def released() -> Drawn:
    """The released architectures: parameters, skips and entropy by method;
    a mark per data set, mean of 5 trials.
    """
    table = lhd_architectures.statistics()
    table["unevenness"] = 1 - table["entropy"]
    order = list(lhd_architectures.RELEASED_METHODS)
    columns = {
        "params_base": "parameters, base (M)",
        "skips": "skips in the normal cell",
        "unevenness": "1 - entropy of a node's weights\n(0: uniform, 1: one operation)",
    }
    figure, (axes,) = plots.panels(1, 3, 0.9 + 0.2 * len(order), sharey=True)
    for ax, (column, quantity) in zip(axes, columns.items(), strict=True):
        for k, (dataset, rows) in enumerate(table.groupby("dataset", sort=False)):
            places = [order.index(method) + 0.2 * (k - 1) for method in rows["method"]]
            errors = rows["params_base_sd"] if column == "params_base" else None
            label = DATASET_TITLES[str(dataset)]
            style = {"fmt": "osD"[k], "color": f"C{k}", "ms": 4, "lw": 0.9}
            ax.errorbar(rows[column], places, xerr=errors, label=label, **style)
        ax.set_xlabel(quantity)
    axes[2].set_xscale("log")
    plots.name_rows(axes[0], [LABELS[method] for method in order])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, table
