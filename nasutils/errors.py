"""One way to say that a value is not among the choices."""

from collections.abc import Iterable
from difflib import get_close_matches


def choose(kind: str, value: str, choices: Iterable[str]) -> str:
    """Return value if it is one of the choices.

    Raises ValueError with one short message: the kind, the value, the choices and the nearest of them.
    """
    allowed = tuple(choices)
    if value in allowed:
        return value
    near = get_close_matches(str(value), allowed, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {value!r}: choose one of {', '.join(map(repr, allowed))}{hint}")
