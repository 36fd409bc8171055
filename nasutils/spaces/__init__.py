"""What can be found: search spaces, their supernets and final networks, their genotypes.

base: what a space is. genotype, catalogue: a cell as a value, and published ones. ops: candidate
operations.
"""

from nasutils.registry import Registry
from nasutils.spaces import nasbench201
from nasutils.spaces.base import Space
from nasutils.spaces.darts import DARTS, S1, S2, S3, S4, Darts7
from nasutils.spaces.lhd import LHD
from nasutils.spaces.nasbench201 import NASBench201

S_SPACES = (S1.name, S2.name, S3.name, S4.name)
"""Names of the spaces of RobustDARTS."""
_WANTED = ("ops", "alpha_shapes", "num_architectures", "policies")


def _check(cls: type[Space]) -> None:
    """Raise ValueError unless an own space has what every space has, and a recipe,
    which no table has for it.
    """
    if missing := [name for name in _WANTED if not getattr(cls, name, None)]:
        raise ValueError(
            f"{cls.__qualname__} must have {', '.join(missing)}, see nasutils.spaces.base.Space"
        )
    for given in (NASBench201, LHD):
        fixed = issubclass(cls, given) and cls.supernet is given.supernet
        if fixed and cls.ops != given.ops:
            raise ValueError(
                f"{cls.__qualname__} must have the operations of {given.name}, whose networks it"
                " builds; where some of them do not compete, see docs/own_space.md"
            )
    if cls.recipe is None:
        rule = "recipe = nasutils.methods.Recipe(split='half', batch=64)"
        raise ValueError(
            f"{cls.__qualname__} must say what a search on it asks of the loop: {rule}"
        )
    try:
        cls()
    except TypeError as error:
        raise ValueError(f"{cls.__qualname__} must be made without arguments: {error}") from None


registry = Registry("space", Space, (NASBench201, DARTS, Darts7, S1, S2, S3, S4, LHD), _check)
"""The known spaces; `carried`, `adopt`, `source` are for tasks, see `nasutils.registry`."""
register = registry.register


def __getattr__(name: str) -> tuple[str, ...]:
    """`names`: the names of the spaces that are known now."""
    if name == "names":
        return registry.names
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(name: str) -> Space:
    """The search space of that name. Raises ValueError naming the choices and the nearest one."""
    return registry[name]()


__all__ = ["S_SPACES", "Space", "get", "names", "nasbench201", "register"]
