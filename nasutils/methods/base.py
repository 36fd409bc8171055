"""What a search method is, and what it asks of the loop.

A method owns the architecture parameters alpha: how they become mixing weights, how they are updated and
which schedules they follow. It knows no layer, no data set and no weight optimizer.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from nasutils.data import SPLITS
from nasutils.errors import check_fields, choose, positive, whole
from nasutils.methods import relax, schedules
from nasutils.spaces.base import Active, Mix, Rule, Space, everything, nonzero
from nasutils.spaces.genotype import Genotype

PRESETS = ("published", "released")
S_SPACES = ("s1", "s2", "s3", "s4")
WARMUP_RULES = ("proper", "released")
ORDERS = ("weights-first", "alpha-first", "together")


@dataclass(frozen=True)
class Recipe:
    """What a method's paper asks of the loop on a space; `dataclasses.replace` overrides.

    weight_lr falls along a cosine to weight_lr_end (equal values: constant), after `warmup` of the epochs in which it
    grows linearly; warmup_rule: `proper`, or `released`, see `schedules.warmup_cosine`. clip: bound of the gradient
    norm, 0 for none, over the weights, and over the weights and alpha together if clip_includes_alpha (what the
    released NAS-Bench-201 code does). order: which of the two updates of an iteration comes first; `together`: neither,
    both gradients are taken at the same point (`Method.joint_gradients`). split: see `data.search_split`.
    alpha_from: first epoch in which alpha is updated. augment: crop and flip the images (LHD: not those of SVHN).
    negligible: an operation of at most this weight is not run in a weight step (2^-24: what float32 cannot add to 1);
    alpha steps run all that have a gradient, which Adam scales up however small it is.

    Raises ValueError naming the field that is out of range.
    """

    epochs: int = 50
    batch: int = 64
    weight_lr: float = 0.025
    weight_lr_end: float = 0.001
    warmup: int = 0
    warmup_rule: str = "proper"
    weight_decay: float = 3e-4
    momentum: float = 0.9
    nesterov: bool = False
    clip: float = 5.0
    clip_includes_alpha: bool = False
    order: str = "alpha-first"
    split: str = "half"
    alpha_from: int = 0
    augment: bool = True
    negligible: float = 0.0

    def __post_init__(self) -> None:
        whole("batch", self.batch)
        positive("weight_lr", self.weight_lr)
        check_fields(self, below_one=("momentum", "negligible"))
        for name, choices in (("warmup_rule", WARMUP_RULES), ("order", ORDERS), ("split", SPLITS)):
            choose(name, getattr(self, name), choices)

    def rate(self, epoch: float) -> float:
        """The weight rate; it moves within an epoch (a fraction) only while it warms up."""
        at, rest = epoch if epoch < self.warmup else int(epoch), self.epochs - self.warmup
        if self.warmup and self.warmup_rule == "released":
            return schedules.warmup_cosine(at, rest, self.warmup, self.weight_lr, self.weight_lr_end)
        if at < self.warmup:
            return self.weight_lr * at / self.warmup
        return schedules.cosine(at - self.warmup, rest, self.weight_lr, self.weight_lr_end)


NASBENCH201 = Recipe(batch=256, weight_decay=5e-4, nesterov=True, order="weights-first", split="nasbench201")
"""Search recipe of the NAS-Bench-201 experiments (specification 1.2 and 4.1)."""
LHD = Recipe(batch=176, weight_lr_end=3e-4)
"""Search recipe of the LHD benchmark (its specification, 3); methods depart from it as its code does (4.1)."""


class Problem(Protocol):
    """The inner problem as a method sees it: losses of the supernet, and what its optimizer holds."""

    @property
    def weights(self) -> Sequence[Tensor]:
        """The network's trainable weights."""

    def loss(
        self,
        batch: Any,
        mix: Mix,
        active: Active | None = None,
        weights: Sequence[Tensor] | None = None,
        log: bool = True,
    ) -> Tensor:
        """Mean cross entropy of a batch under mixing weights.

        weights: evaluate at these instead of the network's own; its batch-norm statistics then do not move.
        log: whether the batch counts in the epoch's record.
        """

    def unrolled_weights(self, gradients: Iterable[Tensor]) -> tuple[list[Tensor], float]:
        """The weights after the optimizer's next step along the gradients (not clipped), and -dw'/dgradient."""


class Method(ABC):
    """Base of the search methods.

    space: a `Space`. epochs: length of the search that the schedules refer to. seed: of the initial alpha,
    i.i.d. N(0, 1e-3^2), and of the method's own draws. alpha_lr, alpha_decay: of Adam with betas (0.5, 0.999).
    """

    name: str
    temperature: float = 1.0
    """Of the current epoch; in a record it explains the mixing weights."""
    orders: tuple[str, ...] = ORDERS[:2]
    """The orders of the two updates that the method can follow."""
    batch: int = 64
    """Images per step outside of NAS-Bench-201."""
    policy: str | None = None
    """How the genotype is derived from the mixing weights (None: the space's own policy)."""
    partial: int = 1
    """One channel in so many runs through the operations; the supernet must have been built with the same number."""
    extra: tuple[str, ...] = ()
    """What the supernet has on each edge besides its operations, a column each in the mixing weights of both steps."""
    lhd: ClassVar[Mapping[str, Any]] = {}
    """Fields in which the recipe departs from `LHD`'s on that space."""

    def __init__(
        self,
        space: Space,
        *,
        epochs: int = 50,
        preset: str = "published",
        seed: int = 0,
        alpha_lr: float = 3e-4,
        alpha_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.space, self.epochs, self.preset = space, epochs, preset
        self.generator = torch.Generator().manual_seed(whole("seed", seed, 0))
        self.alphas = {
            name: (1e-3 * torch.randn(shape, generator=self.generator, dtype=torch.float64))
            .to(device, dtype)
            .requires_grad_()
            for name, shape in space.alpha_shapes.items()
        }
        self.optimizer = torch.optim.Adam(self.alphas.values(), alpha_lr, betas=(0.5, 0.999), weight_decay=alpha_decay)

    @property
    def recipe(self) -> Recipe:
        """What the method's paper asks of the loop on this space."""
        if self.space.name == "nasbench201":
            return replace(NASBENCH201, epochs=self.epochs, clip_includes_alpha=self.preset == "released")
        if self.space.name == "lhd":
            return replace(LHD, epochs=self.epochs, **self.lhd)
        return Recipe(epochs=self.epochs, batch=self.batch)

    def offered(self, *names: str) -> tuple[str, ...]:
        """Those of some extras that the supernets of the space can have."""
        return tuple(name for name in names if name in self.space.extras)

    def begin_epoch(self, epoch: int) -> None:
        """Move the schedules to the start of an epoch (counted from 0)."""

    def begin_step(self) -> None:
        """Draw what one iteration needs; both of its updates use the same draw."""

    @property
    def softmax_temperature(self) -> float | None:
        """T for which `inference` is softmax(alpha / T), None for weights that are made in another way."""
        return self.temperature

    @abstractmethod
    def mixing(self) -> Mix:
        """Mixing weights of the current step, differentiable in alpha."""

    def relaxed(self, rule: Rule, scores: Mix | None = None, **how: Any) -> Mix:
        """A rule from scores (None: alpha) to the weights of operations that compete, see `Space.relax`."""
        return self.space.relax(self.alphas if scores is None else scores, rule, **how)

    def weight_mixing(self) -> Mix:
        """Mixing weights of the current weight step; the same unless a method says otherwise."""
        return self.mixing()

    def inference(self) -> Mix:
        """Mixing weights by which the relaxed supernet is judged: deterministic, at the epoch's temperature."""
        with torch.no_grad():
            return self.relaxed(lambda a: relax.softmax(a, self.temperature))

    def judged(self, mix: Mix) -> Mix:
        """Mixing weights, relaxed or discretized, with the extra columns by which a supernet is judged: zeros."""
        for _ in self.extra:
            mix = with_column(mix, self.space.kinds, lambda w: torch.zeros_like(w[:, :1]))
        return mix

    def genotype(self) -> Genotype:
        """What the search would return now."""
        return self.space.discretize(self.inference(), self.policy)

    def active_in_alpha_step(self, mix: Mix) -> Active:
        """Operations the alpha step must run. Under a softmax a weight of exactly 0 has no gradient."""
        return self.active_in_weight_step(mix)

    def active_in_weight_step(self, mix: Mix) -> Active:
        """Operations the weight step must run; released code ran all, which moves idle batch-norm statistics."""
        return everything(mix) if self.preset == "released" else nonzero(mix)

    def alpha_gradients(self, problem: Problem, train: Any, valid: Any) -> list[Tensor]:
        """dL_valid/dalpha at the current weights (first order), one tensor per cell type."""
        mix = self.mixing()
        loss = problem.loss(valid, mix, self.active_in_alpha_step(mix))
        return list(torch.autograd.grad(loss, list(self.alphas.values()), materialize_grads=True))

    def joint_gradients(self, problem: Problem, train: Any, valid: Any) -> tuple[list[Tensor], list[Tensor]]:
        """What weights and alpha follow where both move `together`: dL_train of each, from one pass (single level)."""
        mix = self.mixing()
        loss = problem.loss(train, mix, self.active_in_alpha_step(mix))
        wanted = [*problem.weights, *self.alphas.values()]
        gradients = torch.autograd.grad(loss, wanted, materialize_grads=True)
        return list(gradients[: len(problem.weights)]), list(gradients[len(problem.weights) :])

    def update(self, gradients: list[Tensor]) -> None:
        """One optimizer step on alpha."""
        for alpha, gradient in zip(self.alphas.values(), gradients, strict=True):
            alpha.grad = gradient
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "alphas": {name: a.detach() for name, a in self.alphas.items()},
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "temperature": self.temperature,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, alpha in self.alphas.items():
                alpha.copy_(state["alphas"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.temperature = state["temperature"]


def with_column(mix: Mix, kinds: Iterable[str], column: Rule) -> Mix:
    """Mixing weights whose edges have one weight more: of the cell types, (edges, n) -> (edges, n + 1).

    column: from the weights (edges, n) of a cell type to the new ones (edges, 1).
    """
    return {**mix, **{kind: torch.cat([mix[kind], column(mix[kind])], dim=1) for kind in kinds}}
