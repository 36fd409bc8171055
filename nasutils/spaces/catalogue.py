"""Published genotypes of the DARTS family by name,
with the size of their networks (`tables/genotypes.csv`).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from nasutils import paths
from nasutils.errors import choose
from nasutils.spaces.genotype import Genotype


@dataclass(frozen=True)
class Published:
    """A genotype as published. space: in which it was found
    (`darts` for the hand-made cells, too).

    params, macs: trainable weights and multiply-adds for one 32 x 32 image of the network with C =
    36, 20 cells, 10 classes, no auxiliary head.
    """

    name: str
    space: str
    params: int
    macs: int
    source: str
    genotype: Genotype


@cache
def catalogue() -> dict[str, Published]:
    """All published genotypes by name, ordered by space."""
    text = paths.shipped("genotypes.csv").read_text()
    return {row["name"]: _published(row) for row in csv.DictReader(text.splitlines())}


def _published(row: Mapping[str, str]) -> Published:
    return Published(
        name=row["name"],
        space=row["space"],
        params=int(row["params"]),
        macs=int(row["macs"]),
        source=row["source"],
        genotype=Genotype.parse(row["genotype"]),
    )


def get(name: str) -> Published:
    """The genotype of that name, e.g. DARTS_V2.
    Raises ValueError naming the choices and the nearest one.
    """
    return catalogue()[choose("published genotype", name, catalogue())]
