"""What networks of the released architectures, and random ones, reach in short trainings: those of
the pilot, and those of the registered study where an arm of it is complete.

The registered study (`studies.confirmation`) is read as it is committed. An arm that is not
complete is not looked at, here as there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import nan

import numpy as np
from IPython.display import Markdown

from nasutils.spaces.lhd_final import finalnet_parameters
from nasutils.studies import lhd_architectures
from nasutils.studies.confirmation import outcomes, page, plan
from nasutils.studies.confirmation.outcomes import Outcome
from nasutils.studies.confirmation.plan import Drawn, Networks, Released
from nasutils.studies.lhd_architectures import ARM_OF_POLICY, TRIALS
from nasutils.studies.lhd_benchmark.results import noise
from nasutils.studies.lhd_benchmark.variants import METHODS, Training

PAPER = "lhd_benchmark"
LABELS = {name: label for label, name in METHODS.items()}
"""Name of a method as in `methods.get` -> label."""
DRAWS = "random draws"
"""Ends the name of an arm of random architectures: `CIFAR-10, base, random draws`."""
AGAIN = " on a CPU"
"""Ends the name of an arm that stands beside another one, for a test on one kind of machine."""
AS_PILOT = Training(channels=8, cells=4, capacity=30_000)
"""The size of the pilot's networks; how they were trained: `tables/README.md`."""


@dataclass(frozen=True)
class Condition:
    """Networks of the architectures that were released for a data set, trained alike.

    methods: labels, the control first. accuracy: of the test images after the last epoch (%), mean
    over the seeds of the training. parameters: of the networks. Both (methods, trials of the
    search). searched, target: data set of the search, and of training and test. draws: accuracy of
    further random architectures, which belong to the control: (networks,). trainings: of each
    network; noise: deviation between those of one network (points).
    """

    methods: tuple[str, ...]
    accuracy: np.ndarray
    parameters: np.ndarray
    policy: str
    searched: str = "cifar10"
    target: str = "cifar10"
    draws: np.ndarray | None = None
    trainings: int = 1
    noise: float = nan

    @property
    def controls(self) -> int:
        """How many architectures the control has."""
        _, searches = self.accuracy.shape
        return searches + (0 if self.draws is None else len(self.draws))

    def means(self, methods: Sequence[str]) -> dict[str, float]:
        """Mean accuracy (%) of each of these methods."""
        found = dict(zip(self.methods, self.accuracy.mean(axis=1), strict=True))
        return {method: found[method] for method in methods}


Conditions = Mapping[str, Condition]
"""Conditions by name, such as `CIFAR-10, base`."""


def pilot() -> dict[str, Condition]:
    """Conditions of the pilot: CIFAR-10 under `base`, and three methods of it under `1m`."""
    found = lhd_architectures.pilot_by_method()
    return {ARM_OF_POLICY[policy]: _condition(rows, policy) for policy, rows in found.items()}


def _condition(accuracy: Mapping[str, np.ndarray], policy: str) -> Condition:
    labels = tuple(LABELS[method] for method in accuracy)
    cells = product(accuracy, TRIALS)
    parameters = np.array([_parameters(method, trial, policy) for method, trial in cells])
    square = parameters.reshape(len(accuracy), len(TRIALS))
    return Condition(labels, np.stack(list(accuracy.values())), square, policy)


def _parameters(method: str, trial: int, policy: str) -> int:
    genotype = lhd_architectures.genotype("cifar10", method, trial, policy)
    channels, cells = AS_PILOT.size(genotype, policy, 10)
    return finalnet_parameters(genotype, channels, cells, 10)


class Registered:
    """The registered study of this paper, as far as it has run. parts: of the plan, see
    `page.committed`.
    """

    def __init__(self, parts: Sequence[outcomes.Results]) -> None:
        self.parts = [part for part in parts if PAPER in part.study.claims]

    @classmethod
    def read(cls) -> "Registered":
        """The study as it is in the committed runs."""
        return cls(page.parts_of(PAPER))

    @cached_property
    def conditions(self) -> dict[str, Condition]:
        """Conditions whose arm is complete, and complete with its random draws if it has any."""
        planned = {arm.name for part in self.parts for arm in part.study.arms}
        unfinished = planned - self._accuracy.keys()
        found = {}
        for part, arm in self._complete:
            if isinstance(arm.networks, Released) and f"{arm.name}, {DRAWS}" not in unfinished:
                found[arm.name] = self._condition(part, arm, arm.networks)
        return found

    def _condition(self, part: outcomes.Results, arm: Networks, networks: Released) -> Condition:
        control = self._accuracy.get(f"{arm.name}, {DRAWS}")
        accuracy = self._accuracy[arm.name]
        return Condition(
            methods=tuple(LABELS[name] for name in lhd_architectures.RELEASED_METHODS),
            accuracy=accuracy.mean(axis=-1),
            parameters=_column(part, arm, "params").mean(axis=-1),
            policy=networks.policy,
            searched=networks.searched,
            target=_target(part.study, arm),
            draws=None if control is None else control.mean(axis=-1),
            trainings=accuracy.shape[-1],
            noise=noise(accuracy.reshape(-1, accuracy.shape[-1])),
        )

    @cached_property
    def random(self) -> dict[str, np.ndarray]:
        """Accuracies (%) of random networks of a space, by arm, those that are complete:
        (networks, seeds).
        """
        found = {}
        for _, arm in self._complete:
            if isinstance(arm.networks, Drawn) and not arm.name.endswith(DRAWS):
                found[arm.name] = self._accuracy[arm.name]
        return found

    @cached_property
    def _accuracy(self) -> dict[str, np.ndarray]:
        """Test accuracy (%) of every complete arm, see `_column`."""
        return {arm.name: _column(part, arm, "test_accuracy") for part, arm in self._complete}

    @cached_property
    def _complete(self) -> list[tuple[outcomes.Results, Networks]]:
        """The arms of registered parts of which no run is missing, but for those of tests on one
        kind of machine.
        """
        found = []
        for part in self.parts:
            if not part.study.registered:
                continue
            for arm in part.study.arms:
                if not isinstance(arm, Networks) or arm.name.endswith(AGAIN):
                    continue
                if part.networks.keys() >= set(_keys(arm)):
                    found.append((part, arm))
        return found

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Outcomes of all claims, in the plan's order."""
        return outcomes.ended(PAPER, self.parts)

    def told(self, *numbers: str) -> Markdown:
        """What became of the claims of these numbers: `5` is 5a, 5b, ...

        A line for each primary claim, one for all secondary ones, which stand in the table of
        `page.section`.
        """
        found = [o for o in self.outcomes if _number(o.claim.claim) in numbers]
        primary = [o for o in found if o.claim.role == "primary"]
        others = [o for o in found if o not in primary]
        lines = [f"- {page.line(outcome)}" for outcome in primary]
        if others:
            lines.append(f"- Secondary claims: {page.counts(others)}.")
        return Markdown("\n".join(lines))


def _target(study: plan.Study, arm: Networks) -> str:
    """The data set of an arm's training. Own images, which a plan names by their content, stand in
    for those of the data set whose protocol they are trained by, such as `lhd-cifar100-1m`.
    """
    return str(study.settings[arm.setting]["preset"]).split("-")[1]


def _keys(arm: Networks) -> list[outcomes.ArmKey]:
    """Keys of all its runs: cell by cell, seed by seed."""
    seeds = plan.seeds_of(arm.seeds)
    runs = product(arm.networks.names(), seeds)
    return [(arm.name, plan.Trained(cell, seed)) for cell, seed in runs]


def _column(part: outcomes.Results, arm: Networks, name: str) -> np.ndarray:
    """A number of the results of a complete arm, by its name there: (methods, trials, seeds), or
    (networks, seeds).
    """
    results = (part.networks[key].result for key in _keys(arm))
    values = np.array([result[name] for result in results if result])
    return values.reshape(*arm.networks.shape, -1)


def _number(claim: str) -> str:
    """`5a discernible methods, base` -> `5`."""
    return re.split(r"\D", claim, maxsplit=1)[0]
