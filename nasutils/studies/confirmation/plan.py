"""The plan in params/confirmation.yaml: arms with their seeds, claims with their tests,
and what was registered of it.

An arm is made of searches, or of networks whose cells are given: architectures that were released,
and random ones.

A plan has parts, each registered by itself, so that a later part leaves an earlier one alone. What
is registered is all of a part but for `registered`, `deviations` and `remarks`.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from nasutils import paths
from nasutils.errors import choose
from nasutils.measures import comparisons, estimates
from nasutils.measures import searches as measures
from nasutils.spaces.genotype import Genotype
from nasutils.spaces.lhd_final import channels_of
from nasutils.spaces.lhd_policies import POLICIES, Policy
from nasutils.studies import lhd_architectures
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

FILE = "params/confirmation.yaml"
TESTS = {**estimates.TESTS, **comparisons.TESTS}
FEWEST = 6
"""Searches per arm without which there is no verdict."""
FEWEST_ACCURACIES = 10
"""Searches per arm of a test of accuracies, whose distribution has two humps."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def seeds_of(text: str | int) -> list[int]:
    """`5-16` or `7`: the seeds from the first to the last. Raises ValueError for anything else."""
    first, _, last = str(text).partition("-")
    try:
        found = list(range(int(first), int(last or first) + 1))
    except ValueError:
        found = []
    if not found:
        raise ValueError(f"seeds are written 5-16 or 7, not {text!r}")
    return found


def _as_written(text: str | int) -> str | int:
    seeds_of(text)
    return text


Seeds = Annotated[str | int, AfterValidator(_as_written)]
"""Seeds as `seeds_of` reads them."""


class SeedGroup(_Strict):
    """Some seeds of an arm and the measurements taken of them (fields of `Experiment`)."""

    seeds: Seeds
    measured: dict[str, Any] = {}


class Arm(_Strict):
    """Searches that differ in their seed: fields of `Experiment` common to all,
    and the measurements of parts of them.

    setting: a name in the plan's settings, from which these fields depart; of `recipe`, field by
    field. final: fields of `Evaluation`; the cell of every search is then trained, too, with the
    search's seed. block: arms of one block are computed by turns, seed by seed. registered: the
    commit that fixed these searches, if an earlier part of the plan has done so.
    """

    name: str
    block: int
    setting: str
    search: dict[str, Any]
    parts: tuple[SeedGroup, ...]
    final: dict[str, Any] = {}
    registered: str | None = None

    def experiments(self, settings: Mapping[str, Mapping[str, Any]]) -> dict[int, Experiment]:
        """The searches by seed. Raises ValueError where a field or a value cannot be."""
        common = settings[choose(f"setting of arm {self.name}", self.setting, settings)]
        recipe = {**common.get("recipe", {}), **self.search.get("recipe", {})}
        fields = {**common, **self.search, "recipe": recipe}
        found = {}
        for part in self.parts:
            for seed in seeds_of(part.seeds):
                found[seed] = Experiment(seed=seed, **{**fields, **part.measured})
        return found

    def seeds(self) -> list[int]:
        """Seeds of all its searches."""
        return [seed for part in self.parts for seed in seeds_of(part.seeds)]

    def evaluation(self, experiment: Experiment, genotype: str) -> Evaluation:
        """The final network of a search's cell."""
        shared = ("space", "dataset", "resolution", "precision", "seed")
        common = {name: getattr(experiment, name) for name in shared}
        return Evaluation(genotype=genotype, **{**common, **self.final})


class Trained(NamedTuple):
    """One run of an arm of networks: its cell, in words, and the seed of the training."""

    cell: str
    seed: int

    def __str__(self) -> str:
        return f"{self.cell}, seed {self.seed}"


class Released(_Strict):
    """The architectures that were released with the LHD paper:
    those searched on a data set, under a policy.
    """

    searched: str
    policy: str

    @field_validator("policy")
    @classmethod
    def _check(cls, policy: str) -> str:
        return choose("policy", policy, POLICIES)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of methods, and of searches of each."""
        return len(lhd_architectures.RELEASED_METHODS), len(lhd_architectures.TRIALS)

    def names(self) -> list[str]:
        """Names of the cells, by method and trial."""
        cells = product(lhd_architectures.RELEASED_METHODS, lhd_architectures.TRIALS)
        return [f"{method}, trial {trial}" for method, trial in cells]

    def cells(self) -> list[str]:
        """The genotypes. Raises ValueError for a data set without."""
        return released_cells(self.searched, self.policy)

    def covariate(self, name: str) -> np.ndarray:
        """A column of the table of architectures: (methods, searches)."""
        return lhd_architectures.column(self.searched, name)


class Drawn(_Strict):
    """Random cells of a space; numbers: the seeds of the draws, written as seeds are."""

    space: str
    numbers: Seeds

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of networks."""
        return (len(seeds_of(self.numbers)),)

    def names(self) -> list[str]:
        """Names of the cells, by number."""
        return [f"number {number}" for number in seeds_of(self.numbers)]

    def cells(self) -> list[str]:
        """The genotypes."""
        return [
            lhd_architectures.random_cell(self.space, number) for number in seeds_of(self.numbers)
        ]


@cache
def released_cells(searched: str, policy: str) -> list[str]:
    """The released architectures of a data set under a policy,
    method by method and trial by trial.
    """
    cells = product(lhd_architectures.RELEASED_METHODS, lhd_architectures.TRIALS)
    return [str(lhd_architectures.genotype(searched, *cell, policy)) for cell in cells]


class Networks(_Strict):
    """Networks of given cells, each trained with every seed.

    networks: which cells. setting: a name in the plan's settings, which are fields of
    `Evaluation`, and beside them `capacity`, weights to which the channels are raised by steps of
    2, with `classes` of the data set (10). block, registered: see `Arm`.
    """

    name: str
    block: int
    setting: str
    networks: Released | Drawn
    seeds: Seeds
    registered: str | None = None

    def evaluations(self, settings: Mapping[str, Mapping[str, Any]]) -> dict[Trained, Evaluation]:
        """The trainings. Raises ValueError where a field or a value cannot be."""
        fields = dict(settings[choose(f"setting of arm {self.name}", self.setting, settings)])
        capacity = fields.pop("capacity", 0)
        classes = fields.pop("classes", 10)
        rule = Policy(channels=fields["channels"], cells=fields["cells"], capacity=capacity)
        found = {}
        for name, cell in zip(self.networks.names(), self.networks.cells(), strict=True):
            if capacity:
                fields["channels"] = channels_of(Genotype.parse(cell), rule, classes)
            for seed in seeds_of(self.seeds):
                found[Trained(name, seed)] = Evaluation(genotype=cell, seed=seed, **fields)
        return found


class Hypothesis(_Strict):
    """One test: of a measure in some arms, whether its statistic is above a number.

    test: a name in `estimates.TESTS` or `comparisons.TESTS`; of: one in `searches.OF_SEARCHES` or
    OF_NETWORKS. arms: as many as the test takes; one of several names: their searches taken
    together. interest: the smallest effect of interest; an interval wholly below it is a
    refutation. seeds: only these. at_least: searches per arm without which there is no verdict.
    method: the one that is compared with the control. against: a column of the table of
    architectures that the measure is compared with.
    """

    test: str
    of: str
    arms: tuple[str | tuple[str, ...], ...] = Field(min_length=1, max_length=4)
    above: float = 0.0
    interest: float | None = None
    seeds: str | int | None = None
    at_least: int | None = None
    method: str | None = None
    against: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Hypothesis":
        choose("test", self.test, TESTS)
        choose("measure", self.of, measures.MEASURES)
        if self.method is not None:
            choose("method", self.method, lhd_architectures.RELEASED_METHODS[1:])
        if self.against is not None:
            choose("column", self.against, lhd_architectures.architectures().columns)
        if (self.interest is None) != (self.test in ("described", "equivalent")):
            raise ValueError(
                "a test needs its smallest effect of interest, but for described and equivalent:"
                f" {self}"
            )
        return self

    @property
    def fewest(self) -> int:
        """Searches per arm without which there is no verdict."""
        if self.at_least is not None:
            return self.at_least
        return FEWEST_ACCURACIES if self.of in measures.ACCURACIES else FEWEST

    def groups(self) -> list[tuple[str, ...]]:
        """The names of the arms that are taken together, for each of the samples."""
        return [(group,) if isinstance(group, str) else group for group in self.arms]


class PlannedClaim(_Strict):
    """A sentence of a paper and the tests that must all pass for it (their largest p counts).

    statistic: what is tested, in words. pilot: the claims of the first study that it follows.
    """

    claim: str
    sentence: str
    statistic: str
    role: Literal["primary", "secondary"]
    tests: tuple[Hypothesis, ...] = Field(min_length=1)
    pilot: tuple[str, ...] = ()


class Study(_Strict):
    """A part of the plan. registered: the commit that fixed it.
    deviations: what was changed and why. remarks: by paper and claim, what an outcome does not
    say; written after the runs.
    """

    registered: str | None
    deviations: tuple[str, ...] = ()
    remarks: dict[str, dict[str, str]] = Field(default_factory=dict)
    settings: dict[str, dict[str, Any]]
    arms: tuple[Arm | Networks, ...]
    claims: dict[str, tuple[PlannedClaim, ...]]

    @model_validator(mode="after")
    def _check(self) -> "Study":
        known = {arm.name: arm for arm in self.arms}
        for arm in self.arms:
            seeds = arm.seeds() if isinstance(arm, Arm) else seeds_of(arm.seeds)
            _distinct(f"seeds of arm {arm.name}", seeds)
        _distinct("names of arms", [arm.name for arm in self.arms])
        for claims in self.claims.values():
            _distinct("names of claims", [claim.claim for claim in claims])
            for claim in claims:
                for hypothesis in claim.tests:
                    self._check_sizes(hypothesis, known)
        for paper, remarks in self.remarks.items():
            names = [claim.claim for claim in self.claims[choose("paper", paper, self.claims)]]
            for name in remarks:
                choose("claim", name, names)
        return self

    def remark(self, paper: str, claim: str) -> str:
        """What the outcome of a claim does not say; empty if nothing was remarked."""
        return self.remarks.get(paper, {}).get(claim, "")

    def _check_sizes(self, hypothesis: Hypothesis, known: Mapping[str, Arm | Networks]) -> None:
        for group in hypothesis.groups():
            arms = [known[choose("arm", name, known)] for name in group]
            count = sum(len(chosen(hypothesis, arm)) for arm in arms)
            if count < hypothesis.fewest:
                raise ValueError(
                    f"{' + '.join(group)} has {count} seeds for {hypothesis.of}:"
                    f" {hypothesis.fewest} needed"
                )

    def arm(self, name: str) -> Arm | Networks:
        """The arm of that name. Raises ValueError naming the nearest one."""
        known = {arm.name: arm for arm in self.arms}
        return known[choose("arm", name, known)]

    def registered_by(self, name: str) -> str | None:
        """The commit from which on runs of this arm count."""
        return self.arm(name).registered or self.registered

    def searches(self) -> Iterator[tuple[Arm, int, Experiment]]:
        """All searches in the order in which they are computed."""
        found = []
        for arm in self.arms:
            if isinstance(arm, Arm):
                experiments = arm.experiments(self.settings)
                found += [(arm, seed, experiment) for seed, experiment in experiments.items()]
        yield from sorted(found, key=lambda search: (search[0].block, search[1]))

    def evaluations(self) -> Iterator[tuple[Networks, Trained, Evaluation]]:
        """All trainings of networks that no search of the plan finds,
        in the order in which they are computed.
        """
        found = []
        for arm in self.arms:
            if isinstance(arm, Networks):
                trainings = arm.evaluations(self.settings)
                found += [(arm, which, training) for which, training in trainings.items()]
        yield from sorted(found, key=lambda training: (training[0].block, training[1].seed))


def chosen(hypothesis: Hypothesis, arm: Arm | Networks) -> list[int] | list[Trained]:
    """The runs of an arm that a test takes: seeds of searches;
    of networks cells by seeds, the seeds moving first.
    """
    seeds = arm.seeds() if isinstance(arm, Arm) else seeds_of(arm.seeds)
    if hypothesis.seeds is not None:
        asked = seeds_of(hypothesis.seeds)
        seeds = [seed for seed in seeds if seed in asked]
    if isinstance(arm, Arm):
        return seeds
    return [Trained(cell, seed) for cell in arm.networks.names() for seed in seeds]


def _distinct(what: str, values: Sequence[Any]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1}, key=str)
    if twice:
        raise ValueError(f"{what} must differ: {twice} more than once")


def read(file: Path = paths.ROOT / FILE) -> dict[str, Study]:
    """The parts of the plan by name. Raises ValueError for what cannot be, naming it."""
    return _parse(file.read_text())


def _parse(text: str) -> dict[str, Study]:
    return {name: Study.model_validate(part) for name, part in yaml.safe_load(text).items()}


# Registration


def changes(part: str, file: Path = paths.ROOT / FILE) -> list[str]:
    """What of a part differs from what was registered: names of its fields; empty if nothing does.

    Raises ValueError if the part is not registered, or its commit is not in this clone.
    """
    now = read(file)[part]
    if now.registered is None:
        raise ValueError(f"the part {part!r} of {FILE} is not registered yet")
    then = _parse(_git("show", f"{now.registered}:{FILE}"))[part]
    fixed = Study.model_fields.keys() - {"registered", "deviations", "remarks"}
    return sorted(name for name in fixed if getattr(now, name) != getattr(then, name))


@cache
def later_commits(registered: str) -> frozenset[str] | None:
    """The registered commit and those that were built on it, twelve digits each;
    None where that history is not.
    """
    try:
        first = _git("rev-parse", registered).strip()
        later = _git("rev-list", "--ancestry-path", f"{registered}..HEAD").split()
    except ValueError:
        return None
    return frozenset(commit[:12] for commit in (first, *later))


def refusal(stamp: Mapping[str, Any], registered: str) -> str | None:
    """Why a run does not count, by its stamp:
    of code before the registered commit or in no commit. None if it does.

    Every process that computed a part of it is asked. Without the repository's history (an
    archive, a shallow clone) the first of these cannot be told.
    """
    known = later_commits(registered)
    for part in (*stamp.get("before", ()), stamp):
        commit = part.get("commit") or "unknown"
        if commit.endswith("-dirty"):
            return f"computed by code that is in no commit ({commit})"
        if known is not None and commit not in known:
            return f"computed by commit {commit}, which is not built on the registered one"
    return None


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(
            f"git {' '.join(arguments)} failed: the registered plan needs the repository's history"
        ) from error
    return done.stdout
