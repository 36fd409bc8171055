"""What the 135 architectures released with the LHD paper are like
(5 trials of 9 methods on 3 data sets).

The package ships what was derived from their mixing weights (`tables/lhd_architectures.csv.gz`):
the genotype under each policy, and statistics. No accuracy was released with them. DARTS-,
Beta-DARTS and SurgeNAS have none.
"""

from functools import cache
from importlib.resources import files

import numpy as np
import pandas as pd

from nasutils.spaces.genotype import Genotype
from nasutils.spaces.lhd import LHD

SPACE = LHD()
METHODS = (
    "random",
    "darts",
    "milenas",
    "gaea-bilevel",
    "gaea-erm",
    "drnas",
    "gdas",
    "pc-darts",
    "sp-darts",
)
"""Those whose architectures were released, the control first."""
TRIALS = (1, 2, 3, 4, 5)


@cache
def architectures() -> pd.DataFrame:
    """A row per architecture: dataset, method (as in `methods.get`), trial (1 to 5),
    and what its script keeps.
    """
    with (files("nasutils") / "tables" / "lhd_architectures.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip")


def genotype(dataset: str, method: str, trial: int, policy: str = "base") -> Genotype:
    """A released architecture under a policy. Raises ValueError if there is none."""
    table = architectures()
    policy = SPACE.check_policy(policy)
    found = table[
        (table["dataset"] == dataset) & (table["method"] == method) & (table["trial"] == trial)
    ]
    if found.empty:
        raise ValueError(
            f"no architecture of {method!r} on {dataset!r}, trial {trial!r}, was released"
        )
    return Genotype.parse(found[f"genotype_{'base' if policy == '1m' else policy}"].item())


def column(dataset: str, name: str) -> np.ndarray:
    """A column of the table for the architectures of a data set:
    (methods, trials), in the order of METHODS.
    """
    table = architectures()
    square = table[table["dataset"] == dataset].pivot(index="method", columns="trial", values=name)
    return square.loc[list(METHODS), list(TRIALS)].to_numpy(dtype=float)


def pilot_by_method() -> dict[str, dict[str, np.ndarray]]:
    """Accuracies (%) of the pilot's short trainings, by policy and method: (trials,).

    Methods in the order of METHODS, those that a policy has. See `tables/README.md`.
    """
    table = pd.read_csv(files("nasutils") / "tables" / "lhd_pilot.csv").sort_values("trial")
    groups = {
        (str(policy), str(method)): rows["accuracy"].to_numpy(dtype=float)
        for (policy, method), rows in table.groupby(["policy", "method"])
    }
    return {
        policy: {m: groups[policy, m] for m in METHODS if (policy, m) in groups}
        for policy in table["policy"].unique()
    }


def pilot() -> dict[str, np.ndarray]:
    """The same by policy: (methods, trials)."""
    return {policy: np.stack([*rows.values()]) for policy, rows in pilot_by_method().items()}


def statistics() -> pd.DataFrame:
    """A row per data set and method: means over the trials,
    of the parameters (in millions) also the deviation.

    params_<policy>, params_<policy>_sd (over the trials themselves, not an estimate: n, not n -
    1); skips, sum, concat, entropy of the normal cell.
    """
    table = architectures().rename(
        columns={f"{name}_normal": name for name in ("skips", "sum", "concat", "entropy")}
    )
    policies = [f"params_{policy}" for policy in SPACE.policies]
    table[policies] /= 1e6
    groups = table.groupby(["dataset", "method"], sort=False)
    means = groups[[*policies, "skips", "sum", "concat", "entropy"]].mean()
    return means.join(groups[policies].std(ddof=0).add_suffix("_sd")).reset_index()


def operations() -> pd.DataFrame:
    """The share of each operation among those that `base` keeps, by method over all data sets:
    methods x operations.
    """
    table, ops = architectures(), SPACE.ops
    counts = {
        method: np.sum([_counts(Genotype.parse(text), ops) for text in texts], axis=0)
        for method, texts in table.groupby("method", sort=False)["genotype_base"]
    }
    shares = {method: count / count.sum() for method, count in counts.items()}
    return pd.DataFrame.from_dict(shares, orient="index", columns=list(ops))


def _counts(genotype: Genotype, ops: tuple[str, ...]) -> np.ndarray:
    kept = [op for cell in genotype.cells for node in cell.nodes for op, _ in node]
    return np.array([kept.count(op) for op in ops], dtype=float)
