"""Training derived networks: the protocol by number, what a step does, records, results,
and what is refused.

Run: pytest tests/training/test_finalnet.py
"""

import copy
import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasutils import data, spaces
from nasutils.runs import Run, key
from nasutils.spaces import nasbench201_table
from nasutils.spaces.size import count_multiply_adds, count_parameters
from nasutils.training import batchnorm, finalnet
from nasutils.training.computation import Machine
from nasutils.training.finalnet import PROTOCOLS, Evaluation, FinalnetTraining, Protocol, build
from nasutils.training.loop import NotFinite

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
PAIRS = {
    "normal": "('sep_conv_3x3', 0), ('dil_conv_5x5', 1), ('skip_connect', 0), ('max_pool_3x3', 2)",
    "reduce": "('skip_connect', 0), ('dil_conv_3x3', 1), ('sep_conv_5x5', 2), ('avg_pool_3x3', 1)",
}
DARTS_CELL = "Genotype({})".format(
    ", ".join(f"{c}=[{p}, {p}], {c}_concat=[2, 3, 4, 5]" for c, p in PAIRS.items())
)
LHD_CELL = "Genotype({})".format(
    ", ".join(
        f"{c}=[[('sep_conv_3x3', 0), ('skip_connect', 1)], [('avg_pool_3x3', 2)], [], [], []], "
        f"{c}_sum=[2, 3], {c}_concat=[2, 3]"
        for c in PAIRS
    )
)
TINY = {
    "dataset": "digits",
    "resolution": 8,
    "images": 32,
    "test_images": 40,
    "channels": 4,
    "cells": 1,
    "seed": 3,
}
PLAIN = Protocol(epochs=4, batch=16, drop_path=0.0, auxiliary=0.0, cutout=0)
DIGITS = data.load("digits", resolution=8)
TRAIN, TEST = DIGITS.train[:32], DIGITS.test[:40]


pytestmark = pytest.mark.usefixtures("one_thread")


class Toy(nn.Module):
    """A linear classifier that can drop paths
    (it only remembers the probability) and has an auxiliary head.
    """

    def __init__(self):
        super().__init__()
        self.main, self.head = nn.Linear(192, 10), nn.Linear(192, 10)
        self.drop_path, self.seen = 0.0, []

    def forward(self, images):
        flat = images.flatten(1)
        self.seen.append((self.training, self.drop_path, images))
        return (self.main(flat), self.head(flat)) if self.training else self.main(flat)


def toy(seed=0, **protocol):
    """A training of the toy network on 32 digits, in float64."""
    torch.manual_seed(seed)
    return FinalnetTraining(
        Toy().double(),
        replace(PLAIN, **protocol),
        DIGITS,
        TRAIN,
        TEST,
        seed=seed,
        precision="float64",
    )


def evaluation(epochs=3, protocol=None, **changed):
    return Evaluation(
        **{
            "genotype": CELL,
            "protocol": {"epochs": epochs, "batch": 16, **(protocol or {})},
            **TINY,
            **changed,
        }
    )


def without_cost(records):
    return [
        {name: value for name, value in record.items() if name != "cost"} for record in records
    ]


# The protocol


def test_protocols_are_those_of_the_papers_and_their_code():
    assert asdict(PROTOCOLS["darts"]) == {
        **{
            "epochs": 600,
            "batch": 96,
            "lr": 0.025,
            "lr_end": 0.0,
            "momentum": 0.9,
            "nesterov": False,
        },
        **{"weight_decay": 3e-4, "clip": 5.0, "drop_path": 0.2, "auxiliary": 0.4, "cutout": 16},
        **{
            "label_smoothing": 0.0,
            "recalibration": 0,
            "augment": True,
            "test_augmented": False,
            "test_late": False,
        },
        **{"drop_path_per_output": False, "drop_path_growth": "none", "test_last": False},
    }
    differ = {
        name: {f: v for f, v in asdict(p).items() if v != getattr(PROTOCOLS["darts"], f)}
        for name, p in PROTOCOLS.items()
        if not name.startswith("lhd")
    }
    none = {"drop_path": 0.0, "auxiliary": 0.0, "cutout": 0}
    assert differ == {
        "darts": {},
        "s1-s4": {},
        "sp-darts": {"epochs": 2000, "batch": 128},
        "ss-darts": {"epochs": 2000, "batch": 128, "drop_path": 0.3},
        "drnas": {"batch": 64, "drop_path": 0.3},
        "nasbench201": {
            **{
                "epochs": 200,
                "batch": 256,
                "lr": 0.1,
                "nesterov": True,
                "weight_decay": 5e-4,
                "clip": 0.0,
                **none,
            }
        },
        "short": {"epochs": 20, "batch": 64, **none},
    }


@pytest.mark.parametrize(
    ("dataset", "drop_path", "of_1m", "changed"),
    [
        ("cifar10", 0.01, 0.015, {}),
        ("cifar100", 0.02, 0.03, {"drop_path_growth": "lhd-cifar100"}),
        ("svhn", 0.02, 0.03, {"drop_path_growth": "lhd-svhn", "augment": False, "cutout": 0}),
    ],
)
def test_protocols_of_lhd_are_those_of_its_code(dataset, drop_path, of_1m, changed):
    usual = replace(
        PROTOCOLS["darts"], batch=64, drop_path=drop_path, drop_path_per_output=True, **changed
    )
    assert PROTOCOLS[f"lhd-{dataset}"] == usual
    assert PROTOCOLS[f"lhd-{dataset}-1m"] == replace(usual, drop_path=of_1m)
    released = replace(usual, test_late=True, test_augmented=dataset == "cifar100")
    assert PROTOCOLS[f"lhd-{dataset}-released"] == released
    assert [e for e in range(600) if released.tested_in(e)] == list(range(401, 600))
    assert all(usual.tested_in(e) for e in range(600))


@pytest.mark.parametrize(
    ("name", "epoch", "accuracy", "by"),
    [
        *(
            ("lhd-cifar100", 0, 75.0, 0.0),
            ("lhd-cifar100", 400, 75.1, 5e-4),
            ("lhd-cifar100", 401, 75.1, 0.0),
        ),
        *(
            ("lhd-cifar100", 401, 85.1, 1e-4),
            ("lhd-svhn", 400, 97.1, 5e-4),
            ("lhd-svhn", 599, 99.1, 1e-4),
        ),
        *(("lhd-svhn", 599, 98.9, 0.0), ("lhd-cifar10", 300, 100.0, 0.0)),
    ],
)
def test_more_paths_are_dropped_once_the_training_images_are_learned(name, epoch, accuracy, by):
    assert PROTOCOLS[name].grown(0.1, epoch, accuracy) == pytest.approx(0.1 + by, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "lr"), [(0, 0.1), (50, 0.05 * (1 + math.sqrt(0.5))), (100, 0.05), (199, 6.1685e-6)]
)
def test_the_rate_falls_along_a_cosine(epoch, lr):
    assert PROTOCOLS["nasbench201"].lr_at(epoch) == pytest.approx(lr, rel=1e-4)


@pytest.mark.parametrize(("epoch", "probability"), [(0, 0.0), (300, 0.1), (599, 0.2 * 599 / 600)])
def test_drop_path_rises_linearly(epoch, probability):
    assert PROTOCOLS["darts"].drop_path_at(epoch, 0.2) == pytest.approx(probability, rel=1e-15)


@pytest.mark.parametrize(("resolution", "side"), [(32, 16), (16, 8), (8, 4)])
def test_the_cutout_scales_with_the_resolution(resolution, side):
    assert PROTOCOLS["darts"].cutout_at(resolution) == side


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be a positive number, not 0"),
        ("epochs", 1.5, "epochs must be a whole number"),
        ("batch", "64", "batch must be a positive number, not '64'"),
        ("lr", float("nan"), "lr must be a positive number"),
        ("lr_end", -0.1, "lr_end must be a number, at least 0"),
        ("drop_path", 1.0, "drop_path must be a number, at least 0 and below 1, not 1.0"),
        ("cutout", 15.5, "cutout must be a whole number"),
        ("label_smoothing", True, "label_smoothing must be a number"),
        ("nesterov", 1, "nesterov must be True or False, not 1"),
        ("drop_path_growth", 1, "drop_path_growth must be a name, not 1"),
        (
            "drop_path_growth",
            "lhd-cifar",
            "unknown drop_path_growth 'lhd-cifar': .*did you mean 'lhd-cifar10",
        ),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(PLAIN, **{field: value})


# What a step does


def test_the_network_hears_of_the_ramp_and_the_record_says_it():
    training = toy(drop_path=0.2, batch=32)
    records = list(training.run())
    assert [r["drop_path"] for r in records] == [0.0, 0.05, 0.1, pytest.approx(0.15)]
    assert [p for trains, p, _ in training.net.seen if trains] == [r["drop_path"] for r in records]


def test_the_optimizer_steps_at_the_rate_of_the_epoch_and_the_record_says_it():
    training, taken = toy(epochs=4, batch=32), []
    step = training.optimizer.step

    def noting():
        taken.append(training.optimizer.param_groups[0]["lr"])
        step()

    training.optimizer.step = noting
    records = list(training.run())
    assert taken == pytest.approx([0.025, 0.0213388, 0.0125, 0.0036612], abs=1e-7)
    assert [record["lr"] for record in records] == taken


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_the_loss_is_that_of_the_head_plus_the_weighted_one_of_the_auxiliary_head(
    weight, smoothing
):
    training = toy(auxiliary=weight, label_smoothing=smoothing)
    batch = training.batch(torch.arange(32))
    targets = (1 - smoothing) * F.one_hot(batch.labels, 10).double() + smoothing / 10
    main, head = (
        -(targets * out.log_softmax(dim=1)).sum(dim=1).mean() for out in training.net(batch.images)
    )
    assert training.loss(batch).item() == pytest.approx((main + weight * head).item(), rel=1e-12)


def test_a_step_is_that_of_sgd_with_a_clipped_gradient():
    training = toy(momentum=0.0, weight_decay=0.01, clip=0.1)
    training.begin_epoch()
    batch, w = training.batch(torch.arange(32)), training.net.main.weight
    before = w.detach().clone()
    gradients = torch.autograd.grad(training.loss(batch), [w, training.net.main.bias])
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert norm > 0.1
    training.step(batch)
    expected = before - 0.025 * (gradients[0] * 0.1 / (norm + 1e-6) + 0.01 * before)
    torch.testing.assert_close(w.detach(), expected, rtol=1e-12, atol=0.0)


def test_without_a_bound_the_gradient_is_not_clipped():
    training = toy(momentum=0.0, weight_decay=0.0, clip=0.0)
    training.begin_epoch()
    batch, w = training.batch(torch.arange(32)), training.net.main.weight
    before = w.detach().clone()
    (gradient,) = torch.autograd.grad(training.loss(batch), [w])
    training.step(batch)
    torch.testing.assert_close(w.detach(), before - 0.025 * gradient, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_steps_carry_momentum_as_the_protocol_says(nesterov):
    training = toy(momentum=0.9, nesterov=nesterov, weight_decay=0.0, clip=0.0)
    training.begin_epoch()
    batch, w = training.batch(torch.arange(32)), training.net.main.weight
    expected, velocity = w.detach().clone(), 0.0
    for _ in range(2):
        (gradient,) = torch.autograd.grad(training.loss(batch), [w])
        velocity = 0.9 * velocity + gradient
        expected -= 0.025 * (gradient + 0.9 * velocity if nesterov else velocity)
        training.step(batch)
        torch.testing.assert_close(w.detach(), expected, rtol=1e-12, atol=1e-15)


def test_the_test_loss_is_of_labels_that_are_not_smoothed():
    smooth, plain = (toy(label_smoothing=share) for share in (0.1, 0.0))
    assert smooth.judge() == plain.judge()


def test_cutout_is_for_training_only():
    training = toy(cutout=16, batch=32)
    training.one_epoch()
    (train,), (test,) = (
        [images for trains, _, images in training.net.seen if trains is t] for t in (True, False)
    )
    assert torch.equal(test, data.normalize(TEST.images, DIGITS, torch.float64))
    erased = (train == 0).all(dim=1).sum(dim=(1, 2))
    assert (erased >= 4).all() and (erased <= 16).all() and (erased == 16).any()


def test_test_images_are_varied_only_where_the_protocol_says_so():
    clean = data.normalize(TEST.images, DIGITS, torch.float64)
    for varied in (False, True):
        training = toy(cutout=16, batch=32, test_augmented=varied)
        training.one_epoch()
        (test,) = (images for trains, _, images in training.net.seen if not trains)
        assert torch.equal(test, clean) != varied


def test_images_that_are_not_augmented_are_seen_as_they_are():
    training = toy(augment=False)
    assert torch.equal(
        training.batch(torch.arange(32)).images,
        data.normalize(TRAIN.images, DIGITS, torch.float64),
    )


def test_only_late_epochs_are_tested_where_the_protocol_says_so():
    training = toy(test_late=True, epochs=6)
    records = list(training.run())
    assert [record["test_accuracy"] is None for record in records] == [True] * 5 + [False]
    found = finalnet.result(evaluation(), build(evaluation(), Machine()), records)
    assert (found["best_epoch"], found["best_test_accuracy"]) == (5, records[5]["test_accuracy"])


def test_one_test_at_the_end_finds_what_the_last_of_many_finds():
    often, once = (list(toy(epochs=4, test_last=last).run()) for last in (False, True))
    assert [record["test_accuracy"] is None for record in once] == [True] * 3 + [False]
    assert [(r["train_loss"]) for r in once] == [r["train_loss"] for r in often]
    assert once[-1]["test_loss"] == often[-1]["test_loss"]


def test_drop_path_follows_outputs_and_grows_with_the_training_accuracy():
    protocol = {
        "drop_path": 0.02,
        "drop_path_per_output": True,
        "drop_path_growth": "lhd-cifar100",
        "epochs": 3,
    }
    training = build(
        evaluation(space="darts", genotype=DARTS_CELL, cells=3, protocol=protocol), Machine()
    )
    assert training.drop_path == pytest.approx(0.08)
    for accuracy, target in ((80.0, 0.0805), (70.0, 0.0805), (90.0, 0.0806)):
        training.begin_epoch = lambda: None
        training.log = SimpleNamespace(
            add=lambda *_: None,
            means=lambda *_, a=accuracy: {"train_loss": 1.0, "train_accuracy": a},
        )
        record = training.one_epoch()
        assert training.drop_path == pytest.approx(target)
    assert record["drop_path"] == pytest.approx(0.0805 * 2 / 3)
    state = copy.deepcopy(training.state_dict())
    other = build(
        evaluation(space="darts", genotype=DARTS_CELL, cells=3, protocol=protocol), Machine()
    )
    other.load_state_dict(state)
    assert other.drop_path == training.drop_path


def test_every_training_image_is_seen_once_an_epoch():
    training = toy(batch=24)
    sizes = []
    step = training.step
    training.step = lambda batch: sizes.append(len(batch.labels)) or step(batch)
    training.one_epoch()
    assert sizes == [24, 8]


# Records


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_the_same_seed_gives_the_same_records_bit_for_bit(precision):
    first, again, other = (
        without_cost(build(evaluation(precision=precision, seed=s), Machine()).run())
        for s in (1, 1, 2)
    )
    assert first == again and first != other


def test_a_seed_decides_on_the_initial_weights_and_on_the_batches():
    one, other = (build(evaluation(seed=seed), Machine()) for seed in (1, 2))
    assert not torch.equal(one.net.linear.weight, other.net.linear.weight)
    assert not torch.equal(one.generator.get_state(), other.generator.get_state())


def test_a_record_says_all_about_its_epoch():
    training = build(evaluation(epochs=1), Machine())
    (record,) = training.run()
    assert record.keys() == {
        *(
            "epoch",
            "train_loss",
            "train_accuracy",
            "test_loss",
            "test_accuracy",
            "lr",
            "drop_path",
            "cost",
        )
    }
    assert record["cost"].keys() == {
        *(
            "seconds",
            "cpu_seconds",
            "training_cpu_seconds",
            "samples_per_second",
            "peak_memory_bytes",
        )
    }
    assert min(record["cost"].values()) > 0 and json.loads(json.dumps(record)) == record
    training.net.eval()
    with torch.no_grad():
        logits = training.net(data.normalize(TEST.images, DIGITS))
    assert record["test_loss"] == pytest.approx(
        F.cross_entropy(logits, TEST.labels).item(), rel=1e-6
    )
    assert (
        record["test_accuracy"]
        == 100 * (logits.argmax(dim=1) == TEST.labels).double().mean().item()
    )


def test_a_test_changes_nothing():
    training = build(evaluation(), Machine())
    training.one_epoch()
    before = copy.deepcopy(training.state_dict())
    training.judge()
    training.recalibrated_accuracy()
    torch.testing.assert_close(training.state_dict()["net"], before["net"], rtol=0, atol=0)
    assert torch.equal(training.generator.get_state(), before["generator"])


def test_a_loss_that_is_not_finite_stops_the_training():
    training = toy()
    training.one_epoch()
    with torch.no_grad():
        training.net.head.bias[0] = float("nan")
    training.protocol = replace(training.protocol, auxiliary=0.4)
    with pytest.raises(NotFinite, match="the train loss is not finite at epoch 1, step 0"):
        training.one_epoch()
    assert training.epoch == 1


def test_weights_that_break_in_the_last_update_are_noticed():
    training = toy(epochs=1, batch=32, lr=1e200, clip=0.0)
    step = training.optimizer.step
    training.optimizer.step = lambda: (step(), training.net.main.weight.data.fill_(float("nan")))
    with pytest.raises(NotFinite, match="the test loss is not finite at epoch 0, step 0"):
        training.one_epoch()


# Runs


class Stopped(Exception):
    """Raised in place of a kill."""


def interrupted(task, root, epoch, monkeypatch):
    """The run of a task that was stopped once the record of that epoch was kept."""
    keep = Run.append

    def stop(run, record, state):
        keep(run, record, state)
        if record["epoch"] == epoch:
            raise Stopped

    monkeypatch.setattr(Run, "append", stop)
    with pytest.raises(Stopped):
        task.run(Machine(runs=root))
    monkeypatch.setattr(Run, "append", keep)
    return task.run(Machine(runs=root))


ALL_ON = {
    "drop_path": 0.5,
    "auxiliary": 0.4,
    "cutout": 16,
    "label_smoothing": 0.1,
    "recalibration": 1,
}
TASKS = {
    "nasbench201": evaluation(protocol={"cutout": 16, "nesterov": True, "recalibration": 1}),
    "darts": evaluation(space="darts", genotype=DARTS_CELL, cells=3, protocol=ALL_ON),
    "lhd": evaluation(
        space="lhd", genotype=LHD_CELL, cells=3, protocol={}, preset="lhd-cifar100-released"
    ),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("epoch", [0, 2])
def test_stopped_and_resumed_equals_uninterrupted(name, epoch, tmp_path, monkeypatch):
    whole = TASKS[name].run(Machine(runs=tmp_path / "whole"))
    parts = interrupted(TASKS[name], tmp_path, epoch, monkeypatch)
    assert len(parts.records) == 3
    assert without_cost(parts.records) == without_cost(whole.records)
    assert parts.result == whole.result


def test_a_finished_run_is_read(tmp_path, monkeypatch):
    run = evaluation().run(Machine(runs=tmp_path))
    monkeypatch.setattr(finalnet, "build", None)
    assert evaluation().run(Machine(runs=tmp_path)) == run
    assert run.path.name == key(evaluation().params())


def test_the_result_has_the_last_accuracy_and_the_best_by_name():
    records = [{"epoch": e, "test_accuracy": a} for e, a in enumerate([50.0, 70.0, 70.0, 60.0])]
    found = finalnet.result(evaluation(), build(evaluation(), Machine()), records)
    assert (found["test_accuracy"], found["best_test_accuracy"], found["best_epoch"]) == (
        60.0,
        70.0,
        1,
    )


def test_the_result_says_what_was_trained(tmp_path):
    found = evaluation(protocol={"recalibration": 1}).run(Machine(runs=tmp_path)).result
    assert found["genotype"] == CELL and found["epochs"] == 3
    assert found["params"] == nasbench201_table.finalnet_parameters(CELL, 4, 1)
    assert found["macs"] == nasbench201_table.finalnet_multiply_adds(CELL, 4, 1, resolution=8)
    assert 0 <= found["recalibrated_test_accuracy"] <= 100


def test_the_size_of_a_network_is_without_its_auxiliary_head(tmp_path):
    run, bare = TASKS["darts"].run(Machine(runs=tmp_path)), finalnet.network(TASKS["darts"], 10)
    assert (
        run.result["params"]
        == count_parameters(bare)
        < count_parameters(build(TASKS["darts"], Machine()).net)
    )


@pytest.mark.parametrize("batch", [32, 20])
def test_recalibrated_statistics_are_means_over_batches_of_training_images(batch, monkeypatch):
    """Each batch weighs the same: those of all 32 images, or of 20 and of 12."""
    monkeypatch.setattr(batchnorm, "EVALUATION_BATCH", batch)
    task = evaluation(protocol={"recalibration": 2}, precision="float64")
    training, seen = build(task, Machine()), []
    training.judge = lambda: (
        seen.append(training.net.stem[1].running_mean.clone()) or {"test_accuracy": 1.0}
    )
    training.recalibrated_accuracy()
    images = data.normalize(TRAIN.images, DIGITS, torch.float64)
    means = [training.net.stem[0](part).mean(dim=(0, 2, 3)) for part in images.split(batch)]
    expected = torch.stack(means).mean(dim=0).detach()
    torch.testing.assert_close(seen[0], expected, rtol=1e-10, atol=1e-12)


def test_training_learns_the_digits():
    task = evaluation(
        epochs=4, protocol={"batch": 64, "lr": 0.1}, images=None, test_images=None, channels=8
    )
    assert list(build(task, Machine()).run())[-1]["test_accuracy"] > 60


# What is refused


@pytest.mark.parametrize("field", ["drop_path", "auxiliary"])
def test_what_a_space_cannot_do_is_refused_with_the_spaces_that_can(field):
    with pytest.raises(
        ValueError, match=f"{field} must be 0 for this network: only those of .*darts"
    ) as error:
        build(evaluation(protocol={field: 0.3}), Machine())
    assert "nasbench201" not in str(error.value)


def test_a_last_batch_of_one_image_is_refused_where_it_would_end_the_training():
    """The auxiliary head has a batch norm on 1 x 1 pixels,
    which makes no statistics of one image.
    """
    task = {**TINY, "genotype": DARTS_CELL, "space": "darts", "cells": 3, "images": 33}
    for batch, refused in ((32, True), (1, True), (31, False)):
        e = Evaluation(**task, protocol={"epochs": 1, "batch": batch, "auxiliary": 0.4})
        if refused:
            with pytest.raises(
                ValueError,
                match=f"batch must leave more than one image .* not {batch} of 33 images",
            ):
                build(e, Machine())
        else:
            assert len(list(build(e, Machine()).run())) == 1
    build(Evaluation(**task, protocol={"batch": 32, "auxiliary": 0.0}), Machine()).one_epoch()


def test_a_whole_number_for_a_float_of_the_protocol_names_the_same_run():
    keys = [key(evaluation(protocol={"lr": lr, "cutout": 0}).params()) for lr in (1, 1.0)]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"preset": "drna"}, "unknown protocol 'drna': .*did you mean 'drnas'"),
        (
            {"protocol": {"droppath": 0.1}},
            "unknown field of the protocol 'droppath': .*did you mean 'drop_path'",
        ),
        ({"space": "nasbench"}, "unknown space 'nasbench'.*did you mean 'nasbench201'"),
        ({"precision": "bf32"}, "unknown precision 'bf32'"),
        ({"images": 10_000}, "images must be 1 to 1437, not 10000"),
        ({"test_images": 0}, "test_images must be a whole number, 1 or more, not 0"),
        ({"test_images": 400}, "test_images must be 1 to 360, not 400"),
        ({"dataset": "cifar"}, "unknown data set 'cifar'.*did you mean 'cifar10'"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
        ({"channels": 4.0}, "channels must be a whole number, 1 or more, not 4.0"),
    ],
)
def test_a_bad_field_is_refused_by_name(changed, message):
    with pytest.raises(ValueError, match=message):
        build(Evaluation(**{"genotype": CELL, **TINY, **changed}), Machine())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"preset": "nope"}, "unknown protocol 'nope'"),
        (
            {"protocol": {"epchs": 2}},
            "unknown field of the protocol 'epchs': .*did you mean 'epochs'",
        ),
        ({"protocol": {"lr": -0.1}}, "lr must be a positive number, not -0.1"),
        ({"genotype": "x"}, "expected .* not 'x'"),
        ({"genotype": "|conv~0|"}, "conv"),
        ({"space": "s2"}, "normal and reduce"),
    ],
)
def test_a_bad_name_number_or_genotype_is_refused_at_once(changed, message):
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        Evaluation(**{"genotype": CELL, **TINY, **changed})
    Evaluation(CELL.replace("none", "nor_conv_3x3"))
    assert torch.equal(torch.get_rng_state(), state)


def test_params_are_all_that_determines_the_result():
    params = evaluation().params()
    assert (params["kind"], params["version"], params["genotype"]) == ("finalnet", 1, CELL)
    assert json.loads(json.dumps(params)) == params
    assert key(params) != key(evaluation(seed=4).params())


# Multiply-adds


@pytest.mark.parametrize("index", [0, 1, 4_321, 11_472, 15_624])
@pytest.mark.parametrize(
    ("channels", "cells", "classes", "resolution"), [(16, 5, 10, 32), (4, 1, 100, 16)]
)
def test_multiply_adds_of_benchmark_cells(index, channels, cells, classes, resolution):
    net = spaces.get("nasbench201").finalnet(
        nasbench201_table.arch_of(index), channels, cells, classes
    )
    expected = nasbench201_table.finalnet_multiply_adds(
        index, channels, cells, classes, resolution
    )
    assert count_multiply_adds(net, resolution) == expected


def test_multiply_adds_by_hand():
    layers = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, 2, 2, groups=8, bias=False),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    assert count_multiply_adds(nn.Sequential(*layers), 8) == 64 * 8 * 28 + 16 * 8 * 25 + 10 * 129


def test_multiply_adds_count_convolutions_that_are_not_modules():
    class Functional(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight, bias=self.bias)

    assert (
        count_multiply_adds(Functional(3, 5, 1), 4)
        == count_multiply_adds(nn.Conv2d(3, 5, 1), 4)
        == 16 * 5 * 4
    )


def test_multiply_adds_leave_the_network_as_it_was():
    net = spaces.get("nasbench201").finalnet(CELL, 4, 1, 10).double().train()
    before = copy.deepcopy(net.state_dict())
    count_multiply_adds(net, 8)
    assert net.training and net.bn.training
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_genotype_may_be_given_as_it_is():
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"
    given = Evaluation(spaces.genotype.Genotype.parse(text))
    assert given == Evaluation(text) and given.params() == Evaluation(text).params()
