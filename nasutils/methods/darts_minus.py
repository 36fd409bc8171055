"""DARTS- (Chu et al., ICLR 2021): an auxiliary skip connection on every edge,
whose coefficient fades to 0.

    f(x) = b x + sum_o w_o o(x)

The auxiliary skip is an extra column of the mixing weights, with weights of its own where the
stride is 2, whatever the candidates of an edge are. On NAS-Bench-201, where every edge has a skip
and all are the identity, it is the weight w_skip + b: an edge is linear in its mixing weights. So
it is in own spaces that offer no `auxiliary_skip`. b has no gradient and is not part of what is
judged. Sources: Meituan-AutoML/DARTS-, src/search/model_search.py; chaoji90/LHD, search/DARTS-.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nasutils.errors import choose, positive
from nasutils.methods import schedules
from nasutils.methods.base import Method, with_column
from nasutils.spaces.base import SKIP, Mix, Rule, Space, operations_of_edges


class DARTSMinus(Method):
    """initial: b at the start. fading: how b falls over the search:
    `linear`, `cosine`, or `never`.
    """

    name = "darts-minus"
    FADINGS = ("linear", "cosine", "never")

    def __init__(
        self, space: Space, *, initial: float = 1.0, fading: str = "linear", **common: Any
    ) -> None:
        super().__init__(space, **common)
        self.initial = self.coefficient = positive("initial", initial)
        self.fading = choose("fading", fading, self.FADINGS)
        self.extra = self.supported_extras("auxiliary_skip")
        self.skips = carried_skips(self)

    def begin_epoch(self, epoch: int) -> None:
        """b is 0 at the end of the last epoch. In it, the linear one is initial / epochs."""
        if self.fading == "linear":
            self.coefficient = self.initial * (1 - epoch / self.epochs)
        elif self.fading == "cosine":
            self.coefficient = schedules.cosine(epoch, self.epochs, self.initial)

    def mixing(self) -> Mix:
        return with_added_skip(super().mixing(), self.space, self.skips, self.added)

    def added(self, weights: Tensor) -> Tensor:
        """The weight of the added skip, b: (edges, operations) -> (edges, 1)."""
        return torch.full_like(weights[:, :1], self.coefficient)


def with_added_skip(mix: Mix, space: Space, skips: Mix, weight: Rule) -> Mix:
    """Mixing weights with a skip connection added to every edge: to the weight of its candidate
    skip, or in a column of its own.

    skips: where the candidates are, see `carried_skips`. weight: of the added one, from the
    weights (edges, operations) of a cell type: (edges, 1).
    """
    if not skips:
        return with_column(mix, space.cell_types, weight)
    return {**mix, **{name: mix[name] + weight(mix[name]) * skip for name, skip in skips.items()}}


def carried_skips(method: Method) -> dict[str, Tensor]:
    """The candidate skips that carry what a method adds, see `skip_masks`, like its alphas;
    none where its supernet has an extra column for that.
    """
    if method.extra:
        return {}
    masks = skip_masks(method.space, method.name)
    return {name: mask.to(method.alphas[name]) for name, mask in masks.items()}


def skip_masks(space: Space, method: str) -> Mapping[str, Tensor]:
    """1 where an edge's operation is the skip connection, else 0:
    (edges, operations) of each cell type.

    Raises ValueError naming the method if the space has none.
    """
    masks = {}
    for cell_type in space.cell_types:
        edge_ops = operations_of_edges(space, cell_type)
        rows = [[float(op == SKIP) for op in ops] for ops in edge_ops]
        masks[cell_type] = torch.tensor(rows, dtype=torch.float64)
    if not any(mask.any() for mask in masks.values()):
        raise ValueError(f"{method} adds to skip connections, and the space {space.name} has none")
    return masks
