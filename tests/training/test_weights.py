"""Kept weights: what a run keeps when asked, the network that comes back, and what is refused.

Run: pytest tests/training/test_weights.py
"""

import io
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nasutils import data, spaces
from nasutils.runs import BadRun, Run, key
from nasutils.training.classifier import Classifier, Relaxed
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation
from nasutils.training.weights import load

NB201_CELL = (
    "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
)
EDGES = (
    "[('sep_conv_3x3', 0), ('dil_conv_5x5', 1)"
    + ", ('skip_connect', 0), ('max_pool_3x3', 2)" * 3
    + "]"
)
DARTS_CELL = (
    f"Genotype(normal={EDGES}, normal_concat=[2, 3, 4, 5], reduce={EDGES}, reduce_concat=[2, 3,"
    " 4, 5])"
)
SIZE = {"dataset": "digits", "resolution": 8, "images": 32, "channels": 4, "seed": 3}
IMAGES = data.load("digits", resolution=8).test.images

pytestmark = pytest.mark.usefixtures("one_thread")


def search(space="nasbench201", method="darts", **changed):
    size = {"cells": 1 if space == "nasbench201" else 3, "evaluation": 32, "epochs": 2}
    recipe = {"split": "half", "batch": 16}
    fields = {
        "space": space,
        "method": method,
        "recipe": recipe,
        **SIZE,
        **size,
        "keep_weights": True,
    }
    return Experiment(**{**fields, **changed})


def evaluation(**changed):
    fields = {
        "genotype": NB201_CELL,
        "cells": 1,
        "protocol": {"epochs": 2, "batch": 16},
        "test_images": 40,
        **SIZE,
    }
    return Evaluation(**{**fields, "keep_weights": True, **changed})


def accuracy(net, images, labels):
    with torch.no_grad():
        return 100 * (net(images).argmax(dim=1) == labels).double().mean().item()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(runs=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def trained(machine):
    return evaluation().run(machine)


@pytest.fixture(scope="module")
def searched(machine):
    return search().run(machine)


# Keys


@pytest.mark.parametrize("task", [search, evaluation])
def test_a_run_without_weights_has_the_key_it_always_had(task):
    plain = task(keep_weights=False)
    assert "keep_weights" not in plain.params()
    assert plain.params() | {"keep_weights": True} == task().params() and key(
        plain.params()
    ) != key(task().params())


@pytest.mark.parametrize("task", [search, evaluation])
@pytest.mark.parametrize("value", [1, "yes", None])
def test_keep_weights_is_yes_or_no(task, value):
    with pytest.raises(ValueError, match=f"keep_weights must be True or False, not {value!r}"):
        task(keep_weights=value)


# A final network


def test_the_network_that_comes_back_has_the_accuracy_that_was_recorded(trained):
    digits = data.load("digits", resolution=8)
    net = load(trained)
    assert isinstance(net, Classifier) and not net.training
    assert (
        accuracy(net, digits.test.images[:40], digits.test.labels[:40])
        == trained.result["test_accuracy"]
    )


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 16, 16), (3, 8, 8)])
def test_images_of_another_shape_are_refused(trained, shape):
    with pytest.raises(ValueError, match=r"images must be \(batch, 3, 8, 8\), not "):
        load(trained)(torch.zeros(shape))


def test_the_file_is_plain_and_says_what_was_found(trained):
    net = spaces.get("nasbench201").finalnet(NB201_CELL, 4, 1, 10)
    net.load_state_dict(load_file(trained.path / "weights.safetensors"))
    back = load(trained)
    assert back.genotype == NB201_CELL and back.resolution == 8 and back.classes == ()
    torch.testing.assert_close(
        net.eval()((IMAGES - 255 * back.mean) / (255 * back.std)), back(IMAGES), rtol=0, atol=0
    )


def test_the_auxiliary_head_is_left_behind(machine):
    asked = {"epochs": 1, "batch": 16, "auxiliary": 0.4, "drop_path": 0.2}
    task = evaluation(space="darts", genotype=DARTS_CELL, cells=3, resolution=None, protocol=asked)
    run = task.run(machine)
    assert not any("auxiliary" in name for name in run.weights()[0])
    images = data.load("digits").test
    assert (
        accuracy(load(run), images.images[:40], images.labels[:40]) == run.result["test_accuracy"]
    )


def test_weights_of_another_precision_come_back_in_it(machine):
    net = load(evaluation(precision="float64").run(machine))
    assert net(IMAGES).dtype == torch.float64


def test_a_killed_run_keeps_its_weights_in_the_end(trained, tmp_path, monkeypatch):
    task, machine = evaluation(), Machine(runs=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", lambda *_: exec("raise KeyboardInterrupt"))
        with pytest.raises(KeyboardInterrupt):
            task.run(machine)
    again = task.run(machine)
    assert torch.equal(load(again)(IMAGES), load(trained)(IMAGES))


# A supernet


def test_the_supernet_that_comes_back_has_its_mixing_weights_and_its_accuracy(searched):
    net = load(searched)
    assert isinstance(net.net, Relaxed) and net.genotype == searched.result["genotype"]
    last = searched.records[-1]
    assert {kind: m.tolist() for kind, m in net.net.mix.items()} == last["mix"]
    digits = data.load("digits", resolution=8)
    _, valid = data.search_split(digits, "half", 32)
    assert accuracy(net, valid.images, valid.labels) == last["supernet_accuracy"]["relaxed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("space", "method"),
    [
        ("nasbench201", "pc-darts"),
        ("nasbench201", "gdas"),
        ("darts", "sp-darts"),
        ("s2", "darts-minus"),
        ("lhd", "darts"),
    ],
)
def test_supernets_of_all_kinds_come_back_and_are_exported(space, method, machine):
    net = load(
        search(
            space, method, epochs=1, recipe={"split": "half", "batch": 16, "alpha_from": 0}
        ).run(machine)
    )
    exported = torch.export.export(net, (IMAGES[:2],)).module()
    torch.testing.assert_close(exported(IMAGES[:2]), net(IMAGES[:2]))


def test_a_method_that_trains_no_supernet_is_told_so(machine):
    with pytest.raises(
        ValueError, match="keep_weights must be False for random, which trains no supernet"
    ):
        search(method="random").run(machine)


# Export


def test_what_was_exported_saved_and_loaded_gives_the_same_logits(trained):
    net = load(trained)
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(net, (IMAGES[:2],), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    torch.testing.assert_close(again(IMAGES), net(IMAGES))


# What is refused


def test_weights_of_a_run_without_them_are_refused_and_the_way_to_them_is_told(machine):
    run = evaluation(keep_weights=False).run(machine)
    assert not (run.path / "weights.safetensors").exists()
    with pytest.raises(
        ValueError, match="finished without its weights; with keep_weights=True it is another run"
    ):
        load(run)


def test_weights_of_a_run_that_is_not_finished_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is not finished: it has no weights yet"):
        load(Run(tmp_path / "nothing"))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b"", None]
)
def test_damaged_weights_are_noticed(damage, tmp_path):
    run = evaluation().run(Machine(runs=tmp_path))
    file = run.path / "weights.safetensors"
    content = file.read_bytes()
    file.unlink()
    if damage:
        file.write_bytes(damage(content))
    with pytest.raises(
        BadRun, match="weights.safetensors is not what it was when the run finished"
    ):
        load(run)


def test_weights_that_cannot_be_read_are_named_where_there_is_no_digest(tmp_path):
    run = evaluation().run(Machine(runs=tmp_path))
    (run.path / "SHA256SUMS").unlink()
    (run.path / "weights.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BadRun, match="weights.safetensors is damaged"):
        load(run)


def test_weights_of_another_network_are_named(trained, tmp_path):
    run = evaluation().run(Machine(runs=tmp_path))
    (run.path / "SHA256SUMS").unlink()
    kept, texts = run.weights()
    kept.pop(gone := sorted(kept)[0])
    save_file(kept, run.path / "weights.safetensors", texts)
    with pytest.raises(ValueError, match=f"another network: {gone} does not fit"):
        load(run)


def test_the_digest_is_of_the_weights_too(trained):
    sums = dict(
        reversed(line.split()) for line in (trained.path / "SHA256SUMS").read_text().splitlines()
    )
    assert set(sums) == {file.name for file in trained.path.iterdir()} - {"SHA256SUMS", "lock"}
    assert json.loads((trained.path / "params.json").read_text())["keep_weights"] is True
