"""Perturbation-based selection (DARTS-PT: Wang et al., ICLR 2021, section 4):
keep the operation whose removal hurts.

    search = Experiment(..., keep_weights=True)
    search.run(machine)
    selection = Selection(search, images=1000, tune_epochs=5)
    print(selection.cost)                  # before anything is computed
    selection.run(machine).result["genotype"]

A trained supernet is taken apart, choice by choice. Of the operations that compete, each is taken
off in turn, the weights of the others unchanged, and the supernet is judged on images that its
weights were not trained on. The operation without which it is worst is kept, with all the weight
of its competition; of equals, the first. Then, if asked, the weights are tuned, and the next
choice is made in what is left.

* The order of the choices is random, by the seed. A round makes one choice in every cell type; the
  weights are tuned between rounds, so that DARTS's 14 edges and 3 nodes are 17 rounds with 16
  times `tune_epochs` (theirs: 5) between.
* What competes, and what is kept (`stages`):
    NAS-Bench-201 and own spaces: the operations of an edge, none included: one.
    DARTS, S1-S4: the operations of an edge without none (theirs has it on S3): one. Then, of every
        node with more than two, the edges: the two without which the supernet is worst.
    LHD (ours): the operations of all edges into a node: as many as the policy keeps. Then the
        nodes of the sum: as many as the policy keeps, or those whose removal costs more than the
        mean. Gates compete with nothing: the policy reads them as the search left them.
* Judged are the first images of those that alpha was trained on (as theirs), by the batch-norm
  statistics of each batch; statistics and random states are as before after every choice.
  Criterion: accuracy (theirs), or the loss.
* Tuning moves the weights alone, at a tenth of the search's first rate, with a fresh momentum.
  (Theirs stays at that rate, too: the cosine of sota/cnn/projection.py is made and never stepped.)
  Alpha rests, as in their runs of fixed alpha (`blank`); in the others of theirs it moves on. What
  is dropped has weight 0 and is not run.

Source: ruocwang/darts-pt, sota/cnn/projection.py and nasbench201/projection.py (`proj_intv` epochs
between projections), exp_scripts/darts-proj-*.sh. There an edge is dropped by the same rule: whose
removal costs least goes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import singledispatch
from itertools import chain, zip_longest
from typing import Any

import torch
from torch import Tensor

from nasutils import runs
from nasutils.data import ImageSet, index_batches
from nasutils.errors import choose, up_to, whole
from nasutils.measures import leakage
from nasutils.runs import Run
from nasutils.spaces import darts_cells, darts_policies, lhd_cells, lhd_policies
from nasutils.spaces.base import Mix, Space, nonzero, operations_of_edges
from nasutils.spaces.darts import DARTS
from nasutils.spaces.lhd import LHD
from nasutils.training.batchnorm import EVALUATION_BATCH
from nasutils.training.classifier import Relaxed, restore
from nasutils.training.computation import Computation, Machine
from nasutils.training.experiment import Experiment, build, method_of
from nasutils.training.loop import NotFinite, Record, clock, cost
from nasutils.training.search import Search

VERSION = 2
"""Raise by hand when the meaning of a selection changes, see `experiment.VERSION`."""
CRITERIA = ("accuracy", "loss")

Places = tuple[tuple[int, int], ...]
"""Places among the mixing weights of a key, each (row, column)."""
Judged = Mapping[str, float]
"""How the supernet was judged, by criterion: accuracy (%) and loss (nats)."""


# What there is to choose


@dataclass(frozen=True)
class Choice:
    """Rivals for places among the mixing weights, of which some stay.

    key: of the mixing weights. name: of what competes there. rivals: places of each by its name;
    those of `none` carry nothing. places: all that the choice is about. keep: how many rivals
    stay; None: those whose removal costs more than the mean, at least one. shared: what stays
    shares the weight of all places evenly; else it has its own.
    """

    key: str
    name: str
    rivals: Mapping[str, Places]
    places: Places
    keep: int | None = 1
    shared: bool = True

    @property
    def judgements(self) -> int:
        """How often the supernet is judged: as it is,
        and without each rival that carries something.
        """
        return 1 + sum(name != "none" for name in self.rivals)


@singledispatch
def stages(space: Space, policy: str) -> list[list[Choice]]:
    """The choices on a space, those of a stage in any order; see the module's text."""
    choices = []
    for cell_type in space.cell_types:
        for edge, ops in enumerate(operations_of_edges(space, cell_type)):
            choices.append(_of_edge(cell_type, edge, ops))
    return [choices]


def _of_edge(key: str, row: int, ops: Sequence[str], never: Sequence[str] = ()) -> Choice:
    places = {op: (row, k) for k, op in enumerate(ops)}
    rivals = {op: (place,) for op, place in places.items() if op not in never}
    return Choice(key, f"edge {row}", rivals, tuple(places.values()))


@stages.register
def _(space: DARTS, policy: str) -> list[list[Choice]]:
    if darts_policies.POLICIES[policy].skips is not None:
        raise ValueError(
            f"policy {policy!r} limits skip connections, which selection by perturbation does not"
            " know"
        )
    ops, edges = [], []
    for cell_type, names in space.edge_ops.items():
        ops += [_of_edge(cell_type, edge, own, ("none",)) for edge, own in enumerate(names)]
        for node, incoming in enumerate(darts_cells.INCOMING, start=2):
            if len(incoming) > 2:
                edges.append(_of_node(cell_type, node, incoming, len(names[0])))
    return [ops, edges]


def _of_node(cell_type: str, node: int, incoming: Sequence[int], ops: int) -> Choice:
    rivals = {f"edge {e}": tuple((e, k) for k in range(ops)) for e in incoming}
    places = tuple(chain(*rivals.values()))
    return Choice(cell_type, f"node {node}", rivals, places, keep=2, shared=False)


@stages.register
def _(space: LHD, policy: str) -> list[list[Choice]]:
    rule = lhd_policies.POLICIES[policy]
    nodes, outputs = [], []
    for cell_type in space.cell_types:
        for node, incoming in enumerate(lhd_cells.INCOMING, start=2):
            rivals: dict[str, Places] = {}
            for edge in incoming:
                for k, op in enumerate(space.ops):
                    rivals[f"edge {edge} {op}"] = ((edge, k),)
            places = tuple(chain(*rivals.values()))
            nodes.append(Choice(cell_type, f"node {node}", rivals, places, rule.ops))
        summed = {f"node {2 + i}": ((0, i),) for i in range(lhd_cells.NODES)}
        places = tuple(chain(*summed.values()))
        outputs.append(Choice(f"{cell_type}_output", "sum", summed, places, rule.outputs))
    return [nodes, outputs]


def rounds(space: Space, policy: str, seed: int) -> list[list[Choice]]:
    """The choices in a random order, one of every cell type in a round, stage after stage."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for stage in stages(space, policy):
        by_key = defaultdict(list)
        for choice in stage:
            by_key[choice.key].append(choice)
        shuffled = [_in_random_order(own, generator) for own in by_key.values()]
        # A cell type that has fewer choices than another is missing in the last rounds.
        for together in zip_longest(*shuffled):
            found.append([choice for choice in together if choice is not None])
    return found


def _in_random_order(choices: Sequence[Choice], generator: torch.Generator) -> list[Choice]:
    order = torch.randperm(len(choices), generator=generator)
    return [choices[i] for i in order.tolist()]


# A choice


def decide(
    judge: Callable[[Mix], Judged], mix: Mix, choice: Choice, criterion: str = "accuracy"
) -> tuple[Mix, dict[str, Any]]:
    """Make a choice: the mixing weights after it, and what it was made by.

    judge: accuracy (%) and loss (nats) of the supernet under mixing weights, called
    `choice.judgements` times at most: rivals of weight 0 do not compete. The record: choice;
    as_it_is, without (by rival): what was judged; kept: names of the rivals that stay, the one
    whose removal costs most first.
    """
    as_it_is = judge(mix)
    without = {}
    for name, places in choice.rivals.items():
        if not any(mix[choice.key][place] for place in places):
            continue
        if name == "none":
            without[name] = as_it_is
        else:
            without[name] = judge(_weighed(mix, choice.key, dict.fromkeys(places, 0.0)))
    costs = {}
    for name, judged in without.items():
        change = judged[criterion] - as_it_is[criterion]
        costs[name] = -change if criterion == "accuracy" else change
    kept = costliest(costs, choice.keep)
    record = {
        "choice": f"{choice.key} {choice.name}",
        "as_it_is": as_it_is,
        "without": without,
        "kept": kept,
    }
    return _settled(mix, choice, kept), record


def costliest(costs: Mapping[str, float], keep: int | None) -> list[str]:
    """The names of the highest costs, the first one of equals;
    None: those above the mean, at least one.
    """
    ranked = sorted(costs, key=lambda name: -costs[name])  # the sort is stable
    if keep is None:
        mean = sum(costs.values()) / len(costs)
        keep = max(1, sum(value > mean for value in costs.values()))
    return ranked[:keep]


def _settled(mix: Mix, choice: Choice, kept: Sequence[str]) -> Mix:
    """The mixing weights after a choice: of its places only those of what is kept are left."""
    staying = [place for name in kept for place in choice.rivals[name]]
    weights = {place: 0.0 for place in choice.places if place not in staying}
    if choice.shared:
        total = sum(mix[choice.key][place].item() for place in choice.places)
        weights |= dict.fromkeys(staying, total / len(staying))
    return _weighed(mix, choice.key, weights)


def _weighed(mix: Mix, key: str, weights: Mapping[tuple[int, int], float]) -> Mix:
    """Mixing weights with other ones at some places."""
    changed = mix[key].clone()
    for place, weight in weights.items():
        changed[place] = weight
    return {**mix, key: changed}


# A selection


@dataclass(frozen=True)
class Cost:
    """What a selection costs.

    judgements: how often the supernet is judged. forwards: passes of up to 250 images that these
    take. tuned_epochs: epochs of tuning on the search's images for the weights, each with its
    backward passes.
    """

    judgements: int
    forwards: int
    tuned_epochs: int

    def __str__(self) -> str:
        return (
            f"{self.judgements} judgements of the supernet, which are {self.forwards:,} forward"
            f" passes of up to {EVALUATION_BATCH} images; {self.tuned_epochs} epochs of tuning"
        )


@dataclass(frozen=True)
class Selection(Computation):
    """The choices in the supernet of a search, which has to have kept its weights;
    it is not trained here. Its run has a record per choice, see `decide`.

    images: on so many it is judged, the first of those for alpha. tune_epochs: between rounds (the
    paper: 5). criterion: `accuracy` or `loss`. seed: of the order, and of batches and augmentation
    while tuning.

    Raises ValueError for a search without kept weights or of partial channels, for an unknown name
    or number.
    """

    search: Experiment
    images: int
    tune_epochs: int = 0
    criterion: str = "accuracy"
    seed: int = 0

    def __post_init__(self) -> None:
        whole("images", self.images)
        whole("tune_epochs", self.tune_epochs, 0)
        choose("criterion", self.criterion, CRITERIA)
        whole("seed", self.seed, 0)
        if not self.search.keep_weights:
            raise ValueError(
                "search must have keep_weights=True: its supernet is what is selected from"
            )
        method = method_of(self.search)
        if method.partial > 1:
            raise ValueError(
                f"selection by perturbation is not defined on partial channels ({method.name})"
            )
        _ = self.rounds  # raises ValueError for a policy that cannot be followed

    @property
    def rounds(self) -> list[list[Choice]]:
        """The choices in their order, see the function `rounds`."""
        method = method_of(self.search)
        return rounds(method.space, method.space.check_policy(method.policy), self.seed)

    @property
    def epochs(self) -> int:
        """Number of records: one a choice."""
        return sum(len(choices) for choices in self.rounds)

    @property
    def cost(self) -> Cost:
        """What it will cost; known before it runs."""
        judgements = sum(choice.judgements for choices in self.rounds for choice in choices)
        forwards = judgements * math.ceil(self.images / EVALUATION_BATCH)
        return Cost(judgements, forwards, self.tune_epochs * (len(self.rounds) - 1))

    def params(self) -> runs.Params:
        """What the run folder is named by."""
        return {
            "kind": "selection",
            "version": VERSION,
            "search": self.search.params(),
            "images": self.images,
            "tune_epochs": self.tune_epochs,
            "criterion": self.criterion,
            "seed": self.seed,
        }

    def result(self, selecting: "Selecting", run: Run) -> runs.Result:
        """Genotype, number of choices, and what they cost."""
        return {
            "genotype": selecting.genotype(),
            "epochs": selecting.epoch,
            "cost": asdict(self.cost),
        }

    def start(self, machine: Machine) -> "Selecting":
        """The selection before its first choice. Raises ValueError if the search is not finished
        or has too few images for alpha.
        """
        search = build(self.search, machine)
        up_to("images", self.images, len(search.valid), "the search's images for alpha")
        home = Run(machine.runs / runs.key(self.search.params()))
        if home.result is None:
            raise ValueError(
                f"no finished search in {home.path}: compute it first,"
                " `selection.search.run(machine)`"
            )
        supernet = Relaxed(search.net, search.method.evaluated(search.method.inference()))
        restore(supernet, home.weights()[0])
        return Selecting(self, search, supernet.mix)


class Selecting:
    """A selection in progress. search: gives network, images and optimizer. mix: the weights to
    begin with. epoch: the number of choices made."""

    def __init__(self, selection: Selection, search: Search, mix: Mix) -> None:
        self.selection, self.search, self.mix = selection, search, mix
        self.images: ImageSet = search.valid[: selection.images]
        self.choices: list[tuple[Choice, bool]] = []
        """Each with whether it is the last one of its round."""
        for together in selection.rounds:
            self.choices += [(choice, choice is together[-1]) for choice in together]
        self.epoch = 0
        search.generator.manual_seed(selection.seed)

    def run(self) -> Iterator[Record]:
        while self.epoch < len(self.choices):
            yield self.one_choice()

    def one_choice(self) -> Record:
        """Make a choice, tune the weights after a round, and say so. Raises NotFinite."""
        started = clock()
        choice, ends_round = self.choices[self.epoch]
        self.mix, decided = decide(self.judge, self.mix, choice, self.selection.criterion)
        chosen = clock()
        record = {"epoch": self.epoch, **decided, "tuned_epochs": 0}
        self.epoch += 1
        if ends_round and self.epoch < len(self.choices):
            record["tuned_epochs"] = self.selection.tune_epochs
            for _ in range(self.selection.tune_epochs):
                self.tune()
        judged = choice.judgements * len(self.images)
        record["cost"] = cost(self.images.images.device, judged, started, chosen, clock())
        return record

    def judge(self, mix: Mix) -> Judged:
        """Accuracy (%) and loss (nats) of the supernet in training mode, which leaves no trace.
        Raises NotFinite.
        """
        with leakage.undisturbed(self.search.net):
            loss, accuracy = self.search.tested(self.images, mix)
        if not math.isfinite(loss):
            raise NotFinite(f"the loss of the supernet is not finite before choice {self.epoch}")
        return {"accuracy": accuracy, "loss": loss}

    def tune(self) -> None:
        """Train the weights for an epoch under the mixing weights as they are."""
        search = self.search
        active = nonzero(self.mix)
        search.net.train()
        search.optimizer.param_groups[0]["lr"] = search.recipe.weight_lr / 10
        for index in index_batches(len(search.train), search.recipe.batch, search.generator):
            batch = search.batch("train", search.train, index)
            loss = search.loss(batch, self.mix, active, log=False)
            search.descend(torch.autograd.grad(loss, search.weights, materialize_grads=True))
        search.check_finite()

    def genotype(self) -> str:
        """The genotype of the mixing weights as they are, as text;
        their columns of what is no operation are left out.

        What is kept has the weight of all that it was chosen from, a sum that rounding moves: to
        six decimals, such weights are equal.
        """
        method = self.search.method
        own = {}
        for key, (_, columns) in method.space.alpha_shapes.items():
            own[key] = self.mix[key][:, :columns].round(decimals=6)
        return str(method.space.discretize(own, method.policy))

    def state_dict(self) -> dict[str, Any]:
        mix: dict[str, Tensor] = dict(self.mix)
        return {"epoch": self.epoch, "mix": mix, "search": self.search.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.mix = {key: weights.to(self.mix[key]) for key, weights in state["mix"].items()}
        self.search.load_state_dict(state["search"])
