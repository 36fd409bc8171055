"""PCD-DARTS ("Small Temperature is All You Need", PAKDD 2023):
a periodic temperature and the sparse-noisy softmax.

Both ingredients can be exchanged, which gives the paper's ablations: other schedules, the plain
gradient.
Source: chaoji90/PCDEDD, PCDEDD-DARTS/train_search_cyc.py and architect_cyc.py.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar

from nasutils.errors import choose, positive, whole
from nasutils.methods import schedules
from nasutils.methods.small_temperature import SmallTemperature
from nasutils.spaces.base import Space


class PCDDARTS(SmallTemperature):
    """schedule: `periodic` (PCD), `linear` (its control),
    `monotone` (exponential without cycles) or `constant`.

    decay: d of the exponential schedules. warmup: epochs at T = 1 before any (by default those of
    CIFAR-10; on CIFAR-100 the paper takes 10). fixed: T of the constant one, 1e-3. top: T from
    which each cycle of the linear one falls, 1.
    The cycles of the first two are those of a search of 50 epochs however long it is: one of 20
    epochs ends as T rises, see `schedules.pcd_temperature`.
    noisy: add the gradient of a softmax at T = 1 (sparse-noisy softmax) or not. Defaults that
    depend on the space: see `recipes.TABLE`.
    """

    name = "pcd-darts"
    SCHEDULES: ClassVar[dict[str, str]] = {
        "periodic": "decay",
        "linear": "top",
        "monotone": "decay",
        "constant": "fixed",
    }
    """What each schedule uses of decay, fixed and top."""

    def __init__(
        self,
        space: Space,
        *,
        decay: float,
        warmup: int,
        schedule: str = "periodic",
        fixed: float = 1e-3,
        top: float = 1.0,
        **common: Any,
    ) -> None:
        super().__init__(space, **common)
        self.schedule = choose("temperature schedule", schedule, self.SCHEDULES)
        self.decay, self.warmup = positive("decay", decay), whole("warmup", warmup, 0)
        self.fixed, self.top = positive("fixed", fixed), positive("top", top)

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """Refuse those of decay, fixed and top that the schedule does not use."""
        own = signature(cls).parameters.get("schedule")
        usual = "periodic" if own is None else own.default
        schedule = choose("temperature schedule", given.get("schedule", usual), cls.SCHEDULES)
        for name in ("decay", "fixed", "top"):
            if name in given and name != cls.SCHEDULES[schedule]:
                raise ValueError(
                    f"the {schedule} schedule of {cls.name} does not use {name}: leave it out"
                )

    def begin_epoch(self, epoch: int) -> None:
        match self.schedule:
            case "periodic":
                self.temperature = schedules.pcd_temperature(epoch, self.decay, self.warmup)
            case "linear":
                self.temperature = schedules.linear_temperature(epoch, self.warmup, self.top)
            case "monotone":
                self.temperature = schedules.monotone_temperature(epoch, self.decay, self.warmup)
            case "constant":
                self.temperature = 1.0 if epoch < self.warmup else self.fixed
