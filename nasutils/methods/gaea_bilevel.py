"""GAEA (Li et al., ICLR 2021): alpha lives on the simplex and moves by exponentiated gradient.

    p <- p * exp(-rate * dL/dp),   p <- max(p, 1e-5),   p <- p / sum(p),   from the uniform p

Published: p is the mixing weight, and there is a simplex for whatever competes in the space (LHD:
all operations into a node, the nodes in the sum). A gate is one of two weights, itself and what it
lacks to 1; it starts at 1/2 and its log odds fall by rate * dL/dp. Released (LHD): every row is a
simplex, gates included, with the space's softmax and sigmoids on top, so that competing weights
differ by a factor e at most. Source of that: chaoji90/LHD, search/GAEA.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nasutils.errors import positive
from nasutils.methods import relax
from nasutils.methods.base import Method
from nasutils.spaces.base import Mix, Rule, Space

FLOOR = 1e-5
"""Smallest weight, before the division by the sum."""
HIGH = 80.0
"""Scores below it are used as they are: their exponentials, and the sums of these,
are finite in float32.
"""


class GAEABilevel(Method):
    """GAEA, bilevel. alpha_lr: constant rate of the exponentiated gradient. It has no decay."""

    name = "gaea-bilevel"

    def __init__(self, space: Space, *, alpha_lr: float, **common: Any) -> None:
        super().__init__(space, alpha_lr=alpha_lr, **common)
        self.rate = positive("alpha_lr", alpha_lr)
        with torch.no_grad():
            self._set({name: torch.zeros_like(p) for name, p in self.alphas.items()})

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """Refuse a decay of alpha: an exponentiated gradient has none."""
        if given.get("alpha_decay"):
            raise ValueError(
                f"{cls.name} takes no alpha_decay: an exponentiated gradient has none"
            )

    def mixing(self) -> Mix:
        """A fresh tensor, so that the update of p does not reach a mix that is still in use."""
        if self.preset == "released":
            return self.relaxed(relax.softmax_at(1.0))
        return self.relaxed(torch.clone, gates=torch.clone)

    @property
    def softmax_temperature(self) -> float | None:
        return 1.0 if self.preset == "released" else None

    def inference(self) -> Mix:
        with torch.no_grad():
            return self.mixing()

    def update(self, gradients: list[Tensor]) -> None:
        with torch.no_grad():
            scores = self._transformed(self.alphas, torch.log, gates=torch.logit)
            moved = {}
            for (name, score), gradient in zip(scores.items(), gradients, strict=True):
                moved[name] = score - self.rate * gradient
            self._set(moved)

    def _set(self, scores: Mix) -> None:
        """Let p be the exponentials of scores, up to a factor per simplex;
        of a gate they are the log odds.
        """
        for name, p in self._transformed(scores, simplex, gates=gate).items():
            self.alphas[name].copy_(p)

    def _transformed(self, tensors: Mix, rule: Rule, gates: Rule) -> Mix:
        """A rule applied to every simplex, another one to gates.
        Released, each row is a simplex, gates included.
        """
        if self.preset == "released":
            return self.relaxed(rule, tensors, gates=rule, edgewise=True)
        return self.relaxed(rule, tensors, gates=gates)


def simplex(scores: Tensor) -> Tensor:
    """exp, not below FLOOR, divided by the sum:
    log p - rate * gradient (rows, competitors) -> the next p.

    Where the largest score of a row is so high that exp could overflow (float32: at 88.7), the
    floor is relative to it.
    """
    largest = scores.amax(dim=-1, keepdim=True)
    shift = largest.masked_fill(largest < HIGH, 0.0)
    moved = (scores - shift).exp().clamp(min=FLOOR)
    return moved / moved.sum(dim=-1, keepdim=True)


def gate(scores: Tensor) -> Tensor:
    """The sigmoid of log odds, at least FLOOR away from 0 and 1."""
    return scores.sigmoid().clamp(FLOOR, 1 - FLOOR)
