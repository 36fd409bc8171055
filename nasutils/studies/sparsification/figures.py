"""Figures and tables of `notebooks/sparsification.ipynb` alone:
functions of results that return figure and table.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.ticker import ScalarFormatter
from torch import Tensor

from nasutils.measures.tables import RANDOM_CELL
from nasutils.methods import relax, schedules
from nasutils.report import plots
from nasutils.spaces.nasbench201_table import DATASETS
from nasutils.studies.figures import Drawn, covered, every_search, lowest, present
from nasutils.studies.sparsification.results import Results
from nasutils.studies.sparsification.variants import VARIANTS


def toy_edge(scale: float = 1e-3) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha ~ N(0, scale^2) and dL/dp ~ N(0, 1) of a cell, (6, 5) each, in float64."""
    generator = torch.Generator().manual_seed(0)
    alpha, upstream = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    return scale * alpha, upstream


def gradients() -> Drawn:
    """Size and direction of the alpha gradient against T,
    at the scale alpha starts with and a later one.
    """
    temperatures = np.logspace(0.5, -4.3, 97)
    scales = {"at the start (alpha ~ 0.001)": 1e-3, "later (alpha ~ 0.03)": 3e-2}
    figure, axes = plots.panels(2, 2, 2.0, sharex=True, sharey="row")
    parts = []
    for (upper, lower), (when, scale) in zip(axes.T, scales.items(), strict=True):
        alpha, upstream = toy_edge(scale)
        table = gradient_profile(alpha, upstream, temperatures.tolist())
        by_softmax = table.groupby("softmax", sort=False)
        for (name, rows), style in zip(by_softmax, ("-", "--"), strict=True):
            above_0 = rows[rows["norm"] > 0]  # what a logarithm has
            upper.loglog(above_0["temperature"], above_0["norm"], style, label=name)
            lower.semilogx(rows["temperature"], rows["cosine"], style)
        upper.set_title(when)
        lower.set_xlabel("temperature T (smaller to the right)")
        parts.append(table.assign(alpha=when))
    axes[0, 0].set(ylabel="gradient norm", ylim=(1e-4, None))
    axes[1, 0].set(ylabel="cosine to the\ngradient at T = 1")
    axes[0, 0].invert_xaxis()
    axes[0, 0].legend(title="softmax")
    plots.note(figure, "a cell with random gradients of the loss in the weights")
    return figure, pd.concat(parts)


def gradient_profile(
    alpha: Tensor, upstream: Tensor, temperatures: Sequence[float]
) -> pd.DataFrame:
    """Size and direction of the alpha gradient against temperature,
    for the plain and the sparse-noisy softmax.

    alpha, upstream = dL/dp: (edges, operations). Columns: temperature, softmax (plain,
    sparse-noisy), norm (Euclidean, of all edges), cosine (to the gradient at T = 1), entropy (nats
    per edge).
    """
    reference = relax.softmax_gradient(relax.softmax(alpha, 1.0), upstream)
    rows = []
    for temperature in temperatures:
        p = relax.softmax(alpha, temperature)
        plain = relax.softmax_gradient(p, upstream, temperature)
        for name, gradient in (("plain", plain), ("sparse-noisy", plain + reference)):
            norm = gradient.norm().item()
            cosine = F.cosine_similarity(gradient.flatten(), reference.flatten(), dim=0).item()
            rows.append(
                {
                    "temperature": temperature,
                    "softmax": name,
                    "norm": norm,
                    "cosine": cosine if norm > 0 else math.nan,
                    "entropy": relax.entropy(p).mean().item(),
                }
            )
    return pd.DataFrame(rows)


def temperatures(epochs: int) -> Drawn:
    """Temperature per epoch of every schedule, and exp(mu / T),
    what it does to a typical positive alpha.
    """
    table = pd.DataFrame({"epoch": range(epochs)})
    table["linear"] = [schedules.linear_temperature(e, 5) for e in range(epochs)]
    table["PCD"] = [schedules.pcd_temperature(e, 0.11, 5) for e in range(epochs)]
    table["EDD, open loop"] = _edd_open_loop(epochs)
    figure, ((left, right),) = plots.panels(1, 2)
    for label, curve in table.drop(columns="epoch").items():
        style = plots.look(str(label)) | {"marker": ""}
        left.semilogy(table["epoch"], curve, label=label, **style)
        right.semilogy(table["epoch"], np.exp(schedules.MU / curve), **style)
    left.set(xlabel="epoch", ylabel="temperature T")
    right.set(xlabel="epoch", ylabel="exp(mu / T)")
    right.yaxis.set_major_formatter(ScalarFormatter())
    right.set_yticks([1, 2, 5, 10])
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure, table


def _edd_open_loop(epochs: int) -> list[float]:
    """The temperature by EDD's rule while the weights stay uniform: ln 5 on each of six edges."""
    state = schedules.EDD()
    temperatures = []
    for epoch in range(epochs):
        if schedules.edd_due(epoch, 10):
            state = schedules.edd_update(state, epoch, 6 * np.log(5), 0.04)
        temperatures.append(state.temperature)
    return temperatures


def final_cells(results: Results) -> Drawn:
    """Every search's last cell on CIFAR-10: a point per seed, median and interval per method."""
    labels = present(results, VARIANTS)
    figure, ax = plots.panel(3.0)
    every_search(ax, results.last, labels, "cifar10")
    ax.axvline(RANDOM_CELL, color="0.25", ls="-.", lw=0.9)
    beside: Any = {"ha": "right", "va": "center", "fontsize": "small", "color": "0.3"}
    ax.text(RANDOM_CELL, -0.75, "mean of all cells ", **beside)
    # Over the first row: room for that text.
    ax.set(xlabel="CIFAR-10 test accuracy of the last cell (%)", ylim=(len(labels) - 0.4, -1.1))
    plots.stretch(ax, "x", lowest(results.last["cifar10"]))
    plots.note(figure, f"marks: searches; bars: median and its interval ({covered(results)})")
    return figure, results.last[["method", "seed", "genotype", *DATASETS]]
