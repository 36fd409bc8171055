"""DrNAS (Chen et al., ICLR 2021): the mixing weights of an edge are a draw from a Dirichlet
distribution.

    w ~ Dirichlet(c),  c = elu(alpha) + 1

The gradient is pathwise: w moves with its quantile as c moves.

Alpha is the distribution's parameter, its mean c / sum(c) the weights by which the search is
judged. The cell is read off that mean, as the paper says, or off softmax(alpha), as the authors'
code does (`Network.genotype`): the best operation of an edge is the same, the order of the edges
may differ. Alpha step and weight step draw samples of their own. A distance to the flat
Dirichlet(1), that is alpha = 0, is added to L_valid: `l2` is scale / 2 |alpha|^2, as weight decay
(the authors' default), `kl` is scale * sum of KL(Dirichlet(c) | Dirichlet(1)).

Progressive stages: the search is cut into equal parts (theirs: 25 and 25 epochs), and after each
the worse half of an edge's operations is removed (a Dirichlet draw restricted to the others,
divided by its sum, is one of theirs). Departures from their code: alpha rests at the start of the
first stage, not of each; `partial` stays, since the supernet does, where theirs lets more channels
through in later stages.

Every edge has a distribution of its own, also in a space where operations compete across edges
(LHD). There the sum output has one, too; gates are sigmoids. Released (LHD): no distance, gates
are drawn from a Dirichlet distribution, judged and discretized by the space's softmax of alpha.
Sources: xiangning-chen/DrNAS, DARTS-space/train_search.py and model_search.py, utils.py; released:
chaoji90/LHD, search/DrNAS.
"""

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nasutils.errors import choose, positive, whole
from nasutils.methods import relax
from nasutils.methods.base import Problem
from nasutils.methods.recipes import Recipe
from nasutils.methods.sampled import Sampled
from nasutils.spaces.base import Mix, Rule, Space
from nasutils.spaces.genotype import Genotype


class DrNAS(Sampled):
    """distance: `l2`, `kl` or `none`. scale: its weight, 1e-3.

    read (published): what the cell is read off, the `mean` of the distribution or the `softmax` of
    alpha. partial: one channel in so many runs through the operations (published on the DARTS
    space with C = 36: 6, then 4). stages: number of progressive stages (published with partial
    channels: 2). warmup: epochs in which alpha rests. Defaults that depend on space or preset: see
    `recipes.TABLE`.

    Raises ValueError for a scale of no distance, and for so many stages that alpha rests in all of
    the first.
    """

    name = "drnas"
    DISTANCES = ("l2", "kl", "none")
    READINGS = ("mean", "softmax")

    def __init__(
        self,
        space: Space,
        *,
        distance: str,
        read: str,
        warmup: int,
        alpha_decay: float,
        scale: float | None = None,
        partial: int = 1,
        stages: int = 1,
        **common: Any,
    ) -> None:
        self.distance = choose("distance of drnas", distance, self.DISTANCES)
        self.read = choose("reading of drnas", read, self.READINGS)
        if scale is not None and self.distance == "none":
            raise ValueError(
                "scale of drnas is the weight of a distance, of which there is none: leave it out"
            )
        self.scale = positive("scale", 1e-3 if scale is None else scale)
        self.partial = whole("partial", partial)
        self.stages = whole("stages", stages)
        self.warmup = whole("warmup", warmup, 0)
        if self.distance == "l2":
            alpha_decay += self.scale
        super().__init__(space, alpha_decay=alpha_decay, **common)
        self._check_released()
        self._check_stages()
        self.kept: dict[str, Tensor] = {}
        self.begin_step()

    def _check_released(self) -> None:
        """Raise ValueError for what the released code does not have."""
        if self.preset != "released":
            return
        if self.stages > 1:
            raise ValueError(
                f"stages of drnas must be 1 as released (its code has none), not {self.stages}"
            )
        if self.read == "mean":
            raise ValueError(
                "read of drnas must be 'softmax' as released, where that is what is judged, too,"
                " not 'mean'"
            )

    def _check_stages(self) -> None:
        """Raise ValueError if alpha rests in all of the first stage."""
        if self.stages == 1 or self._cuts()[0] > self.warmup:
            return
        first = (
            f"the first of them, {self._cuts()[0]} epochs long, must outlast the warmup of"
            f" {self.warmup}"
        )
        raise ValueError(
            f"stages of drnas must be fewer than {self.stages}: {first}, or operations go unjudged"
        )

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, alpha_from=self.warmup)

    def _cuts(self) -> list[int]:
        """The epochs at whose start operations are removed."""
        return [round(self.epochs * i / self.stages) for i in range(1, self.stages)]

    def begin_epoch(self, epoch: int) -> None:
        if epoch not in self._cuts():
            return
        for cell_type in self.space.cell_types:
            alpha = self.alphas[cell_type].detach()
            kept = self.kept.get(cell_type, self._competing(cell_type))
            self.kept[cell_type] = better_half(alpha, kept)

    def _competing(self, cell_type: str) -> Tensor:
        """1 for the operations that the space lets compete, else 0."""
        return self._expected(dirichlet_mean)[cell_type].ne(0).to(self.alphas[cell_type])

    def sample(self, draws: torch.Generator) -> Mix:
        mix = self._edgewise(lambda a: relax.dirichlet(concentration(a), draws))
        return self._remaining(mix)

    def _remaining(self, mix: Mix) -> Mix:
        """Mixing weights without the operations that were removed, if any were."""
        remaining = dict(mix)
        for cell_type, kept in self.kept.items():
            weights = mix[cell_type] * kept
            remaining[cell_type] = weights / weights.sum(dim=-1, keepdim=True)
        return remaining

    def _edgewise(self, rule: Rule) -> Mix:
        gates = rule if self.preset == "released" else torch.sigmoid
        return self.relaxed(rule, gates=gates, edgewise=True)

    @property
    def softmax_temperature(self) -> float | None:
        return 1.0 if self.preset == "released" else None

    def inference(self) -> Mix:
        if self.preset == "released":
            return super().inference()
        return self._expected(dirichlet_mean)

    def genotype(self) -> Genotype:
        if self.preset == "released" or self.read == "mean":
            return super().genotype()
        mix = self._expected(relax.softmax_at(1.0))
        return self.space.discretize(mix, self.policy)

    @torch.no_grad()
    def _expected(self, rule: Rule) -> Mix:
        """Mixing weights without chance."""
        return self._remaining(self._edgewise(rule))

    def alpha_gradients(self, problem: Problem, train: Any, valid: Any) -> list[Tensor]:
        gradients = super().alpha_gradients(problem, train, valid)
        if self.distance != "kl":
            return gradients
        distances = []
        for groups in self.space.competing(self.alphas, edgewise=True).values():
            distances += [kl_to_flat(concentration(rows)).sum() for rows in groups]
        distance = torch.stack(distances).sum()
        away = torch.autograd.grad(distance, list(self.alphas.values()))
        return [g + self.scale * a for g, a in zip(gradients, away, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.kept = {}
        for cell_type, kept in state["kept"].items():
            self.kept[cell_type] = kept.to(self.alphas[cell_type])


def better_half(scores: Tensor, kept: Tensor) -> Tensor:
    """1 for the best of the operations that are left, half of them rounded up, else 0:
    all (edges, operations).
    """
    left = scores.masked_fill(kept == 0, -math.inf)
    ranked = left.argsort(dim=-1, descending=True, stable=True)
    count = math.ceil(int(kept[0].sum()) / 2)
    return torch.zeros_like(kept).scatter_(-1, ranked[:, :count], 1.0)


def concentration(alpha: Tensor) -> Tensor:
    """c = elu(alpha) + 1 > 0: exp(alpha) below 0, alpha + 1 above."""
    return F.elu(alpha) + 1


def dirichlet_mean(alpha: Tensor) -> Tensor:
    """The mean of Dirichlet(c), c / sum(c): (edges, operations) -> the same shape."""
    c = concentration(alpha)
    return c / c.sum(dim=-1, keepdim=True)


def kl_to_flat(c: Tensor) -> Tensor:
    """KL(Dirichlet(c) | Dirichlet(1)) in nats of each row: c (edges, operations) -> (edges,)."""
    operations = c.shape[-1]
    total = c.sum(dim=-1)
    normalizers = total.lgamma() - c.lgamma().sum(dim=-1) - math.lgamma(operations)
    mean_log = c.digamma() - total.digamma().unsqueeze(-1)
    return normalizers + ((c - 1) * mean_log).sum(dim=-1)
