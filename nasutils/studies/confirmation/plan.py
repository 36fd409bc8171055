"""The plan in params/confirmation.yaml: arms with their seeds, claims with their tests, and what was registered of it.

A plan has parts, each registered by itself, so that a later part leaves an earlier one alone. What is registered is all
of a part but for `registered` and `deviations`.
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nasutils import paths
from nasutils.errors import choose
from nasutils.measures import searches as measures
from nasutils.measures.estimates import TESTS
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

FILE = "params/confirmation.yaml"
FEWEST, FEWEST_ACCURACIES = 6, 10
"""Searches per arm without which there is no verdict, and those of accuracies, whose distribution has two humps."""


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


class Part(_Strict):
    """Some seeds of an arm and the measurements taken of them (fields of `Experiment`)."""

    seeds: str | int
    measured: dict[str, Any] = {}

    @field_validator("seeds")
    @classmethod
    def _check(cls, text: str | int) -> str | int:
        seeds_of(text)
        return text


class Arm(_Strict):
    """Searches that differ in their seed: fields of `Experiment` common to all, and the measurements of parts of them.

    setting: a name in the plan's settings, from which these fields depart; of `recipe`, field by field. final: fields
    of `Evaluation`; the cell of every search is then trained, too, with the search's seed. block: arms of one block are
    computed by turns, seed by seed.
    """

    name: str
    block: int
    setting: str
    search: dict[str, Any]
    parts: tuple[Part, ...]
    final: dict[str, Any] = {}

    def experiments(self, settings: Mapping[str, Mapping[str, Any]]) -> dict[int, Experiment]:
        """The searches by seed. Raises ValueError where a field or a value cannot be."""
        common = settings[choose(f"setting of arm {self.name}", self.setting, settings)]
        fields = {**common, **self.search, "recipe": {**common.get("recipe", {}), **self.search.get("recipe", {})}}
        return {
            seed: Experiment(seed=seed, **{**fields, **part.measured})
            for part in self.parts
            for seed in seeds_of(part.seeds)
        }

    def seeds(self) -> list[int]:
        """Of all its searches."""
        return [seed for part in self.parts for seed in seeds_of(part.seeds)]

    def evaluation(self, experiment: Experiment, genotype: str) -> Evaluation:
        """The final network of a search's cell."""
        common = {name: getattr(experiment, name) for name in ("space", "dataset", "resolution", "precision", "seed")}
        return Evaluation(genotype=genotype, **{**common, **self.final})


class Hypothesis(_Strict):
    """One test: of a measure in one arm or two, whether its statistic is above a number.

    test: a name in `estimates.TESTS`; of: one in `searches.OF_SEARCHES` or OF_NETWORKS. arms: one (of several names:
    their searches taken together) or two. interest: the smallest effect of interest; an interval wholly below it is a
    refutation. seeds: only these. at_least: searches per arm without which there is no verdict.
    """

    test: str
    of: str
    arms: tuple[str | tuple[str, ...], ...] = Field(min_length=1, max_length=2)
    above: float = 0.0
    interest: float | None = None
    seeds: str | None = None
    at_least: int | None = None

    @model_validator(mode="after")
    def _check(self) -> "Hypothesis":
        choose("test", self.test, TESTS)
        choose("measure", self.of, [*measures.OF_SEARCHES, *measures.OF_NETWORKS])
        if (self.interest is None) != (self.test in ("described", "equivalent")):
            raise ValueError(f"a test needs its smallest effect of interest, but for described and equivalent: {self}")
        return self

    @property
    def fewest(self) -> int:
        """Searches per arm without which there is no verdict."""
        if self.at_least is not None:
            return self.at_least
        return FEWEST_ACCURACIES if self.of in measures.ACCURACIES else FEWEST

    def groups(self) -> list[tuple[str, ...]]:
        """The names of the arms that are taken together, for each of the one or two samples."""
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
    """A part of the plan. registered: the commit that fixed it. deviations: what was changed and why."""

    registered: str | None
    deviations: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]]
    arms: tuple[Arm, ...]
    claims: dict[str, tuple[PlannedClaim, ...]]

    @model_validator(mode="after")
    def _check(self) -> "Study":
        known = {arm.name: arm for arm in self.arms}
        for arm in self.arms:
            _distinct(f"seeds of arm {arm.name}", arm.seeds())
        _distinct("names of arms", [arm.name for arm in self.arms])
        for claims in self.claims.values():
            _distinct("names of claims", [claim.claim for claim in claims])
            for hypothesis in (h for claim in claims for h in claim.tests):
                self._check_sizes(hypothesis, known)
        return self

    def _check_sizes(self, hypothesis: Hypothesis, known: Mapping[str, Arm]) -> None:
        for group in hypothesis.groups():
            arms = [known[choose("arm", name, known)] for name in group]
            count = sum(len(chosen_seeds(hypothesis, arm)) for arm in arms)
            if count < hypothesis.fewest:
                raise ValueError(
                    f"{' + '.join(group)} has {count} seeds for {hypothesis.of}: {hypothesis.fewest} needed"
                )

    def arm(self, name: str) -> Arm:
        """By its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def searches(self) -> Iterator[tuple[Arm, int, Experiment]]:
        """All searches in the order in which they are computed."""
        found = [(arm, *item) for arm in self.arms for item in arm.experiments(self.settings).items()]
        yield from sorted(found, key=lambda search: (search[0].block, search[1]))


def chosen_seeds(hypothesis: Hypothesis, arm: Arm) -> list[int]:
    """The seeds of an arm that a test takes."""
    wanted = None if hypothesis.seeds is None else seeds_of(hypothesis.seeds)
    return [seed for seed in arm.seeds() if wanted is None or seed in wanted]


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
    return [
        name
        for name in Study.model_fields
        if name not in ("registered", "deviations") and getattr(now, name) != getattr(then, name)
    ]


@cache
def later_commits(registered: str) -> frozenset[str] | None:
    """The registered commit and those that were built on it, twelve digits each; None where that history is not."""
    try:
        found = _git("rev-list", "--ancestry-path", f"{registered}..HEAD").split()
        return frozenset(commit[:12] for commit in [_git("rev-parse", registered).strip(), *found])
    except ValueError:
        return None


def refusal(stamp: Mapping[str, Any], registered: str) -> str | None:
    """Why a run does not count, by its stamp: of code before the registered commit or in no commit. None if it does.

    Without the repository's history (an archive, a shallow clone) the first of these cannot be told.
    """
    commit, known = stamp.get("commit") or "unknown", later_commits(registered)
    if commit.endswith("-dirty"):
        return f"computed by code that is in no commit ({commit})"
    if known is not None and commit not in known:
        return f"computed by commit {commit}, which is not built on the registered one"
    return None


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ValueError(
            f"git {' '.join(arguments)} failed: the registered plan needs the repository's history"
        ) from error
    return done.stdout
