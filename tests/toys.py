"""Made-up search spaces for tests of methods:
a name and shapes, and operations of an edge that compete.
"""

from types import SimpleNamespace

from nasutils.methods import Recipe
from nasutils.spaces.base import Space


def toy_space(name, alpha_shapes, **fields):
    usual = {"cell_types": tuple(alpha_shapes), "extras": (), "recipe": Recipe()}
    space = SimpleNamespace(name=name, alpha_shapes=alpha_shapes, **{**usual, **fields})
    space.relax = lambda scores, rule, **how: Space.relax(space, scores, rule, **how)
    space.competing = lambda scores, **how: Space.competing(space, scores, **how)
    space.check_policy = lambda policy: policy
    return space
