"""Search methods by name."""

import inspect
from typing import Any

from nasutils.errors import choose
from nasutils.methods.base import PRESETS, Method, Recipe
from nasutils.methods.beta_darts import BetaDARTS
from nasutils.methods.darts import DARTS
from nasutils.methods.darts_minus import DARTSMinus
from nasutils.methods.drnas import DrNAS
from nasutils.methods.edd_darts import EDDDARTS
from nasutils.methods.ex_darts import EXDARTS
from nasutils.methods.gaea_bilevel import GAEABilevel
from nasutils.methods.gaea_erm import GAEAERM
from nasutils.methods.gdas import GDAS
from nasutils.methods.milenas import MiLeNAS
from nasutils.methods.pc_darts import PCDARTS
from nasutils.methods.pcd_darts import PCDDARTS
from nasutils.methods.random import Random
from nasutils.methods.sp_darts import SPDARTS
from nasutils.methods.surgenas import SurgeNAS
from nasutils.spaces.base import Space

_BASELINES = (MiLeNAS, GDAS, PCDARTS, GAEABilevel, GAEAERM, DrNAS, DARTSMinus, BetaDARTS, SurgeNAS)
_METHODS: dict[str, type[Method]] = {
    m.name: m for m in (Random, DARTS, SPDARTS, PCDDARTS, EDDDARTS, EXDARTS, *_BASELINES)
}

names = tuple(_METHODS)


def options(name: str) -> tuple[str, ...]:
    """The keyword options that a method takes: its own first, then those common to all."""
    method = _METHODS[choose("method", name, names)]
    taken = [
        parameter.name
        for kind in method.__mro__
        for parameter in inspect.signature(vars(kind).get("__init__", object)).parameters.values()
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
