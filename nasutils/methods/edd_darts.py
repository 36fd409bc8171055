"""EDD-DARTS ("Small Temperature is All You Need", PAKDD 2023): a temperature driven by the entropy of the softmax.

T = mu / ln(1 + D n) with D following the entropy: a flat distribution speeds the decay up, a sharp one slows
it down. Specification 3.3.
"""

import math
from typing import Any, ClassVar

from nasutils.errors import positive, whole
from nasutils.methods import relax, schedules
from nasutils.methods.schedules import EDD
from nasutils.methods.small_temperature import SmallTemperature
from nasutils.spaces.base import Space


class EDDDARTS(SmallTemperature):
    """strength: s. warmup: first epoch that moves T. None is the paper's setting on the space.

    adaptive=False keeps the entropy at its maximum (open loop). noisy: the sparse-noisy softmax; by default on,
    but off in the released NAS-Bench-201 scripts.
    """

    name = "edd-darts"
    STRENGTH: ClassVar[dict[str, float]] = {"nasbench201": 0.04, "s1": 0.12, "s2": 0.24, "s3": 0.48, "s4": 0.96}

    def __init__(
        self,
        space: Space,
        *,
        strength: float | None = None,
        warmup: int | None = None,
        adaptive: bool = True,
        noisy: bool | None = None,
        **common: Any,
    ) -> None:
        switched_off = common.get("preset") == "released" and space.name == "nasbench201"
        super().__init__(space, noisy=not switched_off if noisy is None else noisy, **common)
        self.strength = positive("strength", self.STRENGTH.get(space.name, 0.06) if strength is None else strength)
        self.warmup = (10 if space.name == "nasbench201" else 5) if warmup is None else whole("warmup", warmup, 0)
        self.adaptive = adaptive
        self.state = EDD()

    def entropy(self) -> float:
        """H in nats at the current temperature: the sum over edges on NAS-Bench-201, the mean elsewhere."""
        first = next(iter(self.alphas))
        scale = 1.0 if self.space.name == "nasbench201" else 1.0 / len(self.alphas[first])
        if not self.adaptive:
            rivals = self.space.competing(self.alphas)[first]
            return scale * sum(len(part) * math.log(part.shape[1]) for part in rivals)
        return scale * float(relax.entropy(self.inference()[first]).sum())

    def begin_epoch(self, epoch: int) -> None:
        if schedules.edd_due(epoch, self.warmup):
            self.state = schedules.edd_update(self.state, epoch, self.entropy(), self.strength)
        self.temperature = self.state.temperature

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "decay": self.state.decay, "count": self.state.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.state = EDD(state["temperature"], state["decay"], state["count"])
