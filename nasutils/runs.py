"""Run folders: one computation, one folder of plain files,
named by a hash of what determines its result.

    params.json          what determines the result
    stamp.json           machine, versions, commit; of every process that had a part in it
    records.jsonl        a line per epoch
    checkpoint.pt        complete state after the last epoch
    result.json          appears whole, when finished
    weights.safetensors  trained weights, where asked for
    SHA256SUMS           digest of the finished run
    failed.json          the error of a run that failed
    lock                 the process that computes it, or did so last

* A finished run is read, never computed twice. A killed run goes on from its checkpoint.
* Files appear whole or not at all (written beside, then renamed); records beyond the checkpoint
  are dropped.
* Damage is noticed before it becomes a number: the digest is of all files of a finished run, a
  checkpoint carries its own and that of the records before it.
* A full disk or a missing permission stops the run with the name of the file; what was finished
  stays.
* A lock on the folder makes a second process wait for the first one, and then read its result;
  if the folder was set aside meanwhile, it makes a new one.

`python -m nasutils.runs digest FOLDER` gives the finished runs in a folder their digest, where
they have none.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import platform
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nasutils.stamp import stamp

Params = dict[str, Any]
Result = dict[str, Any]

FILES = ("params.json", "stamp.json", "records.jsonl", "result.json")
"""The files that a finished run consists of."""
WEIGHTS = "weights.safetensors"
"""The file of trained weights, which a finished run has where they were asked for."""
SUMMED = (*FILES[:-1], WEIGHTS, FILES[-1])
"""All files that the digest is of, in its order; `finish` adds the result last."""
DIGEST = "SHA256SUMS"
"""The file of the digest: the sha256 of each of `SUMMED`, as the program sha256sum writes and
checks it. Older runs have none.
"""
UNKNOWN: Mapping[str, Any] = {"device": "unknown", "commit": None}
"""The stamp of a process whose own is damaged."""
AGAIN = "get it from a copy, or delete its folder to compute the run again"
"""What to do about a damaged file of a finished run."""


class BadCheckpoint(RuntimeError):
    """A checkpoint or its records are damaged or not written by this program;
    the message names the file.
    """


class BadRun(RuntimeError):
    """A file of a run is damaged or cannot be read; the message names it and says what to do."""


def key(params: Params) -> str:
    """Twelve hex digits of the sha256 of the parameters, in any key order."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Run:
    """The folder of one run."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))  # a text is a path, too

    @property
    def result(self) -> Result | None:
        """The result, None if the run has not finished.

        Raises BadRun if a file cannot be read, is not what it was when the run finished, or is of
        another run.
        """
        file = self.path / "result.json"
        content = _content(file)  # before the others, which are whole once it is there
        if content is None:
            return None
        result = _parsed(content, file)
        contents = {**self._contents(SUMMED[:-1]), file.name: content}
        self._check_digest(contents)
        self._check_whole(result, contents)
        return result

    @property
    def sound_result(self) -> Result | None:
        """The result, None if the run has not finished or is damaged, of which `failure` tells."""
        try:
            return self.result
        except BadRun:
            return None

    @property
    def finished(self) -> bool:
        """Whether there is a result and the run is sound."""
        return self.sound_result is not None

    @property
    def params(self) -> Params | None:
        """What determines the result, None if the run was not begun.
        Raises BadRun if they are damaged.
        """
        return _read(self.path / "params.json")

    @property
    def records(self) -> list[Result]:
        """The records so far, one dict per epoch;
        a line that is not whole (yet) is left out. Raises BadRun.
        """
        return [_parsed(line, self.path / "records.jsonl") for line in self._lines()]

    @property
    def stamp(self) -> dict[str, Any]:
        """Machine and software of the process that finished it, see `nasutils.stamp`;
        empty if it was not begun. Raises BadRun.

        `before`, if other processes had computed part of it: their stamps, the first one first,
        each with the number of `epochs` that were done when it ended.
        """
        return _read(self.path / "stamp.json") or {}

    @property
    def failure(self) -> Result | None:
        """The error of a run that failed or is damaged, None otherwise."""
        try:
            failed = None if self.result is not None else _read(self.path / "failed.json")
        except BadRun as error:
            return {"error": f"BadRun: {error}"}
        return failed and {"error": "unknown", **failed}

    def digest(self) -> str:
        """The sha256 of each of its files, a line each."""
        return _digest(self._contents(SUMMED))

    def _contents(self, names: Sequence[str]) -> dict[str, bytes]:
        """What those of these files hold that are there."""
        found = {name: _content(self.path / name) for name in names}
        return {name: content for name, content in found.items() if content is not None}

    def _check_digest(self, contents: Mapping[str, bytes]) -> None:
        kept = _content(self.path / DIGEST)
        if kept is None:
            return
        now = _digest(contents)
        if kept == now.encode():
            return
        then = kept.decode(errors="replace")
        changed = set(now.splitlines()) ^ set(then.splitlines())
        names = [name for name in SUMMED if any(line.endswith(name) for line in changed)]
        first = names[0] if names else DIGEST
        raise BadRun(
            f"{self.path / first} is not what it was when the run finished, says {DIGEST}; {AGAIN}"
        )

    def _check_whole(self, result: Result, contents: Mapping[str, bytes]) -> None:
        """Raise BadRun for damage that can be seen without a digest."""
        if "stamp.json" in contents:
            _parsed(contents["stamp.json"], self.path / "stamp.json")
        file = self.path / "params.json"
        named = self.path.resolve().name  # also of Path(".")
        if file.name not in contents or key(_parsed(contents[file.name], file)) != named:
            raise BadRun(f"{file} is not of the run that its folder is named by; {AGAIN}")
        lines = len(_whole_lines(contents.get("records.jsonl", b"")))
        if lines != result.get("epochs", lines):
            raise BadRun(
                f"{self.path} has {lines} records of {result['epochs']} epochs; delete it to run"
                " it again"
            )

    def _lines(self) -> list[bytes]:
        return _whole_lines(_content(self.path / "records.jsonl") or b"")

    def append(self, record: Result, state: dict[str, Any]) -> None:
        """Keep a record and the state after it:
        the record first, so that no state stands without its records.
        """
        file = self.path / "records.jsonl"
        with _naming(file), file.open("ab") as records:
            _write(records, (json.dumps(record) + "\n").encode())
        content = io.BytesIO()
        torch.save({**state, "records": _sha256(_joined(self._lines()))}, content)
        write_whole(self.path / "checkpoint.pt", content.getbuffer())

    def restore(self, load: Callable[[dict[str, Any]], Any]) -> None:
        """Hand the state of the checkpoint to `load`, if there is one;
        records that are newer than it are dropped.

        Raises BadCheckpoint if the file or its records are damaged or `load` cannot take it; then
        nothing is changed. Read with weights_only=True: no code of the file runs.
        """
        file, records = self.path / "checkpoint.pt", self.path / "records.jsonl"
        if not file.exists():
            records.unlink(missing_ok=True)
            return
        try:
            state = _state(file)
            done, digest = int(state["epoch"]), state.pop("records", None)
            kept = self._kept(done, digest)
            load(state)
        except (BadCheckpoint, BadRun):
            raise
        except Exception as error:
            raise BadCheckpoint(
                f"{file} is damaged or of another program ({type(error).__name__}); delete it to"
                " start the run again"
            ) from error
        write_whole(records, kept)

    def _kept(self, done: int, digest: str | None) -> bytes:
        """The records of that many epochs, as they are in the file.

        digest: what the checkpoint says of them, None if it is an older one.
        """
        file = self.path / "checkpoint.pt"
        records = self.path / "records.jsonl"
        lines = self._lines()
        if len(lines) < done:
            raise BadCheckpoint(
                f"{file} is at epoch {done} but {records} has {len(lines)} records; delete both"
            )
        kept = _joined(lines[:done])
        if digest not in (None, _sha256(kept)):
            raise BadCheckpoint(
                f"{records} is damaged, says {file}; delete both to start the run again"
            )
        return kept

    def keep_weights(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Keep weights by name, and texts beside them, in one file;
        before `finish`, whose digest is of it, too.
        """
        from safetensors.torch import save

        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = save(plain, dict(metadata))
        write_whole(self.path / WEIGHTS, content)

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The weights by name, and the texts beside them, that `keep_weights` was given.

        Raises ValueError if the run is not finished or was finished without weights, BadRun if it
        is damaged.
        """
        from safetensors import SafetensorError, safe_open

        file = self.path / WEIGHTS
        if self.result is None:
            raise ValueError(f"the run {self.path} is not finished: it has no weights yet")
        if not file.exists():
            raise ValueError(
                f"the run {self.path} was finished without its weights; with keep_weights=True it"
                " is another run, which is computed once and has them"
            )
        try:
            with safe_open(file, framework="pt") as opened:
                names = opened.keys()  # no mapping: it cannot be iterated over
                tensors = {name: opened.get_tensor(name) for name in names}
                return tensors, dict(opened.metadata() or {})
        except (SafetensorError, OSError) as error:
            raise BadRun(f"{file} is damaged ({error}); {AGAIN}") from error

    def finish(self, result: Result) -> None:
        """Keep the result. The digest comes before it, so that no result stands without one."""
        content = _json(result)
        write_whole(self.path / DIGEST, (self.digest() + _sum("result.json", content)).encode())
        write_whole(self.path / "result.json", content)

    def fail(self, error: str, details: str = "") -> None:
        """Record the error of a run that failed, where that is possible."""
        with suppress(OSError):
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / "failed.json", _json({"error": error, "traceback": details}))


def run(
    work: Callable[[Params, Run], Result], params: Params, root: str | Path, device: str = "cpu"
) -> Run:
    """Do `work(params, run)` once. Returns the finished run, from the cache if it is there.

    device: what the stamp says that it was computed on.

    An exception of `work` is recorded as failed.json and raised; records and checkpoint stay.
    """
    home = Run(Path(root) / key(params))
    if home.result is None:
        with _locked(home.path):
            if home.result is None:
                _compute(work, params, home, device)
    with suppress(OSError):  # a finished run can be read from a disk that cannot be written
        (home.path / "checkpoint.pt").unlink(missing_ok=True)
    return home


def _compute(
    work: Callable[[Params, Run], Result], params: Params, home: Run, device: str
) -> None:
    (home.path / "failed.json").unlink(missing_ok=True)
    write_whole(home.path / "params.json", _json(params))
    write_whole(home.path / "stamp.json", _json(_continued(home, stamp(device))))
    try:
        result = work(params, home)
    except Exception as error:
        home.fail(f"{type(error).__name__}: {error}", traceback.format_exc())
        raise
    home.finish(result)


def _continued(home: Run, now: dict[str, Any]) -> dict[str, Any]:
    """The stamp of a run that is gone on with: those of the processes before are kept in it."""
    if not (home.path / "checkpoint.pt").exists():
        return now
    last = UNKNOWN
    with suppress(BadRun):
        last = home.stamp or UNKNOWN
    before = last.get("before", [])
    own = {name: value for name, value in last.items() if name != "before"}
    if {**own, "date": ""} != {**now, "date": ""}:
        before = [*before, {**own, "epochs": len(home._lines())}]
    return {**now, "before": before} if before else now


def set_aside(home: Run) -> None:
    """Rename the folder of a damaged run, so that it is computed anew; prints its new name."""
    if _damage(home) is None:
        return
    held = _holding(home.path)
    if held is None:  # another process has set it aside
        return
    with held:
        damage = _damage(home)
        if damage is not None:
            aside = _unused(home.path)
            home.path.rename(aside)
            print(f"set aside as {aside.name}: {damage}")


def copy_finished(other: Run, home: Run) -> None:
    """Copy a finished run to another folder, its result last;
    nothing if it is finished there, or not finished here.
    """
    if not other.finished or home.finished:
        return
    with _locked(home.path):
        if home.sound_result is None:  # nor has another process finished it meanwhile
            _copy(other, home)


def _copy(other: Run, home: Run) -> None:
    for name in ("result.json", "checkpoint.pt", "failed.json"):  # of what was there before
        (home.path / name).unlink(missing_ok=True)
    for name in (DIGEST, *SUMMED):
        content = _content(other.path / name)
        if content is None:
            (home.path / name).unlink(missing_ok=True)
        else:
            write_whole(home.path / name, content)


def _damage(home: Run) -> BadRun | None:
    """What is wrong with a run, None if it is sound or not finished."""
    try:
        _ = home.result
    except BadRun as error:
        return error
    return None


def _unused(path: Path) -> Path:
    """A name for a damaged folder that no other one has:
    `<folder>.damaged`, `<folder>.damaged1`, ...
    """
    names = (path.with_name(f"{path.name}.damaged{i or ''}") for i in count())
    return next(name for name in names if not name.exists())


def computed_on(found: Iterable[Run]) -> dict[str, int]:
    """How many of these runs were finished on which machine; equal ones count once."""
    done = [run for run in set(found) if run.finished]
    machines = Counter(run.stamp.get("device", "unknown") for run in done)
    return dict(machines.most_common())


# Files


def _content(path: Path) -> bytes | None:
    """What a file holds, None if there is none. Raises BadRun if it cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadRun(f"{path} cannot be read ({error.strerror}); {AGAIN}") from error


def _read(path: Path) -> dict[str, Any] | None:
    """What a JSON file says, None if there is none.
    Raises BadRun if it is damaged or cannot be read.
    """
    content = _content(path)
    return None if content is None else _parsed(content, path)


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        value = json.loads(content)
        if isinstance(value, dict):
            return value
    raise BadRun(f"{path} is damaged; {AGAIN}")


def _state(checkpoint: Path) -> dict[str, Any]:
    """The state in a checkpoint. torch.load does not look at the checksums that torch.save writes,
    so zipfile does.
    """
    content = io.BytesIO(checkpoint.read_bytes())
    with zipfile.ZipFile(content) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
    content.seek(0)
    return torch.load(content, map_location="cpu", weights_only=True)


def _whole_lines(content: bytes) -> list[bytes]:
    return content.split(b"\n")[:-1]


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(contents: Mapping[str, bytes]) -> str:
    """A line for each file, by name."""
    return "".join(_sum(name, contents[name]) for name in SUMMED if name in contents)


def _sum(name: str, content: bytes) -> str:
    """The line of a file in the digest."""
    return f"{_sha256(content)}  {name}\n"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place, then rename it:
    readers see the old one or the new one, never a part.
    """
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


# The lock


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where there is none."""
    held = None
    while held is None:
        folder.mkdir(parents=True, exist_ok=True)
        held = _holding(folder)
    with held:
        yield


def _holding(folder: Path) -> ExitStack | None:
    """The locks of a folder, held until they are closed; who waits for them is told who holds
    them. None if there is no such folder, or it was renamed before they were taken.

    Two locks: of the file `lock`, which says who holds it, and of the folder itself, which still
    holds when somebody removes that file (not on NFS, which locks no folders).
    """
    path = folder / "lock"
    with ExitStack() as locks:
        try:
            file = locks.enter_context(path.open("a+"))
            itself = locks.enter_context(_opened(folder))
        except FileNotFoundError:
            return None
        _take(file.fileno(), path)
        with suppress(OSError):
            _take(itself, path)
        if not _lies_at(itself, folder):
            return None
        with _naming(path):
            file.truncate(0)
            print(f"process {os.getpid()} on {platform.node()}", file=file, flush=True)
        return locks.pop_all()


def _lies_at(descriptor: int, folder: Path) -> bool:
    """Whether an open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def _take(descriptor: int, path: Path) -> None:
    """Lock an open file or folder. path: of the file that says who holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (_content(path) or b"").decode(errors="replace").strip()
        print(
            f"waiting for {holder or 'another process'}, which computes {path.parent}", flush=True
        )
        fcntl.flock(descriptor, fcntl.LOCK_EX)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


# The digests of older runs


def give_digests(folder: Path) -> None:
    """Give the finished runs in a folder a digest, where they have none;
    prints how many got one, and which could not.
    """
    given = 0
    for file in sorted(folder.glob("*/result.json")):
        try:
            given += _give_digest(Run(file.parent))
        except BadRun as error:
            print(f"no digest: {error}")
    print(f"{given} runs in {folder} got a digest")


def _give_digest(run: Run) -> bool:
    """Give a run its digest; returns whether it had none. Raises BadRun for visible damage."""
    _ = run.result, run.records  # raise BadRun where they are damaged
    if (run.path / DIGEST).exists():
        return False
    write_whole(run.path / DIGEST, run.digest().encode())
    return True


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m nasutils.runs", description="Digests of finished runs."
    )
    parser.add_argument("action", choices=["digest"])
    parser.add_argument(
        "folder", type=Path, help="of the run folders, such as figures/laptop/runs"
    )
    folder = parser.parse_args().folder
    if not folder.is_dir():
        parser.error(
            f"there is no folder {folder}; the runs of the notebooks are in figures/<scale>/runs"
        )
    give_digests(folder)


if __name__ == "__main__":
    main()
