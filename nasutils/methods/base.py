"""What a search method is: the contract between a method and the loop.

A method owns the architecture parameters alpha: how they become mixing weights, how they are
updated and which schedules they follow. It knows no layer, no data set and no weight optimizer;
what its paper asks of the loop stands in `recipes`. A method overrides what its paper changes;
what is left is DARTS, first order.

    to change                                           override                 else
    --------------------------------------  ---------------------  ------------------------------
    schedules (temperature, coefficients)   begin_epoch            none
    draws shared by both updates            begin_step             none
    mixing weights of the alpha step        mixing                 softmax(alpha / temperature)
    mixing weights of the weight step       weight_mixing          those of the alpha step
    those, moved by their batch             perturbed              as they are
    weights recorded and read as a cell     inference              softmax(alpha / temperature)
    the cell itself, read in another way    genotype               the space's policy
    columns beside operations, evaluated    evaluated              none, so their weights are 0
    T of inference = softmax(alpha / T)     softmax_temperature    temperature; None: no softmax
    operations idle in the alpha step       active_in_alpha_step   as in the weight step
    operations idle in the weight step      active_in_weight_step  weight 0; released: none
    direction in which alpha moves          alpha_gradients        dL_valid / dalpha, first order
    both directions, of updates `together`  joint_gradients        dL_train of weights and alpha
    step along that direction               update                 Adam
    recipe that follows from an option      recipe                 the table's
    options that would do nothing           check_given            none is refused
    numbers that a record keeps             observed               none
    state between epochs (checkpoints)      state_dict, load_...   alpha, Adam, draws, T

An iteration calls begin_step, then alpha_gradients and update (mixing, active_in_alpha_step), then
the weight step (weight_mixing, perturbed, active_in_weight_step), in the order of the recipe. An
evaluation calls inference, evaluated and genotype; the record of an epoch calls observed, too.
"""

from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from nasutils.errors import check_value, whole
from nasutils.methods import relax
from nasutils.methods.recipes import ORDERS, Recipe
from nasutils.spaces.base import Active, Mix, Rule, Space, everything, nonzero
from nasutils.spaces.genotype import Genotype

PRESETS = ("published", "released")


class Problem(Protocol):
    """The inner problem as a method sees it:
    losses of the supernet, and what its optimizer holds.
    """

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
        fixed: bool = False,
    ) -> Tensor:
        """Mean cross entropy of a batch under mixing weights.

        weights: evaluate at these instead of the network's own; its batch-norm statistics then do
        not move. log: whether the batch counts in the epoch's record.
        fixed: the network stands still: batch norms use the statistics of training, which do not
        move, and the weights get no gradient.
        """

    def unrolled_weights(self, gradients: Iterable[Tensor]) -> tuple[list[Tensor], float]:
        """The weights after the optimizer's next step along the gradients (not clipped),
        and -dw'/dgradient.
        """


class Method(ABC):
    """Base of the search methods.

    space: a `Space`. recipe: what is asked of the loop; its epochs are the length to which
    schedules refer. preset: see `methods.get`. seed: of the initial alpha, i.i.d. N(0, 1e-3^2),
    and of the method's own draws. alpha_lr, alpha_decay: of Adam with betas (0.5, 0.999). policy:
    by which the genotype is derived from the mixing weights (None: the space's own, see
    `Space.policies`).
    """

    name: str
    temperature: float = 1.0
    """Temperature T of the current epoch; in a record it explains the mixing weights."""
    orders: tuple[str, ...] = ORDERS[:2]
    """The orders of the two updates that the method can follow."""
    partial: int = 1
    """One channel in so many runs through the operations;
    the supernet must have been built with the same number.
    """
    extra: tuple[str, ...] = ()
    """What the supernet has on each edge besides its operations,
    a column each in the mixing weights of both steps.
    """

    def __init__(
        self,
        space: Space,
        *,
        recipe: Recipe,
        alpha_lr: float,
        alpha_decay: float,
        policy: str | None = None,
        preset: str = "published",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        check_value("alpha_lr", alpha_lr, float)
        check_value("alpha_decay", alpha_decay, float)
        self.space = space
        self.asked = recipe
        self.epochs = recipe.epochs
        self.preset = preset
        self.policy = policy if policy is None else space.check_policy(policy)
        self.generator = torch.Generator().manual_seed(whole("seed", seed, 0))
        self.alphas: dict[str, Tensor] = {}
        for name, shape in space.alpha_shapes.items():
            draw = torch.randn(shape, generator=self.generator, dtype=torch.float64)
            self.alphas[name] = (1e-3 * draw).to(device, dtype).requires_grad_()
        self.optimizer = torch.optim.Adam(
            self.alphas.values(), alpha_lr, betas=(0.5, 0.999), weight_decay=alpha_decay
        )

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """Raise ValueError for an option that was given, by name, and would do nothing."""

    @property
    def recipe(self) -> Recipe:
        """What the loop has to follow: the recipe that was asked for,
        and what the options add to it.
        """
        return self.asked

    def supported_extras(self, *names: str) -> tuple[str, ...]:
        """The extras of these names that the supernets of the space can have."""
        return tuple(name for name in names if name in self.space.extras)

    def begin_epoch(self, epoch: int) -> None:
        """Move the schedules to the start of an epoch (counted from 0)."""

    def begin_step(self) -> None:
        """Draw what one iteration needs; both of its updates use the same draw."""

    @property
    def softmax_temperature(self) -> float | None:
        """T for which `inference` is softmax(alpha / T),
        None for weights that are made in another way.
        """
        return self.temperature

    def mixing(self) -> Mix:
        """Mixing weights of the current step, differentiable in alpha.

        The cell is not read from these but from `inference`: a new rule belongs there, too, and
        one that is no softmax(alpha / temperature) makes `softmax_temperature` None.
        """
        return self.relaxed(relax.softmax_at(self.temperature))

    def relaxed(self, rule: Rule, scores: Mix | None = None, **how: Any) -> Mix:
        """A rule from scores (None: alpha) to the weights of operations that compete,
        see `Space.relax`.
        """
        return self.space.relax(self.alphas if scores is None else scores, rule, **how)

    def weight_mixing(self) -> Mix:
        """Mixing weights of the current weight step; the same unless a method says otherwise."""
        return self.mixing()

    def perturbed(self, mix: Mix, problem: "Problem", train: Any) -> Mix:
        """What `weight_mixing` gave, moved for the training batch of this step."""
        return mix

    def inference(self) -> Mix:
        """Mixing weights by which the relaxed supernet is evaluated:
        deterministic, at the epoch's temperature.
        """
        with torch.no_grad():
            return self.relaxed(relax.softmax_at(self.temperature))

    def evaluated(self, mix: Mix) -> Mix:
        """Mixing weights, relaxed or discretized,
        with those extra columns that are not 0 when a supernet is evaluated.
        """
        return mix

    def genotype(self) -> Genotype:
        """What the search would return now."""
        return self.space.discretize(self.inference(), self.policy)

    def observed(self) -> dict[str, float]:
        """Finite numbers by name that the record of an epoch keeps, after it, as `observed`."""
        return {}

    def active_in_alpha_step(self, mix: Mix) -> Active:
        """Operations the alpha step must run.
        Under a softmax a weight of exactly 0 has no gradient.
        """
        return self.active_in_weight_step(mix)

    def active_in_weight_step(self, mix: Mix) -> Active:
        """Operations the weight step must run;
        released code ran all, which moves idle batch-norm statistics.
        """
        return everything(mix) if self.preset == "released" else nonzero(mix)

    def alpha_gradients(self, problem: Problem, train: Any, valid: Any) -> list[Tensor]:
        """dL_valid/dalpha at the current weights (first order), one tensor per cell type."""
        mix = self.mixing()
        loss = problem.loss(valid, mix, self.active_in_alpha_step(mix))
        alphas = list(self.alphas.values())
        return list(torch.autograd.grad(loss, alphas, materialize_grads=True))

    def joint_gradients(
        self, problem: Problem, train: Any, valid: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What weights and alpha follow where both move `together`:
        dL_train of each, from one pass (single level).
        """
        mix = self.mixing()
        loss = problem.loss(train, mix, self.active_in_alpha_step(mix))
        wanted = [*problem.weights, *self.alphas.values()]
        gradients = torch.autograd.grad(loss, wanted, materialize_grads=True)
        count = len(problem.weights)
        return list(gradients[:count]), list(gradients[count:])

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


def with_column(mix: Mix, cell_types: Iterable[str], column: Rule) -> Mix:
    """Mixing weights whose edges have one weight more:
    of the cell types, (edges, n) -> (edges, n + 1).

    column: from the weights (edges, n) of a cell type to the new ones (edges, 1).
    """
    wider = dict(mix)
    for cell_type in cell_types:
        weights = mix[cell_type]
        wider[cell_type] = torch.cat([weights, column(weights)], dim=1)
    return wider
