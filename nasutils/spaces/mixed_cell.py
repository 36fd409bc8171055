"""A supernet's cell as the DARTS spaces and LHD have it:
nodes that are weighted sums over edges and operations.

How it is fast: see `sharing`. What an operation computes of a node alone is computed once for all
edges that leave the node, the weight of a convolution is the scale of its batch norm, and what has
no scale enters the sum in one step.

Partial channels (PC-DARTS): the operations see the first C / partial channels of a node; the
others go around them, weighted by the edge. Then the channels are shuffled, so that the next
node's operations see others.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.spaces.base import EdgeOps
from nasutils.spaces.graph import Edges, edge_stride
from nasutils.spaces.ops import Convs, DilatedConv, make_operation
from nasutils.spaces.pools import POOLS
from nasutils.spaces.sharing import Node, PartialNode, from_lattice, mixed_sum, pick


class CellWeights:
    """The mixing weights of one cell type during one forward, arranged as its cells use them.

    weights: (edges, columns). active: per edge and operation, whether it is run. around: (edges,),
    the weight of the channels that go around the operations of an edge, if there are any: the sum
    of `weights[:, columns]`.
    """

    def __init__(
        self, weights: Tensor, active: Sequence[Sequence[bool]], columns: slice = slice(None)
    ) -> None:
        self.weights = weights
        self.active = active
        self.around = weights[:, columns].sum(dim=1)
        self._scales: dict[int, list[tuple[Tensor, ...]]] = {}
        self._picked: dict[tuple[tuple[int, int], ...], Tensor] = {}

    def scales(self, channels: int) -> list[tuple[Tensor, ...]]:
        """Per edge and operation its weight, once per channel (C,)."""
        if channels not in self._scales:
            repeated = (
                self.weights.unsqueeze(-1).expand(*self.weights.shape, channels).contiguous()
            )
            self._scales[channels] = [edge.unbind() for edge in repeated.unbind()]
        return self._scales[channels]

    def picked(self, which: tuple[tuple[int, int], ...]) -> Tensor:
        """The weights (K,) of these (edge, operation) pairs."""
        if which not in self._picked:
            columns = self.weights.shape[1]
            positions = [edge * columns + op for edge, op in which]
            self._picked[which] = pick(self.weights.reshape(-1), positions)
        return self._picked[which]


class MixedCell(nn.Module):
    """The edges of a cell (a subclass wires them). edge_ops: the operations of each edge; columns:
    these, and then what is `extra` on all of them.

    ops: a module per edge and operation with weights, `<edge>_<name>`; norms: a batch norm per
    node and pool, `<source>_<name>`; `make_operations` makes both. channels: C, of all nodes; the
    attribute is C / partial, what the operations see.
    """

    edges: ClassVar[Edges]
    """(source, target) of each edge; nodes 0 and 1 are the cell's inputs."""
    idle: ClassVar[str]
    """The operation that adds nothing to a sum."""
    ops: nn.ModuleDict
    norms: nn.ModuleDict

    def __init__(
        self,
        cell_type: str,
        edge_ops: EdgeOps,
        channels: int,
        partial: int,
        extra: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.cell_type = cell_type
        self.edge_ops = edge_ops
        self.columns = tuple((*names, *extra) for names in edge_ops)
        self.channels = channels // partial
        self.partial = partial

    def make_operations(self, convs: Convs) -> None:
        """Fill `ops` and `norms`; once the inputs have their modules, which are drawn first."""
        self.ops = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        for edge, names in enumerate(self.columns):
            source, _ = self.edges[edge]
            for name in names:
                module = make_operation(name, self.channels, self.stride(edge), False, convs)
                if module is not None:
                    self.ops[f"{edge}_{name}"] = module
                    if name == "inner_skip":
                        # Its statistics move as if it ran once per operation.
                        operations = len(self.edge_ops[edge])
                        module.bn.momentum = 1 - 0.9**operations  # type: ignore[union-attr]
                elif name in POOLS:
                    norm = nn.BatchNorm2d(self.channels, affine=False)
                    self.norms[f"{source}_{name}"] = norm

    def stride(self, edge: int) -> int:
        source, _ = self.edges[edge]
        return edge_stride(self.cell_type, source)

    def node(self, x: Tensor) -> Node:
        """A node (batch, C, H, W) as the operations see it."""
        return Node(x) if self.partial == 1 else PartialNode(x, self.channels)

    def mixed(
        self,
        nodes: Sequence[Node],
        edges: Sequence[int],
        weights: CellWeights,
        shared: dict[str, Tensor],
    ) -> Tensor:
        """The sum (batch, C, H', W') over these edges, all that enter a node:
        of their operations, and around them.

        shared: keeps what edges share, for the whole cell.
        """
        through = self._through(nodes, edges, weights, shared)
        if self.partial == 1:
            return through
        around = self._around(nodes, edges, weights, shared)
        return F.channel_shuffle(torch.cat([through, around], dim=1), self.partial)

    def _through(
        self,
        nodes: Sequence[Node],
        edges: Sequence[int],
        weights: CellWeights,
        shared: dict[str, Tensor],
    ) -> Tensor:
        """The sum (batch, C / partial, H', W') over these edges and their operations."""
        scales = weights.scales(self.channels)
        scaled, on_lattice = _Sum(), _Sum()
        unweighted: dict[tuple[int, int], Tensor] = {}
        for edge, op in self._running(edges, weights):
            source, _ = self.edges[edge]
            node = nodes[source]
            name = self.columns[edge][op]
            if f"{edge}_{name}" not in self.ops:
                unweighted[edge, op] = self.unweighted(node, edge, name, shared)
                continue
            module = self.ops[f"{edge}_{name}"]
            scale = scales[edge][op]
            if isinstance(module, DilatedConv) and not module.strided and node.has_lattice:
                # Summed as sub-lattices: they are put together once per node, not once per
                # operation.
                on_lattice.add(module.on_lattice(node, scale))
            else:
                scaled.add(module(node, scale))
        if on_lattice.total is not None:
            scaled.add(from_lattice(on_lattice.total))
        if scaled.total is None and not unweighted:
            # Nothing runs: zeros of the shape that the edges put out.
            source, _ = self.edges[edges[0]]
            return torch.zeros_like(self.strided(nodes[source].x, edges[0]))
        branches = [] if scaled.total is None else [scaled.total]
        return mixed_sum(branches, list(unweighted.values()), weights.picked(tuple(unweighted)))

    def _running(self, edges: Sequence[int], weights: CellWeights) -> Iterator[tuple[int, int]]:
        """The (edge, operation) pairs that add something."""
        for edge in edges:
            for op, name in enumerate(self.columns[edge]):
                if weights.active[edge][op] and name != self.idle:
                    yield edge, op

    def _around(
        self,
        nodes: Sequence[Node],
        edges: Sequence[int],
        weights: CellWeights,
        shared: dict[str, Tensor],
    ) -> Tensor:
        """The weighted sum of what goes around the operations, pooled where they have a stride."""
        rests = []
        for edge in edges:
            source, _ = self.edges[edge]
            node, key = nodes[source], f"{source}_rest"
            assert isinstance(node, PartialNode)
            if key not in shared:
                shared[key] = F.max_pool2d(node.rest, 2) if self.stride(edge) == 2 else node.rest
            rests.append(shared[key])
        # The edges into a node follow each other, so their weights are a slice.
        return mixed_sum([], rests, weights.around[edges[0] : edges[-1] + 1])

    def unweighted(self, node: Node, edge: int, name: str, shared: dict[str, Tensor]) -> Tensor:
        """What an operation without weights of its own makes of a node:
        a pool with its batch norm, else a skip.
        """
        if name not in POOLS:
            return node.x
        key = f"{self.edges[edge][0]}_{name}"
        if key not in shared:
            shared[key] = self.norms[key](POOLS[name](node.x, self.stride(edge)))
        return shared[key]

    def strided(self, x: Tensor, edge: int) -> Tensor:
        """Pixels of x, every one or every second, as many as an edge puts out."""
        return x if self.stride(edge) == 1 else x[:, :, ::2, ::2]

    def branch(self, edge: int, name: str, node: Node) -> Tensor:
        """What one operation of an edge makes of a node, at weight 1."""
        if f"{edge}_{name}" in self.ops:
            return self.ops[f"{edge}_{name}"](node)
        return self.unweighted(node, edge, name, {})


class _Sum:
    """A sum of batch-norm outputs, accumulated in the first one.

    That is allowed, since the gradient of a batch norm needs its input, not its output.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def add(self, term: Tensor) -> None:
        self.total = term if self.total is None else self.total.add_(term)
