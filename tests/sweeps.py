"""Small runs to sweep, what they leave behind,
and a thread that kills the processes that compute them.
"""

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest

from nasutils.runs import Run
from nasutils.sweep.launch import name_of, sweep
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment

TINY = {
    "dataset": "digits",
    "resolution": 8,
    "images": 32,
    "evaluation": 32,
    "channels": 4,
    "cells": 1,
}
RECIPE = {"split": "half", "batch": 16}


def experiment(seed=0, epochs=3, **changed):
    return Experiment(
        **{
            "method": "sp-darts",
            "recipe": RECIPE,
            "seed": seed,
            "epochs": epochs,
            **TINY,
            **changed,
        }
    )


ONE, TWO, LONG = experiment(1), experiment(2), experiment(3, epochs=8)
LARGE_BATCH = experiment(recipe={**RECIPE, "batch": 10**6})
NOT_FINITE = experiment(recipe={**RECIPE, "weight_lr": 1e30, "clip": 1e30})
ENDLESS = experiment(4, epochs=100_000)


def trace(run):
    """All that a run left but for what it cost; the text of floats is exact."""
    return [
        {name: value for name, value in r.items() if name != "cost"} for r in run.records
    ], run.result


def stamps(runs):
    """Which files hold the runs, and when each was written."""
    files = [file for run in runs for file in run.path.iterdir()]
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def until(condition, seconds=60, every=0.005):
    """Wait for a condition; whether it came to hold."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(every)
    return holds


def free_port():
    """A port of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def no_pool(*arguments):
    """In place of `open_pool`, where nothing is to be computed."""
    raise AssertionError("a pool was opened")


def holders(run):
    """The processes that compute a run: whoever holds the lock of its folder."""
    lock = run.path / "lock"
    inode = str(lock.stat().st_ino) if lock.exists() else None
    held = [
        line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" not in line
    ]
    return [
        int(pid)
        for _, kind, _, _, pid, file, *_ in held
        if kind == "FLOCK" and file.split(":")[-1] == inode
    ]


def killed_sweep(root, engine):
    """The first runs of a sweep whose process is killed with SIGKILL when one run is finished and
    LONG under way.
    """
    one, long = (Run(root / name_of(e)) for e in (ONE, LONG))
    driver = get_context("spawn").Process(target=drive, args=(root, engine))
    driver.start()
    assert until(lambda: one.result and holders(long))
    driver.kill()
    driver.join()
    assert long.result is None
    return one, long


def drive(root, engine):
    sweep([ONE, LONG, ENDLESS], Machine(runs=root), workers=1, engine=engine)


class Killer(threading.Thread):
    """Kills, with SIGKILL, a process that `victims` returns,
    no process twice and so many in all.
    """

    def __init__(self, victims, times):
        super().__init__(daemon=True)
        self.victims, self.left, self.killed, self.over = victims, times, set(), threading.Event()

    def run(self):
        while self.left and not self.over.is_set():
            fresh = [pid for pid in self.victims() if pid not in self.killed]
            if fresh:
                os.kill(fresh[0], signal.SIGKILL)
                self.killed.add(fresh[0])
                self.left -= 1
            time.sleep(0.005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.join()


@contextmanager
def starting_ray():
    """Skip the test where Ray does not start: it gives its own processes 30 seconds, fixed, which is too little on a
    machine that is busy with other work.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, TimeoutError) and "timed out during startup" not in str(error):
            raise
        pytest.skip(f"Ray did not start on this busy machine: {error}")
