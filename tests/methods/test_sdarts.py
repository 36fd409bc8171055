"""SmoothDARTS: its rules by number, perturbed weights that stay valid,
what an adversary does to the loss, searches.

Run: pytest tests/methods/test_sdarts.py
"""

import copy
from dataclasses import replace

import pytest
import torch

from nasutils import data, methods, spaces
from nasutils.methods import Recipe, schedules, sdarts
from nasutils.methods.sdarts import ascent, to_simplex
from nasutils.training.experiment import supernet_options
from nasutils.training.search import Search

DIGITS = data.load("digits", resolution=8)
TRAIN, VALID = data.search_split(DIGITS, "half", 64)
BOTH = ("sdarts-rs", "sdarts-adv")
RESTING = {"epsilon_start": 0.0, "epsilon_end": 0.0}

pytestmark = pytest.mark.usefixtures("one_thread")


def double(rows):
    return torch.tensor(rows, dtype=torch.float64)


def tiny(name, space="nasbench201", cells=1, epochs=2, seed=0, **options):
    """A search over 64 digits for the weights and 64 for alpha, C = 4, by the recipe of DARTS."""
    space = spaces.get(space)
    method = methods.get(name, space, epochs=epochs, seed=seed, dtype=torch.float64, **options)
    recipe = replace(methods.get("darts", space, epochs=epochs).recipe, batch=32, split="half")
    torch.manual_seed(seed)
    net = space.supernet(4, cells, 10, **supernet_options(method)).double()
    return Search(
        net, method, recipe, DIGITS, TRAIN, VALID, recalibration=1, seed=seed, precision="float64"
    )


def records(search, count=2):
    return [{k: v for k, v in search.one_epoch().items() if k != "cost"} for _ in range(count)]


# Rules


def test_epsilon_grows_linearly_from_3_to_30_hundredths():
    method = methods.get("sdarts-rs", spaces.get("s1"))
    found = []
    for epoch in (0, 10, 25, 49):
        method.begin_epoch(epoch)
        found.append(method.epsilon)
    assert found == pytest.approx([0.03, 0.084, 0.165, 0.2946], abs=1e-12)
    assert schedules.growing(50, 50, 0.03, 0.3) == pytest.approx(0.3, abs=1e-15)


def test_weights_are_cut_and_divided_by_their_sum():
    moved = double([[0.5, -0.1, 0.7], [1.5, 0.0, 1.0], [-0.3, -0.1, -0.2], [0.25, 0.5, 0.25]])
    expected = double([[5 / 12, 0, 7 / 12], [0.5, 0, 0.5], [0, 1, 0], [0.25, 0.5, 0.25]])
    torch.testing.assert_close(to_simplex(moved), expected, rtol=1e-15, atol=0)


def test_an_ascent_follows_the_sign_and_stays_in_the_box():
    centre = double([0.2, 0.3, 0.5])
    p, gradient = double([0.2, 0.39, 0.42]), double([-3.0, 1e-9, 0.0])
    torch.testing.assert_close(ascent(p, gradient, centre, 0.05, 0.1), double([0.15, 0.4, 0.42]))
    torch.testing.assert_close(ascent(p, -gradient, centre, 0.5, 0.1), double([0.3, 0.2, 0.42]))


@pytest.mark.parametrize("name", ["epsilon_start", "epsilon_end"])
@pytest.mark.parametrize("value", [-0.1, 1.5, "0.3", True])
def test_an_epsilon_that_cannot_be_is_refused_by_name(name, value):
    number = "a number" if isinstance(value, (str, bool)) else "a number from 0 to 1"
    with pytest.raises(ValueError, match=f"{name} must be {number}, not {value!r}"):
        methods.get("sdarts-rs", spaces.get("s1"), **{name: value})


def test_recipes_are_those_of_the_authors_code():
    for name in BOTH:
        assert (
            methods.get(name, spaces.get("s2")).recipe
            == methods.get("darts", spaces.get("s2")).recipe
        )
        found = methods.get(name, spaces.get("nasbench201"), preset="released").recipe
        assert found == Recipe(
            epochs=100, batch=64, weight_decay=3e-4, nesterov=False, split="nasbench201"
        )
    assert methods.get("sdarts-adv", spaces.get("s2")).steps == 7


# Perturbed weights


@pytest.mark.parametrize("space", spaces.names)
def test_shaken_weights_are_valid_and_near(space):
    space = spaces.get(space)
    method = methods.get("sdarts-rs", space, dtype=torch.float64)
    for scale in (1e-3, 2.0):
        with torch.no_grad():
            for alpha in method.alphas.values():
                alpha.copy_(
                    scale * torch.randn(alpha.shape, generator=torch.Generator().manual_seed(3))
                )
        method.epsilon = 0.3
        mix = {kind: p.detach() for kind, p in method.weight_mixing().items()}
        moved = method.shaken(mix)
        assert {kind: p.shape for kind, p in moved.items()} == {
            kind: p.shape for kind, p in mix.items()
        }
        assert all(
            (p >= 0).all() and (p <= 1).all() and not torch.equal(p, mix[kind])
            for kind, p in moved.items()
        )
        for rows in space.competing(moved).values():
            for part in rows:
                torch.testing.assert_close(
                    part.sum(dim=-1), torch.ones(len(part), dtype=torch.float64)
                )


def test_noise_is_uniform_within_epsilon_and_drawn_anew():
    method = methods.get("sdarts-rs", spaces.get("darts"), dtype=torch.float64)
    method.epsilon = 0.2
    draws = torch.stack(
        [method._noise(torch.zeros(14, 8, dtype=torch.float64)) for _ in range(200)]
    )
    assert draws.abs().max() <= 0.2 and not torch.equal(draws[0], draws[1])
    assert draws.mean().abs() < 4 * 0.2 / (3 * draws.numel()) ** 0.5
    assert draws.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.01)


@pytest.fixture(scope="module")
def trained():
    """A search of DARTS's four epochs, and its mixing weights."""
    torch.set_num_threads(1)
    search = tiny("sdarts-adv", epochs=4, **RESTING)
    records(search, 4)
    search.begin_epoch()
    return search


def changes(search, name, epsilon, draws):
    """By how much (nats) a perturbation of the trained supernet's mixing weights raises the loss
    of a batch, drawn anew, so many times."""
    method = methods.get(name, search.method.space, dtype=torch.float64)
    method.epsilon = epsilon
    mix = {kind: p.detach() for kind, p in search.method.weight_mixing().items()}
    batch = search.batch("train", TRAIN, torch.arange(32))

    def loss(weights):
        return search.loss(batch, weights, log=False, fixed=True).item()

    return double([loss(method.perturbed(mix, search, batch)) - loss(mix) for _ in range(draws)])


def test_an_adversary_raises_the_loss_and_chance_does_not_on_average(trained):
    adversary = changes(trained, "sdarts-adv", 0.03, draws=5)
    chance = changes(trained, "sdarts-rs", 0.03, draws=60)
    assert (adversary > 0).all()
    assert chance.mean().abs() < 3 * chance.std() / len(chance) ** 0.5
    assert adversary.min() > chance.max()


def test_an_adversary_finds_more_in_a_larger_box(trained):
    means = [
        changes(trained, "sdarts-adv", epsilon, draws=3).mean() for epsilon in (0.01, 0.1, 0.3)
    ]
    assert 0 < means[0] < means[1] < means[2]


def test_an_adversary_that_lowers_the_loss_is_not_followed(trained, monkeypatch):
    monkeypatch.setattr(
        "nasutils.methods.sdarts.ascent", lambda p, g, centre, rate, epsilon: p - rate * g.sign()
    )
    assert (changes(trained, "sdarts-adv", 0.1, draws=3) == 0).all()


def test_an_ascent_starts_at_random_and_can_cross_the_box(trained, monkeypatch):
    """Of 7 steps, each is 2 epsilon / 7 long; the first one is taken from shaken weights."""
    seen = []

    def noting(p, gradient, centre, rate, epsilon):
        seen.append((p, centre, rate))
        return ascent(p, gradient, centre, rate, epsilon)

    monkeypatch.setattr(sdarts, "ascent", noting)
    changes(trained, "sdarts-adv", 0.1, draws=1)
    assert [rate for *_, rate in seen] == pytest.approx([2 * 0.1 / 7] * 7)
    start, centre, _ = seen[0]
    assert not torch.equal(start, centre)


def test_an_adversary_leaves_the_network_and_its_record_as_they_were(trained):
    before = copy.deepcopy(trained.net.state_dict())
    rows = {role: len(found) for role, found in trained.log._rows.items()}
    changes(trained, "sdarts-adv", 0.1, draws=1)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in trained.net.state_dict().items()
    )
    assert trained.net.training and all(w.requires_grad for w in trained.weights)
    assert {role: len(found) for role, found in trained.log._rows.items()} == rows


def test_an_adversary_takes_so_many_steps_and_two_more_losses(trained):
    counted, net = [], trained.net
    hook = net.register_forward_hook(lambda *_: counted.append(net.training))
    method = methods.get("sdarts-adv", trained.method.space, dtype=torch.float64, steps=3)
    mix = {kind: p.detach() for kind, p in trained.method.weight_mixing().items()}
    method.perturbed(mix, trained, trained.batch("train", TRAIN, torch.arange(32)))
    hook.remove()
    assert counted == [False] * 5


# Searches


@pytest.mark.parametrize(("space", "cells"), [("nasbench201", 1), ("s2", 3), ("lhd", 3)])
@pytest.mark.parametrize("name", BOTH)
def test_without_epsilon_it_is_darts_to_the_bit(name, space, cells):
    assert records(tiny(name, space, cells, **RESTING), 1) == records(
        tiny("darts", space, cells), 1
    )


@pytest.mark.parametrize("space", spaces.names)
def test_every_space_is_searched(space):
    search = tiny(
        "sdarts-adv", space, cells=1 if space == "nasbench201" else 3, epsilon_start=0.3, steps=1
    )
    search.begin_epoch()
    index = torch.arange(16)
    train, valid = search.batch("train", TRAIN, index), search.batch("valid", VALID, index)
    before = [
        tensor.detach().clone() for tensor in (*search.method.alphas.values(), search.weights[0])
    ]
    search.step(train, valid)
    after = [*search.method.alphas.values(), search.weights[0]]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
