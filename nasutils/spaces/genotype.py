"""Genotypes: what a search derives, as a value with the field's usual text forms.

* NAS-Bench-201: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, one cell named "cell".
* DARTS's lineage: `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=[2, 3, 4, 5], reduce=[...], ...)`,
  two (operation, input) pairs per node.
* LHD: the same, but a list of pairs for each node and two outputs, `normal_sum` and `normal_concat`.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_EDGE = re.compile(r"([^|~+\s]+)~(\d+)")
_DARTS = re.compile(r"(?:\w+\s*=\s*)?(Genotype\s*\(.*\))", re.DOTALL)

Node = tuple[tuple[str, int], ...]

LONGEST = 20_000
"""Characters of a text: beyond those of any cell, and few enough that reading it takes no time."""
NODES = 100
"""Of a cell: more than any has."""


@dataclass(frozen=True)
class Cell:
    """name: of the cell type. nodes: per intermediate node its (operation, source node) pairs. output: nodes that
    are concatenated, () where the last node is the output. sum: nodes that are added up, where that is a second
    output (a node may then have any number of pairs)."""

    name: str
    nodes: tuple[Node, ...]
    output: tuple[int, ...] = ()
    sum: tuple[int, ...] = ()


@dataclass(frozen=True)
class Genotype:
    """A derived architecture: printable, parseable (`Genotype.parse(str(g)) == g`), comparable, hashable."""

    cells: tuple[Cell, ...]

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Read either text form, without evaluating it. Raises ValueError saying what was expected and found."""
        if not isinstance(text, str) or len(text) > LONGEST:
            raise ValueError(f"a genotype must be a text of at most {LONGEST} characters, not {_quoted(str(text))}")
        text = text.strip()
        if text.startswith("|"):
            return cls((Cell("cell", _parse_nasbench201(text)),))
        if call := _DARTS.fullmatch(text):
            return cls(_parse_darts(call[1]))
        raise ValueError(f"expected '|op~0|+|op~0|op~1|+...' or 'Genotype(normal=[...], ...)', not {_quoted(text)}")

    def __str__(self) -> str:
        if len(self.cells) == 1 and not self.cells[0].output:
            return "+".join("|" + "|".join(f"{op}~{s}" for op, s in node) + "|" for node in self.cells[0].nodes)
        parts = []
        for cell in self.cells:
            flat = [pair for node in cell.nodes for pair in node]
            parts.append(f"{cell.name}={[list(node) for node in cell.nodes] if cell.sum else flat!r}")
            parts += [f"{cell.name}_sum={list(cell.sum)!r}"] if cell.sum else []
            parts.append(f"{cell.name}_concat={list(cell.output)!r}")
        return f"Genotype({', '.join(parts)})"


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= 400 else f"{text[:400]!r}..."


def _parse_nasbench201(text: str) -> tuple[Node, ...]:
    nodes = []
    for target, part in enumerate(text.split("+"), start=1):
        edges = tuple((op, int(source)) for op, source in _EDGE.findall(part))
        if part != "|" + "|".join(f"{op}~{s}" for op, s in edges) + "|" or [s for _, s in edges] != list(range(target)):
            raise ValueError(
                f"expected |op~0|...|op~{target - 1}| for node {target}, not {_quoted(part)} in {_quoted(text)}"
            )
        nodes.append(edges)
    return tuple(nodes)


def _parse_darts(text: str) -> tuple[Cell, ...]:
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not call.keywords:
            raise ValueError("it takes named lists")
        fields = {str(k.arg): _literal(k.value) for k in call.keywords}
        names = sorted({name.removesuffix("_concat").removesuffix("_sum") for name in fields})  # normal, reduce
        return tuple(_cell(name, fields) for name in names)
    except KeyError as error:
        reason = f"{error.args[0]} is missing"
    except (MemoryError, RecursionError):
        reason = "too deeply nested"
    except (SyntaxError, TypeError, ValueError) as error:
        reason = str(error)
    raise ValueError(
        f"expected Genotype(normal=[(op, input), ...], normal_concat=[...], ...), not {_quoted(text)}: {reason}"
    )


def _cell(name: str, fields: Mapping[str, Any]) -> Cell:
    output = _numbers(f"{name}_concat", fields[f"{name}_concat"])
    if not fields.get(f"{name}_sum"):
        return Cell(name, _nodes(name, fields[name]), output)
    nodes = tuple(
        tuple(_pair(pair, n + 2, f"{name}[{n}][{i}]") for i, pair in enumerate(pairs))
        for n, pairs in enumerate(fields[name])
    )
    return Cell(name, nodes, output, _numbers(f"{name}_sum", fields[f"{name}_sum"]))


def _literal(node: ast.expr) -> Any:
    """A literal, or a call of range with literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return range(*(ast.literal_eval(a) for a in node.args))
    return ast.literal_eval(node)


def _nodes(name: str, flat: Sequence[Any]) -> tuple[Node, ...]:
    """Two edges per node, the i-th of which may take the cell's two inputs and the nodes before it."""
    edges = tuple(_pair(pair, i // 2 + 2, f"{name}[{i}]") for i, pair in enumerate(flat))
    if len(edges) % 2:
        raise ValueError(f"in the {name} cell: two edges per node, not {len(edges)} in all")
    return tuple(edges[i : i + 2] for i in range(0, len(edges), 2))


def _pair(pair: Any, target: int, place: str) -> tuple[str, int]:
    """One (operation, source node) of a node; place: where it stands in the text."""
    match pair:
        case (str(op), int(source)) if source in range(target):
            return op, source
    name = place.partition("[")[0]
    raise ValueError(f"in the {name} cell, {place}: node {target} takes ('op', 0 to {target - 1}), not {pair!r}")


def _numbers(name: str, chosen: Sequence[int]) -> tuple[int, ...]:
    """Nodes of a cell that are concatenated or added up; which ones there are, its space knows."""
    if not all(type(n) is int and 0 <= n < NODES for n in chosen):
        raise ValueError(f"{name} takes nodes, numbers of 0 to {NODES - 1}, not {chosen!r}")
    return tuple(chosen)
