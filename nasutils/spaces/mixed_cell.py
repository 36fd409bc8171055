"""A supernet's cell as the DARTS spaces and LHD have it: nodes that are weighted sums over edges and operations.

How it is fast: what an operation computes of a node alone (its ReLU, a pool with its batch norm, the sub-lattices of
dilated convolutions) is computed once for all edges that leave the node; the weight of a convolution is the scale of
its batch norm; what has no scale enters the sum by one contraction per node.

Partial channels (PC-DARTS): the operations see the first C / partial channels of a node; the others go around them,
weighted by the edge. Then the channels are shuffled, so that the next node's operations see others.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.spaces.ops import POOLS, DilatedConv, Node, PartialNode, from_lattice, mixed_sum, pick

EdgeOps = tuple[tuple[str, ...], ...]


class Plan:
    """The mixing weights of one cell type during one forward, arranged as its cells use them.

    weights: (edges, columns). around: (edges,), the weights of what goes around the operations: the sum of some columns
    (given as a slice; none is a column as any other).
    """

    def __init__(self, weights: Tensor, active: Sequence[Sequence[bool]], around: slice = slice(None)) -> None:
        self.weights, self.active, self.around = weights, active, weights[:, around].sum(dim=1)
        self._scales: dict[int, list[tuple[Tensor, ...]]] = {}
        self._picked: dict[tuple[tuple[int, int], ...], Tensor] = {}

    def scales(self, channels: int) -> list[tuple[Tensor, ...]]:
        """Per edge and operation its weight, once per channel (C,)."""
        if channels not in self._scales:
            spread = self.weights.unsqueeze(-1).expand(*self.weights.shape, channels).contiguous()
            self._scales[channels] = [edge.unbind() for edge in spread.unbind()]
        return self._scales[channels]

    def picked(self, which: tuple[tuple[int, int], ...]) -> Tensor:
        """The weights (K,) of these (edge, operation) pairs."""
        if which not in self._picked:
            positions = [e * self.weights.shape[1] + k for e, k in which]
            self._picked[which] = pick(self.weights.reshape(-1), positions)
        return self._picked[which]


class MixedCell(nn.Module):
    """The edges of a cell (a subclass wires them): kind, the cell type, and edge_ops, the operations of each edge.

    ops: a module per edge and operation with weights, `<edge>_<name>`; norms: a batch norm per node and pool,
    `<source>_<name>`. Both are made by the subclass. channels: C, of all nodes; the attribute is C / partial, what the
    operations see.
    """

    edges: ClassVar[tuple[tuple[int, int], ...]]
    """(source, target); 0 and 1 are the inputs."""
    idle: ClassVar[str]
    """The operation that adds nothing to a sum."""
    ops: nn.ModuleDict
    norms: nn.ModuleDict

    def __init__(self, kind: str, edge_ops: EdgeOps, channels: int, partial: int) -> None:
        super().__init__()
        self.kind, self.edge_ops, self.channels, self.partial = kind, edge_ops, channels // partial, partial

    def stride(self, edge: int) -> int:
        return 2 if self.kind == "reduce" and self.edges[edge][0] < 2 else 1

    def node(self, x: Tensor) -> Node:
        """A node (batch, C, H, W) as the operations see it."""
        return Node(x) if self.partial == 1 else PartialNode(x, self.channels)

    def mixed(self, nodes: Sequence[Node], edges: Sequence[int], plan: Plan, shared: dict[str, Tensor]) -> Tensor:
        """The sum (batch, C, H', W') over these edges, all that enter a node: of their operations, and around them.

        shared: keeps what edges share, for the whole cell.
        """
        through = self._through(nodes, edges, plan, shared)
        if self.partial == 1:
            return through
        return F.channel_shuffle(torch.cat([through, self._around(nodes, edges, plan, shared)], dim=1), self.partial)

    def _through(self, nodes: Sequence[Node], edges: Sequence[int], plan: Plan, shared: dict[str, Tensor]) -> Tensor:
        """The sum (batch, C / partial, H', W') over these edges and their operations."""
        scales = plan.scales(self.channels)
        branches, lattice = _Sum(), _Sum()
        unweighted: dict[tuple[int, int], Tensor] = {}
        for e in edges:
            node = nodes[self.edges[e][0]]
            for k, name in enumerate(self.edge_ops[e]):
                if not plan.active[e][k] or name == self.idle:
                    continue
                if f"{e}_{name}" not in self.ops:
                    unweighted[e, k] = self.unweighted(node, e, name, shared)
                    continue
                op = self.ops[f"{e}_{name}"]
                if isinstance(op, DilatedConv) and not op.strided and node.has_lattice:
                    lattice.add(op.on_lattice(node, scales[e][k]))
                else:
                    branches.add(op(node, scales[e][k]))
        if lattice.total is not None:
            branches.add(from_lattice(lattice.total))
        terms = [] if branches.total is None else [branches.total]
        if not terms and not unweighted:
            return torch.zeros_like(self.strided(nodes[self.edges[edges[0]][0]].x, edges[0]))
        return mixed_sum(terms, list(unweighted.values()), plan.picked(tuple(unweighted)))

    def _around(self, nodes: Sequence[Node], edges: Sequence[int], plan: Plan, shared: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what goes around the operations, pooled where they have a stride."""
        rests = []
        for e in edges:
            node, key = nodes[self.edges[e][0]], f"{self.edges[e][0]}_rest"
            assert isinstance(node, PartialNode)
            if key not in shared:
                shared[key] = F.max_pool2d(node.rest, 2) if self.stride(e) == 2 else node.rest
            rests.append(shared[key])
        return mixed_sum([], rests, plan.around[edges[0] : edges[-1] + 1])

    def unweighted(self, node: Node, edge: int, name: str, shared: dict[str, Tensor]) -> Tensor:
        """What an operation without weights of its own makes of a node: a pool with its batch norm, else a skip."""
        if name not in POOLS:
            return node.x
        key = f"{self.edges[edge][0]}_{name}"
        if key not in shared:
            shared[key] = self.norms[key](POOLS[name](node.x, self.stride(edge)))
        return shared[key]

    def strided(self, x: Tensor, edge: int) -> Tensor:
        """As many pixels of x as an edge puts out."""
        return x if self.stride(edge) == 1 else x[:, :, ::2, ::2]

    def branch(self, edge: int, name: str, node: Node) -> Tensor:
        """What one operation of an edge makes of a node, at weight 1."""
        if f"{edge}_{name}" in self.ops:
            return self.ops[f"{edge}_{name}"](node)
        return self.unweighted(node, edge, name, {})


class _Sum:
    """A sum of batch-norm outputs, accumulated in place (a batch norm keeps its input, not its output)."""

    def __init__(self) -> None:
        self.total: Tensor | None = None

    def add(self, term: Tensor) -> None:
        self.total = term if self.total is None else self.total.add_(term)
