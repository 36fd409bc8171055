"""When a search should stop, judged from its records.

* Selective stop (arXiv 2109.13466): the epoch at which a designated operation weighs most, S_e[o]
  = sum over edges of softmax(alpha)[edge, o]. Which operation that is presumes knowledge.
* DARTS+ (arXiv 1909.06035): the first epoch with n skips, or with a ranking of operations kept for
  n epochs.
* DARTS-ES (arXiv 1909.09656): before the dominant Hessian eigenvalue rises.

Pure functions of trajectories first, in positions (0: first record) and arrays; `stop` reads
records, `Stopper` serves a running search. Source of the rules and their quirks: the authors'
released code, chaoji90/Selective-Stop, AutoDL-Projects_ss/exps/algos/DARTS-V1*.py and
SS-DARTS/train_search.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from nasutils.errors import choose, positive
from nasutils.measures.leakage import FREE_OPS
from nasutils.methods import relax
from nasutils.spaces.base import SKIP, Space, operations_of_edges
from nasutils.spaces.genotype import Genotype

Records = Sequence[Mapping[str, Any]]
ES_CADENCE, ES_START = 2, 10
"""DARTS-ES: epochs from one eigenvalue to the next, which its window and lag are made for, and the
first epoch whose architecture it can take (RobustDARTS's code; the authors' starts at 0)."""
ES_WINDOW, ES_BACK, ES_FACTOR = 5, 4, 1.3
"""Eigenvalues that are averaged; how far apart the means compared are; their ratio."""
DESIGNATED = {"nasbench201": "nor_conv_3x3"}
"""Space -> operation whose magnitude decides if none is named; elsewhere one must be."""


def magnitudes(alpha: ArrayLike) -> np.ndarray:
    """S_e[o], (epochs, operations): the weight of each operation at T = 1, summed over edges.

    alpha: (epochs, edges, operations); -inf where an edge lacks an operation.
    """
    scores = torch.as_tensor(np.asarray(alpha, dtype=float))
    return relax.softmax(scores, 1.0).sum(dim=1).numpy()


def residual(s: np.ndarray, o: int) -> np.ndarray:
    """R_e, (epochs,): the sum over all operations of S_e[o] - S_e[other]; s: magnitudes.

    As the magnitudes of NAS-Bench-201 sum to its 6 edges, R_e = 5 S_e[o] - 6 there.
    """
    return (s[:, [o]] - s).sum(axis=1)


def recorded(s: np.ndarray, o: int) -> np.ndarray:
    """The bootstrap gate, (epochs,): all epochs before o first has the largest S,
    then only those in which it has.
    """
    largest = s.argmax(axis=1) == o
    return largest | ~np.logical_or.accumulate(largest)


def ranking_kept(alpha: ArrayLike) -> np.ndarray:
    """Number of epochs in a row, this one included,
    in which every edge has had the same order of alpha, (epochs,).
    """
    ranks = np.argsort(alpha, axis=-1, kind="stable")
    kept = [1]
    for same in (ranks[1:] == ranks[:-1]).all(axis=(1, 2)):
        kept.append(kept[-1] + 1 if same else 1)
    return np.array(kept)


def first(condition: ArrayLike) -> int | None:
    """Position of the first True, None if there is none."""
    where = np.flatnonzero(condition)
    return int(where[0]) if len(where) else None


def local_means(values: ArrayLike) -> np.ndarray:
    """Mean over the ES_WINDOW values around each, cut off at both ends of the series."""
    x = np.asarray(values, dtype=float)
    half = ES_WINDOW // 2
    means = []
    for i in range(len(x)):
        first = max(i - half, 0)
        means.append(x[first : i + half + 1].mean())
    return np.array(means)


def eigenvalue_stop(values: ArrayLike, start: int = 0) -> tuple[int, int] | None:
    """DARTS-ES as intended: (where it fires, where it goes back to), positions in the series;
    None if it never does.

    values: dominant eigenvalues in the order they were measured, however many epochs lie between
    them. It fires when the newest mean over a whole window of ES_WINDOW is more than ES_FACTOR
    times the one ES_BACK values before, which must be positive, and goes back to the centre of
    that earlier window, not before position `start`.
    """
    half = ES_WINDOW // 2
    # The last means are left out: their windows are not complete yet. The first ones are cut off,
    # as released.
    complete = max(np.size(values) - half, 0)
    means = local_means(values)[:complete]
    before, after = means[:-ES_BACK], means[ES_BACK:]
    rises = (before > 0) & (after > ES_FACTOR * before)
    rises[:start] = False
    earlier = first(rises)
    if earlier is None:
        return None
    return earlier + ES_BACK + half, earlier


def darts_es(epochs: Sequence[int], values: ArrayLike) -> tuple[int, int] | None:
    """`eigenvalue_stop` of eigenvalues measured in these epochs, from ES_START on.

    Raises ValueError if they lie further apart than the rule is made for.
    """
    apart = max(np.diff(epochs), default=0)
    if apart > ES_CADENCE:
        rule = (
            f"DARTS-ES takes an eigenvalue at least every {ES_CADENCE} epochs, not every {apart}"
        )
        raise ValueError(f"{rule}: search with `eigenvalue_every` = {ES_CADENCE}")
    return eigenvalue_stop(values, start=sum(epoch < ES_START for epoch in epochs))


def cell_of(space: Space) -> str:
    """The cell type that is judged: the normal one, or else the first."""
    return "normal" if "normal" in space.cell_types else space.cell_types[0]


def alphas(records: Records, space: Space) -> np.ndarray:
    """The trajectory of alpha in the judged cell, (epochs, edges, operations):
    -inf where an edge lacks an operation.

    Where the mixing weights are no softmax of alpha (GAEA, DrNAS), their logarithm, whose softmax
    they are.

    Raises ValueError if a record lacks alpha, or has one of another shape.
    """
    cell = cell_of(space)
    edges, choices = space.alpha_shapes[cell]
    wrong = ValueError(
        f"every record needs alpha[{cell!r}], {edges} x {choices} without nan, as `search` logs it"
    )
    try:
        scores = np.array([_scores(r, cell) for r in records], dtype=float)
    except (KeyError, TypeError, ValueError):
        raise wrong from None
    if scores.shape[1:] != (edges, choices) or np.isnan(scores).any():
        raise wrong
    by_operation = np.full((len(scores), edges, len(space.ops)), -np.inf)
    for edge, ops in enumerate(operations_of_edges(space, cell)):
        columns = [space.ops.index(op) for op in ops]
        by_operation[:, edge, columns] = scores[:, edge]
    return by_operation


def _scores(record: Mapping[str, Any], cell: str) -> ArrayLike:
    if record.get("softmax_temperature", 1.0) is not None:
        return record["alpha"][cell]
    with np.errstate(divide="ignore"):
        return np.log(record["mix"][cell])


def cell_operations(records: Records, space: Space) -> list[tuple[str, ...]]:
    """Per record the operations of the judged cell's genotype.
    Raises ValueError if a record has none.
    """
    if not all("genotype" in r for r in records):
        raise ValueError("every record needs its genotype, as `search` logs it")
    return [_operations(r["genotype"], cell_of(space)) for r in records]


@cache
def _operations(genotype: str, cell: str) -> tuple[str, ...]:
    for found in Genotype.parse(genotype).cells:
        if found.name == cell:
            return found.ops
    raise ValueError(f"expected a genotype with the cell {cell!r}, not {genotype!r}")


def skip_counts(records: Records, space: Space) -> np.ndarray:
    """Number of skip connections in the judged cell's genotype, (epochs,).
    Raises ValueError if the space has none.
    """
    _index(space, SKIP)
    return np.array([ops.count(SKIP) for ops in cell_operations(records, space)])


def eigenvalues(records: Records) -> tuple[list[int], list[float]]:
    """Positions of the records that hold a dominant Hessian eigenvalue, and these.
    Raises ValueError if none does.
    """
    positions, values = [], []
    for i, record in enumerate(records):
        value = eigenvalue(record)
        if value is not None:
            positions.append(i)
            values.append(value)
    if not values:
        missing = "no record holds an eigenvalue (the Hessian's dominant one)"
        raise ValueError(f"{missing}: search with `eigenvalue_every` = 2")
    return positions, values


def eigenvalue(record: Mapping[str, Any]) -> float | None:
    """The dominant Hessian eigenvalue in the record, by itself or of a probe;
    None if there is none.
    """
    return record.get("eigenvalue", record.get("leakage", {}).get("eigenvalue"))


def _index(space: Space, operation: str) -> int:
    return space.ops.index(choose(f"operation of {space.name}", operation, space.ops))


@dataclass(frozen=True)
class Decision:
    """Which epoch's architecture a criterion takes.

    epoch: that epoch; the last one if the criterion never fired. decided: epoch after which the
    rest of the search could not change it (None: it takes the whole search). reason: in words.
    """

    epoch: int
    criterion: str
    fired: bool
    reason: str
    decided: int | None = None


@dataclass(frozen=True)
class Judgement:
    """What a criterion says of some records.

    position: of the record whose architecture it takes (None: it never fired). settled: position
    from which on no later record could change that (None: a later one could). reason: in words.
    """

    position: int | None
    settled: int | None
    reason: str


Judge = Callable[..., Judgement]
"""(records, space) -> Judgement; of a designated criterion with the keyword `operation`."""


class Course(NamedTuple):
    """How much the operations of a space weigh over a search; s: magnitudes, (epochs,
    operations). What it says of an operation is a number per epoch, (epochs,).
    """

    space: Space
    s: np.ndarray

    def of(self, operation: str) -> np.ndarray:
        """S of the operation. Raises ValueError if the space lacks it."""
        return self.s[:, _index(self.space, operation)]

    def lead(self, operation: str) -> np.ndarray:
        """R of the operation."""
        return residual(self.s, _index(self.space, operation))

    def gated(self, operation: str, scores: np.ndarray) -> np.ndarray:
        """Scores in the epochs in which the operation is recorded, -inf in the others."""
        return np.where(recorded(self.s, _index(self.space, operation)), scores, -np.inf)


Score = Callable[[Course, str], np.ndarray]
"""(course, operation) -> a number per epoch, (epochs,)."""


@dataclass(frozen=True)
class Criterion:
    """A rule that says when to stop. description: in words.

    designated, eigenvalue: whether it looks at one designated operation, at eigenvalues.
    """

    description: str
    judge: Judge
    designated: bool = False
    eigenvalue: bool = False


def skips_only(records: Records, space: Space) -> Judgement:
    """The first cell whose edges are all skips."""
    edges = [len(ops) for ops in cell_operations(records, space)]
    at = first(skip_counts(records, space) == edges)
    reason = "no epoch had skips only" if at is None else "every edge of the cell is a skip"
    return Judgement(at, at, reason)


def highest(
    records: Records,
    space: Space,
    *,
    operation: str,
    score: Score,
    until_skips_only: bool = False,
) -> Judgement:
    """The epoch at which a score of the designated operation is highest.

    until_skips_only: whether epochs after the first cell of nothing but skips are not looked at
    (the authors' search ends there).
    """
    end = None
    if until_skips_only and SKIP in space.ops:
        end = skips_only(records, space).position
    seen = records if end is None else records[: end + 1]
    scores = score(Course(space, magnitudes(alphas(seen, space))), operation)
    at = int(scores.argmax())
    rising = at == len(seen) - 1
    when = "is still at its highest" if rising else "had its highest score here"
    reason = f"{operation} {when}"
    if end is not None:
        reason += f"; all edges are skips at epoch {records[end]['epoch']}"
    return Judgement(at, end, reason)


def peak(course: Course, operation: str) -> np.ndarray:
    """S of the operation in the epochs that are recorded, -inf in the others."""
    return course.gated(operation, course.of(operation))


def recorded_lead(course: Course, operation: str) -> np.ndarray:
    """R of the operation in the epochs that are recorded, -inf in the others."""
    return course.gated(operation, course.lead(operation))


def lead_over_skips(course: Course, operation: str) -> np.ndarray:
    """R of the operation, with its lead over skips counted twice."""
    return course.lead(operation) + course.of(operation) - course.of(SKIP)


def lead_and_growth(course: Course, operation: str) -> np.ndarray:
    """R of the operation plus its growth in the epoch: 2 R_e - R_(e-1)."""
    r = course.lead(operation)
    return r + np.diff(r, prepend=r[0])


def enough_skips(records: Records, space: Space, *, skips: int) -> Judgement:
    """DARTS+, criterion 1: the first cell with so many skips."""
    at = first(skip_counts(records, space) >= skips)
    when = "never" if at is None else "first"
    return Judgement(at, at, f"{when} {skips} or more skips in the cell")


def stable_ranking(records: Records, space: Space, *, epochs: int) -> Judgement:
    """DARTS+, criterion 2: the first epoch after so many in which no edge changed its ranking of
    operations.
    """
    at = first(ranking_kept(alphas(records, space)) == epochs)
    kept = "was never" if at is None else "has been"
    return Judgement(at, at, f"the order of operations {kept} kept for {epochs} epochs")


def eigenvalue_rise(records: Records, space: Space) -> Judgement:
    """DARTS-ES: before the dominant Hessian eigenvalue rises."""
    positions, values = eigenvalues(records)
    found = darts_es([records[i]["epoch"] for i in positions], values)
    factor = f"by a factor of {ES_FACTOR}"
    if found is None:
        reason = f"the eigenvalue never rose {factor} in {len(values)} values"
        return Judgement(None, None, reason)
    fires, earlier = (positions[i] for i in found)
    reason = f"the eigenvalue had risen {factor} at epoch {records[fires]['epoch']}"
    return Judgement(earlier, fires, reason)


def _selective(description: str, score: Score, until_skips_only: bool = False) -> Criterion:
    judge = partial(highest, score=score, until_skips_only=until_skips_only)
    return Criterion(description, judge, designated=True)


def _skips(count: int) -> Criterion:
    return Criterion(f"DARTS+ 1: {count} skips in the cell", partial(enough_skips, skips=count))


def _ranking(epochs: int) -> Criterion:
    judge = partial(stable_ranking, epochs=epochs)
    return Criterion(f"DARTS+ 2: ranking kept {epochs} epochs", judge)


CRITERIA: Mapping[str, Criterion] = {
    "peak": _selective(
        "selective stop: highest S of the operation, gated", peak, until_skips_only=True
    ),
    "residual": _selective(
        "selective stop: highest R, gated", recorded_lead, until_skips_only=True
    ),
    "peak_ungated": _selective(
        "selective stop of the DARTS space: highest S of the operation", Course.of
    ),
    "res": _selective("highest R", Course.lead),
    "res_skip": _selective("highest R with the gap to skip counted twice", lead_over_skips),
    "res_speed": _selective("highest R plus its increment, 2 R_e - R_(e-1)", lead_and_growth),
    "hard_exit": Criterion("every edge is a skip", skips_only),
    **{f"skips_{count}": _skips(count) for count in (2, 3, 4)},
    # The released code asks for 2, 3, 4 and 10 in an else-if chain. A count grows by one an epoch,
    # so that no two of its branches ever compete and the chain decides what each rule alone
    # decides.
    **{f"ranking_{epochs}": _ranking(epochs) for epochs in (2, 3, 4, 10)},
    "eigenvalue": Criterion(
        "DARTS-ES as published: before the eigenvalue rises", eigenvalue_rise, eigenvalue=True
    ),
}


def stop(
    records: Records, criterion: str, *, space: Space, operation: str | None = None
) -> Decision:
    """The decision of a criterion (a key of CRITERIA) on the records of a search, finished or not.

    operation: the designated one of the selective stop (None: that of DESIGNATED).

    Raises ValueError for an unknown criterion, an operation that the space lacks or that must be
    named, and records that lack what the criterion needs; it says what to log.
    """
    rule = CRITERIA[choose("criterion", criterion, CRITERIA)]
    if not records:
        raise ValueError("there is no record to judge")
    found = rule.judge(records, space, **_designated(criterion, space, operation))
    last = len(records) - 1
    at = last if found.position is None else found.position
    fired = found.position is not None and (found.settled is not None or at < last)
    decided = None if found.settled is None else records[found.settled]["epoch"]
    return Decision(records[at]["epoch"], criterion, fired, found.reason, decided)


def taken_record(records: Records, decision: Decision) -> Mapping[str, Any]:
    """The record of the epoch whose architecture a criterion takes."""
    return next(record for record in records if record["epoch"] == decision.epoch)


def _designated(criterion: str, space: Space, operation: str | None) -> dict[str, str]:
    """The argument `operation` of a designated criterion's judge; nothing for others."""
    designated = CRITERIA[criterion].designated
    if operation is None and designated:
        operation = DESIGNATED.get(space.name)
        if operation is None:
            choices = ", ".join(space.ops)
            raise ValueError(
                f"criterion {criterion!r} needs an operation on {space.name}: one of {choices}"
            )
    if operation is None:
        return {}
    _index(space, operation)  # raises ValueError
    return {"operation": operation} if designated else {}


def decide_all(
    records: Records, space: Space, operations: Iterable[str] | None = None
) -> pd.DataFrame:
    """A row per criterion, and per operation where one counts:
    criterion, operation, epoch, fired, decided, reason.

    operations: the designated ones (None: that of DESIGNATED, else every one with parameters). A
    criterion that cannot be judged has no epoch, and the reason why.
    """
    designated = [space.ops[_index(space, o)] for o in operations or _usual_operations(space)]
    rows: list[tuple[Any, ...]] = []
    for name, rule in CRITERIA.items():
        for operation in designated if rule.designated else [None]:
            try:
                d = stop(records, name, space=space, operation=operation)
            except ValueError as error:
                rows.append((name, operation, None, False, None, str(error)))
            else:
                rows.append((name, operation, d.epoch, d.fired, d.decided, d.reason))
    columns = ["criterion", "operation", "epoch", "fired", "decided", "reason"]
    return pd.DataFrame(rows, columns=columns).astype({"epoch": "Int64", "decided": "Int64"})


def _usual_operations(space: Space) -> list[str]:
    if space.name in DESIGNATED:
        return [DESIGNATED[space.name]]
    return [op for op in space.ops if op not in FREE_OPS]


class Stopper:
    """Says after every record whether a running search should stop:
    `if decision := stopper(record): break`.

    It holds nothing but the records, so a resumed search makes it anew from them. Criteria that
    look for a maximum can be settled only by the end of a search; here they are once the maximum
    is `patience` epochs old (ours: the released code looks the maximum up afterwards). DARTS-ES
    refuses a search that has logged no eigenvalue in so many epochs.

    Raises ValueError as `stop` does, and as early as it can.
    """

    def __init__(
        self,
        criterion: str,
        space: Space,
        *,
        operation: str | None = None,
        patience: int = 10,
        records: Records = (),
    ) -> None:
        choose("criterion", criterion, CRITERIA)
        _designated(criterion, space, operation)
        self.criterion, self.space, self.operation = criterion, space, operation
        self.patience, self.records = positive("patience", patience), list(records)

    def __call__(self, record: Mapping[str, Any]) -> Decision | None:
        """Take the next record, in place of any later ones;
        the decision if the search should stop now.
        """
        earlier = [r for r in self.records if r["epoch"] < record["epoch"]]
        self.records = [*earlier, record]
        rule = CRITERIA[self.criterion]
        young = len(self.records) < self.patience
        if young and rule.eigenvalue and all(eigenvalue(r) is None for r in self.records):
            return None
        decision = stop(self.records, self.criterion, space=self.space, operation=self.operation)
        if decision.decided is not None:
            return decision
        age = record["epoch"] - decision.epoch
        return decision if rule.designated and age >= self.patience else None
