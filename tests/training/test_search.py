"""The bilevel loop on a tiny problem: what it records, and which update sees what.

Run: pytest tests/training/test_search.py
"""

import copy
import json
import math
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nasutils import Genotype, data, methods, spaces
from nasutils.methods import relax, schedules
from nasutils.spaces.base import everything
from nasutils.training.computation import Machine, check_device
from nasutils.training.experiment import Experiment, build
from nasutils.training.loop import NotFinite, clip, clock
from nasutils.training.search import Search

CLIPS = json.loads((Path(__file__).parents[1] / "truth" / "relaxation.json").read_text())[
    "clip_interaction_nb201"
]
NB201 = spaces.get("nasbench201")
DIGITS = data.load("digits", resolution=8)
TRAIN, VALID = data.search_split(DIGITS, "half", 64)
COSTS = {
    "seconds",
    "cpu_seconds",
    "training_cpu_seconds",
    "samples_per_second",
    "peak_memory_bytes",
}


pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(
    name="darts",
    *,
    epochs=2,
    seed=0,
    precision="float64",
    options=None,
    preset="published",
    **recipe,
):
    """A search over 64 + 64 digits with 2 channels and a cell per stage."""
    dtype = torch.float32 if precision == "float32" else torch.float64
    method = methods.get(
        name, NB201, epochs=epochs, preset=preset, seed=seed, dtype=dtype, **(options or {})
    )
    chosen = replace(method.recipe, **{"epochs": epochs, "batch": 32, "split": "half", **recipe})
    torch.manual_seed(seed)
    net = NB201.supernet(2, 1, 10).to(dtype)
    return Search(
        net, method, chosen, DIGITS, TRAIN, VALID, recalibration=1, seed=seed, precision=precision
    )


def experiment(**changed):
    """A search over 16 + 16 digits, of one epoch."""
    return Experiment(
        **{
            **{"dataset": "digits", "resolution": 8, "images": 16, "channels": 2, "cells": 1},
            **{"epochs": 1, "recipe": {"batch": 16, "split": "half"}},
            **changed,
        }
    )


def saturate(search, ops):
    """Alpha so far apart that a small temperature leaves one operation per edge."""
    with torch.no_grad():
        search.method.alphas["cell"].copy_(nn.functional.one_hot(torch.tensor(ops), 5))


def one_iteration(search, epoch=0):
    """Start an epoch; returns a training and a validation batch of it."""
    search.epoch = epoch
    search.begin_epoch()
    search.method.begin_step()
    index = torch.arange(32)
    return search.batch("train", search.train, index), search.batch("valid", search.valid, index)


def without_cost(records):
    return [{key: value for key, value in record.items() if key != "cost"} for record in records]


def test_a_policy_that_the_space_has_not_is_refused_at_once():
    with pytest.raises(ValueError, match="policy of s2 'top2-skip2'.*did you mean 'top2-skips2'"):
        Experiment("s2", options={"policy": "top2-skip2"})


def test_a_gpu_is_called_cuda():
    with pytest.raises(
        ValueError, match="unknown device on this machine 'gpu': a GPU is called 'cuda'"
    ):
        check_device("gpu")


# What ends a search


@pytest.mark.parametrize("measured", [{}, {"eigenvalue_every": 3}, {"probe_every": 5}])
def test_a_search_that_stops_by_eigenvalues_measures_them_often_enough(measured):
    stop = {"criterion": "eigenvalue"}
    every = measured.get("eigenvalue_every", 0)
    with pytest.raises(ValueError, match=f"eigenvalue_every must be 1 to 2 .*, not {every}$"):
        Experiment(stop=stop, **measured)
    for often in ({"eigenvalue_every": 2}, {"probe_every": 1}):
        assert Experiment(stop=stop, **often).stops_by_eigenvalue


def test_a_search_without_eigenvalues_is_not_stopped_by_them(tmp_path):
    search = Experiment(
        method="gaea-erm",
        stop={"criterion": "eigenvalue"},
        eigenvalue_every=2,
        dataset="digits",
        images=64,
        recipe={"batch": 32},
    )
    with pytest.raises(ValueError, match="stop must have another criterion .* for gaea-erm"):
        search.check(Machine(runs=tmp_path))


# Records


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["darts", "sp-darts", "edd-darts"])
def test_the_same_seed_gives_the_same_records_bit_for_bit(name, precision):
    first, again, other = (
        without_cost(tiny(name, precision=precision, seed=s).run()) for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_seed_decides_on_weights_on_alpha_and_on_the_batches():
    """Arms of the registered study are samples of independent searches only if it does."""
    one, other = (build(experiment(seed=seed), Machine()) for seed in (1, 2))
    assert not torch.equal(one.net.linear.weight, other.net.linear.weight)
    assert not torch.equal(one.method.alphas["cell"], other.method.alphas["cell"])
    assert not torch.equal(one.generator.get_state(), other.generator.get_state())


def test_weights_alpha_and_its_judges_have_their_parts_of_the_images():
    search = build(experiment(evaluation=8, held_out=4), Machine())
    weights, alpha = data.search_split(DIGITS, "half", 16)
    assert torch.equal(search.train.images, weights.images)
    assert torch.equal(search.valid.images, alpha.images)
    assert torch.equal(search.evaluation.images, alpha.images[:8])
    unseen = data.held_out(DIGITS, "half", 16, 4)
    assert torch.equal(search.held_out.images, unseen.images)


def test_a_record_says_all_about_its_epoch():
    (record,) = tiny(epochs=1).run()
    assert record.keys() == {
        *(
            "epoch",
            "train_loss",
            "train_accuracy",
            "valid_loss",
            "valid_accuracy",
            "temperature",
            "weight_lr",
        ),
        "alpha_gradient_norm",
        *(
            "softmax_temperature",
            "alpha",
            "mix",
            "entropy",
            "skip_count",
            "genotype",
            "supernet_accuracy",
            "cost",
        ),
        "judged_on",
    }
    assert record["supernet_accuracy"].keys() == {
        "relaxed",
        "discretized",
        "discretized_recalibrated",
    }
    assert record["cost"].keys() == COSTS
    assert json.loads(json.dumps(record)) == record


def test_judging_now_and_then_and_on_held_out_images_changes_no_bit_of_a_search():
    every, rarely = tiny(epochs=5), tiny(epochs=5)
    rarely.judge_every, rarely.held_out = 2, VALID[:16]
    expected, found = (without_cost(search.run()) for search in (every, rarely))
    assert ["supernet_accuracy" in record for record in found] == [False, True, False, True, True]
    assert all(record.keys() >= {"held_out"} for record in found)
    left_out = {"supernet_accuracy", "judged_on", "held_out"}
    for a, b in zip(expected, found, strict=True):
        assert {k: v for k, v in a.items() if k not in left_out} == {
            k: v for k, v in b.items() if k not in left_out
        }
        assert a["supernet_accuracy"] == b.get("supernet_accuracy", a["supernet_accuracy"])


@pytest.mark.parametrize(("split", "images"), [("all", "train"), ("half", "valid")])
def test_a_record_says_whether_the_supernet_was_judged_on_images_it_was_trained_on(split, images):
    """As of the single-level methods, whose accuracy does not compare with the held-out one of the
    others.
    """
    method = "gaea-erm" if split == "all" else "darts"
    recipe = {"batch": 16, "split": split}
    (record,) = build(experiment(method=method, recipe=recipe), Machine()).run()
    assert record["judged_on"] == images


@pytest.mark.parametrize(("rule", "repeats"), [("replacement", True), ("distinct", False)])
def test_alphas_images_of_a_step_are_drawn_with_replacement_or_distinct_ones(rule, repeats):
    search = tiny(epochs=1, batch=64, valid_batch=rule)
    drawn = [search._valid_index(64).tolist() for _ in range(2)]
    assert [len(set(step)) < 64 for step in drawn] == [repeats, repeats]
    assert drawn[0] != drawn[1] and set(drawn[0]) <= set(range(64))


def test_more_distinct_images_than_alpha_has_are_refused():
    with pytest.raises(ValueError, match="batch must be 1 to 64, the images for alpha, not 65"):
        tiny(batch=65, valid_batch="distinct")


def test_a_probed_epoch_is_judged():
    search = tiny(epochs=3)
    search.judge_every, search.probe_every = 3, 2
    assert [r.keys() & {"leakage", "supernet_accuracy"} for r in search.run()] == [
        set(),
        {"leakage", "supernet_accuracy"},
        {"leakage", "supernet_accuracy"},
    ]


def test_held_out_images_are_judged_as_the_relaxed_supernet_sees_them():
    search = tiny(epochs=1)
    search.held_out = search.evaluation
    (record,) = search.run()
    search.net.eval()
    with torch.no_grad():
        logits = search.net(
            data.normalize(VALID.images, DIGITS, torch.float64), search.method.inference()
        )
    assert record["held_out"]["loss"] == pytest.approx(
        nn.functional.cross_entropy(logits, VALID.labels).item()
    )
    assert record["held_out"]["accuracy"] == record["supernet_accuracy"]["relaxed"]


def test_the_norm_of_alphas_gradient_is_the_mean_over_steps(monkeypatch):
    search, seen = tiny(epochs=1), []
    update = search.method.update
    monkeypatch.setattr(
        search.method, "update", lambda g: seen.append(g[0].norm().item()) or update(g)
    )
    (record,) = search.run()
    assert record["alpha_gradient_norm"] == pytest.approx(sum(seen) / len(seen)) and len(seen) == 2
    assert next(tiny(epochs=2, alpha_from=1).run())["alpha_gradient_norm"] is None


def test_the_clock_counts_all_threads():
    def busy():
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass

    before = clock()
    worker = threading.Thread(target=busy)
    worker.start()
    worker.join()
    assert clock().cpu - before.cpu >= 0.05


def test_costs_are_of_all_that_an_epoch_does():
    plain, probed = tiny(epochs=1), tiny(epochs=1)
    probed.probe_every = 1
    (a,), (b,) = plain.run(), probed.run()
    assert b["cost"]["cpu_seconds"] > 2 * b["cost"]["training_cpu_seconds"]
    assert a["cost"]["training_cpu_seconds"] < a["cost"]["cpu_seconds"] <= b["cost"]["cpu_seconds"]


def test_a_record_is_consistent_with_itself():
    search = tiny("sp-darts")
    for record in search.run():
        alpha, mix = (
            torch.tensor(record[key]["cell"], dtype=torch.float64) for key in ("alpha", "mix")
        )
        torch.testing.assert_close(
            mix, relax.softmax(alpha, record["temperature"]), rtol=1e-14, atol=0.0
        )
        assert record["entropy"]["cell"] == pytest.approx(
            relax.entropy(mix).mean().item(), rel=1e-14
        )
        assert Genotype.parse(record["genotype"]) == NB201.discretize({"cell": mix})
        assert (
            record["skip_count"]
            == (mix.argmax(dim=1) == NB201.ops.index("skip_connect")).sum().item()
        )
        assert 0 <= record["train_accuracy"] <= 100 and 0 <= record["valid_accuracy"] <= 100
        assert min(record["cost"].values()) > 0
    assert torch.equal(search.method.alphas["cell"].detach(), alpha)


def test_losses_are_means_over_the_images_of_uneven_batches():
    search, seen = tiny(batch=24, epochs=1), []
    loss = search.loss
    search.loss = lambda batch, *rest: seen.append((batch, loss(batch, *rest))) or seen[-1][1]
    (record,) = search.run()
    for role in ("train", "valid"):
        parts = [(len(batch.labels), value.item()) for batch, value in seen if batch.role == role]
        assert [size for size, _ in parts] == [24, 24, 16]
        assert record[f"{role}_loss"] == pytest.approx(
            sum(n * value for n, value in parts) / 64, rel=1e-12
        )


@pytest.mark.parametrize(
    "nesterov",
    [False, True],
)
def test_unrolled_weights_are_those_of_the_optimizers_next_step(nesterov):
    search = tiny(nesterov=nesterov)
    train, _ = one_iteration(search)
    search._weight_step(train)
    gradients, _ = first_gradients(search, train)
    ahead, factor = search.unrolled_weights(gradients)
    assert factor == pytest.approx(0.025 * (1.9 if nesterov else 1))
    for w, gradient in zip(search.weights, gradients, strict=True):
        w.grad = gradient
    search.optimizer.step()
    torch.testing.assert_close(ahead, [w.detach() for w in search.weights], rtol=1e-12, atol=1e-14)


def test_second_order_counts_every_training_image_once():
    records = {
        order: next(tiny(epochs=1, weight_lr=1e-9, options={"order": order}).run())
        for order in (1, 2)
    }
    assert records[2]["train_loss"] == pytest.approx(records[1]["train_loss"], rel=1e-3)


def test_second_order_leaves_the_batch_norms_to_the_weight_step():
    search = tiny(options={"order": 2})
    before = copy.deepcopy(search.net.state_dict())
    search._alpha_step(*one_iteration(search))
    torch.testing.assert_close(search.net.state_dict(), before, rtol=0, atol=0)


def test_the_weight_rate_follows_its_cosine():
    rates = [record["weight_lr"] for record in tiny(epochs=3).run()]
    assert rates == [schedules.cosine(e, 3, 0.025, 0.001) for e in range(3)]


def test_random_search_trains_nothing():
    assert list(tiny("random", epochs=0).run()) == []
    assert methods.get("random", NB201, epochs=7).recipe.epochs == 0


# Judging the supernet


def test_discretized_accuracy_runs_one_operation_per_edge():
    search, seen = tiny(epochs=1), []
    forward = search.net.forward
    search.net.forward = lambda images, mix, active=None: (
        seen.append((search.net.training, mix, active)) or forward(images, mix, active)
    )
    search._evaluate()
    # relaxed, discretized, recalibrate, again
    assert [training for training, *_ in seen] == [
        False,
        False,
        True,
        False,
    ]
    for _, mix, active in seen[1:]:
        assert torch.equal(mix["cell"], relax.one_hot(search.method.inference()["cell"]))
        assert [sum(edge) for edge in active["cell"]] == [1] * 6


def test_judging_changes_no_weight_no_statistic_and_no_random_state():
    search = tiny()
    search._weight_step(one_iteration(search)[0])
    before, random = copy.deepcopy(search.state_dict()), torch.get_rng_state()
    search._evaluate()
    after = search.state_dict()
    counters = {name for name in after["net"] if name.endswith("num_batches_tracked")}
    for name in after["net"].keys() - counters:
        assert torch.equal(after["net"][name], before["net"][name]), name
    assert torch.equal(after["generator"], before["generator"])
    assert torch.equal(torch.get_rng_state(), random)
    assert {m.momentum for m in search.net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_recalibration_leaves_the_batch_counters_unchanged():
    search = tiny(epochs=1)
    before = copy.deepcopy(search.net.state_dict())
    search._evaluate()
    assert all(torch.equal(before[name], value) for name, value in search.net.state_dict().items())


def test_recalibrated_statistics_are_those_of_the_training_images():
    search = tiny("darts")
    mix = {"cell": relax.one_hot(search.method.inference()["cell"])}
    seen = []
    search.accuracy = lambda mix: seen.append(search.net.stem[1].running_mean.clone())
    search.recalibrated_accuracy(mix)
    images = data.normalize(TRAIN.images, DIGITS, torch.float64)
    stem = search.net.stem[0](images)
    torch.testing.assert_close(seen[0], stem.mean(dim=(0, 2, 3)), rtol=1e-10, atol=1e-12)


# The clip


def test_clip_by_hand():
    gradients = [torch.tensor([3.0, 0.0]).double(), torch.tensor([[4.0]]).double()]
    assert clip(gradients, 1.0) == pytest.approx(5.0)
    assert [g.tolist() for g in gradients] == [
        [pytest.approx(0.6, rel=1e-6), 0.0],
        [[pytest.approx(0.8, rel=1e-6)]],
    ]


def test_clip_leaves_short_gradients_alone():
    gradients = [torch.tensor([3.0, 4.0]).double()]
    assert clip(gradients, 5.1) == 5.0
    assert gradients[0].tolist() == [3.0, 4.0]


def test_clip_with_others_counts_them_and_does_not_scale_them():
    gradients, others = [torch.tensor([2.0, 1.0]).double()], [torch.tensor([2.0]).double()]
    assert clip(gradients, 1.5, others) == pytest.approx(3.0)
    assert gradients[0].tolist() == pytest.approx([1.0, 0.5], rel=1e-6)
    assert others[0].tolist() == [2.0]


@pytest.mark.parametrize(
    "step", [s for run in CLIPS["runs"] for s in run["steps"]], ids=lambda s: f"{s['grad_norm_w']}"
)
def test_clip_scales_as_released(step):
    norms = [
        torch.tensor([step[key]]).double() for key in ("grad_norm_w", "alpha_grad_norm_in_clip")
    ]
    for others, expected in (
        (norms[1:], step["w_scale"]),
        ([], step["w_scale_if_alpha_excluded"]),
    ):
        weights = [norms[0].clone()]
        clip(weights, 5.0, others)
        assert (weights[0] / norms[0]).item() == pytest.approx(expected, rel=1e-6)


def first_gradients(search, train):
    """dL_train/dw and dL_train/dalpha of the current step, unclipped."""
    mix = search.method.mixing()
    loss = nn.functional.cross_entropy(search.net(train.images, mix), train.labels)
    alphas = list(search.method.alphas.values())
    gradients = torch.autograd.grad(loss, [*search.weights, *alphas], materialize_grads=True)
    return gradients[: len(search.weights)], gradients[len(search.weights) :]


@pytest.mark.parametrize("preset", ["published", "released"])
def test_released_clips_with_the_last_alpha_gradient_plus_that_of_the_training_loss(preset):
    search = tiny(
        "sp-darts", preset=preset, momentum=0.0, nesterov=False, weight_decay=0.0, clip=0.5
    )
    train, valid = one_iteration(search, epoch=1)
    search._alpha_step(train, valid)
    arch = [g.clone() for g in search.alpha_gradients]
    assert arch[0].norm() > 0.5
    before = [w.detach().clone() for w in search.weights]
    to_weights, to_alpha = first_gradients(search, train)
    search._weight_step(train)
    norm = torch.cat([g.flatten() for g in to_weights]).norm()
    if preset == "released":
        norm = torch.hypot(norm, (arch[0] + to_alpha[0]).norm())
    scale = search.recipe.weight_lr * min(1.0, 0.5 / (norm.item() + 1e-6))
    for w, b, g in zip(search.weights, before, to_weights, strict=True):
        torch.testing.assert_close(w.detach(), b - scale * g, rtol=1e-10, atol=1e-14)


def test_released_noisy_gradient_is_not_in_the_weight_steps_part_of_the_clip():
    search = tiny(
        "pcd-darts", preset="released", momentum=0.0, nesterov=False, weight_decay=0.0, clip=1e-3
    )
    saturate(search, [2, 3, 1, 2, 3, 3])
    with torch.no_grad():
        search.method.alphas["cell"].mul_(0.1)
    train, _ = one_iteration(search, epoch=6)
    before = [w.detach().clone() for w in search.weights]
    mix = {"cell": relax.softmax(search.method.alphas["cell"], search.method.temperature)}
    alphas = list(search.method.alphas.values())
    loss = nn.functional.cross_entropy(search.net(train.images, mix), train.labels)
    gradients = torch.autograd.grad(loss, [*search.weights, *alphas], materialize_grads=True)
    norm = torch.cat([g.flatten() for g in gradients]).norm().item()
    search._weight_step(train)
    moved = torch.cat(
        [(b - w.detach()).flatten() for b, w in zip(before, search.weights, strict=True)]
    ).norm()
    expected = (
        torch.cat([g.flatten() for g in gradients[:-1]]).norm() * 0.025 * 1e-3 / (norm + 1e-6)
    )
    assert moved.item() == pytest.approx(expected.item(), rel=1e-6)


# The two updates


def test_weight_decay_reaches_skipped_operations():
    search = tiny("sp-darts", momentum=0.0, nesterov=False, weight_decay=0.01)
    saturate(search, [1, 1, 1, 1, 1, 1])
    train, _ = one_iteration(search, epoch=1)
    search.method.step_temperature = 1e-3
    idle = {
        name: p.detach().clone() for name, p in search.net.named_parameters() if ".fans." in name
    }
    assert len(idle) == 36
    search._weight_step(train)
    for name, parameter in search.net.named_parameters():
        if name in idle:
            expected = idle[name] * (1 - search.recipe.weight_lr * 0.01)
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-14, atol=0.0)


def test_skipped_operations_keep_their_momentum():
    search = tiny("sp-darts", weight_decay=0.0)
    saturate(search, [1, 1, 1, 1, 1, 1])
    train, _ = one_iteration(search, epoch=1)
    search.method.step_temperature = 1.0
    search._weight_step(train)
    weight = dict(search.net.named_parameters())["layers.0.fans.0.3.conv.weight"]
    velocity = search.optimizer.state[weight]["momentum_buffer"].clone()
    assert velocity.any()
    search.method.step_temperature = 1e-3
    search._weight_step(train)
    torch.testing.assert_close(
        search.optimizer.state[weight]["momentum_buffer"], 0.9 * velocity, rtol=1e-14, atol=0.0
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [("alpha-first", ["alpha", "weights"]), ("weights-first", ["weights", "alpha"])],
)
def test_the_order_of_the_two_updates(order, expected):
    search, seen = tiny(epochs=1, batch=64, order=order), []
    alpha_step, weight_step = search._alpha_step, search._weight_step
    search._alpha_step = lambda *batches: seen.append("alpha") or alpha_step(*batches)
    search._weight_step = lambda *batches: seen.append("weights") or weight_step(*batches)
    search.one_epoch()
    assert seen == expected


@pytest.mark.parametrize("method", ["darts", "gdas"])
def test_weights_that_move_all_at_once_move_as_one_by_one_bit_for_bit(method):
    found = []
    for together in (True, False):
        search = tiny(method, precision="float32")
        search.optimizer.param_groups[0]["foreach"] = together
        list(search.run())
        found.append([w.detach().clone() for w in search.weights])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_order_changes_the_result():
    assert not torch.equal(
        *(next(iter(_weights_after(order))) for order in ("alpha-first", "weights-first"))
    )


def _weights_after(order):
    search = tiny("sp-darts", epochs=1, order=order)
    search.one_epoch()
    return [w.detach() for w in search.weights]


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="did you mean 'alpha-first'"):
        tiny(order="alpha_first")


def test_alpha_steps_at_the_current_weights_and_weights_at_the_current_alpha():
    search = tiny(epochs=1, batch=64, order="weights-first")
    twin = copy.deepcopy(search)
    search.one_epoch()
    twin.begin_epoch()
    index = next(data.index_batches(64, 64, twin.generator))
    chosen = torch.randint(64, (64,), generator=twin.generator)
    train, valid = twin.batch("train", TRAIN, index), twin.batch("valid", VALID, chosen)
    twin._weight_step(train)
    mix = twin.method.mixing()
    loss = nn.functional.cross_entropy(twin.net(valid.images, mix), valid.labels)
    twin.method.update(list(torch.autograd.grad(loss, list(twin.method.alphas.values()))))
    torch.testing.assert_close(
        twin.method.alphas["cell"], search.method.alphas["cell"], rtol=1e-9, atol=1e-15
    )


def test_alpha_stands_still_before_its_first_epoch():
    search = tiny(epochs=3, alpha_from=2)
    start = search.method.alphas["cell"].tolist()
    records = list(search.run())
    assert [record["alpha"]["cell"] == start for record in records] == [True, True, False]
    assert [record["valid_loss"] is None for record in records] == [True, True, False]


def test_a_search_in_which_alpha_would_never_move_is_refused():
    for start in (3, 15):
        with pytest.raises(
            ValueError,
            match=r"alpha_from must be 0 to 2 \(recipe=\{'alpha_from': .*not " + str(start),
        ):
            tiny(epochs=3, alpha_from=start)


@pytest.mark.parametrize("order", ["alpha-first", "weights-first"])
def test_a_bound_of_zero_clips_nothing(order):
    free, wide = (tiny(epochs=1, order=order, clip=bound) for bound in (0.0, 1e9))
    start = [w.detach().clone() for w in free.weights]
    assert without_cost(free.run()) == without_cost(wide.run())
    assert not any(torch.equal(a, b.detach()) for a, b in zip(start, free.weights, strict=True))


def test_the_alpha_step_moves_no_weight_and_the_weight_step_no_alpha():
    search = tiny()
    train, valid = one_iteration(search)
    weights, alpha = (
        [w.detach().clone() for w in search.weights],
        search.method.alphas["cell"].detach().clone(),
    )
    search._alpha_step(train, valid)
    assert all(torch.equal(a, b.detach()) for a, b in zip(weights, search.weights, strict=True))
    assert not torch.equal(search.method.alphas["cell"].detach(), alpha)
    alpha = search.method.alphas["cell"].detach().clone()
    search._weight_step(train)
    assert torch.equal(search.method.alphas["cell"].detach(), alpha)
    assert all(w.grad is None for w in search.weights)


def test_dense_and_skipping_give_the_same_trajectory():
    """In training mode batch norms use the batch's statistics,
    so idle operations change nothing but their own.
    """
    results = []
    for dense in (False, True):
        search = tiny("sp-darts", epochs=3, options={"schedule": "always"})
        saturate(search, [3, 2, 1, 4, 3, 1])
        if dense:
            search.method.active_in_alpha_step = search.method.active_in_weight_step = everything
        results.append((list(search.run()), [w.detach() for w in search.weights]))
    (skipping, weights), (dense, dense_weights) = results
    assert max(max(row) for row in skipping[-1]["mix"]["cell"]) == 1.0
    for a, b in zip(skipping, dense, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-9)
        torch.testing.assert_close(
            torch.tensor(a["alpha"]["cell"]), torch.tensor(b["alpha"]["cell"]), rtol=0, atol=1e-9
        )
    torch.testing.assert_close(weights, dense_weights, rtol=0.0, atol=1e-9)


# Faults and state


def poison(search, step):
    """Make a weight NaN after so many weight updates."""
    update, calls = search.optimizer.step, []

    def poisoned():
        update()
        calls.append(1)
        if len(calls) == step:
            with torch.no_grad():
                search.net.linear.bias[0] = float("nan")

    search.optimizer.step = poisoned


def test_negligible_weights_are_not_run_in_weight_steps_and_still_have_a_gradient_in_alpha_steps():
    ran = {}
    for negligible in (0.0, 1e-3):
        task, seen = tiny("sp-darts", negligible=negligible), []
        task.method.begin_epoch(1)
        task.method.step_temperature = 1e-3
        with torch.no_grad():
            task.method.alphas["cell"].copy_(
                torch.tensor([[0.0, 0.0, 1e-2, 1e-3, 0.0]]).repeat(6, 1)
            )
        task.net.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[1:]))
        train, valid = (
            task.batch("train", TRAIN, torch.arange(8)),
            task.batch("valid", VALID, torch.arange(8)),
        )
        task._weight_step(train)
        task._alpha_step(train, valid)
        ran[negligible] = [active["cell"][0] for _, active in seen]
        kept = seen[0][0]["cell"][0]
        assert kept[2] > 0.99 and kept[3] == (
            0 if negligible else pytest.approx(math.exp(-9), rel=1e-2)
        )
    assert ran[0.0] == [[True] * 5] * 2
    assert ran[1e-3] == [[False, False, True, False, False], [True] * 5]


def test_a_loss_that_is_not_finite_stops_the_search_with_epoch_and_step():
    search = tiny(order="alpha-first")
    search.one_epoch()
    poison(search, 1)
    with pytest.raises(NotFinite, match="the valid loss is not finite at epoch 1, step 1"):
        search.one_epoch()
    assert search.epoch == 1


@pytest.mark.parametrize(("order", "step"), [("alpha-first", 1), ("weights-first", 0)])
def test_a_gradient_of_alpha_that_breaks_the_losses_is_named(order, step):
    search = tiny(order=order)
    follow = search.method.alpha_gradients
    steps = iter(range(2))

    def broken(*batches):
        return [g * (float("nan") if next(steps) == step else 1.0) for g in follow(*batches)]

    search.method.alpha_gradients = broken
    with pytest.raises(NotFinite, match=f"alpha's gradient is not finite at epoch 0, step {step}"):
        search.one_epoch()


@pytest.mark.parametrize("found", [None, [None], torch.zeros(6, 5), [torch.zeros(5, 6)]])
def test_what_is_no_gradient_of_each_alpha_is_refused(found):
    search = tiny()
    search.method.alpha_gradients = lambda *batches: found
    with pytest.raises(ValueError, match=r"darts must return a gradient .*\(cell \(6, 5\)\), not"):
        search.one_epoch()


def test_what_a_method_observes_stands_in_the_record():
    search = tiny()
    search.method.observed = lambda: {"norm": search.method.alphas["cell"].norm().item(), "n": 2}
    record = search.one_epoch()
    norm = torch.tensor(record["alpha"]["cell"], dtype=torch.float64).norm().item()
    assert record["observed"] == {"norm": norm, "n": 2}


@pytest.mark.parametrize(
    "found", [3, {"norm": float("nan")}, {"norm": torch.ones(())}, {1: 2.0}, {"norm": "large"}]
)
def test_what_is_no_finite_number_is_not_observed(found):
    search = tiny()
    search.method.observed = lambda: found
    with pytest.raises(ValueError, match=r"darts\.observed\(\) must be a dict of finite numbers"):
        search.one_epoch()


def test_weights_that_break_in_the_last_update_are_noticed():
    search = tiny(epochs=1, order="alpha-first")
    poison(search, 2)
    with pytest.raises(NotFinite):
        search.one_epoch()


@pytest.mark.parametrize("name", ["darts", "sp-darts", "pcd-darts", "edd-darts"])
def test_a_restored_search_goes_on_bit_for_bit(name):
    options = {"warmup": 1} if name in ("pcd-darts", "edd-darts") else {}
    search = tiny(name, epochs=4, preset="released", options=options)
    for _ in range(2):
        search.one_epoch()
    state = copy.deepcopy(search.state_dict())
    expected = without_cost(search.run())
    restored = tiny(name, epochs=4, preset="released", options=options, seed=5)
    restored.load_state_dict(state)
    assert without_cost(restored.run()) == expected
