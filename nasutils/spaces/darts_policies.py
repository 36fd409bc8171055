"""From the mixing weights of a DARTS cell to its genotype:
the parsers of the field as named policies.

After a search at a small temperature most edges read 1.000, so rounding and ties decide the
topology.
Sources: the genotype parsers of quark0/darts, chaoji90/SP-DARTS and chaoji90/PCDEDD,
`Network.genotype` in their model_search*.py.

The hand cure of the collapse is a rule, too: at most M skip connections in the normal cell
(P-DARTS, Chen et al., ICCV 2019, "search space regularization"; chenxin061/pdarts,
train_search.py, from `Restricting skipconnect` on, and `delete_min_sk_prob`). As long as the cell
has more, the weakest of those that it keeps is taken out of the search's choice and the cell is
derived anew, so that its edge goes to the next best operation or loses its place to another edge.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasutils.spaces.base import SKIP, EdgeOps
from nasutils.spaces.darts_cells import EDGES, INCOMING, NODES
from nasutils.spaces.genotype import Cell, Genotype, Pairs

Weights = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Policy:
    """decimals: the weights are rounded to so many first (None: not). later: of equal edges the
    later predecessor's is taken. last: of equal operations on an edge the last one is taken.
    skips: the most skip connections of a normal cell (None: any number)."""

    decimals: int | None = None
    later: bool = False
    last: bool = False
    skips: int | None = None


POLICIES: Mapping[str, Policy] = {
    "top2": Policy(),
    "top2-sp": Policy(decimals=4, later=True),
    "top2-small-temperature": Policy(decimals=3),
    "top2-s1-s4": Policy(decimals=3, last=True),
    **{f"top2-skips{most}": Policy(skips=most) for most in range(8)},
}
"""`top2` is DARTS's own (and the SS-DARTS code's); `top2-sp` the SP-DARTS code's on the DARTS
space, `top2-small-temperature` PCD's and EDD's there, and `top2-s1-s4` all of theirs on S1-S4.
`top2-skips2` is the cell of P-DARTS's paper; its code writes one for every number of skips
below those of the cell itself."""


def derive(
    weights: Mapping[str, Weights], edge_ops: Mapping[str, EdgeOps], policy: Policy
) -> Genotype:
    """The genotype of mixing weights (14, operations) by cell type; none is never taken."""
    cells = []
    for name in ("normal", "reduce"):
        rows = _rounded(weights[name], policy)
        if name == "normal" and policy.skips is not None:
            rows = restricted(rows, edge_ops[name], policy)
        cells.append(_derive_cell(name, rows, edge_ops[name], policy))
    return Genotype(tuple(cells))


def restricted(rows: Weights, edge_ops: EdgeOps, policy: Policy) -> Weights:
    """The weights of a cell, (14, operations),
    with -inf for the skip connections that it has to do without.

    Dropped is the weakest of those that the cell would keep, the first one of equals, until at
    most `policy.skips` are kept, or those left are all that their edges have.
    """
    assert policy.skips is not None
    left = [list(row) for row in rows]
    while True:
        kept = _kept_skips(left, edge_ops, policy)
        droppable = [(edge, k) for edge, k in kept if left[edge][k] > -math.inf]
        if len(kept) <= policy.skips or not droppable:
            return left
        edge, k = min(droppable, key=lambda place: left[place[0]][place[1]])
        left[edge][k] = -math.inf


def _kept_skips(rows: Weights, edge_ops: EdgeOps, policy: Policy) -> list[tuple[int, int]]:
    """Edge and operation of the skip connections in the cell of these weights,
    in the order of the edges.
    """
    cell = _derive_cell("normal", rows, edge_ops, policy)
    kept = []
    for target, pairs in enumerate(cell.nodes, start=2):
        for op, source in pairs:
            if op == SKIP:
                edge = EDGES.index((source, target))
                kept.append((edge, edge_ops[edge].index(op)))
    return sorted(kept)


def _derive_cell(name: str, rows: Weights, edge_ops: EdgeOps, policy: Policy) -> Cell:
    nodes = tuple(_top2(rows, edge_ops, edges, policy) for edges in INCOMING)
    output = tuple(range(2, 2 + NODES))
    return Cell(name, nodes, output)


def _rounded(rows: Weights, policy: Policy) -> Weights:
    if policy.decimals is None:
        return rows
    return [[round(weight, policy.decimals) for weight in row] for row in rows]


def _top2(rows: Weights, edge_ops: EdgeOps, edges: Sequence[int], policy: Policy) -> Pairs:
    """The two edges whose strongest operations are the largest, strongest first,
    with those operations.
    """
    scanned = list(reversed(edges)) if policy.later else edges
    best = {}
    weights = {}
    for edge in scanned:
        best[edge] = _best(rows[edge], edge_ops[edge], policy.last)
        weights[edge] = rows[edge][best[edge]]
    # The sort is stable, also reversed, so equal edges stay in the order in which they were
    # scanned.
    strongest = sorted(scanned, key=weights.__getitem__, reverse=True)[:2]
    pairs = []
    for edge in strongest:
        source, _ = EDGES[edge]
        pairs.append((edge_ops[edge][best[edge]], source))
    return tuple(pairs)


def _best(row: Sequence[float], names: Sequence[str], last: bool) -> int:
    """The operation of the largest weight, but none; of equal ones the first, or the last."""
    allowed = [k for k, name in enumerate(names) if name != "none"]
    if last:
        allowed.reverse()
    return max(allowed, key=lambda k: row[k])
