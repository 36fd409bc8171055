"""The DARTS space (Liu et al., ICLR 2019) and the spaces of RobustDARTS (Zela et al.,
ICLR 2020) on the same cells.

* A cell has two inputs (the outputs of the two cells before it), four intermediate nodes and 14
  edges; its output is the concatenation of the four. A node is the sum of its incoming edges.
* Reduction cells at one and two thirds of the depth halve the resolution and double C; they have
  their own architecture parameters. Stem: a 3x3 convolution to 3C channels.
* `darts` has 8 operations, none first; `darts7` has no none; in S1 the two operations depend on
  the edge; S2: skip, 3x3 separable; S3: also none; S4: noise (N(0, 1), drawn anew in every
  forward), 3x3 separable.
* In the supernet no batch norm of a cell has parameters, and pools have one behind them; final
  networks: `darts_final`.

* `EXTRA`: what an edge can have besides its operations, whatever these are, with a column of its
  own in the mixing weights; see `lhd.EXTRA`.

Sources: quark0/darts, cnn/model_search.py; xiangning-chen/SmoothDARTS, sota/cnn/spaces.py.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import comb, prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from nasutils.errors import choose
from nasutils.spaces import darts_policies
from nasutils.spaces.base import (
    SKIP,
    Active,
    EdgeOps,
    Mix,
    Space,
    check_images,
    check_network,
    check_partial,
    check_ranked,
    with_extras,
)
from nasutils.spaces.darts_cells import EDGES, HANDMADE_OPS, INCOMING, check_genotype
from nasutils.spaces.darts_final import FinalNet
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.graph import Edges, cell_widths
from nasutils.spaces.mixed_cell import CellWeights, MixedCell
from nasutils.spaces.ops import (
    CONVS,
    FactorizedReduction,
    PointwiseConv,
    RandomDraws,
    conv_stem,
)
from nasutils.spaces.pools import POOLS
from nasutils.spaces.sharing import Node, channels_last

EXTRA = ("auxiliary_skip", "inner_skip")
OPERATIONS = ("none", "noise", *POOLS, SKIP, *CONVS)
"""What an edge can have, in all spaces on these cells."""


def _alpha_shapes(edge_ops: Mapping[str, EdgeOps], extra: int = 0) -> dict[str, tuple[int, int]]:
    """(edges, operations and so many extra columns) by cell type."""
    return {cell_type: (len(ops), len(ops[0]) + extra) for cell_type, ops in edge_ops.items()}


def _check_known(title: str, edge_ops: Mapping[str, EdgeOps]) -> None:
    """Raise ValueError unless the supernet knows all operations, as many of them on each edge."""
    for cell_type, edges in edge_ops.items():
        for op in chain.from_iterable(edges):
            choose(f"operation of {title}", op, OPERATIONS)
        counts = sorted({len(ops) for ops in edges})
        if len(edges) != len(EDGES) or len(counts) != 1:
            raise ValueError(
                f"edge_ops of {title} must have as many operations on each of {len(EDGES)} edges;"
                f" {cell_type} has {' or '.join(map(str, counts))} on {len(edges)}"
            )


def _count_cells(edges: EdgeOps) -> int:
    """Each node takes two of its edges, and on each of them one operation other than none."""
    choices = len(edges[0]) - ("none" in edges[0])
    return prod(comb(len(incoming), 2) * choices**2 for incoming in INCOMING)


class DARTS(Space):
    """The DARTS space, 8 operations.

    Architecture parameters: {"normal": (14, 8), "reduce": (14, 8)}.

    edge_ops: per cell type and edge, the names of its operations; `ops` where all edges have the
    same.
    """

    name = "darts"
    ops: ClassVar[tuple[str, ...]] = ("none", *POOLS, SKIP, *CONVS)
    edges: ClassVar[dict[str, Edges]] = {"normal": EDGES, "reduce": EDGES}
    edge_ops: ClassVar[dict[str, EdgeOps]]
    policies = tuple(darts_policies.POLICIES)
    extras = EXTRA

    def __init_subclass__(cls) -> None:
        cls._complete()

    @classmethod
    def _complete(cls) -> None:
        own = vars(cls)
        if "ops" in own and "edge_ops" not in own:
            cls.edge_ops = dict.fromkeys(("normal", "reduce"), (cls.ops,) * len(EDGES))
        if cls.supernet is DARTS.supernet:
            _check_known(cls.__qualname__, cls.edge_ops)
        cls.alpha_shapes = _alpha_shapes(cls.edge_ops)
        if "num_architectures" not in own:
            cls.num_architectures = prod(map(_count_cells, cls.edge_ops.values()))

    def supernet(
        self,
        channels: int = 16,
        cells: int = 8,
        num_classes: int = 10,
        partial: int = 1,
        extra: Sequence[str] = (),
    ) -> "Supernet":
        """The search network: C channels in the first cell,
        of which one in `partial` runs through the operations.

        extra: see `EXTRA`. Raises ValueError for what cannot be.
        """
        return Supernet(self.edge_ops, channels, cells, num_classes, partial, tuple(extra))

    def discretize(self, mix: Mix, policy: str | None = None) -> Genotype:
        """Two edges per node, the strongest operation on each, none excluded;
        policies: `darts_policies`.
        """
        chosen = darts_policies.POLICIES[self.check_policy(policy)]
        check_ranked(mix, self.alpha_shapes)
        weights = {name: w.tolist() for name, w in mix.items()}
        return darts_policies.derive(weights, self.edge_ops, chosen)

    def finalnet(
        self,
        genotype: Genotype | str,
        channels: int = 36,
        cells: int = 20,
        num_classes: int = 10,
        auxiliary: bool = False,
        stem: str = "cifar",
    ) -> FinalNet:
        """The network of a genotype; stem: `cifar`,
        or `imagenet` (three convolutions of stride 2).

        `darts` takes the hand-made cells of five nodes, too. Raises ValueError for a genotype that
        is not of the space, with the place and the reason.
        """
        return FinalNet(self._checked(genotype), channels, cells, num_classes, auxiliary, stem)

    def check_genotype(self, genotype: Genotype | str) -> None:
        """See `Space`."""
        self._checked(genotype)

    def _checked(self, genotype: Genotype | str) -> Genotype:
        genotype = Genotype.of(genotype)
        handmade = HANDMADE_OPS if self.name == "darts" else ()
        check_genotype(genotype, self.name, self.edge_ops, handmade)
        return genotype


DARTS._complete()


class Darts7(DARTS):
    """The DARTS space without none, as in the authors' searches:
    S5 of SmoothDARTS (not of RobustDARTS).
    """

    name = "darts7"
    ops = DARTS.ops[1:]


SEP3, DIL3, DIL5 = "sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5"
MAX, AVG = "max_pool_3x3", "avg_pool_3x3"


class S1(DARTS):
    """RobustDARTS's S1: two operations per edge, which depend on the edge.

    Source: xiangning-chen/SmoothDARTS, sota/cnn/spaces.py.
    """

    name = "s1"
    ops = (MAX, AVG, SKIP, SEP3, DIL3, DIL5)
    edge_ops: ClassVar[dict[str, EdgeOps]] = {
        "normal": (
            *((SKIP, DIL3), (SKIP, DIL5)),
            *((SKIP, DIL5), (SKIP, SEP3), (SKIP, DIL3)),
            *((MAX, SKIP), (SKIP, SEP3), (SKIP, SEP3), (SKIP, DIL3)),
            *((SKIP, SEP3), (MAX, SKIP), (SKIP, DIL3), (DIL3, DIL5), (DIL3, DIL5)),
        ),
        "reduce": (
            *((MAX, AVG), (MAX, DIL3)),
            *((MAX, AVG), (MAX, AVG), (SKIP, DIL5)),
            *((MAX, AVG), (MAX, SEP3), (SKIP, DIL3), (SKIP, DIL5)),
            *((MAX, AVG), (MAX, AVG), (SKIP, DIL5), (SKIP, DIL5), (SKIP, DIL5)),
        ),
    }


class S2(DARTS):
    """RobustDARTS's S2."""

    name = "s2"
    ops = (SKIP, SEP3)


class S3(DARTS):
    """RobustDARTS's S3."""

    name = "s3"
    ops = ("none", SKIP, SEP3)


class S4(DARTS):
    """RobustDARTS's S4; its noise is standard normal, of the edge's output shape,
    whatever comes in.
    """

    name = "s4"
    ops = ("noise", SEP3)


class SupernetCell(MixedCell):
    """One cell of all operations.

    Two nodes (batch, C', H', W') -> (batch, 4C, H/stride, W/stride).
    """

    edges = EDGES
    idle = "none"

    def __init__(
        self,
        cell_type: str,
        edge_ops: EdgeOps,
        inputs: tuple[int, int],
        channels: int,
        partial: int,
        halved: bool,
        random: RandomDraws,
        extra: tuple[str, ...],
    ) -> None:
        super().__init__(cell_type, edge_ops, channels, partial, extra)
        take = FactorizedReduction if halved else PointwiseConv
        self.enter0 = take(inputs[0], channels, affine=False)
        self.enter1 = PointwiseConv(inputs[1], channels, affine=False)
        self.make_operations(CONVS)
        self.random = random

    def forward(self, first: Node, second: Node, weights: CellWeights) -> Tensor:
        states = self.enter(first, second)
        nodes = [self.node(x) for x in states]
        shared: dict[str, Tensor] = {}
        for edges in INCOMING:
            states.append(self.mixed(nodes, edges, weights, shared))
            nodes.append(self.node(states[-1]))
        return self.leave(states)

    def enter(self, first: Node, second: Node) -> list[Tensor]:
        """The two input nodes (batch, C, H, W)."""
        return [self.enter0(first), self.enter1(second)]

    def leave(self, states: list[Tensor]) -> Tensor:
        """The output of a cell from its six nodes."""
        return torch.cat(states[2:], dim=1)

    def unweighted(self, node: Node, edge: int, name: str, shared: dict[str, Tensor]) -> Tensor:
        if name == "noise":
            return self.random.normal_like(self.strided(node.x, edge))
        return super().unweighted(node, edge, name, shared)

    def branches(self, edge: int, x: Tensor) -> list[Tensor]:
        """What each operation of an edge makes of its source, at weight 1.

        x: the channels that operations see, (batch, C / partial, H, W).
        """
        node = Node(x)
        branches = []
        for name in self.edge_ops[edge]:
            if name == "none":
                branches.append(torch.zeros_like(self.strided(x, edge)))
            else:
                branches.append(self.branch(edge, name, node))
        return branches


class Supernet(nn.Module):
    """The search network: images and mixing weights -> logits (batch, num_classes).

    images: (batch, 3, H, W). mix: {"normal": (14, K), "reduce": (14, K)}, with or without extra
    columns. H and W are divisible by 4. Operations of weight exactly 0 are not run, see
    `nasbench201.Supernet`; noise of weight 0 is then not drawn. Raises ValueError for such a size,
    fewer than 3 cells, channels that do not fit.
    """

    def __init__(
        self,
        edge_ops: Mapping[str, EdgeOps],
        channels: int,
        cells: int,
        num_classes: int,
        partial: int,
        extra: tuple[str, ...],
    ) -> None:
        super().__init__()
        check_network(channels, cells, num_classes)
        self.partial = check_partial(channels, partial)
        self.extra = tuple(choose("extra of a DARTS space", name, EXTRA) for name in extra)
        self.shapes = _alpha_shapes(edge_ops, len(extra))
        self.stem = conv_stem(3, 3 * channels)
        self.random, self.cells = RandomDraws(), nn.ModuleList()
        inputs = (3 * channels, 3 * channels)
        halved = False  # whether the cell before was a reduction cell
        for reduction, width in cell_widths(cells, channels):
            cell_type = "reduce" if reduction else "normal"
            ops = edge_ops[cell_type]
            self.cells.append(
                SupernetCell(cell_type, ops, inputs, width, partial, halved, self.random, extra)
            )
            inputs, halved = (inputs[1], 4 * width), reduction
        self.linear = nn.Linear(inputs[1], num_classes)
        channels_last(self)

    def forward(self, images: Tensor, mix: Mix, active: Active | None = None) -> Tensor:
        mix, active = with_extras(mix, active, self.shapes, len(self.extra))
        check_images(images)
        weights = {}
        for cell_type, (_, columns) in self.shapes.items():
            operations = slice(columns - len(self.extra))
            weights[cell_type] = CellWeights(mix[cell_type], active[cell_type], operations)
        before = last = Node(self.stem(images.contiguous(memory_format=torch.channels_last)))
        for cell in self.cells:
            before, last = last, Node(cell(before, last, weights[cell.cell_type]))  # type: ignore[index]
        return self.linear(last.x.mean(dim=(2, 3)))
