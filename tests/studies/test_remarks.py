"""What the remarks of the plan say of the runs is so."""

import re

import numpy as np
import pytest
from scipy import stats

from nasutils import spaces
from nasutils.measures import comparisons, estimates, searches
from nasutils.measures.estimates import LEVEL
from nasutils.methods import recipes
from nasutils.spaces.nasbench201 import OPS
from nasutils.studies.confirmation import figures, machines, outcomes, page, plan
from nasutils.studies.lhd_architectures import column
from nasutils.studies.lhd_benchmark import figures as figures_of_lhd
from nasutils.studies.lhd_benchmark.released import Registered

STUDY = plan.read()["searches"]
AGAIN = plan.read()["on_a_cpu"]


@pytest.fixture(scope="module")
def results():
    return page.committed(STUDY)


@pytest.fixture(scope="module")
def again():
    return page.committed(AGAIN)


@pytest.fixture(scope="module")
def records(results):
    """The records of an arm's searches, by its name."""
    known = {}

    def of(arm):
        if arm not in known:
            seeds = STUDY.arm(arm).seeds()
            known[arm] = [results.searches[arm, seed].records for seed in seeds]
        return known[arm]

    return of


@pytest.fixture(scope="module")
def measured(records):
    return lambda arm, measure: np.array([measure(found) for found in records(arm)])


def strongest_skips(found):
    mix = np.array(found[-1]["mix"]["cell"])
    return (mix.argmax(axis=1) == OPS.index("skip_connect")).mean()


def test_every_remark_is_of_a_claim_of_the_plan():
    remarks = {"lr_swap": {"1 degradaton": "It does."}}
    with pytest.raises(ValueError, match="unknown claim '1 degradaton'.*'1 degradation'"):
        plan.Study.model_validate({**STUDY.model_dump(), "remarks": remarks})


def test_supported_claims_whose_arms_no_device_has_both_of_say_so(results):
    apart = {test.claim for test in machines._spread(results) if not test.alone}
    supported = set()
    for paper in STUDY.claims:
        ended = outcomes.ended(paper, [results])
        supported |= {o.claim.claim for o in ended if o.outcome == page.SUPPORTED}
    told = set()
    for remarks in STUDY.remarks.values():
        told |= {claim for claim, text in remarks.items() if "on different devices" in text}
    assert told == apart & supported


@pytest.mark.parametrize("part", ["searches", "lhd"])
def test_claims_that_hold_on_a_cpu_too_say_so(part):
    study = plan.read()[part]
    ended = [o for paper in study.claims for o in outcomes.ended(paper, page.parts_of(paper))]
    supported = {o.claim.claim for o in ended if o.outcome == page.SUPPORTED}
    for remarks in study.remarks.values():
        for claim, text in remarks.items():
            said = "*on a CPU* it is supported, too" in text
            assert said == (f"{claim}, on a CPU" in supported)


def test_alpha_moves_without_noise_and_hardly_a_cell_changes(measured):
    def changed(found):
        return found[-1]["genotype"] != found[-1 - searches.LAST]["genotype"]

    assert measured("small T", searches.log_move).min() > -9
    for arm in ("small T", "small T + noisy"):
        assert measured(arm, changed).mean() <= 0.25


def test_paired_the_noise_makes_less_than_two_points(measured):
    noisy, plain = (measured(arm, searches.accuracy) for arm in ("small T + noisy", "small T"))
    assert estimates.equivalence_test([noisy - plain], 2).p < LEVEL
    assert np.corrcoef(noisy, plain)[0, 1] > 0.5


def test_the_linear_schedule_of_equal_dose_is_sharp_for_longest(measured):
    sharp = {
        arm: measured(arm, searches.sharp_epochs).mean() for arm in ("PCD", "linear, equal dose")
    }
    assert sharp["linear, equal dose"] > sharp["PCD"]


@pytest.mark.parametrize("arm", ["PCD", "EDD", "EX-DARTS"])
def test_what_repairs_darts_does_so_less_than_always(measured, arm):
    assert 0.1 < measured(arm, searches.degraded).mean() < 0.5


def test_the_temperature_alone_is_better_than_the_control(measured):
    arms = [measured(arm, searches.accuracy) for arm in ("small T", "rate control")]
    assert estimates.brunner_munzel_test(arms).p < LEVEL


def test_on_most_edges_of_darts_the_skip_is_strongest(measured):
    assert measured("DARTS", strongest_skips).mean() > 0.5


def test_bypass_and_gap_go_together_between_searches_only(results, records):
    probed = {}
    for arm in ("DARTS", "SP-DARTS", "never sparse"):
        probed[arm] = [found for found in records(arm) if "leakage" in found[-1]]
    within = []
    for found in probed["DARTS"]:
        if sum("leakage" in record for record in found) > 20:  # every second epoch
            within.append(searches.bypass_gap_correlation(found))
    alone = estimates.fisher_t_test([np.array(within)], 0.3)
    assert alone.low < 0.3 < alone.high
    ends = [found for arm in probed.values() for found in arm]
    bypass = [searches.matched_bypass(found) for found in ends]
    gaps = [searches.gap(found) for found in ends]
    assert searches.rank_correlation(bypass, gaps) > 0.3


def test_the_rates_of_sp_darts_and_its_control():
    control = STUDY.arm("rate control").experiments(STUDY.settings)[5]
    sp_darts = recipes.recipe("sp-darts", spaces.get("nasbench201"), "published")
    assert control.recipe["weight_lr"] == 0.025 and sp_darts.weight_lr == 0.05


def test_only_sp_darts_leaves_operations_out(results):
    recipe = {
        arm: results.searches[arm, 5].params["recipe"].get("negligible", 0.0)
        for arm in ("DARTS", "SP-DARTS")
    }
    assert recipe["DARTS"] == 0 < recipe["SP-DARTS"]


def test_on_s2_sp_darts_is_better_by_an_unknown_amount(results):
    (claim,) = (c for c in STUDY.claims["bypass_leakage"] if c.claim == "9 S2")
    (sample, other) = results.samples(claim.tests[0])
    arms = [
        np.array([results.measured(claim.tests[0], key) for key in s]) for s in (sample, other)
    ]
    found = estimates.welch_test(arms, 0.0)
    assert found.p < LEVEL and found.low < 2 < found.high


def test_darts_is_best_early_and_loses_a_point_later_too(measured):
    def best(found):
        return searches.trajectory(found).argmax() < 5

    def lost_later(found):
        late = searches.trajectory(found)[10:]
        return late.max() - late[-1]

    assert 0.4 < measured("DARTS", best).mean() < 0.6
    assert estimates.sign_test([measured("DARTS", lost_later)], 1).p < LEVEL


def test_whether_decay_helps_is_not_decided(measured):
    arms = [measured(arm, searches.accuracy) for arm in ("alpha decay x 10", "DARTS")]
    found = estimates.brunner_munzel_test(arms)
    assert found.p >= LEVEL and found.high > 0.6


def test_ex_darts_is_worth_a_blind_draw_and_less_than_sp_darts(results, measured):
    arms = figures.by_criterion(figures.searched([results], "lr_swap")).set_index("arm")
    ex_darts = arms.loc["EX-DARTS"]
    assert ex_darts["beats_random_low"] < 0.5 < ex_darts["beats_random_high"]
    samples = [measured(arm, searches.accuracy) for arm in ("SP-DARTS", "EX-DARTS")]
    assert estimates.brunner_munzel_test(samples).p < LEVEL
    assert (samples[1] <= 10).sum() == 1


def test_ex_darts_has_the_correlation_of_6b(measured):
    correlations = measured("EX-DARTS", searches.tied)
    assert estimates.fisher_t_test([correlations], 0.0).p < LEVEL


@pytest.fixture(scope="module")
def conditions():
    return Registered.read().conditions


@pytest.fixture(scope="module")
def base(conditions):
    """The released architectures of CIFAR-10 under `base`."""
    return conditions["CIFAR-10, base"]


@pytest.fixture(scope="module")
def wide(conditions):
    """The same architectures at equal size."""
    return conditions["CIFAR-10, 1m"]


def of_method(condition, name):
    return condition.accuracy[condition.methods.index(name)]


def ranks(first, second, test=comparisons.rank_correlation):
    return test([comparisons.once(np.asarray(values)) for values in (first, second)])


def near_the_best(condition):
    """The methods that are not told apart from the best one, which is the first."""
    table = figures_of_lhd.contrast_table("any", condition)
    behind = table["difference"].max() - table["difference"]
    return table.loc[behind < table["told_apart_from"], "method"].tolist()


def above_control_by_own_variance(condition, name):
    """p of Welch's test, corrected for the number of methods."""
    control = np.append(of_method(condition, "Random"), condition.draws)
    own = of_method(condition, name)
    welch = stats.ttest_ind(own, control, equal_var=False, alternative="greater")
    return welch.pvalue * (len(condition.methods) - 1)


@pytest.mark.parametrize("policy", ["base", "1m", "3ops", "4out"])
def test_methods_of_lhd_differ(conditions, policy):
    assert stats.f_oneway(*conditions[f"CIFAR-10, {policy}"].accuracy).pvalue < 1e-3


def test_by_themselves_methods_differ_where_they_searched_on_svhn_alone(conditions):
    svhn, cifar100 = (conditions[f"searched on {name}"] for name in ("SVHN", "CIFAR-100"))
    assert stats.f_oneway(*svhn.accuracy).pvalue < 1e-3
    assert stats.f_oneway(*cifar100.accuracy).pvalue > 0.05
    assert svhn.methods[svhn.accuracy.mean(axis=1).argmax()] == "Random"


def test_without_random_the_ranking_depends_on_the_data_set_too(conditions):
    places = ("CIFAR-10, base", "searched on CIFAR-100", "searched on SVHN")
    arms = [comparisons.once(conditions[place].accuracy[1:]) for place in places]
    assert conditions[places[0]].methods[0] == "Random"
    assert comparisons.interaction_between(arms).p < LEVEL


def said_of(part, claim):
    return plan.read()[part].remark("lhd_benchmark", claim)


def in_brackets(found):
    return f"{found.estimate:.2f} [{found.low:.2f}, {found.high:.2f}]"


def test_without_random_new_searches_are_unresolved(conditions):
    arms = [conditions[f"searched on {name}"].accuracy for name in ("CIFAR-100", "SVHN")]
    found = comparisons.reliability([comparisons.once(arm[1:]) for arm in arms], 0.8)
    assert found.p >= LEVEL and found.high > 0.8
    remark = said_of("lhd", "5c discernible methods, new searches")
    assert f"{in_brackets(found)}, which would be unresolved" in remark


@pytest.mark.parametrize("part", ["lhd", "lhd_on_a_cpu"])
@pytest.mark.parametrize("claim", ["8a transfer from CIFAR-100", "8b transfer from SVHN"])
def test_without_random_the_transfer_costs_as_much(part, claim):
    results = page.committed(plan.read()[part])
    name = claim if part == "lhd" else f"{claim}, on a CPU"
    (planned,) = (c for c in results.study.claims["lhd_benchmark"] if c.claim == name)
    arms = outcomes._values(planned.tests[0], results, results.samples(planned.tests[0]))
    found = comparisons.difference_within([arm[1:] for arm in arms])
    assert found.p < LEVEL
    in_words = in_brackets(found).replace(" [", " points [")
    assert f"without it the difference is {in_words}" in said_of(part, name)


def test_the_random_networks_of_svhn_are_lucky(conditions):
    base, svhn = conditions["CIFAR-10, base"], conditions["searched on SVHN"]
    five = of_method(svhn, "Random")
    of_cifar100 = of_method(conditions["searched on CIFAR-100"], "Random")
    others = np.concatenate([of_method(base, "Random"), base.draws, of_cifar100])
    assert len(others) == 25 and round(five.mean() - others.mean(), 1) == 1.7
    better = svhn.accuracy[1:].mean(axis=1) > np.append(five, others).mean()
    assert better.sum() == 4 and len(better) == 8


def test_networks_searched_on_cifar_10_alone_were_trained_on_a_gpu():
    devices = {}
    for (arm, which), run in page.committed(plan.read()["lhd"]).networks.items():
        if which.seed == 1 and (arm == "CIFAR-10, base" or arm.startswith("searched")):
            devices.setdefault(arm, []).append(machines.device(run) == "CPU")
    assert sum(devices.pop("CIFAR-10, base")) <= 1
    assert all(all(on_a_cpu) for on_a_cpu in devices.values()) and len(devices) == 2


def test_uncorrected_methods_are_told_apart_at_equal_size(wide):
    assert comparisons.reliability([comparisons.once(wide.accuracy)], 0.8).p < LEVEL


def test_the_best_method_of_lhd_is_darts_and_not_told_apart_from_others(base, wide):
    near = {"GAEA-bilevel", "SP-DARTS", "MiLeNAS"}
    best, *others = near_the_best(base)
    assert best == "DARTS" and set(others) == near
    best, *others = near_the_best(wide)
    assert best == "DARTS" and set(others) == {*near, "DrNAS"}


def above_new_draws(condition):
    """The methods that pass the registered test against the new random networks alone."""
    _, searches = condition.accuracy.shape
    few, others = np.split(condition.draws, [searches])
    arms = [np.stack([few, *condition.accuracy[1:]]), others]
    passed = set()
    for place, name in enumerate(condition.methods[1:], start=1):
        found = comparisons.over_control([comparisons.once(arm) for arm in arms], 0.0, place)
        assert found.n == (searches, len(condition.draws))
        if found.p < LEVEL:
            passed.add(name)
    return passed


def test_against_the_new_random_networks_alone_fewer_methods_pass_at_equal_size(base, wide):
    assert above_new_draws(base) == {"DARTS", "MiLeNAS"}
    assert above_new_draws(wide) == {"DARTS", "GAEA-bilevel"}
    assert of_method(wide, "Random").mean() < wide.draws.mean()


def test_by_its_own_variance_milenas_passes_and_darts_does_not(base):
    found = [above_control_by_own_variance(base, name) for name in ("MiLeNAS", "DARTS")]
    assert found[0] < LEVEL < found[1]
    assert base.accuracy.std(axis=1).argmax() == base.methods.index("DARTS")


def test_by_its_own_variance_only_drnas_passes_at_equal_size(wide):
    passes = [m for m in near_the_best(wide) if above_control_by_own_variance(wide, m) < LEVEL]
    spread = wide.accuracy.std(axis=1)
    assert passes == ["DrNAS"]
    assert min(near_the_best(wide), key=lambda m: spread[wide.methods.index(m)]) == "DrNAS"


@pytest.mark.parametrize(
    ("claim", "arm", "of_the_first_test"),
    [
        ("5a exponential", "linear on a CPU", "linear"),
        ("5b exponential, equal dose", "linear, equal dose on a CPU", "linear, equal dose"),
        ("7a PCD repairs", "DARTS on a CPU", "DARTS"),
        ("7d PCD, the temperature", "rate control on a CPU", "rate control"),
        ("7e EDD, the temperature", "rate control on a CPU", "rate control"),
    ],
)
def test_on_a_cpu_one_arm_is_new(results, again, claim, arm, of_the_first_test):
    (planned,) = (c for c in AGAIN.claims["sparsification"] if c.claim == f"{claim}, on a CPU")
    new, old = planned.tests[0].arms
    earlier = {
        run.path for (name, _), run in results.searches.items() if name == of_the_first_test
    }
    shared = {run.path for (name, _), run in again.searches.items() if name == arm}
    assert old == arm and shared <= earlier
    assert (shared == earlier) == (claim.startswith(("7d", "7e")) or "linear" in arm)
    first = {run.path for run in results.searches.values()}
    assert not first & {run.path for (name, _), run in again.searches.items() if name == new}


def test_on_a_cpu_ex_darts_is_worse_and_an_interval_holds_chance(again):
    ended = {}
    for paper in AGAIN.claims:
        ended |= {o.claim.claim: o for o in outcomes.ended(paper, [again])}
    assert ended["3c competitive, on a CPU"].findings[0].high < 0
    exponential = ended["5a exponential, on a CPU"]
    assert exponential.outcome == page.SUPPORTED
    assert exponential.findings[0].low < 0.5


def test_evenness_hardly_varies_within_methods_and_goes_with_accuracy_over_all(base):
    even = column("cifar10", "entropy_normal")
    spread = dict(zip(base.methods, even.max(axis=1) - even.min(axis=1), strict=True))
    assert spread.pop("SP-DARTS") > 10 * max(spread.values())
    assert ranks(even, base.accuracy).high < 0


def test_that_large_networks_are_worse_is_two_methods(base):
    assert ranks(base.parameters, base.accuracy).high < 0
    full = ranks(column("cifar10", "params_base"), base.accuracy)
    within = ranks(base.parameters, base.accuracy, comparisons.correlation_within)
    large = [base.methods.index(name) for name in ("GAEA-ERM", "PC-DARTS")]
    others = (np.delete(values, large, axis=0) for values in (base.parameters, base.accuracy))
    for found in (full, within, ranks(*others)):
        assert found.low < 0 < found.high
    means = base.parameters.mean(axis=1)
    assert set(means.argsort()[-2:]) == set(large)


def test_an_outcome_is_told_with_its_remark(results):
    (told,) = (o for o in outcomes.ended("lr_swap", [results]) if o.claim.claim == "3a swap")
    assert told.remark == STUDY.remark("lr_swap", "3a swap")
    assert page.line(told).endswith(f"*Remark:* {told.remark}")
    assert re.search(
        r"cures it\. \(.*\) \*Remark:\* It degrades less", page.section("lr_swap", [told])
    )
