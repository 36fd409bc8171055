"""Sweeps: every run once, finished ones from the cache, a failure or a death stops no other run.

Run: pytest tests/sweep/test_launch.py
"""

from collections import Counter
from multiprocessing import active_children

import pytest

from nasutils.data import MissingData
from nasutils.runs import Run, stamp
from nasutils.sweep import launch, pool
from nasutils.sweep.launch import finished, gather, name_of, sweep
from nasutils.training.computation import Machine
from nasutils.training.finalnet import Evaluation
from tests.sweeps import (
    ENDLESS,
    LARGE_BATCH,
    LONG,
    NOT_FINITE,
    ONE,
    TINY,
    TWO,
    Killer,
    experiment,
    holders,
    killed_sweep,
    no_pool,
    stamps,
    trace,
    until,
)

CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
ALL = [ONE, LARGE_BATCH, TWO, NOT_FINITE, ONE, LONG]


class Watched:
    """What `watch` was told: how many runs were in each state."""

    def __init__(self):
        self.counts = []

    def __call__(self, states):
        self.counts.append(Counter(states.values()))

    def seen(self, *states):
        """The numbers of these states, one after another; repeated ones once."""
        numbers = [tuple(counts[state] for state in states) for counts in self.counts]
        return [n for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1]]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """All experiments by two processes: machine, runs, what the watch was told."""
    machine, watch = Machine(runs=tmp_path_factory.mktemp("runs")), Watched()
    return machine, sweep(ALL, machine, workers=2, watch=watch), watch


def test_a_sweep_returns_the_runs_in_order(swept):
    assert [run.path.name for run in swept[1]] == [name_of(e) for e in ALL]


def test_every_run_that_can_finish_does(swept):
    assert [run.result is not None for run in swept[1]] == [True, False, True, False, True, True]
    assert [len(run.records) for run in swept[1]] == [3, 0, 3, 0, 3, 8]


def test_failures_are_recorded(swept):
    _, large, _, not_finite, *_ = swept[1]
    assert "the images for the weights, not 1000000" in large.failure["error"]
    assert (
        "NotFinite" in not_finite.failure["error"]
        and "epoch 0, step" in not_finite.failure["error"]
    )
    assert "Traceback" in not_finite.failure["traceback"]


def test_equal_experiments_are_run_once(swept):
    machine, _, watch = swept
    assert len(list(machine.runs.iterdir())) == 5 and {
        counts.total() for counts in watch.counts
    } == {5}


def test_the_watch_hears_of_every_run(swept):
    watch = swept[2]
    assert watch.counts[0] == {"waiting": 5} and watch.counts[-1] == {"finished": 3, "failed": 2}
    assert [sum(n) for n in watch.seen("finished", "failed")] == [0, 1, 2, 3, 4, 5]
    assert max(counts["running"] for counts in watch.counts) == 2


def test_each_process_uses_one_thread(swept):
    assert '"threads": 1' in (swept[1][0].path / "stamp.json").read_text()


@pytest.mark.parametrize("engine", pool.ENGINES)
def test_finished_runs_train_nothing_and_need_no_engine(engine, swept, monkeypatch):
    monkeypatch.setattr(launch, "open_pool", no_pool)
    machine, _, _ = swept
    watch = Watched()
    assert [
        run.result is not None for run in sweep([ONE, TWO, LONG], machine, 2, engine, watch=watch)
    ] == [True] * 3
    assert watch.counts == [{"cached": 3}]


def test_one_sweep_runs_searches_and_evaluations(swept):
    machine, (one, *_), _ = swept
    sizes = {name: TINY[name] for name in ("dataset", "resolution", "images", "channels", "cells")}
    final = Evaluation(one.result["genotype"], protocol={"epochs": 2}, **sizes)
    done = sweep([final, ONE], machine, workers=1)
    assert [len(run.records) for run in done] == [2, 3] and done[1] == one
    assert done[0].result["genotype"] == one.result["genotype"]


def test_no_experiments_are_no_runs(tmp_path):
    assert sweep([], Machine(runs=tmp_path)) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"workers": 2.5}, "workers must be a whole number, 1 or more, not 2.5"),
        ({"workers": 0}, "workers must be a whole number, 1 or more, not 0"),
        ({"engine": "rai"}, "unknown engine 'rai'.*did you mean 'ray'"),
        ({"gpus": 0.5}, "gpus must be 0 on device 'cpu'"),
        ({"gpus": 2}, "gpus, a run's share of a GPU, must be 0 to 1, not 2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(arguments, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        sweep([ONE], Machine(runs=tmp_path), **arguments)
    assert not list(tmp_path.iterdir())


def test_the_finished_ones_of_some_runs_or_the_first_error_of_none(swept):
    one, two, bad = (Run(swept[0].runs / name_of(e)) for e in (ONE, TWO, LARGE_BATCH))
    assert finished({"a": bad, "b": one, "c": two}) == {"b": one, "c": two} and finished({}) == {}
    with pytest.raises(
        RuntimeError,
        match="none of 2 runs finished; the first, a: ValueError: batch must be 1 to",
    ):
        finished({"a": bad, "b": Run(swept[0].runs / "absent")})


# The bar


def test_gather_returns_the_runs_by_their_keys_and_names_what_failed(swept, capsys):
    found = gather({("A", 0): ONE, ("A", 1): NOT_FINITE, ("B", 0): ONE}, swept[0], workers=1)
    assert found[("A", 0)] == found[("B", 0)] == swept[1][0] and found[("A", 1)].result is None
    printed = capsys.readouterr()
    last = printed.out.splitlines()[-1]
    where = f"(1 on {stamp()['device']})"
    assert last.startswith(
        f"1 of 2 runs finished {where}; failed: {{('A', 1): 'NotFinite: the valid loss is not"
        " finite at epoch 0"
    )
    assert "6/6" in printed.err and "1 running" in printed.err and "1 failed" in printed.err


def test_gather_refuses_what_is_impossible_before_anything_runs(tmp_path):
    machine, absent = Machine(tmp_path / "runs", data=tmp_path), experiment(dataset="cifar10")
    with pytest.raises(MissingData, match="cifar10 not found"):
        gather({"a": absent, "b": LARGE_BATCH}, machine)
    with pytest.raises(ValueError, match="images must be 1 to 718 for digits, not 800"):
        gather({"a": experiment(images=800)}, machine)
    assert not machine.runs.exists()


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ([Evaluation(CELL)], "tasks must be a dict with a key for each .*, not a list"),
        ({"a": 1}, "task 'a' must be an Experiment, Evaluation or Selection, not 1"),
    ],
)
def test_gather_refuses_what_is_no_task(tasks, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        gather(tasks, Machine(runs=tmp_path))


def test_a_folder_is_no_machine(tmp_path):
    for call in (Evaluation(CELL).run, lambda machine: gather({}, machine)):
        with pytest.raises(ValueError, match=r"machine must be a Machine, as in .*, not '"):
            call(str(tmp_path))


def test_gather_looks_at_every_run_once_before_it_computes(swept, monkeypatch):
    other, looks, read = experiment(channels=2), Counter(), Run.result.fget
    monkeypatch.setattr(
        Run, "result", property(lambda run: looks.update([run.path.name]) or read(run))
    )
    monkeypatch.setattr(launch, "open_pool", no_pool)
    with pytest.raises(AssertionError, match="a pool was opened"):
        gather({0: ONE, 1: other}, swept[0])
    assert looks == {name_of(ONE): 1, name_of(other): 1}


def test_gather_says_that_nothing_failed_and_shows_no_bar_of_what_is_finished(swept, capsys):
    gather({0: ONE, 1: TWO}, swept[0])
    assert capsys.readouterr() == (
        f"2 of 2 runs finished (2 on {stamp()['device']}); failed: none\n",
        "",
    )


# Deaths


def test_one_worker_of_which_one_is_killed_gives_the_same_records(swept, tmp_path):
    long = Run(tmp_path / name_of(LONG))
    with Killer(lambda: holders(long) if len(long.records) >= 3 else [], times=1) as killer:
        again = sweep([LONG, ONE], Machine(runs=tmp_path), workers=1)
    assert len(killer.killed) == 1
    *_, one, long = swept[1]
    assert [trace(run) for run in again] == [trace(long), trace(one)]


def test_a_run_whose_process_always_dies_is_given_up_and_recorded(tmp_path):
    watch = Watched()
    with Killer(
        lambda: [process.pid for process in active_children()], times=pool.ATTEMPTS
    ) as killer:
        (run,) = sweep([ONE], Machine(runs=tmp_path), workers=1, watch=watch)
    assert len(killer.killed) == pool.ATTEMPTS and run.result is None
    assert "the process died 3 times, SIGKILL (killed, or no memory left)" in run.failure["error"]
    assert watch.seen("waiting", "running", "failed") == [(1, 0, 0), (0, 1, 0)] * 3 + [(0, 0, 1)]


def test_a_sweep_that_is_killed_ends_its_processes_and_trains_nothing_twice(swept, tmp_path):
    one, long = killed_sweep(tmp_path, "local")
    assert until(lambda: not holders(long), seconds=10)
    before = stamps([one])
    again = sweep([ONE, LONG], Machine(runs=tmp_path), workers=1)
    assert stamps([one]) == before
    *_, one, long = swept[1]
    assert [trace(run) for run in again] == [trace(one), trace(long)]


class Stopped(Exception):
    """Raised by a watch, as Ctrl-C would be."""


def test_a_sweep_that_is_stopped_ends_its_processes(tmp_path):
    def stop(states):
        if "failed" in states.values():
            raise Stopped

    with pytest.raises(Stopped):
        sweep([LARGE_BATCH, ENDLESS], Machine(runs=tmp_path), workers=2, watch=stop)
    assert active_children() == []


def test_a_failure_that_cannot_be_recorded_stops_the_sweep(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=f"could not be recorded: .*{tmp_path}/file"):
        sweep([ONE], Machine(runs=tmp_path / "file"), workers=1)


def test_an_old_failure_gives_way_to_the_new_one(tmp_path):
    Run(tmp_path / name_of(ONE)).fail("of another day")
    with Killer(lambda: [process.pid for process in active_children()], times=pool.ATTEMPTS):
        (run,) = sweep([ONE], Machine(runs=tmp_path), workers=1)
    assert "the process died" in run.failure["error"]
    (run,) = sweep([experiment(1)], Machine(runs=tmp_path), workers=1)
    assert run.result and run.failure is None
