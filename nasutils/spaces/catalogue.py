"""Published genotypes of the DARTS family by name, with the size of their networks (`tables/genotypes.csv`)."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from nasutils.errors import choose
from nasutils.spaces.genotype import Genotype


@dataclass(frozen=True)
class Published:
    """A genotype as published. space: in which it was found (`darts` for the hand-made cells, too).

    params, macs: trainable weights and multiply-adds for one 32 x 32 image of the network with C = 36, 20 cells,
    10 classes, no auxiliary head.
    """

    name: str
    space: str
    params: int
    macs: int
    source: str
    genotype: Genotype


@cache
def catalogue() -> dict[str, Published]:
    """All of them by name, ordered by space."""
    text = (files("nasutils") / "tables" / "genotypes.csv").read_text()
    return {
        row["name"]: Published(
            row["name"],
            row["space"],
            int(row["params"]),
            int(row["macs"]),
            row["source"],
            Genotype.parse(row["genotype"]),
        )
        for row in csv.DictReader(text.splitlines())
    }


def get(name: str) -> Published:
    """The genotype of that name, e.g. DARTS_V2. Raises ValueError naming the choices and the nearest one."""
    return catalogue()[choose("published genotype", name, catalogue())]
