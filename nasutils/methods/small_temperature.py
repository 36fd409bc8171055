"""What PCD- and EDD-DARTS ("Small Temperature is All You Need", PAKDD 2023) share; specification 2.2, 3.1, 3.4, 5.4."""

from dataclasses import replace
from typing import Any

from nasutils.methods import relax
from nasutils.methods.base import S_SPACES, Method, Recipe
from nasutils.spaces.base import Active, Mix, Space, everything


class SmallTemperature(Method):
    """softmax(alpha / T), the weight rate 0.025 throughout. noisy: the alpha step takes the sparse-noisy gradient.

    As released: on S1-S4 the weight step softmaxes twice, and rounded weights decide the genotype.
    """

    def __init__(self, space: Space, *, noisy: bool = True, **common: Any) -> None:
        super().__init__(space, **common)
        self.noisy, self.batch = noisy, 192 if space.name in S_SPACES else 80
        if self.preset == "released" and space.name not in ("nasbench201", "lhd"):
            self.policy = "top2-s1-s4" if space.name in S_SPACES else "top2-small-temperature"

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, weight_lr=0.025, weight_lr_end=0.025)

    def mixing(self) -> Mix:
        """The noisy gradient on every cell type (released: not on the reduction cell)."""
        mix = dict(self.relaxed(lambda a: relax.softmax(a, self.temperature)))
        if self.noisy:
            noisy = self.relaxed(lambda a: relax.sparse_noisy_softmax(a, self.temperature))
            mix.update({k: m for k, m in noisy.items() if k != "reduce" or self.preset == "published"})
        return mix

    def weight_mixing(self) -> Mix:
        twice = self.preset == "released" and self.space.name in S_SPACES
        return self.relaxed(lambda a: (relax.double_softmax if twice else relax.softmax)(a, self.temperature))

    def active_in_alpha_step(self, mix: Mix) -> Active:
        return everything(mix) if self.noisy else super().active_in_alpha_step(mix)
