"""Random search without training: the operations are drawn, nothing is learned."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasutils.methods.base import Method
from nasutils.methods.recipes import Recipe
from nasutils.spaces.base import Space


class Random(Method):
    """alpha ~ 0.1 N(0, 1), never updated; its argmax is a uniformly random architecture."""

    name = "random"

    def __init__(self, space: Space, **common: Any) -> None:
        super().__init__(space, **common)
        with torch.no_grad():
            for alpha in self.alphas.values():
                alpha.mul_(100)

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """Refuse a rate and a decay of alpha: random search moves none."""
        for name in ("alpha_lr", "alpha_decay"):
            if name in given:
                raise ValueError(f"{cls.name} takes no {name}: its alpha never moves")

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, epochs=0)

    def update(self, gradients: list[Tensor]) -> None:
        """Nothing: a random architecture does not learn."""
