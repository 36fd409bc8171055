"""What the 135 architectures released with the LHD paper are like (5 trials of 9 methods on 3 data sets).

The package ships what was derived from their mixing weights (`tables/lhd_architectures.csv.gz`): the genotype under
each policy, and statistics. No accuracy was released with them. DARTS-, Beta-DARTS and SurgeNAS have none.
"""

import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from nasutils.methods import relax
from nasutils.spaces.base import Mix
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.lhd import LHD
from nasutils.spaces.lhd_cells import KINDS
from nasutils.spaces.lhd_final import parameters

SPACE, SKIP = LHD(), "skip_connect"


CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10}


STRUCTURES = ("base", "3ops", "4out")
"""Policies whose genotypes differ; `1m` is a wider and deeper network of `base`'s."""


@cache
def architectures() -> pd.DataFrame:
    """A row per architecture: dataset, method (as in `methods.get`), trial (1 to 5), and `row`."""
    with (files("nasutils") / "tables" / "lhd_architectures.csv.gz").open("rb") as file:
        return pd.read_csv(file, compression="gzip")


def genotype(dataset: str, method: str, trial: int, policy: str = "base") -> Genotype:
    """A released architecture under a policy. Raises ValueError if there is none."""
    table = architectures()
    policy = SPACE.check_policy(policy)
    found = table[(table["dataset"] == dataset) & (table["method"] == method) & (table["trial"] == trial)]
    if found.empty:
        raise ValueError(f"no architecture of {method!r} on {dataset!r}, trial {trial!r}, was released")
    return Genotype.parse(found[f"genotype_{'base' if policy == '1m' else policy}"].item())


def derived(archive: Path) -> pd.DataFrame:
    """The table that ships, from the mixing weights (npz: name, method, dataset and the arrays of `alpha_shapes`).

    Trials are numbered in the order of their files' names, which begin with the time.
    """
    with np.load(archive) as arrays:
        names, methods, datasets = (arrays[key].astype(str) for key in ("name", "method", "dataset"))
        weights = {key: torch.from_numpy(arrays[key]) for key in SPACE.alpha_shapes}
    mixes = [{key: w[i] for key, w in weights.items()} for i in range(len(names))]
    table = pd.DataFrame(
        {"dataset": dataset, "method": method.lower(), "file": name, **row(mix, dataset)}
        for dataset, method, name, mix in zip(datasets, methods, names, mixes, strict=True)
    )
    trial = table.groupby(["dataset", "method"])["file"].rank().astype(int)
    table.insert(2, "trial", trial)
    return table


def row(mix: Mix, dataset: str) -> Mapping[str, object]:
    """What is kept of the mixing weights of an architecture that is evaluated on a data set.

    genotype_<policy>: its text. channels_1m; params_<policy>: trainable weights without auxiliary head. By cell type
    and under `base`: skips, kept operations that are skips; sum, concat: nodes in the outputs; entropy: of the
    weights of a node's operations over that of a uniform distribution, mean over the nodes.
    """
    genotypes = {policy: SPACE.discretize(mix, policy) for policy in STRUCTURES}
    sizes = {p: SPACE.finalnet_size(genotypes.get(p, genotypes["base"]), p, CLASSES[dataset]) for p in SPACE.policies}
    kinds = dict(zip(KINDS, genotypes["base"].cells, strict=True))
    nodes = SPACE.competing(mix)
    return {
        **{f"genotype_{policy}": str(genotype) for policy, genotype in genotypes.items()},
        "channels_1m": sizes["1m"][0],
        **{
            f"params_{policy}": parameters(genotypes.get(policy, genotypes["base"]), channels, cells, CLASSES[dataset])
            for policy, (channels, cells) in sizes.items()
        },
        **{f"skips_{kind}": _skips(cell) for kind, cell in kinds.items()},
        **{f"sum_{kind}": len(cell.sum) for kind, cell in kinds.items()},
        **{f"concat_{kind}": len(cell.output) for kind, cell in kinds.items()},
        **{f"entropy_{kind}": round(_evenness(nodes[kind]), 6) for kind in KINDS},
    }


def _skips(cell: Cell) -> int:
    return sum(op == SKIP for node in cell.nodes for op, _ in node)


def _evenness(nodes: list[torch.Tensor]) -> float:
    shares = [relax.entropy(p.double()).mean().item() / math.log(p.shape[-1]) for p in nodes]
    return sum(shares) / len(shares)


def statistics() -> pd.DataFrame:
    """A row per data set and method: means over the trials, of the parameters (in millions) also the deviation.

    params_<policy>, params_<policy>_sd (over the trials themselves, not an estimate: n, not n - 1); skips, sum,
    concat, entropy of the normal cell.
    """
    table = architectures().rename(columns={f"{name}_normal": name for name in ("skips", "sum", "concat", "entropy")})
    policies = [f"params_{policy}" for policy in SPACE.policies]
    table[policies] /= 1e6
    groups = table.groupby(["dataset", "method"], sort=False)
    means = groups[[*policies, "skips", "sum", "concat", "entropy"]].mean()
    return means.join(groups[policies].std(ddof=0).add_suffix("_sd")).reset_index()


def operations() -> pd.DataFrame:
    """The share of each operation among those that `base` keeps, by method over all data sets: methods x operations."""
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
