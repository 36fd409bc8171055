"""EDD-DARTS ("Small Temperature is All You Need", PAKDD 2023):
a temperature driven by the entropy of the softmax.

T = mu / ln(1 + D n) with D following the entropy: a flat distribution speeds the decay up, a sharp
one slows it down. Source: chaoji90/PCDEDD, PCDEDD-DARTS/train_search_pl.py.
"""

import math
from typing import Any

from nasutils.errors import positive, whole
from nasutils.methods import relax, schedules
from nasutils.methods.schedules import EDD
from nasutils.methods.small_temperature import SmallTemperature
from nasutils.spaces.base import Space


class EDDDARTS(SmallTemperature):
    """strength: s. warmup: first epoch that moves T.
    per_edge: H is the mean over edges, and not their sum.

    adaptive=False keeps the entropy at its maximum (open loop). noisy: the sparse-noisy softmax.
    Defaults that depend on the space: see `recipes.TABLE`.
    """

    name = "edd-darts"

    def __init__(
        self,
        space: Space,
        *,
        strength: float,
        warmup: int,
        per_edge: bool,
        adaptive: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.strength, self.warmup = positive("strength", strength), whole("warmup", warmup, 0)
        self.per_edge, self.adaptive = per_edge, adaptive
        self.state = EDD()

    def entropy(self) -> float:
        """H in nats at the current temperature, of the first cell type:
        the mean over its edges, or their sum.
        """
        first, alpha = next(iter(self.alphas.items()))
        scale = 1.0 / len(alpha) if self.per_edge else 1.0
        if self.adaptive:
            return scale * float(relax.entropy(self.inference()[first]).sum())
        rivals = self.space.competing(self.alphas)[first]
        return scale * sum(len(part) * math.log(part.shape[1]) for part in rivals)

    def begin_epoch(self, epoch: int) -> None:
        if schedules.edd_due(epoch, self.warmup):
            self.state = schedules.edd_update(self.state, epoch, self.entropy(), self.strength)
        self.temperature = self.state.temperature

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "decay": self.state.decay, "count": self.state.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.state = EDD(state["temperature"], state["decay"], state["count"])
