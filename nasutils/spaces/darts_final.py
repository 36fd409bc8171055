"""Final networks of the DARTS spaces: their cells, and ImageNet's stem of three convolutions."""

import torch
from torch import Tensor, nn

from nasutils.spaces.base import SKIP
from nasutils.spaces.finalnets import StackedCells, dropped, final_operations
from nasutils.spaces.genotype import Cell
from nasutils.spaces.graph import edge_stride
from nasutils.spaces.ops import (
    CONVS,
    Convs,
    FactorizedConv,
    FactorizedReduction,
    PointwiseConv,
    RandomDraws,
    SeparableConv,
    conv_stem,
)
from nasutils.spaces.pools import POOLS
from nasutils.spaces.sharing import Node

FINAL_CONVS: Convs = {
    **CONVS,
    "sep_conv_7x7": (SeparableConv, 7),
    "conv_7x1_1x7": (FactorizedConv, 7),
}
"""Convolutions of the spaces, and of the hand-made cells."""


class FinalCell(nn.Module):
    """One cell of a genotype: two nodes -> the second of them, and the cell's output.

    That is (batch, len(cell.output) * C, H/stride, W/stride).
    """

    def __init__(
        self,
        cell: Cell,
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        halved: bool,
        random: RandomDraws,
    ) -> None:
        super().__init__()
        self.cell, self.random = cell, random
        self.cell_type = "reduce" if reduction else "normal"
        take = FactorizedReduction if halved else PointwiseConv
        self.enter0 = take(inputs[0], channels, affine=True)
        self.enter1 = PointwiseConv(inputs[1], channels, affine=True)
        self.ops = final_operations(cell, self.cell_type, channels, FINAL_CONVS)

    def forward(self, first: Node, second: Node, drop_path: float) -> tuple[Node, Node]:
        nodes = [Node(self.enter0(first)), Node(self.enter1(second))]
        for target in range(2, 2 + len(self.cell.nodes)):
            left = self._edge(target, 0, nodes, drop_path)
            right = self._edge(target, 1, nodes, drop_path)
            nodes.append(Node(left + right))
        outputs = [nodes[number].x for number in self.cell.output]
        return second, Node(torch.cat(outputs, dim=1))

    def _edge(self, target: int, i: int, nodes: list[Node], drop_path: float) -> Tensor:
        """What the i-th operation of a node makes of its source."""
        op, source = self.cell.nodes[target - 2][i]
        node = nodes[source]
        stride = edge_stride(self.cell_type, source)
        if op == SKIP and stride == 1:
            return node.x  # never dropped
        key = f"{target}_{i}"
        if key in self.ops:
            y = self.ops[key](node)
        elif op in POOLS:
            y = POOLS[op](node.x, stride)
        elif op == "noise":
            y = self.random.normal_like(node.x[:, :, ::stride, ::stride])
        else:
            y = torch.zeros_like(node.x[:, :, ::stride, ::stride])
        return dropped(y, drop_path, self.random) if self.training and drop_path > 0 else y


class FinalNet(StackedCells):
    """The network of a genotype; see `StackedCells`.
    A cell takes the outputs of the two cells before it.
    """

    classified = 1

    def stems(self, channels: int, imagenet: bool) -> tuple[nn.Module, nn.Module, tuple[int, int]]:
        if imagenet:
            stem0, stem1 = imagenet_stems(channels)
            return stem0, stem1, (channels, channels)
        width = 3 * channels
        return conv_stem(3, width), nn.Identity(), (width, width)

    def cell(
        self, cell: Cell, inputs: tuple[int, int], channels: int, reduction: bool, halved: bool
    ) -> tuple[nn.Module, tuple[int, int]]:
        module = FinalCell(cell, inputs, channels, reduction, halved, self.random)
        return module, (inputs[1], len(cell.output) * channels)

    def inputs(self, images: Tensor) -> tuple[Node, Node]:
        assert self.stem1 is not None
        first = self.stem0(images)
        return Node(first), Node(self.stem1(first))


def imagenet_stems(channels: int) -> tuple[nn.Module, nn.Module]:
    """The two stems for ImageNet, which go from 224 pixels to 56 and on to 28."""
    first = nn.Sequential(
        *conv_stem(3, channels // 2, stride=2),
        nn.ReLU(inplace=True),
        *conv_stem(channels // 2, channels, stride=2),
    )
    second = nn.Sequential(nn.ReLU(), *conv_stem(channels, channels, stride=2))
    return first, second
