"""GAEA, single level: weights and simplex follow the same loss on all training data,
both from one pass.

Empirical risk minimisation without a validation split; rule and presets as in `gaea_bilevel`.
"""

from nasutils.methods.gaea_bilevel import GAEABilevel
from nasutils.methods.single_level import SingleLevel


class GAEAERM(SingleLevel, GAEABilevel):
    """Options as of gaea-bilevel."""

    name = "gaea-erm"
