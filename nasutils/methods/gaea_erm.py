"""GAEA, single level: weights and simplex follow the same loss on all training data,
both from one pass.

Empirical risk minimisation without a validation split; rule and presets as in `gaea_bilevel`. One
pass is what chaoji90/LHD, search does; the authors' own code (liamcli/gaea_release, cnn) steps the
simplex first, on another batch of the same data.
"""

from nasutils.methods.gaea_bilevel import GAEABilevel


class GAEAERM(GAEABilevel):
    """GAEA, single level, with the options of `GAEABilevel`."""

    name = "gaea-erm"
    orders = ("together",)
