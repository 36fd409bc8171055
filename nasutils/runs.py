"""Run folders: one computation, one folder of plain files, named by a hash of what determines its result.

    params.json    what determines the result        records.jsonl  a line per epoch
    stamp.json     machine, versions, commit         checkpoint.pt  complete state after the last epoch
    result.json    appears whole, when finished      failed.json    the error of a run that failed

* A finished run is read, never computed twice. A killed run goes on from its checkpoint.
* Files appear whole or not at all (written beside, then renamed); records beyond the checkpoint are dropped.
* A full disk or a missing permission stops the run with the name of the file; what was finished stays.
* A lock on the folder makes a second process wait for the first one, and then read its result.
"""

import fcntl
import hashlib
import io
import json
import os
import platform
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import torch

Params = dict[str, Any]
Result = dict[str, Any]


class BadCheckpoint(RuntimeError):
    """A checkpoint is truncated or was not written by this program; the message names the file."""


class BadRun(RuntimeError):
    """A finished run is damaged; the message names the file."""


def key(params: Params) -> str:
    """Twelve hex digits of the sha256 of the parameters, in any key order."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    path: Path

    @property
    def result(self) -> Result | None:
        """The result, None if the run has not finished. Raises BadRun if it or the records are damaged."""
        file = self.path / "result.json"
        if not file.exists():
            return None
        try:
            result = json.loads(file.read_text())
        except ValueError:
            raise BadRun(f"{file} is damaged; delete its folder to compute the run again") from None
        lines = len(self._lines())
        if lines != result.get("epochs", lines):
            raise BadRun(f"{self.path} has {lines} records of {result['epochs']} epochs; delete it to run it again")
        return result

    @property
    def records(self) -> list[Result]:
        """The records so far, one dict per epoch; a line that is not whole (yet) is left out."""
        return [json.loads(line) for line in self._lines()]

    @property
    def stamp(self) -> dict[str, Any]:
        """Machine and software it was computed with, see `stamp`; empty if it was not begun."""
        file = self.path / "stamp.json"
        return json.loads(file.read_text()) if file.exists() else {}

    @property
    def failure(self) -> Result | None:
        """The error of a run that failed, None otherwise."""
        file = self.path / "failed.json"
        return json.loads(file.read_text()) if file.exists() else None

    def _lines(self) -> list[str]:
        file = self.path / "records.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [line for line in lines if line.endswith("\n")]

    def append(self, record: Result, state: dict[str, Any]) -> None:
        """Keep a record and the state after it: the record first, so that no state stands without its records."""
        file = self.path / "records.jsonl"
        with _naming(file), file.open("ab") as records:
            _write(records, (json.dumps(record) + "\n").encode())
        content = io.BytesIO()
        torch.save(state, content)
        _write_whole(self.path / "checkpoint.pt", content.getbuffer())

    def restore(self, load: Callable[[dict[str, Any]], Any]) -> None:
        """Hand the state of the checkpoint to `load`, if there is one; records that are newer than it are dropped.

        Raises BadCheckpoint if the file cannot be read or `load` cannot take it; then nothing is changed.
        Read with weights_only=True: no code of the file runs.
        """
        file, records = self.path / "checkpoint.pt", self.path / "records.jsonl"
        if not file.exists():
            records.unlink(missing_ok=True)
            return
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
            done = int(state["epoch"])
            load(state)
        except Exception as error:
            raise BadCheckpoint(
                f"{file} is damaged or of another program ({type(error).__name__}); delete it to start the run again"
            ) from error
        lines = self._lines()
        if len(lines) < done:
            raise BadCheckpoint(f"{file} is at epoch {done} but {records} has {len(lines)} records; delete both")
        _write_whole(records, "".join(lines[:done]).encode())

    def fail(self, error: str, details: str = "") -> None:
        """Record the error of a run that failed, where that is possible."""
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            _write_json(self.path / "failed.json", {"error": error, "traceback": details})


def run(work: Callable[[Params, Run], Result], params: Params, root: str | Path, device: str = "cpu") -> Run:
    """Do `work(params, run)` once. Returns the finished run, from the cache if it is there.

    device: what the stamp says that it was computed on.

    An exception of `work` is recorded as failed.json and raised; records and checkpoint stay.
    """
    home = Run(Path(root) / key(params))
    if home.result is None:
        home.path.mkdir(parents=True, exist_ok=True)
        with _locked(home.path):
            if home.result is None:
                _compute(work, params, home, device)
    (home.path / "checkpoint.pt").unlink(missing_ok=True)
    return home


def _compute(work: Callable[[Params, Run], Result], params: Params, home: Run, device: str) -> None:
    (home.path / "failed.json").unlink(missing_ok=True)
    _write_json(home.path / "params.json", params)
    _write_json(home.path / "stamp.json", stamp(device))
    try:
        result = work(params, home)
    except Exception as error:
        home.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    _write_json(home.path / "result.json", result)


def stamp(device: str = "cpu") -> dict[str, Any]:
    """The machine and the software a number was computed with; device: cpu, cuda, cuda:1.

    processor: vendor, family, model and stepping of the CPU, whose name may tell less. instructions: of the CPU, as
    PyTorch uses them; between AVX2 and AVX512 sums differ in their last bits.
    """
    return {
        "device": _processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "type": torch.device(device).type,
        "processor": _processor_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def computed_on(found: Iterable[Run]) -> dict[str, int]:
    """How many of these runs were finished on which machine; equal ones count once."""
    machines = Counter(run.stamp.get("device", "unknown") for run in set(found) if run.result is not None)
    return dict(machines.most_common())


def _processor() -> str:
    models = _cpuinfo("model name")
    return f"{models[0]}, {len(models)} cores" if models else platform.processor() or platform.machine()


def _processor_model() -> str:
    found = {name: _cpuinfo(name) for name in ("vendor_id", "cpu family", "model", "stepping")}
    return ", ".join(f"{name} {values[0]}" for name, values in found.items() if values) or platform.machine()


def _cpuinfo(field: str) -> list[str]:
    """What Linux says of every core; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    lines = [line.split(":", 1) for line in file.read_text().splitlines() if ":" in line] if file.exists() else []
    return [value.strip() for name, value in lines if name.strip() == field]


def _commit() -> str | None:
    """Of the checkout, `-dirty` if its code differs (figures may: they are being drawn)."""
    git = ["git", "-C", str(Path(__file__).parent.parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        clean = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "nasutils", "notebooks", "params"], check=False)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("-dirty" if clean.returncode else "")


def _write_json(path: Path, value: Any) -> None:
    _write_whole(path, (json.dumps(value, indent=1) + "\n").encode())


def _write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place, then rename it: readers see the old one or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    try:
        with _naming(path), part.open("wb") as file:
            _write(file, content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write(file: BinaryIO, content: bytes | memoryview) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give an OSError the name of the file: that of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
