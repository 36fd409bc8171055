"""When a search should stop, judged from its records.

* Selective stop (arXiv 2109.13466): the epoch at which a designated operation weighs most, S_e[o] = sum over
  edges of softmax(alpha)[edge, o]. Which operation that is presumes knowledge.
* DARTS+ (arXiv 1909.06035): the first epoch with n skips, or with a ranking of operations kept for n epochs.
* DARTS-ES (arXiv 1909.09656): before the dominant Hessian eigenvalue rises.

Pure functions of trajectories first, in positions (0: first record) and arrays; `stop` reads records, `Stopper`
serves a running search. Source of the rules and their quirks: section 4.3 of the specification of the sparsity and
learning-rate methods (from the authors' released code).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from nasutils.errors import choose, positive
from nasutils.measures.leakage import FREE_OPS
from nasutils.methods import relax
from nasutils.spaces.base import EdgeOps, Space, operations_of_edges
from nasutils.spaces.genotype import Genotype

Records = Sequence[Mapping[str, Any]]
SKIP = "skip_connect"
ES_CADENCE, ES_START = 2, 10
"""DARTS-ES: epochs from one eigenvalue to the next, which its window and lag are made for, and the first epoch whose
architecture it can take (RobustDARTS's code; the authors' starts at 0)."""
DESIGNATED = {"nasbench201": "nor_conv_3x3"}
"""Space -> operation whose magnitude decides if none is named; elsewhere one must be."""


def magnitudes(alpha: ArrayLike) -> np.ndarray:
    """S_e[o], (epochs, operations): the weight of each operation at T = 1, summed over edges.

    alpha: (epochs, edges, operations); -inf where an edge lacks an operation.
    """
    return relax.softmax(torch.as_tensor(np.asarray(alpha, dtype=float)), 1.0).sum(dim=1).numpy()


def residual(s: np.ndarray, o: int) -> np.ndarray:
    """R_e = sum over operations of (S_e[o] - S_e[other]), (epochs,); on NAS-Bench-201 5 S_e[o] - 6. s: magnitudes."""
    return (s[:, [o]] - s).sum(axis=1)


def recorded(s: np.ndarray, o: int) -> np.ndarray:
    """The bootstrap gate, (epochs,): all epochs before o first has the largest S, then only those in which it has."""
    largest = s.argmax(axis=1) == o
    return largest | ~np.logical_or.accumulate(largest)


def ranking_kept(alpha: ArrayLike) -> np.ndarray:
    """For how many epochs in a row, this one included, every edge has had the same order of alpha, (epochs,)."""
    ranks = np.argsort(alpha, axis=-1, kind="stable")
    kept = [1]
    for same in (ranks[1:] == ranks[:-1]).all(axis=(1, 2)):
        kept.append(kept[-1] + 1 if same else 1)
    return np.array(kept)


def first(condition: ArrayLike) -> int | None:
    """Position of the first True, None if there is none."""
    where = np.flatnonzero(condition)
    return int(where[0]) if len(where) else None


def local_means(values: ArrayLike, window: int = 5) -> np.ndarray:
    """Mean over the window around each value, which is cut off at both ends of the series."""
    x, half = np.asarray(values, dtype=float), window // 2
    return np.array([x[max(i - half, 0) : i + half + 1].mean() for i in range(len(x))])


def eigenvalue_stop(
    values: ArrayLike, window: int = 5, back: int = 4, factor: float = 1.3, start: int = 0
) -> tuple[int, int] | None:
    """DARTS-ES as intended: (where it fires, where it goes back to), positions in the series; None if it never does.

    values: dominant eigenvalues in the order they were measured, however many epochs lie between them.
    It fires when the newest mean over a whole window is more than `factor` times the one `back` values before, which
    must be positive, and goes back to the centre of that earlier window, not before position `start`.
    """
    x, half = np.asarray(values, dtype=float), window // 2
    means = local_means(x, window)[: max(len(x) - half, 0)]
    rises = (means[:-back] > 0) & (means[back:] > factor * means[:-back])
    earlier = first(rises & (np.arange(len(rises)) >= start))
    return None if earlier is None else (earlier + back + half, earlier)


def darts_es(epochs: Sequence[int], values: ArrayLike) -> tuple[int, int] | None:
    """`eigenvalue_stop` of eigenvalues measured in these epochs, from ES_START on.

    Raises ValueError if they lie further apart than the rule is made for.
    """
    apart = max(np.diff(epochs), default=0)
    if apart > ES_CADENCE:
        raise ValueError(
            f"DARTS-ES takes an eigenvalue at least every {ES_CADENCE} epochs, not every {apart}: search with "
            f"`eigenvalue_every` = {ES_CADENCE}"
        )
    return eigenvalue_stop(values, start=sum(epoch < ES_START for epoch in epochs))


def cell_of(space: Space) -> str:
    """The cell type that is judged: the only one, or the normal one."""
    return "cell" if "cell" in space.alpha_shapes else "normal"


def alphas(records: Records, space: Space) -> np.ndarray:
    """The trajectory of alpha in the judged cell, (epochs, edges, operations): -inf where an edge lacks an operation.

    Where the mixing weights are no softmax of alpha (GAEA, DrNAS), their logarithm, whose softmax they are.

    Raises ValueError if a record lacks alpha, or has one of another shape.
    """
    cell = cell_of(space)
    edges, choices = space.alpha_shapes[cell]
    try:
        found = np.array([_scores(r, cell) for r in records], dtype=float)
    except (KeyError, TypeError, ValueError):
        found = np.array(np.nan)
    if found.shape[1:] != (edges, choices) or np.isnan(found).any():
        raise ValueError(f"every record needs alpha[{cell!r}], {edges} x {choices} without nan, as `search` logs it")
    spread = np.full((len(found), edges, len(space.ops)), -np.inf)
    for edge, ops in enumerate(edge_operations(space)):
        spread[:, edge, [space.ops.index(op) for op in ops]] = found[:, edge]
    return spread


def _scores(record: Mapping[str, Any], cell: str) -> ArrayLike:
    if record.get("softmax_temperature", 1.0) is not None:
        return record["alpha"][cell]
    with np.errstate(divide="ignore"):
        return np.log(record["mix"][cell])


def edge_operations(space: Space) -> EdgeOps:
    """Per edge of the judged cell the names of its operations; in S1 they differ from edge to edge."""
    return operations_of_edges(space, cell_of(space))


def cell_operations(records: Records, space: Space) -> list[tuple[str, ...]]:
    """Per record the operations of the judged cell's genotype. Raises ValueError if a record has none."""
    if not all("genotype" in r for r in records):
        raise ValueError("every record needs its genotype, as `search` logs it")
    return [_operations(r["genotype"], cell_of(space)) for r in records]


@cache
def _operations(genotype: str, cell: str) -> tuple[str, ...]:
    found = [c for c in Genotype.parse(genotype).cells if c.name == cell]
    if not found:
        raise ValueError(f"expected a genotype with the cell {cell!r}, not {genotype!r}")
    return tuple(op for node in found[0].nodes for op, _ in node)


def skip_counts(records: Records, space: Space) -> np.ndarray:
    """Number of skip connections in the judged cell's genotype, (epochs,). Raises ValueError if the space has none."""
    _index(space, SKIP)
    return np.array([ops.count(SKIP) for ops in cell_operations(records, space)])


def eigenvalues(records: Records) -> tuple[list[int], list[float]]:
    """Positions of the records that hold a dominant Hessian eigenvalue, and these. Raises ValueError if none does."""
    found = [(i, e) for i, r in enumerate(records) if (e := eigenvalue(r)) is not None]
    if not found:
        raise ValueError(
            "no record holds an eigenvalue (the Hessian's dominant one): search with `eigenvalue_every` = 2"
        )
    return [i for i, _ in found], [e for _, e in found]


def eigenvalue(record: Mapping[str, Any]) -> float | None:
    """The dominant Hessian eigenvalue in the record, by itself or of a probe; None if there is none."""
    return record.get("eigenvalue", record.get("leakage", {}).get("eigenvalue"))


def _index(space: Space, operation: str) -> int:
    return space.ops.index(choose(f"operation of {space.name}", operation, space.ops))


@dataclass(frozen=True)
class Decision:
    """Which epoch's architecture a criterion takes.

    epoch: that epoch; the last one if the criterion never fired. decided: epoch after which the rest of the search
    could not change it (None: it takes the whole search). reason: in words.
    """

    epoch: int
    criterion: str
    fired: bool
    reason: str
    decided: int | None = None


Verdict = tuple[int | None, int | None, str]
"""Position taken, position after which that is settled, reason."""


def _hard_exit(records: Records, space: Space, o: int) -> Verdict:
    sizes = [len(ops) for ops in cell_operations(records, space)]
    at = first(skip_counts(records, space) == sizes)
    return at, at, "no epoch had skips only" if at is None else "every edge of the cell is a skip"


def _highest(score: Callable[..., np.ndarray], exits: bool, records: Records, space: Space, o: int) -> Verdict:
    """Where the score of (magnitudes, operation, space) is largest; exits: look no further than the hard exit."""
    end = _hard_exit(records, space, o)[0] if exits and SKIP in space.ops else None
    seen = records if end is None else records[: end + 1]
    at = int(score(magnitudes(alphas(seen, space)), o, space).argmax())
    rising = at == len(seen) - 1
    reason = f"{space.ops[o]} {'is still at its highest' if rising else 'had its highest score here'}"
    return at, end, reason if end is None else f"{reason}; all edges are skips at epoch {records[end]['epoch']}"


def _gated(s: np.ndarray, o: int, score: np.ndarray) -> np.ndarray:
    return np.where(recorded(s, o), score, -np.inf)


def _speed(s: np.ndarray, o: int, space: Space) -> np.ndarray:
    r = residual(s, o)
    return r + np.diff(r, prepend=r[0])


def _skips(n: int, records: Records, space: Space, o: int) -> Verdict:
    at = first(skip_counts(records, space) >= n)
    return at, at, f"{'never' if at is None else 'first'} {n} or more skips in the cell"


def _ranking(n: int, records: Records, space: Space, o: int) -> Verdict:
    at = first(ranking_kept(alphas(records, space)) == n)
    return at, at, f"the order of operations {'was never' if at is None else 'has been'} kept for {n} epochs"


def _rising(records: Records, space: Space, o: int) -> Verdict:
    where, values = eigenvalues(records)
    found = darts_es([records[i]["epoch"] for i in where], values)
    if found is None:
        return None, None, f"the eigenvalue never rose by a factor of 1.3 in {len(values)} values"
    fires, earlier = (where[i] for i in found)
    return earlier, fires, f"the eigenvalue had risen by a factor of 1.3 at epoch {records[fires]['epoch']}"


@dataclass(frozen=True)
class Criterion:
    """what: in words. judge: of (records, space, index of the operation).

    designated, eigenvalue: whether it looks at one designated operation, at eigenvalues.
    """

    what: str
    judge: Callable[[Records, Space, int], Verdict]
    designated: bool = False
    eigenvalue: bool = False


def _maximum(what: str, score: Callable[..., np.ndarray], exits: bool = False) -> Criterion:
    return Criterion(what, partial(_highest, score, exits), designated=True)


CRITERIA: Mapping[str, Criterion] = {
    "peak": _maximum("selective stop: highest S of the operation, gated", lambda s, o, _: _gated(s, o, s[:, o]), True),
    "residual": _maximum("selective stop: highest R, gated", lambda s, o, _: _gated(s, o, residual(s, o)), True),
    "peak_ungated": _maximum("selective stop of the DARTS space: highest S of the operation", lambda s, o, _: s[:, o]),
    "res": _maximum("highest R", lambda s, o, _: residual(s, o)),
    "res_skip": _maximum(
        "highest R with the gap to skip counted twice",
        lambda s, o, space: residual(s, o) + s[:, o] - s[:, _index(space, SKIP)],
    ),
    "res_speed": _maximum("highest R plus its increment, 2 R_e - R_(e-1)", _speed),
    "hard_exit": Criterion("every edge is a skip", _hard_exit),
    **{f"skips_{n}": Criterion(f"DARTS+ 1: {n} skips in the cell", partial(_skips, n)) for n in (2, 3, 4)},
    # The released code asks for 2, 3, 4 and 10 in an else-if chain. A count grows by one an epoch, so that no two
    # of its branches ever compete and the chain decides what each rule alone decides.
    **{f"ranking_{n}": Criterion(f"DARTS+ 2: ranking kept {n} epochs", partial(_ranking, n)) for n in (2, 3, 4, 10)},
    "eigenvalue": Criterion("DARTS-ES as published: before the eigenvalue rises", _rising, eigenvalue=True),
}


def stop(records: Records, criterion: str, *, space: Space, operation: str | None = None) -> Decision:
    """The decision of a criterion (a key of CRITERIA) on the records of a search, finished or not.

    operation: the designated one of the selective stop (None: that of DESIGNATED).

    Raises ValueError for an unknown criterion, an operation that the space lacks or that must be named, and records
    that lack what the criterion needs; it says what to log.
    """
    rule = CRITERIA[choose("criterion", criterion, CRITERIA)]
    if not records:
        raise ValueError("there is no record to judge")
    at, settled, reason = rule.judge(records, space, _designated(criterion, space, operation))
    epochs, last = [r["epoch"] for r in records], len(records) - 1
    fired = at is not None and (settled is not None or at < last)
    decided = None if settled is None else epochs[settled]
    return Decision(epochs[last if at is None else at], criterion, fired, reason, decided)


def _designated(criterion: str, space: Space, operation: str | None) -> int:
    """Index of the designated operation; -1 where none counts and none is named."""
    if operation is None and CRITERIA[criterion].designated:
        operation = DESIGNATED.get(space.name)
        if operation is None:
            raise ValueError(
                f"criterion {criterion!r} needs an operation on {space.name}: one of {', '.join(space.ops)}"
            )
    return -1 if operation is None else _index(space, operation)


def decide_all(records: Records, space: Space, operations: Iterable[str] | None = None) -> pd.DataFrame:
    """A row per criterion, and per operation where one counts: criterion, operation, epoch, fired, decided, reason.

    operations: the designated ones (None: that of DESIGNATED, else every one with parameters). A criterion that
    cannot be judged has no epoch, and the reason why.
    """
    default = DESIGNATED.get(space.name)
    named = operations or ([default] if default else [o for o in space.ops if o not in FREE_OPS])
    designated, rows = [space.ops[_index(space, o)] for o in named], []
    for name, rule in CRITERIA.items():
        for operation in designated if rule.designated else [None]:
            row: dict[str, Any] = {"criterion": name, "operation": operation}
            try:
                d = stop(records, name, space=space, operation=operation)
                row |= {"epoch": d.epoch, "fired": d.fired, "decided": d.decided, "reason": d.reason}
            except ValueError as error:
                row |= {"epoch": None, "fired": False, "decided": None, "reason": str(error)}
            rows.append(row)
    return pd.DataFrame(rows).astype({"epoch": "Int64", "decided": "Int64"})


class Stopper:
    """Says after every record whether a running search should stop: `if decision := stopper(record): break`.

    It holds nothing but the records, so a resumed search makes it anew from them. Criteria that look for a maximum
    can be settled only by the end of a search; here they are once the maximum is `patience` epochs old (ours: the
    released code never stops). DARTS-ES refuses a search that has logged no eigenvalue in so many epochs; as released
    it cannot stop one, since its tracker must know the last epoch.

    Raises ValueError as `stop` does, and as early as it can.
    """

    def __init__(
        self, criterion: str, space: Space, *, operation: str | None = None, patience: int = 10, records: Records = ()
    ) -> None:
        choose("criterion", criterion, CRITERIA)
        _designated(criterion, space, operation)
        self.criterion, self.space, self.operation = criterion, space, operation
        self.patience, self.records = positive("patience", patience), list(records)

    def __call__(self, record: Mapping[str, Any]) -> Decision | None:
        """Take the next record, in place of any later ones; the decision if the search should stop now."""
        self.records = [r for r in self.records if r["epoch"] < record["epoch"]] + [record]
        rule = CRITERIA[self.criterion]
        blind = rule.eigenvalue and all(eigenvalue(r) is None for r in self.records)
        if blind and len(self.records) < self.patience:
            return None
        decision = stop(self.records, self.criterion, space=self.space, operation=self.operation)
        old = rule.designated and record["epoch"] - decision.epoch >= self.patience
        return decision if decision.decided is not None or old else None
