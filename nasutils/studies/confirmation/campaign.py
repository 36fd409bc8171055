"""Computing what the plan names and is not there: in its order, side by side, resumable;
and its state at any time.

A run that fails or is damaged does not stop the others; the next start tries it again. A damaged
one is set aside, as `<folder>.damaged`, not deleted.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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


def scale_of(task: Experiment | Evaluation) -> str:
    """Where a run of the plan is kept: those on full-size images are of paper scale."""
    return "laptop" if task.resolution else "paper"


class Waiting(NamedTuple):
    """A run that can be computed now."""

    key: ArmKey
    task: Task


@dataclass(frozen=True)
class Campaign:
    """The runs of a part of the plan at one scale, in a folder;
    finished ones of the repository count as well.

    own: paths of own data. A plan names such data by their content, so its runs are found without
    them.
    """

    study: Study
    machine: Machine
    scale: str = "laptop"
    own: Sequence[Path] = ()

    def searches(self) -> dict[ArmKey, Experiment]:
        """The searches of this scale, in the order in which they are computed."""
        found = {}
        for arm, seed, search in self.study.searches():
            if scale_of(search) == self.scale:
                found[arm.name, seed] = search
        return found

    def networks(self) -> dict[ArmKey, Evaluation]:
        """The networks of cells that finished searches found, and of cells that the plan names."""
        of_searches = {}
        for arm, seed, search in self.study.searches():
            if not arm.final or scale_of(search) != self.scale:
                continue
            run = self.run(search)
            result = run.result if run else None
            if result:
                of_searches[arm.name, seed] = arm.evaluation(search, result["genotype"])
        return of_searches | self._given

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
        for name, _ in self.searches():
            found[name] += 1
            arm = self.study.arm(name)
            if isinstance(arm, Arm) and arm.final:
                found[self._counted(name, network=True)] += 1
        return found + Counter(name for name, _ in self._given)

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why the images of a data set cannot be had, by its name; its runs wait."""
        tasks: list[Experiment | Evaluation] = [*self.searches().values(), *self._given.values()]
        needed = {str(task.dataset) for task in tasks if self.run(task) is None}
        found = {}
        for name in sorted(needed):
            reason = data.missing(name, self.machine.data, download=self.machine.download)
            if reason is not None:
                found[name] = reason
        return found

    def run(self, task: Task) -> Run | None:
        """The finished run of a task, wherever it is. None if it is not finished or damaged."""
        for root in (self.machine.runs, paths.runs(self.scale)):
            run = Run(root / name_of(task))
            if run.finished:
                return run
        return None

    def results(self) -> Results:
        """What the plan says of the runs that are finished."""
        searches = self.finished(self.searches())
        networks = self.finished(self.networks())
        return Results(self.study, searches, networks)

    def finished(self, tasks: Mapping[ArmKey, Task]) -> dict[ArmKey, Run]:
        """The runs of those of these tasks that are finished, see `run`."""
        found = {}
        for key, task in tasks.items():
            if run := self.run(task):
                found[key] = run
        return found

    def left(self) -> dict[ArmKey, Experiment | Evaluation]:
        """Runs that are not finished and could be computed:
        searches, and networks whose cells are known.
        """
        found: dict[ArmKey, Experiment | Evaluation] = {}
        # The network of a search has its key, and takes its place: the search is finished.
        tasks: dict[ArmKey, Experiment | Evaluation] = {**self.searches(), **self.networks()}
        for key, task in tasks.items():
            if self.run(task) is None and str(task.dataset) not in self.absent:
                found[key] = task
        return found

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
        tasks: list[Task] = [*self.searches().values(), *self.networks().values()]
        for task in tasks:
            set_aside(home_of(task, self.machine))

    def status(self, workers: int) -> str:
        """In words: what is done, what failed or does not count,
        and how long the rest will take.
        """
        results = self.results()
        done = self._done(results)
        wanted = self.arms()
        lines = [f"{'arm':32} done   of"]
        lines += [f"{name:32} {done[name]:4} {number:4}" for name, number in wanted.items()]
        lines += [f"left out, {name}: {reason}" for name, reason in self.absent.items()]
        for name, reason in results.refused.items():
            lines.append(
                f"does not count: {name}: {reason}; without its folder it is computed anew"
            )
        lines += [f"failed: {label}: {error}" for label, error in self.failures()]
        outlook = self._outlook(results, workers)
        lines.append(f"{done.total()} of {sum(wanted.values())} runs finished, {outlook}")
        return "\n".join(lines)

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

    def _outlook(self, results: Results, workers: int) -> str:
        hours = self._seconds_left(results) / workers / 3600
        if isnan(hours):
            return "time left not known yet"
        without = ", without those left out" if self.absent else ""
        return f"about {ceil(hours)} h left on {workers} processes{without}"

    def failures(self) -> Iterator[tuple[str, str]]:
        """Runs that ended in an error or are damaged, each with what is wrong."""
        for key, task in self.left().items():
            if failure := home_of(task, self.machine).failure:
                yield self._label(key, task), failure["error"]

    def _seconds_left(self, results: Results) -> float:
        """Seconds that the runs that are left will take, by the mean of what the finished runs of
        their arm took (see `arms`), or of all arms where none is finished.
        """
        costs = defaultdict(list)
        for network, runs in ((False, results.searches), (True, results.networks)):
            for (arm, _), run in runs.items():
                costs[self._counted(arm, network)].append(seconds(run.records))
        usual = list(chain(*costs.values()))
        if not usual:
            return nan
        return sum(fmean(costs[arm] or usual) for arm in self._arms_left())

    def _arms_left(self) -> Iterator[str]:
        """What each run that is left is counted under, those of networks to come as well."""
        for (name, _), task in self.left().items():
            network = isinstance(task, Evaluation)
            yield self._counted(name, network)
            arm = self.study.arm(name)
            if not network and isinstance(arm, Arm) and arm.final:
                yield self._counted(name, network=True)
