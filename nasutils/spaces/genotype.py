"""Genotypes: what a search derives, as a value with the field's usual text forms.

* NAS-Bench-201: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, one cell named "cell"; also as AutoDL's
  `Structure(4 nodes with ...)` prints it.
* DARTS's lineage: `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=[2, 3, 4, 5],
  reduce=[...], ...)`, two (operation, input) pairs per node; also its namedtuple of that name.
* LHD: the same, but a list of pairs for each node and two outputs, `normal_sum` and
  `normal_concat`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

_EDGE = re.compile(r"([^|~+\s]+)~(\d+)")
_STRUCTURE = re.compile(r"Structure\(\d+ nodes with (.*)\)", re.DOTALL)
_GENOTYPE_CALL = re.compile(r"(?:\w+\s*=\s*)?(Genotype\s*\(.*\))", re.DOTALL)

Pair = tuple[str, int]
"""(operation, source node) of one edge that a cell keeps."""
Pairs = tuple[Pair, ...]
"""The edges that enter one node."""

MAX_LENGTH = 20_000
"""Most characters of a text: more than any cell needs, and few enough to be read at once."""
MAX_NODES = 100
"""Most nodes of a cell: more than any has."""


@dataclass(frozen=True)
class Cell:
    """A derived cell. name: of the cell type. nodes: per intermediate node its (operation, source
    node) pairs. output: nodes that are concatenated, () where the last node is the output. sum:
    nodes that are added up, where that is a second output (a node may then have any number of
    pairs).
    """

    name: str
    nodes: tuple[Pairs, ...]
    output: tuple[int, ...] = ()
    sum: tuple[int, ...] = ()

    @property
    def ops(self) -> tuple[str, ...]:
        """The operations of all edges that it keeps, node by node."""
        return tuple(op for pairs in self.nodes for op, _ in pairs)


@dataclass(frozen=True)
class Genotype:
    """A derived architecture: printable, parseable (`Genotype.parse(str(g)) == g`),
    comparable, hashable.
    """

    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, given: "Genotype | str | NamedTuple") -> "Genotype":
        """A genotype as it is, or that of a text or namedtuple, see `parse`."""
        return given if isinstance(given, Genotype) else cls.parse(given)

    @classmethod
    def parse(cls, text: "str | NamedTuple") -> "Genotype":
        """Read either text form, without evaluating it, or DARTS's namedtuple, by what it prints.
        Raises ValueError saying what was expected and found.
        """
        if is_namedtuple(text):
            text = str(text)
        if not isinstance(text, str) or len(text) > MAX_LENGTH:
            raise ValueError(
                f"a genotype must be a text of at most {MAX_LENGTH} characters, not"
                f" {_quoted(str(text))}"
            )
        text = text.strip()
        if structure := _STRUCTURE.fullmatch(text):
            text = structure[1]
        if text.startswith("|"):
            return cls((Cell("cell", _parse_nasbench201(text)),))
        if call := _GENOTYPE_CALL.fullmatch(text):
            return cls(_parse_darts(call[1]))
        raise ValueError(
            "expected '|op~0|+|op~0|op~1|+...' or 'Genotype(normal=[...], ...)', not"
            f" {_quoted(text)}{_of_a_name(text)}"
        )

    def __str__(self) -> str:
        if self.cells[0].name == "cell":
            return "+".join(_nasbench201_node(pairs) for pairs in self.cells[0].nodes)
        parts = []
        for cell in self.cells:
            if cell.sum:
                parts.append(f"{cell.name}={[list(pairs) for pairs in cell.nodes]!r}")
                parts.append(f"{cell.name}_sum={list(cell.sum)!r}")
            else:
                parts.append(f"{cell.name}={[pair for pairs in cell.nodes for pair in pairs]!r}")
            parts.append(f"{cell.name}_concat={list(cell.output)!r}")
        return f"Genotype({', '.join(parts)})"


def is_namedtuple(given: Any) -> TypeGuard[NamedTuple]:
    """Whether it is a tuple with named fields, as DARTS writes genotypes."""
    return isinstance(given, tuple) and hasattr(given, "_fields")


def _of_a_name(text: str) -> str:
    """What to do with the name of a published cell, such as DARTS_V2."""
    if not text.isidentifier():
        return ""
    return f"; a published cell is nasutils.spaces.catalogue.get({_quoted(text)}).genotype"


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= 400 else f"{text[:400]!r}..."


def _nasbench201_node(pairs: Pairs) -> str:
    return "|" + "|".join(f"{op}~{source}" for op, source in pairs) + "|"


def _parse_nasbench201(text: str) -> tuple[Pairs, ...]:
    nodes = []
    for target, part in enumerate(text.split("+"), start=1):
        pairs = tuple((op, int(source)) for op, source in _EDGE.findall(part))
        sources = [source for _, source in pairs]
        # Written again it must be the same text: findall skips what does not match.
        if part != _nasbench201_node(pairs) or sources != list(range(target)):
            expected = f"|op~0|...|op~{target - 1}|"
            raise ValueError(
                f"expected {expected} for node {target}, not {_quoted(part)} in {_quoted(text)}"
            )
        nodes.append(pairs)
    return tuple(nodes)


def _parse_darts(text: str) -> tuple[Cell, ...]:
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not call.keywords:
            raise ValueError("it takes named lists")
        fields = {str(k.arg): _literal(k.value) for k in call.keywords}
        # normal, reduce
        names = sorted({name.removesuffix("_concat").removesuffix("_sum") for name in fields})
        return tuple(_parse_cell(name, fields) for name in names)
    except KeyError as error:
        reason = f"{error.args[0]} is missing"
    except (MemoryError, RecursionError):
        reason = "too deeply nested"
    except (SyntaxError, TypeError, ValueError) as error:
        reason = str(error)
    raise ValueError(
        "expected Genotype(normal=[(op, input), ...], normal_concat=[...], ...), not"
        f" {_quoted(text)}: {reason}"
    )


def _parse_cell(name: str, fields: Mapping[str, Any]) -> Cell:
    output = _parse_output(f"{name}_concat", fields[f"{name}_concat"])
    if not fields.get(f"{name}_sum"):
        return Cell(name, _two_per_node(name, fields[name]), output)
    nodes = []
    for node, pairs in enumerate(fields[name]):
        edges = []
        for i, pair in enumerate(pairs):
            edges.append(_parse_pair(pair, node + 2, f"{name}[{node}][{i}]"))
        nodes.append(tuple(edges))
    summed = _parse_output(f"{name}_sum", fields[f"{name}_sum"])
    return Cell(name, tuple(nodes), output, summed)


def _literal(node: ast.expr) -> Any:
    """A literal, or a call of range with literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return range(*(ast.literal_eval(a) for a in node.args))
    return ast.literal_eval(node)


def _two_per_node(name: str, flat: Sequence[Any]) -> tuple[Pairs, ...]:
    """Two edges per node, the i-th of which may take the cell's two inputs and the nodes before
    it.
    """
    edges = []
    for i, pair in enumerate(flat):
        node = i // 2
        edges.append(_parse_pair(pair, node + 2, f"{name}[{i}]"))
    if len(edges) % 2:
        raise ValueError(f"in the {name} cell: two edges per node, not {len(edges)} in all")
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def _parse_pair(pair: Any, target: int, place: str) -> Pair:
    """One (operation, source node) of a node; place: where it stands in the text."""
    match pair:
        case (str(op), int(source)) if source in range(target):
            return op, source
    name = place.partition("[")[0]
    raise ValueError(
        f"in the {name} cell, {place}: node {target} takes ('op', 0 to {target - 1}), not {pair!r}"
    )


def _parse_output(name: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Nodes of a cell that are concatenated or added up; which ones there are, its space knows."""
    if not all(type(n) is int and 0 <= n < MAX_NODES for n in numbers):
        raise ValueError(f"{name} takes nodes, numbers of 0 to {MAX_NODES - 1}, not {numbers!r}")
    return tuple(numbers)
