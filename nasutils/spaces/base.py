"""What every search space is, and the checks they share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.errors import choose, whole
from nasutils.spaces.genotype import Genotype

SKIP = "skip_connect"
"""The skip connection, in all spaces that have one."""
Mix = Mapping[str, Tensor]
"""Mixing weights, or scores of the same shape, by cell type: (edges, operations)."""
Rule = Callable[[Tensor], Tensor]
"""A function from scores to weights of what competes, which is the last dimension;
both (rows, competitors).
"""
Active = Mapping[str, list[list[bool]]]
"""Per cell type and edge, whether each operation is run."""
EdgeOps = tuple[tuple[str, ...], ...]
"""Names of the operations of each edge of a cell."""


class Space(ABC):
    """A search space: its operations, its architecture parameters' shapes,
    and the networks it builds.

    name: as in `spaces.get`. ops: names of the candidate operations, in order. alpha_shapes: shape
    (edges, operations) per cell type. num_architectures: size of the space. policies: how mixing
    weights become a genotype. extras: what its supernet can have on each edge besides operations,
    see `Method.extra`. recipe: a `methods.Recipe`, what a search on it asks of the loop; only of a
    space that the table of recipes does not name.
    """

    name: ClassVar[str]
    ops: ClassVar[tuple[str, ...]]
    alpha_shapes: ClassVar[dict[str, tuple[int, int]]]
    num_architectures: ClassVar[int]
    policies: ClassVar[tuple[str, ...]]
    extras: ClassVar[tuple[str, ...]] = ()
    recipe: ClassVar[Any] = None

    @property
    def cell_types(self) -> tuple[str, ...]:
        """The names of its cells: those keys of alpha_shapes whose rows are edges."""
        return tuple(self.alpha_shapes)

    @abstractmethod
    def supernet(self, channels: int, cells: int, num_classes: int, partial: int = 1) -> nn.Module:
        """The network of all operations: `net(images, mix, active=None) -> logits`,
        (batch, num_classes).

        active: per cell type and edge, the operations that must run; the others have weight 0 and
        may be skipped, or run all the same (None: see `active_operations`). partial: one channel
        in so many runs through the operations, see `Method.partial`.
        """

    def relax(
        self, scores: Mix, rule: Rule, gates: Rule = torch.sigmoid, edgewise: bool = False
    ) -> Mix:
        """Mixing weights: a rule from scores to weights,
        applied to what competes (the operations of each edge).

        gates: applied to weights that compete with nothing (LHD's output gates). edgewise:
        operations compete on their edge alone, also in a space where those of several edges would.
        Both matter only in LHD.
        """
        return {name: rule(scores[name]) for name in self.alpha_shapes}

    def competing(self, scores: Mix, edgewise: bool = False) -> dict[str, list[Tensor]]:
        """What `relax` hands to its rule, by key: tensors (rows, competitors), without gates."""
        return {name: [scores[name]] for name in self.alpha_shapes}

    @abstractmethod
    def discretize(self, mix: Mix, policy: str | None = None) -> Genotype:
        """The genotype of mixing weights by a policy; None: the space's first one."""

    @abstractmethod
    def finalnet(
        self, genotype: Genotype | str, channels: int, cells: int, num_classes: int
    ) -> nn.Module:
        """The network of one genotype: `net(images) -> logits`."""

    def check_genotype(self, genotype: Genotype | str) -> None:
        """Raise ValueError unless a genotype is of this space. Any space can tell by a small
        network; one that knows sooner saves the time.
        """
        with torch.random.fork_rng(devices=[]):
            self.finalnet(genotype, channels=16, cells=3, num_classes=1)

    def check_policy(self, policy: str | None) -> str:
        return choose(
            f"policy of {self.name}", self.policies[0] if policy is None else policy, self.policies
        )


def operations_of_edges(space: Space, cell_type: str) -> EdgeOps:
    """The names of the operations on each edge of a cell; in S1 they differ from edge to edge."""
    edge_ops = getattr(space, "edge_ops", None)
    if edge_ops is not None:
        return edge_ops[cell_type]
    edges, _ = space.alpha_shapes[cell_type]
    return (space.ops,) * edges


def check_channels(channels: int) -> int:
    """Return channels if a network with factorized reductions can have as many.
    Raises ValueError with the rule.
    """
    if channels < 2 or channels % 2:
        rule = "channels must be an even number of at least 2 (a skip of stride 2 halves it)"
        raise ValueError(
            f"{rule}, not {channels}; the nearest is {max(channels + channels % 2, 2)}"
        )
    return channels


def check_partial(channels: int, partial: int) -> int:
    """Return partial if one channel in so many can run through the operations.
    Raises ValueError with the rule.
    """
    if partial < 1 or channels % partial:
        raise ValueError(f"channels must be divisible by partial = {partial}, not {channels}")
    return partial


def check_cells(cells: int) -> int:
    """Return cells if a network with two reduction cells can have as many.
    Raises ValueError with the rule.
    """
    if cells < 3:
        raise ValueError(
            f"cells must be at least 3 (two of them are reduction cells), not {cells}"
        )
    return cells


def check_network(channels: int, cells: int, num_classes: int) -> None:
    """Raise ValueError for a size that no network with two reduction cells can have."""
    check_channels(channels)
    check_cells(cells)
    whole("num_classes", num_classes)


def check_images(images: Tensor) -> None:
    """Raise ValueError unless the two reductions divide the images' sides."""
    height, width = images.shape[2:]
    if height % 4 or width % 4:
        raise ValueError(
            f"the sides of the images must be divisible by 4, not {(height, width)}: resize them,"
            " or set resolution"
        )


def check_mix(mix: Mix, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Raise ValueError unless mix has the keys and shapes of alpha_shapes."""
    found = {name: tuple(weights.shape) for name, weights in mix.items()}
    if found != dict(shapes):
        raise ValueError(f"mixing weights must have the shapes {dict(shapes)}, not {found}")


def with_extras(
    mix: Mix, active: Active | None, shapes: Mapping[str, tuple[int, int]], extra: int
) -> tuple[Mix, Active]:
    """Mixing weights of these shapes, and what runs of them (None: see `active_operations`).

    extra: the number of columns beside operations; a cell type that lacks them gets zeros, which
    are not run. Raises ValueError for other shapes.
    """
    rows = dict(active_operations(mix) if active is None else active)
    full = {}
    for name, weights in mix.items():
        full[name] = weights
        if extra and name in shapes and shapes[name][1] - weights.shape[-1] == extra:
            full[name] = F.pad(weights, (0, extra))
            rows[name] = [[*row, *[False] * extra] for row in rows[name]]
    check_mix(full, shapes)
    return full, rows


def check_ranked(mix: Mix, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Raise ValueError unless weights can be ranked: of these shapes, and finite (one device
    synchronisation per cell type).
    """
    check_mix(mix, shapes)
    if bad := [name for name, weights in mix.items() if not weights.isfinite().all()]:
        raise ValueError(f"mixing weights must be finite, those of {', '.join(bad)} are not")


def nonzero(mix: Mix) -> Active:
    """The operations whose weight is not exactly 0 (one device synchronisation per cell type)."""
    return {name: (weights != 0).tolist() for name, weights in mix.items()}


def everything(mix: Mapping[str, Tensor]) -> Active:
    """Every operation, whatever its weight."""
    return {name: [[True] * w.shape[1]] * w.shape[0] for name, w in mix.items()}


def active_operations(mix: Mix) -> Active:
    """What a supernet runs if it is not told: all operations but those of weight 0.

    If a gradient in the weights is wanted, those run, too: the loss changes with a weight that is
    0.
    """
    if any(weights.requires_grad for weights in mix.values()):
        return everything(mix)
    return nonzero(mix)
