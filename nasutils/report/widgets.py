"""Things to play with in a live notebook; each repeats a static figure with a slider. Nothing is saved here.

A figure is drawn into an image widget: no output is captured, so the cells also run in batch.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from nasutils import spaces
from nasutils.measures import stopping
from nasutils.methods import relax
from nasutils.report import plots
from nasutils.spaces import nasbench201


def temperature_explorer(alpha: Tensor, upstream: Tensor, ops: Sequence[str]) -> Any:
    """A slider over log10 T: one edge's distribution, and its plain and sparse-noisy gradient.

    alpha, upstream = dL/dp: (operations,).
    """
    from ipywidgets import FloatSlider

    def draw(exponent: float) -> Figure:
        temperature = 10.0**exponent
        p = relax.softmax(alpha, temperature)
        plain = relax.softmax_gradient(p, upstream, temperature)
        noisy = plain + relax.softmax_gradient(relax.softmax(alpha, 1.0), upstream)
        figure, ((left, right),) = plots.panels(1, 2)
        left.bar(ops, p.numpy())
        left.set(ylabel="mixing weight", ylim=(0, 1), title=f"T = {temperature:.2e}")
        place = np.arange(len(ops))
        right.bar(place - 0.2, plain.numpy(), 0.4, label="plain")
        right.bar(place + 0.2, noisy.numpy(), 0.4, label="sparse-noisy", hatch="//")
        right.set_xticks(place, ops)
        right.set(ylabel="alpha gradient", title="gradient")
        right.legend()
        for ax in (left, right):
            ax.tick_params(axis="x", rotation=20)
        return figure

    return _explorer(FloatSlider(value=-3, min=-4.5, max=0.5, step=0.1, description="log10 T"), draw)


def trajectory_explorer(records: Sequence[dict[str, Any]], edges: Sequence[str], ops: Sequence[str]) -> Any:
    """A slider over epochs: the mixing weights of every edge of one search, and its current cell.

    records: of one NAS-Bench-201 search.
    """
    from ipywidgets import IntSlider

    def draw(epoch: int) -> Figure:
        record = records[epoch]
        figure, ax = plt.subplots(figsize=(plots.WIDTH * 0.8, 2.8))
        weights = torch.tensor(record["mix"]["cell"]).numpy()
        image = ax.imshow(weights, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        ax.set_xticks(range(len(ops)), ops, rotation=20)
        ax.set_yticks(range(len(edges)), edges)
        ax.set_title(f"epoch {epoch}, T = {record['temperature']:.2e}\n{record['genotype']}", fontsize="x-small")
        ax.set(ylabel="edge")
        ax.grid(False)
        figure.colorbar(image, label="mixing weight")
        return figure

    return _explorer(IntSlider(value=len(records) - 1, min=0, max=len(records) - 1, description="epoch"), draw)


def leakage_explorer(records: Sequence[dict[str, Any]], edges: Sequence[str], ops: Sequence[str]) -> Any:
    """Pick a probed epoch and an edge, cut an operation there (in bold), and see what that does to the loss.

    Beside it: the weights of the edge, and what cutting or keeping only each of its other operations would do.
    records: of one probed NAS-Bench-201 search.
    """
    from ipywidgets import Dropdown, SelectionSlider

    probes = {record["epoch"]: record for record in records if "leakage" in record}
    place = np.arange(len(ops))

    def draw(epoch: int, edge: int, operation: int) -> Figure:
        record = probes[epoch]
        loss, cut, only = (record["leakage"][what] for what in ("loss", "cut", "only"))
        cut, only = cut["cell"][edge], only["cell"][edge]
        figure, ((left, right),) = plots.panels(1, 2, 2.6)
        left.bar(place, record["mix"]["cell"][edge], color="C0")
        left.set(ylabel="mixing weight", ylim=(0, 1), title=f"epoch {epoch}, edge {edges[edge]}")
        right.bar(place - 0.2, cut, 0.4, label="cut", color="C1")
        right.bar(place + 0.2, only, 0.4, label="the only one kept", color="C2", hatch="//")
        right.set(ylabel="change of the loss (nats)", title=f"loss with all operations: {loss:.3f} nats")
        right.legend(fontsize="x-small", frameon=True)
        for ax in (left, right):
            ax.set_xticks(place, ops, rotation=20)
            ax.get_xticklabels()[operation].set_fontweight("bold")
        changes = (f"{loss + change:.3f} ({change:+.3f})" for change in (cut[operation], only[operation]))
        figure.suptitle(
            "without {}: loss {}; with nothing but it: {}".format(ops[operation], *changes), fontsize="small"
        )
        return figure

    strongest = int(np.argmax(probes[max(probes)]["mix"]["cell"][0]))
    return _explorer(
        SelectionSlider(options=list(probes), value=max(probes), description="epoch"),
        draw,
        Dropdown(options=[(name, i) for i, name in enumerate(edges)], value=0, description="edge"),
        Dropdown(options=[(name, i) for i, name in enumerate(ops)], value=strongest, description="cut"),
    )


def stopping_explorer(records: Sequence[dict[str, Any]], operation: str) -> Any:
    """A slider over epochs, a criterion and a designated operation: where the search is, and where it should stop.

    records: of one NAS-Bench-201 search. operation: designated at first.
    """
    from ipywidgets import Dropdown, IntSlider

    space = spaces.get("nasbench201")
    epochs = [record["epoch"] for record in records]
    s = stopping.magnitudes(stopping.alphas(records, space))
    accuracies = [nasbench201.query(record["genotype"]).test_accuracy["cifar10"] for record in records]

    def draw(position: int, criterion: str, operation: str) -> Figure:
        figure, ((left, right),) = plots.panels(1, 2, 2.8)
        for op, column in zip(space.ops, s.T, strict=True):
            lw = 2.4 if op == operation else 1.0
            left.plot(epochs, column, label=op, lw=lw, ms=3, markevery=max(len(epochs) // 8, 1), **plots.look(op))
        right.plot(epochs, accuracies, color="0.3")
        try:
            decision = stopping.stop(records, criterion, space=space, operation=operation)
            title = f"{criterion} takes epoch {decision.epoch}: {decision.reason}"
            right.plot(decision.epoch, accuracies[epochs.index(decision.epoch)], "v", color="C3", ms=9)
            left.axvline(decision.epoch, color="C3", ls="--")
        except ValueError as error:
            title = f"{criterion} cannot judge this search: {error}"
        for ax in (left, right):
            ax.axvline(epochs[position], color="0.2", lw=0.8)
            ax.set_xlabel("epoch")
        left.set_ylabel("operation magnitude S")
        left.legend(fontsize="x-small")
        right.set_ylabel("accuracy of the cell, CIFAR-10 (%)")
        cell = f"epoch {epochs[position]}: {accuracies[position]:.1f} %, {records[position]['genotype']}"
        figure.suptitle(f"{title}\n{cell}", fontsize="x-small")
        return figure

    slider = IntSlider(value=len(records) - 1, min=0, max=len(records) - 1, description="epoch")
    criteria = Dropdown(options=list(stopping.CRITERIA), description="criterion")
    return _explorer(slider, draw, criteria, Dropdown(options=space.ops, value=operation, description="operation"))


def ranking_explorer(conditions: Sequence[str], draw: Callable[[Sequence[str]], Figure]) -> Any:
    """A list of conditions of which several can be chosen: the ranking over these.

    draw: the figure for some of them. With none chosen, all are.
    """
    from ipywidgets import SelectMultiple

    shown = SelectMultiple(
        options=list(conditions), value=list(conditions), description="conditions", rows=min(len(conditions), 12)
    )
    return _explorer(shown, lambda chosen: draw(chosen or conditions))


def _explorer(slider: Any, draw: Callable[..., Figure], *more: Any) -> Any:
    """Controls (a slider, and more) above the figure that `draw` makes of their values."""
    from ipywidgets import Image, VBox

    controls = (slider, *more)
    picture = Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})

    def redraw(_: Any = None) -> None:
        figure, content = draw(*(control.value for control in controls)), io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
        plt.close(figure)
        picture.value = content.getvalue()

    for control in controls:
        control.observe(redraw, "value")
    redraw()
    return VBox([*controls, picture])
