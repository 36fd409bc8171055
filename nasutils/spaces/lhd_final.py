"""Final networks of LHD: for CIFAR-size images or with ImageNet's stem, auxiliary head, dropped paths, their sizes.

Source: chaoji90/LHD, eval/multi_path_concat_sum.py and eval/imagenet.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nasutils.errors import choose, whole
from nasutils.spaces.base import check_cells, check_channels
from nasutils.spaces.darts_final import STEMS, AuxiliaryHead, cifar_stem, dropped
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.lhd_policies import Rule
from nasutils.spaces.ops import (
    POOLS,
    FactorizedReduction,
    Node,
    PointwiseConv,
    Random,
    ThinDilatedConv,
    ThinSeparableConv,
    channels_last,
)

CONVS: Mapping[str, tuple[type[ThinSeparableConv] | type[ThinDilatedConv], int]] = {
    "sep_conv_3x3": (ThinSeparableConv, 3),
    "sep_conv_5x5": (ThinSeparableConv, 5),
    "dil_conv_3x3": (ThinDilatedConv, 3),
    "dil_conv_5x5": (ThinDilatedConv, 5),
}


def make_operation(name: str, channels: int, stride: int, affine: bool) -> nn.Module | None:
    """The module of an operation that has weights, None for the others."""
    if name in CONVS:
        kind, kernel = CONVS[name]
        return kind(channels, kernel, stride, affine)
    if name not in POOLS and stride == 2:
        return FactorizedReduction(channels, channels, affine)
    return None


def reductions(cells: int) -> tuple[int, int]:
    """The numbers of the cells that halve the resolution and double the channels."""
    return cells // 3, 2 * cells // 3


class FinalCell(nn.Module):
    """One cell of a genotype: two nodes -> sum (batch, C, H/stride, W/stride), concatenation (batch, m * C, ...)."""

    def __init__(self, cell: Cell, inputs: tuple[int, int], channels: int, reduction: bool, random: Random) -> None:
        super().__init__()
        self.cell, self.reduction, self.random = cell, reduction, random
        self.enter0 = PointwiseConv(inputs[0], channels, affine=True) if inputs[0] != channels else None
        self.enter1 = PointwiseConv(inputs[1], channels, affine=True)
        self.ops, self.norms = nn.ModuleDict(), nn.ModuleDict()
        for target, pairs in enumerate(cell.nodes, start=2):
            for i, (op, source) in enumerate(pairs):
                module = make_operation(op, channels, self._stride(source), affine=True)
                if module is not None:
                    self.ops[f"{target}_{i}"] = module
                elif op in POOLS:
                    self.norms[f"{source}_{op}"] = nn.BatchNorm2d(channels, affine=False)

    def _stride(self, source: int) -> int:
        return 2 if self.reduction and source < 2 else 1

    def forward(self, first: Node, second: Node, drop_path: float) -> tuple[Tensor, Tensor]:
        nodes = {0: first if self.enter0 is None else Node(self.enter0(first)), 1: Node(self.enter1(second))}
        pooled: dict[str, Tensor] = {}
        for target, pairs in enumerate(self.cell.nodes, start=2):
            terms = [
                self._edge(f"{target}_{i}", op, source, nodes[source], pooled, drop_path)
                for i, (op, source) in enumerate(pairs)
            ]
            if terms:
                nodes[target] = Node(sum(terms[1:], start=terms[0]))
        summed = [nodes[n].x for n in self.cell.sum]
        return sum(summed[1:], start=summed[0]), torch.cat([nodes[n].x for n in self.cell.output], dim=1)

    def _edge(self, key: str, op: str, source: int, node: Node, pooled: dict[str, Tensor], drop_path: float) -> Tensor:
        """What an operation makes of its source; `pooled` keeps what operations share (its batch norm moves once)."""
        if key in self.ops:
            y = self.ops[key](node)
        elif op in POOLS:
            pool = f"{source}_{op}"
            if pool not in pooled:
                pooled[pool] = self.norms[pool](POOLS[op](node.x, self._stride(source)))
            y = pooled[pool]
        else:
            return node.x  # an identity is never dropped
        return dropped(y, drop_path, self.random) if self.training and drop_path > 0 else y


class FinalNet(nn.Module):
    """The network of a genotype: images (batch, 3, H, W) -> logits (batch, num_classes).

    In training with an auxiliary head: (logits, auxiliary logits). drop_path: probability with which a path is
    dropped in training, 0 until somebody sets it. With the stem `imagenet` two reduction cells come before the
    others. Raises ValueError for channels, cells, classes or a stem that cannot be.
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
        self.stem0 = imagenet_stem(channels // 2) if imagenet else cifar_stem(channels)
        self.stem1 = None if imagenet else cifar_stem(3 * channels)
        inputs = (channels // 2, channels // 2) if imagenet else (channels, 3 * channels)
        before = 2 if imagenet else 0
        self.cells, self.auxiliary_after, width = nn.ModuleList(), before + 2 * cells // 3, channels
        self.auxiliary: AuxiliaryHead | None = None
        for i in range(-before, cells):
            reduction, cell = i < 0 or i in reductions(cells), genotype.cells[0]
            if reduction:
                cell, width = genotype.cells[1], width if i < 0 else 2 * width
            self.cells.append(FinalCell(cell, inputs, width, reduction, self.random))
            inputs = (width, len(cell.output) * width)
            if auxiliary and i == 2 * cells // 3:
                self.auxiliary = AuxiliaryHead(sum(inputs), num_classes, imagenet)
        self.linear = nn.Linear(sum(inputs), num_classes)
        channels_last(self)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        images = images.contiguous(memory_format=torch.channels_last)
        first, auxiliary = Node(self.stem0(images)), None
        second = first if self.stem1 is None else Node(self.stem1(images))
        for i, cell in enumerate(self.cells):
            first, second = (Node(x) for x in cell(first, second, self.drop_path))
            if self.auxiliary is not None and self.training and i == self.auxiliary_after:
                auxiliary = self.auxiliary(torch.cat([first.x, second.x], dim=1))
        logits = self.linear(torch.cat([first.x.mean(dim=(2, 3)), second.x.mean(dim=(2, 3))], dim=1))
        return logits if auxiliary is None else (logits, auxiliary)


def imagenet_stem(channels: int) -> nn.Module:
    """From 224 to 112 pixels; both inputs of the first cell."""
    return nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels))


def parameters(genotype: Genotype, channels: int, cells: int, num_classes: int) -> int:
    """Trainable weights of the final network for CIFAR-size images, without auxiliary head, by a closed form.

    116 C0 + sum over cells of [C_c C + 2C (+ C_s C + 2C in a reduction) + operations] + (m + 1) C n + n
    """
    width, summed, joined, total = channels, channels, 3 * channels, 116 * channels
    for i in range(cells):
        reduction = i in reductions(cells)
        width, cell = (2 * width, genotype.cells[1]) if reduction else (width, genotype.cells[0])
        total += joined * width + 2 * width + reduction * (summed * width + 2 * width)
        for op, source in (pair for pairs in cell.nodes for pair in pairs):
            total += _operation_parameters(op, width, reduction and source < 2)
        summed, joined = width, len(cell.output) * width
    return total + (summed + joined) * num_classes + num_classes


def _operation_parameters(op: str, channels: int, strided: bool) -> int:
    if op in CONVS:
        return (CONVS[op][1] ** 2 + 2) * channels
    return channels**2 + 2 * channels if op == "skip_connect" and strided else 0


def channels_of(genotype: Genotype, rule: Rule, num_classes: int) -> int:
    """The channels of a policy's final network: the rule's, raised by 2 until the parameters reach its capacity."""
    channels = rule.channels
    while parameters(genotype, channels, rule.cells, num_classes) < rule.capacity:
        channels += 2
    return channels
