"""What the three comparisons compute, made of the parameters of their notebooks.

The supernets are searched by the setting and the seeds of the registered DARTS arm. That arm's
searches kept no weights, so these are searched once more. The searches on S2 have seeds of their
own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch

from nasutils import spaces
from nasutils.measures import stopping
from nasutils.runs import Run
from nasutils.studies import exploratory, small_spaces, variants
from nasutils.studies.exploratory import Key
from nasutils.studies.variants import Variant, Variants
from nasutils.sweep.launch import finished, gather
from nasutils.sweep.pool import Task, home_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation
from nasutils.training.selection import Selection

FIRST_SEED = 5
"""First seed of the registered DARTS arm."""
FIRST_S2_SEED = 100
"""First seed of the searches on S2, behind all seeds of the plan."""
TUNE_EPOCHS = 5
"""Epochs of tuning between two rounds of choices, as in DARTS-PT."""

Runs = Mapping[Key, Run]


@dataclass(frozen=True)
class Comparison:
    """All runs of a comparison: searches, and what is made of what they end in.

    searches: by label and seed. follow: from those that are finished to the tasks that need them.
    cost: of all of it, in words. core_hours: of all of it at laptop scale, measured on one epoch.
    """

    searches: Mapping[Key, Experiment]
    follow: Callable[[Runs], Mapping[Key, Task]]
    cost: str
    core_hours: int
    names: ClassVar = ("searches", "followed")
    """Names of the stages."""

    def stages(self, machine: Machine) -> Iterator[Mapping[Key, Task]]:
        """The searches, then what follows from those that are finished by the time it is asked."""
        yield self.searches
        homes = {key: home_of(search, machine) for key, search in self.searches.items()}
        yield self.follow({key: home for key, home in homes.items() if home.finished})

    def runs(self, machine: Machine, compute: bool, **how: Any) -> tuple[Runs, Runs] | None:
        """The finished searches, and what followed from them.

        compute: whether what is missing is computed; if not, half a comparison is none: None is
        returned, and a sentence says so. how: arguments of `gather`.
        """
        if not compute and not exploratory.complete(self, machine):
            exploratory.tell_missing("make rivals", self.core_hours)
            return None
        found = [gather(tasks, machine, **how) if tasks else {} for tasks in self.stages(machine)]
        searched, followed = found
        return finished(searched), followed


# Selection by perturbation


def perturbation(p: Any) -> Comparison:
    """Selection by perturbation in the supernets of DARTS; p: parameters of `bypass_leakage`."""
    searched = supernets(_seeds(FIRST_SEED, p), **_proxy(p))

    def follow(found: Mapping[Key, Any]) -> dict[Key, Selection]:
        return selections({key: searched[key] for key in found}, images=p.evaluation)

    one_supernet = follow(dict(islice(searched.items(), 1)))
    takes = "; ".join(f"`{label}` takes {s.cost}" for (label, _), s in one_supernet.items())
    cost = f"{len(searched)} searches of DARTS. In the supernet of each {takes}."
    return Comparison(searched, follow, cost, core_hours=2)


def supernets(seeds: Sequence[int], **setting: Any) -> dict[Key, Experiment]:
    """The searches of DARTS, which keep their weights; setting: see `Variant.experiment`."""
    return variants.searches({"DARTS": Variant("darts")}, seeds, keep_weights=True, **setting)


def selections(
    searched: Mapping[Key, Experiment], images: int, tune_epochs: int = TUNE_EPOCHS
) -> dict[Key, Selection]:
    """The selections in these supernets, without and with tuning; images: to judge on."""
    how = {"perturbation": 0, "perturbation, tuned": tune_epochs}
    found = {}
    for (_, seed), search in searched.items():
        for label, epochs in how.items():
            selection = Selection(search, images=images, tune_epochs=epochs, seed=seed)
            found[label, seed] = selection
    return found


def _seeds(first: int, p: Any) -> range:
    return range(first, first + p.rival_seeds)


def _proxy(p: Any) -> dict[str, Any]:
    """The setting of the searches on NAS-Bench-201, from a notebook's parameters."""
    common = {"preset", "dataset", "resolution", "precision", "evaluation"}
    sizes = {"images", "channels", "cells", "epochs"}
    recipe = {"batch": p.batch, "split": p.split}
    return {"recipe": recipe, **p.model_dump(include=common | sizes)}


# SmoothDARTS

AS_DARTS = {"weight_decay": 5e-4, "nesterov": True, "order": "weights-first"}
"""What DARTS's recipe on NAS-Bench-201 says where that of SmoothDARTS's code differs: only the
method is varied."""
SMOOTH: Variants = {
    "SDARTS-RS": Variant("sdarts-rs", recipe=AS_DARTS),
    "SDARTS-ADV": Variant("sdarts-adv", recipe=AS_DARTS),
}


def smoothing(p: Any) -> Comparison:
    """SmoothDARTS and DARTS; p: parameters of `sparsification`."""
    searched = smooth(_seeds(FIRST_SEED, p), **_proxy(p))
    cost = f"{len(searched)} searches; a step of SDARTS-ADV takes nine more forward passes."
    return Comparison(searched, lambda found: {}, cost, core_hours=9)


def smooth(seeds: Sequence[int], **setting: Any) -> dict[Key, Experiment]:
    """The searches; DARTS's are the `supernets`. setting: see `Variant.experiment`."""
    return {**supernets(seeds, **setting), **variants.searches(SMOOTH, seeds, **setting)}


# The hand cure

CURES = ("last cell", "at most 2 skips", "selective stop")


def skip_limit(p: Any) -> Comparison:
    """A limit on skip connections and selective stop, on S2; p: parameters of `lr_swap`."""
    searched = s2_searches(_seeds(FIRST_S2_SEED, p), **small_spaces.search_setting(p))
    final = small_spaces.final_setting(p)

    def follow(found: Runs) -> dict[Key, Evaluation]:
        return final_networks(cured(found), **final)

    cost = f"{len(searched)} searches on S2, and a network of every cell that they end in."
    return Comparison(searched, follow, cost, core_hours=1)


def s2_searches(seeds: Sequence[int], **setting: Any) -> dict[Key, Experiment]:
    """The searches of DARTS on S2; setting: see `Variant.experiment`."""
    return variants.searches({"DARTS": Variant("darts")}, seeds, space="s2", **setting)


def cured(searched: Runs) -> dict[Key, str]:
    """Three cells of every finished search: its last one, the same with at most two skip
    connections in the normal cell, and the one of the epoch at which the selective stop stops."""
    found: dict[Key, str] = {}
    for (_, seed), run in searched.items():
        if run.finished:
            for label, cell in zip(CURES, _cures(run), strict=True):
                found[label, seed] = cell
    return found


def _cures(run: Run) -> tuple[str, str, str]:
    space = spaces.get("s2")
    records = run.records
    last = records[-1]
    mix = {cell_type: torch.tensor(rows) for cell_type, rows in last["mix"].items()}
    limited = space.discretize(mix, policy="top2-skips2")
    decision = stopping.stop(records, "peak", space=space, operation="sep_conv_3x3")
    stopped = stopping.taken_record(records, decision)
    return last["genotype"], str(limited), stopped["genotype"]


def final_networks(found: Mapping[Key, str], **setting: Any) -> dict[Key, Evaluation]:
    """The training of every cell of `cured`; setting: fields of `Evaluation`. Equal cells of a
    seed are one run."""
    networks = {}
    for (label, seed), cell in found.items():
        networks[label, seed] = Evaluation(genotype=cell, space="s2", seed=seed, **setting)
    return networks


COMPARISONS: Mapping[str, tuple[str, Callable[[Any], Comparison]]] = {
    "skip_limit": ("lr_swap", skip_limit),
    "perturbation": ("bypass_leakage", perturbation),
    "smoothing": ("sparsification", smoothing),
}
"""The notebook of each, whose parameters it is made of; the cheapest first."""
