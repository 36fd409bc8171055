"""Beyond the four papers: do three well-known answers cure the collapse, too? Exploratory, nothing
here is registered.

    perturbation  in bypass_leakage   selection by perturbation against argmax, in the same
                                      supernets (`training.selection`)
    smoothing     in sparsification   SmoothDARTS against DARTS, under the recipe of DARTS
                                      (`methods.sdarts`)
    skip_limit    in lr_swap          at most two skip connections against selective stop, of the
                                      same searches on S2 (`spaces.darts_policies`,
                                      `measures.stopping`)

Each is made of a notebook's parameters (`tasks`): all its runs, in one call. From them come an
accuracy (%) by seed and label, and from that a table, a figure and a sentence (`tables`).

    python -m nasutils.studies.rivals run | status
"""

from nasutils.studies.rivals.tables import (
    collapse,
    collapses,
    comparison,
    gains,
    limited,
    selected_cells,
    skips,
    strips,
    tabulated,
    tested,
)
from nasutils.studies.rivals.tasks import (
    COMPARISONS,
    Comparison,
    cured,
    perturbation,
    skip_limit,
    smoothing,
)

__all__ = [
    "COMPARISONS",
    "Comparison",
    "collapse",
    "collapses",
    "comparison",
    "cured",
    "gains",
    "limited",
    "perturbation",
    "selected_cells",
    "skip_limit",
    "skips",
    "smoothing",
    "strips",
    "tabulated",
    "tested",
]
