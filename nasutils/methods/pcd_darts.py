"""PCD-DARTS ("Small Temperature is All You Need", PAKDD 2023): a periodic temperature and the sparse-noisy softmax.

Both ingredients can be exchanged, which gives the paper's ablations: other schedules, the plain gradient.
Specification 3.1 and 3.2.
"""

from typing import Any, ClassVar

from nasutils import schedules
from nasutils.errors import choose, positive
from nasutils.methods.small_temperature import SmallTemperature
from nasutils.spaces.base import Space


class PCDDARTS(SmallTemperature):
    """schedule: `periodic` (PCD), `linear` (its control), `monotone` (exponential without cycles) or `constant`.

    decay: d of the exponential schedules. warmup: epochs at T = 1 before them. fixed: T of the constant one. None is
    the paper's setting on the space: d = 0.11 (S1 0.10, S3 0.12, S4 0.13); 5 epochs on NAS-Bench-201, 0 elsewhere.
    noisy: add the gradient of a softmax at T = 1 (sparse-noisy softmax) or not.
    """

    name = "pcd-darts"
    DECAY: ClassVar[dict[str, float]] = {"s1": 0.10, "s3": 0.12, "s4": 0.13}
    SCHEDULES = ("periodic", "linear", "monotone", "constant")

    def __init__(
        self,
        space: Space,
        *,
        schedule: str = "periodic",
        decay: float | None = None,
        warmup: int | None = None,
        fixed: float = 1e-3,
        noisy: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(space, noisy=noisy, **common)
        self.schedule = choose("temperature schedule", schedule, self.SCHEDULES)
        self.decay = positive("decay", self.DECAY.get(space.name, 0.11) if decay is None else decay)
        self.warmup = (5 if space.name == "nasbench201" else 0) if warmup is None else warmup
        self.fixed = positive("fixed", fixed)

    def begin_epoch(self, epoch: int) -> None:
        self.temperature = {
            "periodic": lambda: schedules.pcd_temperature(epoch, self.decay, self.warmup),
            "linear": lambda: schedules.linear_temperature(epoch, self.warmup),
            "monotone": lambda: schedules.monotone_temperature(epoch, self.decay, self.warmup),
            "constant": lambda: 1.0 if epoch < self.warmup else self.fixed,
        }[self.schedule]()
