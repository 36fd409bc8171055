"""SP-DARTS (Zhang & Ding, ICDM 2021): mixed-sparsity training at two temperatures.

Iteration i of epoch e is sparse (temperature T_s) with probability C_e and dense (ratio * T_s)
otherwise; both of its updates use that temperature. No penalty, no decay on alpha. Source: the
authors' code, chaoji90/SP-DARTS, SP-DARTS/train_search_mf.py.
"""

from dataclasses import replace
from typing import Any

import torch

from nasutils.errors import choose, positive
from nasutils.methods import relax, schedules
from nasutils.methods.base import Method
from nasutils.methods.schedules import TwoTemperatures
from nasutils.spaces.base import Mix, Space


class SPDARTS(Method):
    """sparse: T_s. ratio: T_d / T_s. schedule: how C_e grows.
    twice: the weight step softmaxes twice.

    schedule: `linear` from 0 to 1 after a dense epoch 0; `cifar100`, that of NAS-Bench-201 on
    CIFAR-100 (to 0.8, with T_s = 6e-4 from epoch 45 of 50 on; sparse=1.3e-3 goes with it);
    `offset` from 0.8 on (S1-S4); `always` sparse or `never`; `warmup` to 1 after a tenth of dense
    epochs (LHD). Defaults that depend on the space: see `recipes.TABLE`. As released, rounded
    weights decide the genotype, and on S1-S4 the weight step softmaxes twice.
    """

    name = "sp-darts"
    SCHEDULES = ("linear", "cifar100", "offset", "warmup", "always", "never")
    LATE = 6e-4

    def __init__(
        self,
        space: Space,
        *,
        sparse: float,
        ratio: float,
        schedule: str,
        twice: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.sparse = positive("sparse", sparse)
        self.ratio = positive("ratio", ratio)
        self.schedule = choose("schedule of C", schedule, self.SCHEDULES)
        self.twice = twice
        self.now = TwoTemperatures(1.0, 10.0, 0.0)
        self.step_temperature = 10.0

    def begin_epoch(self, epoch: int) -> None:
        """Epoch 0 is dense at T = 10 (the released NAS-Bench-201 script has no T there),
        but for S1-S4.
        """
        linear = schedules.sp_linear(epoch, self.epochs, self.sparse, self.ratio)
        now = {
            "linear": lambda: linear,
            "cifar100": lambda: schedules.sp_cifar100(
                epoch, self.epochs, self.sparse, self.LATE, self.ratio
            ),
            "offset": lambda: schedules.sp_offset(epoch, self.epochs, self.sparse, self.ratio),
            "warmup": lambda: schedules.sp_warmup(epoch, self.epochs, self.sparse, self.ratio),
            "always": lambda: replace(linear, probability=float(epoch > 0)),
            "never": lambda: replace(linear, probability=0.0),
        }[self.schedule]()
        self.now, self.temperature = now, now.sparse if now.probability > 0 else now.dense

    def begin_step(self) -> None:
        draw = torch.rand((), generator=self.generator, dtype=torch.float64).item()
        self.step_temperature = self.now.sparse if draw < self.now.probability else self.now.dense

    def mixing(self) -> Mix:
        return self.relaxed(lambda a: relax.softmax(a, self.step_temperature))

    def weight_mixing(self) -> Mix:
        softmax = relax.double_softmax if self.twice else relax.softmax
        return self.relaxed(lambda a: softmax(a, self.step_temperature))
