"""Random search without training: the operations are drawn, nothing is learned."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasutils.methods import relax
from nasutils.methods.base import Method, Recipe
from nasutils.spaces.base import Mix, Space


class Random(Method):
    """alpha ~ 0.1 N(0, 1), never updated; its argmax is a uniformly random architecture.

    Raises ValueError for an alpha_lr or alpha_decay.
    """

    name = "random"

    def __init__(self, space: Space, **common: Any) -> None:
        for name in ("alpha_lr", "alpha_decay"):
            if name in common:
                raise ValueError(f"{self.name} takes no {name}: its alpha never moves")
        super().__init__(space, **common)
        with torch.no_grad():
            for alpha in self.alphas.values():
                alpha.mul_(100)

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, epochs=0)

    def update(self, gradients: list[Tensor]) -> None:
        """Nothing: a random architecture does not learn."""

    def mixing(self) -> Mix:
        return self.relaxed(lambda a: relax.softmax(a, 1.0))
