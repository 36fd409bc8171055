"""GDAS (Dong & Yang, CVPR 2019): one operation per edge is sampled in every forward, and only that one is run.

    h = one_hot(argmax p),  p = softmax((alpha + gumbel) / tau);   forward h, backward the gradient of p

tau falls linearly from 10 to 0.1. As in the paper, only the gradient that arises at the sampled operation is
passed on: dL/dh is 0 for the others, which are not run. Alpha step and weight step draw samples of their own.

Departures from the released LHD code: all cells of a type share a sample, and an operation that is not run does
not count as the constant 1 in the backward pass. Specification (LHD) 4.6.
"""

from typing import Any

import torch
from torch import Tensor

from nasutils import relax, schedules
from nasutils.errors import positive
from nasutils.methods.baseline import Baseline
from nasutils.relax import Mix
from nasutils.spaces.base import Active, Space, nonzero


class GDAS(Baseline):
    """hot, cold: tau of the first and of the last epoch."""

    name = "gdas"

    def __init__(self, space: Space, *, hot: float = 10.0, cold: float = 0.1, **common: Any) -> None:
        super().__init__(space, **common)
        self.hot, self.cold = positive("hot", hot), positive("cold", cold)
        self.begin_epoch(0)
        self.begin_step()

    def begin_epoch(self, epoch: int) -> None:
        self.temperature = schedules.linear(epoch, self.epochs, self.hot, self.cold)

    def begin_step(self) -> None:
        self.noise, self.weight_noise = self._gumbel(), self._gumbel()

    def _gumbel(self) -> Mix:
        """Standard Gumbel noise of the shapes of alpha."""
        return {
            name: -torch.empty(a.shape, dtype=torch.float64).exponential_(generator=self.generator).log().to(a)
            for name, a in self.alphas.items()
        }

    def mixing(self) -> Mix:
        return self._sampled(self.noise)

    def weight_mixing(self) -> Mix:
        return self._sampled(self.weight_noise)

    def _sampled(self, noise: Mix) -> Mix:
        scores = {name: a + noise[name] for name, a in self.alphas.items()}
        return self.relaxed(lambda s: hard_softmax(s, self.temperature), scores)

    def inference(self) -> Mix:
        """softmax(alpha): what the samples are drawn from."""
        with torch.no_grad():
            return self.relaxed(lambda a: relax.softmax(a, 1.0))

    def active_in_weight_step(self, mix: Mix) -> Active:
        return nonzero(mix)


def hard_softmax(scores: Tensor, temperature: float) -> Tensor:
    """Exactly 1 for the largest score of each row and 0 for the others; backward: of softmax(scores / T)."""
    p = torch.softmax(scores / temperature, dim=-1)
    return relax.one_hot(p.detach()) + (p - p.detach())
