"""Base of those baselines of the LHD benchmark that grew out of DARTS.

Source: chaoji90/LHD, folder `search`.
"""

from nasutils.methods import relax
from nasutils.methods.base import Method
from nasutils.spaces.base import Mix


class Baseline(Method):
    """Softmax of alpha at T = 1 and Adam."""

    def mixing(self) -> Mix:
        return self.relaxed(relax.softmax_at(1.0))
