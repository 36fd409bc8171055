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

from nasutils import plots, relax


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


def _explorer(slider: Any, draw: Callable[[Any], Figure]) -> Any:
    """A slider above the figure that `draw` makes of its value."""
    from ipywidgets import Image, VBox

    picture = Image(format="png", layout={"max_width": "100%", "object_fit": "contain"})

    def redraw(_: Any = None) -> None:
        figure, content = draw(slider.value), io.BytesIO()
        figure.savefig(content, format="png", dpi=110)
        plt.close(figure)
        picture.value = content.getvalue()

    slider.observe(redraw, "value")
    redraw()
    return VBox([slider, picture])
