"""Results of the LHD benchmark: accuracies by method and condition, and what is computed from
them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from nasutils import methods, spaces
from nasutils.measures import ranking
from nasutils.measures.estimates import LEVEL, Estimate
from nasutils.runs import Result, Run
from nasutils.studies.lhd_benchmark.variants import METHODS, POLICY_NAMES, FinalKey, SearchKey
from nasutils.sweep import planning
from nasutils.training.computation import Machine, measured
from nasutils.training.experiment import Experiment

SPACES = {"lhd": "LHD", "darts": "DARTS space"}
RESAMPLES = 1000
"""Bootstrap draws of a contrast."""


@dataclass(frozen=True)
class Results:
    """What the claims are computed from.

    searches: the finished ones. finals: a row per finished training of a final network: the fields
    of `FinalKey`, accuracy (of the test images after the last epoch, %), best (the highest in the
    last third of the epochs), params, macs, seconds, genotype. steps: see `step_seconds`. missing:
    data sets whose images were not there.
    """

    searches: Mapping[SearchKey, tuple[Experiment, Run]]
    finals: pd.DataFrame
    steps: pd.DataFrame
    missing: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        searches: Mapping[SearchKey, tuple[Experiment, Run]],
        finals: Mapping[FinalKey, Run],
        steps: pd.DataFrame,
        missing: Sequence[str] = (),
    ) -> "Results":
        """The results of the runs that finished; n says how many."""
        rows = []
        for key, run in finals.items():
            if result := run.sound_result:
                rows.append({**key._asdict(), **_row(result, run)})
        columns = [*FinalKey._fields, "accuracy", "best", "params", "macs", "seconds", "genotype"]
        return cls(searches, pd.DataFrame(rows, columns=columns), steps, tuple(missing))

    @cached_property
    def budgets(self) -> list[str]:
        """Budgets in the order of the searches; all policies were judged under the first."""
        return list(dict.fromkeys(key.budget for key in self.searches))

    @cached_property
    def methods(self) -> list[str]:
        searched = {key.method for key in self.searches}
        return [label for label in METHODS if label in searched]

    @cached_property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(key.dataset for key in self.searches))

    @cached_property
    def seeds(self) -> list[int]:
        """Seeds of the searches."""
        return sorted({key.seed for key in self.searches})

    @property
    def conditions(self) -> list[tuple[str, str]]:
        """Data sets by policies, in the order of the last two axes but one of `scores`."""
        return [(dataset, policy) for dataset in self.datasets for policy in POLICY_NAMES]

    def kind(self, name: str) -> pd.DataFrame:
        """The rows of `finals` of one kind."""
        return self.finals[self.finals["kind"] == name]

    @cached_property
    def own(self) -> pd.DataFrame:
        """The rows of networks that are judged on the data set of their search."""
        table = self.kind("final")
        return table[table["searched"] == table["target"]]

    def scores(self, budget: str | None = None) -> np.ndarray:
        """Test accuracy (%), mean over evaluation seeds:
        (methods, data sets, policies, search seeds), nan: none.
        """
        if budget is None:
            budget = self.budgets[0]
        table = self.own[self.own["budget"] == budget]
        names = ["method", "target", "policy", "seed"]
        means = table.groupby(names)["accuracy"].mean()
        axes = [self.methods, self.datasets, POLICY_NAMES, self.seeds]
        every = means.reindex(pd.MultiIndex.from_product(axes, names=names))
        return every.to_numpy(dtype=float).reshape([len(axis) for axis in axes])

    def by_condition(self) -> np.ndarray:
        """Test accuracy (%) under the first budget, mean over seeds: (methods, conditions)."""
        return ranking.mean(self.scores()).reshape(len(self.methods), -1)

    def ranks(self) -> np.ndarray:
        """Rank of each method in each condition, 1 for the best: (conditions, methods)."""
        return ranking.ranks(self.by_condition().T)

    def random(self) -> dict[str, np.ndarray]:
        """Test accuracy (%) of random networks by the name of their space, see `drawn`."""
        found = {name: self.drawn(space) for space, name in SPACES.items()}
        return {name: scores for name, scores in found.items() if len(scores)}

    def drawn(self, space: str) -> np.ndarray:
        """Test accuracy (%) of the random networks of which no evaluation is missing:
        (networks, evaluation seeds).
        """
        table = self.kind("random")
        table = table[table["method"] == space]
        scores = table.pivot_table(index="seed", columns="eval_seed", values="accuracy")
        return scores.dropna().to_numpy(dtype=float)


def _row(result: Result, run: Run) -> dict[str, object]:
    return {
        "accuracy": result["test_accuracy"],
        "best": result["best_test_accuracy"],
        "params": result["params"],
        "macs": result["macs"],
        "seconds": planning.seconds(run.records),
        "genotype": result["genotype"],
    }


def noise(scores: np.ndarray) -> float:
    """Standard deviation between evaluations of one network (networks, evaluations), pooled over
    the networks; nan of single evaluations.
    """
    _, evaluations = scores.shape
    if evaluations < 2:
        return math.nan
    return float(ranking.deviation_within(scores))


def separable(scores: np.ndarray) -> float:
    """Discernibility of networks: the share of pairs whose means differ by more than their noise
    explains, at 95 %.

    scores: (networks, repeats). The noise is the pooled deviation s within networks; a pair is
    told apart if its means differ by more than t s sqrt(2 / repeats), t of Student's distribution.
    nan for one repeat or network.
    """
    from scipy.spatial.distance import pdist
    from scipy.stats import t

    scores = scores[~np.isnan(scores).any(axis=1)]
    networks, repeats = scores.shape
    if networks < 2 or repeats < 2:
        return math.nan
    quantile = t.ppf(1 - LEVEL, networks * (repeats - 1))
    bound = quantile * noise(scores) * math.sqrt(2 / repeats)
    distances = pdist(scores.mean(axis=1)[:, None])  # of all pairs
    return float((distances > bound).mean())


def contrast(results: Results, measure: Callable[[np.ndarray], float]) -> Estimate:
    """A measure of random networks (networks, repeats) on LHD minus that on the DARTS space.

    Its interval: of resampled networks, each space on its own.
    """
    lhd, darts = (results.drawn(space) for space in SPACES)
    n = min(len(lhd), len(darts))
    if n < 2:
        return Estimate.unknown(n)
    random = np.random.default_rng(0)

    def resampled(networks: np.ndarray) -> np.ndarray:
        return networks[random.integers(len(networks), size=len(networks))]

    differences = [measure(resampled(lhd)) - measure(resampled(darts)) for _ in range(RESAMPLES)]
    return ranking.interval(measure(lhd) - measure(darts), np.array(differences), n)


def deviation_of_means(scores: np.ndarray) -> float:
    """Standard deviation between networks (networks, repeats) of their means over repeats."""
    return float(scores.mean(axis=1).std(ddof=1))


def discernibility(results: Results) -> np.ndarray:
    """Per condition the share of pairs of methods that are told apart, (conditions,),
    see `ranking.told_apart`.
    """
    scores = results.scores()
    methods, *_, seeds = scores.shape
    by_condition = scores.reshape(methods, -1, seeds).swapaxes(0, 1)
    return np.array([ranking.told_apart(accuracies.T) for accuracies in by_condition])


def condition_pairs(results: Results, same_dataset: bool, same_policy: bool) -> np.ndarray:
    """Which two conditions have the data set in common or not, and the policy:
    bool, (conditions, conditions).
    """
    datasets, policies = np.array(results.conditions).T
    of_datasets = (datasets[:, None] == datasets) == same_dataset
    of_policies = (policies[:, None] == policies) == same_policy
    return of_datasets & of_policies


def single_seed_agreement(results: Results, same_dataset: bool, same_policy: bool) -> np.ndarray:
    """Kendall's tau between the rankings of single search seeds, (seeds, seeds),
    nan where there is none.

    Mean over all pairs of conditions on the same or different data sets, of the same or different
    policies. The agreement of different seeds within a condition is what the noise of the searches
    leaves.
    """
    scores = results.scores()
    methods, *_, seeds = scores.shape
    # (seeds, conditions, methods)
    rankings = scores.reshape(methods, -1, seeds).transpose(2, 1, 0)
    # (seeds, seeds, conditions, conditions)
    tau = ranking.kendall(rankings[:, None, :, None], rankings[None, :, None, :])
    return ranking.mean(tau[:, :, condition_pairs(results, same_dataset, same_policy)])


def agreement_lost(results: Results, same_dataset: bool, same_policy: bool) -> Estimate:
    """Agreement within a condition minus that between conditions."""
    within = single_seed_agreement(results, True, True)
    return ranking.over_pairs(within - single_seed_agreement(results, same_dataset, same_policy))


def step_seconds(
    machine: Machine, channels: int, cells: int, resolution: int, batch: int, repeats: int = 5
) -> pd.DataFrame:
    """Processor seconds of one search step (alpha and weights,
    random images) on LHD and on the DARTS space.

    A row per repeat, columns lhd and darts, taken in turn after a step that warms up. On one
    thread of the CPU. Measured once and kept among the runs.
    """
    sizes = {"channels": channels, "cells": cells, "resolution": resolution, "batch": batch}

    def measure() -> Result:
        steps = {name: _step(name, **sizes) for name in SPACES}
        rows = []
        for _ in range(repeats + 1):
            rows.append({name: _seconds(step) for name, step in steps.items()})
        return {"seconds": rows[1:]}  # the first step warms up

    params = {"kind": "step seconds", "version": 1, "repeats": repeats, **sizes}
    return pd.DataFrame(measured(measure, params, replace(machine, device="cpu"))["seconds"])


def _seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def _step(name: str, channels: int, cells: int, resolution: int, batch: int) -> Callable[[], None]:
    """Two forward and backward passes of a supernet under DARTS's mixing weights."""
    space = spaces.get(name)
    net: torch.nn.Module = space.supernet(channels, cells, 10)
    method = methods.get("darts", space)
    images = torch.randn(batch, 3, resolution, resolution)
    labels = torch.arange(batch) % 10

    def step() -> None:
        for parameters in (list(method.alphas.values()), list(net.parameters())):
            loss = F.cross_entropy(net(images, method.mixing()), labels)
            torch.autograd.grad(loss, parameters, allow_unused=True)

    return step
