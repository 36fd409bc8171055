"""GDAS (Dong & Yang, CVPR 2019): one operation per edge is sampled in every forward,
and only that one is run.

    h = one_hot(argmax p),  p = softmax((alpha + gumbel) / tau);   forward h, backward p

tau falls linearly from 10 to 0.1. As in the paper, only the gradient that arises at the sampled
operation is passed on: dL/dh is 0 for the others, which are not run. Alpha step and weight step
draw samples of their own.

Published, on a space where operations compete across edges (LHD): still one operation per edge.
Released there: one of all into a node, while edges without it count as the constant 1 in the
backward pass. In both one node is sampled for the sum output, and gates are sigmoids without
noise.

Departures from the released LHD code: all cells of a type share a sample, and the weights of an
operation that is not run still decay and follow their momentum (as with the PyTorch of 2021).
Their code: chaoji90/LHD, search/GDAS.
"""

from typing import Any

import torch
from torch import Tensor

from nasutils.errors import positive
from nasutils.methods import relax, schedules
from nasutils.methods.base import with_column
from nasutils.methods.sampled import Sampled
from nasutils.spaces.base import Active, Mix, Space, nonzero


class GDAS(Sampled):
    """hot, cold: tau of the first and of the last epoch."""

    name = "gdas"

    def __init__(
        self, space: Space, *, hot: float = 10.0, cold: float = 0.1, **common: Any
    ) -> None:
        super().__init__(space, **common)
        self.edgewise = self.preset == "published"
        self.extra = () if self.edgewise else self.supported_extras("one")
        self.hot, self.cold = positive("hot", hot), positive("cold", cold)
        self.begin_epoch(0)
        self.begin_step()

    def begin_epoch(self, epoch: int) -> None:
        self.temperature = schedules.linear(epoch, self.epochs, self.hot, self.cold)

    def sample(self, draws: torch.Generator) -> Mix:
        def hard(alpha: Tensor) -> Tensor:
            return hard_softmax(alpha + gumbel(alpha, draws), self.temperature)

        mix = self.relaxed(hard, edgewise=self.edgewise)
        return with_column(mix, self.space.cell_types, unsampled) if self.extra else mix

    def inference(self) -> Mix:
        """softmax(alpha): what the samples are drawn from."""
        with torch.no_grad():
            return self.relaxed(relax.softmax_at(1.0), edgewise=self.edgewise)

    @property
    def softmax_temperature(self) -> float:
        return 1.0

    def active_in_alpha_step(self, mix: Mix) -> Active:
        run = nonzero(mix)
        if not self.extra:
            return run
        rows = {}
        for cell_type in self.space.cell_types:
            # The constant 1 runs on the edges on which nothing was sampled.
            rows[cell_type] = [[*row[:-1], not any(row[:-1])] for row in run[cell_type]]
        return {**run, **rows}

    def active_in_weight_step(self, mix: Mix) -> Active:
        return nonzero(mix)


def gumbel(a: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of the shape, type and device of a tensor."""
    return -torch.empty(a.shape, dtype=torch.float64).exponential_(generator=generator).log().to(a)


def unsampled(hard: Tensor) -> Tensor:
    """The weight of the constant 1 on each edge: (edges, operations) -> (edges, 1), of value 0.

    Where nothing was sampled it has the gradient of the sum of the edge's weights, elsewhere none.
    """
    return hard.sum(dim=1, keepdim=True) * (hard.detach() == 0).all(dim=1, keepdim=True)


def hard_softmax(scores: Tensor, temperature: float) -> Tensor:
    """Exactly 1 for the largest score of each row and 0 for the others;
    backward: of softmax(scores / T).
    """
    p = torch.softmax(scores / temperature, dim=-1)
    return relax.one_hot(p.detach()) + (p - p.detach())
