"""Made-up search spaces for tests of methods: a name and shapes, and operations of an edge that compete."""

from types import SimpleNamespace

from nasutils.spaces.base import Space


def toy_space(name, alpha_shapes, **fields):
    space = SimpleNamespace(name=name, alpha_shapes=alpha_shapes, **fields)
    space.relax = lambda scores, rule: Space.relax(space, scores, rule)
    return space
