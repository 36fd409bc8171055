"""PCD-DARTS ("Small Temperature is All You Need", PAKDD 2023): a periodic temperature and the sparse-noisy softmax.

Both ingredients can be exchanged, which gives the paper's ablations: other schedules, the plain gradient.
Specification 3.1 and 3.2.
"""

from typing import Any, ClassVar

from nasutils.errors import choose, positive, whole
from nasutils.methods import schedules
from nasutils.methods.small_temperature import SmallTemperature
from nasutils.spaces.base import Space


class PCDDARTS(SmallTemperature):
    """schedule: `periodic` (PCD), `linear` (its control), `monotone` (exponential without cycles) or `constant`.

    decay: d of the exponential schedules. warmup: epochs at T = 1 before any. fixed: T of the constant one, 1e-3.
    top: T from which each cycle of the linear one falls, 1.
    None is the paper's setting on the space: d = 0.11 (S1 0.10, S3 0.12, S4 0.13); 5 epochs on NAS-Bench-201, 0
    elsewhere. noisy: add the gradient of a softmax at T = 1 (sparse-noisy softmax) or not.

    Raises ValueError for a decay, a fixed or a top T that the schedule does not use.
    """

    name = "pcd-darts"
    DECAY: ClassVar[dict[str, float]] = {"s1": 0.10, "s3": 0.12, "s4": 0.13}
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
        schedule: str = "periodic",
        decay: float | None = None,
        warmup: int | None = None,
        fixed: float | None = None,
        top: float | None = None,
        noisy: bool = True,
        **common: Any,
    ) -> None:
        super().__init__(space, noisy=noisy, **common)
        self.schedule = choose("temperature schedule", schedule, self.SCHEDULES)
        for name, value in (("decay", decay), ("fixed", fixed), ("top", top)):
            if value is not None and name != self.SCHEDULES[schedule]:
                raise ValueError(f"the {schedule} schedule of {self.name} does not use {name}: leave it out")
        self.decay = positive("decay", self.DECAY.get(space.name, 0.11) if decay is None else decay)
        self.warmup = (5 if space.name == "nasbench201" else 0) if warmup is None else whole("warmup", warmup, 0)
        self.fixed = positive("fixed", 1e-3 if fixed is None else fixed)
        self.top = positive("top", 1.0 if top is None else top)

    def begin_epoch(self, epoch: int) -> None:
        self.temperature = {
            "periodic": lambda: schedules.pcd_temperature(epoch, self.decay, self.warmup),
            "linear": lambda: schedules.linear_temperature(epoch, self.warmup, self.top),
            "monotone": lambda: schedules.monotone_temperature(epoch, self.decay, self.warmup),
            "constant": lambda: 1.0 if epoch < self.warmup else self.fixed,
        }[self.schedule]()
