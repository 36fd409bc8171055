"""The loss of a supernet and its gradients as a CUDA graph:
the same kernels, launched all at once.

A step of a supernet is tens of thousands of small kernels, and a GPU waits for the host that
launches them one by one. A graph is recorded for every combination that recurs of shapes,
operations that run and gradients that are wanted; a step whose combination is new (a method that
samples operations) runs as it would without.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasutils.spaces.base import Active, Mix
from nasutils.spaces.ops import RandomDraws

SupernetLoss = Callable[[Tensor, Tensor, Mix, Active], tuple[Tensor, Tensor]]
"""(images, labels, mix, active) -> mean loss, logits."""

SEEN = 4
"""Number of times after which a combination is recorded:
to compute it before also sets up what a recording must not.
"""
REMEMBERED = 1000
"""Number of combinations that are counted, those used last: a method that samples makes new ones
at every step.
"""
KEPT = 6
"""Number of graphs that are kept, those used last."""


class Graphs:
    """A loss function on a GPU, replayed where it can be. Needs gradients to be enabled.

    loss: what is recorded; it may read nothing from the device. net: its network; gradients are
    taken of those weights that require one when it is called.
    """

    def __init__(self, loss: SupernetLoss, net: nn.Module) -> None:
        self.loss, self.net = loss, net
        self._seen: dict[Any, int] = {}
        self._graphs: OrderedDict[Any, _Graph] = OrderedDict()

    def __call__(
        self, images: Tensor, labels: Tensor, mix: Mix, active: Active
    ) -> tuple[Tensor, Tensor]:
        """The loss, differentiable once in mix and weights, and the logits,
        which the next call may overwrite.
        """
        weights = [w for w in self.net.parameters() if w.requires_grad]
        wanted = tuple(m.requires_grad for m in mix.values())
        runs = tuple(tuple(map(tuple, rows)) for rows in active.values())
        key = (images.shape, images.dtype, wanted, len(weights), runs, self.net.training)
        seen = self._count(key)
        has_gradients = bool(weights) or any(wanted)
        if seen <= SEEN or not has_gradients:
            return self.loss(images, labels, mix, active)
        if key not in self._graphs:
            while len(self._graphs) >= KEPT:
                self._graphs.popitem(last=False)
            self._graphs[key] = _Graph(self.loss, self.net, images, labels, mix, active, weights)
        self._graphs.move_to_end(key)
        return _Replayed.apply(self._graphs[key], images, labels, *mix.values(), *weights)

    def _count(self, key: Any) -> int:
        """How often a combination was used, this time included."""
        self._seen[key] = self._seen.pop(key, 0) + 1  # those used last stand last
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return self._seen[key]


class _Graph:
    """A recorded loss. It reads `inputs`, and leaves `loss`, `logits` and `gradients`."""

    def __init__(
        self,
        loss: SupernetLoss,
        net: nn.Module,
        images: Tensor,
        labels: Tensor,
        mix: Mix,
        active: Active,
        weights: Sequence[Tensor],
    ) -> None:
        self.read = {
            name: m.detach().clone().requires_grad_(m.requires_grad) for name, m in mix.items()
        }
        self.inputs = [images.clone(), labels.clone(), *self.read.values()]
        self.sources = [*self.read.values(), *weights]
        self.compute, self.active = loss, active
        self.graph = self._record(net)

    def _record(self, net: nn.Module) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for module in net.modules():
            if isinstance(module, RandomDraws) and module.generator.device.type == "cuda":
                graph.register_generator_state(module.generator)
        with torch.cuda.graph(graph):
            self.loss, self.logits, self.gradients = self._leave()
        return graph

    def _leave(self) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """Loss, logits and, where one is wanted, the gradient of each source,
        of what the inputs hold.
        """
        images, labels = self.inputs[:2]
        loss, logits = self.compute(images, labels, self.read, self.active)
        of = [source for source in self.sources if source.requires_grad]
        found = torch.autograd.grad(loss, of, materialize_grads=True)
        gradients = _placed([s.requires_grad for s in self.sources], found)
        return loss.detach(), logits.detach(), gradients

    def replay(self, inputs: Sequence[Tensor]) -> None:
        """Compute loss, logits and gradients of other inputs; without gradients enabled."""
        for static, given in zip(self.inputs, inputs, strict=True):
            static.copy_(given)
        self.graph.replay()


class _Replayed(torch.autograd.Function):
    """(graph, images, labels, *mix, *weights) -> loss, logits."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        graph.replay(inputs[: len(graph.inputs)])
        known = [g for g in graph.gradients if g is not None]
        # copies: the next replay overwrites them
        ctx.save_for_backward(*torch._foreach_mul(known, 1.0))
        ctx.known = [g is not None for g in graph.gradients]
        logits = graph.logits.view_as(graph.logits)
        ctx.mark_non_differentiable(logits)
        return graph.loss.clone(), logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        scaled = torch._foreach_mul(ctx.saved_tensors, g)
        return None, None, None, *_placed(ctx.known, scaled)


def _placed(wanted: Sequence[bool], values: Iterable[Tensor]) -> list[Tensor | None]:
    """The values at the places that are wanted, in order, and None at the others."""
    left = iter(values)
    return [next(left) if want else None for want in wanted]
