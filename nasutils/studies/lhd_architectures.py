"""What the 135 architectures released with the LHD paper are like
(5 trials of 9 methods on 3 data sets), and random ones.

The package ships what was derived from their mixing weights (`tables/lhd_architectures.csv.gz`):
the genotype under each policy, and statistics. No accuracy was released with them. DARTS-,
Beta-DARTS and SurgeNAS have none.
"""

from functools import cache

import numpy as np
import pandas as pd

from nasutils import methods, paths, spaces
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.lhd import LHD

SPACE = LHD()
RELEASED_METHODS = (
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
"""The methods of which architectures were released, as in `methods.get`; the control first."""
TRIALS = (1, 2, 3, 4, 5)
ARM_OF_POLICY = {"base": "CIFAR-10, base", "1m": "CIFAR-10, 1m"}
"""Policies of the pilot -> name of the registered arm that trains the same networks again."""


@cache
def architectures() -> pd.DataFrame:
    """A row per architecture: dataset, method (as in `methods.get`), trial (1 to 5),
    and what its script keeps.
    """
    return pd.read_csv(paths.shipped("lhd_architectures.csv.gz"))


@cache
def _by_trial() -> pd.DataFrame:
    """The architectures by dataset, method and trial."""
    return architectures().set_index(["dataset", "method", "trial"])


def genotype(dataset: str, method: str, trial: int, policy: str = "base") -> Genotype:
    """A released architecture under a policy. Raises ValueError if there is none."""
    policy = SPACE.check_policy(policy)
    table = _by_trial()
    if (dataset, method, trial) not in table.index:
        raise ValueError(
            f"no architecture of {method!r} on {dataset!r}, trial {trial!r}, was released"
        )
    # `1m` keeps what `base` keeps; it raises the channels.
    kept = "base" if policy == "1m" else policy
    return Genotype.parse(table.loc[(dataset, method, trial), f"genotype_{kept}"])


@cache
def random_cell(space: str, number: int) -> str:
    """The random cell of a space with this seed."""
    method = methods.get("random", spaces.get(space), seed=number)
    return str(method.genotype())


def column(dataset: str, name: str) -> np.ndarray:
    """A column of the table for the architectures of a data set:
    (methods, trials), in the order of RELEASED_METHODS.
    """
    table = architectures()
    square = table[table["dataset"] == dataset].pivot(index="method", columns="trial", values=name)
    return square.loc[list(RELEASED_METHODS), list(TRIALS)].to_numpy(dtype=float)


def pilot_by_method() -> dict[str, dict[str, np.ndarray]]:
    """Accuracies (%) of the pilot's short trainings, by policy and method: (trials,).

    Methods in the order of RELEASED_METHODS, those that a policy has. See `tables/README.md`.
    """
    table = pd.read_csv(paths.shipped("lhd_pilot.csv")).sort_values("trial")
    found = {}
    for policy in table["policy"].unique():
        rows = table[table["policy"] == policy].set_index("method")["accuracy"]
        tested = [method for method in RELEASED_METHODS if method in rows.index]
        found[policy] = {method: rows[method].to_numpy(dtype=float) for method in tested}
    return found


def statistics() -> pd.DataFrame:
    """A row per data set and method: means over the trials,
    of the parameters (in millions) also the deviation.

    params_<policy>, params_<policy>_sd (over the trials themselves, not an estimate: n, not n -
    1); skips, sum, concat, entropy of the normal cell.
    """
    of_normal = ["skips", "sum", "concat", "entropy"]
    table = architectures().rename(columns={f"{name}_normal": name for name in of_normal})
    policies = [f"params_{policy}" for policy in SPACE.policies]
    table[policies] /= 1e6
    groups = table.groupby(["dataset", "method"], sort=False)
    means = groups[[*policies, *of_normal]].mean()
    deviations = groups[policies].std(ddof=0).add_suffix("_sd")
    return means.join(deviations).reset_index()
