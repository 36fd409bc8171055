"""Genotypes: what a search derives, as a value with the field's usual text forms.

* NAS-Bench-201: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, one cell named "cell".
* DARTS's lineage: `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=[2, 3, 4, 5], reduce=[...], ...)`,
  two (operation, input) pairs per node.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_EDGE = re.compile(r"([^|~+\s]+)~(\d+)")

Node = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Cell:
    """name: of the cell type. nodes: per intermediate node its (operation, source node) pairs. output: nodes that
    are concatenated, () where the last node is the output."""

    name: str
    nodes: tuple[Node, ...]
    output: tuple[int, ...] = ()


@dataclass(frozen=True)
class Genotype:
    """A derived architecture: printable, parseable (`Genotype.parse(str(g)) == g`), comparable, hashable."""

    cells: tuple[Cell, ...]

    @classmethod
    def parse(cls, text: str) -> "Genotype":
        """Read either text form, without evaluating it. Raises ValueError saying what was expected and found."""
        text = text.strip()
        if text.startswith("|"):
            return cls((Cell("cell", _parse_nasbench201(text)),))
        if "Genotype(" in text:
            return cls(_parse_darts(text))
        raise ValueError(f"expected '|op~0|+|op~0|op~1|+...' or 'Genotype(normal=[...], ...)', not {text!r}")

    def __str__(self) -> str:
        if len(self.cells) == 1 and not self.cells[0].output:
            return "+".join("|" + "|".join(f"{op}~{s}" for op, s in node) + "|" for node in self.cells[0].nodes)
        parts = []
        for cell in self.cells:
            pairs = [pair for node in cell.nodes for pair in node]
            parts += [f"{cell.name}={pairs!r}", f"{cell.name}_concat={list(cell.output)!r}"]
        return f"Genotype({', '.join(parts)})"


def _parse_nasbench201(text: str) -> tuple[Node, ...]:
    nodes = []
    for target, part in enumerate(text.split("+"), start=1):
        edges = tuple((op, int(source)) for op, source in _EDGE.findall(part))
        if part != "|" + "|".join(f"{op}~{s}" for op, s in edges) + "|" or [s for _, s in edges] != list(range(target)):
            raise ValueError(f"expected |op~0|...|op~{target - 1}| for node {target}, not {part!r} in {text!r}")
        nodes.append(edges)
    return tuple(nodes)


def _parse_darts(text: str) -> tuple[Cell, ...]:
    try:
        call = ast.parse(text[text.index("Genotype(") :], mode="eval").body
        assert isinstance(call, ast.Call) and not call.args
        fields = {k.arg: _literal(k.value) for k in call.keywords}
        return tuple(
            Cell(str(name), _pairs(pairs), tuple(fields[f"{name}_concat"]))
            for name, pairs in fields.items()
            if not str(name).endswith("_concat")
        )
    except (SyntaxError, AssertionError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected Genotype(normal=[(op, input), ...], normal_concat=[...], ...), not {text!r} ({error})"
        ) from None


def _literal(node: ast.expr) -> Any:
    """A literal, or a call of range with literals."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        return range(*(ast.literal_eval(a) for a in node.args))
    return ast.literal_eval(node)


def _pairs(flat: Sequence[tuple[str, int]]) -> tuple[Node, ...]:
    edges = [(str(op), int(source)) for op, source in flat]
    if len(edges) % 2:
        raise ValueError("an odd number of edges")
    return tuple((edges[i], edges[i + 1]) for i in range(0, len(edges), 2))
