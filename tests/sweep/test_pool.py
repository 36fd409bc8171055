"""Pools: which run is on which GPU, what is tried again, and what cannot be.

Run: pytest tests/sweep/test_pool.py
"""

import subprocess
import sys
from collections import Counter

import pytest

from nasutils.sweep.cluster import connected
from nasutils.sweep.launch import open_pool
from nasutils.sweep.pool import ATTEMPTS, Ended, Event, cause, check_sweep, devices, events
from nasutils.training.computation import Machine

# Devices


def test_without_a_share_all_runs_are_on_the_device_of_the_machine():
    assert devices("cpu", 0, gpus=0, workers=3) == ["cpu"] * 3
    assert devices("cuda:1", 0, gpus=2, workers=2) == ["cuda:1"] * 2


def test_runs_are_spread_over_the_gpus_by_their_share():
    assert devices("cuda", 0.5, gpus=2, workers=9) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert devices("cuda", 1, gpus=3, workers=9) == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices("cuda", 0.25, gpus=2, workers=3) == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("share", "fit"), [(0.1, 10), (0.3, 3), (1 / 3, 3), (0.6, 1), (1 / 7, 7), (0.05, 20)]
)
def test_a_gpu_holds_as_many_runs_as_whole_shares(share, fit):
    assert len(devices("cuda", share, gpus=1, workers=99)) == fit
    per_device = Counter(devices("cuda", share, gpus=4, workers=99))
    assert set(per_device.values()) == {fit} and len(per_device) == 4


def test_there_must_be_a_gpu_to_share(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ValueError, match="there is no GPU to share"):
        open_pool(Machine(device="cuda"), 2, "local", 0.5)


def test_by_default_as_many_runs_as_there_are_shares_or_cores(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert open_pool(Machine(device="cuda"), None, "local", 0.25).slots == 8
    assert open_pool(Machine(device="cuda"), None, "local", 0).slots == 5
    assert open_pool(Machine(), None, "local", 0).slots == 5
    assert open_pool(Machine(), 7, "local", 0).slots == 7


@pytest.mark.parametrize(
    ("device", "engine", "gpus", "says"),
    [
        ("cuda:1", "local", 0.5, "gpus must be 0 on device 'cuda:1'"),
        ("cuda", "ray", 0, "gpus must be above 0 for engine 'ray' on device 'cuda'"),
        ("cuda", "local", -0.5, "must be 0 to 1, not -0.5"),
    ],
)
def test_what_no_pool_can_do_is_refused(device, engine, gpus, says):
    with pytest.raises(ValueError, match=says):
        check_sweep(Machine(device=device), None, engine, gpus)


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[ray\]'"), connected():
        pass


# Events


class Scripted:
    """A pool in which each run ends as it is told to, in the order of starting;
    `deaths`: how often each dies first.
    """

    def __init__(self, slots, deaths=(), errors=()):
        self.slots, self.deaths, self.errors = slots, Counter(deaths), dict(errors)
        self.under_way, self.most, self.idle = [], 0, 0

    def start(self, name, content):
        self.under_way.append(name)
        self.most = max(self.most, len(self.under_way))

    def ended(self, seconds):
        if self.idle:
            self.idle -= 1
            return []
        name = self.under_way.pop(0)
        if self.deaths[name]:
            self.deaths[name] -= 1
            return [Ended(name, "killed", died=True)]
        return [Ended(name, self.errors.get(name))]


def run_all(pool, names):
    return [event for event in events(dict.fromkeys(names), pool) if event]


def test_never_more_runs_than_slots():
    pool = Scripted(slots=2)
    assert [e.name for e in run_all(pool, "abcde") if e.state == "finished"] == list("abcde")
    assert pool.most == 2


def test_a_run_that_dies_waits_for_its_turn_again():
    happened = run_all(Scripted(1, deaths="a"), "ab")
    states = [(e.name, e.state) for e in happened]
    assert states == [
        *[("a", "running"), ("a", "waiting")],
        *[("b", "running"), ("b", "finished")],
        *[("a", "running"), ("a", "finished")],
    ]


def test_a_run_that_always_dies_is_given_up():
    happened = run_all(Scripted(1, deaths={"a": 99}), "ab")
    assert [e.state for e in happened if e.name == "a"].count("running") == ATTEMPTS
    assert Event("a", "failed", "the process died 3 times, killed") in happened
    assert Event("b", "finished") in happened


def test_an_error_is_not_tried_again():
    assert run_all(Scripted(1, errors={"a": "ValueError: no"}), "a") == [
        Event("a", "running"),
        Event("a", "failed", "ValueError: no"),
    ]


def test_a_wait_without_end_is_told():
    pool = Scripted(1)
    pool.idle = 2
    assert [event and event.state for event in events({"a": None}, pool)] == [
        "running",
        None,
        None,
        "finished",
    ]


def test_the_cause_of_a_death_is_told():
    assert cause(-9) == "SIGKILL (killed, or no memory left)" and cause(-15) == "SIGTERM"
    assert "under `if __name__ == '__main__':`" in cause(1)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from nasutils.training.computation import Machine\n"
        "from nasutils.training.experiment import Experiment\n"
        "from nasutils.sweep.launch import finished, gather\n"
        "print(finished(gather({0: Experiment(dataset='digits',"
        " recipe={'split': 'half'})}, Machine('runs'))))\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        "a script must start its runs under `if __name__ == '__main__':`"
        in done.stderr.splitlines()[-1]
    )
