"""Classes by name, ours and people's own; of those that are not ours,
what they do is part of a run's name.

    methods.register(MyMethod)    both return the class,
    spaces.register(MySpace)      so they decorate it, too

The digest of an own class is the sha256 of its source and of all that its source names, and so on
from name to name: bases, functions and classes of own modules, and constants of them (numbers,
texts, arrays, and lists, sets, dicts and dataclasses of these, of functions and of classes). Own
is what is neither this package nor installed nor of Python. It is to the letter, comments
included. The source of a function or class is read when it is first met, so that a file that is
edited later does not pass for the code that runs. Not followed is a module that is imported within
a function.

A task takes its own classes along to other processes (`carried`, `adopt`): those of a module are
imported there, those of a notebook or a script travel with their code.
"""

import ast
import hashlib
import inspect
import linecache
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from textwrap import dedent
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from torch import Tensor

from nasutils.errors import choose

T = TypeVar("T")
C = TypeVar("C", bound=type)
NAME = re.compile(r"[\w.+-]+")
INSTALLED = tuple(sysconfig.get_paths()[where] for where in ("stdlib", "purelib", "platlib"))


class Own(NamedTuple):
    """A class that is not ours, and the digest of its source."""

    cls: Any
    digest: str


class Registry(Generic[T]):
    """Classes by their `name`. kind: what they are called in messages. base: what all of them are.

    ours: the first ones. check: raises ValueError for an own class that lacks something.
    """

    def __init__(
        self, kind: str, base: Any, ours: Iterable[type[T]], check: Callable[[Any], None]
    ) -> None:
        self._kind, self._base, self._check = kind, base, check
        self._classes: dict[str, Any] = {cls.name: cls for cls in ours}  # type: ignore[attr-defined]
        self._ours = frozenset(self._classes)
        self._travelled: dict[str, str] = {}
        """Digests of classes that came with their code, whose source cannot be read here."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all classes: ours first, then the others in the order in which they were
        registered.
        """
        return tuple(self._classes)

    def __getitem__(self, name: str) -> type[T]:
        """The class of that name. Raises ValueError naming the choices and the nearest one."""
        return self._classes[choose(self._kind, name, self._classes)]

    def source(self, name: str) -> str | None:
        """The digest of an own class as it is now, None of ours."""
        if name in self._ours or name not in self._classes:
            return None
        return self._travelled.get(name) or digest(self._classes[name])

    def register(self, cls: C) -> C:
        """Make an own class known by its `name`, wherever one is asked for by name; returns it.

        cls: a subclass of `base`, or of any class that is registered. Registered again from the
        same place (a cell that is run again), it replaces the one before. Its source is part of
        the name of a run.

        Raises ValueError for a name that is taken and for what the class lacks.
        """
        self._check_class(cls)
        digest(cls)
        name = cls.name  # type: ignore[attr-defined]
        self._classes[name] = cls
        self._travelled.pop(name, None)
        return cls

    def _check_class(self, cls: Any) -> None:
        base = f"{self._base.__module__}.{self._base.__qualname__}"
        if not isinstance(cls, type) or not issubclass(cls, self._base):
            raise ValueError(
                f"a {self._kind} to register must be a class derived from {base}, not {cls!r}"
            )
        title = cls.__qualname__
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            raise ValueError(f"{title} must define {', '.join(missing)}, see {base}")
        if "<locals>" in title:
            raise ValueError(
                f"{title} must be defined at the top of a module or cell, not in a function"
            )
        name = getattr(cls, "name", None)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(
                f"{title} must have a name of letters, digits and -, such as 'mine', not {name!r}"
            )
        holder = self._classes.get(name)
        if holder is not None and (name in self._ours or place(holder) != place(cls)):
            if "name" not in vars(cls):
                raise ValueError(
                    f"{title} must have a name of its own, a line such as name = 'mine': it has"
                    f" inherited {name!r}"
                )
            raise ValueError(
                f"the {self._kind} {name!r} is taken by {'.'.join(place(holder))}: give {title} a"
                " name of its own"
            )
        self._check(cls)

    def carried(self, name: str) -> Own | None:
        """What a task takes along to another process;
        None where the class is ours, which is there already.
        """
        found = self.source(name)
        return None if found is None else Own(self._classes[name], found)

    def adopt(self, own: Own | None) -> None:
        """Register what came with a task. Raises ValueError if the class is not what it was where
        the task was made.
        """
        if own is None:
            return
        name = own.cls.name
        if not _of_a_module(own.cls):
            self._travelled[name] = own.digest
        elif digest(own.cls) != own.digest:
            raise ValueError(
                f"the source of {'.'.join(place(own.cls))} is not what it was where the"
                f" {self._kind} {name!r} was registered: restart the kernel, so that all processes"
                " run what is in the file now"
            )
        self._classes[name] = own.cls


def place(cls: Any) -> tuple[str, str]:
    """Module and name of a class; a script is the same in the processes that it starts."""
    return cls.__module__.replace("__mp_main__", "__main__"), cls.__qualname__


def _of_a_module(cls: Any) -> bool:
    """Whether a class was imported here, and has not come with its code."""
    module = sys.modules.get(cls.__module__)
    return module is not None and vars(module).get(cls.__qualname__) is cls


# Sources


class _Text(NamedTuple):
    """The source of a function or class, and the names in it, `a` or `a.b.c`,
    that may be of its module.
    """

    source: str
    names: tuple[str, ...]


_TEXTS: "WeakKeyDictionary[Any, _Text]" = WeakKeyDictionary()
_CONTAINERS = (tuple, list, set, frozenset, dict, partial, SimpleNamespace, np.ndarray, Tensor)
_UNKNOWN = object()
"""What a name stands for that its module does not have, such as that of a local variable."""


def digest(cls: type) -> str:
    """The sha256 of the sources of a class, see above.
    Raises ValueError where there is none to be read.
    """
    texts = sorted({f"{name}\n{text}" for name, text in _sources(cls)})
    return hashlib.sha256("\n\n".join(texts).encode()).hexdigest()


def _sources(cls: type) -> Iterator[tuple[str, str]]:
    """Name and text of all that a class rests on and that is not ours."""
    waiting = [base for base in cls.__mro__ if _is_own(base.__module__)]
    met: set[Any] = set()
    while waiting:
        thing = waiting.pop()
        if thing in met:
            continue
        met.add(thing)
        text = _text(thing)
        yield thing.__qualname__, text.source
        for name, value in _named(text.names, _around(thing)):
            if _is_plain(value):
                yield name, repr(value)
            else:
                waiting.append(value)


def _around(thing: Any) -> dict[str, Any]:
    """The names of the module of a function or class, and what a function was made with."""
    if not isinstance(thing, FunctionType):
        return vars(sys.modules[thing.__module__])
    made_with = inspect.getclosurevars(thing).nonlocals
    return {**thing.__globals__, **made_with}


def _named(names: Iterable[str], around: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What names stand for: own functions and classes, also those that something holds, plain
    constants of own modules, and what of others has another name there.
    """
    for path in names:
        value = _resolved(path, around)
        if _is_plain(value):
            yield path, value
            continue
        parts = list(_held(value))
        if _is_container(value) or _is_renamed(path, value):
            yield path, [part if _is_plain(part) else _title(part) for part in parts]
        for part in parts:
            if isinstance(part, (type, FunctionType)) and _is_own(part.__module__):
                yield path, part


def _is_renamed(path: str, value: Any) -> bool:
    """Whether a library's function or class has a name of our own, as in `ACT = torch.relu`."""
    if not callable(value) or _is_own(getattr(value, "__module__", None) or ""):
        return False
    return _title(value).rpartition(".")[2] != path.rpartition(".")[2]


def _resolved(path: str, around: dict[str, Any]) -> Any:
    """What `a` or `a.b.c` stands for, looked up through own modules only; else _UNKNOWN."""
    first, *rest = path.split(".")
    value = around.get(first, _UNKNOWN)
    while rest and isinstance(value, ModuleType) and _is_own(value.__name__):
        value = vars(value).get(rest.pop(0), _UNKNOWN)
    return value


def _is_container(value: Any) -> bool:
    return isinstance(value, _CONTAINERS) or (is_dataclass(value) and not isinstance(value, type))


def _held(value: Any) -> Iterator[Any]:
    """What a container holds, in its order; else the value itself."""
    if not _is_container(value):
        yield inspect.unwrap(value) if callable(value) else value
        return
    for part in _parts_of(value):
        yield from _held(part)


def _parts_of(value: Any) -> Iterable[Any]:
    """What lies directly in a container; of an object of fields its class, too."""
    match value:
        case partial():
            return [value.func, value.args, value.keywords]
        case dict():
            return value.items()
        case set() | frozenset():
            return sorted(value, key=_as_text)
        case np.ndarray() | Tensor():
            return [*value.shape, *np.ravel(value.tolist()).tolist()]
        case SimpleNamespace():
            return vars(value).items()
        case tuple() | list():
            return value
    return [type(value), *((field.name, getattr(value, field.name)) for field in fields(value))]


def _as_text(part: Any) -> str:
    return repr(part) if _is_plain(part) else _title(part)


def _title(part: Any) -> str:
    return getattr(part, "__qualname__", type(part).__qualname__)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(v) for v in value)
    if isinstance(value, dict):
        return all(_is_plain(v) for pair in value.items() for v in pair)
    return value is None or isinstance(value, (bool, int, float, complex, str, bytes))


def _is_own(module: str) -> bool:
    """Whether a module is neither ours nor installed nor of Python."""
    top = module.partition(".")[0]
    if top == "nasutils" or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not file.startswith(INSTALLED) and "site-packages" not in file


def _text(thing: Any) -> _Text:
    if thing not in _TEXTS:
        source = _source(thing)
        _TEXTS[thing] = _Text(source, tuple(_names_in(source)))
    return _TEXTS[thing]


def _names_in(source: str) -> list[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # a lambda within a longer line: whatever looks like a name
        return sorted(set(re.findall(r"[A-Za-z_][\w.]*", source)))
    found = {ast.unparse(node) for node in nodes if isinstance(node, (ast.Name, ast.Attribute))}
    return sorted(name for name in found if re.fullmatch(r"[\w.]+", name))


def _source(thing: Any) -> str:
    try:
        return dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        if isinstance(thing, type) and (found := _in_a_cell(thing)):
            return found
    raise ValueError(
        f"the source of {thing.__qualname__} cannot be read, so that a changed rule would pass for"
        " the old one: define it in a file or in a notebook's cell"
    )


def _in_a_cell(cls: type) -> str | None:
    """The source of a class in a notebook, where inspect does not look:
    the last cell that defines it.
    """
    for file, entry in reversed(list(linecache.cache.items())):
        if len(entry) != 4 or entry[1] is not None:  # a file on the disk, which has a time
            continue
        text = "".join(entry[2])
        try:
            nodes = ast.parse(text, file).body
        except SyntaxError:
            continue
        for node in reversed(nodes):
            if isinstance(node, ast.ClassDef) and node.name == cls.__qualname__:
                return ast.get_source_segment(text, node)
    return None
