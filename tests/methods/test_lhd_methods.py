"""The twelve baselines on LHD: released presets against the authors' code, published ones by hand,
a search with each.

Equality is tested in float64. With NASUTILS_TRUTH naming the folder of the full truth files, all
of their cases run. Run: pytest tests/methods/test_lhd_methods.py
"""

import math
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nasutils import Genotype, data, methods, spaces
from nasutils.methods import gdas, relax, schedules
from nasutils.methods.beta_darts import penalty
from nasutils.methods.drnas import concentration, kl_to_flat
from nasutils.methods.schedules import TwoTemperatures
from nasutils.spaces.base import everything
from nasutils.spaces.lhd_cells import CELL_TYPES, INCOMING
from nasutils.spaces.mixed_cell import CellWeights
from nasutils.training import experiment
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.loop import Batch
from nasutils.training.search import Search
from tests.lhd_truth import LHD, NETWORKS, alphas, batch, close, filled

BASELINES = (
    *("random", "darts", "milenas", "gdas", "pc-darts", "gaea-bilevel", "gaea-erm"),
    *("drnas", "sp-darts", "darts-minus", "beta-darts", "surgenas"),
)
DIGITS = data.load("digits", resolution=8)
NAMES = {
    "spdarts": "sp-darts",
    "pcdarts": "pc-darts",
    "beta": "beta-darts",
    "surgenas": "surgenas",
}
PREFIXES = {**NAMES, "darts_minus": "darts-minus", "gaea_erm": "gaea-erm", "gaea": "gaea-bilevel"}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def _no_chance(monkeypatch):
    """Zero Gumbel noise, and the mean for a draw from a Dirichlet distribution."""
    monkeypatch.setattr(gdas, "gumbel", lambda a, generator: torch.zeros_like(a))
    monkeypatch.setattr(relax, "dirichlet", lambda c, generator: c / c.sum(dim=-1, keepdim=True))


def make(name, preset="published", **options):
    return methods.get(name, LHD, preset=preset, dtype=torch.float64, **options)


def set_alpha(method, values=None):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, alpha in method.alphas.items():
            random = torch.randn(alpha.shape, generator=generator, dtype=torch.float64)
            alpha.copy_(random if values is None else values[name])


def released(case):
    """The search of a case of the truth file, at the epoch,
    temperature or coefficient that its name says.
    """
    prefixes = [p for p in sorted(PREFIXES, key=len) if case.startswith(p)]
    base = PREFIXES[prefixes[-1]] if prefixes else case.split("_")[0]
    ending = re.search(r"([\d.]+)\)?$", case)
    number = float(ending[1]) if ending else None
    method = make(base, "released")
    set_alpha(method, alphas(uniform=base.startswith("gaea") and "rule" not in case))
    net = filled(LHD.supernet(4, 3, 10, partial=method.partial, extra=method.extra))
    rate = method.recipe.weight_lr
    recipe = replace(method.recipe, weight_lr_end=rate, epochs=50, batch=2)
    half = DIGITS.train[:2]
    search = Search(net, method, recipe, DIGITS, half, half, precision="float64")
    search.epoch = int(number) if number is not None and "epoch" in case and "T" not in case else 0
    search.begin_epoch()
    if base == "sp-darts":
        method.now = TwoTemperatures(number, number, 1.0)
    if base == "gdas":
        method.temperature = number
    if base in ("darts-minus", "surgenas"):
        method.coefficient = number
    method.begin_step()
    return search


@pytest.mark.usefixtures("_no_chance")
@pytest.mark.parametrize("case", NETWORKS["supernet_forward"])
def test_released_methods_mix_as_the_authors_code(case):
    expected, (images, labels) = NETWORKS["supernet_forward"][case], batch(777, [3, 7])
    search = released(case)
    method, net = search.method, search.net
    mix = method.mixing()
    run = method.active_in_alpha_step(mix)
    close(net.eval()(images, mix, run).detach(), expected["logits_eval"])
    logits = net.train()(images, mix, run)
    wanted = [*method.alphas.values(), *net.parameters()]
    gradients = torch.autograd.grad(F.cross_entropy(logits, labels), wanted, allow_unused=True)
    close(logits.detach(), expected["logits_train"])
    for kind, g in zip(method.alphas, gradients, strict=False):
        close(g, expected[f"grad_alpha_{kind}"], atol=1e-13)
    of_weights = [g for g in gradients[4:] if g is not None]
    assert len(gradients) - 4 - len(of_weights) == expected["num_weight_tensors_without_grad"]
    assert torch.cat([g.flatten() for g in of_weights]).norm().item() == pytest.approx(
        expected["grad_weight_l2"], 1e-9
    )
    close(net.eval()(images, mix, run).detach(), expected["logits_eval_after_one_train_forward"])


@pytest.mark.usefixtures("_no_chance")
@pytest.mark.parametrize("case", NETWORKS["supernet_two_steps"])
def test_two_steps_of_released_methods_end_where_the_authors_do(case):
    expected, search = NETWORKS["supernet_two_steps"][case], released(case)
    for train in (batch(777, [3, 7]), batch(4242, [1, 9])):
        search.step(Batch("train", *train), Batch("valid", *batch(1234567, [0, 5])))
    assert search.log.means(0, 4)["train_loss"] == pytest.approx(
        expected["mean_train_loss"], rel=1e-9
    )
    for kind, alpha in search.method.alphas.items():
        close(alpha.detach(), expected[f"alpha_{kind}"], rtol=1e-7, atol=1e-9)
    close(search.net.linear.bias.detach(), expected["classifier_bias"], rtol=1e-7)
    if "gdas" in case:
        # there weights of operations that were not sampled stand still (a gradient of None), here
        # they decay
        return
    flat = torch.cat([w.detach().flatten() for w in search.weights])
    assert flat.sum().item() == pytest.approx(expected["weights_sum"], rel=1e-8)
    assert flat.square().sum().item() == pytest.approx(expected["weights_sumsq"], rel=1e-9)


def test_what_the_released_methods_ask_of_their_supernets():
    asked = {name: make(name, "released").extra for name in BASELINES}
    assert {name: extra for name, extra in asked.items() if extra} == {
        "gdas": ("one",),
        "pc-darts": ("rest",),
        "darts-minus": ("auxiliary_skip",),
        "surgenas": ("inner_skip",),
    }
    assert all(
        methods.get(name, spaces.get("nasbench201"), preset="released").extra == ()
        for name in BASELINES
    )


@pytest.mark.parametrize("preset", methods.base.PRESETS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("random", {"epochs": 0}),
        ("darts", {}),
        ("milenas", {"order": "together"}),
        ("gdas", {"batch": 256, "weight_lr": 0.05}),
        ("pc-darts", {"batch": 576, "weight_lr": 0.1, "weight_lr_end": 0.0, "alpha_from": 15}),
        ("gaea-bilevel", {}),
        ("gaea-erm", {"order": "together", "split": "all"}),
        ("drnas", {}),
        ("sp-darts", {"weight_lr_end": 0.025}),
        ("darts-minus", {}),
        ("beta-darts", {"batch": 128}),
        ("surgenas", {"batch": 160, "order": "together", "split": "all"}),
    ],
)
def test_the_recipes_of_the_benchmark(name, expected, preset):
    common = {
        "epochs": 50,
        "batch": 176,
        "weight_lr": 0.025,
        "weight_lr_end": 3e-4,
        "weight_decay": 3e-4,
        "clip": 5.0,
    }
    rests = {"alpha_from": 10} if (name, preset) == ("drnas", "published") else {}
    drawn = {"valid_batch": "distinct"} if preset == "released" else {}
    recipe = make(name, preset).recipe
    assert recipe == methods.Recipe(
        **{**common, "order": "alpha-first", "split": "half", **expected, **rests, **drawn}
    )


def test_images_of_a_search_that_are_not_augmented():
    search = experiment.build(
        Experiment(
            "lhd", dataset="digits", recipe={"augment": False}, resolution=8, channels=4, cells=3
        ),
        Machine(),
    )
    images = search.batch("valid", search.valid, torch.arange(4)).images
    assert torch.equal(images, data.normalize(search.valid.images[:4], DIGITS))


def test_rates_and_decays_of_alpha():
    groups = {name: make(name, "released").optimizer.param_groups[0] for name in BASELINES}
    assert {
        name: g["lr"] for name, g in groups.items() if g["lr"] != 3e-4 and "gaea" not in name
    } == {"pc-darts": 6e-4}
    assert not any(g["weight_decay"] for g in groups.values())
    assert make("darts").optimizer.param_groups[0]["weight_decay"] == 1e-3


def test_sp_darts_warms_up_for_five_epochs_then_grows_sparser_by_a_45th():
    method, found = make("sp-darts"), []
    for epoch in range(50):
        method.begin_epoch(epoch)
        found.append(method.now)
    assert found[:5] == [TwoTemperatures(1.0, 10.0, 0.0)] * 5
    assert [now.probability for now in found[5:]] == pytest.approx(
        [(e - 4) / 45 for e in range(5, 50)], rel=1e-12
    )
    assert {(now.sparse, now.dense) for now in found[5:]} == {(1.5e-3, 1.5e-2)}
    assert method.temperature == 1.5e-3 and method.policy is None
    assert schedules.sp_warmup(1, 2, 1e-3).probability == 1.0


# Published rules on a space where operations compete across edges


def test_the_published_simplices_of_gaea_are_those_of_nodes():
    method = make("gaea-bilevel")
    mix = method.mixing()
    for edges in INCOMING:
        torch.testing.assert_close(
            mix["normal"][edges], torch.full_like(mix["normal"][edges], 1 / (7 * len(edges)))
        )
    assert mix["reduce_output"].detach().flatten().tolist() == pytest.approx([0.2] * 5 + [0.5] * 5)
    gradients = [torch.randn(a.shape, dtype=torch.float64) for a in method.alphas.values()]
    method.update(gradients)
    method.update(gradients)
    found = method.mixing()
    for edges in INCOMING:
        node = torch.softmax(-0.2 * gradients[0][edges].flatten(), dim=0)
        torch.testing.assert_close(found["normal"][edges].flatten(), node)
    torch.testing.assert_close(
        found["normal_output"][0], torch.softmax(-0.2 * gradients[2][0], dim=0)
    )
    torch.testing.assert_close(found["normal_output"][1], torch.sigmoid(-0.2 * gradients[2][1]))
    assert all(
        torch.equal(a, b) for a, b in zip(found.values(), method.inference().values(), strict=True)
    )


def test_no_gate_of_gaea_closes_for_good():
    method = make("gaea-bilevel")
    push = [
        torch.full_like(a, 1e3).where(torch.arange(a.shape[1]) < 1, -1e3)
        for a in method.alphas.values()
    ]
    for _ in range(5):
        method.update(push)
    gates = method.mixing()["normal_output"][1]
    assert gates.tolist() == pytest.approx([1e-5] + [1 - 1e-5] * 4, rel=1e-9)
    for _ in range(2):
        method.update([-g for g in push])
    assert method.mixing()["normal_output"][1, 0] > 0.99


def test_gdas_samples_per_edge_as_published_and_per_node_as_released():
    for preset, sampled in (("published", 20), ("released", 5)):
        method = make("gdas", preset)
        set_alpha(method)
        mix = method.mixing()
        assert mix["normal"][:, :7].sum() == sampled and set(mix["normal"].unique().tolist()) == {
            0.0,
            1.0,
        }
        assert mix["normal_output"][0].sum() == 1
        torch.testing.assert_close(
            mix["normal_output"][1], torch.sigmoid(method.alphas["normal_output"][1])
        )
        sizes = [1] * 20 if preset == "published" else [len(edges) for edges in INCOMING]
        for part in mix["normal"][:, :7].split(sizes):
            assert part.sum() == 1


def test_drnas_draws_per_edge_with_gates_as_sigmoids_or_as_a_simplex():
    for preset in methods.base.PRESETS:
        method = make("drnas", preset)
        set_alpha(method)
        mix, alpha = method.mixing(), method.alphas["reduce_output"]
        torch.testing.assert_close(mix["normal"].sum(dim=1), torch.ones(20).double())
        if preset == "published":
            torch.testing.assert_close(mix["reduce_output"][1], torch.sigmoid(alpha[1]))
        else:
            torch.testing.assert_close(mix["reduce_output"].sum(dim=1), torch.ones(2).double())
    method = make("drnas", distance="kl", scale=0.1)
    set_alpha(method)
    found = method.alpha_gradients(_Flat(), None, None)
    leaf = method.alphas["normal_output"].detach().requires_grad_()
    (expected,) = torch.autograd.grad(0.1 * kl_to_flat(concentration(leaf[:1])).sum(), leaf)
    torch.testing.assert_close(found[2], expected)


class _Flat:
    """A problem whose loss depends on nothing."""

    def loss(self, batch, mix, active):
        return sum(m.sum() * 0 for m in mix.values())


def test_the_penalty_of_beta_darts_is_over_nodes_and_sums():
    method = make("beta-darts")
    set_alpha(method)
    method.begin_epoch(4)
    found = method.alpha_gradients(_Flat(), None, None)
    for k, kind in enumerate(CELL_TYPES):
        for edges in INCOMING:
            node = torch.softmax(method.alphas[kind][edges].detach().flatten(), dim=0) / 12
            torch.testing.assert_close(found[k][edges].flatten(), 2.0 * node)
        sums = torch.softmax(method.alphas[f"{kind}_output"][0].detach(), dim=0) / 12
        torch.testing.assert_close(found[2 + k][0], 2.0 * sums)
        assert not found[2 + k][1].any()
    groups = [rows for rows in LHD.competing(method.alphas).values() for rows in rows]
    assert (
        len(torch.cat([rows.logsumexp(dim=-1) for rows in groups])) == 12
        and penalty(groups).isfinite()
    )


def test_the_published_weights_of_pc_darts_are_a_joint_distribution_of_each_node():
    method = make("pc-darts")
    set_alpha(method)
    assert [name for name in method.alphas if "edges" in name] == ["normal edges", "reduce edges"]
    mix = method.mixing()
    for edges in INCOMING:
        b = torch.softmax(method.alphas["normal edges"][edges], dim=0)
        w = torch.softmax(method.alphas["normal"][edges], dim=1)
        torch.testing.assert_close(mix["normal"][edges], b.unsqueeze(1) * w)
        assert mix["normal"][edges].sum().item() == pytest.approx(1)


def test_extra_columns_and_how_the_supernet_is_judged():
    for name, training, judged in (
        ("darts-minus", lambda w: 0.5 + 0 * w[:, 0], None),  # no column: 0
        ("surgenas", lambda w: 0.5 * w.sum(dim=1), None),
        ("pc-darts", lambda w: 1 + 0 * w[:, 0], 1.0),
    ):
        method = make(name, "released", epochs=2)
        set_alpha(method)
        method.begin_epoch(1)
        mix = method.mixing()
        torch.testing.assert_close(mix["reduce"][:, 7], training(mix["reduce"][:, :7]))
        torch.testing.assert_close(mix["reduce"][:, :7], method.inference()["reduce"])
        shown = method.evaluated(method.inference())
        if judged is None:
            assert shown["normal"].shape == (20, 7)
        else:
            assert shown["normal"].shape == (20, 8) and (shown["normal"][:, 7] == judged).all()


# Searches


def one_epoch(space, name, preset, cells=3, options=None):
    settings = {
        "dataset": "digits",
        "resolution": 8,
        "images": 16,
        "evaluation": 8,
        "channels": 4,
        "cells": cells,
    }
    recipe = {"batch": 16, "alpha_from": 0}
    e = Experiment(space, name, preset, options or {}, recipe, epochs=1, **settings)
    search = experiment.build(e, Machine())
    search.recalibration = 1
    start = {key: alpha.detach().clone() for key, alpha in search.method.alphas.items()}
    return search, start, list(search.run())


@pytest.mark.parametrize("preset", methods.base.PRESETS)
@pytest.mark.parametrize("name", BASELINES)
def test_every_method_searches_on_lhd(name, preset):
    search, start, records = one_epoch("lhd", name, preset)
    if name == "random":
        assert records == []
    else:
        (record,) = records
        moved = [
            key
            for key, alpha in search.method.alphas.items()
            if not torch.equal(alpha, start[key])
        ]
        assert moved == list(start)
        assert record["mix"].keys() == LHD.alpha_shapes.keys()
        assert record["entropy"]["normal"] <= sum(math.log(7 * len(edges)) for edges in INCOMING)
        assert math.isfinite(record["train_loss"])
    genotype = search.method.genotype()
    assert Genotype.parse(str(genotype)) == genotype
    with torch.no_grad():
        assert LHD.finalnet(genotype, 4, 3, 10)(torch.randn(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("space", ["darts7", "s2"])
@pytest.mark.parametrize("name", BASELINES)
def test_every_method_searches_on_the_darts_spaces(name, space):
    search, start, records = one_epoch(space, name, "published")
    assert len(records) == (name != "random")
    assert str(search.method.genotype()).startswith("Genotype(normal=")
    assert any(not torch.equal(a, start[key]) for key, a in search.method.alphas.items()) == (
        name != "random"
    )


@pytest.mark.parametrize("space", ["darts7", "s2", "s4"])
@pytest.mark.parametrize(
    ("name", "preset", "options"),
    [
        ("pc-darts", "published", {}),
        ("pc-darts", "released", {}),
        ("drnas", "published", {"partial": 2}),
    ],
)
def test_partial_channels_on_the_darts_spaces(space, name, preset, options):
    search, start, (record,) = one_epoch(space, name, preset, options=options)
    assert search.net.partial == search.method.partial > 1 and search.method.extra == ()
    assert not any(torch.equal(alpha, start[key]) for key, alpha in search.method.alphas.items())
    assert math.isfinite(record["train_loss"]) and record["mix"].keys() == {"normal", "reduce"}
    assert search.net.cells[0].channels == 4 // search.method.partial


@pytest.mark.parametrize("space", ["darts", "s4"])
def test_released_pc_darts_weighs_nothing_that_goes_around(space):
    method = methods.get("pc-darts", spaces.get(space), preset="released", dtype=torch.float64)
    set_alpha(method)
    mix = method.evaluated(method.mixing())
    for kind, active in everything(mix).items():
        torch.testing.assert_close(CellWeights(mix[kind], active).around, torch.ones(14).double())


def test_a_supernet_without_the_extra_columns_is_refused():
    method = make("gdas", "released")
    with pytest.raises(ValueError, match=r"gdas needs a supernet\(..., extra=\('one',\)\)"):
        Search(
            LHD.supernet(4, 3, 10).double(),
            method,
            method.recipe,
            DIGITS,
            DIGITS.train,
            DIGITS.train,
        )


def test_the_judged_supernet_is_discretized_with_its_gates():
    search, _, _ = one_epoch("lhd", "darts", "published")
    seen, accuracy = [], search.accuracy
    search.accuracy = lambda mix: seen.append(mix) or accuracy(mix)
    search._evaluate()
    relaxed, discretized = seen[:2]
    assert torch.equal(relaxed["normal_output"][1], discretized["normal_output"][1])
    assert discretized["normal"].sum() == 5 and discretized["normal_output"][0].sum() == 1


def test_the_entropy_of_a_record_is_that_of_nodes():
    search, _, _ = one_epoch("lhd", "darts", "published")
    mix = search.method.inference()
    nodes = [relax.entropy(mix["normal"][edges].flatten()).item() for edges in INCOMING]
    assert search._describe()["entropy"]["normal"] == pytest.approx(sum(nodes) / 5, rel=1e-5)
