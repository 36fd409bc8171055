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
from matplotlib.figure import Figure
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

    exponents = np.linspace(-4.5, 0.5, 51)
    states = [_softmax_state(alpha, upstream, 10.0**exponent) for exponent in exponents]
    gradients = np.array([(plain, noisy) for _, plain, noisy in states])
    top = float(np.abs(gradients).max())
    place = np.arange(len(ops))
    first_weights, first_plain, first_noisy = states[0]
    figure, ((left, right),) = plots.panels(1, 2, 2.6)
    weights = left.bar(place, first_weights)
    plain = right.bar(place - 0.2, first_plain, 0.4, label="plain")
    noisy = right.bar(place + 0.2, first_noisy, 0.4, label="sparse-noisy", hatch="//")
    left.set(ylabel="mixing weight", ylim=(0, 1))
    right.set(ylabel="gradient in alpha", yscale="symlog", ylim=(-2 * top, 2 * top))
    right.set_yscale("symlog", linthresh=1e-2)
    right.set_yticks([-1e3, -1e1, -1e-1, 0, 1e-1, 1e1, 1e3])
    right.axhline(0, color="0.3", lw=0.8)
    right.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    _name_operations((left, right), ops)
    title = left.set_title(" ")

    def move(exponent: float) -> None:
        temperature = 10.0**exponent
        title.set_text(f"T = {temperature:.2e}")
        state = _softmax_state(alpha, upstream, temperature)
        for bars, heights in zip((weights, plain, noisy), state, strict=True):
            _set_heights(bars, heights)

    slider = _slider(FloatSlider, "log10 T", -3, min=-4.5, max=0.5, step=0.1)
    return _explorer([slider], figure, move)


def _softmax_state(
    alpha: Tensor, upstream: Tensor, temperature: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixing weights, plain and sparse-noisy gradient."""
    p = relax.softmax(alpha, temperature)
    plain = relax.softmax_gradient(p, upstream, temperature)
    noisy = plain + relax.softmax_gradient(relax.softmax(alpha, 1.0), upstream)
    return p.numpy(), plain.numpy(), noisy.numpy()


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
    below = figure.supxlabel("0" * 60, fontsize="x-small", color="0.3")

    def move(epoch: int) -> None:
        record = records[epoch]
        image.set_data(weights[epoch])
        now.set_xdata([record["epoch"]] * 2)
        title.set_text(f"epoch {record['epoch']}, T = {record['temperature']:.2e}")
        below.set_text(record["genotype"])

    return _explorer([_epochs(records)], figure, move)


def _cells_worth(ax: Axes, records: Sequence[dict[str, Any]]) -> Any:
    """Draw what the cell of each epoch is worth, and the line that says where one is: returned."""
    accuracies = [
        nasbench201.query(record["genotype"]).test_accuracy["cifar10"] for record in records
    ]
    ax.plot([record["epoch"] for record in records], accuracies, color="0.3")
    ax.set(xlabel="epoch", ylabel="accuracy of the cell (%)")
    plots.stretch(ax, "y", max(min(*accuracies, 80) - 4, 0))
    return ax.axvline(records[0]["epoch"], color="C3", lw=1.5)


def leakage_explorer(
    records: Sequence[dict[str, Any]], edges: Sequence[str], ops: Sequence[str]
) -> Any:
    """Pick a probed epoch and an edge, cut an operation there (in bold),
    and see what that does to the loss.

    Beside it: the weights of the edge, and what cutting or keeping only each of its other
    operations would do. records: of one probed NAS-Bench-201 search.
    """
    from ipywidgets import Dropdown, SelectionSlider

    probes = {record["epoch"]: record for record in records if "leakage" in record}
    figure, ((left, right),) = plots.panels(1, 2, 2.7)
    weights = left.bar(np.arange(len(ops)), np.zeros(len(ops)), color="C0")
    left.set(ylabel="mixing weight", ylim=(0, 1))
    cut, only = _change_bars(right, [probe["leakage"] for probe in probes.values()])
    _name_operations((left, right), ops)
    title = left.set_title(" ")
    said = figure.suptitle(" ", fontsize="small")

    def move(epoch: int, edge: int, operation: int) -> None:
        leakage = probes[epoch]["leakage"]
        without = leakage["cut"]["cell"][edge]
        alone = leakage["only"]["cell"][edge]
        _set_heights(weights, probes[epoch]["mix"]["cell"][edge])
        _set_heights(cut, without)
        _set_heights(only, alone)
        chosen = plots.spaced(ops[operation])
        for label in (*left.get_xticklabels(), *right.get_xticklabels()):
            label.set_fontweight("bold" if label.get_text() == chosen else "normal")
        title.set_text(f"epoch {epoch}, edge {edges[edge]}")
        loss = leakage["loss"]
        said.set_text(
            f"loss {loss:.3f}; without {ops[operation]}: {_changed(loss, without[operation])};"
            f" with nothing but it: {_changed(loss, alone[operation])}"
        )

    last = probes[max(probes)]
    strongest = int(np.argmax(last["mix"]["cell"][0]))
    controls = [
        _slider(SelectionSlider, "epoch", last["epoch"], options=list(probes)),
        _slider(Dropdown, "edge", 0, options=_numbered(edges)),
        _slider(Dropdown, "cut", strongest, options=_numbered(ops)),
    ]
    return _explorer(controls, figure, move)


def _change_bars(ax: Axes, measured: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Bars for the changes of the loss when an operation is cut, and when it is the only one:
    as high as any of `measured`, see `leakage.measure`.
    """
    changes = [[leakage["cut"]["cell"], leakage["only"]["cell"]] for leakage in measured]
    low = min(np.min(changes), -0.05)
    high = max(np.max(changes), 0.05)
    operations = np.shape(changes)[-1]
    place, nothing = np.arange(operations), np.zeros(operations)
    cut = ax.bar(place - 0.2, nothing, 0.4, label="cut", color="C1")
    only = ax.bar(place + 0.2, nothing, 0.4, label="the only one kept", color="C2", hatch="//")
    ax.set(ylabel="change of the loss (nats)", ylim=(1.05 * low, 1.05 * high))
    ax.axhline(0, color="0.3", lw=0.8)
    ax.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return cut, only


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

    space = spaces.get("nasbench201")
    epochs = [record["epoch"] for record in records]
    s = stopping.magnitudes(stopping.alphas(records, space))
    figure, ((left, right),) = plots.panels(1, 2, 3.0)
    every = max(len(epochs) // 8, 1)
    lines = {}
    for op, column in zip(space.ops, s.T, strict=True):
        style = plots.look(op) | {"ms": 3, "markevery": every}
        (lines[op],) = left.plot(epochs, column, label=plots.spaced(op), **style)
    left.set(xlabel="epoch", ylabel="magnitude S")
    left.legend(ncols=3, fontsize="x-small", loc="lower left", bbox_to_anchor=(0, 1))
    here = [left.axvline(epochs[0]), _cells_worth(right, records)]
    for line in here:
        line.set(color="0.2", lw=0.9)
    stops = [ax.axvline(epochs[0], color="C3", ls="--", lw=1.5) for ax in (left, right)]
    said = figure.suptitle("\n", fontsize="small")

    def move(position: int, criterion: str, operation: str) -> None:
        for op, line in lines.items():
            line.set_linewidth(2.6 if op == operation else 1.0)
        for line in here:
            line.set_xdata([epochs[position]] * 2)
        text = _move_stop(stops, records, criterion, operation)
        said.set_text(f"{text}\nepoch {epochs[position]}: {records[position]['genotype']}")

    criteria = list(stopping.CRITERIA)
    controls = [
        _epochs(records),
        _slider(Dropdown, "criterion", criteria[0], options=criteria),
        _slider(Dropdown, "operation", operation, options=space.ops),
    ]
    return _explorer(controls, figure, move)


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
    places = range(len(order))
    figure, ((ax,),) = plots.panels(1, 1, 1.0 + 0.2 * len(methods))
    moves, marks = [], []
    for place, method in zip(places, order, strict=True):
        moves += ax.plot([0, 0], [place, place], color="0.7", lw=1, zorder=1)
        style = plots.look(methods[method]) | {"linestyle": ""}
        marks += ax.plot(0, place, ms=6, **style)
    ax.plot(everywhere[order], places, "|", ms=10, color="0.3", label="all conditions")
    ax.set_yticks(places, [methods[method] for method in order])
    ax.set(xlim=(0.5, len(order) + 0.5), ylim=(len(order) - 0.4, -0.6))
    ax.set(xlabel="average rank (1: best)", ylabel="method")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
    title = ax.set_title(" ", loc="right")

    def move(chosen: Sequence[str]) -> None:
        selected = np.isin(names, list(chosen or names))
        here = ranking.mean(ranks[selected].T)
        for line, mark, method in zip(moves, marks, order, strict=True):
            line.set_xdata([everywhere[method], here[method]])
            mark.set_xdata([here[method]])
        title.set_text(f"{selected.sum()} of {len(names)} conditions")

    shown = _slider(SelectMultiple, "conditions", names, options=names, rows=min(len(names), 12))
    return _explorer([shown], figure, move)


def _name_operations(axes: Sequence[Axes], ops: Sequence[str]) -> None:
    for ax in axes:
        ax.set_xticks(range(len(ops)), [plots.spaced(op) for op in ops], rotation=20)
        ax.set_xlabel("operation")


def _set_heights(bars: Any, heights: Sequence[float] | np.ndarray) -> None:
    for bar, height in zip(bars, heights, strict=True):
        bar.set_height(height)


def _epochs(records: Sequence[dict[str, Any]]) -> Any:
    """A slider over the places of the records, at the last one."""
    from ipywidgets import IntSlider

    return _slider(IntSlider, "epoch", len(records) - 1, min=0, max=len(records) - 1)


def _slider(kind: Callable[..., Any], description: str, value: Any, **options: Any) -> Any:
    """A control that one can hit."""
    return kind(description=description, value=value, layout=CONTROL, **options)


def _explorer(controls: Sequence[Any], figure: Figure, move: Callable[..., None]) -> Any:
    """Controls above a figure that is laid out once;
    `move` takes their values and moves its artists.
    """
    plt.close(figure)
    move(*(control.value for control in controls))
    _png(figure)
    figure.set_layout_engine("none")

    def picture(*values: Any) -> bytes:
        move(*values)
        return _png(figure)

    return _box(controls, picture)


def _png(figure: Figure) -> bytes:
    """The picture at DPI, packed for speed rather than size."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Picture.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = io.BytesIO()
    picture.save(content, "png", compress_level=1)
    return content.getvalue()


def _box(controls: Sequence[Any], picture: Callable[..., bytes]) -> Any:
    """Controls above the picture that is made of their values."""
    from ipywidgets import Image, VBox

    shown = Image(
        format="png", layout={"width": "720px", "max_width": "100%", "object_fit": "contain"}
    )

    def redraw(_: Any = None) -> None:
        shown.value = picture(*(control.value for control in controls))

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    return VBox([*controls, shown])
