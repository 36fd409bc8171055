"""What the baselines of the LHD benchmark that grew out of DARTS share; specification (LHD) 3 and 4."""

from typing import Any

from nasutils.methods import relax
from nasutils.methods.base import Method
from nasutils.spaces.base import Mix, Space


class Baseline(Method):
    """Softmax of alpha at T = 1 and Adam; alpha_decay: None is DARTS's 1e-3 as published, and 0 as released."""

    def __init__(
        self, space: Space, *, preset: str = "published", alpha_decay: float | None = None, **common: Any
    ) -> None:
        if alpha_decay is None:
            alpha_decay = 1e-3 if preset == "published" else 0.0
        super().__init__(space, preset=preset, alpha_decay=alpha_decay, **common)

    def mixing(self) -> Mix:
        return self.relaxed(lambda a: relax.softmax(a, 1.0))
