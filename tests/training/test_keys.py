"""Every run that is committed is found by what it says of itself: keys never change.

Run: pytest tests/training/test_keys.py
"""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from nasutils.measures import leakage
from nasutils.runs import Run, key
from nasutils.studies.confirmation import plan
from nasutils.studies.lhd_benchmark.variants import SearchKey, at_hand
from nasutils.training import batchnorm
from nasutils.training.computation import Machine, repeatable
from nasutils.training.experiment import Experiment, build
from nasutils.training.finalnet import Evaluation
from nasutils.training.selection import Selection
from tests.images import needs_cifar10

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


def test_numbers_that_no_key_names_have_not_changed():
    """Finished runs were made with them: with others, raise the VERSION that they belong to."""
    recipe = {"batch": 8, "split": "half"}
    size = {"images": 16, "channels": 2, "cells": 1, "resolution": 8}
    search = build(Experiment(dataset="digits", recipe=recipe, **size), Machine())
    assert (search.recalibration, batchnorm.EVALUATION_BATCH) == (4, 250)
    assert (leakage.IMAGES, leakage.CURVATURE_IMAGES, leakage.MATCHED) == (100, 32, 0.5)


def first_task(arm):
    """The first search or training of a registered arm."""
    for study in plan.read().values():
        for own, _, task in (*study.searches(), *study.evaluations()):
            if own.name == arm:
                return task
    raise ValueError(f"no arm {arm!r} in the plan")


@needs_cifar10
@pytest.mark.slow
@pytest.mark.parametrize("arm", ["rate control", "CIFAR-10, 1m"])
def test_a_registered_run_begins_again_as_it_began(arm):
    """On another machine sums are rounded otherwise, of which one epoch makes little."""
    task = first_task(arm)
    committed = Run(RUNS / key(task.params())).records[0]
    with repeatable():
        again = task.start(Machine()).one_epoch()
    names = ("train_loss", "valid_loss", "train_accuracy", "lr", "weight_lr")
    compared = [name for name in names if name in committed]
    assert len(compared) > 2
    for name in compared:
        assert again[name] == pytest.approx(committed[name], rel=2e-3)


@pytest.mark.parametrize(
    ("space", "method", "cells", "epochs"),
    [
        ("nasbench201", "darts", 5, 50),
        ("nasbench201", "gaea-erm", 5, 25),
        ("nasbench201", "sdarts-rs", 5, 100),
        ("nasbench201", "random", 5, 50),
        ("s2", "sdarts-rs", 8, 50),
        ("lhd", "darts", 8, 50),
    ],
)
def test_sizes_that_are_not_given_are_the_papers_and_in_the_name(space, method, cells, epochs):
    usual = Experiment(space, method)
    assert (usual.cells, usual.epochs) == (cells, epochs)
    given = Experiment(space, method, cells=cells, epochs=epochs)
    assert key(usual.params()) == key(given.params())


def test_an_option_of_none_is_no_other_search():
    unset = Experiment(options={"alpha_lr": None}, images=500)
    assert key(unset.params()) == key(Experiment(images=500).params())


def test_a_selection_is_found_by_what_it_says_of_itself():
    search = Experiment(options={"order": 2}, images=500, keep_weights=True, seed=3)
    selection = Selection(search, images=250, tune_epochs=5, criterion="loss", seed=4)
    read = json.loads(json.dumps(selection.params()))
    assert asked(read) == selection and key(asked(read).params()) == key(selection.params())


def test_the_task_of_a_run_is_read_off_its_folder():
    found = [Run(RUNS / name) for name, params in committed().items() if name[0] == "0"]
    searches = [run for run in found if run.params["kind"] == "search"]
    assert len(searches) > 20 and len(found) - len(searches) > 20
    for run in found:
        kind = Experiment if run in searches else Evaluation
        assert kind.of(run).params() == run.params


@pytest.fixture
def folder(tmp_path):
    """Makes the folder of a run of these parameters."""

    def made(params):
        run = Run(tmp_path / key(params))
        run.path.mkdir()
        (run.path / "params.json").write_text(json.dumps(params))
        return run

    return made


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"kind": "finalnet"}, r"must be a search, version 1, not \('finalnet', 1\)$"),
        ({"version": 0}, r"must be a search, version 1, not \('search', 0\)$"),
        ({"recipe_revision": 9}, "cannot be asked for again: recipe_revision 9, now None$"),
        ({"method": "mine", "method_source": "00"}, "of the own method 'mine': register it first"),
        ({"method_source": "00"}, "cannot be asked for again: method_source '00', now None$"),
        ({"dataset": "sha256:00"}, "of own images: say where they are, dataset=PATH"),
        ({"warmth": 3}, "cannot be asked for again: warmth 3, now None$"),
    ],
)
def test_a_run_that_cannot_be_asked_for_again_says_why(changed, says, folder):
    with pytest.raises(ValueError, match=says):
        Experiment.of(folder({**Experiment().params(), **changed}))


def test_a_folder_without_a_run_is_no_task(tmp_path):
    with pytest.raises(ValueError, match="is no run: it has no params.json"):
        Evaluation.of(Run(tmp_path))


def test_the_task_of_a_run_on_own_images_is_told_where_they_are(folder, tmp_path):
    images = np.zeros((8, 8, 8, 3), np.uint8)
    labels = np.arange(8) % 2
    path = tmp_path / "own.npz"
    np.savez(path, images=images, labels=labels)
    search = Experiment(dataset=path, recipe={"split": "half", "batch": 2})
    assert Experiment.of(folder(search.params()), dataset=path) == search


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_committed_searches_of_lhd_are_drawn_without_images(dataset, tmp_path):
    searches = [
        p for p in committed().values() if p["kind"] == "search" and p["dataset"] == dataset
    ]
    lhd = [asked(params) for params in searches if params["space"] == "lhd"]
    tasks = {SearchKey("", str(i), dataset, e.seed): e for i, e in enumerate(lhd)}
    assert tasks and at_hand(tasks, Machine(runs=RUNS, data=tmp_path)) == ([dataset], [])
