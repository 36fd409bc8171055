"""Interactive views: pick an epoch, edge or condition, drag a slider. Nothing is saved here.

One figure is drawn once, and a control moves its artists: limits stay where they are, so that what
moves is the data. The figure goes into an image widget: no output is captured, so the cells also
run in batch.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image as Picture
from torch import Tensor

from nasutils import spaces
from nasutils.measures import ranking, stopping
from nasutils.methods import relax
from nasutils.report import plots
from nasutils.spaces import nasbench201

DPI = 200
"""Dots per inch of an explorer's picture, which is shown at half its width:
sharp on screens of two dots a pixel.
"""
CONTROL = {"width": "480px", "max_width": "100%"}
"""Layout of sliders and lists: 50 epochs, each several pixels wide."""


def temperature_explorer(alpha: Tensor, upstream: Tensor, ops: Sequence[str]) -> Any:
    """A slider over log10 T: one edge's distribution, and its plain and sparse-noisy gradient.

    alpha, upstream = dL/dp: (operations,).
    """
    from ipywidgets import FloatSlider

    lowest, highest = -4.5, 0.5
    largest = 0.0
    for exponent in np.linspace(lowest, highest, 51):
        _, *gradients = _softmax_state(alpha, upstream, 10.0**exponent)
        largest = max(largest, float(np.abs(gradients).max()))
    figure, ((left, right),) = plots.panels(1, 2, 2.6)
    weights = _weight_bars(left, len(ops))
    styles = {"plain": {}, "sparse-noisy": {"hatch": "//"}}
    plain, noisy = _bar_pairs(right, len(ops), styles)
    # The gradients span seven decades and both signs.
    right.set_yscale("symlog", linthresh=1e-2)
    right.set(ylabel="gradient in alpha", ylim=(-2 * largest, 2 * largest))
    right.set_yticks([-1e3, -1e1, -1e-1, 0, 1e-1, 1e1, 1e3])
    _name_operations((left, right), ops)
    title = left.set_title(" ")

    def move(exponent: float) -> None:
        temperature = 10.0**exponent
        title.set_text(f"T = {temperature:.2e}")
        state = _softmax_state(alpha, upstream, temperature)
        for bars, heights in zip((weights, plain, noisy), state, strict=True):
            _set_heights(bars, heights)

    slider = _control(FloatSlider, "log10 T", -3, min=lowest, max=highest, step=0.1)
    return _explorer([slider], figure, move)


def _softmax_state(
    alpha: Tensor, upstream: Tensor, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixing weights, plain and sparse-noisy gradient."""
    p = relax.softmax(alpha, temperature)
    plain = relax.softmax_gradient(p, upstream, temperature)
    at_temperature_1 = relax.softmax_gradient(relax.softmax(alpha, 1.0), upstream)
    return p.numpy(), plain.numpy(), (plain + at_temperature_1).numpy()


def _weight_bars(ax: Axes, operations: int) -> BarContainer:
    """A bar for the weight of each operation, of no height yet."""
    bars = ax.bar(np.arange(operations), np.zeros(operations), color="C0")
    ax.set(ylabel="mixing weight", ylim=(0, 1))
    return bars


def _bar_pairs(
    ax: Axes, operations: int, styles: Mapping[str, Mapping[str, Any]]
) -> Sequence[BarContainer]:
    """Two bars side by side for each operation, of no height yet, with a legend above.

    styles: of the left and of the right ones, by their labels.
    """
    place = np.arange(operations)
    pairs = []
    for shift, (label, style) in zip((-0.2, 0.2), styles.items(), strict=True):
        pairs.append(ax.bar(place + shift, np.zeros(operations), 0.4, label=label, **style))
    ax.axhline(0, color="0.3", lw=0.8)
    plots.legend_above(ax, 2)
    return pairs


def trajectory_explorer(
    records: Sequence[dict[str, Any]], edges: Sequence[str], ops: Sequence[str]
) -> Any:
    """A slider over epochs: the mixing weights of every edge of one search,
    and what the cell of then is worth.

    records: of one NAS-Bench-201 search.
    """
    weights = np.array([record["mix"]["cell"] for record in records])
    figure, ((left, right),) = plots.panels(1, 2, 2.7)
    image = left.imshow(weights[0], vmin=0, vmax=1, cmap="cividis", aspect="auto")
    left.set_yticks(range(len(edges)), edges)
    left.set(ylabel="edge")
    left.grid(False)
    _name_operations((left,), ops)
    figure.colorbar(image, ax=left, label="mixing weight")
    now = _cells_worth(right, records)
    title = left.set_title(" ")
    # Zeros keep the room that the text of a cell needs.
    cell = figure.supxlabel("0" * 60, fontsize="x-small", color="0.3")

    def move(position: int) -> None:
        record = records[position]
        epoch = record["epoch"]
        image.set_data(weights[position])
        now.set_xdata([epoch, epoch])
        title.set_text(f"epoch {epoch}, T = {record['temperature']:.2e}")
        cell.set_text(record["genotype"])

    return _explorer([_epochs(records)], figure, move)


def _cells_worth(ax: Axes, records: Sequence[dict[str, Any]]) -> Line2D:
    """Draw what the cell of each epoch is worth, and the line that says where one is: returned."""
    epochs = [record["epoch"] for record in records]
    cells = [nasbench201.query(record["genotype"]) for record in records]
    accuracies = [cell.test_accuracy["cifar10"] for cell in cells]
    ax.plot(epochs, accuracies, color="0.3")
    ax.set(xlabel="epoch", ylabel="accuracy of the cell (%)")
    worst = min(*accuracies, 80)
    plots.stretch(ax, "y", max(worst - 4, 0))
    return ax.axvline(epochs[0], color="C3", lw=1.5)


def leakage_explorer(
    records: Sequence[dict[str, Any]], edges: Sequence[str], ops: Sequence[str]
) -> Any:
    """Pick a probed epoch and an edge, cut an operation there (in bold),
    and see what that does to the loss.

    Beside it: the weights of the edge, and what cutting or keeping only each of its other
    operations would do. records: of one probed NAS-Bench-201 search. Raises ValueError if none of
    them holds a probe.
    """
    probes = {record["epoch"]: record for record in records if "leakage" in record}
    if not probes:
        raise ValueError("no record holds a probe: search with `probe_every`")
    figure, ((left, right),) = plots.panels(1, 2, 2.7)
    weights = _weight_bars(left, len(ops))
    cut, only = _change_bars(right, [probe["leakage"] for probe in probes.values()])
    _name_operations((left, right), ops)
    title = left.set_title(" ")
    losses = figure.suptitle(" ", fontsize="small")

    def move(epoch: int, edge: int, operation: int) -> None:
        leakage = probes[epoch]["leakage"]
        without = leakage["cut"]["cell"][edge]
        alone = leakage["only"]["cell"][edge]
        _set_heights(weights, probes[epoch]["mix"]["cell"][edge])
        _set_heights(cut, without)
        _set_heights(only, alone)
        for ax in (left, right):
            _embolden(ax, operation)
        title.set_text(f"epoch {epoch}, edge {edges[edge]}")
        changes = without[operation], alone[operation]
        losses.set_text(_losses(ops[operation], leakage["loss"], *changes))

    return _explorer(_probe_controls(probes, edges, ops), figure, move)


def _probe_controls(
    probes: Mapping[int, Mapping[str, Any]], edges: Sequence[str], ops: Sequence[str]
) -> list[Any]:
    """Epoch (the last one first), edge, and the operation that is cut, at first the strongest of
    the first edge.
    """
    from ipywidgets import Dropdown, SelectionSlider

    last = max(probes)
    strongest = int(np.argmax(probes[last]["mix"]["cell"][0]))
    return [
        _control(SelectionSlider, "epoch", last, options=list(probes)),
        _control(Dropdown, "edge", 0, options=_numbered(edges)),
        _control(Dropdown, "cut", strongest, options=_numbered(ops)),
    ]


def _losses(operation: str, loss: float, without: float, alone: float) -> str:
    """The loss, and what it is after its changes without an operation and with it alone."""
    return (
        f"loss {loss:.3f}; without {operation}: {_changed(loss, without)};"
        f" with nothing but it: {_changed(loss, alone)}"
    )


def _change_bars(ax: Axes, measured: Sequence[Mapping[str, Any]]) -> Sequence[BarContainer]:
    """Bars for the changes of the loss when an operation is cut, and when it is the only one:
    as high as any of `measured`, see `leakage.measure`.
    """
    cut = np.array([leakage["cut"]["cell"] for leakage in measured])  # (probes, edges, operations)
    only = np.array([leakage["only"]["cell"] for leakage in measured])
    low = min(cut.min(), only.min(), -0.05)
    high = max(cut.max(), only.max(), 0.05)
    styles = {"cut": {"color": "C1"}, "the only one kept": {"color": "C2", "hatch": "//"}}
    bars = _bar_pairs(ax, cut.shape[-1], styles)
    ax.set(ylabel="change of the loss (nats)", ylim=(1.05 * low, 1.05 * high))
    return bars


def _changed(loss: float, change: float) -> str:
    return f"{loss + change:.3f} ({change:+.3f})"


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """What a control shows, and what it hands on."""
    return [(name, i) for i, name in enumerate(names)]


def stopping_explorer(records: Sequence[dict[str, Any]], operation: str) -> Any:
    """A slider over epochs, a criterion and a designated operation:
    where the search is, and where it should stop.

    records: of one NAS-Bench-201 search. operation: designated at first.
    """
    from ipywidgets import Dropdown

    epochs = [record["epoch"] for record in records]
    figure, ((left, right),) = plots.panels(1, 2, 3.0)
    lines = _magnitude_lines(left, records)
    here = [left.axvline(epochs[0]), _cells_worth(right, records)]
    for line in here:
        line.set(color="0.2", lw=0.9)
    stops = [ax.axvline(epochs[0], color="C3", ls="--", lw=1.5) for ax in (left, right)]
    decision = figure.suptitle("\n", fontsize="small")

    def move(position: int, criterion: str, operation: str) -> None:
        epoch = epochs[position]
        for op, line in lines.items():
            line.set_linewidth(2.6 if op == operation else 1.0)
        for line in here:
            line.set_xdata([epoch, epoch])
        reason = _move_stop(stops, records, criterion, operation)
        decision.set_text(f"{reason}\nepoch {epoch}: {records[position]['genotype']}")

    criteria = list(stopping.CRITERIA)
    controls = [
        _epochs(records),
        _control(Dropdown, "criterion", criteria[0], options=criteria),
        _control(Dropdown, "operation", operation, options=list(lines)),
    ]
    return _explorer(controls, figure, move)


def _magnitude_lines(ax: Axes, records: Sequence[dict[str, Any]]) -> dict[str, Line2D]:
    """Draw the magnitude S of each operation over epochs; the lines by operation."""
    space = spaces.get("nasbench201")
    epochs = [record["epoch"] for record in records]
    magnitudes = stopping.magnitudes(stopping.alphas(records, space))  # (epochs, operations)
    lines = {}
    for op, values in zip(space.ops, magnitudes.T, strict=True):
        style = plots.look(op) | {"ms": 3, "markevery": plots.mark_every(len(epochs))}
        (lines[op],) = ax.plot(epochs, values, label=plots.spaced(op), **style)
    ax.set(xlabel="epoch", ylabel="magnitude S")
    plots.legend_above(ax, 3, fontsize="x-small")
    return lines


def _move_stop(
    stops: Sequence[Any], records: Sequence[dict[str, Any]], criterion: str, operation: str
) -> str:
    """Put the lines where the criterion stops, or hide them; returns why."""
    try:
        decision = stopping.stop(
            records, criterion, space=spaces.get("nasbench201"), operation=operation
        )
    except ValueError as error:
        for line in stops:
            line.set_visible(False)
        return f"{criterion} cannot judge this search: {error}"
    for line in stops:
        line.set(xdata=[decision.epoch] * 2, visible=True)
    return f"{criterion} takes epoch {decision.epoch} (dashed): {decision.reason}"


def ranking_explorer(conditions: Sequence[str], methods: Sequence[str], ranks: np.ndarray) -> Any:
    """A list of conditions of which several can be chosen: the average rank of each method there,
    beside that in all of them. With none chosen, all are.

    ranks: (conditions, methods), 1 for the best.
    """
    from ipywidgets import SelectMultiple

    names = list(conditions)
    everywhere = ranking.mean(ranks.T)
    order = np.argsort(everywhere, kind="stable")
    figure, ax = plots.panel(1.0 + 0.2 * len(methods))
    moves, marks = _rank_marks(ax, [methods[method] for method in order])
    places = range(len(order))
    ax.plot(everywhere[order], places, "|", ms=10, color="0.3", label="all conditions")
    ax.set(xlim=(0.5, len(order) + 0.5), xlabel="average rank (1: best)", ylabel="method")
    plots.legend_above(ax, 1)
    title = ax.set_title(" ", loc="right")

    def move(chosen: Sequence[str]) -> None:
        selected = np.isin(names, list(chosen or names))
        here = ranking.mean(ranks[selected].T)
        for line, mark, method in zip(moves, marks, order, strict=True):
            line.set_xdata([everywhere[method], here[method]])
            mark.set_xdata([here[method]])
        title.set_text(f"{selected.sum()} of {len(names)} conditions")

    shown = _control(SelectMultiple, "conditions", names, options=names, rows=min(len(names), 12))
    return _explorer([shown], figure, move)


def _rank_marks(ax: Axes, methods: Sequence[str]) -> tuple[list[Line2D], list[Line2D]]:
    """A row per method, the first on top: a grey line, and the method's mark at its end."""
    lines, marks = [], []
    for place, method in enumerate(methods):
        lines += ax.plot([0, 0], [place, place], color="0.7", lw=1, zorder=1)
        style = plots.look(method) | {"linestyle": ""}
        marks += ax.plot(0, place, ms=6, **style)
    plots.name_rows(ax, methods)
    return lines, marks


def _name_operations(axes: Sequence[Axes], ops: Sequence[str]) -> None:
    for ax in axes:
        ax.set_xticks(range(len(ops)), [plots.spaced(op) for op in ops], rotation=20)
        ax.set_xlabel("operation")


def _embolden(ax: Axes, operation: int) -> None:
    """Only the name of this operation is bold."""
    names = ax.get_xticklabels()
    plt.setp(names, fontweight="normal")
    names[operation].set_fontweight("bold")


def _set_heights(bars: Any, heights: Sequence[float] | np.ndarray) -> None:
    for bar, height in zip(bars, heights, strict=True):
        bar.set_height(height)


def _epochs(records: Sequence[dict[str, Any]]) -> Any:
    """A slider over the places of the records, at the last one."""
    from ipywidgets import IntSlider

    return _control(IntSlider, "epoch", len(records) - 1, min=0, max=len(records) - 1)


def _control(kind: Callable[..., Any], description: str, value: Any, **options: Any) -> Any:
    """A control that one can hit."""
    return kind(description=description, value=value, layout=CONTROL, **options)


def _explorer(controls: Sequence[Any], figure: Figure, move: Callable[..., None]) -> Any:
    """Controls above a figure that is laid out once;
    `move` takes their values and moves its artists.
    """
    from ipywidgets import Image, VBox

    plt.close(figure)
    layout = {"width": "720px", "max_width": "100%", "object_fit": "contain"}
    shown = Image(format="png", layout=layout)

    def redraw(_: Any = None) -> None:
        move(*(control.value for control in controls))
        shown.value = _png(figure)

    redraw()
    figure.set_layout_engine("none")
    for control in controls:
        control.observe(redraw, "value")
    return VBox([*controls, shown])


def _png(figure: Figure) -> bytes:
    """The picture at DPI, packed for speed rather than size."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Picture.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = io.BytesIO()
    picture.save(content, "png", compress_level=1)
    return content.getvalue()
