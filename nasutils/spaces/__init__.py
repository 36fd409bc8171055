"""What can be found: search spaces, their supernets and final networks, their genotypes.

base: what a space is. genotype, catalogue: a cell as a value, and published ones. ops: candidate operations.
"""

from nasutils.errors import choose
from nasutils.spaces import nasbench201
from nasutils.spaces.base import Space
from nasutils.spaces.darts import DARTS, S1, S2, S3, S4, Darts7
from nasutils.spaces.lhd import LHD
from nasutils.spaces.nasbench201 import NASBench201

S_SPACES = (S1.name, S2.name, S3.name, S4.name)
"""Those of RobustDARTS."""
_SPACES: dict[str, type[Space]] = {s.name: s for s in (NASBench201, DARTS, Darts7, S1, S2, S3, S4, LHD)}

names = tuple(_SPACES)


def get(name: str) -> Space:
    """The search space of that name. Raises ValueError naming the choices and the nearest one."""
    return _SPACES[choose("space", name, names)]()


__all__ = ["S_SPACES", "Space", "get", "names", "nasbench201"]
