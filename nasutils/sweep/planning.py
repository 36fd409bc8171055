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
    """How far a run is. records: one per epoch; seconds: what these took."""

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


class Spent(NamedTuple):
    """What a number of epochs took."""

    seconds: float
    epochs: int


class Outlook:
    """The seconds that are left of a sweep, nan if they are not known:
    called with the states of its runs, see `launch.States`.

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
        self._root = machine.runs
        self._unit = torch.device(machine.device).type
        self._epochs: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        for task in tasks:
            name = name_of(task)
            self._epochs[name] = task.epochs
            self._kinds[name] = _setting(task.params())
        self._before: dict[str, float] | None = None
        self._finished: dict[str, Spent] = {}
        """What the runs that finished in this sweep took, by name."""
        self.under_way, self.ends = {}, {}

    def __call__(self, states: Mapping[str, str]) -> float:
        if monotonic() >= self._next:
            self._left = self._estimated(states)
            self._next = monotonic() + self._every
        return self._left

    def progress(self, name: str) -> Progress:
        """How far a run is now; nothing where it cannot be read: a view stops no sweep,
        and the run itself will say so.
        """
        try:
            return progress(Run(self._root / name))
        except BadRun:
            return Progress()

    def _estimated(self, states: Mapping[str, str]) -> float:
        """The seconds that are left, of the run folders as they are now."""
        self._look(states)
        paces = self._paces(states)
        self.ends = {name: self._end(name, paces) for name in self.under_way}
        waiting = [name for name, state in states.items() if state == "waiting"]
        return time_left(self.ends.values(), [self._cost(name, paces) for name in waiting])

    def _look(self, states: Mapping[str, str]) -> None:
        """See how far the runs are that are computed, and what those took that finished."""
        running = [name for name, state in states.items() if state == "running"]
        self.under_way = {name: self.progress(name) for name in running}
        for name, state in states.items():
            if state == "finished" and name not in self._finished:
                # All of its epochs, though it may have ended itself after fewer: so may those to
                # come.
                self._finished[name] = Spent(self.progress(name).seconds, self._epochs[name])

    def _cost(self, name: str, paces: Mapping[str, float]) -> float:
        """The seconds of a whole run at the pace of its kind; nan: not known."""
        return paces.get(self._kinds[name], nan) * self._epochs[name]

    def _end(self, name: str, paces: Mapping[str, float]) -> float:
        """The seconds that are left of a run under way: at its own pace, if it has a record."""
        done = self.under_way[name]
        if done.epochs:
            cost = done.seconds / done.epochs * self._epochs[name]
        else:
            cost = self._cost(name, paces)
        return cost if isnan(cost) else max(cost - done.seconds, 0.0)

    def _paces(self, states: Mapping[str, str]) -> dict[str, float]:
        """Seconds an epoch, by kind, as well as they are known by now."""
        so_far = {name: Spent(done.seconds, done.epochs) for name, done in self.under_way.items()}
        # What is known best comes last: it replaces what comes before it.
        return {
            **self._paces_before(states),
            **self._paces_of(so_far),
            **self._paces_of(self._finished),
        }

    def _paces_before(self, states: Mapping[str, str]) -> dict[str, float]:
        """Seconds an epoch in runs that were finished before this sweep, by kind;
        read at the first call, of the kinds that are to be computed.
        """
        if self._before is None:
            asked = {self._kinds[name] for name, state in states.items() if state != "cached"}
            measured = _measured(self._root, self._unit, asked) if asked else {}
            self._before = {kind: _mean_cost(costs) for kind, costs in measured.items()}
        return self._before

    def _paces_of(self, spent: Mapping[str, Spent]) -> dict[str, float]:
        """Seconds an epoch in runs of this sweep, by kind. spent: by the name of a run."""
        seconds = defaultdict[str, float](float)
        epochs = Counter[str]()
        for name, (cost, count) in spent.items():
            kind = self._kinds[name]
            seconds[kind] += cost
            epochs[kind] += count
        known = [kind for kind in epochs if epochs[kind] and seconds[kind]]
        return {kind: seconds[kind] / epochs[kind] for kind in known}


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
    measured = _measured(machine.runs, unit, set(settings.values()))
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
    """A row per kind of run, and one for all: how many, how many are finished, minutes of one,
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
"""Seconds of an epoch, and the device they were measured on."""


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
    """What an epoch of finished runs cost, by setting: of these settings, on that type of device.

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
    """Mean seconds of an epoch; nan where none was measured."""
    return fmean(seconds for seconds, _ in costs) if costs else nan
