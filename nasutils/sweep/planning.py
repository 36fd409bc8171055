"""What runs cost, from the records of runs like them:
the time left of a sweep, and the plan of one on paper.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heapreplace
from math import inf, isnan, nan
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any, NamedTuple

import pandas as pd
import torch

from nasutils.errors import whole
from nasutils.own_data import CONTENT
from nasutils.runs import BadRun, Params, Run
from nasutils.sweep.pool import Task, home_of, name_of
from nasutils.training.computation import Machine
from nasutils.training.loop import Record


def seconds(records: Sequence[Mapping[str, Any]]) -> float:
    """What the epochs of these records took, whichever processes computed them."""
    return sum(record["cost"]["seconds"] for record in records)


class Progress(NamedTuple):
    """Of a run, so far. records: one per epoch; seconds: what these took."""

    records: Sequence[Record] = ()
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        return len(self.records)


def progress(run: Run) -> Progress:
    """How far a run is. Raises BadRun if its records are damaged."""
    records = run.records
    try:
        return Progress(records, seconds(records))
    except (KeyError, TypeError) as error:
        raise BadRun(f"a record of {run.path} does not say what it cost ({error})") from None


# The time left


class Outlook:
    """Called with the states of a sweep's runs (see `launch.States`),
    the seconds that are left of it; nan: not known.

    An epoch is taken to last what it lasts in runs of its kind, those that differ in nothing but
    seed, genotype and epochs: in those that finished in this sweep; before one has, in those under
    way; before one of these has a record, in the finished ones of the machine's runs. It is
    estimated anew once in `every` seconds, since that takes a while of thousands of runs.

    under_way: how far every run that was computed was at the last estimate; ends: the seconds that
    each of them had left.
    """

    under_way: Mapping[str, Progress]
    ends: Mapping[str, float]

    def __init__(self, tasks: Iterable[Task], machine: Machine, every: float = 1.0) -> None:
        self._every = every
        self._next = -inf  # when to estimate anew
        self._left = nan
        self._root = Path(machine.runs)
        self._unit = torch.device(machine.device).type
        self._epochs: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        for task in tasks:
            name = name_of(task)
            self._epochs[name] = task.epochs
            self._kinds[name] = _setting(task.params())
        self._before: dict[str, float] | None = None
        self._finished: dict[str, tuple[float, int]] = {}
        """Of the runs that finished in this sweep, seconds and epochs."""
        self.under_way, self.ends = {}, {}

    def _paces_before(self, states: Mapping[str, str]) -> dict[str, float]:
        """Seconds an epoch in the runs that were finished before this sweep, by kind;
        read at the first call, of the kinds that are to be computed.
        """
        if self._before is None:
            asked = {self._kinds[name] for name, state in states.items() if state != "cached"}
            measured = _measured(self._root, self._unit, asked) if asked else {}
            self._before = {kind: _mean_cost(costs) for kind, costs in measured.items()}
        return self._before

    def __call__(self, states: Mapping[str, str]) -> float:
        if monotonic() >= self._next:
            self._left = self._estimated(states)
            self._next = monotonic() + self._every
        return self._left

    def _estimated(self, states: Mapping[str, str]) -> float:
        self._keep_finished(states)
        running = [name for name, state in states.items() if state == "running"]
        waiting = [name for name, state in states.items() if state == "waiting"]
        self.under_way = {name: self.progress(name) for name in running}
        so_far = {name: (done.seconds, done.epochs) for name, done in self.under_way.items()}
        # What is known best comes last: it replaces what comes before it.
        paces = self._paces_before(states) | self._paces(so_far) | self._paces(self._finished)
        costs = {}
        for name in (*running, *waiting):
            pace = paces.get(self._kinds[name], nan)
            costs[name] = pace * self._epochs[name]
        self.ends = {name: self._end(name, costs[name]) for name in running}
        return time_left(self.ends.values(), [costs[name] for name in waiting])

    def _keep_finished(self, states: Mapping[str, str]) -> None:
        for name, state in states.items():
            if state == "finished" and name not in self._finished:
                seconds = self.progress(name).seconds
                # All of its epochs, though it may have ended itself after fewer: so may those to
                # come.
                self._finished[name] = seconds, self._epochs[name]

    def progress(self, name: str) -> Progress:
        """How far a run is now; nothing where it cannot be read: a view stops no sweep,
        and the run itself will say so.
        """
        try:
            return progress(Run(self._root / name))
        except BadRun:
            return Progress()

    def _paces(self, so_far: Mapping[str, tuple[float, int]]) -> dict[str, float]:
        """Seconds an epoch, by kind. so_far: seconds and epochs by the name of a run."""
        seconds = defaultdict[str, float](float)
        epochs = Counter[str]()
        for name, (cost, count) in so_far.items():
            kind = self._kinds[name]
            seconds[kind] += cost
            epochs[kind] += count
        known = [kind for kind in epochs if epochs[kind] and seconds[kind]]
        return {kind: seconds[kind] / epochs[kind] for kind in known}

    def _end(self, name: str, cost: float) -> float:
        """The seconds that are left of a run under way.

        cost: of all of it, by its kind; its own records tell more.
        """
        done = self.under_way[name]
        if done.epochs:
            cost = done.seconds / done.epochs * self._epochs[name]
        return cost if isnan(cost) else max(cost - done.seconds, 0.0)


def time_left(under_way: Iterable[float], waiting: Iterable[float]) -> float:
    """Seconds until all runs are over, if each that waits starts where another one ends;
    nan if one is not known.

    under_way: what is left of each run, in seconds. waiting: what each run will take that has not
    started, in order.
    """
    ends, costs = list(under_way) or [0.0], list(waiting)
    if any(isnan(value) for value in (*ends, *costs)):
        return nan
    heapify(ends)
    for cost in costs:
        heapreplace(ends, ends[0] + cost)
    return max(ends)


# The plan on paper


def plan(tasks: Mapping[Any, Task], machine: Machine, packed: int = 1) -> pd.DataFrame:
    """What a sweep of these tasks will cost, before it starts (see `gather`);
    a row per kind of run, see `totals`.

    A run costs its epochs times the seconds per epoch of the finished runs in `machine.runs` that
    differ from it in nothing but seed, genotype and epochs: a short search of each kind is enough
    to plan by. packed: how many runs share a core, or a GPU if that is the machine's device; an
    epoch is taken to last what it lasted when it was measured, so measure packed. Runs on a CPU
    tell nothing of a GPU, nor the other way. The column `measured on` tells where that was. Raises
    ValueError for less than one run on a core or GPU.
    """
    whole("packed", packed)
    unit = torch.device(machine.device).type
    unique = {name_of(task): task for task in tasks.values()}
    settings = {name: _setting(task.params()) for name, task in unique.items()}
    measured = _measured(Path(machine.runs), unit, set(settings.values()))
    rows = []
    for name, task in unique.items():
        costs = measured[settings[name]]
        rows.append(
            {
                "kind": kind(task.params()),
                "finished": home_of(task, machine).finished,
                "minutes": _mean_cost(costs) * task.epochs / 60,
                "measured on": {device for _, device in costs},
            }
        )
    columns = ["kind", "finished", "minutes", "measured on"]
    table = pd.DataFrame(rows, columns=columns)
    return totals(table, packed, "core" if unit == "cpu" else "GPU")


def totals(runs: pd.DataFrame, packed: int, unit: str) -> pd.DataFrame:
    """Per kind of run, and for all: how many, how many are finished, minutes of one,
    hours of all and of what is left.

    runs: a row per run with its kind, finished (bool), minutes (nan: not measured) and `measured
    on` (a set of devices). packed: how many share a core or GPU, whose name is `unit`. An hour
    that is not known makes its sum nan.
    """
    hours = runs["minutes"].astype(float) / 60 / packed
    unfinished = ~runs["finished"].astype(bool)
    table = runs.assign(hours=hours, left=hours.where(unfinished, 0.0))

    def line(part: pd.DataFrame) -> dict[str, Any]:
        devices = set().union(*part["measured on"])
        return {
            "runs": len(part),
            "finished": int(part["finished"].sum()),
            "minutes a run": part["minutes"].mean(),
            f"{unit}-hours": part["hours"].sum(skipna=False),
            f"{unit}-hours left": part["left"].sum(skipna=False),
            "measured on": "; ".join(sorted(devices)),
        }

    lines = {name: line(part) for name, part in table.groupby("kind", sort=False)}
    lines["all"] = line(table)
    return pd.DataFrame.from_dict(lines, orient="index")


EpochCost = tuple[float, str]


def kind(params: Params) -> str:
    """What a run is called in a plan: a search or a selection in it by its method,
    a final network by its protocol.
    """
    of = params.get("search", params)
    images = of["dataset"]
    if images.startswith(CONTENT):
        digest = images.removeprefix(CONTENT)
        images = f"own images {digest[:8]}"
    return f"{params['kind']} {of.get('method', of['preset'])} on {of['space']}, {images}"


def _setting(params: Params) -> str:
    """All that the seconds of an epoch depend on:
    the parameters without seed, genotype and number of epochs.
    """

    def without(values: Params) -> Params:
        kept = {}
        for name, value in values.items():
            if name not in ("seed", "genotype", "epochs"):
                kept[name] = without(value) if isinstance(value, dict) else value
        return kept

    return json.dumps(without(params), sort_keys=True)


def _measured(root: Path, unit: str, settings: set[str]) -> dict[str, list[EpochCost]]:
    """What finished runs on that type of device cost, by setting; only of these settings.

    Those that are damaged are left out, which is said.
    """
    found = defaultdict(list)
    for file in sorted(root.glob("*/result.json")):
        run = Run(file.parent)
        try:
            setting = _setting(run.params or {})
            if setting not in settings or run.result is None:
                continue
            stamp = run.stamp
            if stamp.get("type", "cpu") != unit:
                continue
            done = progress(run)
            cost = done.seconds / max(done.epochs, 1)
            found[setting].append((cost, stamp.get("device", "unknown")))
        except BadRun as error:
            print(f"left out: {error}")
    return found


def _mean_cost(costs: Sequence[EpochCost]) -> float:
    """Mean seconds of an epoch; nan of none."""
    return fmean(seconds for seconds, _ in costs) if costs else nan
