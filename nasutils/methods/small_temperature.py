"""What PCD- and EDD-DARTS share ("Small Temperature is All You Need", PAKDD 2023,
arXiv 2306.06855).

Source of the details: the authors' code, chaoji90/PCDEDD, `architect_cyc.py` and
`train_search_*.py`.
"""

from typing import Any

from nasutils.methods import relax
from nasutils.methods.base import Method
from nasutils.spaces.base import Active, Mix, Space, everything


class SmallTemperature(Method):
    """Mixing weights softmax(alpha / T). noisy: the alpha step has the sparse-noisy gradient.
    twice: the weight step softmaxes twice.

    As released: on S1-S4 the weight step softmaxes twice, and rounded weights decide the genotype.
    """

    def __init__(
        self, space: Space, *, noisy: bool = True, twice: bool = False, **common: Any
    ) -> None:
        super().__init__(space, **common)
        self.noisy, self.twice = noisy, twice

    def mixing(self) -> Mix:
        """The noisy gradient on every cell type (released: not on the reduction cell)."""
        mix = dict(self.relaxed(relax.softmax_at(self.temperature)))
        if self.noisy:
            noisy = self.relaxed(lambda a: relax.sparse_noisy_softmax(a, self.temperature))
            for name, weights in noisy.items():
                if name != "reduce" or self.preset == "published":
                    mix[name] = weights
        return mix

    def weight_mixing(self) -> Mix:
        softmax = relax.double_softmax if self.twice else relax.softmax
        return self.relaxed(lambda a: softmax(a, self.temperature))

    def active_in_alpha_step(self, mix: Mix) -> Active:
        return everything(mix) if self.noisy else super().active_in_alpha_step(mix)
