"""EDD-DARTS ("Small Temperature is All You Need", PAKDD 2023): a temperature driven by the entropy of the softmax.

T = mu / ln(1 + D n) with D following the entropy: a flat distribution speeds the decay up, a sharp one slows
it down. Specification 3.3.
"""

import math
from dataclasses import replace
from typing import Any

from nasutils import relax, schedules
from nasutils.errors import positive
from nasutils.methods.base import Method, Recipe
from nasutils.methods.pcd_darts import small_temperature_mix
from nasutils.relax import Mix
from nasutils.schedules import EDD
from nasutils.spaces.base import Active, Space, everything


class EDDDARTS(Method):
    """strength: s. warmup: first epoch that moves T. adaptive=False keeps the entropy at its maximum (open loop).

    noisy: the sparse-noisy softmax; by default on, but off in the released NAS-Bench-201 scripts.
    """

    name = "edd-darts"

    def __init__(
        self,
        space: Space,
        *,
        strength: float = 0.04,
        warmup: int = 10,
        adaptive: bool = True,
        noisy: bool | None = None,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.strength, self.warmup, self.adaptive = positive("strength", strength), warmup, adaptive
        switched_off = self.preset == "released" and space.name == "nasbench201"
        self.noisy = not switched_off if noisy is None else noisy
        self.state = EDD()

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, weight_lr=0.025, weight_lr_end=0.025)

    def entropy(self) -> float:
        """H in nats at the current temperature: the sum over edges on NAS-Bench-201, the mean elsewhere."""
        first = next(iter(self.alphas))
        edges, ops = self.alphas[first].shape
        scale = 1.0 if self.space.name == "nasbench201" else 1.0 / edges
        if not self.adaptive:
            return scale * edges * math.log(ops)
        return scale * float(relax.entropy(self.inference()[first]).sum())

    def begin_epoch(self, epoch: int) -> None:
        if schedules.edd_due(epoch, self.warmup):
            self.state = schedules.edd_update(self.state, epoch, self.entropy(), self.strength)
        self.temperature = self.state.temperature

    def mixing(self) -> Mix:
        return small_temperature_mix(self, self.noisy)

    def weight_mixing(self) -> Mix:
        return small_temperature_mix(self, noisy=False)

    def active_in_alpha_step(self, mix: Mix) -> Active:
        return everything(mix) if self.noisy else super().active_in_alpha_step(mix)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "decay": self.state.decay, "count": self.state.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.state = EDD(state["temperature"], state["decay"], state["count"])
