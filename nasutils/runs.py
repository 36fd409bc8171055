"""Run folders: one computation, one folder of plain files, named by a hash of what determines its result.

    params.json    what determines the result        records.jsonl  a line per epoch
    stamp.json     machine, versions, commit         checkpoint.pt  complete state after the last epoch
    result.json    appears whole, when finished      failed.json    the error of a run that failed

* A finished run is read, never computed twice. A killed run goes on from its checkpoint.
* Files appear whole or not at all (written beside, then renamed); records beyond the checkpoint are dropped.
* A lock on the folder makes a second process wait for the first one, and then read its result.
"""

import fcntl
import hashlib
import json
import os
import platform
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

Params = dict[str, Any]
Result = dict[str, Any]


class BadCheckpoint(RuntimeError):
    """A checkpoint is truncated or was not written by this program; the message names the file."""


def key(params: Params) -> str:
    """Twelve hex digits of the sha256 of the parameters, in any key order."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    path: Path

    @property
    def result(self) -> Result | None:
        """The result, None if the run has not finished."""
        file = self.path / "result.json"
        return json.loads(file.read_text()) if file.exists() else None

    @property
    def records(self) -> list[Result]:
        """The records so far, one dict per epoch."""
        file = self.path / "records.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def failure(self) -> Result | None:
        """The error of a run that failed, None otherwise."""
        file = self.path / "failed.json"
        return json.loads(file.read_text()) if file.exists() else None

    def append(self, record: Result, state: dict[str, Any]) -> None:
        """Keep a record and the state after it: the record first, so that no state stands without its records."""
        with (self.path / "records.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _write_whole(self.path / "checkpoint.pt", lambda part: torch.save(state, part))

    def restore(self) -> dict[str, Any] | None:
        """The state of the checkpoint (None without one); records that are newer than it are dropped.

        Raises BadCheckpoint if the file cannot be read. Read with weights_only=True: no code of the file runs.
        """
        file, records = self.path / "checkpoint.pt", self.path / "records.jsonl"
        if not file.exists():
            records.unlink(missing_ok=True)
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            done = int(state["epoch"])
        except Exception as error:
            raise BadCheckpoint(
                f"cannot read the checkpoint {file} ({type(error).__name__}); delete it to start the run again"
            ) from error
        lines = records.read_text().splitlines(keepends=True) if records.exists() else []
        if len(lines) < done:
            raise BadCheckpoint(f"{file} is at epoch {done} but {records} has {len(lines)} records; delete both")
        _write_whole(records, lambda part: part.write_text("".join(lines[:done])))
        return state


def run(work: Callable[[Params, Run], Result], params: Params, root: str | Path) -> Run:
    """Do `work(params, run)` once. Returns the finished run, from the cache if it is there.

    An exception of `work` is recorded as failed.json and raised; records and checkpoint stay.
    """
    home = Run(Path(root) / key(params))
    if home.result is not None:
        return home
    home.path.mkdir(parents=True, exist_ok=True)
    with _locked(home.path):
        if home.result is None:
            _write_json(home.path / "params.json", params)
            _write_json(home.path / "stamp.json", stamp())
            try:
                result = work(params, home)
            except Exception as error:
                _write_json(home.path / "failed.json", {"error": repr(error), "traceback": traceback.format_exc()})
                raise
            _write_json(home.path / "result.json", result)
            for leftover in ("failed.json", "checkpoint.pt"):
                (home.path / leftover).unlink(missing_ok=True)
    return home


def stamp() -> dict[str, Any]:
    """The machine and the software a number was computed with."""
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]}, {len(models)} cores" if models else platform.processor() or platform.machine()


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _write_json(path: Path, value: Any) -> None:
    _write_whole(path, lambda part: part.write_text(json.dumps(value, indent=1) + "\n"))


def _write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place, then rename it: readers see the old one or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
