"""Random search without training: the operations are drawn, nothing is learned."""

from dataclasses import replace

import torch
from torch import Tensor

from nasutils import relax
from nasutils.methods.base import Method, Recipe
from nasutils.relax import Mix


class Random(Method):
    """alpha ~ 0.1 N(0, 1), never updated; its argmax is a uniformly random architecture."""

    name = "random"

    def __init__(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(*args, **kwargs)
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
