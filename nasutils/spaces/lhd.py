"""LHD, the larger and harder DARTS space (Zhang & Ding, ICML 2023).

* A cell has two inputs, both from the cell before: a sum of its nodes (C channels) and their
  concatenation (5C). Five intermediate nodes, 20 edges, 7 operations, no none. All operations of
  all edges into a node compete, so that two of them may come from one edge. Convolutions are
  thinned: one depthwise, no 1x1.
* In the supernet a node is z = sum of w * operation(h) over its edges; later nodes and the
  concatenation see h = gate * z, the sum output is the sum of b * z. Final networks (`lhd_final`)
  have neither.
* Reduction cells at one and two thirds of the depth halve the resolution and double C; they have
  their own architecture parameters. Two stems: 3x3 convolutions to C and to 3C channels.

Source: chaoji90/LHD, search/concate_sum_five_sig.py and search/operations_five_dr.py.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from nasutils.errors import choose
from nasutils.spaces import lhd_policies
from nasutils.spaces.base import (
    Active,
    Mix,
    Rule,
    Space,
    check_images,
    check_network,
    check_partial,
    check_ranked,
    with_extras,
)
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.graph import Edges, cell_widths
from nasutils.spaces.lhd_cells import (
    CELL_TYPES,
    EDGES,
    INCOMING,
    NODES,
    OPS,
    check_genotype,
    count_architectures,
)
from nasutils.spaces.lhd_final import FinalNet, channels_of
from nasutils.spaces.mixed_cell import CellWeights, MixedCell
from nasutils.spaces.ops import THIN_CONVS, PointwiseConv, conv_stem
from nasutils.spaces.sharing import Node, channels_last, mixed_sum

EXTRA = ("auxiliary_skip", "inner_skip", "one", "rest")
"""What a supernet can have on each edge besides its operations,
each with a column of its own in the mixing weights (without it, its weight is 0):

* auxiliary_skip: a skip connection with weights of its own where the stride is 2 (DARTS-,
  SurgeNAS);
* inner_skip: the same as if it were run once per operation, which its batch norm's statistics show
  (SurgeNAS as released);
* one: the constant 1, which an edge without a sampled operation counts as in a gradient (GDAS as
  released);
* rest: the channels that go around the operations, with partial channels (PC-DARTS as released:
  weight 1). Without this column their weight is the sum of the edge's weights.
"""
_EDGES_INTO = [len(edges) for edges in INCOMING]
"""How many edges enter each node."""


class LHD(Space):
    """The space; see the module's text. Architecture parameters:
    300, two rows for the outputs (sum, gates) per cell.

    edges: (source, target) of the rows of `normal` and `reduce`. num_architectures: what policy
    `base` selects from.
    """

    name = "lhd"
    ops = OPS
    alpha_shapes: ClassVar[dict[str, tuple[int, int]]] = {
        **dict.fromkeys(CELL_TYPES, (len(EDGES), len(OPS))),
        **dict.fromkeys((f"{cell_type}_output" for cell_type in CELL_TYPES), (2, NODES)),
    }
    edges: ClassVar[dict[str, Edges]] = dict.fromkeys(CELL_TYPES, EDGES)
    num_architectures = count_architectures()
    policies = tuple(lhd_policies.POLICIES)
    extras = EXTRA
    cell_types = CELL_TYPES

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
        return Supernet(channels, cells, num_classes, partial, tuple(extra))

    def relax(
        self, scores: Mix, rule: Rule, gates: Rule = torch.sigmoid, edgewise: bool = False
    ) -> Mix:
        """The operations of all edges into a node compete, so do the nodes for the sum. Gates
        compete with nothing: they are sigmoids, of no temperature.
        """
        mix = {}
        for name, groups in self.competing(scores, edgewise).items():
            columns = scores[name].shape[-1]
            rows = [rule(group).reshape(-1, columns) for group in groups]
            if name not in CELL_TYPES:
                rows.append(gates(scores[name][1:]))
            mix[name] = torch.cat(rows)
        return mix

    def competing(self, scores: Mix, edgewise: bool = False) -> dict[str, list[Tensor]]:
        groups = {}
        for name in self.alpha_shapes:
            if name not in CELL_TYPES:
                # The first row is of the sum, the second is gates, which do not compete.
                groups[name] = [scores[name][:1]]
            elif edgewise:
                groups[name] = [scores[name]]
            else:
                groups[name] = [part.reshape(1, -1) for part in scores[name].split(_EDGES_INTO)]
        return groups

    def discretize(self, mix: Mix, policy: str | None = None) -> Genotype:
        """The cells that a policy keeps, without nodes that reach no output;
        policies: `lhd_policies`.
        """
        chosen = lhd_policies.POLICIES[self.check_policy(policy)]
        check_ranked(mix, self.alpha_shapes)
        return lhd_policies.derive(mix, chosen)

    def check_genotype(self, genotype: Genotype | str) -> None:
        """See `Space`."""
        _checked(genotype)

    def finalnet_size(
        self, genotype: Genotype | str, policy: str | None = None, num_classes: int = 10
    ) -> tuple[int, int]:
        """Channels and cells of a policy's final network.
        `1m`: as few channels as give 1.5 million parameters.
        """
        chosen = lhd_policies.POLICIES[self.check_policy(policy)]
        return channels_of(_checked(genotype), chosen, num_classes), chosen.cells

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
        or `imagenet` (a convolution and two reduction cells before).

        Raises ValueError for a genotype that is not of the space, with the place and the reason.
        """
        return FinalNet(_checked(genotype), channels, cells, num_classes, auxiliary, stem)


def _checked(genotype: Genotype | str) -> Genotype:
    genotype = Genotype.of(genotype)
    check_genotype(genotype)
    return genotype


class GatedWeights(CellWeights):
    """The mixing weights of one cell type during one forward, with those of its outputs.

    sums: (5,), the weights of the nodes in the sum. gates: one number per node.
    """

    def __init__(self, mix: Mix, active: Active, cell_type: str, extra: Sequence[str]) -> None:
        columns = slice(len(OPS))
        if "rest" in extra:  # the channels around the operations have a weight of their own
            rest = len(OPS) + extra.index("rest")
            columns = slice(rest, rest + 1)
        super().__init__(mix[cell_type], active[cell_type], columns)
        sums, gates = mix[f"{cell_type}_output"]
        self.sums, self.gates = sums, gates.unbind()


class SupernetCell(MixedCell):
    """One cell of all operations: two nodes -> sum (batch, C, H/stride, W/stride),
    concatenation (batch, 5C, ...).
    """

    edges = EDGES
    idle = "rest"

    def __init__(
        self,
        cell_type: str,
        inputs: tuple[int, int],
        channels: int,
        partial: int,
        extra: tuple[str, ...],
    ) -> None:
        super().__init__(cell_type, (OPS,) * len(EDGES), channels, partial, extra)
        self.enter0: nn.Module | None = None
        if inputs[0] != channels:
            self.enter0 = PointwiseConv(inputs[0], channels, affine=False)
        self.enter1 = PointwiseConv(inputs[1], channels, affine=False)
        self.make_operations(THIN_CONVS)

    def forward(self, first: Node, second: Node, weights: GatedWeights) -> tuple[Tensor, Tensor]:
        states = self.enter(first, second)
        nodes = [self.node(x) for x in states]
        shared: dict[str, Tensor] = {}
        summands = []
        for edges, gate in zip(INCOMING, weights.gates, strict=True):
            z = self.mixed(nodes, edges, weights, shared)
            summands.append(z)
            states.append(gate * z)
            nodes.append(self.node(states[-1]))
        return self.leave(summands, states, weights)

    def enter(self, first: Node, second: Node) -> list[Tensor]:
        """The two input nodes (batch, C, H, W);
        a sum that has C channels already is taken as it is.
        """
        return [first.x if self.enter0 is None else self.enter0(first), self.enter1(second)]

    def leave(
        self, summands: list[Tensor], states: list[Tensor], weights: GatedWeights
    ) -> tuple[Tensor, Tensor]:
        """Both outputs, from the five nodes before their gates and from all seven behind them."""
        return mixed_sum([], summands, weights.sums), torch.cat(states[2:], dim=1)

    def unweighted(self, node: Node, edge: int, name: str, shared: dict[str, Tensor]) -> Tensor:
        if name == "one":
            return torch.ones_like(self.strided(node.x, edge))
        return super().unweighted(node, edge, name, shared)


class Supernet(nn.Module):
    """The search network: images and mixing weights -> logits (batch, num_classes).

    images: (batch, 3, H, W). mix: `normal` and `reduce` (20, 7), with or without extra columns,
    `normal_output` and `reduce_output` (2, 5): weights of the nodes in the sum, and gates. H and W
    are divisible by 4. Operations of weight exactly 0 are not run, see `nasbench201.Supernet`.
    Raises ValueError for such a size, fewer than 3 cells, channels that do not fit.
    """

    def __init__(
        self, channels: int, cells: int, num_classes: int, partial: int, extra: tuple[str, ...]
    ) -> None:
        super().__init__()
        check_network(channels, cells, num_classes)
        self.partial = check_partial(channels, partial)
        self.extra = tuple(choose("extra of lhd", name, EXTRA) for name in extra)
        if "rest" in extra and partial == 1:
            raise ValueError(
                "nothing goes around the operations (extra 'rest') unless partial is more than 1"
            )
        self.shapes = dict(LHD.alpha_shapes)
        for cell_type in CELL_TYPES:
            self.shapes[cell_type] = (len(EDGES), len(OPS) + len(extra))
        self.stem0, self.stem1 = conv_stem(3, channels), conv_stem(3, 3 * channels)
        self.cells = nn.ModuleList()
        inputs = (channels, 3 * channels)
        for reduction, width in cell_widths(cells, channels):
            self.cells.append(
                SupernetCell("reduce" if reduction else "normal", inputs, width, partial, extra)
            )
            inputs = (width, NODES * width)
        self.linear = nn.Linear(sum(inputs), num_classes)
        channels_last(self)

    def forward(self, images: Tensor, mix: Mix, active: Active | None = None) -> Tensor:
        mix, active = with_extras(mix, active, self.shapes, len(self.extra))
        check_images(images)
        weights = {
            cell_type: GatedWeights(mix, active, cell_type, self.extra) for cell_type in CELL_TYPES
        }
        images = images.contiguous(memory_format=torch.channels_last)
        nodes = Node(self.stem0(images)), Node(self.stem1(images))
        for cell in self.cells:
            summed, joined = cell(*nodes, weights[cell.cell_type])  # type: ignore[index]
            nodes = Node(summed), Node(joined)
        return self.linear(torch.cat([node.x.mean(dim=(2, 3)) for node in nodes], dim=1))
