"""Who may write a run folder, and when: the lock, disks that can only be read,
folders in somebody's home.

Run: pytest tests/faults/test_folders.py
"""

import errno
import fcntl
import os
import platform
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from nasutils import paths, runs
from nasutils.runs import Run, run
from nasutils.stamp import _commit, stamp
from nasutils.training.computation import Machine
from tests.small_runs import answer, must_not_run
from tests.sweeps import until

PARAMS = {"kind": "test", "seed": 1}


# The lock


class Slow:
    """Work that goes on until it is told to end; how often it was begun."""

    def __init__(self):
        self.begun, self.times, self.go = threading.Event(), 0, threading.Event()

    def __call__(self, params, home):
        self.times += 1
        self.begun.set()
        assert self.go.wait(60)
        return {"answer": self.times}


@contextmanager
def computing(work, root):
    """A thread that asks for the run, and whatever it got once the block is over."""
    got = []
    thread = threading.Thread(
        target=lambda: got.append(run(work, PARAMS, root).result), daemon=True
    )
    thread.start()
    yield got
    work.go.set()
    thread.join(60)


class Heard:
    """All that was printed so far."""

    def __init__(self, capsys):
        self.capsys, self.text = capsys, ""

    def __call__(self, text):
        self.text += self.capsys.readouterr().out
        return text in self.text


def test_who_waits_is_told_for_whom(tmp_path, capsys):
    work, heard = Slow(), Heard(capsys)
    with computing(work, tmp_path) as first:
        assert work.begun.wait(60)
        with computing(work, tmp_path) as second:
            where = tmp_path / runs.key(PARAMS)
            assert until(
                lambda: heard(
                    f"waiting for process {os.getpid()} on {platform.node()}, which computes"
                    f" {where}"
                )
            )
    assert first == second == [{"answer": 1}] and work.times == 1


def test_who_need_not_wait_is_told_nothing(tmp_path, capsys):
    run(answer, PARAMS, tmp_path)
    run(must_not_run, PARAMS, tmp_path)
    assert capsys.readouterr().out == ""


def test_a_lock_holds_although_its_file_is_removed(tmp_path, capsys):
    work, heard = Slow(), Heard(capsys)
    with computing(work, tmp_path) as first:
        assert work.begun.wait(60)
        (tmp_path / runs.key(PARAMS) / "lock").unlink()
        with computing(work, tmp_path) as second:
            assert until(lambda: heard("waiting for another process, which computes"))
    assert first == second == [{"answer": 1}] and work.times == 1


def test_a_process_that_locks_nothing_but_the_file_is_waited_for(tmp_path, capsys):
    """As programs of before did, and as it is on file systems that lock no folders."""
    home, work, heard = Run(tmp_path / runs.key(PARAMS)), Slow(), Heard(capsys)
    home.path.mkdir()
    with (home.path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with computing(work, tmp_path):
            assert until(lambda: heard("waiting for another process")) and not work.begun.is_set()
            fcntl.flock(file, fcntl.LOCK_UN)
            assert work.begun.wait(60)


def test_folders_that_cannot_be_locked_are_computed_in(tmp_path, monkeypatch):
    lock = fcntl.flock

    def files_only(descriptor, operation):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", files_only)
    assert run(answer, PARAMS, tmp_path).result == {"answer": 42}


# Disks that can only be read


def mountable():
    return (
        subprocess.run(
            ["unshare", "--map-root-user", "--mount", "true"], capture_output=True, check=False
        ).returncode
        == 0
    )


READS = """
import sys
from nasutils.runs import run
def must_not_run(params, home): raise AssertionError
try:
    open(f"{sys.argv[1]}/new", "w")
except OSError as error:
    print(error.strerror)
print(run(must_not_run, {"kind": "test", "seed": 1}, sys.argv[1]).result)
"""


@pytest.mark.skipif(not mountable(), reason="needs a mount of its own")
def test_a_finished_run_is_read_from_a_mount_that_cannot_be_written(tmp_path):
    home = run(answer, PARAMS, tmp_path)
    (home.path / "checkpoint.pt").write_bytes(b"left by a kill")
    mounts = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
    script = ["sh", "-c", mounts, "sh", str(tmp_path), sys.executable, READS]
    said = subprocess.run(
        ["unshare", "--map-root-user", "--mount", *script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.splitlines() == ["Read-only file system", "{'answer': 42}"], said.stderr


def test_a_checkpoint_that_cannot_be_cleared_away_is_left(tmp_path, monkeypatch):
    home = run(answer, PARAMS, tmp_path)
    (home.path / "checkpoint.pt").write_bytes(b"left by a kill")

    def read_only(path, missing_ok=False):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", read_only)
    assert run(must_not_run, PARAMS, tmp_path).result == {"answer": 42}


# Homes


def test_a_tilde_is_a_home(monkeypatch):
    monkeypatch.setenv("HOME", "/a/home")
    machine = Machine(runs="~/runs", data="~/data")
    assert (machine.runs, machine.data) == (Path("/a/home/runs"), Path("/a/home/data"))
    assert Machine().data is None


@pytest.mark.parametrize("name", ["runs", "data"])
def test_a_home_that_nobody_has_is_named(name):
    with pytest.raises(ValueError, match=f"{name} must be a folder, not '~nobody-of-this-name/x'"):
        Machine(**{name: "~nobody-of-this-name/x"})
    with pytest.raises(ValueError, match=f"{name} must be a folder, not '3'"):
        Machine(**{name: 3})


# The stamp


def test_git_is_asked_once_a_process(monkeypatch):
    asked, ask = [], subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda *command, **how: asked.append(command) or ask(*command, **how)
    )
    _commit.cache_clear()
    assert stamp()["commit"] == stamp()["commit"] and len(asked) == 1


def test_an_installed_package_has_no_commit_whatever_repository_lies_around_it(
    tmp_path, monkeypatch
):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for root in (installed, tmp_path):  # and none of a repository without a commit
        monkeypatch.setattr(paths, "ROOT", root)
        _commit.cache_clear()
        assert stamp()["commit"] is None
    _commit.cache_clear()


def test_the_commit_is_the_one_that_git_names():
    git = ["git", "-C", str(Path(runs.__file__).parent), "rev-parse", "HEAD"]
    said = subprocess.run(git, capture_output=True, text=True, check=False)
    if said.returncode:
        pytest.skip("there is no checkout")
    assert stamp()["commit"].removesuffix("-dirty") == said.stdout[:12]
