"""What the figures of `notebooks/sparsification.ipynb` alone say, computed."""

import pandas as pd

from nasutils.studies.readings import counted
from nasutils.studies.sparsification.results import Results


def gradients(table: pd.DataFrame) -> str:
    """What the figure of this name says, from its table."""
    later = table[table["alpha"] == table["alpha"].iloc[-1]]
    coldest = later["temperature"].min()
    norm = later[later["temperature"] == coldest].set_index("softmax")["norm"]
    return (
        f"Once alpha has grown, at T = {coldest:.0e} the plain gradient has a norm of"
        f" {norm['plain']:.1e} and the sparse-noisy one of {norm['sparse-noisy']:.2f}: only the"
        " second still tells the operations apart."
    )


def temperatures(table: pd.DataFrame) -> str:
    """What the figure of this name says, from its table."""
    coldest = {label: table[label].min() for label in table.columns.drop("epoch")}
    parts = "; ".join(f"{label} {value:.1e}" for label, value in coldest.items())
    last = table.iloc[-1].drop("epoch")
    return (
        f"The smallest temperatures are: {parts}. At the end {last.idxmin()} is the coldest, at T"
        f" = {last.min():.1e}."
    )


def frozen(results: Results) -> str:
    """How many searches have edges whose alpha no longer moves."""
    table = results.frozen()
    if table["frozen"].isna().all():
        return "These searches are too short to tell whether alpha stands still."
    still = table[table["frozen"] > 0]["method"].value_counts()
    found = counted(int(still.sum()), len(table))
    told = f"Alpha stood still on some edge over the last 10 epochs in {found} searches"
    if len(still):
        told += f" ({', '.join(f'{count} of {label}' for label, count in still.items())})"
    return f"{told}."
