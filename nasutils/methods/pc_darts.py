"""PC-DARTS (Xu et al., ICLR 2020): the operations see one channel in k, the others go around them;
edges have weights.

    node_j = sum_i b_ij * shuffle(concat(sum_o w_o o(x_i), rest of x_i))
    b_.j = softmax(beta_.j) over incoming edges

The mixing weights are b w. As w sums to 1 over an edge, their sum is b, by which a supernet of
partial channels weighs what goes around. Alpha rests for the first 15 epochs. On LHD, where
operations compete across edges, b w is such a joint distribution, the softmax of w still that of
an edge. Released (LHD): no edge weights, the space's softmax; what goes around is not weighted:
its weight is 1, the sum over an edge where the operations of an edge compete (NAS-Bench-201, the
DARTS spaces) and an extra column where those of a node do. Source of that: chaoji90/LHD,
search/PC-DARTS.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasutils.errors import whole
from nasutils.methods import relax
from nasutils.methods.base import Method, with_column
from nasutils.methods.recipes import Recipe
from nasutils.spaces.base import Mix, Space


class PCDARTS(Method):
    """partial: k. warmup: epochs in which alpha rests."""

    name = "pc-darts"

    def __init__(self, space: Space, *, warmup: int, partial: int = 4, **common: Any) -> None:
        super().__init__(space, **common)
        self.partial = whole("partial", partial)
        self.warmup = whole("warmup", warmup, 0)
        if self.preset == "published":
            betas = {}
            for cell_type in space.cell_types:
                betas[f"{cell_type} edges"] = self._initial(self.alphas[cell_type])
            self.alphas |= betas
            self.optimizer.add_param_group({"params": list(betas.values())})
        elif self.partial > 1:
            self.extra = self.supported_extras("rest")

    def _initial(self, alpha: Tensor) -> Tensor:
        draw = torch.randn(len(alpha), generator=self.generator, dtype=torch.float64)
        return (1e-3 * draw).to(alpha).requires_grad_()

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, alpha_from=self.warmup)

    def mixing(self) -> Mix:
        return self.evaluated(self._mixing())

    def inference(self) -> Mix:
        with torch.no_grad():
            return self._mixing()

    def _mixing(self) -> Mix:
        if self.preset == "released":
            return super().mixing()
        mix = dict(self.relaxed(relax.softmax_at(1.0), edgewise=True))
        for cell_type in self.space.cell_types:
            edges = edge_weights(self.alphas[f"{cell_type} edges"])
            mix[cell_type] = edges.unsqueeze(-1) * mix[cell_type]
        return mix

    def evaluated(self, mix: Mix) -> Mix:
        """What goes around has the weight 1 in an extra column,
        also where the supernet is evaluated.
        """
        if not self.extra:
            return mix
        return with_column(mix, self.space.cell_types, lambda w: torch.ones_like(w[:, :1]))


def edge_weights(beta: Tensor) -> Tensor:
    """Softmax over the edges that enter the same node:
    beta (edges,) -> (edges,), each node's sum is 1.
    """
    return torch.cat([part.softmax(dim=0) for part in beta.split(incoming(len(beta)))])


def incoming(edges: int) -> list[int]:
    """How many edges enter each node of a cell whose node i has all earlier nodes and 1 or 2
    inputs before it.

    Raises ValueError if no such cell has that many edges.
    """
    for inputs in (1, 2):
        sizes = [inputs]
        while sum(sizes) < edges:
            sizes.append(sizes[-1] + 1)
        if sum(sizes) == edges:
            return sizes
    raise ValueError(f"no cell whose nodes see all earlier ones has {edges} edges")
