"""NAS-Bench-201 cells against the benchmark's own index, classes, costs and accuracies."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

from nasutils import Genotype, data
from nasutils.spaces import nasbench201
from nasutils.spaces import nasbench201_table as cells

TRUTH = Path(__file__).parents[1] / "truth"
COSTS = np.load(TRUTH / "nasbench201_costs.npz")
"""Class, parameters and multiply-adds of all cells.
The classes are those of NATS-Bench's unique strings.
"""
NETWORKS = json.loads((TRUTH / "nb201_networks.json").read_text())["networks"]
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"

OTHER_NODES = """Genotype(normal=[('none', 0), ('none', 0), ('none', 1), ('none', 0), ('none', 1), ('none', 2)],
    normal_concat=[2, 3, 4])"""
"""A DARTS cell that lists its inputs in the order of EDGES, two per node."""


def test_a_cell_is_the_same_in_every_form():
    for form in (
        BEST,
        6111,
        Genotype.parse(BEST),
        (3, 3, 3, 1, 3, 2),
        [cells.OPS[o] for o in (3, 3, 3, 1, 3, 2)],
    ):
        assert cells.arch_of(form) == BEST
        assert cells.index_of(form) == 6111


def test_all_cells_round_trip_and_fall_into_the_known_classes():
    texts = [cells.arch_of(i) for i in range(15_625)]
    assert len(set(texts)) == 15_625
    assert [cells.index_of(t) for t in texts] == list(range(15_625))
    first: dict[str, int] = {}
    classes = [first.setdefault(cells.canonical(t), i) for i, t in enumerate(texts)]
    assert len(first) == 6_466
    np.testing.assert_array_equal(classes, COSTS["iso_index"])


@pytest.mark.parametrize(
    ("name", "classes", "side"), [("c10", 10, 32), ("c100", 100, 32), ("im16", 120, 16)]
)
def test_costs_of_all_cells_in_closed_form(name, classes, side):
    params = [cells.finalnet_parameters(i, num_classes=classes) for i in range(15_625)]
    macs = [
        cells.finalnet_multiply_adds(i, num_classes=classes, resolution=side)
        for i in range(15_625)
    ]
    np.testing.assert_array_equal(params, COSTS[f"params_{name}"])
    np.testing.assert_array_equal(macs, COSTS[f"flops_{name}"])


def test_index_order_is_the_shuffle_of_seed_88():
    shuffled = list(itertools.product(range(5), repeat=6))
    random.Random(88).shuffle(shuffled)
    assert [cells.operations(i) for i in range(cells.num_architectures)] == shuffled


@pytest.mark.parametrize("net", NETWORKS, ids=lambda net: f"{net['arch']}-{net['num_classes']}")
def test_costs_are_those_of_the_released_networks(net):
    size = net["C"], net["N"], net["num_classes"]
    assert cells.finalnet_parameters(net["arch"], *size) == net["params"]
    assert (
        round(cells.finalnet_multiply_adds(net["arch"], *size, net["resolution"]) / 1e6, 5)
        == net["flops_M"]
    )


def test_canonical_joins_equal_cells_as_far_as_the_benchmark_does():
    # node 1 is zero, so its outgoing edges do not matter
    behind_zero = (
        (0, 1, 3, 1, 2, 1),
        (0, 1, 0, 1, 0, 1),
    )
    # node 1 is the input, so two edges change places
    through_skip = (
        (1, 2, 3, 0, 0, 1),
        (1, 3, 2, 0, 0, 1),
    )
    # nodes 1 and 2 change places: equal, but two classes there
    renamed = (
        (3, 2, 0, 0, 1, 1),
        (2, 3, 0, 0, 1, 1),
    )
    assert [
        cells.canonical(a) == cells.canonical(b) for a, b in (behind_zero, through_skip, renamed)
    ] == [
        True,
        True,
        False,
    ]


def test_query_gives_the_published_numbers():
    record = nasbench201.query(ALL_SKIP)
    assert nasbench201.accuracies("cifar10")[1835] == record.test_accuracy["cifar10"]
    assert record.index == 1835 and record.params == 73_306 and record.macs == 7_783_050
    assert [round(a, 2) for a in record.test_accuracy.values()] == [54.30, 15.61, 16.32]
    best = {d: round(cells.accuracies(d).max(), 2) for d in cells.DATASETS}
    assert best == {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
    medians = [round(float(np.median(cells.accuracies(d))), 2) for d in cells.DATASETS]
    assert medians == [90.75, 65.29, 36.39]
    skips = np.array([cells.operations(i).count(1) for i in range(cells.num_architectures)])
    means = [round(cells.accuracies("cifar10")[skips == n].mean(), 2) for n in range(7)]
    assert means == [85.96, 87.56, 87.95, 86.60, 82.73, 74.95, 54.30]


def test_the_table_cannot_be_overwritten():
    with pytest.raises(ValueError, match="read-only"):
        cells.accuracies("cifar10")[0] = 100
    data.benchmark_lists()["c10_train"][0] = -1
    assert data.benchmark_lists()["c10_train"][0] >= 0


def test_unknown_data_set_and_kind_name_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cifar100'"):
        cells.accuracies("cifar-100")
    with pytest.raises(ValueError, match="did you mean 'imagenet16-120'"):
        nasbench201.query(0).test_accuracy["ImageNet16-120"]
    with pytest.raises(ValueError, match="did you mean 'test_200'"):
        cells.accuracies("cifar10", "test200")


def test_twelve_epoch_accuracies_are_not_the_final_ones():
    record = nasbench201.query(BEST)
    assert record.test_accuracy_12["cifar10"] < record.test_accuracy["cifar10"]
    assert round(cells.accuracies("cifar10", "test_12").max(), 2) == 89.16


def test_splits_are_the_papers_halves():
    train, valid = data.benchmark_lists()["c10_train"], data.benchmark_lists()["c10_valid"]
    assert len(train) == len(valid) == 25_000
    assert not set(train.tolist()) & set(valid.tolist())


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        (15_625, "0 to 15624"),
        (-1, "0 to 15624"),
        (None, "not None"),
        (True, "not True"),
        (1.5, "not 1.5"),
        ((0, 1, 2, 3, 4, 0.5), "six operations"),
        ((0, 1, 2, 3, 4, 5), "0 to 4, not 5"),
        (OTHER_NODES, "three nodes.*is it of the space 'darts'"),
        ("|nor_conv_3x3~0|", "three nodes"),
        ((0, 1, 2), "6 operations"),
        (
            BEST.replace("nor_conv_1x1", "nor_conv_1x2", 1),
            "edge . -> . of NAS-Bench-201.*did you mean 'nor_conv_1x1'",
        ),
        (
            "|none~0|+|none~0|none~1|+|none~0|noen~1|none~2|",
            "operation of edge 1 -> 3 .*'noen'.*did you mean 'none'",
        ),
        ("conv", "expected"),
    ],
)
def test_what_is_not_a_cell_is_refused(arch, says):
    with pytest.raises(ValueError, match=says):
        cells.index_of(arch)


def test_an_unknown_data_set_of_a_record_is_told_the_known_ones():
    accuracy = nasbench201.query(0).test_accuracy
    with pytest.raises(ValueError, match="unknown data set .*'cifar': choose .*did you mean 'cif"):
        accuracy["cifar"]
    assert accuracy.get("cifar") is None and "cifar" not in accuracy
