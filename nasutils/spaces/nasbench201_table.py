"""The 15,625 cells of NAS-Bench-201 as values:
text, index, unique form, cost in closed form, tabulated accuracy.

A cell may be given as its text, its index in the benchmark, a `Genotype`, or the six operations in
the order of EDGES, which is that of the text: names, or numbers, which are positions in OPS, the
benchmark's order. Nothing here needs a network or a download.
"""

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from operator import index

import numpy as np

from nasutils import paths
from nasutils.errors import choose
from nasutils.spaces.base import SKIP
from nasutils.spaces.genotype import Genotype, is_namedtuple

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target) of the six edges, in the order of the architecture parameters' rows."""
num_architectures = len(OPS) ** len(EDGES)
DATASETS = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "im16"}
ACCURACY_KINDS = ("test_200", "val_12", "test_12")

Arch = str | int | Genotype | Sequence[str] | Sequence[int]


class ByDataset(dict[str, float]):
    """Values by data set. An unknown name raises ValueError, as in `accuracies`."""

    def __missing__(self, name: str) -> float:
        return self[choose("data set of NAS-Bench-201", name, self)]


@dataclass(frozen=True)
class CellRecord:
    """A cell as tabulated. Accuracies in percent by data set: cifar10, cifar100, imagenet16-120.

    test_accuracy: after 200 epochs, mean over the seeds that the benchmark has (1 to 3). CIFAR-10:
    on its 10,000 test images, of networks trained on all 50,000 others. The other two: on the
    benchmark's x-test half of the test images, of networks trained on all training images.
    validation_accuracy_12, test_accuracy_12: after the schedule of 12 epochs. CIFAR-10: on the
    benchmark's x-valid half of the training images, of networks trained on the other half, mean of
    two seeds; on the test images, of another network, trained on all training images, one seed.
    The other two: on x-valid and x-test, the halves of the test images, one seed.
    params, macs: trainable weights and multiply-adds of the benchmark's network for CIFAR-10 (C =
    16, 3 x 5 cells, 32 x 32), as numbers; the benchmark's API gives both in millions, and calls
    the second ones flops.
    """

    index: int
    arch: str
    params: int
    macs: int
    test_accuracy: Mapping[str, float]
    validation_accuracy_12: Mapping[str, float]
    test_accuracy_12: Mapping[str, float]


def operations(arch: Arch) -> tuple[int, ...]:
    """The six operations as numbers, in the order of EDGES.
    Raises ValueError if it is not a cell of the space.
    """
    if isinstance(arch, bool):  # which is a number to Python
        raise _no_cell(arch)
    if isinstance(arch, (int, np.integer)):
        if not 0 <= arch < num_architectures:
            raise ValueError(
                f"index of a NAS-Bench-201 cell must be 0 to {num_architectures - 1}, not {arch}"
            )
        return tuple(int(c) for c in _table()["ops"][int(arch)])
    if isinstance(arch, str) or is_namedtuple(arch):
        arch = Genotype.parse(arch)
    if isinstance(arch, Genotype):
        nodes = [pairs for cell in arch.cells for pairs in cell.nodes]
        sources = [[source for _, source in pairs] for pairs in nodes]
        if sources != [[0], [0, 1], [0, 1, 2]]:
            raise ValueError(
                "a NAS-Bench-201 cell has the inputs 0, 0 1, 0 1 2 at its three nodes; found"
                f" {arch}{_of_another_space(arch)}"
            )
        arch = [op for pairs in nodes for op, _ in pairs]
    try:
        given: tuple[str | int, ...] = tuple(arch)
        if len(given) != len(EDGES):
            raise ValueError(f"a NAS-Bench-201 cell has 6 operations, not {len(given)}")
        return tuple(_operation(op, edge) for op, edge in zip(given, EDGES, strict=True))
    except TypeError:
        raise _no_cell(arch) from None


def _no_cell(given: object) -> ValueError:
    known = "a text, an index, a Genotype or six operations"
    return ValueError(f"a NAS-Bench-201 cell is {known}, not {given!r}")


def _of_another_space(genotype: Genotype) -> str:
    """A hint for cells of DARTS's lineage."""
    if {"normal", "reduce"}.isdisjoint(cell.name for cell in genotype.cells):
        return ""
    return "; it has normal and reduction cells: is it of the space 'darts'?"


def _operation(op: str | int, edge: tuple[int, int]) -> int:
    place = f"operation of edge {edge[0]} -> {edge[1]} of NAS-Bench-201"
    if isinstance(op, str):
        return OPS.index(choose(place, op, OPS))
    number = index(op)  # TypeError for 1.5, which int() would round
    if not 0 <= number < len(OPS):
        raise ValueError(f"{place} must be 0 to 4, not {number}")
    return number


def arch_of(arch: Arch) -> str:
    """The cell's text: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|."""
    named = []
    for op, (source, _) in zip(operations(arch), EDGES, strict=True):
        named.append(f"{OPS[op]}~{source}")
    nodes = named[:1], named[1:3], named[3:]
    return "+".join(f"|{'|'.join(edges)}|" for edges in nodes)


def index_of(arch: Arch) -> int:
    """The cell's index in NAS-Bench-201 and NATS-Bench.

    The order is that of all tuples of operations, shuffled by Python's `random` from seed 88. It
    is read from the table, as Python promises the same shuffle for no other version.
    """
    return _indices()["".join(map(str, operations(arch)))]


def canonical(arch: Arch) -> str:
    """The benchmark's unique text: cells that share it compute the same function; 6,466 classes.

    Skip passes its input's expression on, none and what follows a zero node is zero ('#'), a node
    is its sorted terms. Some equal cells stay apart, as in the benchmark: a + 0 is not a, and a
    sum that is passed on keeps its own order, so a + (b + c) need not be b + (a + c). Nothing in
    the package asks for it: it is for who counts cells, or samples them, each function once.
    """
    expressions = ["0"]
    ops = operations(arch)
    for node in (1, 2, 3):
        terms = []
        for op, (source, target) in zip(ops, EDGES, strict=True):
            if target == node:
                terms.append(_term(op, expressions[source]))
        expressions.append("+".join(sorted(terms)))
    return expressions[-1]


def _term(operation: int, source: str) -> str:
    if OPS[operation] == "none" or source == "#":
        return "#"
    return source if OPS[operation] == SKIP else f"({source})@{OPS[operation]}"


def finalnet_parameters(
    arch: Arch, channels: int = 16, cells: int = 5, num_classes: int = 10
) -> int:
    """Trainable weights of the cell's final network:
    C channels, `cells` cells per stage, three stages.
    """
    areas = _kernel_areas(operations(arch))
    widths = [channels, 2 * channels, 4 * channels]
    stem = 27 * channels + 2 * channels
    inside = 0
    for width in widths:
        inside += cells * sum(area * width**2 + 2 * width for area in areas)
    between = 0  # two convolutions of 3 x 3 with their batch norms, and the shortcut of 1 x 1
    for before, after in pairwise(widths):
        between += 9 * before * after + 9 * after**2 + 4 * after + before * after
    head = 2 * widths[-1] + (widths[-1] + 1) * num_classes
    return stem + inside + between + head


def finalnet_multiply_adds(
    arch: Arch, channels: int = 16, cells: int = 5, num_classes: int = 10, resolution: int = 32
) -> int:
    """Multiply-adds for one image: convolutions and the classifier
    (one add per class for its bias), nothing else.
    """
    areas = _kernel_areas(operations(arch))
    total = 27 * channels * resolution**2
    for stage in range(3):
        width, pixels = channels * 2**stage, (resolution // 2**stage) ** 2
        total += cells * sum(areas) * width**2 * pixels
        if stage:  # the residual reduction before it
            before = width // 2
            total += (9 * before * width + 9 * width**2 + before * width) * pixels
    return total + (4 * channels + 1) * num_classes


def _kernel_areas(ops: Sequence[int]) -> list[int]:
    areas = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    return [areas[OPS[o]] for o in ops if OPS[o] in areas]


def query(arch: Arch) -> CellRecord:
    """What NAS-Bench-201 says of a cell. Raises ValueError if it is not a cell of the space."""
    ops = operations(arch)  # parsed once
    row = index_of(ops)
    columns = []
    for kind in ACCURACY_KINDS:
        by_dataset = ((name, accuracies(name, kind)[row].item()) for name in DATASETS)
        columns.append(ByDataset(by_dataset))
    sizes = finalnet_parameters(ops), finalnet_multiply_adds(ops)
    return CellRecord(row, arch_of(ops), *sizes, *columns)


def accuracies(dataset: str, kind: str = "test_200") -> np.ndarray:
    """Accuracies (%) of all cells in index order, (15625,), read-only.
    kind: test_200, val_12 or test_12.
    """
    short = DATASETS[choose("data set of NAS-Bench-201", dataset, DATASETS)]
    column: np.ndarray = _table()[f"{short}_{choose('kind of accuracy', kind, ACCURACY_KINDS)}"]
    return column


@cache
def _table() -> dict[str, np.ndarray]:
    """The shipped columns: `ops` as text of six digits, accuracies as float64."""
    packed = paths.shipped("nasbench201.csv.gz").read_bytes()
    header, *rows = csv.reader(gzip.decompress(packed).decode().splitlines())
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    table = {}
    for name, column in columns.items():
        table[name] = np.array(column, dtype=str if name == "ops" else np.float64)
        table[name].flags.writeable = False
    return table


@cache
def _indices() -> dict[str, int]:
    return {ops: index for index, ops in enumerate(_table()["ops"].tolist())}
