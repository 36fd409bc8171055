"""Building blocks of supernets and finalnets.

* A supernet computes the plain weighted sum of operations, scheduled per node: one ReLU and one pooling for
  all edges that leave a node (`Node`), their convolutions stacked (`Fan`), the mixing weight as the scale of
  the batch norm, and one accumulation buffer per node (`mixed_sum`).
* A bias in front of a batch norm cancels. It is kept as a parameter (the field's supernets count it) and
  in the running mean, but gets no gradient: its true gradient is zero.
"""

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReLUConvBN(nn.Module):
    """ReLU, convolution k x k, batch norm. Input (batch, c_in, H, W), output (batch, c_out, H/stride, W/stride).

    The batch norm has parameters and the convolution no bias (final networks, stems and reductions).
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(F.relu(x)))


class ResidualReduction(nn.Module):
    """NAS-Bench-201's block between stages: two 3x3 ReLU-conv-BN, the first of stride 2, plus a pooled 1x1 shortcut."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first = ReLUConvBN(c_in, c_out, 3, stride=2)
        self.second = ReLUConvBN(c_out, c_out, 3)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shortcut(F.avg_pool2d(x, 2))


def avg_pool_3x3(x: Tensor) -> Tensor:
    """3x3 average of stride 1; pixels outside the image are not counted."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Node:
    """A node of a cell during one forward: its tensor, and what its outgoing edges share, computed once."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    @cached_property
    def activated(self) -> Tensor:
        return F.relu(self.x)

    @cached_property
    def pooled(self) -> Tensor:
        return avg_pool_3x3(self.x)


class Fan(nn.Module):
    """ReLU, k x k convolution and batch norm on all edges that leave one node, stacked along the output channels.

    The input is rectified already, the batch norm (without parameters) carries the mixing weight as its
    scale, and all edges run as one convolution where that is faster. Edge i owns output channels i*C to
    (i+1)*C of `conv` and `bn`.
    """

    STACK_LIMIT = 2**18
    """On a CPU, stacking pays while the node's tensor (numbers) and its stacked outputs stay in the cache."""

    def __init__(self, channels: int, edges: int, kernel: int) -> None:
        super().__init__()
        self.channels, self.edges = channels, edges
        self.conv = nn.Conv2d(channels, edges * channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(edges * channels, affine=False)

    def forward(self, activated: Tensor, scale: Tensor, wanted: list[bool]) -> list[Tensor]:
        """Outputs (batch, C, H, W) of the wanted edges; scale (edges * C,): the mixing weight of each channel."""
        small = activated.is_cuda or activated.numel() <= self.STACK_LIMIT
        if small and all(wanted):
            return list(self._run(activated, scale, slice(None)).split(self.channels, dim=1))
        slices = [slice(i * self.channels, (i + 1) * self.channels) for i in range(self.edges)]
        return [self._run(activated, scale, s) for s, w in zip(slices, wanted, strict=True) if w]

    def _run(self, activated: Tensor, scale: Tensor, part: slice) -> Tensor:
        conv, bn = self.conv, self.bn
        assert conv.bias is not None and bn.running_mean is not None and bn.running_var is not None
        y = F.conv2d(activated, conv.weight[part], conv.bias.detach()[part], padding=conv.padding)
        mean, var = bn.running_mean[part], bn.running_var[part]
        return F.batch_norm(y, mean, var, scale[part], None, bn.training, bn.momentum or 0.0, bn.eps)


class _MixedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, branches: int, *terms: Tensor) -> Tensor:
        ctx.branches = branches
        ctx.save_for_backward(weights, *terms[branches:])
        if branches > 1:
            out = terms[0] + terms[1]
        else:
            out = terms[0].clone() if branches else torch.zeros_like(terms[0])
        for term in terms[2:branches]:
            out.add_(term)
        for weight, term in zip(weights, terms[branches:], strict=True):
            out.addcmul_(term, weight)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        weights, *shared = ctx.saved_tensors
        to_weights = None
        if ctx.needs_input_grad[0]:
            flat = _pixels_first(g)
            to_weights = torch.stack([torch.dot(flat, _pixels_first(t)) for t in shared])
        return to_weights, None, *[g] * ctx.branches, *[g * w for w in weights]


def _pixels_first(x: Tensor) -> Tensor:
    """x as a vector, without a copy if it is laid out channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1)


def mixed_sum(branches: list[Tensor], shared: list[Tensor], weights: Tensor) -> Tensor:
    """sum(branches) + sum_k weights[k] * shared[k]: terms (batch, C, H, W), weights (K,); no product is kept."""
    if not shared:
        return sum(branches[1:], start=branches[0])
    return _MixedSum.apply(weights, len(branches), *branches, *shared)


def count_parameters(module: nn.Module) -> int:
    """Number of trainable weights of a network (architecture parameters are never among them)."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def channels_last(module: nn.Module) -> nn.Module:
    """The same module with its 4-d weights laid out channels last (two to eight times faster on a CPU)."""
    return module.to(memory_format=torch.channels_last)
