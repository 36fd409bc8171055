"""Rethink DARTS Search Space and Renovate a New Benchmark (LHD):
twelve methods under twelve conditions.

A condition is a data set and a discretization policy. One search gives four cells, one per policy;
each is trained and tested. Settings are those of the authors' code, chaoji90/LHD: search/ (a
folder per method) and eval/ (policies in eval/gen_trans.py, trainings in a folder per data set).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch

from nasutils import data, methods, spaces
from nasutils.errors import choose
from nasutils.methods import Recipe
from nasutils.runs import Run
from nasutils.spaces.base import Mix
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.lhd_final import channels_of
from nasutils.spaces.lhd_policies import POLICIES
from nasutils.studies.lhd_architectures import random_cell
from nasutils.sweep.pool import home_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment, method_of
from nasutils.training.finalnet import Evaluation
from nasutils.training.loop import PRECISIONS

SPACE = spaces.get("lhd")
COMMON = methods.get("darts", SPACE).recipe
"""DARTS's recipe, to which the budgets of the others stay in proportion."""
METHODS: Mapping[str, str] = {
    "Random": "random",
    "DARTS": "darts",
    "MiLeNAS": "milenas",
    "GAEA-bilevel": "gaea-bilevel",
    "GAEA-ERM": "gaea-erm",
    "DrNAS": "drnas",
    "GDAS": "gdas",
    "PC-DARTS": "pc-darts",
    "SP-DARTS": "sp-darts",
    "DARTS-": "darts-minus",
    "Beta-DARTS": "beta-darts",
    "SurgeNAS": "surgenas",
}
"""Label -> name as in `methods.get`: the twelve baselines."""


BUDGETS = ("released", "equal")
"""released: batch, weight rate and data as in the method's own recipe. equal: those of DARTS for
all, so that the weights see the same images in the same number of updates."""

POLICY_NAMES = tuple(POLICIES)

EPOCHS = 50
"""Length of the published searches, to which the epochs in which alpha rests refer."""


def chosen(labels: Sequence[str]) -> list[str]:
    """These methods, all of them if there is none. Raises ValueError for an unknown label."""
    return [choose("method", label, METHODS) for label in labels or METHODS]


@dataclass(frozen=True)
class Budget:
    """What a search may use. images: for the weights,
    and as many for alpha unless it is of a single level.

    alpha_from: first epoch in which alpha moves. single_level: alpha follows the batches of the
    weights.
    """

    batch: int
    weight_lr: float
    weight_lr_end: float
    split: str
    images: int
    epochs: int
    alpha_from: int
    single_level: bool

    @property
    def updates(self) -> int:
        """Number of updates of the weights."""
        return math.ceil(self.images / self.batch) * self.epochs

    @property
    def alpha_epochs(self) -> int:
        """Epochs in which alpha moves."""
        return max(self.epochs - self.alpha_from, 0)

    @property
    def alpha_updates(self) -> int:
        """Number of updates of alpha."""
        return math.ceil(self.images / self.batch) * self.alpha_epochs

    @property
    def passes(self) -> int:
        """Images passed forward and backward through the supernet."""
        of_alpha = 0 if self.single_level else self.alpha_epochs
        return self.images * (self.epochs + of_alpha)


@cache
def own_recipe(label: str, preset: str) -> Recipe:
    """The recipe of a method on LHD, in a search of published length."""
    return methods.get(METHODS[label], SPACE, epochs=EPOCHS, preset=preset).recipe


def budget(
    label: str,
    kind: str = "released",
    *,
    epochs: int = EPOCHS,
    batch: int = COMMON.batch,
    images: int = 25_000,
    preset: str = "published",
) -> Budget:
    """The budget of a method; batch, images:
    of DARTS, to which those of the others stay in proportion.

    released: single-level methods train their weights on all images, twice as many. equal: batch,
    initial rate and images of DARTS for all; a rate that stays constant belongs to the method
    (SP-DARTS) and stays so. In both, the epochs in which alpha rests (PC-DARTS, DrNAS) are in
    proportion to those of the search.
    Raises ValueError for an unknown kind.
    """
    own = own_recipe(label, preset)
    single = own.split == "all"
    if choose("budget", kind, BUDGETS) == "released":
        batch = round(own.batch * batch / COMMON.batch)
        images = 2 * images if single else images
        split = own.split
        start, end = own.weight_lr, own.weight_lr_end
    else:
        split = COMMON.split
        start, end = COMMON.weight_lr, COMMON.weight_lr_end
        if own.weight_lr == own.weight_lr_end:
            end = start
    searched = own.epochs > 0  # Random's alpha is drawn
    return Budget(
        batch=min(batch, images),
        weight_lr=start,
        weight_lr_end=end,
        split=split,
        images=images,
        epochs=epochs if searched else 0,
        alpha_from=round(own.alpha_from * epochs / EPOCHS) if searched else 0,
        single_level=single,
    )


class SearchKey(NamedTuple):
    budget: str
    method: str
    dataset: str
    seed: int


def searches(
    labels: Iterable[str],
    datasets: Sequence[str],
    seeds: Sequence[int],
    budgets: Sequence[str],
    *,
    batch: int,
    images: int,
    epochs: int,
    preset: str,
    **setting: Any,
) -> dict[SearchKey, Experiment]:
    """All searches. A method whose budgets coincide is searched once.
    setting: fields of `Experiment`.

    Images of SVHN are not augmented.
    """
    found = {}
    for label, kind in product(labels, budgets):
        b = budget(label, kind, epochs=epochs, batch=batch, images=images, preset=preset)
        fields = ("batch", "weight_lr", "weight_lr_end", "split", "alpha_from")
        own: dict[str, Any] = {name: getattr(b, name) for name in fields}
        for dataset, seed in product(datasets, seeds):
            recipe = own | {"augment": False} if dataset == "svhn" else own
            found[SearchKey(kind, label, dataset, seed)] = Experiment(
                space=SPACE.name,
                method=METHODS[label],
                preset=preset,
                recipe=recipe,
                dataset=dataset,
                images=b.images,
                epochs=epochs,
                seed=seed,
                **setting,
            )
    return found


def at_hand(
    tasks: Mapping[SearchKey, Experiment], machine: Machine
) -> tuple[list[str], list[str]]:
    """The data sets whose searches are finished or whose images are there,
    and those that are left out.
    """
    found: list[str] = []
    missing: list[str] = []
    for name in dict.fromkeys(key.dataset for key in tasks):
        computed = _finished(name, tasks, machine)
        if computed or data.missing(name, machine.data, download=machine.download) is None:
            found.append(name)
        else:
            missing.append(name)
    return found, missing


def _finished(dataset: str, tasks: Mapping[SearchKey, Experiment], machine: Machine) -> bool:
    own = [task for key, task in tasks.items() if key.dataset == dataset]
    return all(home_of(task, machine).finished for task in own)


def final_mix(experiment: Experiment, run: Run) -> Mix:
    """The mixing weights that a finished search ends with;
    those it starts with for a method that does not train.
    """
    records = run.records
    if not records:
        return method_of(experiment).inference()
    dtype = PRECISIONS[experiment.precision]
    mix = records[-1]["mix"]
    return {name: torch.tensor(rows, dtype=dtype) for name, rows in mix.items()}


class FinalKey(NamedTuple):
    """kind: `final`; `released`, tested as the authors did; `long`, trained longer;
    `random`, a drawn network.

    searched: the data set of the search, target: that of training and test. Of a drawn network
    method is its space, seed its number.
    """

    kind: str
    budget: str
    method: str
    searched: str
    target: str
    policy: str
    seed: int
    eval_seed: int


@dataclass(frozen=True)
class Training:
    """How final networks are trained, beside what `protocols` prescribes for the data set.

    channels, cells: of the policies but `1m`, which has a quarter more cells and as many channels
    as give `capacity` weights. images, test_images: None: all. setting: further fields of
    `Evaluation`.
    """

    channels: int = 36
    cells: int = 20
    capacity: int = 1_500_000
    epochs: int = 600
    batch: int = 64
    auxiliary: float = 0.4
    images: int | None = None
    test_images: int | None = None
    resolution: int | None = None
    precision: str = "float32"

    def size(self, genotype: Genotype | str, policy: str, classes: int) -> tuple[int, int]:
        """Channels and cells of a policy's network."""
        genotype = Genotype.of(genotype)
        if policy != "1m":
            return self.channels, self.cells
        cells = round(self.cells * POLICIES["1m"].cells / POLICIES["base"].cells)
        rule = replace(POLICIES["1m"], channels=self.channels, cells=cells, capacity=self.capacity)
        return channels_of(genotype, rule, classes), cells

    def of(
        self,
        genotype: str,
        policy: str,
        target: str,
        eval_seed: int,
        *,
        released: bool = False,
        longer: int = 1,
    ) -> Evaluation:
        """The evaluation of a cell; released: tested as the authors did.
        longer: factor of the epochs.
        """
        channels, cells = self.size(genotype, policy, data.CLASSES[target])
        preset = f"lhd-{'cifar10' if target == 'digits' else target}"
        if released:
            preset += "-released"
        elif policy == "1m":
            preset += "-1m"
        return self._evaluation(
            genotype=genotype,
            space=SPACE.name,
            preset=preset,
            dataset=target,
            seed=eval_seed,
            channels=channels,
            cells=cells,
            protocol={"epochs": longer * self.epochs},
        )

    def drawn(self, space: str, number: int, target: str, eval_seed: int) -> Evaluation:
        """The evaluation of a random network of a space,
        the same protocol without dropped paths for all spaces.
        """
        return self._evaluation(
            genotype=random_cell(space, number),
            space=space,
            preset="lhd-cifar10",
            dataset=target,
            seed=eval_seed,
            channels=self.channels,
            cells=self.cells,
            protocol={"drop_path": 0.0, "drop_path_per_output": False},
        )

    def _evaluation(self, protocol: Mapping[str, Any], **setting: Any) -> Evaluation:
        """Tested in the last third only, whatever the protocol:
        nothing looks at the other tests.
        """
        usual = {"epochs": self.epochs, "batch": self.batch, "auxiliary": self.auxiliary}
        return Evaluation(
            protocol={**usual, "test_late": True, **protocol},
            resolution=self.resolution,
            images=self.images,
            test_images=self.test_images,
            precision=self.precision,
            **setting,
        )


def cells(found: Mapping[SearchKey, tuple[Experiment, Run]]) -> dict[tuple[SearchKey, str], str]:
    """The four genotypes of every finished search: {(search, policy): text}."""
    genotypes = {}
    for key, (experiment, run) in found.items():
        if run.finished:
            mix = final_mix(experiment, run)
            for policy in POLICY_NAMES:
                genotypes[key, policy] = str(SPACE.discretize(mix, policy))
    return genotypes


def expected_cells(
    tasks: Mapping[SearchKey, Experiment], machine: Machine
) -> dict[tuple[SearchKey, str], str]:
    """`cells` before the searches are over, to plan by:
    a random architecture stands in for one that is not found.
    """
    found = cells({key: (task, home_of(task, machine)) for key, task in tasks.items()})
    mix = methods.get("random", SPACE).inference()
    random = {policy: str(SPACE.discretize(mix, policy)) for policy in POLICY_NAMES}
    expected = {}
    for key, policy in product(tasks, POLICY_NAMES):
        expected[key, policy] = found.get((key, policy), random[policy])
    return expected


def evaluations(
    genotypes: Mapping[tuple[SearchKey, str], str],
    training: Training,
    eval_seeds: Sequence[int],
    *,
    transfer: bool = True,
    proxy_cells: int = 12,
    proxy_factor: int = 4,
    random_networks: int = 20,
) -> dict[FinalKey, Evaluation]:
    """Every training of a final network.

    The first budget is judged under all policies with the first evaluation seed; further
    evaluation seeds, further budgets, and transfer to the other data sets under `base` only.
    proxy_cells of them, `base`, of the first data set, are trained proxy_factor times as long.
    random_networks: drawn from LHD, and as many from the DARTS space.
    """
    datasets = list(dict.fromkeys(key.dataset for key, _ in genotypes))
    budgets = [key.budget for key, _ in genotypes]
    main = budgets[0] if budgets else BUDGETS[0]
    first = eval_seeds[0]
    found = {}
    for (key, policy), genotype in genotypes.items():
        targets = datasets if transfer else [key.dataset]
        departs = [policy != "base", key.budget != main]
        for target, seed in product(targets, eval_seeds):
            if sum([*departs, target != key.dataset, seed != first]) <= 1:
                place = _place("final", key, target, policy, seed)
                found[place] = training.of(genotype, policy, target, seed)
    firsts = _first_searches(genotypes, main, datasets)
    for key in firsts:
        place = _place("released", key, key.dataset, "base", first)
        cell = genotypes[key, "base"]
        found[place] = training.of(cell, "base", key.dataset, first, released=True)
    for key in [key for key in firsts if key.dataset == datasets[0]][:proxy_cells]:
        place = _place("long", key, key.dataset, "base", first)
        cell = genotypes[key, "base"]
        found[place] = training.of(cell, "base", key.dataset, first, longer=proxy_factor)
    return found | drawn_networks(training, datasets[:1], eval_seeds, random_networks)


def _place(kind: str, key: SearchKey, target: str, policy: str, seed: int) -> FinalKey:
    """What tells the training of a search's cell apart; seed: of the training."""
    return FinalKey(kind, key.budget, key.method, key.dataset, target, policy, key.seed, seed)


def _first_searches(
    genotypes: Iterable[tuple[SearchKey, str]], budget: str, datasets: Sequence[str]
) -> list[SearchKey]:
    """The first search of every method on every data set, in their order and that of METHODS."""
    firsts: dict[tuple[str, str], SearchKey] = {}
    for key, _ in genotypes:
        if key.budget == budget:
            firsts.setdefault((key.dataset, key.method), key)
    return [firsts[place] for place in product(datasets, METHODS) if place in firsts]


def drawn_networks(
    training: Training, datasets: Sequence[str], eval_seeds: Sequence[int], count: int
) -> dict[FinalKey, Evaluation]:
    """Random networks of LHD and of the DARTS space, each with every evaluation seed."""
    spaces_drawn = (SPACE.name, "darts")
    found = {}
    for target, space, number, seed in product(datasets, spaces_drawn, range(count), eval_seeds):
        place = FinalKey("random", "", space, target, target, "", number, seed)
        found[place] = training.drawn(space, number, target, seed)
    return found
