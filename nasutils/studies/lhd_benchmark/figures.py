"""Figures of `notebooks/lhd_benchmark.ipynb`:
functions of what networks reach that return figure and table.

Those of conditions (`released.Conditions`) are drawn of the pilot and of the registered study.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

from nasutils.measures import comparisons, ranking
from nasutils.measures.tables import estimate
from nasutils.report import plots
from nasutils.spaces.lhd_cells import EDGES, NODES
from nasutils.studies.figures import Drawn, grid, one_legend
from nasutils.studies.lhd_benchmark import architectures as lhd_architectures
from nasutils.studies.lhd_benchmark.released import LABELS, Condition, Conditions
from nasutils.studies.lhd_benchmark.variants import CLASSES
from nasutils.studies.readings import listed

NAMES = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}
SEARCHED = {
    "cifar10": ("C0", "o"),
    "cifar100": ("C1", "s"),
    "svhn": ("C2", "D"),
    "digits": ("C3", "^"),
}
"""Data set of a search -> colour and marker."""
OUTPUTS = {"sum": "C0", "concat": "C1"}


def marked(method: str) -> dict[str, Any]:
    """Colour and marker of a method; no two of the twelve have the same marker."""
    return {name: value for name, value in plots.look(method).items() if name != "linestyle"}


def contrasts(conditions: Conditions) -> Drawn:
    """How much better each method's networks are than those of random architectures, a panel per
    condition, the best method on top.

    Intervals hold for all methods together. Bars on the right join methods that do not differ, by
    the permutation's critical difference, which is drawn above.
    """
    most = max(len(c.methods) for c in conditions.values())
    figure, axes = grid(len(conditions), 1.3 + 0.18 * most, 2)
    tables = []
    for ax, (name, condition) in zip(
        axes.flat[: len(conditions)], conditions.items(), strict=True
    ):
        table = contrast_table(name, condition)
        _draw_contrasts(ax, table)
        ax.set_title(name)
        tables.append(table)
    for ax in axes.flat:
        ax.set_ylim(most - 0.4, -2.4)
        ax.set_xlabel("accuracy minus that of Random (points)")
    plots.note(
        figure,
        "means of five architectures and 95 % intervals for all methods together; bars on the"
        " right join methods that are not told apart from each other",
    )
    return figure, pd.concat(tables, ignore_index=True)


def contrast_table(name: str, condition: Condition) -> pd.DataFrame:
    """A row per method, the best first: its difference to the control (points) with the interval,
    and the difference from which two methods are told apart.
    """
    control, *others = condition.methods
    found = ranking.contrasts(condition.accuracy, condition.draws)
    rows = [{"method": m, **e.columns("difference")} for m, e in zip(others, found, strict=True)]
    table = pd.DataFrame([{"method": control, "difference": 0.0}, *rows])
    table = table.assign(condition=name, accuracy=condition.accuracy.mean(axis=1))
    table["told_apart_from"] = ranking.critical_difference_of_means(condition.accuracy)
    return table.sort_values("difference", ascending=False, ignore_index=True)


def _draw_contrasts(ax: Axes, table: pd.DataFrame) -> None:
    for y, row in table.iterrows():
        if not np.isnan(row["difference_low"]):
            ends = [row["difference_low"], row["difference_high"]]
            ax.plot(ends, [y, y], color="0.2", lw=1, marker="|", ms=5, zorder=2)
        ax.plot(row["difference"], y, ms=6, ls="", zorder=3, **marked(row["method"]))
    ax.axvline(0, color="0.3", lw=0.9, ls="--")
    ax.set_yticks(range(len(table)), table["method"])
    needed = float(table["told_apart_from"].iloc[0])
    if np.isnan(needed):
        return
    ax.plot([0, needed], [-1.0, -1.0], color="0.15", lw=1.2, marker="|", ms=7)
    text = f"two methods are told apart from {needed:.1f} points on"
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the line of zero
    place = ax.get_yaxis_transform()
    ax.text(0.02, -1.35, text, fontsize="x-small", va="bottom", transform=place, bbox=ground)
    draw_cliques(ax, ranking.cliques([-d for d in table["difference"]], needed))


def draw_cliques(ax: Axes, groups: Sequence[tuple[int, int]]) -> None:
    """Bars right of the panel, each along the rows of methods that are not told apart."""
    for i, (first, last) in enumerate(groups):
        ax.plot(
            [1.03 + 0.03 * i] * 2,
            [first - 0.25, last + 0.25],
            transform=ax.get_yaxis_transform(),
            color="0.15",
            lw=2.2,
            solid_capstyle="butt",
            clip_on=False,
        )


def trials(conditions: Conditions) -> Drawn:
    """A mark per architecture, mean and Student's 95 % interval per method below;
    a panel per condition.
    """
    most = max(len(c.methods) for c in conditions.values())
    figure, axes = grid(len(conditions), 1.1 + 0.22 * most, 2)
    tables = []
    for ax, (name, condition) in zip(
        axes.flat[: len(conditions)], conditions.items(), strict=True
    ):
        order = np.argsort(-condition.accuracy.mean(axis=1), kind="stable")
        for y, m in enumerate(order):
            values, method = condition.accuracy[m], condition.methods[m]
            ax.plot(values, [y - 0.14] * len(values), ls="", ms=4, mew=0.8, **marked(method))
            plots.interval(ax, estimate(values), y + 0.2)
            rows = {"trial": range(1, len(values) + 1), "accuracy": values}
            tables.append(pd.DataFrame({"condition": name, "method": method, **rows}))
        ax.set_yticks(range(len(order)), [condition.methods[m] for m in order])
        ax.set(title=f"{name}:\n{_reliable(condition)}", xlabel="test accuracy (%)")
        ax.set_ylim(most - 0.4, -0.6)
        ax.grid(axis="y", lw=0.3)
    targets = {condition.target for condition in conditions.values()}
    plots.note(figure, f"marks: architectures; bars: mean and 95 % interval; {_guessing(targets)}")
    return figure, pd.concat(tables, ignore_index=True)


def _reliable(condition: Condition) -> str:
    found = comparisons.reliability([condition.accuracy[..., None]], 0.0)
    return f"reliability {found.estimate:.2f}"


def agreement(conditions: Conditions) -> Drawn:
    """Accuracy of the same architectures under two policies, and against the size of their
    networks; a mark per architecture.
    """
    pairs = compared(conditions)
    figure, axes = grid(len(pairs), 2.7, 2)
    rows = []
    for ax, (title, first, second) in zip(axes.flat[: len(pairs)], pairs, strict=True):
        table = _paired(first, second)
        for method, part in table.groupby("method", sort=False):
            style = marked(str(method))
            ax.plot(part["x"], part["y"], label=method, ls="", ms=5, mew=0.8, **style)
        ax.set(xlabel=first[0], ylabel=second[0])
        ax.set_title(f"{title}:\n{_together(table)}")
        rows.append(table.assign(compared=title))
    legend = max(axes.flat, key=lambda ax: len(ax.lines)).get_legend_handles_labels()
    figure.legend(*legend, loc="outside upper center", ncols=5, fontsize="small")
    plots.note(figure, "marks: architectures; in the titles: Spearman's correlation")
    return figure, pd.concat(rows, ignore_index=True)


Measured = tuple[str, Condition, np.ndarray]
"""What is measured, in words; of which networks; (methods, trials)."""


def compared(conditions: Conditions) -> list[tuple[str, Measured, Measured]]:
    """What `agreement` compares: `base` with every other policy of the same searches, and with the
    size of the networks. Nothing where `base` is missing.
    """
    found: list[tuple[str, Measured, Measured]] = []
    for base in (c for c in conditions.values() if c.policy == "base" and c.searched == c.target):
        place = NAMES[base.target]
        ours = "accuracy, base (%)", base, base.accuracy
        for other in conditions.values():
            same = (other.searched, other.target) == (base.searched, base.target)
            if same and other.policy != "base":
                theirs = f"accuracy, {other.policy} (%)", other, other.accuracy
                found.append((f"{place}, base and {other.policy}", ours, theirs))
        size = "parameters (thousands)", base, base.parameters / 1e3
        found.append((f"{place}, size and base", size, ours))
    return found


def _paired(first: Measured, second: Measured) -> pd.DataFrame:
    """Of the methods that both have: method, trial, x, y."""
    (_, a, x), (_, b, y) = first, second
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "method": method,
                    "trial": range(1, x.shape[1] + 1),
                    "x": x[a.methods.index(method)],
                    "y": y[b.methods.index(method)],
                }
            )
            for method in a.methods
            if method in b.methods
        ],
        ignore_index=True,
    )


def correlations(table: pd.DataFrame) -> tuple[comparisons.Finding, comparisons.Finding]:
    """Rank correlation of x and y over all architectures, and within the methods."""
    squares = [
        table.pivot(index="method", columns="trial", values=name).to_numpy()[..., None]
        for name in ("x", "y")
    ]
    return comparisons.rank_correlation(squares), comparisons.correlation_within(squares)


def _together(table: pd.DataFrame) -> str:
    overall, within = correlations(table)
    return f"correlation {overall.estimate:.2f}, within methods {within.estimate:.2f}"


def transfer(table: pd.DataFrame) -> Drawn:
    """Networks trained on one data set, by the data set on which their architecture was searched:
    mean and interval per method.

    table: see `tables.transferred`.
    """
    methods, targets = table["method"].unique(), table["target"].unique()
    figure, axes = grid(len(targets), 0.9 + 0.26 * len(methods), 2, sharey=True)
    for ax, target in zip(axes.flat[: len(targets)], targets, strict=True):
        part = table[table["target"] == target]
        sources = part["searched"].unique()
        for k, source in enumerate(sources):
            color, marker = SEARCHED[source]
            for place, method in enumerate(methods):
                rows = part[(part["searched"] == source) & (part["method"] == method)]
                e = estimate(rows["accuracy"])
                y = place + 0.3 * (k - (len(sources) - 1) / 2)
                plots.interval(ax, e, y)
                name = f"searched on {NAMES[source]}"
                ax.plot(e.mean, y, marker, color=color, ms=5, label="" if place else name)
        ax.set(title=f"trained on {NAMES[target]}", xlabel="test accuracy (%)")
    axes[0, 0].set_yticks(range(len(methods)), methods)
    axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)
    one_legend(figure, axes, table["searched"].nunique())
    plots.note(figure, f"mean and 95 % interval over searches; {_guessing(targets)}")
    return figure, table


def _guessing(targets: Iterable[str]) -> str:
    """What guessing reaches on these data sets."""
    known = [name for name in NAMES if name in targets]
    return f"guessing: {listed(f'{100 / CLASSES[name]:.0f} % on {NAMES[name]}' for name in known)}"


def spread(networks: Mapping[str, np.ndarray]) -> Drawn:
    """Test accuracy of random networks of several spaces: a mark per network, a line between its
    evaluations; mean and interval below.

    networks: by space, (networks, evaluations).
    """
    figure, ((ax,),) = plots.panels(1, 1, 0.7 + 0.65 * len(networks))
    tables = []
    for place, (name, scores) in enumerate(networks.items()):
        heights = place + np.linspace(-0.27, 0.2, max(len(scores), 1))[: len(scores)]
        ends = scores.min(axis=1), scores.max(axis=1)
        ax.hlines(heights, *ends, color="0.6", lw=0.8, zorder=1)
        style = {"color": f"C{place}", "marker": "osD"[place % 3]}
        ax.scatter(
            scores.mean(axis=1), heights, s=16 if len(scores) < 50 else 5, zorder=2, **style
        )
        plots.interval(ax, estimate(scores.mean(axis=1)), place + 0.37)
        for (network, evaluation), accuracy in np.ndenumerate(scores):
            tables.append((name, network, evaluation, accuracy))
    ax.set_yticks(range(len(networks)), list(networks))
    ax.set(xlabel="test accuracy of random networks (%)", ylim=(len(networks) - 0.4, -0.5))
    plots.note(
        figure,
        "marks: networks, grey lines: between their evaluations; bars: mean and 95 % interval",
    )
    return figure, pd.DataFrame(tables, columns=["space", "network", "evaluation", "accuracy"])


def sketch() -> Drawn:
    """An LHD cell during a search: its edges, and its two outputs."""
    figure, ((ax,),) = plots.panels(1, 1, 2.7)
    places = {0: (0.0, 0.7), 1: (0.0, -0.7)} | {2 + i: (1.5 + 1.4 * i, 0.0) for i in range(NODES)}
    for source, target in EDGES:
        bend = (
            (0.28 if source == 0 else -0.28)
            if source < 2
            else (0.3 if (source + target) % 2 else -0.3)
        )
        _arrow(
            ax,
            places[source],
            places[target],
            -bend if target > source + 1 or source < 2 else 0,
            "0.65",
            0.9,
        )
    end = 1.5 + 1.4 * NODES
    for i in range(NODES):
        x = places[2 + i][0]
        for (name, color), side in zip(OUTPUTS.items(), (1, -1), strict=True):
            style = "-" if name == "sum" else (0, (3, 1.4))
            ax.plot([x, x], [0.24 * side, 1.75 * side], color=color, ls=style, lw=1.2, zorder=1)
            weight = rf"$\beta_{i}$" if name == "sum" else rf"$\gamma_{i}$"
            ax.text(x + 0.08, 1.5 * side, weight, color=color, va="center", fontsize="small")
        ax.text(x, 0, f"$z_{i}$", ha="center", va="center", fontsize="small", zorder=4)
    for (name, color), side in zip(OUTPUTS.items(), (1, -1), strict=True):
        style = "-" if name == "sum" else (0, (3, 1.4))
        ax.plot([places[2][0], end - 0.2], [1.75 * side] * 2, color=color, ls=style, lw=1.6)
        text = (
            r"sum: $\sum_i \beta_i z_i$, C channels"
            if name == "sum"
            else r"concat of $\gamma_i z_i$, 5C channels"
        )
        ax.text(end - 0.1, 1.75 * side, text, color=color, va="center", fontsize="small")
    for node, (x, y) in places.items():
        ax.scatter(
            x,
            y,
            s=260,
            facecolor="0.9" if node < 2 else "white",
            edgecolor="0.2",
            lw=0.9,
            zorder=3,
        )
    for node, text in ((0, "sum of the\ncell before"), (1, "concat of the\ncell before")):
        ax.text(-0.3, places[node][1], text, ha="right", va="center", fontsize="small")
    ax.set(xlim=(-2.1, end + 2.7), ylim=(-2.05, 2.05))
    ax.set_axis_off()
    return figure, pd.DataFrame(EDGES, columns=["source", "target"])


def _arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    bend: float,
    color: str,
    lw: float,
) -> None:
    arc = f"arc3,rad={bend}"
    arrow = FancyArrowPatch(
        start,
        end,
        connectionstyle=arc,
        arrowstyle="-|>",
        mutation_scale=7,
        color=color,
        lw=lw,
        shrinkA=8,
        shrinkB=8,
    )
    ax.add_patch(arrow)


def released() -> Drawn:
    """The released architectures: parameters, skips and entropy by method;
    a mark per data set, mean of 5 trials.
    """
    table = lhd_architectures.statistics()
    table["unevenness"] = 1 - table["entropy"]
    order = list(lhd_architectures.METHODS)
    columns = {
        "params_base": "parameters, base (M)",
        "skips": "skips in the normal cell",
        "unevenness": "1 - entropy of a node's weights\n(0: uniform, 1: one operation)",
    }
    figure, (axes,) = plots.panels(1, 3, 0.9 + 0.2 * len(order), sharey=True)
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for k, (dataset, rows) in enumerate(table.groupby("dataset", sort=False)):
            places = [order.index(m) + 0.2 * (k - 1) for m in rows["method"]]
            errors = rows["params_base_sd"] if column == "params_base" else None
            ax.errorbar(
                rows[column],
                places,
                xerr=errors,
                fmt="osD"[k],
                color=f"C{k}",
                ms=4,
                lw=0.9,
                label=NAMES[str(dataset)],
            )
        ax.set_xlabel(label)
    axes[2].set_xscale("log")
    axes[0].set_yticks(range(len(order)), [LABELS[m] for m in order])
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, table
