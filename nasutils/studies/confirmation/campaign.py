"""Computing what the plan names and is not there: in its order, side by side, resumable;
and its state at any time.

A run that fails or is damaged does not stop the others; the next start tries it again. A damaged
one is set aside, as `<folder>.damaged`, not deleted.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from math import ceil, isnan, nan
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from nasutils import data, paths
from nasutils.runs import Run, set_aside
from nasutils.studies.confirmation.outcomes import ArmKey, Results
from nasutils.studies.confirmation.plan import Arm, Study
from nasutils.sweep.launch import sweep
from nasutils.sweep.live import Lines
from nasutils.sweep.planning import seconds
from nasutils.sweep.pool import Task, home_of, name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

Planned = Experiment | Evaluation
"""A task of the plan."""


def scale_of(task: Planned) -> str:
    """Where a run of the plan is kept: those on full-size images are of paper scale."""
    return "laptop" if task.resolution else "paper"


@cache
def _why_absent(name: str, where: Path | None, download: bool) -> str | None:
    """Why images cannot be had, None where they can: looked for once."""
    return data.missing(name, where, download=download)


class Waiting(NamedTuple):
    """A run that can be computed now."""

    key: ArmKey
    task: Task


class Found(NamedTuple):
    """The finished runs at one moment, and the tasks of those that are missing: searches, and
    networks whose cells are known.
    """

    searches: dict[ArmKey, Run]
    networks: dict[ArmKey, Run]
    missing: dict[ArmKey, Planned]


@dataclass(frozen=True)
class Campaign:
    """The runs of a part of the plan at one scale, in a folder;
    finished ones of the repository count as well.

    own: paths of own data. A plan names such data by their content, so its runs are found without
    them.

    What is finished may change between two calls, so a call looks once and hands it on.
    """

    study: Study
    machine: Machine
    scale: str = "laptop"
    own: Sequence[Path] = ()

    def searches(self) -> dict[ArmKey, Experiment]:
        """The searches of this scale, in the order in which they are computed."""
        return {(arm.name, seed): search for arm, seed, search in self._planned}

    def networks(self, found: Mapping[ArmKey, Run]) -> dict[ArmKey, Evaluation]:
        """The networks of cells that these searches found, and of cells that the plan names.

        found: the finished searches, see `finished`.
        """
        of_searches = {}
        for arm, seed, search in self._planned:
            run = found.get((arm.name, seed)) if arm.final else None
            if run and (result := run.sound_result):
                of_searches[arm.name, seed] = arm.evaluation(search, result["genotype"])
        return of_searches | self._given

    @cached_property
    def _planned(self) -> list[tuple[Arm, int, Experiment]]:
        """The searches of this scale, each with its arm and seed."""
        every = self.study.searches()
        return [(arm, seed, task) for arm, seed, task in every if scale_of(task) == self.scale]

    @cached_property
    def _given(self) -> dict[ArmKey, Evaluation]:
        """The networks of cells that the plan names."""
        located = {data.content(str(path)): path for path in self.own}
        found = {}
        for arm, which, training in self.study.evaluations():
            if scale_of(training) == self.scale:
                dataset = located.get(training.content, training.dataset)
                found[arm.name, which] = replace(training, dataset=dataset)
        return found

    def arms(self) -> dict[str, int]:
        """Number of planned runs by arm. The final networks of an arm of searches, those of
        searches to come as well, count as an arm of their own.
        """
        found = Counter[str]()
        for arm, _, _ in self._planned:
            found[arm.name] += 1
            if arm.final:
                found[self._counted(arm.name, network=True)] += 1
        return found + Counter(name for name, _ in self._given)

    def run(self, task: Task) -> Run | None:
        """The finished run of a task, wherever it is. None if it is not finished or damaged."""
        for root in dict.fromkeys([self.machine.runs, paths.runs(self.scale)]):
            run = Run(root / name_of(task))
            if run.finished:
                return run
        return None

    def finished(self, tasks: Mapping[ArmKey, Task]) -> dict[ArmKey, Run]:
        """The runs of those of these tasks that are finished, see `run`."""
        found = {}
        for key, task in tasks.items():
            if run := self.run(task):
                found[key] = run
        return found

    def found(self) -> Found:
        """What is finished now, and what is missing."""
        searches = self.searches()
        searched = self.finished(searches)
        networks = self.networks(searched)
        trained = self.finished(networks)
        # The network of a search has its key: it is missing only where the search is not.
        missing: dict[ArmKey, Planned] = {}
        missing |= {key: task for key, task in searches.items() if key not in searched}
        missing |= {key: task for key, task in networks.items() if key not in trained}
        return Found(searched, trained, missing)

    def results(self) -> Results:
        """What the plan says of the runs that are finished."""
        found = self.found()
        return Results(self.study, found.searches, found.networks)

    def left(self) -> dict[ArmKey, Planned]:
        """Runs that are not finished and could be computed:
        searches, and networks whose cells are known.
        """
        return self._with_images(self.found().missing)

    def _with_images(self, missing: Mapping[ArmKey, Planned]) -> dict[ArmKey, Planned]:
        """Those whose images can be had."""
        absent = self._absent(missing)
        return {key: task for key, task in missing.items() if str(task.dataset) not in absent}

    def _absent(self, missing: Mapping[ArmKey, Planned]) -> dict[str, str]:
        """Why the images of a data set cannot be had, by its name; its runs wait."""
        where, download = self.machine.data, self.machine.download
        names = sorted({str(task.dataset) for task in missing.values()})
        reasons = {name: _why_absent(name, where, download) for name in names}
        return {name: reason for name, reason in reasons.items() if reason}

    def compute(self, workers: int, engine: str = "local", gpus: float = 0.0) -> None:
        """Compute all that is left, `workers` runs side by side, see `sweep`,
        printing a line whenever one ends.

        Block by block, a block's networks after its searches: so claims come to an end early.
        """
        self._set_damaged_aside()
        tried: set[str] = set()
        while waiting := self._next(tried):
            labels = {name: self._label(run.key, run.task) for name, run in waiting.items()}
            tried |= labels.keys()
            tasks = [run.task for run in waiting.values()]
            sweep(tasks, self.machine, workers, engine, gpus, watch=Lines(labels))
        print(self.status(workers))

    def _next(self, tried: Collection[str]) -> dict[str, Waiting]:
        """The runs that can be computed now, by name: what is left of the first block.

        Asked anew each time: a search that has finished adds its network.
        """
        left = {name_of(task): Waiting(key, task) for key, task in self.left().items()}
        blocks = {}
        for name, run in left.items():
            arm, _ = run.key
            if name not in tried:
                blocks[name] = self.study.arm(arm).block
        first = min(blocks.values(), default=None)
        return {name: left[name] for name, block in blocks.items() if block == first}

    def _set_damaged_aside(self) -> None:
        searches = self.searches()
        networks = self.networks(self.finished(searches))
        tasks: list[Task] = [*searches.values(), *networks.values()]
        for task in tasks:
            set_aside(home_of(task, self.machine))

    def status(self, workers: int) -> str:
        """In words: what is done, what failed or does not count,
        and how long the rest will take.
        """
        found = self.found()
        results = Results(self.study, found.searches, found.networks)
        absent = self._absent(found.missing)
        done = self._done(results)
        wanted = self.arms()
        lines = [f"{'arm':32} done   of"]
        lines += [f"{name:32} {done[name]:4} {number:4}" for name, number in wanted.items()]
        lines += [f"left out, {name}: {reason}" for name, reason in absent.items()]
        if absent:
            lines.append("here --data says in which folder images lie, --own where own data do")
        for name, reason in results.refused.items():
            lines.append(
                f"does not count: {name}: {reason}; without its folder it is computed anew"
            )
        lines += [f"failed: {label}: {error}" for label, error in self._failures(found.missing)]
        lines += self._where(results)
        outlook = self._outlook(results, found.missing, workers)
        lines.append(f"{done.total()} of {sum(wanted.values())} runs finished, {outlook}")
        return "\n".join(lines)

    def _where(self, results: Results) -> Iterator[str]:
        """How many finished runs lie in the machine's folder, if that is not the repository's."""
        root = self.machine.runs
        if root.resolve() != paths.runs(self.scale):
            runs = chain(results.searches.values(), results.networks.values())
            here = sum(run.path.parent == root for run in runs)
            yield f"{here} of the finished runs lie in {root}, the others in the repository"

    def _counted(self, arm: str, network: bool) -> str:
        """What `arms` counts a run of an arm under."""
        of_search = network and isinstance(self.study.arm(arm), Arm)
        return f"{arm}, final networks" if of_search else arm

    def _label(self, key: ArmKey, task: Task) -> str:
        arm, which = key
        counted = self._counted(arm, isinstance(task, Evaluation))
        return f"{counted}, seed {which}" if isinstance(which, int) else f"{counted}, {which}"

    def _done(self, results: Results) -> Counter[str]:
        """The number of finished runs by arm, as `arms`."""
        searches = [self._counted(arm, network=False) for arm, _ in results.searches]
        networks = [self._counted(arm, network=True) for arm, _ in results.networks]
        return Counter(searches + networks)

    def _outlook(self, results: Results, missing: Mapping[ArmKey, Planned], workers: int) -> str:
        hours = self._seconds_left(results, missing) / workers / 3600
        if isnan(hours):
            return "time left not known yet"
        there = " once the images are there" if self._absent(missing) else ""
        return f"about {ceil(hours)} h left on {workers} processes{there}"

    def _failures(self, missing: Mapping[ArmKey, Planned]) -> Iterator[tuple[str, str]]:
        """Runs that ended in an error or are damaged, each with what is wrong."""
        for key, task in self._with_images(missing).items():
            if failure := home_of(task, self.machine).failure:
                yield self._label(key, task), failure["error"]

    def _seconds_left(self, results: Results, missing: Mapping[ArmKey, Planned]) -> float:
        """Seconds that the missing runs will take, by the mean of what the finished runs of their
        arm took (see `arms`), or of all arms where none is finished.
        """
        costs = defaultdict(list)
        for network, runs in ((False, results.searches), (True, results.networks)):
            for (arm, _), run in runs.items():
                costs[self._counted(arm, network)].append(seconds(run.records))
        usual = list(chain(*costs.values()))
        if not usual:
            return nan
        return sum(fmean(costs[arm] or usual) for arm in self._arms_of(missing))

    def _arms_of(self, missing: Mapping[ArmKey, Planned]) -> Iterator[str]:
        """What each missing run is counted under, those of networks to come as well."""
        for (name, _), task in missing.items():
            network = isinstance(task, Evaluation)
            yield self._counted(name, network)
            arm = self.study.arm(name)
            if not network and isinstance(arm, Arm) and arm.final:
                yield self._counted(name, network=True)
