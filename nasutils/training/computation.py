"""What all tasks share, whose results are kept in run folders: an `Experiment`, an `Evaluation`,
a `Selection`. The machine they are computed on, what they are made of, how one is finished.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from nasutils import data, methods, runs, spaces
from nasutils.errors import choose, whole
from nasutils.own_data import CONTENT
from nasutils.runs import Run
from nasutils.training.loop import PRECISIONS

SOURCES = ("method_source", "space_source")
"""Digests of own classes among the parameters of a run, see `nasutils.registry`."""


# The machine


@dataclass(frozen=True)
class Machine:
    """Where a run is computed; nothing here changes its result. device: cpu, cuda, cuda:1;
    data: root folder.

    `~` in a folder is somebody's home. Raises ValueError, naming the field, where there is no such
    home, and for what is no folder.
    """

    runs: Path = Path("runs")
    data: Path | None = None
    download: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.runs is None:
            raise ValueError("runs must be a folder, not None")
        for name in ("runs", "data"):
            object.__setattr__(self, name, _at_home(name, getattr(self, name)))
        object.__setattr__(self, "device", str(self.device))  # also of a torch.device


def check_machine(machine: Machine) -> None:
    """Raise ValueError for what is no `Machine`."""
    if not isinstance(machine, Machine):
        raise ValueError(f"machine must be a Machine, as in Machine(runs='runs'), not {machine!r}")


def _at_home(name: str, folder: Path | None) -> Path | None:
    try:
        return None if folder is None else Path(folder).expanduser()
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name} must be a folder, not {str(folder)!r}: {error}") from None


def check_device(device: str) -> str:
    """Return the device if it is there: cpu, cuda, or cuda:1. Raises ValueError."""
    if device.startswith("gpu"):
        raise ValueError(
            f"unknown device on this machine {device!r}: a GPU is called 'cuda', or 'cuda:1'"
        )
    here = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device.startswith("cuda") and not here:
        raise ValueError(
            f"device {device!r} is not there: PyTorch {torch.__version__} sees no GPU; choose"
            " 'cpu'"
        )
    known = ["cpu", "cuda", *here] if here else ["cpu"]
    return choose("device on this machine", device, known)


# Whatever is a task


class Epochs(Protocol):
    """A computation in progress, epoch by epoch:
    a `Search`, or the training of a derived network.
    """

    def run(self) -> Iterator[dict[str, Any]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Computation:
    """What a run is computed from: an `Experiment` (a search), an `Evaluation` (the training of a
    derived network), a `Selection` (of operations in a trained supernet).
    """

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole run, each of which leaves at most one record."""
        raise NotImplementedError

    def params(self) -> runs.Params:
        """What the run folder is named by."""
        raise NotImplementedError

    def start(self, machine: Machine) -> Epochs:
        """The computation at its epoch 0."""
        raise NotImplementedError

    def over(self, records: Sequence[runs.Result]) -> bool:
        """Whether there is to be no further epoch after those of these records."""
        return False

    def result(self, epochs: Any, run: Run) -> runs.Result:
        """What is left after the last epoch. epochs: what `start` gave."""
        raise NotImplementedError

    def check(self, machine: Machine) -> None:
        """Raise what `run` would raise at its start: ValueError, MissingData."""
        self.start(replace(machine, device="cpu"))

    def run(self, machine: Machine) -> Run:
        """The finished run, see `finish`."""
        return finish(self, machine)


class OfImages(Computation):
    """A search or a training: it names its images by their content, and takes its own method and
    space along, wherever it is sent, see `nasutils.registry`.
    """

    dataset: str | Path
    resolution: int | None

    @cached_property
    def content(self) -> str:
        """The name of the data set, or the digest that own images had when the task was made."""
        return data.content(str(self.dataset))

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        own = (
            methods.registry.carried(state.get("method", "")),
            spaces.registry.carried(state["space"]),
        )
        return {**state, "own": own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        method, space = state.pop("own")
        methods.registry.adopt(method)
        spaces.registry.adopt(space)
        vars(self).update(state)


def own_sources(space: str, method: str = "") -> dict[str, str]:
    """What a run is named by beside its parameters:
    the digests of an own method and space, by name.
    """
    digests = {
        "method_source": methods.registry.source(method),
        "space_source": spaces.registry.source(space),
    }
    return {name: digest for name, digest in digests.items() if digest is not None}


def check_setting(fields: Mapping[str, Any]) -> None:
    """Check what a search and the training of a derived network have in common;
    raises ValueError, naming the field.
    """
    choose("space", fields["space"], spaces.names)
    choose("precision", fields["precision"], PRECISIONS)
    if not isinstance(fields["keep_weights"], bool):
        raise ValueError(f"keep_weights must be True or False, not {fields['keep_weights']!r}")
    whole("seed", fields["seed"], 0)
    for name in ("channels", "cells"):
        whole(name, fields[name])
    for name in ("images", "test_images", "evaluation", "resolution"):
        if fields.get(name) is not None:
            whole(name, fields[name])


def images_of(task: OfImages, machine: Machine) -> data.Data:
    """The data set on the machine's device. Raises MissingData,
    and ValueError if own images are no longer the same.
    """
    path, root = str(task.dataset), machine.data
    if data.content(path) != task.content:
        raise ValueError(
            f"{path} has changed since this {type(task).__name__} was made: make it anew"
        )
    return data.load(
        path, root, download=machine.download, resolution=task.resolution, device=machine.device
    )


# To compute it, once


def finish(computation: Computation, machine: Machine) -> Run:
    """The finished run of a computation: read from its folder,
    or run (on from its last checkpoint) and kept there.

    On one thread, whoever calls: the sums of several threads differ in their last bits; on a GPU
    with kernels whose sums have an order.
    """
    check_machine(machine)
    check_device(machine.device)
    tell_changes([computation.params()], machine)

    def work(params: runs.Params, run: Run) -> runs.Result:
        epochs = computation.start(machine)
        torch.manual_seed(int(run.path.name, 16))

        def load(state: dict[str, Any]) -> None:
            _continue_draws(state.pop("torch_draws", {}), machine.device)
            epochs.load_state_dict(state)

        run.restore(load)
        records = run.records
        remaining = iter(()) if computation.over(records) else epochs.run()
        for record in remaining:
            run.append(record, {**epochs.state_dict(), "torch_draws": _draws(machine.device)})
            records.append(record)
            if computation.over(records):
                break
        return computation.result(epochs, run)

    with repeatable(), on_gpu(machine.device), _kept_draws(machine.device):
        return runs.run(work, computation.params(), machine.runs, machine.device)


# PyTorch's own generators: nothing of ours draws from them, layers of own networks may (dropout)


def _kept_draws(device: str) -> AbstractContextManager[Any]:
    """Leave PyTorch's generators afterwards as they were."""
    gpus = [torch.cuda.current_device()] if device.startswith("cuda") else []
    return torch.random.fork_rng(devices=gpus)


def _draws(device: str) -> dict[str, Tensor]:
    """The states of the generators that a run may draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _continue_draws(states: Mapping[str, Tensor], device: str) -> None:
    """Go on from such states, as far as there are any."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.startswith("cuda"):
        torch.cuda.set_rng_state(states["cuda"])


def measured(
    measure: Callable[[], runs.Result], params: runs.Params, machine: Machine
) -> runs.Result:
    """What a measurement found: made once, as `finish` computes,
    and kept among the runs of the machine.
    """
    with repeatable(), on_gpu(machine.device):
        kept = runs.run(lambda params, run: measure(), params, machine.runs, machine.device)
    assert kept.result is not None
    return kept.result


@contextmanager
def repeatable() -> Iterator[None]:
    """Compute on one thread, and convolutions on a GPU by algorithms that give the same bits every
    time; afterwards as before.
    """
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic


def on_gpu(device: str) -> AbstractContextManager[Any]:
    """Make the GPU of a device such as `cuda:1` the current one: the stamp names it, and no memory
    is taken on another. Nothing on other devices.
    """
    return torch.cuda.device(device) if device.startswith("cuda:") else nullcontext()


# Runs that are there


Asked = TypeVar("Asked", bound=Computation)


def asked_again(
    task: Callable[..., Asked], run: Run, kind: str, version: int, dataset: str | Path | None
) -> Asked:
    """The task of a run folder, by which it is found: the inverse of `params`.

    kind, version: of the runs of such a task. dataset: where own images lie, of which a run knows
    the content only. Own methods and spaces must have been registered.

    Raises ValueError for a run of another kind or version, and for one that today's task would not
    find, since the recipe has been revised, or an own class or own images have changed.
    """
    params = _params_of(run, kind, version)
    given = arguments(task, params)
    if dataset is not None:
        given["dataset"] = dataset
    elif str(given["dataset"]).startswith(CONTENT):
        raise ValueError(f"{run.path} is of own images: say where they are, dataset=PATH")
    again = task(**given)
    _check_same(run, params, again.params())
    return again


def arguments(task: Callable[..., Any], params: runs.Params) -> dict[str, Any]:
    """The arguments of a task among the parameters of its run; those that they do not name have
    their defaults.
    """
    return {name: params[name] for name in signature(task).parameters if name in params}


def _params_of(run: Run, kind: str, version: int) -> runs.Params:
    """The parameters of a run. Raises ValueError unless it is of that kind and version, and its
    own classes are registered.
    """
    params = run.params
    if params is None:
        raise ValueError(f"{run.path} is no run: it has no params.json")
    found = params.get("kind"), params.get("version")
    if found != (kind, version):
        raise ValueError(f"{run.path} must be a {kind}, version {version}, not {found}")
    for part, registry in (("method", methods.registry), ("space", spaces.registry)):
        if f"{part}_source" in params and params[part] not in registry.names:
            raise ValueError(
                f"{run.path} is of the own {part} {params[part]!r}: register it first"
            )
    return params


def _check_same(run: Run, then: runs.Params, now: runs.Params) -> None:
    """Raise ValueError, naming the differences, if today's parameters have another key."""
    if runs.key(then) == runs.key(now):
        return
    changed = []
    for name in {**then, **now}:
        before, today = then.get(name), now.get(name)
        if before != today:
            changed.append(f"{name} {before!r}, now {today!r}")
    raise ValueError(f"{run.path} cannot be asked for again: {'; '.join(changed)}")


def tell_changes(asked: Iterable[runs.Params], machine: "Machine") -> None:
    """Print one line if runs that are to be computed differ from earlier ones in nothing but the
    source of own classes.

    Said where the runs are asked for, not in the processes that compute them.
    """
    if parent_process() is not None:
        return
    root = machine.runs
    waiting: dict[str, runs.Params] = {}
    for params in asked:
        of_own = any(name in params for name in SOURCES)
        if of_own and not Run(root / runs.key(params)).finished:
            waiting[_but_for_sources(params)] = params
    if not waiting:
        return
    changed: set[str] = set()
    for file in root.glob("*/result.json"):
        with suppress(runs.BadRun):
            earlier = Run(file.parent).params or {}
            now = waiting.get(_but_for_sources(earlier))
            if now is not None:
                changed |= _changed_sources(earlier, now)
    if changed:
        what = " and ".join(sorted(changed))
        print(
            f"the source of {what} has changed since it was run: it is run anew, the earlier runs"
            f" stay in {root}"
        )


def _changed_sources(earlier: runs.Params, now: runs.Params) -> set[str]:
    """The own classes of a run whose source is another one now, such as `method 'mine'`."""
    changed = set()
    for name in SOURCES:
        if name in now and name in earlier and now[name] != earlier[name]:
            kind = name.partition("_")[0]  # method or space
            changed.add(f"{kind} {now[kind]!r}")
    return changed


def _but_for_sources(params: runs.Params) -> str:
    """Text of the parameters but for the digests of own classes."""
    kept = {name: value for name, value in params.items() if name not in SOURCES}
    return json.dumps(kept, sort_keys=True)
