"""Sweeps: every run once, finished ones from the cache, a failure or a death stops no other run.

Run: pytest tests/test_launch.py
"""

import os
import signal
import threading
import time
from multiprocessing import active_children

import pytest

from nasutils import launch
from nasutils.experiment import Experiment, Machine
from nasutils.finalnet import Evaluation
from nasutils.launch import name_of, sweep
from nasutils.runs import Run

TINY = {"resolution": 8, "images": 32, "evaluation": 32, "channels": 4, "cells": 1}
RECIPE = {"split": "half", "batch": 16}


def experiment(seed=0, epochs=3, **changed):
    return Experiment(**{"method": "sp-darts", "recipe": RECIPE, "seed": seed, "epochs": epochs, **TINY, **changed})


ONE, TWO, LONG = experiment(1), experiment(2), experiment(3, epochs=8)
UNKNOWN_OPTION = experiment(options={"sparsity": 0.1})
NOT_FINITE = experiment(recipe={**RECIPE, "weight_lr": 1e30, "clip": 1e30})
ALL = [ONE, UNKNOWN_OPTION, TWO, NOT_FINITE, ONE, LONG]


class Watched:
    """What `watch` was told."""

    def __init__(self):
        self.counts = []

    def __call__(self, *counts):
        self.counts.append(counts)


def trace(run):
    return [{name: value for name, value in r.items() if name != "cost"} for r in run.records], run.result


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """All experiments by two processes: machine, runs, what the watch was told."""
    machine, watch = Machine(runs=tmp_path_factory.mktemp("runs")), Watched()
    return machine, sweep(ALL, machine, workers=2, watch=watch), watch.counts


def test_a_sweep_returns_the_runs_in_order(swept):
    assert [run.path.name for run in swept[1]] == [name_of(e) for e in ALL]


def test_every_run_that_can_finish_does(swept):
    assert [run.result is not None for run in swept[1]] == [True, False, True, False, True, True]
    assert [len(run.records) for run in swept[1]] == [3, 0, 3, 0, 3, 8]


def test_failures_are_recorded(swept):
    _, unknown, _, not_finite, *_ = swept[1]
    assert "unknown option of sp-darts 'sparsity'" in unknown.failure["error"]
    assert "did you mean 'sparse'" in unknown.failure["error"]
    assert "NotFinite" in not_finite.failure["error"] and "epoch 0, step" in not_finite.failure["error"]


def test_equal_experiments_are_run_once(swept):
    machine, _, counts = swept
    assert len(list(machine.runs.iterdir())) == 5 and {total for *_, total in counts} == {5}


def test_the_watch_hears_of_every_run_that_ends(swept):
    counts = swept[2]
    assert counts[0] == (0, 0, 5) and counts[-1] == (3, 2, 5)
    assert [finished + failed for finished, failed, _ in counts] == [0, 1, 2, 3, 4, 5]


def test_each_process_uses_one_thread(swept):
    assert '"threads": 1' in (swept[1][0].path / "stamp.json").read_text()


def no_process(machine):
    raise AssertionError("a process was started")


def test_finished_runs_train_nothing(swept, monkeypatch):
    monkeypatch.setattr(launch, "_Worker", no_process)
    machine, _, _ = swept
    watch = Watched()
    assert [run.result is not None for run in sweep([ONE, TWO, LONG], machine, 2, watch)] == [True] * 3
    assert watch.counts == [(3, 0, 3)]


def test_one_sweep_runs_searches_and_evaluations(swept):
    machine, (one, *_), _ = swept
    final = Evaluation(one.result["genotype"], protocol={"epochs": 2}, resolution=8, images=32, channels=4, cells=1)
    done = sweep([final, ONE], machine, workers=1)
    assert [len(run.records) for run in done] == [2, 3] and done[1] == one
    assert done[0].result["genotype"] == one.result["genotype"]


def test_no_experiments_are_no_runs(tmp_path):
    assert sweep([], Machine(runs=tmp_path)) == []


def test_less_than_one_worker_is_refused(tmp_path):
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        sweep([ONE], Machine(runs=tmp_path), workers=0)


# Deaths


class Killer(threading.Thread):
    """Kills, with SIGKILL, a process of the sweep whenever the condition holds, at most so many times."""

    def __init__(self, condition, times):
        super().__init__(daemon=True)
        self.condition, self.left, self.killed, self.over = condition, times, set(), threading.Event()

    def run(self):
        while self.left and not self.over.is_set():
            fresh = [p for p in active_children() if p.pid not in self.killed]
            if fresh and self.condition():
                os.kill(fresh[0].pid, signal.SIGKILL)
                self.killed.add(fresh[0].pid)
                self.left -= 1
            time.sleep(0.005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.join()


def test_one_worker_of_which_one_is_killed_gives_the_same_records(swept, tmp_path):
    long = Run(tmp_path / name_of(LONG))
    with Killer(lambda: len(long.records) >= 3, times=1) as killer:
        again = sweep([LONG, ONE], Machine(runs=tmp_path), workers=1)
    assert len(killer.killed) == 1
    *_, one, long = swept[1]
    assert [trace(run) for run in again] == [trace(long), trace(one)]


def test_a_run_whose_process_always_dies_is_given_up_and_recorded(tmp_path):
    watch = Watched()
    with Killer(lambda: True, times=launch.ATTEMPTS) as killer:
        (run,) = sweep([ONE], Machine(runs=tmp_path), workers=1, watch=watch)
    assert len(killer.killed) == launch.ATTEMPTS and run.result is None
    assert "the process died 3 times, exit code -9" in run.failure["error"]
    assert watch.counts == [(0, 0, 1), (0, 1, 1)]


class Stopped(Exception):
    """Raised by a watch, as Ctrl-C would be."""


def test_a_sweep_that_is_stopped_ends_its_processes(tmp_path):
    def stop(finished, failed, total):
        if failed:
            raise Stopped

    with pytest.raises(Stopped):
        sweep([UNKNOWN_OPTION, experiment(epochs=10_000)], Machine(runs=tmp_path), workers=2, watch=stop)
    assert active_children() == []


def test_a_failure_that_cannot_be_recorded_stops_the_sweep(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=f"could not be recorded: .*{tmp_path}/file"):
        sweep([ONE], Machine(runs=tmp_path / "file"), workers=1)
