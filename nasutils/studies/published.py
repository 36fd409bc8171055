"""Published results of other methods, to stand beside ours and marked as what they are.

All are from other papers' full protocols, none was computed here; see `tables/README.md`.
"""

import pandas as pd

from nasutils import paths


def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(paths.shipped(name))


NASBENCH201 = _read("published_nasbench201.csv")
"""Test accuracy (%) of the searched cells: method, a column per data set, source."""

_ERRORS = _read("published_errors.csv")
S_SPACE_RESULTS = _ERRORS[_ERRORS["space"] != "darts"]
"""Test error (%) on RobustDARTS's spaces: dataset, space, method, error, sd, source.
DARTS-PT's table has a DARTS column of its own; its entries are single numbers, whose
protocol is not said to be that of its own rows."""
DARTS_SPACE = _ERRORS[_ERRORS["space"] == "darts"].drop(columns=["dataset", "space"])
"""CIFAR-10 test error (%) of cells found on the DARTS space: method, error, sd, source."""
