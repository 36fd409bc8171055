"""NAS-Bench-201 cells against the benchmark's own index, classes, costs and accuracies."""

from pathlib import Path

import numpy as np
import pytest

from nasutils import Genotype
from nasutils.spaces import nasbench201
from nasutils.spaces import nb201_cells as cells

COSTS = np.load(Path(__file__).parents[1] / "truth" / "nasbench201_costs.npz")
ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


def test_a_cell_is_the_same_in_every_form():
    for form in (BEST, 6111, Genotype.parse(BEST), (3, 3, 3, 1, 3, 2), [cells.OPS[o] for o in (3, 3, 3, 1, 3, 2)]):
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


@pytest.mark.parametrize(("name", "classes", "side"), [("c10", 10, 32), ("c100", 100, 32), ("im16", 120, 16)])
def test_costs_of_all_cells_in_closed_form(name, classes, side):
    params = [cells.parameters(i, num_classes=classes) for i in range(15_625)]
    macs = [cells.multiply_adds(i, num_classes=classes, resolution=side) for i in range(15_625)]
    np.testing.assert_array_equal(params, COSTS[f"params_{name}"])
    np.testing.assert_array_equal(macs, COSTS[f"flops_{name}"])


def test_query_gives_the_published_numbers():
    record = nasbench201.query(ALL_SKIP)
    assert record.index == 1835 and record.params == 73_306 and record.macs == 7_783_050
    assert [round(a, 2) for a in record.test_accuracy.values()] == [54.30, 15.61, 16.32]
    best = {d: round(cells.accuracies(d).max(), 2) for d in cells.DATASETS}
    assert best == {"cifar10": 94.37, "cifar100": 73.51, "imagenet16-120": 47.31}
    medians = [round(float(np.median(cells.accuracies(d))), 2) for d in cells.DATASETS]
    assert medians == [90.75, 65.29, 36.39]


def test_twelve_epoch_accuracies_are_not_the_final_ones():
    record = nasbench201.query(BEST)
    assert record.test_accuracy_12["cifar10"] < record.test_accuracy["cifar10"]
    assert round(cells.accuracies("cifar10", "test_12").max(), 2) == 89.16


def test_splits_are_the_papers_halves():
    train, valid = cells.splits()["c10_train"], cells.splits()["c10_valid"]
    assert len(train) == len(valid) == 25_000
    assert not set(train.tolist()) & set(valid.tolist())


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        (15_625, "0 to 15624"),
        ("|nor_conv_3x3~0|", "three nodes"),
        ((0, 1, 2), "6 operations"),
        (BEST.replace("nor_conv_1x1", "nor_conv_1x2"), "did you mean 'nor_conv_1x1'"),
        ("conv", "expected"),
    ],
)
def test_what_is_not_a_cell_is_refused(arch, says):
    with pytest.raises(ValueError, match=says):
        cells.index_of(arch)
