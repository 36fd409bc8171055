"""A Ray cluster as a pool of runs."""

import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasutils.sweep.pool import Ended, attempt, fitting
from nasutils.training.computation import Machine


class Cluster:
    """A Ray cluster: the one that is running, else this machine.
    A run takes a core and its share of a GPU.
    """

    def __init__(self, machine: Machine, workers: int | None, gpus: float) -> None:
        data = None if machine.data is None else machine.data.resolve()
        self._machine = replace(machine, runs=machine.runs.resolve(), data=data)
        self._busy: dict[Any, str] = {}
        with ExitStack() as stack:
            self._ray = stack.enter_context(connected())
            # Ray's own retries would start a run again that `events` does not know of.
            self._attempt = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(attempt)
            there = self._ray.cluster_resources()
            room = int(there.get("CPU", 1))
            if gpus:
                room = min(room, fitting(gpus, int(there.get("GPU", 0))))
            self.slots = min(room, workers or room)
            self._connection = stack.pop_all()

    def start(self, name: str, content: bytes) -> None:
        self._busy[self._attempt.remote(content, self._machine)] = name

    def ended(self, seconds: float) -> list[Ended]:
        over, _ = self._ray.wait(list(self._busy), timeout=seconds)
        return [self._ended(reference) for reference in over]

    def _ended(self, reference: Any) -> Ended:
        name = self._busy.pop(reference)
        try:
            return Ended(name, self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            reason, _, _ = str(error).partition("\n")
            return Ended(name, f"{type(error).__name__}: {reason}", died=True)

    def close(self) -> None:
        with self._connection:
            for reference in self._busy:
                self._ray.cancel(reference, force=True)


@contextmanager
def connected() -> Iterator[Any]:
    """The module ray, connected: as it already is, else to the cluster that is running,
    else to one of this machine.

    Raises ModuleNotFoundError without Ray, ConnectionError if RAY_ADDRESS is set and nothing
    answers there.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "engine 'ray' needs the package ray: pip install -e '.[ray]'"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        _check_answers(os.environ.get("RAY_ADDRESS") or _last_cluster())
        context = ray.init(address="auto", **quiet)
    except ConnectionError:
        if os.environ.get("RAY_ADDRESS"):
            raise
        # Otherwise Ray writes a token file into the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
        context = ray.init(address="local", include_dashboard=False, **quiet)
    with context:
        yield ray


def _last_cluster() -> str:
    """The address that Ray remembers of the last cluster of this machine, though it may be gone;
    empty without one.
    """
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    file = folder / "ray" / "ray_current_cluster"
    return file.read_text().strip() if file.exists() else ""


def _check_answers(address: str) -> None:
    """Raise ConnectionError if nothing answers at host:port, where Ray would wait five minutes.
    Other forms of an address are left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from None
