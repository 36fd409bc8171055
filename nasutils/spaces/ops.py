"""The candidate operations: convolutions and skips of stride 2, as modules, and the noise of S4.

Pools are functions (`pools`), a skip of stride 1 is the identity and needs no module. Operations
on a `Node` take what their edges share from it (`sharing`).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.spaces.sharing import Node, from_lattice, normed, thinned


class ReLUConvBN(nn.Module):
    """ReLU, convolution k x k, batch norm.

    (batch, c_in, H, W) -> (batch, c_out, H/stride, W/stride). The batch norm has parameters and
    the convolution no bias (final networks, stems and reductions).
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(F.relu(x)))


class ResidualReduction(nn.Module):
    """NAS-Bench-201's block between stages: two 3x3 ReLU-conv-BN, the first of stride 2,
    plus a pooled 1x1 shortcut.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first = ReLUConvBN(c_in, c_out, 3, stride=2)
        self.second = ReLUConvBN(c_out, c_out, 3)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shortcut(F.avg_pool2d(x, 2))


def _depthwise(channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)


def _pointwise(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1, bias=False)


class SeparableConv(nn.Module):
    """Twice ReLU, depthwise k x k, 1x1, batch norm; the first depthwise of the given stride.

    As all operations on a `Node`: (batch, C, H, W) -> (batch, C, H/stride, W/stride); affine:
    whether the batch norms have parameters (final networks). scale (C,): the mixing weight of each
    channel, in supernets.
    """

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        self.depthwise1 = _depthwise(channels, kernel, stride)
        self.pointwise1 = _pointwise(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels, affine=affine)
        self.depthwise2 = _depthwise(channels, kernel)
        self.pointwise2 = _pointwise(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        y = self.pointwise1(self.depthwise1(node.activated))
        y = F.relu_(self.bn1(y))
        y = self.pointwise2(self.depthwise2(y))
        return normed(self.bn2, y, scale)


class _DilatedDepthwise(nn.Conv2d):
    """A depthwise convolution of dilation 2,
    also on an input that was thinned to every second pixel already.
    """

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(
            channels, channels, kernel, stride, kernel - 1, 2, groups=channels, bias=False
        )

    def forward(self, x: Tensor, thinned: bool = False) -> Tensor:
        if not thinned:
            return super().forward(x)
        return F.conv2d(x, self.weight, padding=self.kernel_size[0] // 2, groups=self.groups)


class DilatedConv(nn.Module):
    """ReLU, depthwise k x k of dilation 2, 1x1 (unless thin), batch norm;
    see `SeparableConv` and `sharing`.
    """

    def __init__(
        self, channels: int, kernel: int, stride: int, affine: bool, thin: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = _DilatedDepthwise(channels, kernel, stride)
        self.pointwise = nn.Identity() if thin else _pointwise(channels, channels)
        self.bn = nn.BatchNorm2d(channels, affine=affine)
        self.strided = stride == 2

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        if not self.strided and node.has_lattice:
            return from_lattice(self.on_lattice(node, scale))
        if self.strided:
            y = self.depthwise(node.even, thinned=True)
        else:
            y = self.depthwise(node.activated)
        return normed(self.bn, self.pointwise(y), scale)

    def on_lattice(self, node: Node, scale: Tensor | None = None) -> Tensor:
        """The operation of stride 1 computed on the sub-lattices:
        (4 * batch, C, H/2, W/2), see `from_lattice`.
        """
        y = self.depthwise(node.lattice, thinned=True)
        return normed(self.bn, self.pointwise(y), scale)


class ThinSeparableConv(nn.Module):
    """ReLU, depthwise k x k, batch norm: `SeparableConv` without its 1x1 and its second pass
    (LHD).
    """

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


class FactorizedConv(nn.Module):
    """ReLU, 1 x k, k x 1, batch norm: an operation of NASNet's and AmoebaNet's cells,
    in no search space here.
    """

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool) -> None:
        super().__init__()
        pad = kernel // 2
        self.row = nn.Conv2d(channels, channels, (1, kernel), (1, stride), (0, pad), bias=False)
        self.column = nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), (pad, 0), bias=False)
        self.bn = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        y = self.column(self.row(node.activated))
        return normed(self.bn, y, scale)


class FactorizedReduction(nn.Module):
    """The skip of stride 2: ReLU, two 1x1 convolutions of stride 2, one shifted by a pixel,
    joined, batch norm.

    (batch, c_in, H, W) -> (batch, c_out, H/2, W/2); H and W even, c_out even.
    """

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.even = _pointwise(c_in, c_out // 2)
        self.odd = _pointwise(c_in, c_out - c_out // 2)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, node: Node, scale: Tensor | None = None) -> Tensor:
        odd = thinned(node.activated, 1)
        halves = [self.even(node.even), self.odd(odd)]
        return normed(self.bn, torch.cat(halves, dim=1), scale)


class PointwiseConv(nn.Module):
    """ReLU, 1x1 convolution, batch norm: how a cell takes in what another one put out."""

    def __init__(self, c_in: int, c_out: int, affine: bool) -> None:
        super().__init__()
        self.conv = _pointwise(c_in, c_out)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, node: Node) -> Tensor:
        return self.bn(self.conv(node.activated))


Convs = Mapping[str, tuple[type[nn.Module], int]]
"""Name of a convolution -> its module, made of (channels, kernel, stride, affine),
and its kernel.
"""

CONVS: Convs = {
    "sep_conv_3x3": (SeparableConv, 3),
    "sep_conv_5x5": (SeparableConv, 5),
    "dil_conv_3x3": (DilatedConv, 3),
    "dil_conv_5x5": (DilatedConv, 5),
}
THIN_CONVS: Convs = {
    "sep_conv_3x3": (ThinSeparableConv, 3),
    "sep_conv_5x5": (ThinSeparableConv, 5),
    "dil_conv_3x3": (ThinDilatedConv, 3),
    "dil_conv_5x5": (ThinDilatedConv, 5),
}
SKIPS = ("skip_connect", "auxiliary_skip", "inner_skip")
"""Skip connections; of stride 1 they are the identity."""


def make_operation(
    name: str, channels: int, stride: int, affine: bool, convs: Convs = CONVS
) -> nn.Module | None:
    """The module of an operation that has weights; None for the others."""
    if name in convs:
        kind, kernel = convs[name]
        return kind(channels, kernel, stride, affine)
    if name in SKIPS and stride == 2:
        return FactorizedReduction(channels, channels, affine)
    return None


def conv_stem(c_in: int, c_out: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and a batch norm, the stem of all networks for CIFAR-size images."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(c_out)
    )


class RandomDraws(nn.Module):
    """Random draws of a network (noise, dropped paths) from a generator whose state is part of its
    state dict.

    Seeded from torch's global generator when it is made. On another GPU the sequence goes on, on
    another kind of device it starts anew.
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
        if self.generator.device != device:
            here = torch.Generator(device).manual_seed(self.seed)
            if self.generator.device.type == device.type:  # another GPU
                here.set_state(self.generator.get_state())
            self.generator = here
        return self.generator

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "device": self.generator.device.type,
            "state": self.generator.get_state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seed = state["seed"]
        if state["device"] != "cpu" and not torch.cuda.is_available():
            self.generator = torch.Generator().manual_seed(self.seed)  # starts anew
            return
        self.generator = torch.Generator(state["device"]).manual_seed(self.seed)
        self.generator.set_state(state["state"])

    def __getstate__(self) -> dict[str, Any]:
        # A generator cannot be copied, its state can.
        return {**super().__getstate__(), "generator": self.get_extra_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.set_extra_state(state["generator"])
