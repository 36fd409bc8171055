"""How `lhd_architectures.csv.gz` was made from the 135 searches that the LHD repository released.

    python nasutils/tables/lhd_architectures.py ARCHIVE.npz OUT.csv.gz

and `read`: one of its `.pl` files, mixing weights of a finished search, without unpickling it.

A pickle can run code when it is loaded. These are lists of four float32 arrays whose bytes lie at
the same offsets in all 135 released files (chaoji90/LHD, folder `results`), so the numbers are
copied from there, and a file of any other form is refused.
"""

import math
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nasutils.data import CLASSES
from nasutils.methods import relax
from nasutils.spaces.base import Mix
from nasutils.spaces.lhd import LHD
from nasutils.spaces.lhd_final import finalnet_parameters

SPACE, SKIP = LHD(), "skip_connect"
STRUCTURES = ("base", "3ops", "4out")
"""Policies whose genotypes differ; `1m` is a wider and deeper network of `base`'s."""
SIZE = 1480
OFFSETS = {"normal": 155, "reduce": 756, "normal_output": 1354, "reduce_output": 1432}
FIRST_BYTES, LAST_BYTES = b"\x80\x03]q\x00(cnumpy.core.multiarray\n_reconstruct\n", b"e."
"""Protocol 3, a list, its first entry an array; the end of the list and of the pickle."""
TOLERANCE = 1e-5
"""By how much the sum of a node's float32 weights may miss 1; the released ones do by 2.4e-7."""


def read(path: str | Path) -> Mix:
    """The mixing weights in a file, float32, with the keys and shapes of `LHD.alpha_shapes`.

    Raises ValueError naming the file and what does not fit, OSError if it cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(SIZE + 1)
    try:
        return parse(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a search result of the LHD repository: {error}") from None


def parse(content: bytes) -> Mix:
    """The mixing weights in the bytes of a file. Raises ValueError saying what does not fit."""
    if len(content) != SIZE:
        raise ValueError(
            f"it has {'more' if len(content) > SIZE else len(content)} bytes, not {SIZE}"
        )
    if not (content.startswith(FIRST_BYTES) and content.endswith(LAST_BYTES)):
        raise ValueError("it is no list of numpy arrays in protocol 3 of pickle")
    mix = {name: _array(content, name) for name in LHD.alpha_shapes}
    _check_values(mix)
    return mix


def _array(content: bytes, name: str) -> Tensor:
    at, shape = OFFSETS[name], LHD.alpha_shapes[name]
    size = 4 * prod(shape)
    announced = (
        b"C" + size.to_bytes(1, "little") if size < 256 else b"B" + size.to_bytes(4, "little")
    )
    if not content[:at].endswith(announced):
        raise ValueError(f"at byte {at} there are no {size} bytes of {name}, float32 {shape}")
    values = np.frombuffer(content, dtype="<f4", count=prod(shape), offset=at)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _check_values(mix: Mix) -> None:
    for name, weights in mix.items():
        if not ((weights >= 0) & (weights <= 1)).all():
            raise ValueError(f"{name} has values that are not in [0, 1]")
    for name, groups in LHD().competing(mix).items():
        worst = max(float((rows.sum(dim=-1) - 1).abs().max()) for rows in groups)
        if worst > TOLERANCE:
            raise ValueError(
                f"weights of {name} that compete do not sum to 1 (off by {worst:.2g})"
            )


# The table


def derived(archive: Path) -> pd.DataFrame:
    """The table that ships, from the mixing weights (npz:
    name, method, dataset and the arrays of `alpha_shapes`).

    Trials are numbered in the order of their files' names, which begin with the time.
    """
    with np.load(archive) as arrays:
        names, methods, datasets = (
            arrays[key].astype(str) for key in ("name", "method", "dataset")
        )
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

    genotype_<policy>: its text. channels_1m; params_<policy>: trainable weights without auxiliary
    head. By cell type and under `base`: skips, kept operations that are skips; sum, concat: nodes
    in the outputs; entropy: of the weights of a node's operations over that of a uniform
    distribution, mean over the nodes.
    """
    classes = CLASSES[dataset]
    genotypes = {policy: SPACE.discretize(mix, policy) for policy in STRUCTURES}
    found: dict[str, object] = {}
    for policy, genotype in genotypes.items():
        found[f"genotype_{policy}"] = str(genotype)
    base = genotypes["base"]
    found["channels_1m"], _ = SPACE.finalnet_size(base, "1m", classes)
    for policy in SPACE.policies:
        genotype = genotypes.get(policy, base)
        channels, cells = SPACE.finalnet_size(genotype, policy, classes)
        found[f"params_{policy}"] = finalnet_parameters(genotype, channels, cells, classes)
    nodes = SPACE.competing(mix)
    found |= {f"skips_{cell.name}": cell.ops.count(SKIP) for cell in base.cells}
    found |= {f"sum_{cell.name}": len(cell.sum) for cell in base.cells}
    found |= {f"concat_{cell.name}": len(cell.output) for cell in base.cells}
    for cell in base.cells:
        found[f"entropy_{cell.name}"] = round(_evenness(nodes[cell.name]), 6)
    return found


def _evenness(nodes: list[torch.Tensor]) -> float:
    shares = []
    for p in nodes:
        entropy = relax.entropy(p.double()).mean().item()
        shares.append(entropy / math.log(p.shape[-1]))
    return sum(shares) / len(shares)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    derived(source).to_csv(target, index=False)
