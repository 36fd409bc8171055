"""What those baselines of the LHD benchmark share that grew out of DARTS.

Source: chaoji90/LHD, folder `search`.
"""

from nasutils.methods import relax
from nasutils.methods.base import Method
from nasutils.spaces.base import Mix


class Baseline(Method):
    """Softmax of alpha at T = 1 and Adam."""

    def mixing(self) -> Mix:
        return self.relaxed(lambda a: relax.softmax(a, 1.0))
