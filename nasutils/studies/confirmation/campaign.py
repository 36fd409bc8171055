"""Computing what the plan names and is not there: in its order, side by side, resumable; and its state at any time.

A run that fails or is damaged does not stop the others; the next start tries it again. A damaged one is set aside, as
`<folder>.damaged`, not deleted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from math import ceil, isnan, nan
from pathlib import Path
from statistics import fmean

from nasutils import paths
from nasutils.runs import BadRun, Run
from nasutils.studies.confirmation.outcomes import ArmSeed, Results
from nasutils.studies.confirmation.plan import Study
from nasutils.sweep.launch import States, sweep
from nasutils.sweep.planning import seconds
from nasutils.sweep.pool import Task, home_of, name_of
from nasutils.training.experiment import Machine
from nasutils.training.finalnet import Evaluation


def scale_of(task: Task) -> str:
    """Where a run of the plan is kept: those on full-size images are of paper scale."""
    return "laptop" if task.params()["resolution"] else "paper"


@dataclass(frozen=True)
class Campaign:
    """The runs of a part of the plan at one scale, in a folder; finished ones of the repository count as well."""

    study: Study
    machine: Machine
    scale: str = "laptop"

    def searches(self) -> dict[ArmSeed, Task]:
        """In the order in which they are computed."""
        found = {(arm.name, seed): search for arm, seed, search in self.study.searches()}
        return {key: search for key, search in found.items() if scale_of(search) == self.scale}

    def networks(self) -> dict[ArmSeed, Evaluation]:
        """Of the searches that are finished."""
        networks = {}
        for arm, seed, search in self.study.searches():
            if arm.final and scale_of(search) == self.scale:
                run = self.run(search)
                if run and run.result:
                    networks[arm.name, seed] = arm.evaluation(search, run.result["genotype"])
        return networks

    def wanted(self) -> int:
        """All runs, final networks of searches to come among them."""
        arms = Counter(name for name, _ in self.searches())
        return sum(number * (2 if self.study.arm(name).final else 1) for name, number in arms.items())

    def run(self, task: Task) -> Run | None:
        """The finished run of a task, wherever it is. None if it is not finished or damaged."""
        for root in (Path(self.machine.runs), paths.runs(self.scale)):
            run = Run(root / name_of(task))
            if run.finished:
                return run
        return None

    def results(self) -> Results:
        """What is finished."""
        return Results(self.study, self._finished(self.searches()), self._finished(self.networks()))

    def _finished(self, tasks: Mapping[ArmSeed, Task]) -> dict[ArmSeed, Run]:
        runs = {key: self.run(task) for key, task in tasks.items()}
        return {key: run for key, run in runs.items() if run}

    def left(self) -> dict[ArmSeed, Task]:
        """Searches that are not finished; when all are, final networks that are not."""
        for tasks in (self.searches(), self.networks()):
            if missing := {key: task for key, task in tasks.items() if self.run(task) is None}:
                return missing
        return {}

    def compute(self, workers: int) -> None:
        """Compute all that is left, `workers` runs side by side, printing a line whenever one ends."""
        self._set_damaged_aside()
        for _ in ("searches", "networks"):
            tasks = self.left()
            names = {name_of(task): f"{arm}, seed {seed}" for (arm, seed), task in tasks.items()}
            sweep(list(tasks.values()), self.machine, workers, watch=_Printer(names))
            print(self.status(workers))

    def _set_damaged_aside(self) -> None:
        for task in [*self.searches().values(), *self.networks().values()]:
            home = home_of(task, self.machine)
            try:
                _ = home.result
            except BadRun as error:
                aside = _unused(home.path)
                home.path.rename(aside)
                print(f"set aside as {aside.name}: {error}")

    def status(self, workers: int) -> str:
        """In words: what is done, what failed or does not count, and how long the rest will take."""
        results, lines = self.results(), [f"{'arm':32} done   of"]
        for name, number in Counter(name for name, _ in self.searches()).items():
            lines.append(_line(name, name, results.searches, number))
            if self.study.arm(name).final:
                lines.append(_line(f"{name}, final networks", name, results.networks, number))
        lines += [f"does not count: {name}: {reason}" for name, reason in results.refused.items()]
        lines += [f"failed: {arm}, seed {seed}: {error}" for (arm, seed), error in self.failures()]
        finished = len(results.searches) + len(results.networks)
        left = self._seconds_left(results) / workers / 3600
        outlook = "time left not known yet" if isnan(left) else f"about {ceil(left)} h left on {workers} processes"
        return "\n".join([*lines, f"{finished} of {self.wanted()} runs finished, {outlook}"])

    def failures(self) -> Iterator[tuple[ArmSeed, str]]:
        """Runs that ended in an error or are damaged, with it."""
        for key, task in self.left().items():
            if failure := home_of(task, self.machine).failure:
                yield key, failure["error"]

    def _seconds_left(self, results: Results) -> float:
        """By the mean of what the finished searches of an arm took, or of all arms where none is finished."""
        costs = defaultdict(list)
        for (name, _), run in results.searches.items():
            costs[name].append(seconds(run.records))
        usual = [cost for arm in costs.values() for cost in arm]
        return sum(fmean(costs[name] or usual) for name, _ in self.left()) if usual else nan


def _unused(path: Path) -> Path:
    """A name for a damaged folder that no other one has: `<folder>.damaged`, `<folder>.damaged1`, ..."""
    names = (path.with_name(f"{path.name}.damaged{i or ''}") for i in count())
    return next(name for name in names if not name.exists())


def _line(text: str, arm: str, found: Mapping[ArmSeed, Run], number: int) -> str:
    return f"{text:32} {sum(name == arm for name, _ in found):4} {number:4}"


class _Printer:
    """Prints a line for every run that ends."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names, self.ended = names, set[str]()

    def __call__(self, states: States) -> None:
        over = {name for name, state in states.items() if state in ("finished", "failed")}
        for name in sorted(over - self.ended):
            print(f"{states[name]}: {self.names[name]} ({name}); {len(over)} of {len(states)}", flush=True)
        self.ended = over
