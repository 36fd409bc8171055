"""Search methods by name."""

import inspect
from typing import Any

from nasutils.errors import choose
from nasutils.methods.base import PRESETS, Method, Recipe
from nasutils.methods.darts import DARTS
from nasutils.methods.edd_darts import EDDDARTS
from nasutils.methods.pcd_darts import PCDDARTS
from nasutils.methods.random import Random
from nasutils.methods.sp_darts import SPDARTS
from nasutils.spaces.base import Space

_METHODS: dict[str, type[Method]] = {m.name: m for m in (Random, DARTS, SPDARTS, PCDDARTS, EDDDARTS)}

names = tuple(_METHODS)


def options(name: str) -> tuple[str, ...]:
    """The keyword options that a method takes: its own first, then those common to all."""
    method = _METHODS[choose("method", name, names)]
    taken = [
        parameter.name
        for kind in (method, Method)
        for parameter in inspect.signature(kind.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    return tuple(dict.fromkeys(taken))


def get(name: str, space: Space, *, epochs: int = 50, preset: str = "published", **given: Any) -> Method:
    """The method of that name on a space.

    epochs: length of the search; SP-DARTS lays its schedule out over it, PCD and EDD count epochs as published.
    preset: "published" is the science as described; "released" is what the authors' code did. Options: see
    `options(name)`. Raises ValueError naming the choices and the nearest one for an unknown name, preset or option.
    """
    allowed = options(name)
    choose("preset", preset, PRESETS)
    for option in given:
        choose(f"option of {name}", option, allowed)
    return _METHODS[name](space, epochs=epochs, preset=preset, **given)


__all__ = ["Method", "Recipe", "get", "names", "options"]
