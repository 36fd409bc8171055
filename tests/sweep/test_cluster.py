"""Sweeps on a Ray cluster: the same records as anywhere, whoever is killed, whosever the method is.

One cluster on this machine for the whole file: starting it takes longer than all the runs.

Run: pytest tests/sweep/test_cluster.py
"""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from nasutils.runs import Run
from nasutils.sweep.cluster import connected
from nasutils.sweep.launch import name_of, open_pool, sweep
from nasutils.training.computation import Machine
from tests.sweeps import (
    ENDLESS,
    LARGE_BATCH,
    LONG,
    NOT_FINITE,
    ONE,
    Killer,
    holders,
    killed_sweep,
    stamps,
    starting_ray,
    trace,
    until,
)

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A cluster whose address is in the environment, so that other processes join it."""
    with ExitStack() as stack:
        with starting_ray():
            ray = stack.enter_context(connected())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The traces of ONE and LONG, computed in this process."""
    machine = Machine(runs=tmp_path_factory.mktemp("undisturbed"))
    return [trace(task.run(machine)) for task in (ONE, LONG)]


def test_a_worker_is_killed_others_fail_and_the_records_are_the_same(undisturbed, tmp_path):
    long, states = Run(tmp_path / name_of(LONG)), []
    with Killer(lambda: holders(long) if len(long.records) >= 3 else [], times=1) as killer:
        done = sweep(
            [LONG, LARGE_BATCH, NOT_FINITE, ONE],
            Machine(runs=tmp_path),
            engine="ray",
            watch=lambda now: states.append(now[long.path.name]),
        )
    assert len(killer.killed) == 1 and states.count("waiting") > 1
    long, large, not_finite, one = done
    assert [trace(one), trace(long)] == undisturbed
    assert (
        "batch must be 1 to" in large.failure["error"]
        and "NotFinite" in not_finite.failure["error"]
    )
    assert "Traceback" in large.failure["traceback"]


def test_the_sweep_is_killed_and_started_again_and_trains_nothing_twice(undisturbed, tmp_path):
    one, long = killed_sweep(tmp_path, "ray")
    assert until(lambda: not holders(long), seconds=30)
    before = stamps([one])
    again = sweep([ONE, LONG], Machine(runs=tmp_path), workers=1, engine="ray")
    assert [trace(run) for run in again] == undisturbed
    assert stamps([one]) == before


class Stopped(Exception):
    """Raised by a watch, as Ctrl-C would be."""


def test_a_sweep_that_is_stopped_ends_its_workers(tmp_path):
    endless = Run(tmp_path / name_of(ENDLESS))

    def stop(states):
        if "running" in states.values() and until(lambda: endless.records):
            raise Stopped

    with pytest.raises(Stopped):
        sweep([ENDLESS], Machine(runs=tmp_path), workers=1, engine="ray", watch=stop)
    assert until(lambda: not holders(endless), seconds=30)


def test_a_cluster_without_a_gpu_shares_none(tmp_path):
    with pytest.raises(ValueError, match="there is no GPU to share"):
        open_pool(Machine(runs=tmp_path, device="cuda"), None, "ray", 0.5)


# Own methods and spaces

REGISTERED = """
from nasutils import methods, spaces
from nasutils.methods.darts import DARTS
from nasutils.spaces.darts import DARTS as Cells

FACTOR = 0.5

@methods.register
class Falling(DARTS):
    name = "falling"

    def begin_epoch(self, epoch):
        self.temperature = FACTOR**epoch

@spaces.register
class Two(Cells):
    name = "two"
    ops = ("skip_connect", "sep_conv_3x3")
    recipe = methods.Recipe(batch=16)
"""
SEARCHED = """
import sys
from nasutils.sweep.launch import gather
from nasutils.training.computation import Machine
from tests.sweeps import experiment

if __name__ == "__main__":
    task = experiment(space="two", method="falling", recipe={}, cells=3)
    (run,) = gather({0: task}, Machine(sys.argv[1]), engine="ray").values()
    print([r["temperature"] for r in run.records], run.failure, run.params)
"""


@pytest.mark.parametrize("place", ["a script", "a module"])
def test_own_methods_and_spaces_run_on_a_cluster(place, tmp_path):
    """Those of a script travel with their code, those of a module beside it are imported there."""
    if place == "a module":
        (tmp_path / "mine.py").write_text(REGISTERED)
    before = "import mine\n" if place == "a module" else REGISTERED
    (tmp_path / "script.py").write_text(before + SEARCHED)
    said = subprocess.run(
        [sys.executable, "script.py", "runs"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert "[1.0, 0.5, 0.25] None" in said.stdout, said.stdout + said.stderr
    assert "method_source" in said.stdout and "space_source" in said.stdout
