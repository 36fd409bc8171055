"""Networks of the released LHD architectures: the pilot, and the registered study's complete arms.

Run: pytest tests/studies/test_lhd_released.py
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from scipy import stats

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from nasutils.measures import comparisons
from nasutils.studies import lhd_architectures
from nasutils.studies.confirmation import outcomes, page, plan
from nasutils.studies.lhd_benchmark import figures, readings, released, tables
from nasutils.studies.lhd_benchmark.released import Condition, Registered
from nasutils.studies.lhd_benchmark.results import noise

PARTS = {name: part for name, part in plan.read().items() if "lhd_benchmark" in part.claims}
REGISTERED = {name: part.model_copy(update={"registered": "ab"}) for name, part in PARTS.items()}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@dataclass(eq=False)
class Finished:
    """A run."""

    result: dict
    stamp: dict = field(default_factory=dict)


def planned(part):
    """The runs of a part: arm, and what tells its runs apart."""
    for arm in part.arms:
        seeds = plan.seeds_of(arm.seeds)
        yield from ((arm, plan.Trained(c, s)) for c in arm.networks.names() for s in seeds)


def study(parts, monkeypatch, arms=None, without=0):
    """The registered study with all runs of these arms (None: of all), but for the first few.

    Accuracy: 40, 2 for each place of the method, 0.1 for each trial, 5 in CIFAR-10's `1m`.
    """
    monkeypatch.setattr(outcomes, "refusal", lambda stamp, registered: None)
    found = []
    for part in parts.values():
        networks = {}
        for arm, trained in planned(part):
            if arms is None or arm.name in arms:
                result = {"test_accuracy": _accuracy(arm.name, trained), "params": 1000.0}
                networks[arm.name, trained] = Finished(result)
        for key in list(networks)[:without]:
            del networks[key]
        found.append(outcomes.Results(part, {}, networks))
    return Registered(found)


def _accuracy(arm, trained):
    place, trial = 0, 0
    if "," in trained.cell:
        method, trial = trained.cell.split(", trial ")
        place = lhd_architectures.RELEASED_METHODS.index(method)
    number = int("".join(filter(str.isdigit, trained.cell)) or 0)
    wobble = np.sin(7 * number + 3 * place) / 2
    return 40 + 2 * place + 0.1 * int(trial) + wobble + 5 * (arm == "CIFAR-10, 1m") + trained.seed


def quick(monkeypatch):
    """Outcomes of all claims take a minute; what they come to is tested elsewhere."""
    ended = SimpleNamespace(estimate=0.9, low=0.8, high=1.0, p=0.001, n=(45,))
    monkeypatch.setattr(outcomes, "finding", lambda hypothesis, results: ended)


# The pilot


def test_the_pilot_has_nine_methods_under_base_and_three_of_one_size():
    base, wide = released.pilot().values()
    assert list(released.pilot()) == ["CIFAR-10, base", "CIFAR-10, 1m"]
    assert base.accuracy.shape == (9, 5) and wide.methods == ("Random", "DARTS", "GAEA-ERM")
    assert base.methods[0] == "Random" and base.accuracy[0, 0] == 44.88
    assert base.parameters.max() < 40_000 and (wide.parameters >= 30_000).all()
    assert wide.parameters.max() < 41_000
    arms = {arm.name for part in PARTS.values() for arm in part.arms}
    assert set(released.pilot()) <= arms


def test_the_pilots_networks_are_as_large_as_those_that_are_trained_anew():
    arm = PARTS["lhd"].arm("CIFAR-10, 1m")
    trained = arm.evaluations(PARTS["lhd"].settings)
    for i, trial in enumerate(lhd_architectures.TRIALS):
        evaluation = trained[plan.Trained(f"darts, trial {trial}", 1)]
        genotype = lhd_architectures.genotype("cifar10", "darts", trial)
        size = released.AS_PILOT.size(genotype, "1m", 10)
        assert size == (evaluation.channels, evaluation.cells)
        wide = released.pilot()["CIFAR-10, 1m"]
        assert wide.parameters[1, i] == released.finalnet_parameters(genotype, *size, 10)


def test_figures_of_the_pilot_can_be_drawn():
    pilot = released.pilot()
    for draw in (figures.contrasts, figures.trials, figures.agreement):
        figure, table = draw(pilot)
        figure.canvas.draw()
        assert len(table) and len(figure.axes) == 2


# The registered study


def test_an_arm_is_shown_when_its_last_run_is_there(monkeypatch):
    arms = ["CIFAR-10, base", "CIFAR-10, base, random draws", "random LHD"]
    whole = study(REGISTERED, monkeypatch, arms)
    assert list(whole.conditions) == ["CIFAR-10, base"] and list(whole.random) == ["random LHD"]
    base = whole.conditions["CIFAR-10, base"]
    assert base.accuracy.shape == (9, 5) and whole.random["random LHD"].shape == (200, 2)
    expected = np.mean([_accuracy("", plan.Trained("darts, trial 2", seed)) for seed in (1, 2)])
    assert base.accuracy[base.methods.index("DARTS"), 1] == pytest.approx(expected)
    assert (base.policy, base.searched, base.target) == ("base", "cifar10", "cifar10")
    assert base.draws.shape == (15,)
    assert study(REGISTERED, monkeypatch, arms, without=1).conditions == {}
    assert study(REGISTERED, monkeypatch, arms[:1]).conditions == {}  # its control waits
    alone = study(REGISTERED, monkeypatch, ["CIFAR-10, 4out"]).conditions
    assert alone["CIFAR-10, 4out"].draws is None


def test_nothing_is_shown_of_a_plan_that_is_not_registered(monkeypatch):
    parts = {name: p.model_copy(update={"registered": None}) for name, p in PARTS.items()}
    early = study(parts, monkeypatch)
    assert early.conditions == {} and early.random == {}


def test_conditions_know_where_they_were_searched_and_trained(monkeypatch):
    found = study(REGISTERED, monkeypatch).conditions
    places = {name: (c.policy, c.searched, c.target) for name, c in found.items()}
    assert places["searched on SVHN"] == ("base", "svhn", "cifar10")
    assert places["CIFAR-100, 1m"] == ("1m", "cifar100", "cifar100")
    across = "searched on CIFAR-10, trained on CIFAR-100"
    assert places[across] == ("base", "cifar10", "cifar100")
    assert len(found) == 13 - 1  # CIFAR-10 under base is in both parts


def test_claims_are_told_by_their_number(monkeypatch):
    waiting = study(REGISTERED, monkeypatch, [])
    text = waiting.told("5").data
    assert "study, 5a" in text and "waiting for runs" in text and "study, 6a" not in text
    assert "Secondary claims: " in text
    assert "waiting for runs" in page.state(waiting.outcomes)


def test_claims_with_an_outcome_say_what_was_found(monkeypatch):
    quick(monkeypatch)
    text = study(REGISTERED, monkeypatch, ["CIFAR-10, base"]).told("5").data
    (line,) = (line for line in text.splitlines() if "study, 5a" in line)
    outcome, _, remark = line.partition(" *Remark:* ")
    assert " (" in outcome and outcome.endswith("**.") and "runs" not in outcome and remark


def test_figures_of_the_registered_study_can_be_drawn(monkeypatch):
    everything = study(REGISTERED, monkeypatch)
    some = {name: everything.conditions[name] for name in list(everything.conditions)[:5]}
    _, table = figures.contrasts(some)
    assert set(table["condition"]) == set(some) and len(table) == 40
    figure, _ = figures.agreement(everything.conditions)
    titles = [ax.get_title().partition(":")[0] for ax in figure.axes if ax.get_visible()]
    pairs = ["base and 1m", "base and 3ops", "base and 4out", "parameters and base"]
    assert titles == [f"{place}, {pair}" for place in ("CIFAR-10", "CIFAR-100") for pair in pairs]
    moved = tables.released_transferred(everything.conditions)
    assert moved.groupby("target")["searched"].nunique().tolist() == [3, 3]
    for drawn, _ in figures.transfer(moved), figures.spread(everything.random):
        drawn.canvas.draw()


# What they say


def condition(means, deviation=0.5, policy="base"):
    """Methods of these means, each with five searches evenly about it."""
    values = np.add.outer(means, deviation * np.array([-2.0, -1, 0, 1, 2]))
    size = np.add.outer(1000.0 * np.array(means), 10.0 * np.arange(5))
    return Condition(("Random", "DARTS", "GAEA-ERM")[: len(means)], values, size, policy)


def test_methods_above_and_below_chance_are_counted():
    text = readings.contrasts(
        {"a": condition([44.0, 48.0, 40.0]), "b": condition([44.0, 44.1, 44])}
    )
    first, second = text.split(" b: ")
    assert first == (
        "a: better networks than 5 random draws are found by 1 of 2 methods (DARTS by 4.0 points),"
        " worse ones by 1 (GAEA-ERM by 4.0 points)."
    )
    assert second == (
        "better networks than 5 random draws are found by none of 2 methods, worse ones by none."
    )


def test_many_conditions_are_told_in_a_list():
    text = readings.trials(dict.fromkeys("abcd", condition([44.0, 48.0, 40.0])))
    assert [line[:5] for line in text.strip().splitlines()] == ["- a: ", "- b: ", "- c: ", "- d: "]
    assert "\n" not in readings.trials(dict.fromkeys("abc", condition([44.0, 48.0, 40.0])))


def test_what_guessing_reaches_is_said_of_the_data_sets_that_are_shown():
    here = condition([44.0, 48.0, 40.0])
    figure, _ = figures.trials({"a": here, "b": replace(here, target="cifar100")})
    assert figure.get_supxlabel().endswith("guessing: 10 % on CIFAR-10 and 1 % on CIFAR-100")
    assert figures.trials({"a": here})[0].get_supxlabel().endswith("guessing: 10 % on CIFAR-10")


def test_the_best_method_is_on_top_and_bars_join_those_not_told_apart():
    near = condition([44.0, 48.0, 48.1])
    figure, table = figures.contrasts({"a": near})
    assert table["method"].tolist() == ["GAEA-ERM", "DARTS"]
    assert table["difference"].tolist() == pytest.approx([4.1, 4])
    assert table["accuracy"].tolist() == pytest.approx([48.1, 48])
    needed = table["told_apart_from"].iloc[0]
    assert 0.1 < needed < 4
    thick = [line for line in figure.axes[0].lines if line.get_linewidth() == 2.2]
    assert [[round(y) for y in line.get_ydata()] for line in thick] == [[0, 1]]


def test_further_draws_belong_to_the_control():
    few = condition([44.0, 48.0, 44.2])
    more = replace(few, draws=np.array([46.0, 46.5, 47.0, 46.2, 45.8]))
    (_, table), (_, wider) = (figures.contrasts({"a": c}) for c in (few, more))
    moved = table.set_index("method")["difference"] - wider.set_index("method")["difference"]
    assert moved.tolist() == pytest.approx([(46.3 - 44) / 2] * 2)
    figure, _ = figures.contrasts({"a": few, "b": more})
    assert "of Random 5 or 10;" in figure.get_supxlabel()


def test_reliability_is_that_of_the_registered_test():
    apart = condition([44.0, 48.0, 40.0])
    text = readings.trials({"a": apart})
    found = comparisons.reliability([apart.accuracy[..., None]], 0.0)
    assert f"reliability of {found.estimate:.2f} [" in text and "and 100 % of the pairs" in text


def test_agreement_pairs_the_same_architectures():
    base, wide = condition([44.0, 48.0, 40.0]), condition([50.0, 54.0, 46.0], policy="1m")
    figure, table = figures.agreement({"CIFAR-10, base": base, "CIFAR-10, 1m": wide})
    first = table[table["compared"] == "CIFAR-10, base and 1m"]
    assert (first["y"] - first["x"]).tolist() == pytest.approx([6.0] * 15)
    assert [ax.get_title() for ax in figure.axes] == [
        "CIFAR-10, base and 1m:\ncorrelation 1.00, within methods 1.00",
        "CIFAR-10, parameters and base:\ncorrelation 1.00, within methods 1.00",
    ]
    assert figures.compared({"CIFAR-10, 1m": wide}) == []


# The pilot, trained anew


def test_the_pilot_is_compared_in_standard_errors_of_the_noise_of_training():
    first = condition([44.0, 48.0, 40.0])
    moved = first.accuracy + np.array([[0.1], [-0.2], [1.5]])
    second = replace(first, accuracy=moved, trainings=2, noise=0.5)
    table = tables.pilot_again({"a": first, "b": first}, {"a": second})
    assert set(table["condition"]) == {"a"} and table["method"].tolist() == list(first.methods)
    assert table["difference"].tolist() == pytest.approx([0.1, -0.2, 1.5])
    error = 0.5 * (1.5 / 5) ** 0.5
    assert table["error"].tolist() == pytest.approx([error] * 3)
    f = (0.1**2 + 0.2**2 + 1.5**2) / 3 / error**2
    assert table["p"].iloc[0] == pytest.approx(stats.f.sf(f, 3, 15))
    text = readings.pilot_again(table)
    assert "a standard error of 0.27 points. 2 of 3 lie within two" in text
    assert "GAEA-ERM's (+1.5 points)" in text


def test_noise_alone_makes_p_uniform():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        true = rng.normal(45, 2, (3, 5))
        trained = true[..., None] + rng.normal(0, 0.8, (3, 5, 3))
        pilot, second = trained[..., 0], trained[..., 1:]
        labels = ("Random", "DARTS", "GAEA-ERM")
        again = Condition(
            labels,
            second.mean(-1),
            true,
            "base",
            trainings=2,
            noise=noise(second.reshape(-1, 2)),
        )
        first = {"a": Condition(labels, pilot, true, "base")}
        values.append(tables.pilot_again(first, {"a": again})["p"].iloc[0])
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_a_pilot_that_was_not_trained_again_has_no_table():
    assert tables.pilot_again({"a": condition([44.0, 48.0])}, {}).empty
