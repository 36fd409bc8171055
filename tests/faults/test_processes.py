"""Processes that are killed, segfault, leave, are interrupted from a notebook,
or are given what cannot be sent;
a Ray cluster that is gone.

Run: pytest tests/faults/test_processes.py
"""

import ctypes
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from nasutils import runs
from nasutils.runs import Run
from nasutils.sweep.cluster import connected
from nasutils.sweep.launch import gather, name_of, sweep
from nasutils.sweep.pool import Ended, Event, cause, events
from nasutils.training.computation import Machine
from tests.sweeps import ENDLESS, LONG, ONE, TWO, Killer, free_port, holders, trace, until


@dataclass(frozen=True)
class Odd:
    """A task that does in a process what no search should."""

    what: str
    carries: Any = None
    epochs: int = 1

    def params(self):
        return {"kind": "odd", "what": self.what}

    def check(self, machine):
        pass

    def run(self, machine):
        return runs.run(lambda params, run: DEEDS[self.what](run), self.params(), machine.runs)


def leave(run):
    with (run.path / "attempts").open("a") as file:
        file.write("again\n")
    sys.exit(3)


def segfault(run):
    ctypes.string_at(0)


DEEDS = {"leave": leave, "segfault": segfault, "nothing": lambda run: {}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The runs of LONG and TWO that nobody disturbs."""
    return [
        trace(run)
        for run in sweep([LONG, TWO], Machine(tmp_path_factory.mktemp("runs")), workers=1)
    ]


def test_workers_that_are_killed_again_and_again_leave_the_same_records(undisturbed, tmp_path):
    homes = [Run(tmp_path / name_of(task)) for task in (LONG, TWO)]
    with Killer(lambda: [pid for home in homes for pid in holders(home)], times=2) as killer:
        again = sweep([LONG, TWO], Machine(tmp_path), workers=2)
    assert len(killer.killed) == 2 and [trace(run) for run in again] == undisturbed


def test_a_segfault_takes_no_other_run_with_it(tmp_path):
    bad, good = sweep([Odd("segfault"), ONE], Machine(tmp_path), workers=1)
    assert good.result and bad.failure["error"] == "the process died 3 times, SIGSEGV"


def test_a_task_that_leaves_its_process_has_failed_and_is_not_tried_again(tmp_path):
    bad, good = sweep([Odd("leave"), ONE], Machine(tmp_path), workers=1)
    assert good.result and bad.failure["error"] == "SystemExit: 3"
    assert (bad.path / "attempts").read_text() == "again\n"


def test_a_guard_is_asked_for_only_where_it_may_be_missing():
    assert cause(3) == "exit code 3" and "if __name__ == '__main__':" in cause(1)


def test_a_task_that_cannot_be_sent_fails_and_stops_no_other(tmp_path, capsys):
    found = gather(
        {"bad": Odd("nothing", carries=threading.Lock()), "good": ONE},
        Machine(tmp_path),
        workers=1,
    )
    assert found["good"].result and "pickle" in found["bad"].failure["error"]
    assert "1 of 2 runs finished" in capsys.readouterr().out


def test_no_pool_is_given_what_cannot_be_sent():
    class Given:
        slots = 1

        def start(self, name, content):
            self.names = [name]

        def ended(self, seconds):
            return [Ended(name, None) for name in self.names]

    happened = list(
        events({"bad": Odd("nothing", carries=threading.Lock()), "good": ONE}, Given())
    )
    assert happened[0].state == "failed" and happened[1:] == [
        Event("good", "running"),
        Event("good", "finished"),
    ]


def test_nothing_is_waited_for_where_no_task_can_be_sent():
    class Unused:
        slots = 1

    happened = list(events({"bad": Odd("nothing", carries=threading.Lock())}, Unused()))
    assert [event.state for event in happened] == ["failed"]


def test_a_run_that_finished_has_not_failed_although_its_process_died(tmp_path):
    """Killed between its result and its answer, three times."""
    (home,) = sweep([ONE], Machine(tmp_path), workers=1)

    class Deaf:
        slots = 1

        def start(self, name, content):
            self.name = name

        def ended(self, seconds):
            return [Ended(self.name, "SIGKILL", died=True)]

        def close(self):
            pass

    result = (home.path / "result.json").read_bytes()
    (home.path / "result.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "nasutils.sweep.launch.open_pool", lambda *arguments: _finishing(Deaf(), home, result)
        )
        (again,) = sweep([ONE], Machine(tmp_path), workers=1)
    assert again.finished and again.failure is None


def _finishing(pool, home, result):
    """The pool, with the result in its place."""
    (home.path / "result.json").write_bytes(result)
    return pool


# A Ray cluster that is gone


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The addresses that Ray was asked to connect to; it would wait for minutes at a wrong one."""
    asked = []

    @contextmanager
    def init(address, **options):
        asked.append(address)
        yield

    fake = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    return asked


@pytest.fixture
def remembered(tmp_path):
    """The file by which Ray remembers the last cluster of this machine."""
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_a_cluster_that_runs_is_joined(asked, remembered):
    with socket.create_server(("127.0.0.1", 0)) as server:
        remembered.write_text("{}:{}".format(*server.getsockname()))
        with connected():
            assert asked == ["auto"]


def test_a_cluster_that_was_killed_is_not_waited_for(asked, remembered):
    remembered.write_text(f"127.0.0.1:{free_port()}")
    with connected():
        assert asked == ["local"]


def test_an_address_where_no_cluster_answers_is_an_error(asked, monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=f"no Ray cluster answers at {address}"), connected():
        pass
    assert asked == []


# A notebook

CELL = """
from tests.sweeps import ENDLESS, ONE
from nasutils.sweep.launch import gather
from nasutils.training.computation import Machine
found = gather({names}, Machine({root!r}), workers=2)
"""


@pytest.fixture
def kernel():
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(Path(__file__).parents[2]))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_a_kernel_that_is_interrupted_ends_its_runs_and_goes_on(kernel, tmp_path):
    manager, client = kernel
    endless = Run(tmp_path / name_of(ENDLESS))
    asked = client.execute(CELL.format(names="{0: ENDLESS, 1: ONE}", root=str(tmp_path)))
    assert until(
        lambda: len(endless.records) > 1 and Run(tmp_path / name_of(ONE)).result, seconds=120
    )
    manager.interrupt_kernel()
    reply = answer(client, asked)
    said = (
        "Interrupted: 1 of 2 runs are finished and kept; the same call again goes on where the"
        " others stopped."
    )
    assert (
        reply["ename"] == "Interrupted"
        and reply["traceback"] == [said]
        and endless.failure is None
    )
    assert until(lambda: not holders(endless), seconds=30)
    before = len(endless.records)
    reply = answer(client, client.execute(CELL.format(names="{1: ONE}", root=str(tmp_path))))
    assert reply["status"] == "ok" and len(endless.records) == before > 1
    assert active_children() == []


def answer(client, asked):
    while (reply := client.get_shell_msg(timeout=120))["parent_header"]["msg_id"] != asked:
        pass
    return reply["content"]
