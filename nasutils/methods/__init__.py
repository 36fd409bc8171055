"""Search methods by name."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from itertools import takewhile
from types import MappingProxyType
from typing import Any

import torch

from nasutils import spaces
from nasutils.errors import check_kind, choose
from nasutils.methods import recipes
from nasutils.methods.base import PRESETS, Method
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
from nasutils.methods.recipes import Recipe
from nasutils.methods.sdarts import SDARTSADV, SDARTSRS
from nasutils.methods.sp_darts import SPDARTS
from nasutils.methods.surgenas import SurgeNAS
from nasutils.registry import Registry
from nasutils.spaces.base import Space

_BASELINES = (MiLeNAS, GDAS, PCDARTS, GAEABilevel, GAEAERM, DrNAS, DARTSMinus, BetaDARTS, SurgeNAS)
_SMOOTH = (SDARTSRS, SDARTSADV)
_OURS = (Random, DARTS, SPDARTS, PCDDARTS, EDDDARTS, EXDARTS, *_BASELINES, *_SMOOTH)


NEAR = 0.85
"""Similarity of a name to that of a hook from which on it is taken for a misspelt one."""


def _check(cls: type[Method]) -> None:
    """Raise ValueError unless the options of an own method can be given by name, and for a hook
    whose name is misspelt, which nothing would call.
    """
    for kind in cls.__mro__[: cls.__mro__.index(Method)]:
        signature = inspect.signature(vars(kind).get("__init__", Method.__init__))
        options = list(signature.parameters.values())[2:]  # behind self and space
        if loose := [p.name for p in options if p.kind is p.POSITIONAL_OR_KEYWORD]:
            rule = "def __init__(self, space, *, strength=0.1, **common)"
            raise ValueError(
                f"options of {kind.__qualname__} must stand behind a *, as in {rule}:"
                f" {', '.join(loose)}"
            )
        _check_hooks(kind)


def _check_hooks(kind: type[Method]) -> None:
    """Raise ValueError for a public name that is new in a class and almost an inherited one."""
    hooks = [name for base in kind.__mro__[1:] for name in vars(base) if name[0] != "_"]
    for name in vars(kind):
        if name[0] != "_" and name not in hooks:
            near = get_close_matches(name, hooks, n=1, cutoff=NEAR)
            if near:
                raise ValueError(
                    f"{kind.__qualname__}.{name} overrides nothing: did you mean {near[0]!r}? If"
                    f" not, give it another name, such as _{name}"
                )


registry = Registry("method", Method, _OURS, _check)
"""The known methods; `carried`, `adopt`, `source` are for tasks, see `nasutils.registry`."""
register = registry.register


def __getattr__(name: str) -> tuple[str, ...]:
    """`names`: the names of the methods that are known now."""
    if name == "names":
        return registry.names
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_HANDED = ("recipe", "preset", "seed", "dtype", "device")
"""What `get` hands to every method; these are no options."""


def options(name: str) -> tuple[str, ...]:
    """The keyword options that a method takes: its own first, then those common to all."""
    return tuple(parameters(name))


def parameters(name: str) -> Mapping[str, inspect.Parameter]:
    """The options of a method with their types and defaults, by name."""
    return _parameters(registry[name].__mro__)


@cache  # a plan of hundreds of searches asks thousands of times
def _parameters(kinds: tuple[type, ...]) -> Mapping[str, inspect.Parameter]:
    """The options in the signatures of classes; of one that several have, as the first has it."""
    found: dict[str, inspect.Parameter] = {}
    for kind in kinds:
        if "__init__" not in vars(kind):
            continue
        for parameter in inspect.signature(vars(kind)["__init__"]).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in _HANDED:
                found.setdefault(parameter.name, parameter)
    return MappingProxyType(found)


def followed(name: str) -> str:
    """The method whose rows of `recipes.TABLE` a method follows: itself if it is ours; an own one
    the nearest of ours that it derives from, or `*`, the rows of every method, if there is none.
    """
    return next((kind.name for kind in registry[name].__mro__ if kind in _OURS), "*")


def _told(name: str, space: str, preset: str) -> dict[str, Any]:
    """The options of a method that the table has for it on a space, by name.

    A default in the signature of an own class goes before them: it is what the class changes.
    """
    own = tuple(takewhile(lambda kind: kind not in (*_OURS, Method), registry[name].__mro__))
    changed = [option for option, p in _parameters(own).items() if p.default is not p.empty]
    said = recipes.default_options(followed(name), space, preset)
    return {option: value for option, value in said.items() if option not in changed}


def check_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set, which those of None are not.

    Raises ValueError for one that the method does not take, naming the nearest, that has a value
    of another kind than is declared, or that would do nothing.
    """
    for option in given:
        choose(f"option of {name}", option, options(name))
    given = {option: value for option, value in given.items() if value is not None}
    declared = parameters(name)
    for option, value in given.items():
        check_kind(option, value, declared[option].annotation)
    registry[name].check_given(given)
    return given


def get(
    name: str,
    space: Space | str,
    *,
    epochs: int | None = None,
    preset: str = "published",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    recipe: Recipe | None = None,
    **given: Any,
) -> Method:
    """The method of that name on a space, or on the one of that name.

    epochs: length of the search (None: the recipe's); SP-DARTS lays its schedule out over it, PCD
    and EDD count epochs as published. preset: "published" is the science as described; "released"
    is what the authors' code did. seed: of alpha and the method's own draws. recipe: what is asked
    of the loop (None: see `recipes.recipe`). given: options, see `options(name)`; None, or left
    out, is the default of the method on the space (`recipes.TABLE`). An own method follows the
    table's rows of the one that it derives from, see `followed`; a default in its own signature
    goes before them.

    Raises ValueError naming the choices and the nearest one for an unknown name, preset or option,
    and for a space without recipe.
    """
    method = registry[name]
    if isinstance(space, str):
        space = spaces.get(space)
    choose("preset", preset, PRESETS)
    given = check_options(name, given)
    asked = recipes.recipe(followed(name), space, preset) if recipe is None else recipe
    chosen = {**_told(name, space.name, preset), **given}
    _check_complete(name, space, chosen)
    asked = replace(asked, epochs=asked.epochs if epochs is None else epochs)
    return method(
        space, recipe=asked, preset=preset, seed=seed, dtype=dtype, device=device, **chosen
    )


def _check_complete(name: str, space: Space, chosen: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the options, if some have no value on this space."""
    needed = [option for option, p in parameters(name).items() if p.default is p.empty]
    if missing := [option for option in needed if option not in chosen]:
        raise ValueError(
            f"{name} needs a value for {', '.join(missing)} on {space.name} (options={{...}}):"
            " no row of methods.recipes has one"
        )


__all__ = [
    "Method",
    "Recipe",
    "check_options",
    "followed",
    "get",
    "names",
    "options",
    "parameters",
    "recipes",
    "register",
]
