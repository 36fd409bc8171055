"""SmoothDARTS (Chen & Hsieh, ICML 2020): the weights are trained under mixing weights that are
perturbed.

The weight step minimises L_train(w, p + delta) with |delta| <= epsilon for each weight of p =
softmax(alpha), so that the supernet does not depend on the exact p, and discretizing it costs
less. The alpha step is that of DARTS.

    SDARTS-RS   delta is uniform in the box, drawn anew in every step (`Random_alpha`)
    SDARTS-ADV  delta makes the loss of the step's batch large: projected ascent from a random
                start (`Linf_PGD_alpha`)

* It is the mixing weights that are perturbed, not alpha. After each move they are put back among
  the valid ones: cut to [0, 1] and divided by their sum, as in the authors' code. So a weight can
  end a little outside of the box.
* epsilon grows linearly, from 0.03 towards 0.3 at the end of the search.
* The ascent takes 7 steps of 2 epsilon / 7 along the sign of the gradient. The network stands
  still meanwhile: batch norms use the statistics of training. If the loss has fallen in the end,
  nothing is perturbed.
* All operations are run, whatever their weight, so that every batch norm sees every step.
* Where operations compete across edges (LHD) they are divided by their common sum; gates are cut
  to [0, 1].
* Not as in their code for NAS-Bench-201, in either preset: the gradient in the mixing weights has
  no part in the norm that is clipped (there they are parameters of the network).

Source: xiangning-chen/SmoothDARTS, attacker/perturb.py, attacker/linf_sgd.py,
sota/cnn/train_search.py, nasbench201/train_search.py, and `Network.clip` in
sota/cnn/model_search.py.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from nasutils.errors import share, whole
from nasutils.methods import relax, schedules
from nasutils.methods.base import Problem
from nasutils.methods.darts import DARTS
from nasutils.spaces.base import Active, Mix, Space, everything


class SmoothDARTS(DARTS):
    """epsilon_start, epsilon_end: the largest change of a mixing weight, in epoch 0 and after the
    last one; 0 and 0: DARTS. Raises ValueError for less than 0 or more than 1."""

    def __init__(
        self, space: Space, *, epsilon_start: float, epsilon_end: float, **common: Any
    ) -> None:
        super().__init__(space, **common)
        self.epsilon_start = share("epsilon_start", epsilon_start)
        self.epsilon_end = share("epsilon_end", epsilon_end)
        self.epsilon = self.epsilon_start

    def begin_epoch(self, epoch: int) -> None:
        self.epsilon = schedules.growing(epoch, self.epochs, self.epsilon_start, self.epsilon_end)

    def perturbed(self, mix: Mix, problem: Problem, train: Any) -> Mix:
        """The mixing weights, moved by at most epsilon; no gradient leads back to alpha."""
        if not self.epsilon:
            return mix
        return self.moved({name: p.detach() for name, p in mix.items()}, problem, train)

    @abstractmethod
    def moved(self, mix: Mix, problem: Problem, train: Any) -> Mix:
        """Valid mixing weights near these."""

    def active_in_weight_step(self, mix: Mix) -> Active:
        return everything(mix)

    def shaken(self, mix: Mix) -> Mix:
        """Valid mixing weights after uniform noise of up to epsilon."""
        return self.valid({name: p + self._noise(p) for name, p in mix.items()})

    def _noise(self, p: Tensor) -> Tensor:
        draw = torch.rand(p.shape, generator=self.generator, dtype=torch.float64)
        return (self.epsilon * (2 * draw - 1)).to(p)

    def valid(self, mix: Mix) -> Mix:
        """Weights that compete made non-negative with sum 1, gates between 0 and 1."""
        return self.relaxed(to_simplex, mix, gates=lambda g: g.clamp(0, 1))


class SDARTSRS(SmoothDARTS):
    """SDARTS with random smoothing."""

    name = "sdarts-rs"

    def moved(self, mix: Mix, problem: Problem, train: Any) -> Mix:
        return self.shaken(mix)


class SDARTSADV(SmoothDARTS):
    """SDARTS with an adversary. steps: number of steps of its ascent."""

    name = "sdarts-adv"

    def __init__(self, space: Space, *, steps: int, **common: Any) -> None:
        super().__init__(space, **common)
        self.steps = whole("steps", steps)

    def moved(self, mix: Mix, problem: Problem, train: Any) -> Mix:
        before, _ = self._loss(mix, problem, train)
        worst = self.shaken(mix)
        rate = 2 * self.epsilon / self.steps
        for _ in range(self.steps):
            loss, leaves = self._loss(worst, problem, train)
            gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
            climbed = {}
            for name, gradient in zip(leaves, gradients, strict=True):
                climbed[name] = ascent(worst[name], gradient, mix[name], rate, self.epsilon)
            worst = self.valid(climbed)
        after, _ = self._loss(worst, problem, train)
        rises = after.detach() >= before.detach()  # stays on the device
        return {name: torch.where(rises, worst[name], p) for name, p in mix.items()}

    def _loss(self, mix: Mix, problem: Problem, train: Any) -> tuple[Tensor, Mix]:
        """The loss at mixing weights, and the leaves in which it is differentiable."""
        leaves = {name: p.clone().requires_grad_() for name, p in mix.items()}
        loss = problem.loss(train, leaves, everything(leaves), log=False, fixed=True)
        return loss, leaves


def ascent(p: Tensor, gradient: Tensor, centre: Tensor, rate: float, epsilon: float) -> Tensor:
    """A step of `rate` along the sign of the gradient, kept within epsilon of the centre;
    all of one shape.
    """
    return (p + rate * gradient.sign()).clamp(centre - epsilon, centre + epsilon)


def to_simplex(p: Tensor) -> Tensor:
    """Cut to [0, 1] and divided by the sum over the last dimension;
    where nothing is left, the largest becomes 1.
    """
    cut = p.clamp(0, 1)
    total = cut.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, cut / total, relax.one_hot(p))
