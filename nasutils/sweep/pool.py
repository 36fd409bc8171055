"""Where runs are computed, behind one small interface:
processes of this machine (here), or a Ray cluster (`cluster`).

A pool computes at most `slots` runs at once: `start` hands it one, `ended` waits until some are
over. What is tried again and how often is decided in one place for both, `events`. A pool keeps no
results: those are in the run folders, which a cluster's machines must share.
"""

import math
import os
import pickle
import signal
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Literal, NamedTuple, Protocol

from nasutils import runs
from nasutils.errors import choose, whole
from nasutils.runs import Run
from nasutils.training.computation import Computation, Machine, check_machine

ENGINES = ("local", "ray")

ATTEMPTS = 3
"""A run whose process dies (killed, out of memory) goes on in another one;
it is given up after that many.
"""

TICK = 2.0
"""Seconds after which a wait is over although no run is,
so that whoever watches can look into the run folders.
"""

DIED = (EOFError, ConnectionError)
"""What a pipe raises when the process at its other end is gone."""

_SPAWN = get_context("spawn")


Task = Computation
"""What a pool runs."""


def name_of(task: Task) -> str:
    """The name of a task's run folder."""
    return runs.key(task.params())


def home_named(name: str, machine: Machine) -> Run:
    """The run folder of that name on a machine."""
    return Run(machine.runs / name)


def home_of(task: Task, machine: Machine) -> Run:
    """The run folder of a task on a machine."""
    return home_named(name_of(task), machine)


class Ended(NamedTuple):
    """A run that is no longer computed. error: None if it finished;
    died: its process did, so it may be tried again.
    """

    name: str
    error: str | None
    died: bool = False


class Pool(Protocol):
    """At most `slots` runs at once. `close` ends those under way."""

    slots: int

    def start(self, name: str, content: bytes) -> None:
        """Begin a run; content: the task, a `parcel`."""

    def ended(self, seconds: float) -> list[Ended]:
        """The runs that are over; waits for the first one, but not longer than `seconds`."""

    def close(self) -> None: ...


class Event(NamedTuple):
    """What became of a run. error: of one that failed."""

    name: str
    state: Literal["waiting", "running", "finished", "failed"]
    error: str | None = None


def events(tasks: Mapping[str, Task], pool: Pool) -> Iterator[Event | None]:
    """Run all tasks, {name: task}; yields what happens to each,
    and None when nothing has happened for a TICK.
    """
    waiting = deque(tasks)
    running = 0
    deaths = Counter[str]()
    while waiting or running:
        while waiting and running < pool.slots:
            name = waiting.popleft()
            try:
                content = parcel(tasks[name])
            except Exception as reason:  # whatever the parts of a task raise
                yield Event(name, "failed", f"{type(reason).__name__}: {reason}")
                continue
            pool.start(name, content)
            running += 1
            yield Event(name, "running")
        if not running and not waiting:  # none of them could be sent
            return
        over = pool.ended(TICK)
        running -= len(over)
        for name, error, died in over:
            deaths[name] += died
            if died and deaths[name] < ATTEMPTS:
                waiting.append(name)
                yield Event(name, "waiting")
            elif died:
                yield Event(name, "failed", f"the process died {ATTEMPTS} times, {error}")
            else:
                yield Event(name, "finished" if error is None else "failed", error)
        if not over:
            yield None


def check_sweep(machine: Machine, workers: int | None, engine: str, gpus: float) -> None:
    """Raise ValueError, naming the parameter, for what no pool can do; see `launch.open_pool`."""
    check_machine(machine)
    choose("engine", engine, ENGINES)
    if workers is not None:
        whole("workers", workers)
    if not 0 <= gpus <= 1:
        raise ValueError(f"gpus, a run's share of a GPU, must be 0 to 1, not {gpus}")
    if gpus and machine.device != "cuda":
        raise ValueError(
            f"gpus must be 0 on device {machine.device!r}: runs are shared out over GPUs on 'cuda'"
            " only"
        )
    if engine == "ray" and machine.device != "cpu" and not gpus:
        raise ValueError(
            f"gpus must be above 0 for engine 'ray' on device {machine.device!r}: Ray hides other"
            " GPUs"
        )


def devices(device: str, share: float, gpus: int, workers: int) -> list[str]:
    """The device of each run that fits side by side, at most `workers`.

    share: of a GPU, per run; 0: all are on `device`. gpus: how many there are, taken in turn, so
    that few runs spread over all of them. Raises ValueError without any.
    """
    if not share:
        return [device] * workers
    return [f"cuda:{i % gpus}" for i in range(min(workers, fitting(share, gpus)))]


def fitting(share: float, gpus: int) -> int:
    """How many runs fit on the GPUs; a run is on one GPU. Raises ValueError without a GPU."""
    if gpus < 1:
        raise ValueError(f"gpus must be 0, not {share}: there is no GPU to share")
    return gpus * math.floor(1 / share + 1e-9)


def parcel(task: Task) -> bytes:
    """A task for another process, with the code of what a notebook or a script defines."""
    import cloudpickle

    return cloudpickle.dumps(task)


def attempt(content: bytes, machine: Machine) -> str | None:
    """Run a task, a `parcel`, in this process; returns its error, None if it finished."""
    try:
        task: Task = _unpacked(content)
        task.run(machine)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _unpacked(content: bytes) -> Task:
    try:
        return pickle.loads(content)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: the processes that run must be able to import it, so it must lie beside the"
            " script, in the current folder, or on PYTHONPATH"
        ) from error


# Processes of this machine


class Local:
    """A process per device in the list, which does one run after another.
    A death takes no other run with it.
    """

    def __init__(self, machine: Machine, devices: Sequence[str]) -> None:
        self.slots = len(devices)
        self._free = [replace(machine, device=device) for device in reversed(devices)]
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, str] = {}

    def start(self, name: str, content: bytes) -> None:
        worker = self._idle.pop() if self._idle else _Worker(self._free.pop())
        self._busy[worker] = name
        worker.start(content)

    def ended(self, seconds: float) -> list[Ended]:
        ready = wait([worker.connection for worker in self._busy], seconds)
        workers = [worker for worker in self._busy if worker.connection in ready]
        return [self._ended(worker) for worker in workers]

    def _ended(self, worker: "_Worker") -> Ended:
        name = self._busy.pop(worker)
        try:
            error = worker.error()
        except DIED:
            reason = cause(worker.end())
            self._free.append(worker.machine)
            return Ended(name, reason, died=True)
        self._idle.append(worker)
        return Ended(name, error)

    def close(self) -> None:
        for worker in [*self._idle, *self._busy]:
            worker.end()


def cause(code: int | None) -> str:
    """Why a process died, as far as its exit code tells."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name} (killed, or no memory left)" if name == "SIGKILL" else name
    guard = (
        "; a script must start its runs under `if __name__ == '__main__':`" if code == 1 else ""
    )
    return f"exit code {code}{guard}"


class _Worker:
    """A process that does one task after another, on one thread and one device."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.connection, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs, machine), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, content: bytes) -> None:
        with suppress(ConnectionError):
            self.connection.send_bytes(content)

    def error(self) -> str | None:
        """The error of the task that ended, None if it finished. Raises one of DIED if the process
        died.
        """
        return self.connection.recv()

    def end(self) -> int | None:
        """End the process, whatever it does;
        returns its exit code, negative if it was a signal.
        """
        self.process.terminate()
        self.process.join()
        self.connection.close()
        return self.process.exitcode


def _serve(connection: Connection, machine: Machine) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(*DIED):
        while True:
            connection.send(attempt(connection.recv_bytes(), machine))


def _end_with_parent() -> None:
    """End this process when the sweep is killed, so that it does not compete with those of the
    next one.
    """
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
