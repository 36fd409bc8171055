"""Building blocks of supernets and finalnets.

* A supernet computes the plain weighted sum of operations, scheduled per node: one ReLU and one pooling for
  all edges that leave a node (`Node`), their convolutions stacked (`Fan`), the mixing weight as the scale of
  the batch norm, and one accumulation buffer per node (`mixed_sum`).
* A depthwise convolution of dilation 2 is an ordinary one on the four sub-lattices of its input, of stride 2 and
  dilation 2 an ordinary one on the even pixels: equal, and several times faster on a CPU (`Node.lattice`).
* A bias in front of a batch norm cancels. It is kept as a parameter (the field's supernets count it) and
  in the running mean, but gets no gradient: its true gradient is zero.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


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


def avg_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """3x3 average; pixels outside the image are not counted.

    On a GPU without PyTorch's gradient, which is wrong there for channels last and a padding (issue 188344; seen with
    2.11): as a sum of which every second number is taken if the stride is 2.
    """
    if not x.is_cuda:
        return F.avg_pool2d(x, 3, stride=stride, padding=1, count_include_pad=False)
    return _summed_average(x, stride)


def _summed_average(x: Tensor, stride: int) -> Tensor:
    counted = _pixels_inside(x.shape[2], x.shape[3], x.dtype, x.device)
    return _Sum3x3.apply(x)[:, :, ::stride, ::stride] / counted[:, ::stride, ::stride]


class _Sum3x3(torch.autograd.Function):
    """The sum of each 3x3 window of stride 1: its own transpose, so its gradient needs no other kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, divisor_override=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _Sum3x3.apply(g)


@cache
def _pixels_inside(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """How many pixels of the image each 3x3 window has, (1, H, W). Made once: not while a CUDA graph is recorded."""
    return F.avg_pool2d(torch.ones(1, height, width, dtype=dtype, device=device), 3, 1, 1, divisor_override=1)


def max_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """3x3 maximum; pixels outside the image are not counted."""
    return F.max_pool2d(x, 3, stride=stride, padding=1)


POOLS: Mapping[str, Callable[[Tensor, int], Tensor]] = {"max_pool_3x3": max_pool_3x3, "avg_pool_3x3": avg_pool_3x3}


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

    @cached_property
    def even(self) -> Tensor:
        """The rectified pixels of even row and column."""
        return self.activated[:, :, ::2, ::2]

    @property
    def has_lattice(self) -> bool:
        return self.x.shape[2] % 2 == 0 == self.x.shape[3] % 2

    @cached_property
    def lattice(self) -> Tensor:
        """The rectified tensor as its four sub-lattices: (4 * batch, C, H/2, W/2); H and W even."""
        batch, channels, height, width = self.x.shape
        parts = self.activated.reshape(batch, channels, height // 2, 2, width // 2, 2)
        joined = parts.permute(3, 5, 0, 2, 4, 1).reshape(4 * batch, height // 2, width // 2, channels)
        return joined.permute(0, 3, 1, 2)


class PartialNode(Node):
    """The operations see the first channels of a node; `rest` goes around them (PC-DARTS)."""

    def __init__(self, x: Tensor, channels: int) -> None:
        super().__init__(x[:, :channels].contiguous(memory_format=torch.channels_last))
        self.rest = x[:, channels:]


def from_lattice(x: Tensor) -> Tensor:
    """The inverse of `Node.lattice`: (4 * batch, C, H/2, W/2) -> (batch, C, H, W)."""
    parts, channels, height, width = x.shape
    split = x.permute(0, 2, 3, 1).reshape(2, 2, parts // 4, height, width, channels)
    return split.permute(2, 3, 0, 4, 1, 5).reshape(parts // 4, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


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


def normed(bn: nn.BatchNorm2d, y: Tensor, scale: Tensor | None = None) -> Tensor:
    """bn(y); scale (C,), if given, is the weight of a batch norm without parameters."""
    if scale is None:
        return bn(y)
    return F.batch_norm(y, bn.running_mean, bn.running_var, scale, None, bn.training, bn.momentum or 0.0, bn.eps)


def _depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)


def _pointwise(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1, stride, bias=False)


class SeparableConv(nn.Module):
    """Twice ReLU, depthwise k x k, 1x1, batch norm; the first depthwise of the given stride.

    As all operations on a `Node`: (batch, C, H, W) -> (batch, C, H/stride, W/stride); affine: whether the batch
    norms have parameters (final networks). scale (C,): the mixing weight of each channel, in supernets.
    """

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.depthwise1, self.pointwise1 = _depthwise(channels, kernel, stride), _pointwise(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels, affine=affine)
        self.depthwise2, self.pointwise2 = _depthwise(channels, kernel), _pointwise(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        y = self.bn1(self.pointwise1(self.depthwise1(node.activated)))
        return normed(self.bn2, self.pointwise2(self.depthwise2(F.relu_(y))), scale)


class _DilatedDepthwise(nn.Conv2d):
    """A depthwise convolution of dilation 2, also on an input that was thinned to every second pixel already."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(channels, channels, kernel, stride, kernel - 1, 2, groups=channels, bias=False)

    def forward(self, x: Tensor, thinned: bool = False) -> Tensor:
        if not thinned:
            return super().forward(x)
        return F.conv2d(x, self.weight, padding=self.kernel_size[0] // 2, groups=self.groups)


class DilatedConv(nn.Module):
    """ReLU, depthwise k x k of dilation 2, 1x1 (unless thin), batch norm; see `SeparableConv` and the module's text."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool, thin: bool = False) -> None:
        super().__init__()
        self.depthwise = _DilatedDepthwise(channels, kernel, stride)
        self.pointwise = nn.Identity() if thin else _pointwise(channels, channels)
        self.bn = nn.BatchNorm2d(channels, affine=affine)
        self.strided = stride == 2

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        if not self.strided and node.has_lattice:
            return from_lattice(self.on_lattice(node, scale))
        y = self.depthwise(node.even, thinned=True) if self.strided else self.depthwise(node.activated)
        return normed(self.bn, self.pointwise(y), scale)

    def on_lattice(self, node: Node, scale: Tensor | None = None) -> Tensor:
        """The same on the sub-lattices, of stride 1: (4 * batch, C, H/2, W/2), see `from_lattice`."""
        return normed(self.bn, self.pointwise(self.depthwise(node.lattice, thinned=True)), scale)


class FactorizedConv(nn.Module):
    """ReLU, 1x7, 7x1, batch norm: an operation of NASNet's and AmoebaNet's cells, in no search space here."""

    def __init__(self, channels: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.row = nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False)
        self.column = nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False)
        self.bn = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        return normed(self.bn, self.column(self.row(node.activated)), scale)


class FactorizedReduction(nn.Module):
    """The skip of stride 2: ReLU, two 1x1 convolutions of stride 2, one shifted by a pixel, joined, batch norm.

    (batch, c_in, H, W) -> (batch, c_out, H/2, W/2); H and W even, c_out even.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.even, self.odd = _pointwise(c_in, c_out // 2), _pointwise(c_in, c_out - c_out // 2)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        joined = torch.cat([self.even(node.even), self.odd(node.activated[:, :, 1::2, 1::2])], dim=1)
        return normed(self.bn, joined, scale)


class PointwiseConv(nn.Module):
    """ReLU, 1x1 convolution, batch norm: how a cell takes in what another one put out."""

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.conv = _pointwise(c_in, c_out)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, node: Node) -> Tensor:
        return self.bn(self.conv(node.activated))


class Random(nn.Module):
    """Random draws of a network (noise, dropped paths) from a generator whose state is part of its state dict.

    Seeded from torch's global generator when it is made. On another device the sequence starts anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = int(torch.randint(2**62, (), device="cpu"))
        self.generator = torch.Generator().manual_seed(self.seed)

    def normal_like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x, requires_grad=False).normal_(generator=self._on(x.device))

    def kept(self, x: Tensor, probability: float) -> Tensor:
        """Per image 1 with the given probability, else 0: (batch, 1, 1, 1)."""
        draws = torch.empty((len(x), 1, 1, 1), dtype=x.dtype, device=x.device)
        return draws.bernoulli_(probability, generator=self._on(x.device))

    def _on(self, device: torch.device) -> torch.Generator:
        if self.generator.device.type != device.type:
            self.generator = torch.Generator(device).manual_seed(self.seed)
        return self.generator

    def get_extra_state(self) -> dict[str, Any]:
        return {"seed": self.seed, "device": self.generator.device.type, "state": self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]
        self.generator = torch.Generator(state["device"]).manual_seed(self.seed)
        self.generator.set_state(state["state"])

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "generator": self.get_extra_state()}  # a generator cannot be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.set_extra_state(state["generator"])


class _MixedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, branches: int, *terms: Tensor) -> Tensor:
        ctx.branches = branches
        wanted = terms[branches:] if ctx.needs_input_grad[0] else ()
        ctx.save_for_backward(weights, *wanted)
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


def pick(x: Tensor, positions: Sequence[int]) -> Tensor:
    """x[positions], along the first dimension. The index goes to a device once: a CUDA graph cannot copy it there."""
    return x.index_select(0, _on_device(tuple(positions), x.device))


@cache
def _on_device(positions: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(positions, dtype=torch.long, device=device)


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


class _Counting(TorchFunctionMode):
    """Counts multiply-adds of convolutions and linear maps, whether a module or a function calls them."""

    total = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if function in (F.conv2d, F.linear):
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            self.total += out.numel() * (args[1][0].numel() + (bias is not None))
        return out


@torch.no_grad()
def multiply_adds(net: nn.Module, resolution: int) -> int:
    """Multiply-adds of `net(images)` for one image of resolution x resolution pixels, in evaluation mode.

    Those of convolutions and linear maps, with one add per output for a bias; batch norms, pools and sums
    count nothing. The network is left as it was.
    """
    weight, training = next(net.parameters()), net.training
    with _Counting() as counting:
        net.eval()(torch.zeros(1, 3, resolution, resolution, dtype=weight.dtype, device=weight.device))
    net.train(training)
    return counting.total


class ThinSeparableConv(nn.Module):
    """ReLU, depthwise k x k, batch norm: `SeparableConv` without its 1x1 and its second pass (LHD)."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.depthwise = _depthwise(channels, kernel, stride)
        self.bn = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        return normed(self.bn, self.depthwise(node.activated), scale)


class ThinDilatedConv(DilatedConv):
    """ReLU, depthwise k x k of dilation 2, batch norm: `DilatedConv` without its 1x1 (LHD)."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__(channels, kernel, stride, affine, thin=True)
