"""Beta-DARTS (Ye et al., CVPR 2022): a penalty on alpha whose gradient is the softmax itself,
growing with the epoch.

    L_valid + 0.5 e * R,   R = mean over edges of ln sum_o exp(alpha_o)

On LHD, where all operations into a node compete and so do the nodes for the sum: mean over those
competitions.

Published: at epoch e of any horizon, as in the authors' code (50 at epoch 100). Released (LHD):
the penalty is detached from the graph, so that the method is DARTS; and the cell types use each
other's alpha for their operations, consistently, so that only their names change (chaoji90/LHD,
search/Beta-DARTS; there R also counts the outputs of the normal cell twice and those of the
reduction cell never, which changes nothing without a gradient).
"""

from typing import Any

import torch
from torch import Tensor

from nasutils.errors import positive
from nasutils.methods.base import Method, Problem
from nasutils.spaces.base import Mix, Space


class BetaDARTS(Method):
    """growth: by how much the weight of the penalty grows in an epoch."""

    name = "beta-darts"

    def __init__(self, space: Space, *, growth: float = 0.5, **common: Any) -> None:
        super().__init__(space, **common)
        self.growth, self.strength = positive("growth", growth), 0.0

    def begin_epoch(self, epoch: int) -> None:
        self.strength = self.growth * epoch

    def mixing(self) -> Mix:
        return self._exchanged(super().mixing())

    def inference(self) -> Mix:
        return self._exchanged(super().inference())

    def _exchanged(self, mix: Mix) -> Mix:
        if self.preset == "released" and "reduce" in mix:
            return {**mix, "normal": mix["reduce"], "reduce": mix["normal"]}
        return mix

    def alpha_gradients(self, problem: Problem, train: Any, valid: Any) -> list[Tensor]:
        gradients = super().alpha_gradients(problem, train, valid)
        if self.preset == "released":
            return gradients
        groups = self.space.competing(self.alphas).values()
        rows = [part for group in groups for part in group]
        away = torch.autograd.grad(penalty(rows), list(self.alphas.values()))
        return [g + self.strength * a for g, a in zip(gradients, away, strict=True)]


def penalty(groups: list[Tensor]) -> Tensor:
    """R: the mean over all rows of ln sum exp, each group (rows, competitors):
    all edges of all cell types.
    """
    return torch.cat([a.logsumexp(dim=-1) for a in groups]).mean()
