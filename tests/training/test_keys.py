"""Every run that is committed is found by what it says of itself: keys never change.

Run: pytest tests/training/test_keys.py
"""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from nasutils.runs import key
from nasutils.studies.lhd_benchmark.variants import SearchKey, at_hand
from nasutils.training.experiment import Experiment, Machine
from nasutils.training.finalnet import Evaluation
from nasutils.training.selection import Selection

RUNS = Path(__file__).parents[2] / "figures" / "laptop" / "runs"
KINDS = {"search": Experiment, "finalnet": Evaluation, "selection": Selection}


def asked(params):
    """The search, training or selection of these parameters."""
    kind = KINDS[params["kind"]]
    given = {f.name: params[f.name] for f in fields(kind) if f.name in params}
    if kind is Selection:
        given["search"] = asked(params["search"])
    return kind(**given)


def committed():
    found = {file.parent.name: json.loads(file.read_text()) for file in RUNS.glob("*/params.json")}
    return {name: params for name, params in found.items() if params["kind"] in KINDS}


def test_committed_runs_are_found_by_what_they_say_of_themselves():
    runs = committed()
    assert len(runs) > 1000
    changed = [name for name, params in runs.items() if key(asked(params).params()) != name]
    assert changed == []


def test_a_selection_is_found_by_what_it_says_of_itself():
    search = Experiment(options={"order": 2}, images=500, keep_weights=True, seed=3)
    selection = Selection(search, images=250, tune_epochs=5, criterion="loss", seed=4)
    read = json.loads(json.dumps(selection.params()))
    assert asked(read) == selection and key(asked(read).params()) == key(selection.params())


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_committed_searches_of_lhd_are_drawn_without_images(dataset, tmp_path):
    searches = [
        p for p in committed().values() if p["kind"] == "search" and p["dataset"] == dataset
    ]
    lhd = [asked(params) for params in searches if params["space"] == "lhd"]
    tasks = {SearchKey("", str(i), dataset, e.seed): e for i, e in enumerate(lhd)}
    assert tasks and at_hand(tasks, Machine(runs=RUNS, data=tmp_path)) == ([dataset], [])
