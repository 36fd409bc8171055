"""Final networks of DARTS's lineage: for CIFAR-size images or with ImageNet's stem, auxiliary head, dropped paths."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.errors import choose, whole
from nasutils.spaces.base import check_cells, check_channels
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.ops import (
    POOLS,
    DilatedConv,
    FactorizedConv,
    FactorizedReduction,
    Node,
    PointwiseConv,
    Random,
    SeparableConv,
    channels_last,
)

STEMS = ("cifar", "imagenet")


def make_operation(name: str, channels: int, stride: int) -> nn.Module | None:
    """The module of an operation that has weights, None for the others."""
    kind, *size = name.split("_conv_")
    if kind in ("sep", "dil"):
        return (SeparableConv if kind == "sep" else DilatedConv)(channels, int(size[0][0]), stride, affine=True)
    if name == "conv_7x1_1x7":
        return FactorizedConv(channels, stride, affine=True)
    if name == "skip_connect" and stride == 2:
        return FactorizedReduction(channels, channels, affine=True)
    return None


class FinalCell(nn.Module):
    """One cell of a genotype: two nodes -> (batch, len(output) * C, H/stride, W/stride)."""

    def __init__(
        self, cell: Cell, inputs: tuple[int, int], channels: int, reduction: bool, halved: bool, random: Random
    ) -> None:
        super().__init__()
        self.cell, self.reduction, self.random = cell, reduction, random
        take = FactorizedReduction if halved else PointwiseConv
        self.enter0 = take(inputs[0], channels, affine=True)
        self.enter1 = PointwiseConv(inputs[1], channels, affine=True)
        self.ops = nn.ModuleDict()
        for target, node in enumerate(cell.nodes, start=2):
            for i, (op, source) in enumerate(node):
                module = make_operation(op, channels, self._stride(source))
                if module is not None:
                    self.ops[f"{target}_{i}"] = module

    def _stride(self, source: int) -> int:
        return 2 if self.reduction and source < 2 else 1

    def forward(self, first: Node, second: Node, drop_path: float) -> Tensor:
        nodes = [Node(self.enter0(first)), Node(self.enter1(second))]
        for target, node in enumerate(self.cell.nodes, start=2):
            a, b = (
                self._edge(f"{target}_{i}", op, nodes[source], self._stride(source), drop_path)
                for i, (op, source) in enumerate(node)
            )
            nodes.append(Node(a + b))
        return torch.cat([nodes[n].x for n in self.cell.output], dim=1)

    def _edge(self, key: str, op: str, node: Node, stride: int, drop_path: float) -> Tensor:
        if op == "skip_connect" and stride == 1:
            return node.x  # never dropped
        if key in self.ops:
            y = self.ops[key](node)
        elif op in POOLS:
            y = POOLS[op](node.x, stride)
        else:
            y = node.x[:, :, ::stride, ::stride]
            y = self.random.normal_like(y) if op == "noise" else torch.zeros_like(y)
        return dropped(y, drop_path, self.random) if self.training and drop_path > 0 else y


def dropped(x: Tensor, probability: float, random: Random) -> Tensor:
    """Drop path: per image the whole tensor is zeroed with this probability, or else divided by 1 - probability."""
    return x * (random.kept(x, 1 - probability) / (1 - probability))


class AuxiliaryHead(nn.Module):
    """DARTS's second classifier at two thirds of the depth: (batch, C, H, W) -> (batch, num_classes).

    Pools to 2 x 2: 5 x 5 windows of stride 3 from the 8 x 8 of CIFAR, of stride 2 from the 7 x 7 of ImageNet (where
    the head lacks its last batch norm); other sizes adaptively, which is ours.
    """

    def __init__(self, channels: int, num_classes: int, imagenet: bool) -> None:
        super().__init__()
        self.side, self.stride = (7, 2) if imagenet else (8, 3)
        self.conv1, self.bn1 = nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 768, 2, bias=False)
        self.bn2 = nn.Identity() if imagenet else nn.BatchNorm2d(768)
        self.linear = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        usual = x.shape[2:] == (self.side, self.side)
        x = F.avg_pool2d(x, 5, self.stride) if usual else F.adaptive_avg_pool2d(x, 2)
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(F.relu(self.bn2(self.conv2(x))).flatten(1))


class FinalNet(nn.Module):
    """The network of a genotype: images (batch, 3, H, W) -> logits (batch, num_classes).

    In training with an auxiliary head: (logits, auxiliary logits). drop_path: probability with which a path is
    dropped in training, 0 until somebody sets it (`finalnet` raises it over the epochs). Raises ValueError for
    channels, cells, classes or a stem that cannot be.
    """

    def __init__(
        self, genotype: Genotype, channels: int, cells: int, num_classes: int, auxiliary: bool, stem: str
    ) -> None:
        super().__init__()
        imagenet = choose("stem", stem, STEMS) == "imagenet"
        check_channels(channels)
        check_cells(cells)
        whole("num_classes", num_classes)
        self.genotype, self.drop_path, self.random = genotype, 0.0, Random()
        self.stem0, self.stem1 = imagenet_stems(channels) if imagenet else (cifar_stem(3 * channels), nn.Identity())
        self.cells, self.auxiliary_after = nn.ModuleList(), 2 * cells // 3
        normal, reduce = genotype.cells
        inputs = (channels, channels) if imagenet else (3 * channels, 3 * channels)
        width, halved = channels, imagenet
        self.auxiliary: AuxiliaryHead | None = None
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            cell, width = (reduce, 2 * width) if reduction else (normal, width)
            self.cells.append(FinalCell(cell, inputs, width, reduction, halved, self.random))
            inputs, halved = (inputs[1], len(cell.output) * width), reduction
            if auxiliary and i == self.auxiliary_after:
                self.auxiliary = AuxiliaryHead(inputs[1], num_classes, imagenet)
        self.linear = nn.Linear(inputs[1], num_classes)
        channels_last(self)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        first = self.stem0(images.contiguous(memory_format=torch.channels_last))
        before, last, auxiliary = Node(first), Node(self.stem1(first)), None
        for i, cell in enumerate(self.cells):
            before, last = last, Node(cell(before, last, self.drop_path))
            if self.auxiliary is not None and self.training and i == self.auxiliary_after:
                auxiliary = self.auxiliary(last.x)
        logits = self.linear(last.x.mean(dim=(2, 3)))
        return logits if auxiliary is None else (logits, auxiliary)


def cifar_stem(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))


def imagenet_stems(channels: int) -> tuple[nn.Module, nn.Module]:
    """From 224 to 56 and 28 pixels."""
    first = nn.Sequential(
        nn.Conv2d(3, channels // 2, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels // 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // 2, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
    )
    second = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels))
    return first, second
