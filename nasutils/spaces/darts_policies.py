"""From the mixing weights of a DARTS cell to its genotype: the parsers of the field as named rules.

After a search at a small temperature most edges read 1.000, so rounding and ties decide the topology.
Sources: the genotype parsers of quark0/darts, chaoji90/SP-DARTS and chaoji90/PCDEDD, `Network.genotype` in their
model_search*.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasutils.spaces.darts_cells import EDGES, INCOMING, NODES
from nasutils.spaces.genotype import Cell, Genotype

Weights = Sequence[Sequence[float]]
Pair = tuple[str, int]


@dataclass(frozen=True)
class Rule:
    """decimals: to which the weights are rounded first (None: not). later: equal edges go to the later
    predecessor. last: of equal operations on an edge the last one is taken."""

    decimals: int | None = None
    later: bool = False
    last: bool = False


POLICIES: Mapping[str, Rule] = {
    "top2": Rule(),
    "top2-sp": Rule(decimals=4, later=True),
    "top2-small-temperature": Rule(decimals=3),
    "top2-s1-s4": Rule(decimals=3, last=True),
}
"""`top2` is DARTS's own (and the SS-DARTS code's); `top2-sp` the SP-DARTS code's on the DARTS space,
`top2-small-temperature` PCD's and EDD's there, and `top2-s1-s4` all of theirs on S1-S4."""


def derive(weights: Mapping[str, Weights], edge_ops: Mapping[str, Sequence[Sequence[str]]], rule: Rule) -> Genotype:
    """The genotype of mixing weights (14, operations) by cell type; none is never taken."""
    cells = []
    for name in ("normal", "reduce"):
        rows = [[_rounded(w, rule) for w in row] for row in weights[name]]
        nodes = tuple(_top2(rows, edge_ops[name], edges, rule) for edges in INCOMING)
        cells.append(Cell(name, nodes, tuple(range(2, 2 + NODES))))
    return Genotype(tuple(cells))


def _rounded(weight: float, rule: Rule) -> float:
    return weight if rule.decimals is None else round(weight, rule.decimals)


def _top2(rows: Weights, edge_ops: Sequence[Sequence[str]], edges: Sequence[int], rule: Rule) -> tuple[Pair, ...]:
    """The two edges whose strongest operations are the largest, strongest first, with those operations."""
    best = {e: _best(rows[e], edge_ops[e], rule.last) for e in (reversed(edges) if rule.later else edges)}
    strongest = sorted(best, key=lambda e: -rows[e][best[e]])[:2]  # the sort is stable: ties keep that order
    return tuple((edge_ops[e][best[e]], EDGES[e][0]) for e in strongest)


def _best(row: Sequence[float], names: Sequence[str], last: bool) -> int:
    allowed = [k for k, name in enumerate(names) if name != "none"]
    return max(reversed(allowed) if last else allowed, key=lambda k: row[k])
