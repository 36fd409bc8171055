"""From architecture parameters to mixing weights: pure functions of tensors, no state.

Shapes: alpha (edges, operations) of one cell type, and `Mix`, a dict of such tensors by cell type.
A softmax runs over the operations of an edge. Sources: the released code of PCD/EDD-DARTS
(chaoji90/PCDEDD) and SP-DARTS (chaoji90/SP-DARTS).
"""

from typing import Any

import torch
from torch import Tensor

from nasutils.spaces.base import Mix, Rule


def softmax(alpha: Tensor, temperature: float) -> Tensor:
    """p = softmax(alpha / T) over the last dimension;
    weights below the smallest normal number are exactly 0.

    alpha: (edges, operations). The zeros let a supernet skip the operation; they move p by less
    than 1e-37 in float32 (2e-308 in float64).

    Raises ValueError if the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    p = torch.softmax(alpha / temperature, dim=-1)
    return p * (p >= torch.finfo(p.dtype).tiny)


def softmax_at(temperature: float) -> Rule:
    """The rule scores -> softmax(scores / T), see `softmax`."""
    return lambda scores: softmax(scores, temperature)


def softmax_gradient(p: Tensor, g: Tensor, temperature: float = 1.0) -> Tensor:
    """dL/dalpha = p * (g - <p, g>) / T, what the softmax at T passes on of g = dL/dp.
    All (edges, operations).
    """
    return p * (g - (p * g).sum(dim=-1, keepdim=True)) / temperature


class _SparseNoisy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, temperature: float) -> Tensor:
        p = softmax(alpha, temperature)
        ctx.save_for_backward(p, torch.softmax(alpha, dim=-1))
        ctx.temperature = temperature
        return p

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        p, q = ctx.saved_tensors
        own = softmax_gradient(p, g, ctx.temperature)
        return own + softmax_gradient(q, g), None


def sparse_noisy_softmax(alpha: Tensor, temperature: float) -> Tensor:
    """Forward softmax(alpha / T); backward the sum of its own gradient and that of a softmax at T
    = 1.

    dL/dalpha = (1/T) p (g - <p, g>) + q (g - <q, g>) with q = softmax(alpha) and the same g =
    dL/dp. The first term vanishes when p saturates, the second does not. At T = 1 (to a relative
    1e-9) the second term is left out. alpha: (edges, operations). Source: chaoji90/PCDEDD,
    PCDEDD-DARTS/architect_cyc.py.

    dL/dp of an operation that is skipped is not known: run every operation in a step that uses
    this gradient.
    """
    if abs(temperature - 1) <= 1e-9:
        return softmax(alpha, temperature)
    return _SparseNoisy.apply(alpha, temperature)


def double_softmax(alpha: Tensor, temperature: float) -> Tensor:
    """softmax(softmax(alpha) / T): what the released S1-S4 code uses in the weight step.

    There alpha is overwritten by its softmax before the step, and the forward pass softmaxes it
    again: chaoji90/SP-DARTS, SmoothDARTS/sota/cnnmul/train_search.py, and chaoji90/PCDEDD,
    SmoothDARTS/sota/pcdedd.
    """
    return softmax(torch.softmax(alpha, dim=-1), temperature)


def one_hot(weights: Tensor) -> Tensor:
    """The discretized mixing weights: 1 for the largest operation of an edge
    (the first one of equals), else 0.
    """
    return torch.zeros_like(weights).scatter_(-1, weights.argmax(dim=-1, keepdim=True), 1.0)


def without(mix: Mix, negligible: float) -> Mix:
    """Mixing weights, of which those from 0 to `negligible` become exactly 0."""
    if not negligible:
        return mix
    return {name: p.masked_fill((p >= 0) & (p <= negligible), 0.0) for name, p in mix.items()}


def entropy(p: Tensor) -> Tensor:
    """Entropy in nats of each edge's distribution:
    p (edges, operations) -> (edges,); 0 ln 0 = 0.
    """
    return torch.special.entr(p).sum(dim=-1)


class _Dirichlet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, c: Tensor, generator: torch.Generator) -> Tensor:
        x = torch._sample_dirichlet(c.detach().to(generator.device), generator).to(c)
        ctx.save_for_backward(x, c)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x, c = ctx.saved_tensors
        total = c.sum(dim=-1, keepdim=True).expand_as(c)
        moved = torch._dirichlet_grad(x, c, total)
        return moved * (g - (x * g).sum(dim=-1, keepdim=True)), None


def dirichlet(concentration: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from Dirichlet(c) for each edge, with its pathwise gradient;
    c (edges, operations) > 0 -> the same shape.

    As c_j moves, x_j keeps its quantile in its own (beta) distribution and the others share the
    rest in proportion:

        dL/dc_j = dx_j/dc_j * (g_j - sum_i x_i g_i) / (1 - x_j)

    That is `torch.distributions.Dirichlet.rsample`, drawn from a generator of the caller's (its
    gradient is an approximation with a relative error of up to 1e-3 or so).
    """
    return _Dirichlet.apply(concentration, generator)
