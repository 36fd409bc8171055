"""What runs cost, from the records of runs like them: the time left of a sweep, and the plan of one on paper."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heapreplace
from math import isnan, nan
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from nasutils.errors import whole
from nasutils.runs import Params, Run
from nasutils.sweep.pool import Task, home_of, name_of
from nasutils.training.experiment import Machine


def seconds(records: Sequence[Mapping[str, Any]]) -> float:
    """What the epochs of these records took, whichever processes computed them."""
    return sum(record["cost"]["seconds"] for record in records)


# The time left


class Outlook:
    """Called with the states of a sweep's runs (see `launch.States`), the seconds that are left of it."""

    def __init__(self, tasks: Iterable[Task], machine: Machine) -> None:
        self._tasks = {name_of(task): task for task in tasks}
        self._root = Path(machine.runs)
        self._costs: dict[str, float] = {}

    def __call__(self, states: Mapping[str, str]) -> float:
        for name, state in states.items():
            if state == "finished" and name not in self._costs:
                self._costs[name] = seconds(Run(self._root / name).records)
        under_way = [self._progress(name) for name, state in states.items() if state == "running"]
        return time_left(list(self._costs.values()), under_way, sum(s == "waiting" for s in states.values()))

    def _progress(self, name: str) -> tuple[float, float]:
        records = Run(self._root / name).records
        spent = seconds(records)
        return spent, spent / len(records) * self._tasks[name].epochs if records else nan


def time_left(costs: Sequence[float], under_way: Sequence[tuple[float, float]], waiting: int) -> float:
    """Seconds until all runs are over, if each that waits starts where another one ends; nan if nothing is known.

    costs: seconds of each run that finished, whose mean a run that waits is taken to cost. under_way: of each run,
    the seconds spent and those expected in all, nan before its first record. Before a run has finished, those
    expected stand in for `costs`. waiting: how many have not started.
    """
    known = costs or [whole for _, whole in under_way if not isnan(whole)]
    if not known:
        return nan
    each = fmean(known)
    ends = [max((each if isnan(whole) else whole) - spent, 0.0) for spent, whole in under_way] or [0.0]
    heapify(ends)
    for _ in range(waiting):
        heapreplace(ends, ends[0] + each)
    return max(ends)


# The plan on paper


def plan(tasks: Mapping[Any, Task], machine: Machine, packed: int = 1) -> pd.DataFrame:
    """What a sweep of these tasks will cost, before it starts (see `gather`); a row per kind of run, see `budget`.

    A run costs its epochs times the seconds per epoch of the finished runs in `machine.runs` that differ from it in
    nothing but seed, genotype and epochs: a short search of each kind is enough to plan by. packed: how many runs
    share a core, or a GPU if that is the machine's device; an epoch is taken to last what it lasted when it was
    measured, so measure packed. Runs on a CPU tell nothing of a GPU, nor the other way. The column `measured on`
    tells where that was. Raises ValueError for less than one run on a core or GPU.
    """
    whole("packed", packed)
    unit = torch.device(machine.device).type
    unique = {name_of(task): task for task in tasks.values()}
    measured = _measured(Path(machine.runs), unit, {_setting(task.params()) for task in unique.values()})
    rows = []
    for task in unique.values():
        costs = measured[_setting(task.params())]
        rows.append(
            {
                "kind": kind(task.params()),
                "finished": home_of(task, machine).result is not None,
                "minutes": fmean(cost for cost, _ in costs) * task.epochs / 60 if costs else nan,
                "measured on": {device for _, device in costs},
            }
        )
    columns = ["kind", "finished", "minutes", "measured on"]
    return budget(pd.DataFrame(rows, columns=columns), packed, "core" if unit == "cpu" else "GPU")


def budget(runs: pd.DataFrame, packed: int, unit: str) -> pd.DataFrame:
    """Per kind of run, and for all: how many, how many are finished, minutes of one, hours of all and of what is left.

    runs: a row per run with its kind, finished (bool), minutes (nan: not measured) and `measured on` (a set of
    devices). packed: how many share a core or GPU, whose name is `unit`. An hour that is not known makes its sum nan.
    """
    hours = runs["minutes"].astype(float) / 60 / packed
    table = runs.assign(hours=hours, left=hours.where(~runs["finished"].astype(bool), 0.0))

    def line(part: pd.DataFrame) -> dict[str, Any]:
        return {
            "runs": len(part),
            "finished": int(part["finished"].sum()),
            "minutes a run": part["minutes"].mean(),
            f"{unit}-hours": part["hours"].sum(skipna=False),
            f"{unit}-hours left": part["left"].sum(skipna=False),
            "measured on": "; ".join(sorted(set().union(*part["measured on"]))),
        }

    lines = {name: line(part) for name, part in table.groupby("kind", sort=False)}
    return pd.DataFrame.from_dict({**lines, "all": line(table)}, orient="index")


def kind(params: Params) -> str:
    """What a run is called in a plan: a search by its method, a final network by its protocol."""
    return f"{params['kind']} {params.get('method', params['preset'])} on {params['space']}, {params['dataset']}"


def _setting(params: Params) -> str:
    """All that the seconds of an epoch depend on: the parameters without seed, genotype and number of epochs."""

    def without(values: Params) -> Params:
        kept = {name: value for name, value in values.items() if name not in ("seed", "genotype", "epochs")}
        return {name: without(value) if isinstance(value, dict) else value for name, value in kept.items()}

    return json.dumps(without(params), sort_keys=True)


def _measured(root: Path, unit: str, settings: set[str]) -> dict[str, list[tuple[float, str]]]:
    """Of every finished run of these settings on that type of device, mean seconds of an epoch and the machine."""
    found = defaultdict(list)
    for file in sorted(root.glob("*/result.json")):
        setting = _setting(json.loads((file.parent / "params.json").read_text()))
        run = Run(file.parent)
        if setting in settings and run.stamp.get("type", "cpu") == unit:
            records = run.records
            found[setting].append((seconds(records) / max(len(records), 1), run.stamp.get("device", "unknown")))
    return found
