"""One way to say that a value is not among the choices, or not in range."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, get_args


class MissingData(FileNotFoundError):
    """Data are not where they were looked for; the message says where, and how to get them."""


def choose(kind: str, value: str, choices: Iterable[str]) -> str:
    """Return value if it is one of the choices.

    Raises ValueError with one short message: the kind, the value, the choices and the nearest of
    them.
    """
    allowed = tuple(choices)
    if value in allowed:
        return value
    lower = {choice.lower(): choice for choice in allowed}
    near = get_close_matches(str(value).lower(), lower, n=1, cutoff=0.4)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
    raise ValueError(
        f"unknown {kind} {value!r}: choose one of {', '.join(map(repr, allowed))}{hint}"
    )


def whole(name: str, value: int, low: int = 1) -> int:
    """Return value if it is a whole number of at least `low`.
    Raises ValueError naming the parameter.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be a whole number, {low} or more, not {value!r}")
    if value >= 2**63:
        raise ValueError(f"{name} must be below 2^63, not {value}")
    return value


def up_to(name: str, value: int, most: int, which: str = "") -> int:
    """Return value if it is 1 to `most`. which: what there are so many of, for the message.
    Raises ValueError naming the parameter.
    """
    if not 1 <= value <= most:
        told = f", {which}," if which else ","
        raise ValueError(f"{name} must be 1 to {most}{told} not {value}")
    return value


KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a name"}


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError, naming the parameter, if its value is not of the kind that is declared:
    one of KINDS, or several. A whole number is a number, too; other kinds are not checked.
    """
    kinds = [k for k in get_args(kind) or (kind,) if k is not type(None)]
    if any(k not in KINDS for k in kinds) or any(_is(value, k) for k in kinds):
        return
    raise ValueError(f"{name} must be {' or '.join(KINDS[k] for k in kinds)}, not {_shown(value)}")


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _shown(value: Any) -> str:
    """A value that is refused. YAML reads 1e-3 as a text: it wants a point and a sign."""
    number = re.fullmatch(r"([-+]?\d+)(\.\d+)?[eE]([-+]?\d+)", str(value))
    if number is None or not isinstance(value, str):
        return repr(value)
    whole_part, point, exponent = number.groups()
    return f"{value!r} (for YAML a text: write {whole_part}{point or '.0'}e{int(exponent):+d})"


def positive(name: str, value: float) -> float:
    """Return value if it is a finite number above 0. Raises ValueError naming the parameter."""
    if not _is(value, float) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number, not {_shown(value)}")
    return value


def share(name: str, value: float) -> float:
    """Return value if it is a number from 0 to 1. Raises ValueError naming the parameter."""
    if not _is(value, float) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, not {_shown(value)}")
    return value


def as_declared(given: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as given, but whole numbers as floats where a float is declared:
    1 and 1.0 are one setting.
    """
    values = dict(given)
    for name, kind in kinds.items():
        is_float = kind is float or float in get_args(kind)
        if is_float and type(values.get(name)) is int:
            values[name] = float(values[name])
    return values


def plain(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return values if it is a dict of what JSON can hold, by names.
    Raises ValueError naming the parameter.
    """
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ValueError(f"{name} must be a dict of values by their names, not {values!r}")
    try:
        json.dumps(values, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{name} must hold finite numbers, texts, lists and dicts by names: {error}"
        ) from None
    return values


def check_fields(record: Any, below_one: Collection[str] = ()) -> None:
    """Check that every field of a dataclass has its declared type:
    str, bool, int or float (which may be whole).

    Numbers are finite and at least 0; those of the names in below_one are below 1. Raises
    ValueError naming the field.
    """
    for f in fields(record):
        limit = 1 if f.name in below_one else float("inf")
        check_value(f.name, getattr(record, f.name), f.type, limit)


def check_value(name: str, value: Any, kind: Any, limit: float = float("inf")) -> None:
    """Check a str, bool, int or float, which is at least 0 and below the limit.
    Raises ValueError naming the parameter.
    """
    good, allowed = _is(value, kind), KINDS[kind]
    if kind in (int, float):
        good = good and 0 <= value < limit
        allowed += f", at least 0 and below {limit}"
    if not good:
        raise ValueError(f"{name} must be {allowed}, not {_shown(value)}")
