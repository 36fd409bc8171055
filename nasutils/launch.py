"""Many runs: side by side on the cores of this machine, finished ones from the cache first."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import torch

from nasutils import runs
from nasutils.experiment import Experiment, Machine, search
from nasutils.runs import Run

Watch = Callable[[int, int, int], None]
"""Called with the numbers of runs finished, failed and all, whenever one of the first two changes."""

ATTEMPTS = 3
"""A worker that dies (out of memory, killed) takes the pool with it; unfinished runs are tried that often."""


def sweep(
    experiments: Sequence[Experiment], machine: Machine, workers: int | None = None, watch: Watch | None = None
) -> list[Run]:
    """Run every experiment once, `workers` at a time (None: one per core), one thread each; returns their runs.

    A run that fails is recorded in its folder and does not stop the others: its `result` is None. Equal
    experiments are run once. A second call trains nothing that is finished.
    """
    homes = {name_of(e): Run(Path(machine.runs) / name_of(e)) for e in experiments}
    todo = {name_of(e): e for e in experiments if homes[name_of(e)].result is None}
    failed: set[str] = set()
    report = watch or (lambda finished, failed, total: None)
    report(len(homes) - len(todo), 0, len(homes))
    for _ in range(ATTEMPTS):
        for name, error in _pool(list(todo.values()), machine, workers or os.cpu_count() or 1):
            if error is None:
                del todo[name]
            elif not isinstance(error, BrokenProcessPool):
                failed.add(name)
            report(len(homes) - len(todo), len(failed), len(homes))
        todo = {name: e for name, e in todo.items() if name not in failed}
        if not todo:
            break
    return [homes[name_of(e)] for e in experiments]


def name_of(experiment: Experiment) -> str:
    """The name of an experiment's run folder."""
    return runs.key(experiment.params())


def _pool(experiments: list[Experiment], machine: Machine, workers: int) -> Iterator[tuple[str, BaseException | None]]:
    """Run experiments in a pool of processes; yields the name and the error (None: finished) of each as it ends."""
    if not experiments:
        return
    spawn = get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(experiments)), mp_context=spawn, initializer=_one_thread) as pool:
        names: dict[Future[Run], str] = {pool.submit(search, e, machine): name_of(e) for e in experiments}
        for future in as_completed(names):
            yield names[future], future.exception()


def _one_thread() -> None:
    torch.set_num_threads(1)
