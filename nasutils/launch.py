"""Many runs: side by side on the cores of this machine, finished ones from the cache first."""

import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Protocol

from nasutils import runs
from nasutils.experiment import Machine
from nasutils.runs import Run

Watch = Callable[[int, int, int], None]
"""Called with the numbers of runs finished, failed and all, whenever one of the first two changes."""

ATTEMPTS = 3
"""A run whose process dies (killed, out of memory) goes on in another one; it is given up after that many."""

DIED = (EOFError, ConnectionError)
"""What a pipe raises when the process at its other end is gone."""

_SPAWN = get_context("spawn")


class Task(Protocol):
    """What a sweep runs: an `Experiment` (a search) or an `Evaluation` (the training of a derived network)."""

    def params(self) -> runs.Params:
        """What the run folder is named by."""

    def run(self, machine: Machine) -> Run:
        """The finished run, from its folder or computed."""


def sweep(tasks: Sequence[Task], machine: Machine, workers: int | None = None, watch: Watch | None = None) -> list[Run]:
    """Run every task once, `workers` at a time (None: one per core), one thread each; returns their runs.

    A run that fails is recorded in its folder and does not stop the others: its `result` is None. Equal tasks
    are run once. A second call trains nothing that is finished. Interrupted, the processes are ended; a later
    call goes on from the checkpoints.

    Raises ValueError for less than one worker, RuntimeError if a failure cannot be recorded (a full disk).
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    homes = {name_of(task): Run(Path(machine.runs) / name_of(task)) for task in tasks}
    todo = {name_of(task): task for task in tasks if homes[name_of(task)].result is None}
    finished, failed = len(homes) - len(todo), 0
    report = watch or (lambda finished, failed, total: None)
    report(finished, failed, len(homes))
    with closing(_errors(list(todo.values()), machine, workers)) as errors:
        for name, error in errors:
            if error is None:
                finished += 1
            elif homes[name].failure is None:
                raise RuntimeError(f"run {name} failed, and this could not be recorded: {error}")
            else:
                failed += 1
            report(finished, failed, len(homes))
    return [homes[name_of(task)] for task in tasks]


def name_of(task: Task) -> str:
    """The name of a task's run folder."""
    return runs.key(task.params())


class _Worker:
    """A process that does one task after another. A death takes no other task with it."""

    def __init__(self, machine: Machine) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs, machine), daemon=True)
        self.process.start()
        theirs.close()

    def start(self, task: Task) -> None:
        with suppress(ConnectionError):
            self.connection.send(task)

    def error(self) -> str | None:
        """Of the task that ended, None if it finished. Raises one of DIED if the process died."""
        return self.connection.recv()

    def end(self) -> int | None:
        """End the process, whatever it does; returns its exit code, negative if it was a signal."""
        self.process.terminate()
        self.process.join()
        self.connection.close()
        return self.process.exitcode


def _serve(connection: Connection, machine: Machine) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(*DIED):
        while True:
            task: Task = connection.recv()
            try:
                task.run(machine)
                error = None
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
            connection.send(error)


def _errors(tasks: list[Task], machine: Machine, workers: int) -> Generator[tuple[str, str | None]]:
    """Run tasks in processes; yields the name and the error (None: finished) of each as it ends."""
    waiting, deaths = deque(tasks), Counter[str]()
    idle: list[_Worker] = []
    busy: dict[_Worker, Task] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = idle.pop() if idle else _Worker(machine)
                busy[worker] = waiting.popleft()
                worker.start(busy[worker])
            ready = wait([worker.connection for worker in busy])
            for worker in [worker for worker in busy if worker.connection in ready]:
                task = busy.pop(worker)
                name = name_of(task)
                try:
                    error = worker.error()
                    idle.append(worker)
                except DIED:
                    code = worker.end()
                    deaths[name] += 1
                    if deaths[name] < ATTEMPTS:
                        waiting.append(task)
                        continue
                    error = f"the process died {ATTEMPTS} times, exit code {code} (-9: killed, or no memory left)"
                    Run(Path(machine.runs) / name).fail(error)
                yield name, error
    finally:
        for worker in [*idle, *busy]:
            worker.end()
