"""Why a supernet is fast: it computes the plain weighted sum of its operations,
but what can be shared only once.

* `Node`: all edges that leave a node share its ReLU and its pools.
* `Fan`: the convolutions of those edges run as one, stacked along the output channels.
* `normed`: the mixing weight is the scale of the batch norm, so no product of weight and output is
  computed.
* `mixed_sum`: what has no batch norm is added with its weights in one step, and no product is kept
  for the gradient.
* `thinned`: a gradient of every second pixel has the layout of the image.
* `Node.lattice`: a depthwise convolution of dilation 2 is an ordinary one on the four sub-lattices
  of its input, of stride 2 and dilation 2 an ordinary one on the even pixels: equal, and several
  times faster on a CPU.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.spaces.pools import avg_pool_3x3


class Node:
    """A node of a cell during one forward: its tensor, and what its outgoing edges share,
    computed once.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x

    @cached_property
    def activated(self) -> Tensor:
        return F.relu(self.x)

    @cached_property
    def pooled(self) -> Tensor:
        return avg_pool_3x3(self.x)

    @cached_property
    def even(self) -> Tensor:
        """The rectified pixels of even row and column."""
        return thinned(self.activated, 0)

    @property
    def has_lattice(self) -> bool:
        _, _, height, width = self.x.shape
        return height % 2 == 0 and width % 2 == 0

    @cached_property
    def lattice(self) -> Tensor:
        """The rectified tensor as its four sub-lattices: (4 * batch, C, H/2, W/2);
        H and W even.
        """
        batch, channels, height, width = self.x.shape
        parts = self.activated.reshape(batch, channels, height // 2, 2, width // 2, 2)
        # The two parities go before the batch. Channels are laid out last on the way, as
        # convolutions want them.
        joined = parts.permute(3, 5, 0, 2, 4, 1).reshape(
            4 * batch, height // 2, width // 2, channels
        )
        return joined.permute(0, 3, 1, 2)


def thinned(x: Tensor, first: int) -> Tensor:
    """x[:, :, first::2, first::2], whose gradient is laid out as x is.

    That of indexing is contiguous, which made the backward of the ReLU before it four times slower
    on tensors that are laid out channels last; the numbers are the same.
    """
    return _Thinned.apply(x, first)


class _Thinned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, first: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.first = first
        return x[:, :, first::2, first::2]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        spread = torch.zeros_like(x)
        spread[:, :, ctx.first :: 2, ctx.first :: 2] = g
        return spread, None


class PartialNode(Node):
    """The operations see the first channels of a node; `rest` goes around them (PC-DARTS)."""

    def __init__(self, x: Tensor, channels: int) -> None:
        super().__init__(x[:, :channels].contiguous(memory_format=torch.channels_last))
        self.rest = x[:, channels:]


def from_lattice(x: Tensor) -> Tensor:
    """The inverse of `Node.lattice`: (4 * batch, C, H/2, W/2) -> (batch, C, H, W)."""
    parts, channels, height, width = x.shape
    batch = parts // 4
    split = x.permute(0, 2, 3, 1).reshape(2, 2, batch, height, width, channels)
    joined = split.permute(2, 3, 0, 4, 1, 5).reshape(batch, 2 * height, 2 * width, channels)
    return joined.permute(0, 3, 1, 2)


class Fan(nn.Module):
    """ReLU, k x k convolution and batch norm on all edges that leave one node,
    stacked along the output channels.

    The input is rectified already, the batch norm (without parameters) carries the mixing weight
    as its scale, and all edges run as one convolution where that is faster. Edge i owns output
    channels i*C to (i+1)*C of `conv` and `bn`.
    """

    STACK_LIMIT = 2**18
    """Numbers in a node's tensor up to which stacking pays on a CPU:
    as long as it and its stacked outputs stay in the cache.
    """

    def __init__(self, channels: int, edges: int, kernel: int) -> None:
        super().__init__()
        self.channels, self.edges = channels, edges
        self.conv = nn.Conv2d(channels, edges * channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(edges * channels, affine=False)

    def forward(self, activated: Tensor, scale: Tensor, wanted: list[bool]) -> list[Tensor]:
        """Outputs (batch, C, H, W) of the wanted edges;
        scale (edges * C,): the mixing weight of each channel.
        """
        small = activated.is_cuda or activated.numel() <= self.STACK_LIMIT
        if small and all(wanted):
            return list(self._run(activated, scale, slice(None)).split(self.channels, dim=1))
        outputs = []
        for i in range(self.edges):
            if wanted[i]:
                own = slice(i * self.channels, (i + 1) * self.channels)
                outputs.append(self._run(activated, scale, own))
        return outputs

    def _run(self, activated: Tensor, scale: Tensor, part: slice) -> Tensor:
        """The convolution and batch norm of some output channels."""
        conv, bn = self.conv, self.bn
        assert conv.bias is not None and bn.running_mean is not None and bn.running_var is not None
        # A bias in front of a batch norm cancels, so its gradient is zero and none is computed. It
        # stays a parameter, since the field's supernets count it, and it moves the running mean.
        bias = conv.bias.detach()[part]
        y = F.conv2d(activated, conv.weight[part], bias, padding=conv.padding)
        return F.batch_norm(
            y,
            running_mean=bn.running_mean[part],
            running_var=bn.running_var[part],
            weight=scale[part],
            training=bn.training,
            momentum=bn.momentum or 0.0,
            eps=bn.eps,
        )


def normed(bn: nn.BatchNorm2d, y: Tensor, scale: Tensor | None = None) -> Tensor:
    """bn(y); scale (C,), if given, is the weight of a batch norm without parameters."""
    if scale is None:
        return bn(y)
    return F.batch_norm(
        y,
        bn.running_mean,
        bn.running_var,
        weight=scale,
        training=bn.training,
        momentum=bn.momentum or 0.0,
        eps=bn.eps,
    )


def mixed_sum(branches: list[Tensor], shared: list[Tensor], weights: Tensor) -> Tensor:
    """sum(branches) + sum_k weights[k] * shared[k]: terms (batch, C, H, W), weights (K,);
    no product is kept.
    """
    if not shared:
        return added(branches)
    return _MixedSum.apply(weights, len(branches), *branches, *shared)


def added(terms: Sequence[Tensor]) -> Tensor:
    """The sum of at least one term, without the 0 that `sum` starts from: one addition less."""
    return sum(terms[1:], start=terms[0])


class _MixedSum(torch.autograd.Function):
    """`mixed_sum` with its gradient by hand: the products with the weights are never stored."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, branches: int, *terms: Tensor) -> Tensor:
        ctx.branches = branches
        plain, weighted = terms[:branches], terms[branches:]
        # The terms are needed again only for the gradient in the weights.
        ctx.save_for_backward(weights, *(weighted if ctx.needs_input_grad[0] else ()))
        if branches > 1:
            out = plain[0] + plain[1]
        elif branches == 1:
            out = plain[0].clone()
        else:
            out = torch.zeros_like(weighted[0])
        for term in plain[2:]:
            out.add_(term)
        for weight, term in zip(weights, weighted, strict=True):
            out.addcmul_(term, weight)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        weights, *weighted = ctx.saved_tensors
        to_weights = None
        if ctx.needs_input_grad[0]:
            flat = _pixels_first(g)
            to_weights = torch.stack([torch.dot(flat, _pixels_first(term)) for term in weighted])
        needed = ctx.needs_input_grad[2 + ctx.branches :]  # a constant (GDAS) needs none
        products = [g * w if need else None for w, need in zip(weights, needed, strict=True)]
        return to_weights, None, *[g] * ctx.branches, *products


def _pixels_first(x: Tensor) -> Tensor:
    """x as a vector, without a copy if it is laid out channels last."""
    return x.permute(0, 2, 3, 1).reshape(-1)


def pick(x: Tensor, positions: Sequence[int]) -> Tensor:
    """x[positions], along the first dimension."""
    return x.index_select(0, _on_device(tuple(positions), x.device))


@cache
def _on_device(positions: tuple[int, ...], device: torch.device) -> Tensor:
    # Cached, because a CUDA graph cannot copy an index to the device while it is recorded.
    return torch.tensor(positions, dtype=torch.long, device=device)


def channels_last(module: nn.Module) -> nn.Module:
    """Return a module, its 4-d weights laid out channels last
    (two to eight times faster on a CPU).
    """
    return module.to(memory_format=torch.channels_last)
