"""SurgeNAS (Luo et al., 2022), as in the LHD benchmark:
an identity inside every operation, fading to 0; single level.

    f(x) = sum_o w_o (o(x) + c x)

An edge is linear in its mixing weights, so this is a skip connection of weight c * sum_o w_o; the
sum has a gradient where operations compete across edges (on an edge of its own it is 1). Where
that skip is: see `darts_minus`. Alpha and weights follow one loss on all training data. The
method's ordered sampling and hardware cost are not here, in neither preset (the reference code has
neither). Released, a skip that is not the identity runs once per operation, which its batch-norm
statistics show. The reference code: chaoji90/LHD, search/SurgeNAS.
"""

from typing import Any

from torch import Tensor

from nasutils.errors import positive
from nasutils.methods.base import Method
from nasutils.methods.darts_minus import carried_skips, with_added_skip
from nasutils.spaces.base import Mix, Space


class SurgeNAS(Method):
    """initial: c at the start; it falls linearly, to initial / epochs in the last epoch."""

    name = "surgenas"
    orders = ("together",)

    def __init__(self, space: Space, *, initial: float = 1.0, **common: Any) -> None:
        super().__init__(space, **common)
        self.initial = self.coefficient = positive("initial", initial)
        self.extra = self.supported_extras(
            "inner_skip" if self.preset == "released" else "auxiliary_skip"
        )
        self.skips = carried_skips(self)

    def begin_epoch(self, epoch: int) -> None:
        self.coefficient = self.initial * (1 - epoch / self.epochs)

    def mixing(self) -> Mix:
        return with_added_skip(super().mixing(), self.space, self.skips, self.added)

    def added(self, weights: Tensor) -> Tensor:
        """The weight of the skip that all operations share, c sum(w):
        (edges, operations) -> (edges, 1).
        """
        return self.coefficient * weights.sum(dim=-1, keepdim=True)
