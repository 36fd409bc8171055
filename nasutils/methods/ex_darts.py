"""EX-DARTS: the learning rates of weights and alpha change places.

The weights move at 3e-4 and alpha at 0.025, both constant: the initial values are swapped, not the
schedules (alpha never had one) nor the optimizers. Source: Zhang & Ding, CIKM 2021 (arXiv
2109.13466); chaoji90/SP-DARTS, AutoDL-Projects_sp/setup/exchange.
"""

from nasutils.methods.darts import DARTS


class EXDARTS(DARTS):
    """DARTS with the two rates exchanged, which its rows of `recipes.TABLE` do."""

    name = "ex-darts"
