"""Computing what the plan names and is not there: in its order, side by side, resumable;
and its state at any time.

A run that fails or is damaged does not stop the others; the next start tries it again. A damaged
one is set aside, as `<folder>.damaged`, not deleted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count
from math import ceil, isnan, nan
from pathlib import Path
from statistics import fmean

from nasutils import data, paths
from nasutils.data import MissingData
from nasutils.runs import BadRun, Run
from nasutils.studies.confirmation.outcomes import Key, Results
from nasutils.studies.confirmation.plan import Arm, Study
from nasutils.sweep.launch import sweep
from nasutils.sweep.live import Lines
from nasutils.sweep.planning import seconds
from nasutils.sweep.pool import Task, home_of, name_of
from nasutils.training.experiment import Experiment, Machine
from nasutils.training.finalnet import Evaluation


def scale_of(task: Experiment | Evaluation) -> str:
    """Where a run of the plan is kept: those on full-size images are of paper scale."""
    return "laptop" if task.resolution else "paper"


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

    def searches(self) -> dict[Key, Experiment]:
        """In the order in which they are computed."""
        found = {(arm.name, seed): search for arm, seed, search in self.study.searches()}
        return {key: search for key, search in found.items() if scale_of(search) == self.scale}

    def networks(self) -> dict[Key, Evaluation]:
        """Those of searches that are finished, and those of cells that the plan names."""
        of_searches = {}
        for arm, seed, search in self.study.searches():
            if arm.final and scale_of(search) == self.scale:
                run = self.run(search)
                if run and run.result:
                    of_searches[arm.name, seed] = arm.evaluation(search, run.result["genotype"])
        return of_searches | self._given

    @cached_property
    def _given(self) -> dict[Key, Evaluation]:
        """The networks of cells that the plan names."""
        located = {data.content(str(path)): path for path in self.own}
        found = {(arm.name, which): training for arm, which, training in self.study.evaluations()}
        return {
            key: replace(training, dataset=located.get(training.content, training.dataset))
            for key, training in found.items()
            if scale_of(training) == self.scale
        }

    def arms(self) -> dict[str, int]:
        """The number of runs by arm; final networks, of searches to come as well,
        are arms of their own.
        """
        found = Counter[str]()
        for name, number in Counter(name for name, _ in self.searches()).items():
            found[name] = number
            arm = self.study.arm(name)
            if isinstance(arm, Arm) and arm.final:
                found[f"{name}, final networks"] = number
        return found + Counter(name for name, _ in self._given)

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why the images of a data set cannot be had, by its name; its runs wait."""
        tasks: list[Experiment | Evaluation] = [*self.searches().values(), *self._given.values()]
        sets = {str(task.dataset) for task in tasks if self.run(task) is None}
        return {name: reason for name in sorted(sets) if (reason := self._missing(name))}

    def _missing(self, dataset: str) -> str | None:
        try:
            data.load(dataset, self.machine.data, download=self.machine.download)
        except MissingData as error:
            return str(error)
        return None

    def run(self, task: Task) -> Run | None:
        """The finished run of a task, wherever it is. None if it is not finished or damaged."""
        for root in (Path(self.machine.runs), paths.runs(self.scale)):
            run = Run(root / name_of(task))
            if run.finished:
                return run
        return None

    def results(self) -> Results:
        """What is finished."""
        return Results(
            self.study, self._finished(self.searches()), self._finished(self.networks())
        )

    def _finished(self, tasks: Mapping[Key, Task]) -> dict[Key, Run]:
        runs = {key: self.run(task) for key, task in tasks.items()}
        return {key: run for key, run in runs.items() if run}

    def left(self) -> dict[Key, Experiment | Evaluation]:
        """Runs that are not finished and could be computed:
        searches, and networks whose cells are known.
        """
        tasks: dict[Key, Experiment | Evaluation] = {**self.searches(), **self.networks()}
        return {
            key: task
            for key, task in tasks.items()
            if self.run(task) is None and str(task.dataset) not in self.absent
        }

    def compute(self, workers: int) -> None:
        """Compute all that is left, `workers` runs side by side,
        printing a line whenever one ends.
        """
        self._set_damaged_aside()
        tried: set[str] = set()
        while tasks := {
            key: task for key, task in self.left().items() if name_of(task) not in tried
        }:
            names = {
                name_of(task): f"{arm}, {_worded(which)}" for (arm, which), task in tasks.items()
            }
            tried |= names.keys()
            sweep(list(tasks.values()), self.machine, workers, watch=Lines(names))
        print(self.status(workers))

    def _set_damaged_aside(self) -> None:
        tasks: list[Experiment | Evaluation] = [
            *self.searches().values(),
            *self.networks().values(),
        ]
        for task in tasks:
            home = home_of(task, self.machine)
            try:
                _ = home.result
            except BadRun as error:
                aside = _unused(home.path)
                home.path.rename(aside)
                print(f"set aside as {aside.name}: {error}")

    def status(self, workers: int) -> str:
        """In words: what is done, what failed or does not count,
        and how long the rest will take.
        """
        results, lines = self.results(), [f"{'arm':32} done   of"]
        done = Counter(name for name, _ in results.searches)
        for name, _ in results.networks:
            done[f"{name}, final networks" if isinstance(self.study.arm(name), Arm) else name] += 1
        wanted = self.arms()
        lines += [f"{name:32} {done[name]:4} {number:4}" for name, number in wanted.items()]
        lines += [f"left out, {name}: {reason}" for name, reason in self.absent.items()]
        lines += [f"does not count: {name}: {reason}" for name, reason in results.refused.items()]
        lines += [
            f"failed: {arm}, {_worded(which)}: {error}" for (arm, which), error in self.failures()
        ]
        left = self._seconds_left(results) / workers / 3600
        outlook = (
            "time left not known yet"
            if isnan(left)
            else f"about {ceil(left)} h left on {workers} processes"
        )
        return "\n".join(
            [*lines, f"{done.total()} of {sum(wanted.values())} runs finished, {outlook}"]
        )

    def failures(self) -> Iterator[tuple[Key, str]]:
        """Runs that ended in an error or are damaged, with it."""
        for key, task in self.left().items():
            if failure := home_of(task, self.machine).failure:
                yield key, failure["error"]

    def _seconds_left(self, results: Results) -> float:
        """By the mean of what the finished runs of an arm took,
        or of all arms where none is finished.
        """
        costs = defaultdict(list)
        for (name, _), run in chain(results.searches.items(), results.networks.items()):
            costs[name].append(seconds(run.records))
        usual = [cost for arm in costs.values() for cost in arm]
        return sum(fmean(costs[name] or usual) for name, _ in self.left()) if usual else nan


def _unused(path: Path) -> Path:
    """A name for a damaged folder that no other one has:
    `<folder>.damaged`, `<folder>.damaged1`, ...
    """
    names = (path.with_name(f"{path.name}.damaged{i or ''}") for i in count())
    return next(name for name in names if not name.exists())


def _worded(which: object) -> str:
    """What tells the runs of an arm apart."""
    return f"seed {which}" if isinstance(which, int) else str(which)
