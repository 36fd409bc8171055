"""What the benchmark compares: our search step and the field's naive one,
in one setting on one machine.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils import methods, spaces
from nasutils.data import Data, ImageSet
from nasutils.methods import Recipe
from nasutils.spaces import Space
from nasutils.spaces.base import Active
from nasutils.training.experiment import supernet_options
from nasutils.training.loop import Batch
from nasutils.training.search import Search
from tests import naive, naive_darts, naive_lhd

Ops = Mapping[str, Sequence[int]]
"""Per cell type, an operation for every edge."""
Step = tuple[str, Mapping]
"""Of ours: method and options."""
PLAIN: Step = ("darts", {})
SMALL_T: Step = ("darts", {"temperature": 1e-3})
SMALL_T_NOISY: Step = ("pcd-darts", {"schedule": "constant", "warmup": 0, "fixed": 1e-3})


def drawn(space: Space) -> list[Ops]:
    """Five genotypes with every operation equally often (as far as it goes), in random places."""
    generator = torch.Generator().manual_seed(0)
    draws = {
        kind: (torch.randperm(5 * edges, generator=generator) % ops).view(5, edges).tolist()
        for kind, (edges, ops) in space.alpha_shapes.items()
    }
    return [{kind: rows[i] for kind, rows in draws.items()} for i in range(5)]


def everywhere(space: Space, op: str) -> Ops:
    """The genotype of one operation on all edges."""
    return {kind: [space.ops.index(op)] * edges for kind, (edges, _) in space.alpha_shapes.items()}


@dataclass(frozen=True)
class Setting:
    """Space, network width, cells (per stage), batch, image side in pixels; rounds to measure."""

    name: str
    space: str
    channels: int
    cells: int
    batch: int
    side: int
    rounds: int


@dataclass(frozen=True)
class Machine:
    """Where to measure, and its clock."""

    device: str
    threads: int

    def seconds(self, work: Callable[[], object]) -> float:
        if self.device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            return start.elapsed_time(end) / 1000
        clock = time.process_time if self.threads == 1 else time.perf_counter
        started = clock()
        work()
        return clock() - started


@cache
def random_images(side: int, device: str) -> Data:
    """Random pixels and labels: what the images show does not change what a step costs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (512, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (len(pixels),), generator=generator)
    images = ImageSet(pixels.to(device), labels.to(device))
    return Data("random", images, images, 10, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


class Ours:
    """The package's own step. kind: method and options.
    ops: alpha stands on this operation of each edge.

    graphs: whether a GPU replays graphs, as it does in a search.
    """

    layout = "NHWC"

    def __init__(
        self,
        setting: Setting,
        machine: Machine,
        kind: Step = PLAIN,
        ops: Ops | None = None,
        precision: str = "float32",
        graphs: bool = True,
    ) -> None:
        self.given = (kind, ops)
        self.dtype = precision
        dtype = torch.float64 if precision == "float64" else torch.float32
        name, options = kind
        space = spaces.get(setting.space)
        self.method = methods.get(name, space, device=machine.device, dtype=dtype, **options)
        if ops is not None:
            with torch.no_grad():
                for cell, alpha in self.method.alphas.items():
                    alpha.copy_(F.one_hot(torch.tensor(ops[cell]), alpha.shape[1]))
        torch.manual_seed(0)
        options = supernet_options(self.method)
        self.net = space.supernet(setting.channels, setting.cells, 10, **options).to(
            machine.device, dtype
        )
        images = random_images(setting.side, machine.device)
        recipe, train = self.method.recipe, images.train
        self.search = Search(
            self.net, self.method, recipe, images, train, train, precision=precision
        )
        if not graphs:
            self.search.graphs = None
        self.search.begin_epoch()

    def batches(self, size: int) -> list[Batch]:
        """Two different ones, for the weights and for alpha."""
        index = torch.arange(2 * size).split(size)
        return [
            self.search.batch(role, self.search.train, i)
            for role, i in zip(("train", "valid"), index, strict=True)
        ]

    def step(self, train: Batch, valid: Batch) -> None:
        self.search.step(train, valid)

    def weight_pass(self) -> tuple[dict[str, Tensor], Active]:
        mix = {name: m.detach() for name, m in self.method.mixing().items()}
        return mix, self.method.active_in_weight_step(mix)

    def losses(self, batch: Batch) -> list[Callable[[], Tensor]]:
        """Of the weight update and of the alpha update."""
        mix = self.method.mixing()
        active = self.method.active_in_alpha_step(mix)
        return [
            lambda: self.search.loss(batch, *self.weight_pass()),
            lambda: self.search.loss(batch, mix, active),
        ]


def naive_network(setting: Setting) -> tuple[nn.Module, Callable[[Mapping], dict]]:
    """The naive supernet, and how our names of parameters become its names."""
    size = (setting.channels, setting.cells, 10)
    if setting.space == "nasbench201":
        return naive.NaiveSupernet(*size), naive.unstack
    if setting.space == "lhd":
        return naive_lhd.Supernet(*size), dict
    return naive_darts.Supernet(spaces.get(setting.space).edge_ops, *size), dict  # type: ignore[attr-defined]


class Plain:
    """The field's step, of any network: both updates back-propagate into everything."""

    layout = "NCHW"
    dtype: str

    def __init__(self, net: nn.Module, alphas: Iterable[Tensor], recipe: Recipe) -> None:
        self.net, self.clip = net, recipe.clip
        alphas = list(alphas)
        weights = [w for w in net.parameters() if all(w is not alpha for alpha in alphas)]
        self.weights = weights
        self.alpha_optimizer = torch.optim.Adam(
            alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )
        self.weight_optimizer = torch.optim.SGD(
            weights,
            recipe.weight_lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )

    def loss(self, batch: Batch) -> Tensor:
        raise NotImplementedError

    def losses(self, batch: Batch) -> list[Callable[[], Tensor]]:
        return [lambda: self.loss(batch)]

    def step(self, train: Batch, valid: Batch) -> None:
        self.weight_optimizer.zero_grad()
        self.loss(train).backward()
        nn.utils.clip_grad_norm_(self.weights, self.clip)
        self.weight_optimizer.step()
        self.alpha_optimizer.zero_grad()
        self.loss(valid).backward()
        self.alpha_optimizer.step()


class Naive(Plain):
    """The field's step, written once more: one module per operation."""

    def __init__(self, setting: Setting, machine: Machine, ours: Ours) -> None:
        self.dtype, self.space = ours.dtype, ours.method.space
        net, self.unstack = naive_network(setting)
        net.to(machine.device, ours.search.dtype)
        net.load_state_dict(self.unstack(ours.net.state_dict()), strict=False)
        self.alphas = {
            k: a.detach().clone().requires_grad_() for k, a in ours.method.alphas.items()
        }
        super().__init__(net, self.alphas.values(), ours.method.recipe)

    def loss(self, batch: Batch) -> Tensor:
        logits = self.net(
            batch.images, self.space.relax(self.alphas, lambda a: torch.softmax(a, dim=-1))
        )
        return F.cross_entropy(logits, batch.labels)


Variant = Ours | Plain


def in_layout(variant: Variant, batch: Batch) -> Batch:
    form = torch.channels_last if variant.layout == "NHWC" else torch.contiguous_format
    return replace(batch, images=batch.images.contiguous(memory_format=form))
