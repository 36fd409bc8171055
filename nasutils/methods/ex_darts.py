"""EX-DARTS ("Delve into the Performance Degradation of DARTS"): the learning rates of weights and alpha change places.

The weights move at 3e-4 and alpha at 0.025, both constant: the initial values are swapped, not the schedules
(alpha never had one) nor the optimizers. Specification 4.1.
"""

from dataclasses import replace
from typing import Any

from nasutils.methods.base import Recipe
from nasutils.methods.darts import DARTS
from nasutils.spaces.base import Space


class EXDARTS(DARTS):
    """DARTS, alpha at the rate alpha_lr and the weights at 3e-4."""

    name = "ex-darts"

    def __init__(self, space: Space, *, alpha_lr: float = 0.025, **common: Any) -> None:
        super().__init__(space, alpha_lr=alpha_lr, **common)

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, weight_lr=3e-4, weight_lr_end=3e-4)
