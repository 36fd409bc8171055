"""Search spaces by name."""

from nasutils.errors import choose
from nasutils.spaces import nasbench201
from nasutils.spaces.base import Space
from nasutils.spaces.nasbench201 import NASBench201

_SPACES: dict[str, type[Space]] = {"nasbench201": NASBench201}

names = tuple(_SPACES)


def get(name: str) -> Space:
    """The search space of that name. Raises ValueError naming the choices and the nearest one."""
    return _SPACES[choose("space", name, names)]()


__all__ = ["Space", "get", "names", "nasbench201"]
