"""A run killed with SIGKILL and started again ends in exactly the records of an uninterrupted one.

Every run, a search or the training of a derived network, has a process of its own, on one thread,
and is killed for real: at random moments, and at each of the moments at which the files of a run
change.

Run: pytest tests/training/test_resume.py
"""

import os
import random
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch import nn

from nasutils import methods, runs, spaces
from nasutils.runs import Run
from nasutils.spaces.nasbench201 import NASBench201
from nasutils.sweep.launch import name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation
from tests.sweeps import trace

FORK = get_context("forkserver")
FORK.set_forkserver_preload(["nasutils.training.finalnet", "sklearn.datasets", "torch._dynamo"])

KILLS = 3
EPOCHS = 5
SIZES = {"dataset": "digits", "resolution": 8, "images": 32, "channels": 4, "cells": 1, "seed": 3}
TINY = {**SIZES, "evaluation": 32, "epochs": EPOCHS}
RECIPE = {"split": "half", "batch": 16}
TASKS = {
    "sp-darts": Experiment(method="sp-darts", recipe=RECIPE, **TINY),
    "edd-darts": Experiment(method="edd-darts", recipe=RECIPE, **TINY),
    # Clips the last alpha gradient along with the weights': that gradient is state, too.
    "pcd-darts released": Experiment(
        method="pcd-darts",
        preset="released",
        recipe={**RECIPE, "order": "weights-first", "clip": 0.05},
        **TINY,
    ),
    # Draws crops and cutouts, and recalibrates after its last epoch.
    "finalnet": Evaluation(
        "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
        protocol={"epochs": EPOCHS, "batch": 16, "cutout": 16, "recalibration": 1},
        **SIZES,
        test_images=32,
    ),
}


def start(experiment, root, moment=None, epoch=3):
    """A process that runs it; with a `moment`, one that kills itself there."""
    process = FORK.Process(target=run_and_die, args=(experiment, root, moment, epoch))
    process.start()
    return process


def run_and_die(experiment, root, moment, epoch):
    if moment:
        MOMENTS[moment](epoch)
    experiment.run(Machine(runs=root))


def finish(experiment, root):
    """Start the run (again) and let it run to its end."""
    process = start(experiment, root)
    process.join()
    assert process.exitcode == 0
    return Run(Path(root) / name_of(experiment))


def assert_nothing_is_left(run):
    files = {file.name for file in run.path.iterdir()}
    assert files == {*runs.FILES, runs.DIGEST, "lock"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The run of a task that nobody disturbs, done once."""
    root = tmp_path_factory.mktemp("uninterrupted")
    return lambda name: finish(TASKS[name], root)


def test_a_search_has_a_record_for_every_epoch(uninterrupted):
    records, result = trace(uninterrupted("sp-darts"))
    assert [r["epoch"] for r in records] == list(range(EPOCHS)) and result["epochs"] == EPOCHS
    assert len({r["train_loss"] for r in records}) == EPOCHS


# Random moments


def wait_for(condition, process):
    """Until the condition holds or the process has ended."""
    while not condition() and process.is_alive():
        time.sleep(0.002)


@pytest.mark.parametrize("name", TASKS)
def test_killed_at_random_moments_it_ends_in_the_same_records(name, uninterrupted, tmp_path):
    experiment, draw = TASKS[name], random.Random(name)
    run = Run(tmp_path / name_of(experiment))
    file, killed_at = run.path / "records.jsonl", []
    seconds = sum(r["cost"]["seconds"] for r in uninterrupted(name).records)
    for _ in range(KILLS):
        begun = time.time()
        process = start(experiment, tmp_path)
        # Wait for a sign of life, so that a slow machine is not always killed before it has done
        # anything.
        wait_for(lambda begun=begun: file.exists() and file.stat().st_mtime > begun, process)
        time.sleep(draw.uniform(0, 0.4 * seconds))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL and run.result is None:
            killed_at.append(len(run.records))
        assert [r["epoch"] for r in run.records] == list(range(len(run.records)))
    assert killed_at and max(killed_at) > 0, "no kill hit a run under way"
    finish(experiment, tmp_path)
    assert trace(run) == trace(uninterrupted(name))
    assert_nothing_is_left(run)


# Chosen moments


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dying(function, when, before=True):
    """The function, with a kill before or after the call for which `when(*arguments)` holds."""

    def wrapped(*arguments, **options):
        now = when(*arguments, **options)
        if now and before:
            die()
        result = function(*arguments, **options)
        if now:
            die()
        return result

    return wrapped


def writes(name, epoch):
    """Holds for a write of that file once `epoch` epochs are recorded."""
    return lambda path, content: path.name == name and len(Run(path.parent).records) == epoch + 1


def before_the_record(epoch):
    Run.append = dying(Run.append, lambda run, record, state: record["epoch"] == epoch)


def between_record_and_checkpoint(epoch):
    runs.write_whole = dying(runs.write_whole, writes("checkpoint.pt", epoch))


def after_the_checkpoint(epoch):
    Run.append = dying(
        Run.append, lambda run, record, state: record["epoch"] == epoch, before=False
    )


def within(name, epoch):
    """Half of the file is written when the process dies."""
    whole = runs._write

    def half(file, content):
        path = Path(file.name)
        if path.name == name and len(Run(path.parent).records) >= epoch:
            whole(file, content[: len(content) // 2])
            die()
        whole(file, content)

    runs._write = half


def within_the_record(epoch):
    within("records.jsonl", epoch)


def within_the_checkpoint(epoch):
    within("checkpoint.pt.part", epoch + 1)


def before_the_digest(epoch):
    runs.write_whole = dying(runs.write_whole, lambda path, content: path.name == runs.DIGEST)


def within_the_digest(epoch):
    within("SHA256SUMS.part", 0)


def within_the_result(epoch):
    within("result.json.part", 0)


def before_the_result(epoch):
    runs.write_whole = dying(runs.write_whole, lambda path, content: path.name == "result.json")


def after_the_result(epoch):
    runs.write_whole = dying(
        runs.write_whole, lambda path, content: path.name == "result.json", before=False
    )


MOMENTS = {
    moment.__name__: moment
    for moment in (
        before_the_record,
        within_the_record,
        between_record_and_checkpoint,
        within_the_checkpoint,
        after_the_checkpoint,
        before_the_digest,
        within_the_digest,
        before_the_result,
        within_the_result,
        after_the_result,
    )
}


def killed(experiment, root, moment, epoch):
    process = start(experiment, root, moment, epoch)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return Run(root / name_of(experiment))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_change_of_its_files_it_ends_in_the_same_records(
    moment, uninterrupted, tmp_path
):
    experiment = TASKS["sp-darts"]
    run = killed(experiment, tmp_path, moment, epoch=3)
    assert len(run.records) in (3, 4, EPOCHS) and (
        run.result is None or moment == "after_the_result"
    )
    finish(experiment, tmp_path)
    assert trace(run) == trace(uninterrupted("sp-darts"))
    assert_nothing_is_left(run)


def test_killed_at_its_first_record_it_starts_anew(uninterrupted, tmp_path):
    run = killed(TASKS["sp-darts"], tmp_path, "between_record_and_checkpoint", epoch=0)
    assert len(run.records) == 1 and not (run.path / "checkpoint.pt").exists()
    finish(TASKS["sp-darts"], tmp_path)
    assert trace(run) == trace(uninterrupted("sp-darts"))


def test_killed_at_every_epoch_it_ends_in_the_same_records(uninterrupted, tmp_path):
    experiment = TASKS["edd-darts"]
    for epoch in range(EPOCHS):
        killed(experiment, tmp_path, "after_the_checkpoint", epoch)
    assert trace(finish(experiment, tmp_path)) == trace(uninterrupted("edd-darts"))


class Dropping(NASBench201):
    name = "dropping"
    recipe = methods.Recipe(**RECIPE)

    def supernet(self, *sizes, **partial):
        net = super().supernet(*sizes, **partial)
        net.linear = nn.Sequential(nn.Dropout(0.5), net.linear)
        return net


def test_layers_that_draw_go_on_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(spaces.registry, "_classes", dict(spaces.registry._classes))
    spaces.register(Dropping)
    task, machine = Experiment(space="dropping", **TINY), Machine(runs=tmp_path / "stopped")
    before = torch.get_rng_state()
    undisturbed = task.run(Machine(runs=tmp_path / "undisturbed"))
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(1)  # what others draw meanwhile

    def append_and_stop(run, record, state):
        append(run, record, state)
        raise KeyboardInterrupt

    append = Run.append
    with monkeypatch.context() as patched:
        patched.setattr(Run, "append", append_and_stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                task.run(machine)
    assert trace(task.run(machine)) == trace(undisturbed)
