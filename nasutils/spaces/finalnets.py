"""What the final networks of the DARTS spaces and of LHD share:
stems, one loop over cells, the auxiliary head.

For CIFAR-size images, or with ImageNet's stem. `darts_final` and `lhd_final` have the cells.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.errors import choose
from nasutils.spaces.base import check_images, check_network
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.graph import INPUTS, cell_widths, edge_stride
from nasutils.spaces.ops import Convs, RandomDraws, make_operation
from nasutils.spaces.sharing import Node, channels_last

STEMS = ("cifar", "imagenet")


class StackedCells(nn.Module, ABC):
    """The network of a genotype: images (batch, 3, H, W) -> logits (batch, num_classes).

    In training with an auxiliary head: (logits, auxiliary logits). drop_path: probability with
    which a path is dropped in training, 0 until somebody sets it (`finalnet` raises it over the
    epochs). Raises ValueError for channels, cells, classes or a stem that cannot be, and in a
    forward for images whose sides 4 does not divide.
    """

    classified: ClassVar[int]
    """Which of the two newest nodes is the first that the classifiers see:
    1, the newest alone; 0, both.
    """
    stem_cells: ClassVar[int] = 0
    """Reduction cells that belong to ImageNet's stem."""

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        cells: int,
        num_classes: int,
        auxiliary: bool,
        stem: str,
    ) -> None:
        super().__init__()
        imagenet = choose("stem", stem, STEMS) == "imagenet"
        check_network(channels, cells, num_classes)
        self.genotype = genotype
        self.drop_path = 0.0
        self.random = RandomDraws()
        self.stem0, self.stem1, inputs = self.stems(channels, imagenet)
        self.cells = nn.ModuleList()
        self.auxiliary: AuxiliaryHead | None = None

        stem_cells = self.stem_cells if imagenet else 0
        self.auxiliary_after = stem_cells + 2 * cells // 3
        normal, reduce = genotype.cells
        # whether the older of the two inputs has twice the resolution of the newer one
        halved = imagenet
        widths = [(True, channels)] * stem_cells + [*cell_widths(cells, channels)]
        for i, (reduction, width) in enumerate(widths):
            derived = reduce if reduction else normal
            cell, inputs = self.cell(derived, inputs, width, reduction, halved)
            self.cells.append(cell)
            halved = reduction
            if auxiliary and i == self.auxiliary_after:
                features = sum(inputs[self.classified :])
                self.auxiliary = AuxiliaryHead(features, num_classes, imagenet)
        self.linear = nn.Linear(sum(inputs[self.classified :]), num_classes)
        channels_last(self)

    @abstractmethod
    def stems(
        self, channels: int, imagenet: bool
    ) -> tuple[nn.Module, nn.Module | None, tuple[int, int]]:
        """The two stems, and the channels of what they put out."""

    @abstractmethod
    def cell(
        self, cell: Cell, inputs: tuple[int, int], channels: int, reduction: bool, halved: bool
    ) -> tuple[nn.Module, tuple[int, int]]:
        """A cell, (node, node, drop_path) -> the two nodes that the next one takes,
        and the channels of those.
        """

    @abstractmethod
    def inputs(self, images: Tensor) -> tuple[Node, Node]:
        """What the first cell takes, from the stems."""

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        check_images(images)
        nodes = self.inputs(images.contiguous(memory_format=torch.channels_last))
        auxiliary = None
        for i, cell in enumerate(self.cells):
            nodes = cell(*nodes, self.drop_path)
            if self.auxiliary is not None and self.training and i == self.auxiliary_after:
                seen = [node.x for node in nodes[self.classified :]]
                auxiliary = self.auxiliary(torch.cat(seen, dim=1))
        features = [node.x.mean(dim=(2, 3)) for node in nodes[self.classified :]]
        logits = self.linear(torch.cat(features, dim=1))
        return logits if auxiliary is None else (logits, auxiliary)


class AuxiliaryHead(nn.Module):
    """DARTS's second classifier at two thirds of the depth:
    (batch, C, H, W) -> (batch, num_classes).

    Pools to 2 x 2: 5 x 5 windows of stride 3 from the 8 x 8 of CIFAR, of stride 2 from the 7 x 7
    of ImageNet (where the head lacks its last batch norm); other sizes adaptively, which is ours.
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
        if x.shape[2:] == (self.side, self.side):
            x = F.avg_pool2d(x, 5, self.stride)
        else:
            x = F.adaptive_avg_pool2d(x, 2)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.linear(x.flatten(1))


def final_operations(cell: Cell, cell_type: str, channels: int, convs: Convs) -> nn.ModuleDict:
    """The operations of a cell that have weights: `<target>_<i>` is that of a node's i-th pair."""
    operations = nn.ModuleDict()
    for target, pairs in enumerate(cell.nodes, start=INPUTS):
        for i, (op, source) in enumerate(pairs):
            stride = edge_stride(cell_type, source)
            module = make_operation(op, channels, stride, affine=True, convs=convs)
            if module is not None:
                operations[f"{target}_{i}"] = module
    return operations


def dropped(x: Tensor, probability: float, random: RandomDraws) -> Tensor:
    """Drop path: per image the whole tensor is zeroed with this probability,
    or else divided by 1 - probability.
    """
    return x * (random.kept(x, 1 - probability) / (1 - probability))
