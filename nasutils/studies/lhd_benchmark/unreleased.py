"""The three methods of which the LHD paper released nothing, searched by us. Exploratory.

DARTS-, Beta-DARTS and SurgeNAS are searched as far up a ladder as a day of two cores affords. A
rung is a number of images and of epochs; the highest one updates the weights about as often as the
paper's searches do, on small images and networks. Which rung is taken is said by three other
methods, whose released architectures differ most in the pilot: it is the one, of those that the
day affords, at which single searches of theirs are told apart best (the highest intraclass
correlation). That was fixed before any search of the higher rungs. The lowest rung is that of the
notebook's own searches, which are finished.

All networks are trained as in the registered study, by the same seeds, under `base`.

    python -m nasutils.studies.lhd_benchmark.unreleased run | status
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from nasutils.measures import comparisons
from nasutils.runs import Run
from nasutils.studies import exploratory
from nasutils.studies.confirmation import plan
from nasutils.studies.exploratory import Key
from nasutils.studies.lhd_benchmark.released import Condition, Conditions
from nasutils.studies.lhd_benchmark.variants import SPACE, final_mix, searches
from nasutils.studies.readings import listed
from nasutils.sweep.pool import Task, home_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

LADDER = ("DARTS", "GDAS", "GAEA-ERM")
OURS = ("DARTS-", "Beta-DARTS", "SurgeNAS")
RUNGS = ((1, 1), (2, 2), (5, 4), (14, 8))
"""How many times as many images and epochs as the notebook's own searches."""
TRIALS = range(5)
"""Seeds of the searches; as many as were released of the other methods."""
TRAININGS = (1, 2)
"""Seeds of the trainings; those of the registered arm `CIFAR-10, base`."""
DAY = 48.0
"""Core-hours of a day of two cores."""


class Searched(NamedTuple):
    """A search: label of the method, place of the rung, seed."""

    method: str
    rung: int
    trial: int


@dataclass(frozen=True)
class LadderRuns:
    """The ladder, and the searches at the rung that it chooses.

    setting: of all searches, see `variants.searches`, those of the lowest rung. training: fields
    of `Evaluation`.
    """

    setting: Mapping[str, Any]
    training: Mapping[str, Any]
    rungs: Sequence[tuple[int, int]] = RUNGS
    trials: Sequence[int] = TRIALS
    names: ClassVar = ("ladder", "its networks", "searches", "their networks")
    core_hours: ClassVar[int] = 43
    """At laptop scale, of a busy core: 21 for the searches at the highest rung, 18 for the ladder,
    from the time of a search step; 4 for the networks."""

    @property
    def cost(self) -> str:
        """What is computed, in words."""
        trials, rungs = len(self.trials), len(self.rungs)
        return (
            f"{rungs * trials} searches of each of three methods on a ladder of {rungs} rungs,"
            f" {trials} of each of three others at the rung that it chooses, and two networks of"
            " each"
        )

    def searches(self, labels: Sequence[str], rung: int) -> dict[Searched, Experiment]:
        """All trials of some methods on a rung."""
        images, epochs = self.sizes(rung)
        setting = {**self.setting, "images": images, "epochs": epochs}
        dataset = self.training["dataset"]
        found = searches(labels, [dataset], self.trials, ["released"], **setting)
        return {Searched(key.method, rung, key.seed): task for key, task in found.items()}

    def sizes(self, rung: int) -> tuple[int, int]:
        """Images and epochs of the searches on a rung."""
        images, epochs = self.rungs[rung]
        return self.setting["images"] * images, self.setting["epochs"] * epochs

    def networks(
        self, searched: Mapping[Searched, Experiment], machine: Machine
    ) -> dict[tuple[Searched, int], Evaluation]:
        """The trainings of the networks of those searches that are finished."""
        found = {}
        for key, search in searched.items():
            run = home_of(search, machine)
            if run.finished:
                cell = str(SPACE.discretize(final_mix(search, run), "base"))
                for seed in TRAININGS:
                    found[key, seed] = Evaluation(genotype=cell, seed=seed, **self.training)
        return found

    def ladder(self) -> dict[Searched, Experiment]:
        """The searches of the ladder, from the lowest rung up."""
        found: dict[Searched, Experiment] = {}
        for rung in range(len(self.rungs)):
            found |= self.searches(LADDER, rung)
        return found

    def stages(self, machine: Machine) -> Iterator[Mapping[Key, Task]]:
        """The ladder's searches and networks, then ours, which wait for the ladder."""
        ladder = self.ladder()
        yield _named(ladder)
        yield _trained(self.networks(ladder, machine))
        rung = self.chosen(machine)
        ours = {} if rung is None else self.searches(OURS, rung)
        yield _named(ours)
        yield _trained(self.networks(ours, machine))

    def condition(self, labels: Sequence[str], rung: int, machine: Machine) -> Condition | None:
        """What the networks of some methods reach; None before all of them are trained."""
        searched = self.searches(labels, rung)
        trained = self.networks(searched, machine)
        results = [home_of(task, machine).sound_result for task in trained.values()]
        done = [result for result in results if result]
        if len(done) < len(searched) * len(TRAININGS):
            return None

        def means(name: str) -> np.ndarray:
            """Means over the trainings: (methods, trials)."""
            values = np.array([result[name] for result in done])
            return values.reshape(len(labels), len(self.trials), len(TRAININGS)).mean(axis=-1)

        return Condition(tuple(labels), means("test_accuracy"), means("params"), "base")

    def core_hours_of(self, labels: Sequence[str], rung: int, machine: Machine) -> float:
        """CPU hours of a search, mean over those of some methods on a rung."""
        runs = [home_of(task, machine) for task in self.searches(labels, rung).values()]
        return float(np.mean([_cpu_seconds(run) for run in runs])) / 3600

    def climbed(self, machine: Machine) -> pd.DataFrame:
        """A row per rung that is complete: what it costs, and how well single searches are told
        apart.

        icc: intraclass correlation of single searches, with its interval. affordable: whether a
        day of two cores affords the searches of the three methods there.
        """
        rows = []
        for rung in range(len(self.rungs)):
            condition = self.condition(LADDER, rung, machine)
            if condition is None:
                continue
            images, epochs = self.sizes(rung)
            hours = self.core_hours_of(LADDER, rung, machine)
            row = {"rung": rung + 1, "images": images, "epochs": epochs, "core_hours": hours}
            row |= dict(zip(LADDER, condition.accuracy.mean(axis=1), strict=True))
            row |= _icc(condition.accuracy)
            row["icc_per_core_hour"] = row["icc"] / hours
            row["affordable"] = hours * len(OURS) * len(self.trials) <= DAY
            rows.append(row)
        return pd.DataFrame(rows)

    def chosen(self, machine: Machine) -> int | None:
        """The rung whose searches are told apart best, of those that the day affords, the higher
        one of equals; None before the ladder is complete.
        """
        return self._chosen_of(self.climbed(machine))

    def _chosen_of(self, ladder: pd.DataFrame) -> int | None:
        if len(ladder) < len(self.rungs):
            return None
        return int(_best(ladder)["rung"]) - 1

    def found(self, machine: Machine) -> tuple[pd.DataFrame, Conditions] | None:
        """The ladder (see `climbed`), and what the networks of both groups of methods reach at the
        rung that it chose. None, and a sentence, before all runs are there.
        """
        ladder = self.climbed(machine)
        rung = self._chosen_of(ladder)
        if rung is not None:
            both = self.condition((*LADDER, *OURS), rung, machine)
            if both is not None:
                return ladder, {f"rung {rung + 1}": both}
        exploratory.tell_missing("make unreleased", self.core_hours)
        return None


def campaign(p: Any) -> LadderRuns:
    """The searches and networks, made of the notebook's parameters. Networks are trained as in the
    registered study; at smoke scale as in the notebook, on a ladder of two rungs.
    """
    sizes = {"batch", "images", "epochs", "preset", "resolution", "evaluation", "channels"}
    setting = p.model_dump(include={*sizes, "cells", "precision"})
    if p.scale != "smoke":
        return LadderRuns(setting, plan.read()["lhd"].settings["short"])
    training = {
        "space": SPACE.name,
        "preset": "lhd-cifar10",
        "protocol": {"epochs": p.final_epochs, "batch": p.final_batch, "auxiliary": 0.0},
        "dataset": p.datasets[0],
        "resolution": p.resolution,
        "channels": p.final_channels,
        "cells": p.final_cells,
        "images": p.final_images,
    }
    return LadderRuns(setting, training, RUNGS[:2])


PARTS: exploratory.Parts = {"unreleased": ("lhd_benchmark", campaign)}


def reading(ladder: pd.DataFrame, conditions: Conditions, released: Condition) -> str:
    """The ladder in words, and what the methods reach at the rung that it chose, beside the
    networks of the released architectures, which were trained alike.
    """
    best = _best(ladder)
    ((name, condition),) = conditions.items()
    ours, theirs = condition.means(OURS), condition.means(LADDER)
    return (
        f"Of the rungs that a day affords, single searches are told apart best on {name}"
        f" ({best['images']:.0f} images, {best['epochs']:.0f} epochs): an ICC of {best['icc']:.2f}"
        f" [{best['icc_low']:.2f}, {best['icc_high']:.2f}]. There our searches end at"
        f" {_means(ours)}; the ladder's methods at {_means(theirs)}, and by the architectures that"
        f" were released at {_means(released.means(LADDER))}."
    )


def _means(accuracy: Mapping[str, float]) -> str:
    return listed(f"{mean:.1f} % ({label})" for label, mean in accuracy.items())


def _best(ladder: pd.DataFrame) -> pd.Series:
    """The rung that is chosen; of equal ones the higher."""
    from_the_top = ladder[ladder["affordable"]][::-1]
    first_of_highest = from_the_top["icc"].idxmax()
    return from_the_top.loc[first_of_highest]


def _named(searched: Mapping[Searched, Experiment]) -> dict[Key, Task]:
    found: dict[Key, Task] = {}
    for (method, rung, trial), task in searched.items():
        found[f"{method}, rung {rung + 1}", trial] = task
    return found


def _trained(networks: Mapping[tuple[Searched, int], Evaluation]) -> dict[Key, Task]:
    found: dict[Key, Task] = {}
    for ((method, rung, trial), seed), task in networks.items():
        found[f"network of {method}, rung {rung + 1}, trial {trial}", seed] = task
    return found


def _cpu_seconds(run: Run) -> float:
    """CPU seconds of the whole search; early runs say only how long they took."""
    costs = [record["cost"] for record in run.records]
    return sum(cost.get("cpu_seconds", cost["seconds"]) for cost in costs)


def _icc(accuracy: np.ndarray) -> dict[str, float]:
    """Intraclass correlation of single searches, from the reliability of means of k, with which
    it rises by Spearman and Brown's rule: R = k ICC / (1 + (k - 1) ICC).
    """
    k = accuracy.shape[1]
    found = comparisons.reliability([comparisons.once(accuracy)], 0.0)
    means = {"icc": found.estimate, "icc_low": found.low, "icc_high": found.high}
    return {name: reliable / (k - (k - 1) * reliable) for name, reliable in means.items()}


def main() -> None:
    """Parse and do."""
    exploratory.main("nasutils.studies.lhd_benchmark.unreleased", __doc__, PARTS)


if __name__ == "__main__":
    main()
