"""MiLeNAS (He et al., CVPR 2020): mixed-level search.
Alpha follows both losses, the weights the training loss:

    g_alpha = a * dL_train(w, alpha)/dalpha + b * dL_valid(w, alpha)/dalpha
    g_w = dL_train(w, alpha)/dw

All gradients are taken at the same (w, alpha), so the training batch needs one pass. (The authors'
code, chaoyanghe/MiLeNAS, moves alpha first, passes the training batch a second time for the
weights, and clips the gradients of alpha where it means those of the weights.) Source: section 3
of the paper; chaoji90/LHD, search/MiLeNAS.
"""

from typing import Any

from torch import Tensor

from nasutils.errors import positive
from nasutils.methods.base import Method, Problem
from nasutils.spaces.base import Space


class MiLeNAS(Method):
    """MiLeNAS. train_weight, valid_weight: a and b of the formula above. Released: 1 and 1."""

    name = "milenas"
    orders = ("together",)

    def __init__(
        self, space: Space, *, train_weight: float = 1.0, valid_weight: float = 1.0, **common: Any
    ) -> None:
        super().__init__(space, **common)
        self.train_weight = positive("train_weight", train_weight)
        self.valid_weight = positive("valid_weight", valid_weight)

    def joint_gradients(
        self, problem: Problem, train: Any, valid: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        of_valid = super().alpha_gradients(problem, train, valid)
        to_weights, of_train = super().joint_gradients(problem, train, valid)
        return to_weights, mixed_level(of_train, of_valid, self.train_weight, self.valid_weight)


def mixed_level(
    of_train: list[Tensor], of_valid: list[Tensor], train_weight: float, valid_weight: float
) -> list[Tensor]:
    """train_weight * dL_train/dalpha + valid_weight * dL_valid/dalpha, cell type by cell type."""
    return [train_weight * t + valid_weight * v for t, v in zip(of_train, of_valid, strict=True)]
