"""Many runs: finished ones from the cache first,
the others side by side on this machine or on a Ray cluster.

    if __name__ == "__main__":
        searches = gather({("DARTS", 0): Experiment(...), ...}, machine, workers=8)

is the same call in a notebook and in a batch job (a script needs the guard, since the processes
that run begin by importing it). Where runs are computed, see `nasutils.sweep.pool`.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Literal, TypeVar

import torch

from nasutils.data import MissingData
from nasutils.runs import BadRun, Run, computed_on
from nasutils.sweep.cluster import Cluster
from nasutils.sweep.live import view
from nasutils.sweep.pool import (
    Local,
    Pool,
    Task,
    check_sweep,
    devices,
    events,
    fitting,
    home_named,
    name_of,
)
from nasutils.training.computation import Machine, tell_changes

State = Literal["cached", "waiting", "running", "finished", "failed"]
States = Mapping[str, State]
"""The state of every run of a sweep, by the name of its folder.
cached: it was finished before the sweep.
"""

Watch = Callable[[States], None]
"""Called whenever a state changes, and every few seconds in between."""

K = TypeVar("K")


def sweep(
    tasks: Sequence[Task],
    machine: Machine,
    workers: int | None = None,
    engine: str = "local",
    gpus: float = 0.0,
    watch: Watch = lambda states: None,
) -> list[Run]:
    """Run every task once, at most `workers` at a time (None: as many as fit), one thread each;
    returns their runs.

    engine: `local` (processes of this machine) or `ray` (a cluster). gpus: the share of a GPU that
    a run takes on device `cuda`; 0: all runs are on the machine's device.

    A run that fails is recorded in its folder and does not stop the others: its `result` is None.
    One that finished and is damaged counts as failed, and is left as it is: its `failure` says
    what to do. Equal tasks are run once. A second call trains nothing that is finished.
    Interrupted, the processes are ended; a later call goes on from the checkpoints.

    Raises ValueError for what cannot be, see `pool.check_sweep` and `open_pool`, RuntimeError if a
    failure cannot be recorded (a full disk).
    """
    check_sweep(machine, workers, engine, gpus)
    names = [name_of(task) for task in tasks]
    named = dict(zip(names, tasks, strict=True))
    states = _at_first(named, machine)
    opened = partial(open_pool, machine, workers, engine, gpus)
    _run_waiting(named, states, machine, opened, watch)
    return [home_named(name, machine) for name in names]


def open_pool(machine: Machine, workers: int | None, engine: str, gpus: float) -> Pool:
    """A pool for at most `workers` runs side by side;
    None: as many as cores or shares of GPUs hold.

    engine: local or ray. gpus: share of a GPU that each run takes; 0: all are on the device of the
    machine. Raises ValueError where there is no GPU to share, ModuleNotFoundError without Ray,
    ConnectionError if RAY_ADDRESS leads nowhere.
    """
    if engine == "ray":
        return Cluster(machine, workers, gpus)
    count = torch.cuda.device_count() if gpus else 0
    most = fitting(gpus, count) if gpus else os.cpu_count() or 1
    return Local(machine, devices(machine.device, gpus, count, workers or most))


def _at_first(names: Iterable[str], machine: Machine) -> dict[str, State]:
    """The state of every run before a sweep."""
    states: dict[str, State] = {}
    for name in names:
        try:
            result = home_named(name, machine).result
            states[name] = "waiting" if result is None else "cached"
        except BadRun:
            states[name] = "failed"
    return states


def _run_waiting(
    named: Mapping[str, Task],
    states: dict[str, State],
    machine: Machine,
    opened: Callable[[], Pool],
    report: Watch,
) -> None:
    """Run the tasks whose state is waiting; every change is kept in `states` and reported."""
    report(states)
    todo = {name: task for name, task in named.items() if states[name] == "waiting"}
    if not todo:
        return
    with closing(opened()) as where:
        for event in events(todo, where):
            if event:
                states[event.name] = event.state
                if event.error is not None:
                    _record(home_named(event.name, machine), event.error)
            report(states)


def _record(home: Run, error: str) -> None:
    """See that the folder of a run that failed says so:
    a process that was killed could not write it.
    """
    if home.finished:  # and the process died before it could answer
        return
    if home.failure is None or home.failure["error"] != error:
        home.fail(error)
    if home.failure is None:
        raise RuntimeError(f"run {home.path.name} failed, and this could not be recorded: {error}")


def gather(
    tasks: Mapping[K, Task],
    machine: Machine,
    workers: int | None = None,
    engine: str = "local",
    gpus: float = 0.0,
) -> dict[K, Run]:
    """`sweep` with a view of it and a last line; returns the runs by the keys of the tasks.

    The view is a table with a curve per run in JupyterLab, elsewhere a bar that counts epochs (see
    `live`); there is none where every run is finished already. The line says what failed and how
    many runs were computed on which machine. Equal tasks are one run.

    Raises ValueError for tasks that are none, and what the first task that is not finished would
    fail with, if all of them would fail at their start; Interrupted (a KeyboardInterrupt) where it
    is interrupted: what is finished stays, and the next call goes on.
    """
    _check_tasks(tasks)
    check_sweep(machine, workers, engine, gpus)
    names = {key: name_of(task) for key, task in tasks.items()}
    named = {names[key]: task for key, task in tasks.items()}
    states = _at_first(named, machine)
    _check_possible([task for name, task in named.items() if states[name] == "waiting"], machine)
    tell_changes((task.params() for task in named.values()), machine)
    opened = partial(open_pool, machine, workers, engine, gpus)
    found = {key: home_named(name, machine) for key, name in names.items()}
    try:
        if "waiting" in states.values():
            with closing(view(tasks, machine)) as watch:
                _run_waiting(named, states, machine, opened, watch)
    except KeyboardInterrupt:
        homes = set(found.values())
        raise Interrupted(sum(home.finished for home in homes), len(homes)) from None
    _print_outcome(found)
    return found


def _check_tasks(tasks: Any) -> None:
    """Raise ValueError unless it is a dict of what can be run."""
    if not isinstance(tasks, Mapping):
        rule = "a dict with a key for each Experiment, Evaluation or Selection"
        raise ValueError(f"tasks must be {rule}, not a {type(tasks).__name__}")
    for key, task in tasks.items():
        if not callable(getattr(task, "params", None)):
            kinds = "an Experiment, Evaluation or Selection"
            raise ValueError(f"task {key!r} must be {kinds}, not {task!r}")


def _print_outcome(found: dict[K, Run]) -> None:
    """Print the last line of `gather`. Equal tasks are one run, which has the key of the first."""
    unique = {run: key for key, run in reversed(found.items())}
    failed = {key: failure["error"] for run, key in unique.items() if (failure := run.failure)}
    machines = [f"{count} on {device}" for device, count in computed_on(unique).items()]
    where = ", ".join(machines) or "none"
    print(
        f"{len(unique) - len(failed)} of {len(unique)} runs finished ({where}); failed:"
        f" {failed or 'none'}"
    )


class Interrupted(KeyboardInterrupt):
    """A sweep was interrupted. A notebook shows its one sentence, without a traceback."""

    def __init__(self, finished: int, runs: int) -> None:
        done = f"{finished} of {runs} runs are finished and kept"
        super().__init__(
            f"Interrupted: {done}; the same call again goes on where the others stopped."
        )

    def _render_traceback_(self) -> list[str]:
        """What IPython prints."""
        return [str(self)]


def _check_possible(tasks: Iterable[Task], machine: Machine) -> None:
    """Raise the error of the first task, if all of them would fail at their start."""
    errors = []
    for task in tasks:
        try:
            return task.check(machine)
        except (ValueError, MissingData) as error:
            errors.append(error)
    if errors:
        raise errors[0]


def finished(found: Mapping[K, Run]) -> dict[K, Run]:
    """The runs among these that finished. Raises RuntimeError, quoting the first failure,
    if none of them did.
    """
    done = {key: run for key, run in found.items() if run.finished}
    if found and not done:
        key, run = next(iter(found.items()))
        error = run.failure["error"] if run.failure else "not started"
        raise RuntimeError(f"none of {len(found)} runs finished; the first, {key}: {error}")
    return done
