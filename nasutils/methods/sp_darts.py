"""SP-DARTS (Zhang & Ding, ICDM 2021): mixed-sparsity training at two temperatures.

Iteration i of epoch e is sparse (temperature T_s) with probability C_e and dense (ratio * T_s) otherwise;
both of its updates use that temperature. No penalty, no decay on alpha. Specification 2.1.
"""

from dataclasses import replace
from typing import Any

import torch

from nasutils import relax, schedules
from nasutils.errors import choose, positive
from nasutils.methods.base import Method, Recipe
from nasutils.relax import Mix
from nasutils.schedules import TwoTemperatures
from nasutils.spaces.base import Space


class SPDARTS(Method):
    """sparse: T_s. ratio: T_d / T_s. schedule: how C_e grows, `linear` from 0 to 1, or `always` or `never` sparse."""

    name = "sp-darts"
    SCHEDULES = ("linear", "always", "never")

    def __init__(
        self,
        space: Space,
        *,
        sparse: float = 1.1e-3,
        ratio: float = 11.0,
        schedule: str = "linear",
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.sparse, self.ratio = positive("sparse", sparse), positive("ratio", ratio)
        self.schedule = choose("schedule of C", schedule, self.SCHEDULES)
        self.now = TwoTemperatures(1.0, 10.0, 0.0)
        self.step_temperature = 10.0

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, weight_lr=0.05, weight_lr_end=0.05)

    def begin_epoch(self, epoch: int) -> None:
        """Epoch 0 is dense at T = 10, what the released NAS-Bench-201 script lacks (specification 2.1)."""
        now = schedules.sp_linear(epoch, self.epochs, self.sparse, self.ratio)
        if epoch and self.schedule != "linear":
            now = replace(now, probability=float(self.schedule == "always"))
        self.now, self.temperature = now, now.sparse if now.probability > 0 else now.dense

    def begin_step(self) -> None:
        draw = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        self.step_temperature = self.now.sparse if draw < self.now.probability else self.now.dense

    def mixing(self) -> Mix:
        return {name: relax.softmax(a, self.step_temperature) for name, a in self.alphas.items()}
