"""Measures of one search, by hand and on the committed pilot,
whose numbers were computed by other code.

Run: pytest tests/measures/test_searches.py
"""

import json
import math

import numpy as np
import pytest

from nasutils import paths
from nasutils.measures import searches
from nasutils.runs import Run, key
from nasutils.spaces import nasbench201_table

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
GOOD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
PROXY = {
    **{
        "kind": "search",
        "version": 1,
        "space": "nasbench201",
        "preset": "published",
        "dataset": "cifar10",
    },
    **{
        "resolution": 16,
        "images": 2000,
        "evaluation": 1000,
        "channels": 8,
        "cells": 2,
        "epochs": 50,
    },
    "precision": "float32",
}


def pilot(method, options=None, seeds=range(5), recipe=None, **more):
    """The committed searches of the pilot."""
    recipe = {"batch": 32, "split": "nasbench201", **(recipe or {})}
    found = [
        {**PROXY, "method": method, "options": options or {}, "recipe": recipe, "seed": s, **more}
        for s in seeds
    ]
    return [Run(paths.runs("laptop") / key(params)) for params in found]


def of(measure, runs):
    return np.array([searches.values(run, [measure])[measure] for run in runs])


@pytest.fixture(scope="module")
def darts():
    """The probed ones."""
    return pilot("darts", probe_every=5, probe_version=2)


def record(genotype=GOOD, mix=None, **more):
    return {"epoch": 0, "genotype": genotype, "mix": {"cell": mix}, **more}


def test_the_cut_offs_come_from_the_table():
    assert searches.median_cell() == pytest.approx(90.745, abs=5e-4)
    collapsed = nasbench201_table.accuracies("cifar10") < searches.COLLAPSE
    assert collapsed.mean() == pytest.approx(0.0303, abs=5e-5)
    assert searches.cell_accuracy(SKIPS) == pytest.approx(54.30, abs=0.005)
    assert searches.cell_accuracy(GOOD) > 93


def test_a_cell_of_skips_has_collapsed_and_a_good_one_is_not_degraded():
    flags = [
        [measure([record(cell)]) for measure in (searches.collapsed, searches.degraded)]
        for cell in (SKIPS, GOOD)
    ]
    assert flags == [[1.0, 1.0], [0.0, 0.0]]


def test_what_a_search_loses():
    records = [record(GOOD)] * 20 + [record(SKIPS)] * 10
    lost = searches.cell_accuracy(GOOD) - searches.cell_accuracy(SKIPS)
    assert (
        searches.best_minus_last(records)
        == searches.late_loss(records)
        == lost
        == -searches.late_gain(records)
    )


def test_the_early_epochs_are_5_to_14_and_the_late_ones_the_last_ten():
    lost = searches.cell_accuracy(GOOD) - searches.cell_accuracy(SKIPS)
    records = [record(SKIPS)] * 5 + [record(GOOD)] * 10 + [record(SKIPS)] * 35
    assert searches.late_loss(records) == pytest.approx(lost)
    records[4], records[15], records[-11] = [record(GOOD)] * 3  # just outside
    assert searches.late_loss(records) == pytest.approx(lost)


def test_skips_are_replaced_by_the_next_best_that_is_not_none():
    row = {"none": 0.3, "skip": 0.4, "1x1": 0.1, "3x3": 0.15, "pool": 0.05}
    assert searches.skip_gain([record(SKIPS, [list(row.values())] * 6)]) == pytest.approx(
        searches.cell_accuracy(SKIPS.replace("skip_connect", "nor_conv_3x3"))
        - searches.cell_accuracy(SKIPS)
    )
    # mix decides, not text
    assert searches.skip_gain([record(GOOD, [[0, 0, 0, 1, 0]] * 4 + [[0, 0, 0, 1, 0]] * 2)]) != 0


def test_the_largest_move_of_the_last_ten_epochs():
    records = [{"alpha": {"cell": [[0.0, e * 0.01], [0.0, -e * 0.1]]}} for e in range(20)]
    assert searches.log_move(records) == pytest.approx(math.log10(1.0))


def test_a_correlation_with_what_never_changes_is_0():
    assert searches.rank_correlation([1, 2, 3], [5, 5, 5]) == 0.0
    assert searches.rank_correlation([1, 2, 3], [5, 6, 9]) == pytest.approx(1.0)


def test_the_held_out_loss_is_compared_with_the_best_cells():
    records = [
        record(c, held_out={"loss": loss})
        for c, loss in ((SKIPS, 2.0), (GOOD, 1.5), (SKIPS, 1.75))
    ]
    assert searches.held_out_rise(records) == -0.25


def favouring(place, score, genotype=GOOD, **more):
    """The record of an epoch whose alpha favours an operation on all edges."""
    row = [0.0] * 5
    row[place] = score
    return record(genotype, alpha={"cell": [row] * 6}, **more)


def with_op(op):
    """The cell of one operation."""
    return SKIPS.replace("skip_connect", op)


def test_the_bias_to_skips_by_hand():
    """Weights 1/3 for the skip and 1/6 for the convolution, on six edges."""
    assert searches.skip_bias([favouring(1, math.log(2))]) == pytest.approx(1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_magnitude_of_the_convolution_is_tied_to_the_cells(sign):
    cells = (with_op("none"), SKIPS, GOOD)  # the later the better
    records = [favouring(3, sign * e, cell) for e, cell in enumerate(cells)]
    assert searches.tied(records) == pytest.approx(sign)


def test_the_peak_is_compared_with_epoch_24_and_with_the_end():
    none, middle = with_op("none"), with_op("nor_conv_1x1")
    cells = {10: GOOD, 24: middle}
    records = [
        favouring(3, 1 - 0.001 * (e - 10) ** 2, cells.get(e, none), epoch=e) for e in range(30)
    ]
    good, fixed, last = (searches.cell_accuracy(cell) for cell in (GOOD, middle, none))
    assert searches.peak_over_fixed(records) == pytest.approx(good - fixed)
    assert searches.peak_over_last(records) == pytest.approx(good - last)


def test_a_bypass_is_that_at_equal_sparsity_where_weights_have_it():
    probed = {"bypass_total": {"cell": 0.9}, "matched": {"bypass_total": {"cell": 0.4}}}
    one_hot = {"bypass_total": {"cell": 0.0}, "matched": None}
    found = [searches.matched_bypass([{"leakage": leakage}]) for leakage in (probed, one_hot)]
    assert found == [0.4, 0.0]


def test_half_of_the_largest_entropy_is_sharp():
    records = [{"entropy": {"cell": share * math.log(5)}} for share in (0.9, 0.6, 0.4, 0.1)]
    assert searches.sharp_epochs(records) == 0.5


def test_seconds_are_those_of_the_updates():
    costs = [{"cost": {"seconds": 9.0, "cpu_seconds": 8.0, "training_cpu_seconds": 3.0}}] * 2
    assert searches.log_training_seconds(costs) == pytest.approx(math.log(6))


def test_networks_are_judged_by_their_results():
    assert [searches.broken({"test_accuracy": a}) for a in (10.0, 12.0, 40.0)] == [1.0, 1.0, 0.0]


# The pilot


def test_saturation_of_the_pilot():
    plain, noisy = (
        of("log_move", pilot("pcd-darts", {"schedule": "constant", **more}))
        for more in ({"noisy": False}, {})
    )
    assert noisy - plain == pytest.approx([1.79, 1.45, 1.02, 1.33, 1.83], abs=0.006)


def test_the_gain_without_skips_of_the_pilot(darts):
    sp = pilot("sp-darts", recipe={"negligible": 2.0**-24}, probe_every=5, probe_version=2)
    assert of("skip_gain", darts).mean() == pytest.approx(9.0, abs=0.06)
    assert of("skip_gain", sp).mean() == pytest.approx(0.2, abs=0.06)


def test_leakage_of_the_pilot(darts):
    assert of("bypass_over_spread", darts) == pytest.approx(
        [1.05, 1.03, 0.96, 0.67, 0.66], abs=0.006
    )
    assert of("bypass_gap_correlation", darts) == pytest.approx(
        [-0.04, 0.71, -0.13, -0.04, 0.10], abs=0.006
    )
    assert of("skip_cut_over_weight", darts).mean() == pytest.approx(0.04, abs=0.006)


def test_the_share_of_skips_by_hand():
    changes = np.zeros((6, 5))
    assert math.isnan(searches.skip_share(changes))
    changes[0] = [3.0, -1.0, 0.0, 0.0, 0.0]  # none and skip_connect
    changes[4, 3] = 4.0
    assert searches.skip_share(changes) == 1 / 8


def test_the_gap_of_the_pilot(darts):
    assert of("gap", darts).mean() == pytest.approx(37.3, abs=0.06)


def test_every_measure_of_the_plan_is_taken_of_a_run(darts):
    done = json.loads((darts[0].path / "result.json").read_text())
    assert set(searches.ACCURACIES) <= {*searches.OF_SEARCHES, *searches.OF_NETWORKS}
    assert searches.values(darts[0], ["accuracy"])["accuracy"] == searches.cell_accuracy(
        done["genotype"]
    )


def test_a_measure_of_what_was_not_logged_names_the_field_that_logs_it():
    (plain,) = pilot("pcd-darts", {"schedule": "constant"}, seeds=[0])
    with pytest.raises(
        ValueError, match="no 'leakage', on which matched_bypass rests: search wit"
    ):
        searches.values(plain, ["accuracy", "matched_bypass"])
    with pytest.raises(
        ValueError, match="no 'held_out', on which held_out_rise.* with `held_out`"
    ):
        searches.values(plain, ["held_out_rise"])
    with pytest.raises(ValueError, match="no 'test_accuracy', on which final_accuracy rests$"):
        searches.values(plain, ["final_accuracy"])


def test_a_search_that_is_too_short_for_a_measure_is_named(darts, tmp_path):
    first, *_ = (darts[0].path / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_text(first)
    with pytest.raises(ValueError, match=f"{tmp_path} has too few epochs for log_move: 1"):
        searches.values(Run(tmp_path), ["log_move"])


def test_an_unknown_measure_is_told_the_nearest(darts):
    with pytest.raises(ValueError, match="unknown measure 'acuracy'.*did you mean 'accuracy'"):
        searches.values(darts[0], ["acuracy"])


def test_a_search_without_epochs_has_its_cell_in_the_result():
    with pytest.raises(
        ValueError, match=r"no record: .*cell_accuracy\(run.result\['genotype'\]\)"
    ):
        searches.accuracy([])
