"""One search as a value: everything that determines its result,
and how to run it in a run folder.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from inspect import signature
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from nasutils import data, methods, runs, spaces
from nasutils.errors import as_declared, choose, plain, whole
from nasutils.measures.stopping import CRITERIA, ES_CADENCE, Decision, Records, Stopper
from nasutils.methods import Recipe
from nasutils.methods.base import PRESETS
from nasutils.own_data import CONTENT
from nasutils.runs import Run
from nasutils.training.classifier import Relaxed, keep
from nasutils.training.loop import PRECISIONS
from nasutils.training.search import Search

VERSION = 1
"""Raise by hand when the meaning of a search changes:
finished runs of older versions are then not found.
"""
SOURCES = ("method_source", "space_source")
"""Digests of own classes among the parameters of a run, see `nasutils.registry`."""
PROBE_VERSION = 2
"""The same for what a probe measures; searches without probes keep their runs."""


RECIPE_FIELDS = [f.name for f in fields(Recipe) if f.name != "epochs"]
UNUSED = {
    "judge_every": 1,
    "held_out": 0,
    "eigenvalue_every": 0,
    "stop": {},
    "keep_weights": False,
}
"""The values of the fields of a search that leave it as it was before there were these fields."""


class Portable:
    """A task that takes its own method and space along, wherever it is sent:
    see `nasutils.registry`.
    """

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


@dataclass(frozen=True)
class Experiment(Portable):
    """A search. Fields that are None follow the method's recipe on the space.

    options: of the method, see `methods.options`. dataset: a name in `data.NAMES`, or own images:
    the path of a folder or of an .npz file, see `nasutils.own_data`; the run is then named by
    their content, wherever they lie. recipe: fields of `methods.Recipe` that depart from it, but
    for its epochs, which are a field here (and 0 for a method that does not train).
    images: number of images for the weights and as many for alpha (None: all). evaluation: number
    of alpha images on which the supernet is judged (None: all), after every `judge_every` epochs
    and after the last one; under the split `all` these are images of the weights, too, and
    `judged_on` in the record is `train`, not `valid`. held_out: number of images that neither
    weights nor alpha are trained on, on which the supernet is judged after every epoch, too: of
    alpha's part of the split, those after alpha's own (0: none). resolution: side in pixels (None:
    the data set's own). precision: float32, float64 or bf16. probe_every: leakage is measured
    after every so many epochs and after the last one (0: never); eigenvalue_every: the same for
    the Hessian's eigenvalue alone. stop: arguments of `stopping.Stopper` (criterion, operation,
    patience), by which the search ends itself; its result is then the genotype of the epoch that
    the criterion takes. keep_weights: the supernet of the last epoch stays in the run's folder,
    see `weights.load`. That is part of the key: a run that was finished without has lost its
    weights, so one that is to have them is another run, computed once more.

    Raises ValueError for an unknown name or a number that cannot be, MissingData for own images
    that are not there; what only the data or the method can tell, `build` raises.
    """

    space: str = "nasbench201"
    method: str = "darts"
    preset: str = "published"
    options: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    dataset: str | Path = "cifar10"
    resolution: int | None = None
    images: int | None = None
    evaluation: int | None = None
    channels: int = 16
    cells: int = 5
    epochs: int = 50
    seed: int = 0
    precision: str = "float32"
    judge_every: int = 1
    held_out: int = 0
    probe_every: int = 0
    eigenvalue_every: int = 0
    stop: dict[str, Any] = field(default_factory=dict)
    keep_weights: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", data.located(self.dataset))
        check_setting(vars(self))
        choose("method", self.method, methods.names)
        choose("preset", self.preset, PRESETS)
        for name in ("options", "recipe", "stop"):
            plain(name, getattr(self, name))
        methods.check_options(self.method, self.options)
        for name in self.recipe:
            choose("field of the recipe", name, RECIPE_FIELDS)
        Recipe(**self.recipe)
        whole("epochs", self.epochs)
        whole("judge_every", self.judge_every)
        for name in ("held_out", "probe_every", "eigenvalue_every"):
            whole(name, getattr(self, name), 0)
        self.decision(())
        if self.stops_by_eigenvalue and not self._measures_eigenvalues:
            raise ValueError(
                f"eigenvalue_every must be 1 to {ES_CADENCE} for the criterion"
                f" {self.stop['criterion']!r}, which takes an eigenvalue at least every"
                f" {ES_CADENCE} epochs, not {self.eigenvalue_every}"
            )
        _ = self.content

    @classmethod
    def of(cls, run: Run, dataset: str | Path | None = None) -> "Experiment":
        """The search whose run this is, finished or not, see `asked_again`."""
        return asked_again(cls, run, "search", VERSION, dataset)

    @cached_property
    def content(self) -> str:
        """The name of the data set, or the digest that own images had when the experiment was
        made.
        """
        return data.content(str(self.dataset))

    @property
    def stops_by_eigenvalue(self) -> bool:
        """Whether `stop` looks at eigenvalues."""
        return bool(self.stop) and CRITERIA[self.stop["criterion"]].eigenvalue

    @property
    def _measures_eigenvalues(self) -> bool:
        """Often enough for DARTS-ES; a probe measures the eigenvalue, too."""
        cadences = (self.eigenvalue_every, self.probe_every)
        return any(1 <= every <= ES_CADENCE for every in cadences)

    def params(self) -> runs.Params:
        """What the run folder is named by; what came later is named where it is used,
        so that old names stay.

        A whole number for a field or an option that is a float is named as a float: 1 and 1.0 are
        the same search.
        """
        params = {"kind": "search", "version": VERSION, **asdict(self), "dataset": self.content}
        options = {name: p.annotation for name, p in methods.parameters(self.method).items()}
        params["options"] = as_declared(self.options, options)
        params["recipe"] = as_declared(self.recipe, {f.name: f.type for f in fields(Recipe)})
        for name, unused in UNUSED.items():
            if params[name] == unused:
                del params[name]
        revision = methods.recipes.revision(self.method, self.space, self.preset)
        if revision > 1:
            params["recipe_revision"] = revision
        params |= own_sources(self.space, self.method)
        probe_every = params.pop("probe_every")
        if probe_every:
            params |= {"probe_every": probe_every, "probe_version": PROBE_VERSION}
        return params

    def check(self, machine: "Machine") -> None:
        """Raises what `run` would raise at its start: ValueError, MissingData."""
        build(self, replace(machine, device="cpu"))

    def run(self, machine: "Machine") -> Run:
        """The finished run of the search, see `finish`."""
        return finish(self, machine)

    def start(self, machine: "Machine") -> Search:
        """See `build`."""
        return build(self, machine)

    def over(self, run: Run) -> bool:
        """Whether the search has ended itself, see `stop`."""
        return bool(self.stop) and self.decision(run.records) is not None

    def result(self, search: Search, run: Run) -> runs.Result:
        """The genotype and the number of epochs;
        of a search that ended itself the genotype that `stop` takes.
        """
        decision = self.decision(run.records)
        found: runs.Result = {"genotype": str(search.method.genotype()), "epochs": search.epoch}
        if decision is not None:
            taken = next(r for r in run.records if r["epoch"] == decision.epoch)
            found |= {"genotype": taken["genotype"], "stopped": asdict(decision)}
        if self.keep_weights:
            mix = search.method.evaluated(search.method.inference())
            keep(run, Relaxed(search.net, mix), found["genotype"], search.data)
        return found

    def decision(self, records: Records) -> Decision | None:
        """Of `stop`, after these records; None as long as the search goes on.
        Raises ValueError, see `Stopper`.
        """
        if not self.stop:
            return None
        for name in self.stop:
            choose("argument of stop", name, ("criterion", "operation", "patience"))
        if "criterion" not in self.stop:
            raise ValueError("stop needs a criterion, see nasutils.measures.stopping.CRITERIA")
        stopper = Stopper(space=spaces.get(self.space), **self.stop, records=records[:-1])
        return stopper(records[-1]) if records else None


def tell_changes(asked: Iterable[runs.Params], machine: "Machine") -> None:
    """Print one line if runs that are to be computed differ from earlier ones in nothing but the
    source of own classes.

    Said where the runs are asked for, not in the processes that compute them.
    """
    if parent_process() is not None:
        return
    root = Path(machine.runs)
    waiting: dict[str, runs.Params] = {}
    for params in asked:
        of_own = any(name in params for name in SOURCES)
        if of_own and not Run(root / runs.key(params)).finished:
            waiting[_but_for_sources(params)] = params
    if not waiting:
        return
    changed = set[str]()
    for file in root.glob("*/result.json"):
        with suppress(runs.BadRun):
            earlier = Run(file.parent).params or {}
            now = waiting.get(_but_for_sources(earlier), earlier)
            for name in SOURCES:
                if name in now and name in earlier and now[name] != earlier[name]:
                    kind = name.partition("_")[0]  # space or method
                    changed.add(f"{kind} {now[kind]!r}")
    if changed:
        what = " and ".join(sorted(changed))
        print(
            f"the source of {what} has changed since it was run: it is run anew, the earlier runs"
            f" stay in {root}"
        )


def _but_for_sources(params: runs.Params) -> str:
    kept = {name: value for name, value in params.items() if name not in SOURCES}
    return json.dumps(kept, sort_keys=True)


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


def check_machine(machine: Machine) -> None:
    """Raise ValueError if it is none."""
    if not isinstance(machine, Machine):
        raise ValueError(f"machine must be a Machine, as in Machine(runs='runs'), not {machine!r}")


def _at_home(name: str, folder: Path | None) -> Path | None:
    try:
        return None if folder is None else Path(folder).expanduser()
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name} must be a folder, not {str(folder)!r}: {error}") from None


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


def check_device(device: str) -> str:
    """Return the device if it is there: cpu, cuda, or cuda:1. Raises ValueError."""
    here = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if device.startswith("cuda") and not here:
        raise ValueError(
            f"device {device!r} is not there: PyTorch {torch.__version__} sees no GPU; choose"
            " 'cpu'"
        )
    known = ["cpu", "cuda", *here] if here else ["cpu"]
    return choose("device on this machine", device, known)


def build(experiment: Experiment, machine: Machine) -> Search:
    """The search at its epoch 0. Raises ValueError for a bad field,
    MissingData without the data set.
    """
    e, device = experiment, machine.device
    method = method_of(e, device)
    recipe = replace(method.recipe, **e.recipe)
    images = images_of(e, machine)
    train, valid = data.search_split(images, recipe.split, e.images)
    held_out = data.held_out(images, recipe.split, e.images, e.held_out) if e.held_out else None
    if recipe.batch > len(train):
        raise ValueError(
            f"batch must be 1 to {len(train)}, the images for the weights, not {recipe.batch}"
        )
    if e.stops_by_eigenvalue and method.softmax_temperature is None:
        raise ValueError(
            f"stop must have another criterion than {e.stop['criterion']!r} for {e.method}, whose"
            " mixing weights are no softmax of alpha, so that there is no eigenvalue"
        )
    if e.keep_weights and not recipe.epochs:
        raise ValueError(f"keep_weights must be False for {e.method}, which trains no supernet")
    net = supernet_of(e, method, images.num_classes).to(device, PRECISIONS[e.precision])
    if e.evaluation is not None and not 1 <= e.evaluation <= len(valid):
        raise ValueError(f"evaluation must be 1 to {len(valid)}, not {e.evaluation}")
    evaluation = valid[: e.evaluation]
    names = ("seed", "precision", "judge_every", "probe_every", "eigenvalue_every")
    settings = {name: getattr(e, name) for name in names}
    return Search(
        net,
        method,
        recipe,
        images,
        train,
        valid,
        evaluation=evaluation,
        held_out=held_out,
        **settings,
    )


class OfImages(Protocol):
    """A search or a training, as far as its images go."""

    @property
    def dataset(self) -> str | Path: ...

    @property
    def content(self) -> str: ...

    @property
    def resolution(self) -> int | None: ...


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


def method_of(experiment: Experiment, device: str = "cpu") -> methods.Method:
    """The method of a search at its epoch 0. Raises ValueError, see `methods.get`."""
    e = experiment
    # a field of the search among them would be handed over twice
    methods.check_options(e.method, e.options)
    space, dtype = spaces.get(e.space), PRECISIONS[e.precision]
    return methods.get(
        e.method,
        space,
        epochs=e.epochs,
        preset=e.preset,
        seed=e.seed,
        dtype=dtype,
        device=device,
        **e.options,
    )


def supernet_of(experiment: Experiment, method: methods.Method, num_classes: int) -> nn.Module:
    """The supernet of a search at its initial weights, on the CPU."""
    e = experiment
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(e.seed)
        return method.space.supernet(e.channels, e.cells, num_classes, **supernet_options(method))


def supernet_options(method: methods.Method) -> dict[str, Any]:
    """What a method asks of its supernet."""
    asked: dict[str, Any] = {"partial": method.partial}
    if method.extra:
        asked["extra"] = method.extra
    return asked


class Epochs(Protocol):
    """A computation in progress, epoch by epoch:
    a `Search`, or the training of a derived network.
    """

    def run(self) -> Iterator[dict[str, Any]]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


T = TypeVar("T", bound=Epochs)


class Computation(Protocol[T]):
    """What a run is computed from: an `Experiment`, an `Evaluation`, a `Selection`."""

    def params(self) -> runs.Params: ...

    def start(self, machine: Machine) -> T:
        """The computation at its epoch 0."""

    def over(self, run: Run) -> bool:
        """Whether there is to be no further epoch after those of the run's records."""

    def result(self, epochs: T, run: Run) -> runs.Result:
        """What is left of it after its last epoch."""


Asked = TypeVar("Asked", bound=Computation[Any])


def asked_again(
    task: Callable[..., Asked], run: Run, kind: str, version: int, dataset: str | Path | None
) -> Asked:
    """The task of a run folder, by which it is found: the inverse of `params`.

    kind, version: of the runs of such a task. dataset: where own images lie, of which a run knows
    the content only. Own methods and spaces must have been registered.

    Raises ValueError for a run of another kind or version, and for one that today's task would not
    find, since the recipe has been revised, or an own class or own images have changed.
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
    given = {name: params[name] for name in signature(task).parameters if name in params}
    if dataset is not None:
        given["dataset"] = dataset
    elif str(given["dataset"]).startswith(CONTENT):
        raise ValueError(f"{run.path} is of own images: say where they are, dataset=PATH")
    again = task(**given)
    now = again.params()
    if runs.key(now) != runs.key(params):
        changed = []
        for name in {**params, **now}:
            then, today = params.get(name), now.get(name)
            if then != today:
                changed.append(f"{name} {then!r}, now {today!r}")
        raise ValueError(f"{run.path} cannot be asked for again: {'; '.join(changed)}")
    return again


def finish(computation: Computation[T], machine: Machine) -> Run:
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
        run.restore(epochs.load_state_dict)
        remaining = iter(()) if computation.over(run) else epochs.run()
        for record in remaining:
            run.append(record, epochs.state_dict())
            if computation.over(run):
                break
        return computation.result(epochs, run)

    with repeatable():
        return runs.run(work, computation.params(), machine.runs, machine.device)


def measured(
    measure: Callable[[], runs.Result], params: runs.Params, machine: Machine
) -> runs.Result:
    """What a measurement found: made once, as `finish` computes,
    and kept among the runs of the machine.
    """
    with repeatable():
        kept = runs.run(lambda params, run: measure(), params, machine.runs, machine.device)
    assert kept.result is not None
    return kept.result


@contextmanager
def repeatable() -> Iterator[None]:
    """One thread, and convolutions on a GPU by algorithms that give the same bits every time."""
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
