"""GAEA (Li et al., ICLR 2021): alpha lives on the simplex and moves by exponentiated gradient.

    p <- p * exp(-rate * dL/dp),   p <- max(p, 1e-5),   p <- p / sum(p),   starting from the uniform p

Published: p is the mixing weight. Released (LHD): a softmax on top of it, so that the weights of an edge
differ by a factor e at most. Specification (LHD) 4.7.
"""

from typing import Any

import torch
from torch import Tensor

from nasutils import relax
from nasutils.errors import positive
from nasutils.methods.base import Method
from nasutils.relax import Mix
from nasutils.spaces.base import Space


class GAEABilevel(Method):
    """alpha_lr: rate of the exponentiated gradient, constant. Nothing decays alpha."""

    name = "gaea-bilevel"

    def __init__(self, space: Space, *, alpha_lr: float = 0.1, **common: Any) -> None:
        if common.get("alpha_decay"):
            raise ValueError(f"{self.name} takes no alpha_decay: an exponentiated gradient has none")
        super().__init__(space, alpha_lr=alpha_lr, **common)
        self.rate = positive("alpha_lr", alpha_lr)
        with torch.no_grad():
            for p in self.alphas.values():
                p.fill_(1 / p.shape[-1])

    def mixing(self) -> Mix:
        """A fresh tensor, so that the update of p does not reach a mix that is still in use."""
        return self.relaxed(lambda p: relax.softmax(p, 1.0) if self.preset == "released" else p.clone())

    def inference(self) -> Mix:
        with torch.no_grad():
            return self.mixing()

    def update(self, gradients: list[Tensor]) -> None:
        with torch.no_grad():
            for p, gradient in zip(self.alphas.values(), gradients, strict=True):
                p.copy_(exponentiated(p, gradient, self.rate))


def exponentiated(p: Tensor, gradient: Tensor, rate: float, floor: float = 1e-5) -> Tensor:
    """One step of the exponentiated gradient; p, gradient (edges, operations), each row of p sums to 1."""
    moved = (p * torch.exp(-rate * gradient)).clamp(min=floor)
    return moved / moved.sum(dim=-1, keepdim=True)
