"""PCD-DARTS ("Small Temperature is All You Need", PAKDD 2023): a periodic temperature and the sparse-noisy softmax.

Both ingredients can be exchanged, which gives the paper's ablations: other schedules, the plain gradient.
Specification 3.1 and 3.2.
"""

from dataclasses import replace
from typing import Any

from nasutils import relax, schedules
from nasutils.errors import choose, positive
from nasutils.methods.base import Method, Recipe
from nasutils.relax import Mix
from nasutils.spaces.base import Active, Space, everything


class PCDDARTS(Method):
    """schedule: `periodic` (PCD), `linear` (its control), `monotone` (exponential without cycles) or `constant`.

    decay: d of the exponential schedules. warmup: epochs at T = 1 before them. fixed: T of the constant one.
    noisy: add the gradient of a softmax at T = 1 (sparse-noisy softmax) or not.
    """

    name = "pcd-darts"
    SCHEDULES = ("periodic", "linear", "monotone", "constant")

    def __init__(
        self,
        space: Space,
        *,
        schedule: str = "periodic",
        decay: float = 0.11,
        warmup: int = 5,
        fixed: float = 1e-3,
        noisy: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.schedule = choose("temperature schedule", schedule, self.SCHEDULES)
        self.decay, self.fixed = positive("decay", decay), positive("fixed", fixed)
        self.warmup, self.noisy = warmup, noisy

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, weight_lr=0.025, weight_lr_end=0.025)

    def begin_epoch(self, epoch: int) -> None:
        self.temperature = {
            "periodic": lambda: schedules.pcd_temperature(epoch, self.decay, self.warmup),
            "linear": lambda: schedules.linear_temperature(epoch, self.warmup),
            "monotone": lambda: schedules.monotone_temperature(epoch, self.decay, self.warmup),
            "constant": lambda: 1.0 if epoch < self.warmup else self.fixed,
        }[self.schedule]()

    def mixing(self) -> Mix:
        return small_temperature_mix(self, self.noisy)

    def weight_mixing(self) -> Mix:
        return small_temperature_mix(self, noisy=False)

    def active_in_alpha_step(self, mix: Mix) -> Active:
        return everything(mix) if self.noisy else super().active_in_alpha_step(mix)


def small_temperature_mix(method: Method, noisy: bool) -> Mix:
    """softmax(alpha / T); the noisy gradient on every cell type (released: not on the reduction cell)."""
    quiet = {"reduce"} if method.preset == "released" else set()
    return {
        name: (relax.sparse_noisy_softmax if noisy and name not in quiet else relax.softmax)(a, method.temperature)
        for name, a in method.alphas.items()
    }
