"""Final networks of LHD: their cells, and how many channels a policy's network has.

Source: chaoji90/LHD, eval/multi_path_concat_sum.py and eval/imagenet.
"""

import torch
from torch import Tensor, nn

from nasutils.spaces.base import SKIP
from nasutils.spaces.finalnets import StackedCells, dropped, final_operations
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.graph import cell_widths, edge_stride
from nasutils.spaces.lhd_policies import Policy
from nasutils.spaces.ops import THIN_CONVS, PointwiseConv, RandomDraws, conv_stem
from nasutils.spaces.pools import POOLS
from nasutils.spaces.sharing import Node, added


class FinalCell(nn.Module):
    """One cell of a genotype: two nodes -> sum (batch, C, H/stride, W/stride),
    concatenation (batch, m * C, ...).
    """

    def __init__(
        self,
        cell: Cell,
        inputs: tuple[int, int],
        channels: int,
        reduction: bool,
        random: RandomDraws,
    ) -> None:
        super().__init__()
        self.cell, self.random = cell, random
        self.cell_type = "reduce" if reduction else "normal"
        self.enter0: nn.Module | None = None
        if inputs[0] != channels:
            self.enter0 = PointwiseConv(inputs[0], channels, affine=True)
        self.enter1 = PointwiseConv(inputs[1], channels, affine=True)
        self.ops = final_operations(cell, self.cell_type, channels, THIN_CONVS)
        self.norms = nn.ModuleDict()
        for pairs in cell.nodes:
            for op, source in pairs:
                if op in POOLS:
                    self.norms[f"{source}_{op}"] = nn.BatchNorm2d(channels, affine=False)

    def forward(self, first: Node, second: Node, drop_path: float) -> tuple[Node, Node]:
        nodes = {
            0: first if self.enter0 is None else Node(self.enter0(first)),
            1: Node(self.enter1(second)),
        }
        pooled: dict[str, Tensor] = {}
        for target, pairs in enumerate(self.cell.nodes, start=2):
            terms = []
            for i, (op, source) in enumerate(pairs):
                key = f"{target}_{i}"
                terms.append(self._edge(key, op, source, nodes[source], pooled, drop_path))
            if terms:
                nodes[target] = Node(added(terms))
        summed = added([nodes[number].x for number in self.cell.sum])
        joined = torch.cat([nodes[number].x for number in self.cell.output], dim=1)
        return Node(summed), Node(joined)

    def _edge(
        self,
        key: str,
        op: str,
        source: int,
        node: Node,
        pooled: dict[str, Tensor],
        drop_path: float,
    ) -> Tensor:
        """What an operation makes of its source;
        `pooled` keeps what operations share (its batch norm moves once).
        """
        if key in self.ops:
            y = self.ops[key](node)
        elif op in POOLS:
            pool = f"{source}_{op}"
            if pool not in pooled:
                stride = edge_stride(self.cell_type, source)
                pooled[pool] = self.norms[pool](POOLS[op](node.x, stride))
            y = pooled[pool]
        else:
            return node.x  # an identity is never dropped
        return dropped(y, drop_path, self.random) if self.training and drop_path > 0 else y


class FinalNet(StackedCells):
    """The network of a genotype; see `StackedCells`.
    A cell takes both outputs of the cell before it.

    With the stem `imagenet`, from 224 to 112 pixels, two reduction cells come before the others.
    """

    classified = 0
    stem_cells = 2

    def stems(
        self, channels: int, imagenet: bool
    ) -> tuple[nn.Module, nn.Module | None, tuple[int, int]]:
        if imagenet:
            half = channels // 2
            return conv_stem(3, half, stride=2), None, (half, half)
        return conv_stem(3, channels), conv_stem(3, 3 * channels), (channels, 3 * channels)

    def cell(
        self, cell: Cell, inputs: tuple[int, int], channels: int, reduction: bool, halved: bool
    ) -> tuple[nn.Module, tuple[int, int]]:
        module = FinalCell(cell, inputs, channels, reduction, self.random)
        return module, (channels, len(cell.output) * channels)

    def inputs(self, images: Tensor) -> tuple[Node, Node]:
        first = Node(self.stem0(images))
        return first, first if self.stem1 is None else Node(self.stem1(images))


def finalnet_parameters(genotype: Genotype, channels: int, cells: int, num_classes: int) -> int:
    """Trainable weights of the final network for CIFAR-size images, without auxiliary head,
    by a closed form.

    116 C0 + sum over cells of [C_c C + 2C (+ C_s C + 2C in a reduction) + operations] + (m + 1) C
    n + n
    """
    normal, reduce = genotype.cells
    total = 116 * channels
    # C_s and C_c, the channels of the two outputs; at first those of the stems
    summed, joined = channels, 3 * channels
    for reduction, width in cell_widths(cells, channels):
        cell = reduce if reduction else normal
        total += joined * width + 2 * width
        if reduction:
            total += summed * width + 2 * width
        for pairs in cell.nodes:
            for op, source in pairs:
                total += _operation_parameters(op, width, edge_stride(cell.name, source))
        summed, joined = width, len(cell.output) * width
    return total + (summed + joined) * num_classes + num_classes


def _operation_parameters(op: str, channels: int, stride: int) -> int:
    if op in THIN_CONVS:
        _, kernel = THIN_CONVS[op]
        return (kernel**2 + 2) * channels
    if op == SKIP and stride == 2:
        return channels**2 + 2 * channels
    return 0


def channels_of(genotype: Genotype, policy: Policy, num_classes: int) -> int:
    """The channels of a policy's final network,
    raised by 2 until the parameters reach the policy's capacity.
    """
    channels = policy.channels
    while finalnet_parameters(genotype, channels, policy.cells, num_classes) < policy.capacity:
        channels += 2
    return channels
