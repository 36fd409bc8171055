"""SP-DARTS (Zhang & Ding, ICDM 2021): mixed-sparsity training at two temperatures.

Iteration i of epoch e is sparse (temperature T_s) with probability C_e and dense (ratio * T_s) otherwise;
both of its updates use that temperature. No penalty, no decay on alpha. Specification 2.1 and 2.2.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch

from nasutils.errors import choose, positive
from nasutils.methods import relax, schedules
from nasutils.methods.base import S_SPACES, Method, Recipe
from nasutils.methods.schedules import TwoTemperatures
from nasutils.spaces.base import Mix, Space


class SPDARTS(Method):
    """sparse: T_s. ratio: T_d / T_s. schedule: how C_e grows. None is the paper's setting on the space.

    schedule: `linear` from 0 to 1 after a dense epoch 0; `cifar100`, that of NAS-Bench-201 on CIFAR-100 (to 0.8, with
    T_s = 6e-4 from epoch 45 of 50 on; sparse=1.3e-3 goes with it); `offset` from 0.8 on (S1-S4); `always` sparse
    or `never`; `warmup` to 1 after a tenth of dense epochs (LHD). T_s is 1.1e-3 on NAS-Bench-201, 1e-3 on the DARTS
    space, 7e-4 to 4e-4 on S1 to S4, 1.5e-3 on LHD; the ratio is 11 on NAS-Bench-201 and 10 elsewhere. As
    released: on S1-S4 T_s = 3e-4 (the README's values are taken by no script), the weight step softmaxes twice, and
    rounded weights decide the genotype.
    """

    name = "sp-darts"
    SCHEDULES = ("linear", "cifar100", "offset", "warmup", "always", "never")
    SPARSE: ClassVar[dict[str, float]] = {
        **{"s1": 7e-4, "s2": 6e-4, "s3": 5e-4, "s4": 4e-4},
        **{"nasbench201": 1.1e-3, "lhd": 1.5e-3},
    }
    LATE = 6e-4

    def __init__(
        self,
        space: Space,
        *,
        sparse: float | None = None,
        ratio: float | None = None,
        schedule: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        small, released = space.name in S_SPACES, self.preset == "released"
        usual = 3e-4 if small and released else self.SPARSE.get(space.name, 1e-3)
        self.sparse = positive("sparse", usual if sparse is None else sparse)
        self.ratio = positive("ratio", (11.0 if space.name == "nasbench201" else 10.0) if ratio is None else ratio)
        usually = "offset" if small else "warmup" if space.name == "lhd" else "linear"
        self.schedule = choose("schedule of C", usually if schedule is None else schedule, self.SCHEDULES)
        self.batch, self.twice = 128 if small else 80, small and released
        if released and space.name not in ("nasbench201", "lhd"):
            self.policy = "top2-s1-s4" if small else "top2-sp"
        self.now = TwoTemperatures(1.0, 10.0, 0.0)
        self.step_temperature = 10.0

    @property
    def recipe(self) -> Recipe:
        rate = 0.025 if self.space.name in (*S_SPACES, "lhd") else 0.05
        return replace(super().recipe, weight_lr=rate, weight_lr_end=rate)

    def begin_epoch(self, epoch: int) -> None:
        """Epoch 0 is dense at T = 10 (the released NAS-Bench-201 script has no T there), but for S1-S4."""
        linear = schedules.sp_linear(epoch, self.epochs, self.sparse, self.ratio)
        now = {
            "linear": lambda: linear,
            "cifar100": lambda: schedules.sp_cifar100(epoch, self.epochs, self.sparse, self.LATE, self.ratio),
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
        return self.relaxed(lambda a: (relax.double_softmax if self.twice else relax.softmax)(a, self.step_temperature))
