"""DARTS (Liu et al., ICLR 2019), first and second order, with an optional fixed temperature.

The second order differentiates through one weight step exactly, by a Hessian-vector product
(double backward) where the original takes a finite difference:

    dL_valid(w', alpha)/dalpha - factor * d<dL_train(w, alpha)/dw, v>/dalpha
    v = dL_valid/dw' at w'

with factor = -dw'/dgradient, the rate (times 1 + momentum under Nesterov). Clipping is not part of
w'.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nasutils.errors import positive
from nasutils.methods.base import Method, Problem
from nasutils.methods.recipes import Recipe, constant_rate
from nasutils.spaces.base import Space, everything
from nasutils.spaces.sharing import added


class DARTS(Method):
    """Softmax of alpha and Adam.

    order: 1 or 2. temperature: of the softmax in both steps (1: DARTS; a small one is the naive
    way to sparsity, without the noisy gradient; the weight rate then stays where it starts, as in
    the small-temperature methods, and does not fall along a cosine).
    """

    name = "darts"

    def __init__(
        self,
        space: Space,
        *,
        order: int = 1,
        temperature: float = 1.0,
        **common: Any,
    ) -> None:
        if isinstance(order, bool) or order not in (1, 2):
            raise ValueError(f"order of darts must be 1 or 2, not {order!r}")
        super().__init__(space, **common)
        self.order, self.temperature = order, positive("temperature", temperature)

    @property
    def recipe(self) -> Recipe:
        if self.temperature == 1:
            return self.asked
        return replace(self.asked, **constant_rate(self.asked.weight_lr))

    def alpha_gradients(self, problem: Problem, train: Any, valid: Any) -> list[Tensor]:
        if self.order == 1:
            return super().alpha_gradients(problem, train, valid)
        return unrolled_gradients(problem, self, train, valid)


def unrolled_gradients(problem: Problem, method: DARTS, train: Any, valid: Any) -> list[Tensor]:
    """dL_valid(w'(alpha), alpha)/dalpha with w' one training step from w:
    the second order, exact.
    """
    alphas = list(method.alphas.values())
    mix = method.mixing()
    active = everything(mix)

    # w' = one training step from w, whose gradient is kept differentiable in alpha.
    here = [w.detach().requires_grad_() for w in problem.weights]
    train_loss = problem.loss(train, mix, active, here, log=False)
    train_gradients = torch.autograd.grad(
        train_loss, here, create_graph=True, materialize_grads=True
    )
    ahead, factor = problem.unrolled_weights(g.detach() for g in train_gradients)
    for w in ahead:
        w.requires_grad_()

    # dL_valid(w', alpha) in alpha directly, and in w'.
    valid_loss = problem.loss(valid, method.mixing(), active, ahead)
    gradients = torch.autograd.grad(valid_loss, [*alphas, *ahead], materialize_grads=True)
    direct = gradients[: len(alphas)]
    toward = gradients[len(alphas) :]

    # Through w': the derivative in alpha of <train gradient, v>, a Hessian-vector product.
    products = [(g * v).sum() for g, v in zip(train_gradients, toward, strict=True)]
    implicit = torch.autograd.grad(added(products), alphas, materialize_grads=True)
    return [d - factor * i for d, i in zip(direct, implicit, strict=True)]
