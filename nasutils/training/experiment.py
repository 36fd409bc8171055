"""One search as a value: everything that determines its result, and the supernet it begins with.

How it is computed and kept in a run folder, `computation` says.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nasutils import data, methods, runs, spaces
from nasutils.errors import as_declared, choose, plain, up_to, whole
from nasutils.measures.stopping import (
    CRITERIA,
    ES_CADENCE,
    Decision,
    Records,
    Stopper,
    taken_record,
)
from nasutils.methods import Recipe
from nasutils.methods.base import PRESETS
from nasutils.runs import Run
from nasutils.spaces.base import Space
from nasutils.training.classifier import Relaxed, keep
from nasutils.training.computation import (
    Machine,
    OfImages,
    asked_again,
    check_setting,
    images_of,
    own_sources,
)
from nasutils.training.loop import PRECISIONS
from nasutils.training.search import Search

VERSION = 1
"""Raise by hand when the meaning of a search changes:
finished runs of older versions are then not found.
"""
PROBE_VERSION = 2
"""Raise by hand when the meaning of a probe changes; searches without probes keep their runs."""
RECIPE_FIELDS = [f.name for f in fields(Recipe) if f.name != "epochs"]
UNUSED = {
    "judge_every": 1,
    "held_out": 0,
    "eigenvalue_every": 0,
    "stop": {},
    "keep_weights": False,
}
"""The values of the fields of a search that leave it as it was before there were these fields."""


@dataclass(frozen=True)
class Experiment(OfImages):
    """A search. epochs: None is the number of the method's recipe on the space; cells: None is
    that of the space's supernets (5 per stage on NAS-Bench-201, 8 on the DARTS spaces and LHD).
    Both are numbers from then on, which `dataclasses.replace` keeps.

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
    cells: int = None  # type: ignore[assignment]
    epochs: int = None  # type: ignore[assignment]
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
        choose("space", self.space, spaces.names)
        choose("method", self.method, methods.names)
        choose("preset", self.preset, PRESETS)
        space = spaces.get(self.space)
        for name, usual in (("cells", usual_cells), ("epochs", self._usual_epochs)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual(space))
        check_setting(vars(self))
        for name in ("options", "recipe", "stop"):
            plain(name, getattr(self, name))
        options = methods.check_options(self.method, self.options)
        space.check_policy(options.get("policy"))
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
        _ = self.content  # raises MissingData

    def _usual_epochs(self, space: Space) -> int:
        followed = methods.followed(self.method)
        return methods.recipes.recipe(followed, space, self.preset).epochs

    @classmethod
    def of(cls, run: Run, dataset: str | Path | None = None) -> "Experiment":
        """The search whose run this is, finished or not, see `computation.asked_again`."""
        return asked_again(cls, run, "search", VERSION, dataset)

    @property
    def stops_by_eigenvalue(self) -> bool:
        """Whether `stop` looks at eigenvalues."""
        return bool(self.stop) and CRITERIA[self.stop["criterion"]].eigenvalue

    @property
    def _measures_eigenvalues(self) -> bool:
        """Whether eigenvalues are measured often enough for DARTS-ES;
        a probe measures the eigenvalue, too.
        """
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
        given = {name: value for name, value in self.options.items() if value is not None}
        params["options"] = as_declared(given, options)
        params["recipe"] = as_declared(self.recipe, {f.name: f.type for f in fields(Recipe)})
        for name, unused in UNUSED.items():
            if params[name] == unused:
                del params[name]
        followed = methods.followed(self.method)
        revision = methods.recipes.revision(followed, self.space, self.preset)
        if revision > 1:
            params["recipe_revision"] = revision
        params |= own_sources(self.space, self.method)
        if "method_source" in params:  # at first own methods followed the rows of all alone
            params["recipe_of"] = followed
        probe_every = params.pop("probe_every")
        if probe_every:
            params |= {"probe_every": probe_every, "probe_version": PROBE_VERSION}
        return params

    def start(self, machine: Machine) -> Search:
        """The search at its epoch 0, see `build`."""
        return build(self, machine)

    def over(self, records: Records) -> bool:
        """Whether the search has ended itself, see `stop`."""
        return self.decision(records) is not None

    def result(self, search: Search, run: Run) -> runs.Result:
        """The genotype and the number of epochs;
        of a search that ended itself the genotype that `stop` takes.
        """
        records = run.records
        decision = self.decision(records)
        found: runs.Result = {"genotype": str(search.method.genotype()), "epochs": search.epoch}
        if decision is not None:
            taken = taken_record(records, decision)
            found |= {"genotype": taken["genotype"], "stopped": asdict(decision)}
        if self.keep_weights:
            mix = search.method.evaluated(search.method.inference())
            keep(run, Relaxed(search.net, mix), found["genotype"], search.data)
        return found

    def decision(self, records: Records) -> Decision | None:
        """What `stop` decides after these records; None as long as the search goes on.
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


def usual_cells(space: Space) -> int:
    """The number of cells that a space's supernets have if none is given; 5 where it has none."""
    cells = signature(space.supernet).parameters.get("cells")
    return 5 if cells is None or cells.default is Parameter.empty else cells.default


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
    up_to("batch", recipe.batch, len(train), "the images for the weights")
    if e.stops_by_eigenvalue and method.softmax_temperature is None:
        raise ValueError(
            f"stop must have another criterion than {e.stop['criterion']!r} for {e.method}, whose"
            " mixing weights are no softmax of alpha, so that there is no eigenvalue"
        )
    if e.keep_weights and not recipe.epochs:
        raise ValueError(f"keep_weights must be False for {e.method}, which trains no supernet")
    net = supernet_of(e, method, images.num_classes).to(device, PRECISIONS[e.precision])
    if e.evaluation is not None:
        up_to("evaluation", e.evaluation, len(valid))
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


def method_of(experiment: Experiment, device: str = "cpu") -> methods.Method:
    """The method of a search at its epoch 0. Raises ValueError, see `methods.get`."""
    e = experiment
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
    """The arguments of `Space.supernet` that a method asks for."""
    asked: dict[str, Any] = {"partial": method.partial}
    if method.extra:
        asked["extra"] = method.extra
    return asked
