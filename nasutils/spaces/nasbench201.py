"""NAS-Bench-201 (Dong & Yang, ICLR 2020): one cell of 4 nodes and 6 edges, 5 operations,
15,625 cells.

* Stem, three stages of `cells` cells at C, 2C and 4C channels with a residual reduction between
  them, batch norm, ReLU, global average, linear.
* A node is the sum of its incoming edges. Average pooling has no batch norm; padding is not
  counted.
* In the supernet the operations' batch norms have no parameters and their convolutions have
  biases; in the final network it is the other way round. Stem, reductions and head are the same in
  both.
* The accuracies of all cells ship with the package: `query` of one, `accuracies` of all.
"""

from itertools import compress, product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.errors import whole
from nasutils.spaces.base import (
    SKIP,
    Active,
    Mix,
    Space,
    active_operations,
    check_images,
    check_mix,
    check_partial,
    check_ranked,
)
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.nasbench201_table import (
    EDGES,
    OPS,
    accuracies,
    arch_of,
    num_architectures,
    query,
)
from nasutils.spaces.ops import ReLUConvBN, ResidualReduction, conv_stem
from nasutils.spaces.pools import avg_pool_3x3
from nasutils.spaces.sharing import Fan, Node, PartialNode, added, channels_last, mixed_sum, pick

__all__ = ["EDGES", "OPS", "FinalNet", "NASBench201", "Supernet", "accuracies", "query"]

KERNELS = {2: 1, 3: 3}
"""Operation index -> kernel size, of the convolutions."""
WEIGHT_FREE = {1: "x", 4: "pooled"}
"""Operation index -> the attribute of a `Node` that it puts out,
of the operations without weights.
"""
LEAVING = [[e for e, (source, _) in enumerate(EDGES) if source == node] for node in range(3)]
"""Per node the edges that leave it."""
ENTERING = [[e for e, (_, target) in enumerate(EDGES) if target == node] for node in range(4)]
"""Per node the edges that enter it."""
BY_SOURCE = [e for edges in LEAVING for e in edges]
"""All edges in the order of their sources, in which the convolutions of a node are stacked."""


class NASBench201(Space):
    """The space; see the module's text. Architecture parameters: {"cell": (6, 5)}."""

    name = "nasbench201"
    ops = OPS
    alpha_shapes: ClassVar[dict[str, tuple[int, int]]] = {"cell": (6, 5)}
    num_architectures = num_architectures
    policies = ("argmax",)

    def supernet(
        self, channels: int = 16, cells: int = 5, num_classes: int = 10, partial: int = 1
    ) -> "Supernet":
        """The search network: C channels, `cells` cells per stage (N in the papers);
        partial: see `PartialCell`.
        """
        return Supernet(channels, cells, num_classes, partial)

    def discretize(self, mix: Mix, policy: str | None = None) -> Genotype:
        """Per edge the operation of the largest weight, none included; the first one of equals."""
        self.check_policy(policy)
        check_ranked(mix, self.alpha_shapes)
        return Genotype.parse(arch_of(mix["cell"].argmax(dim=-1).tolist()))

    def finalnet(
        self, genotype: Genotype | str, channels: int = 16, cells: int = 5, num_classes: int = 10
    ) -> "FinalNet":
        """The network of one cell as trained for the benchmark (C = 16, 5 cells per stage)."""
        return FinalNet(genotype, channels, cells, num_classes)


class _Network(nn.Module):
    """Stem, three stages of cells, head; `cell` makes one cell of a given width."""

    def __init__(
        self, cell: type[nn.Module], channels: int, cells: int, num_classes: int, *args: object
    ) -> None:
        super().__init__()
        whole("channels", channels)
        whole("cells", cells)
        whole("num_classes", num_classes)
        self.stem = conv_stem(3, channels)
        self.layers = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                self.layers.append(ResidualReduction(width // 2, width))
            self.layers.extend(cell(width, *args) for _ in range(cells))
        self.bn = nn.BatchNorm2d(4 * channels)
        self.linear = nn.Linear(4 * channels, num_classes)
        channels_last(self)

    def enter(self, images: Tensor) -> Tensor:
        """The output of the stem. Raises ValueError for images whose sides 4 does not divide."""
        check_images(images)
        return self.stem(images.contiguous(memory_format=torch.channels_last))

    def classify(self, x: Tensor) -> Tensor:
        return self.linear(F.relu(self.bn(x)).mean(dim=(2, 3)))


class StackedWeights:
    """One forward's mixing weights, arranged as the cells use them.

    wanted[source][op]: which edges leaving a node run a convolution. weight_free[node]: the
    operations without weights that enter a node and are run, as (source, attribute of `Node`)
    pairs, and their mixing weights (K,).
    """

    def __init__(self, weights: Tensor, active: list[list[bool]]) -> None:
        self._weights = weights
        self._by_source = pick(weights, BY_SOURCE).T
        self._scales: dict[int, list[dict[int, Tensor]]] = {}
        self.wanted: list[dict[int, list[bool]]] = []
        for edges in LEAVING:
            own = {op: [active[e][op] for e in edges] for op in KERNELS}
            self.wanted.append(own)
        self.weight_free: list[tuple[list[tuple[int, str]], Tensor]] = []
        flat = weights.reshape(-1)
        for edges in ENTERING:
            places, positions = [], []
            for e, op in product(edges, WEIGHT_FREE):
                if active[e][op]:
                    source, _ = EDGES[e]
                    places.append((source, WEIGHT_FREE[op]))
                    positions.append(e * len(OPS) + op)
            self.weight_free.append((places, pick(flat, positions)))

    def scales(self, channels: int) -> list[dict[int, Tensor]]:
        """Per source and convolution the weights of its edges,
        each once per channel (edges * C,).
        """
        if channels not in self._scales:
            table = self._by_source.repeat_interleave(channels, dim=1)
            sizes = [len(edges) * channels for edges in LEAVING]
            by_source: list[dict[int, Tensor]] = [{} for _ in LEAVING]
            for op in KERNELS:
                for own, scale in zip(by_source, table[op].split(sizes), strict=True):
                    own[op] = scale
            self._scales[channels] = by_source
        return self._scales[channels]

    def around(self, node: int) -> Tensor:
        """The weight of each edge into a node (K,): the sum of its operations' weights."""
        return pick(self._weights, ENTERING[node]).sum(dim=1)


class SupernetCell(nn.Module):
    """One cell of all operations: (batch, C, H, W) -> the same shape.
    Can be measured: `leakage.Measurable`.
    """

    cell_type, edges, edge_ops = "cell", EDGES, (OPS,) * len(EDGES)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.fans = nn.ModuleList()
        for edges in LEAVING:
            fans = {str(op): Fan(channels, len(edges), k) for op, k in KERNELS.items()}
            self.fans.append(nn.ModuleDict(fans))

    def forward(self, x: Tensor, weights: StackedWeights) -> Tensor:
        nodes = [self.node(x)]
        # By node, the outputs of the convolutions that enter it.
        convolved: list[list[Tensor]] = [[] for _ in ENTERING]
        for target in (1, 2, 3):
            # The node before is complete, so all convolutions that leave it can run at once.
            self._convolve(target - 1, nodes[-1], weights, convolved)
            places, mixing = weights.weight_free[target]
            weight_free = [getattr(nodes[source], attribute) for source, attribute in places]
            if convolved[target] or weight_free:
                x = mixed_sum(convolved[target], weight_free, mixing)
            else:
                x = torch.zeros_like(nodes[0].x)
            x = self.join(x, nodes, weights)
            nodes.append(self.node(x))
        return x

    def _convolve(
        self, source: int, node: Node, weights: StackedWeights, convolved: list[list[Tensor]]
    ) -> None:
        """Run the wanted convolutions of a node,
        and hand each output to the node that its edge enters.
        """
        scales = weights.scales(self.channels)[source]
        for op in KERNELS:
            wanted = weights.wanted[source][op]
            if not any(wanted):
                continue
            outputs = self._fan(source, op)(node.activated, scales[op], wanted)
            running = compress(LEAVING[source], wanted)
            for e, output in zip(running, outputs, strict=True):
                _, target = EDGES[e]
                convolved[target].append(output)

    def _fan(self, source: int, op: int) -> nn.Module:
        return self.fans[source][str(op)]  # type: ignore[index]

    def node(self, x: Tensor) -> Node:
        return Node(x)

    def join(self, mixed: Tensor, nodes: list[Node], weights: StackedWeights) -> Tensor:
        """The next node, from the sum of the operations that enter it."""
        return mixed

    def enter(self, x: Tensor) -> list[Tensor]:
        return [x]

    def branches(self, edge: int, x: Tensor) -> list[Tensor]:
        source, _ = EDGES[edge]
        node = Node(x)
        outputs = [torch.zeros_like(x)] * len(OPS)  # those of none
        for op, attribute in WEIGHT_FREE.items():
            outputs[op] = getattr(node, attribute)
        wanted = [e == edge for e in LEAVING[source]]
        ones = x.new_ones(len(wanted) * self.channels)
        for op in KERNELS:
            (outputs[op],) = self._fan(source, op)(node.activated, ones, wanted)
        return outputs

    def leave(self, states: list[Tensor]) -> Tensor:
        return states[-1]


class PartialCell(SupernetCell):
    """A cell whose operations see one channel in `partial` (PC-DARTS):
    (batch, C, H, W) -> the same shape.

    The other channels go around them, weighted by the sum of the edge's weights; then the channels
    are shuffled, so that the next node's operations see others. Raises ValueError if `partial`
    does not divide C.
    """

    def __init__(self, channels: int, partial: int) -> None:
        check_partial(channels, partial)
        super().__init__(channels // partial)
        self.partial = partial

    def node(self, x: Tensor) -> Node:
        return PartialNode(x, self.channels)

    def join(self, mixed: Tensor, nodes: list[Node], weights: StackedWeights) -> Tensor:
        rests = [node.rest for node in nodes if isinstance(node, PartialNode)]
        around = mixed_sum([], rests, weights.around(len(nodes)))
        joined = torch.cat([mixed, around], dim=1)
        return F.channel_shuffle(joined, self.partial)

    def branches(self, edge: int, x: Tensor) -> list[Tensor]:
        raise NotImplementedError(
            "the operations of a partial cell see a part of the channels: nothing to compare"
        )


class Supernet(_Network):
    """The search network: images and mixing weights -> logits (batch, num_classes).

    images: (batch, 3, H, W). mix: {"cell": (6, 5)}. Operations of weight exactly 0 are not run,
    and their batch-norm statistics do not move. That is the same as running them unless dL/dmix of
    such a weight is wanted, so where mix requires a gradient every operation is run; `active` (per
    edge and operation, see `spaces.base.nonzero`) says otherwise.

    Raises ValueError if mix has other keys or shapes, for fewer than 1 channel or cell, for
    channels that do not fit, images whose sides 4 does not divide.
    """

    def __init__(self, channels: int, cells: int, num_classes: int, partial: int = 1) -> None:
        if partial > 1:
            super().__init__(PartialCell, channels, cells, num_classes, partial)
        else:
            super().__init__(SupernetCell, channels, cells, num_classes)
        self.partial = partial

    def forward(self, images: Tensor, mix: Mix, active: Active | None = None) -> Tensor:
        check_mix(mix, NASBench201.alpha_shapes)
        if active is None:
            active = active_operations(mix)
        weights = StackedWeights(mix["cell"], active["cell"])
        x = self.enter(images)
        for layer in self.layers:
            x = layer(x, weights) if isinstance(layer, SupernetCell) else layer(x)
        return self.classify(x)


class FinalCell(nn.Module):
    """One cell of a genotype: (batch, C, H, W) -> the same shape."""

    def __init__(self, channels: int, genotype: Genotype) -> None:
        super().__init__()
        self.nodes = genotype.cells[0].nodes
        self.convs = nn.ModuleDict()
        for target, pairs in enumerate(self.nodes, start=1):
            for op, source in pairs:
                kernel = KERNELS.get(OPS.index(op))
                if kernel is not None:
                    self.convs[f"{source}-{target}"] = ReLUConvBN(channels, channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for target, pairs in enumerate(self.nodes, start=1):
            terms = []
            for op, source in pairs:
                if op != "none":
                    terms.append(self._edge(op, states[source], f"{source}-{target}"))
            states.append(added(terms) if terms else torch.zeros_like(x))
        return states[-1]

    def _edge(self, op: str, x: Tensor, name: str) -> Tensor:
        if op == SKIP:
            return x
        if op == "avg_pool_3x3":
            return avg_pool_3x3(x)
        return self.convs[name](x)


class FinalNet(_Network):
    """The network of one cell: images (batch, 3, H, W) -> logits (batch, num_classes).

    Raises ValueError if the text is not a NAS-Bench-201 cell, and for fewer than 1 channel or
    cell.
    """

    def __init__(
        self, genotype: Genotype | str, channels: int, cells: int, num_classes: int
    ) -> None:
        cell = Genotype.parse(arch_of(genotype))
        super().__init__(FinalCell, channels, cells, num_classes, cell)
        self.genotype = cell

    def forward(self, images: Tensor) -> Tensor:
        x = self.enter(images)
        for layer in self.layers:
            x = layer(x)
        return self.classify(x)
