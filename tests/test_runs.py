"""Run folders: cache, failures, damaged checkpoints, full disks, two processes at once.

Run: pytest tests/test_runs.py
"""

import errno
import json
import os
import pickle
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from nasutils import runs
from nasutils.runs import BadCheckpoint, Run, run
from nasutils.stamp import stamp
from tests.small_runs import Bomb, answer, must_not_run

FORK = get_context("forkserver")
FORK.set_forkserver_preload(["nasutils.training.experiment", "sklearn.datasets", "torch._dynamo"])
FULL_DISK = Path("/dev/full")
"""A file of Linux to which nothing can be written: the disk is full."""

PARAMS = {"kind": "test", "seed": 1}


def epochs(upto, then=None):
    """Work that appends records until `upto`, and then calls `then`."""

    def work(params, home):
        states = []
        home.restore(states.append)
        for epoch in range(states[0]["epoch"] if states else 0, upto):
            home.append(
                {"epoch": epoch}, {"epoch": epoch + 1, "weights": torch.full((3,), float(epoch))}
            )
        return then() if then else {"epochs": upto}

    return work


def stop():
    raise FloatingPointError("the loss is not finite")


@pytest.fixture
def stopped(tmp_path):
    """A run that failed after three epochs."""
    with pytest.raises(FloatingPointError):
        run(epochs(3, stop), PARAMS, tmp_path)
    return Run(tmp_path / runs.key(PARAMS))


def contents(home):
    return {file.name: file.read_bytes() for file in home.path.iterdir()}


# Names and the cache


def test_the_folder_of_a_run_may_be_a_text(tmp_path):
    assert Run(str(tmp_path)) == Run(tmp_path) and Run(str(tmp_path)).records == []


def test_a_key_does_not_depend_on_the_order_of_the_parameters():
    assert runs.key({"a": 1, "b": {"c": 2, "d": 3}}) == runs.key({"b": {"d": 3, "c": 2}, "a": 1})


def test_a_key_depends_on_every_value():
    assert len({runs.key({"a": a, "b": b}) for a in (1, 2, None) for b in (1, 2.5, "1")}) == 9


def test_a_run_lies_in_the_folder_of_its_key(tmp_path):
    home = run(answer, PARAMS, tmp_path)
    assert home.path == tmp_path / runs.key(PARAMS)
    assert json.loads((home.path / "params.json").read_text()) == PARAMS


def test_a_finished_run_is_read_and_not_done_again(tmp_path):
    first = run(answer, PARAMS, tmp_path)
    assert run(must_not_run, PARAMS, tmp_path).result == first.result == {"answer": 42}


def test_other_parameters_are_another_run(tmp_path):
    run(answer, PARAMS, tmp_path)
    assert run(lambda params, home: {"answer": 43}, {**PARAMS, "seed": 2}, tmp_path).result == {
        "answer": 43
    }


def test_nothing_of_the_way_is_left_in_a_finished_run(tmp_path):
    home = run(epochs(3), PARAMS, tmp_path)
    assert set(contents(home)) == {*runs.FILES, runs.DIGEST, "lock"}
    assert home.records == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]


def test_a_checkpoint_left_by_a_kill_after_the_result_is_cleared_away(tmp_path):
    home = run(epochs(1), PARAMS, tmp_path)
    (home.path / "checkpoint.pt").write_bytes(b"left")
    assert not (run(must_not_run, PARAMS, tmp_path).path / "checkpoint.pt").exists()


def test_the_stamp_names_machine_and_software(tmp_path):
    stamp = json.loads((run(answer, PARAMS, tmp_path).path / "stamp.json").read_text())
    assert set(stamp) == {
        *("device", "type", "processor", "instructions", "threads", "tf32"),
        *("python", "torch", "numpy", "commit", "date"),
    }
    assert stamp["tf32"] is False
    assert (
        stamp["torch"] == torch.__version__
        and stamp["threads"] == torch.get_num_threads()
        and stamp["device"]
    )


def test_a_run_that_others_began_keeps_their_stamps(stopped, tmp_path):
    began = {**stopped.stamp, "commit": "0123456789ab-dirty", "instructions": "AVX2"}
    (stopped.path / "stamp.json").write_text(json.dumps(began))
    with pytest.raises(FloatingPointError):
        run(epochs(4, stop), PARAMS, tmp_path)
    home = run(epochs(5), PARAMS, tmp_path)  # by the same machine and commit as the second
    assert home.stamp["commit"] == stamp()["commit"]
    assert home.stamp["before"] == [{**began, "epochs": 3}]


def test_a_run_that_one_machine_computes_in_several_tries_has_one_stamp(stopped, tmp_path):
    assert "before" not in run(epochs(5), PARAMS, tmp_path).stamp


def test_who_began_a_run_whose_stamp_is_damaged_is_unknown(stopped, tmp_path):
    (stopped.path / "stamp.json").write_text("{")
    assert run(epochs(5), PARAMS, tmp_path).stamp["before"] == [{**runs.UNKNOWN, "epochs": 3}]


def test_a_run_that_starts_anew_has_one_stamp(stopped, tmp_path):
    (stopped.path / "checkpoint.pt").unlink()
    (stopped.path / "stamp.json").write_text("{")
    assert "before" not in run(epochs(5), PARAMS, tmp_path).stamp


# Failures


def test_a_failure_is_recorded_and_raised(stopped):
    assert stopped.failure["error"] == "FloatingPointError: the loss is not finite"
    assert "in stop" in stopped.failure["traceback"] and stopped.result is None


def test_records_and_checkpoint_of_a_failure_stay(stopped):
    assert [r["epoch"] for r in stopped.records] == [0, 1, 2] and (
        stopped.path / "checkpoint.pt"
    ).exists()


def test_a_failed_run_goes_on_at_the_next_call(stopped, tmp_path):
    home = run(epochs(5), PARAMS, tmp_path)
    assert [r["epoch"] for r in home.records] == [0, 1, 2, 3, 4]
    assert home.result == {"epochs": 5} and home.failure is None


def test_an_old_failure_is_not_shown_while_the_run_is_done_again(stopped, tmp_path):
    seen = []
    run(epochs(4, lambda: seen.append(stopped.failure)), PARAMS, tmp_path)
    assert seen == [None]


# Checkpoints


def test_the_state_comes_back_as_it_was(stopped):
    states = []
    stopped.restore(states.append)
    assert states[0]["epoch"] == 3 and torch.equal(states[0]["weights"], torch.full((3,), 2.0))


def test_records_newer_than_the_checkpoint_are_dropped(stopped):
    with (stopped.path / "records.jsonl").open("a") as file:
        file.write('{"epoch": 3}\n{"epo')
    stopped.restore(lambda state: None)
    assert (
        stopped.path / "records.jsonl"
    ).read_text() == '{"epoch": 0}\n{"epoch": 1}\n{"epoch": 2}\n'


def test_records_without_a_checkpoint_are_dropped(stopped):
    (stopped.path / "checkpoint.pt").unlink()
    stopped.restore(stop)
    assert stopped.records == []


def test_a_line_that_is_not_whole_yet_is_no_record(stopped):
    with (stopped.path / "records.jsonl").open("a") as file:
        file.write('{"epoch": 3, "tr')
    assert [r["epoch"] for r in stopped.records] == [0, 1, 2]


def truncated(file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(file):
    file.write_bytes(b"")


def foreign_pickle(file):
    file.write_bytes(pickle.dumps({"epoch": 3}, protocol=2))


def foreign_torch(file):
    torch.save({"state_dict": {}, "best": 1.0}, file)


def ahead_of_its_records(file):
    torch.save({"epoch": 7}, file)


@pytest.mark.parametrize(
    "damage", [truncated, empty, foreign_pickle, foreign_torch, ahead_of_its_records]
)
def test_a_bad_checkpoint_is_named_and_nothing_is_deleted(damage, stopped, tmp_path):
    damage(stopped.path / "checkpoint.pt")
    before = contents(stopped)
    with pytest.raises(BadCheckpoint, match=f"{stopped.path}/checkpoint.pt .*delete"):
        run(epochs(5), PARAMS, tmp_path)
    after = contents(stopped)
    assert all(
        after[name] == before[name] for name in ("checkpoint.pt", "records.jsonl", "params.json")
    )
    assert "BadCheckpoint" in stopped.failure["error"]


def test_a_state_that_does_not_fit_is_a_bad_checkpoint(stopped):
    net = torch.nn.Linear(2, 2)
    with pytest.raises(BadCheckpoint, match=r"checkpoint.pt .*RuntimeError"):
        stopped.restore(net.load_state_dict)
    assert len(stopped.records) == 3


def test_code_in_a_checkpoint_does_not_run(stopped, tmp_path):
    file, trace = stopped.path / "checkpoint.pt", tmp_path / "trace"
    torch.save({"epoch": 3, "net": Bomb(trace)}, file)
    with pytest.raises(BadCheckpoint, match=r"checkpoint.pt"):
        stopped.restore(lambda state: None)
    assert not trace.exists()
    torch.load(file, weights_only=False)
    assert trace.exists(), "the file was harmless: the test proves nothing"


# Full disk, no permission


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(stopped, tmp_path):
    (stopped.path / "checkpoint.pt.part").symlink_to(FULL_DISK)
    with pytest.raises(OSError, match=f"No space left on device: '{stopped.path}/checkpoint.pt'"):
        run(epochs(5), PARAMS, tmp_path)
    states = []
    stopped.restore(states.append)
    assert states[0]["epoch"] == 3 and len(stopped.records) == 3
    assert run(epochs(5), PARAMS, tmp_path).result == {"epochs": 5}


def test_a_full_disk_in_the_middle_of_a_record_keeps_those_before(stopped, tmp_path, monkeypatch):
    def half(file, content):
        file.write(content[: len(content) // 2])
        file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(runs, "_write", half)
        with pytest.raises(
            OSError, match=f"No space left on device: '{stopped.path}/records.jsonl'"
        ):
            stopped.append({"epoch": 3}, {"epoch": 4})
    assert [r["epoch"] for r in stopped.records] == [0, 1, 2]
    assert [r["epoch"] for r in run(epochs(5), PARAMS, tmp_path).records] == [0, 1, 2, 3, 4]


def test_a_full_disk_at_the_result_leaves_no_result(stopped, tmp_path):
    (stopped.path / "result.json.part").symlink_to(FULL_DISK)
    with pytest.raises(OSError, match="No space left on device: .*result.json"):
        run(epochs(5), PARAMS, tmp_path)
    assert stopped.result is None and len(stopped.records) == 5
    assert run(epochs(5, must_finish), PARAMS, tmp_path).result == {"kept": "all"}


def test_a_finished_run_that_is_damaged_is_named(tmp_path):
    home = run(epochs(5), PARAMS, tmp_path)
    records = home.path / "records.jsonl"
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(runs.BadRun, match=f"{records} is not what it was when the run finished"):
        run(epochs(5), PARAMS, tmp_path)
    (home.path / runs.DIGEST).unlink()
    with pytest.raises(runs.BadRun, match=f"{home.path} has 3 records of 5 epochs; delete it"):
        run(epochs(5), PARAMS, tmp_path)
    (home.path / "result.json").write_text("{")
    with pytest.raises(
        runs.BadRun, match="result.json is damaged; get it from a copy, or delete its folder"
    ):
        run(epochs(5), PARAMS, tmp_path)


def must_finish():
    return {"kept": "all"}


def test_a_full_disk_does_not_hide_why_the_run_failed(tmp_path, monkeypatch):
    def fails(params, home):
        monkeypatch.setattr(os, "fsync", full)
        stop()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(FloatingPointError):
        run(fails, PARAMS, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_said_with_the_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        run(must_not_run, PARAMS, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_finished_run_is_read_without_permission_to_write(tmp_path):
    home = run(answer, PARAMS, tmp_path)
    home.path.chmod(0o500)
    tmp_path.chmod(0o500)
    assert run(must_not_run, PARAMS, tmp_path).result == {"answer": 42}


def test_a_root_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"{tmp_path}/file"):
        run(must_not_run, PARAMS, tmp_path / "file")


# Two processes


def slow_work(params, home):
    with (home.path.parent / "calls").open("a") as file:
        file.write(f"{os.getpid()}\n")
    for epoch in range(5):
        time.sleep(0.1)
        home.append({"epoch": epoch, "process": os.getpid()}, {"epoch": epoch + 1})
    return {"process": os.getpid()}


def ask(root, name):
    """In a process of its own: ask for the run, and keep what came back."""
    home = run(slow_work, PARAMS, root)
    (root / name).write_text(json.dumps([home.result, home.records]))


def test_of_two_processes_one_computes_and_both_get_the_result(tmp_path):
    processes = [FORK.Process(target=ask, args=(tmp_path, name)) for name in ("one", "other")]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    calls = (tmp_path / "calls").read_text().split()
    assert len(calls) == 1
    result, records = json.loads((tmp_path / "one").read_text())
    assert [result, records] == json.loads((tmp_path / "other").read_text())
    assert result == {"process": int(calls[0])} and [r["epoch"] for r in records] == list(range(5))
