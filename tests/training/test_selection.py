"""Selection by perturbation: its rule on supernets that one sees through, its order and cost,
and runs of it.

Run: pytest tests/training/test_selection.py
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from nasutils import Genotype, data, runs, spaces
from nasutils.runs import Run
from nasutils.spaces import lhd_policies
from nasutils.sweep.planning import kind
from nasutils.training import search as supernets
from nasutils.training import selection as module
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment, build
from nasutils.training.selection import (
    Choice,
    Cost,
    Selecting,
    Selection,
    costliest,
    decide,
    rounds,
    stages,
)
from tests.sweeps import trace
from tests.toys import toy_space

SIZE = {
    "dataset": "digits",
    "resolution": 8,
    "images": 64,
    "evaluation": 8,
    "channels": 4,
    "seed": 3,
}

pytestmark = pytest.mark.usefixtures("one_thread")


def search(space="nasbench201", **changed):
    size = {"cells": 1 if space == "nasbench201" else 3, "epochs": 2}
    return Experiment(
        **{
            "space": space,
            "recipe": {"split": "half", "batch": 32},
            **SIZE,
            **size,
            "keep_weights": True,
            **changed,
        }
    )


# The rule, on supernets of one edge


LABELS = torch.arange(12) % 3
ORACLE = 8.0 * F.one_hot(LABELS, 3).double()
EDGE = Choice(
    "cell", "edge 0", {op: ((0, k),) for k, op in enumerate("abc")}, ((0, 0), (0, 1), (0, 2))
)


def judge(*operations):
    """Of a supernet that sums the logits of these operations by their mixing weights;
    counts its calls in `.calls`.
    """

    def judged(mix):
        judged.calls += 1
        logits = sum(w * op for w, op in zip(mix["cell"][0], operations, strict=True))
        hits = (logits.argmax(dim=1) == LABELS).double().mean().item()
        return {"accuracy": 100 * hits, "loss": F.cross_entropy(logits, LABELS).item()}

    judged.calls = 0
    return judged


NOTHING = torch.zeros_like(ORACLE)


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
@pytest.mark.parametrize("weights", [[0.9, 0.09, 0.01], [0.005, 0.99, 0.005], [0.2, 0.2, 0.6]])
def test_the_operation_that_does_all_the_work_is_kept_whatever_its_weight(weights, criterion):
    mix = {"cell": torch.tensor([weights], dtype=torch.float64)}
    settled, record = decide(judge(NOTHING, NOTHING, ORACLE), mix, EDGE, criterion)
    assert record["kept"] == ["c"] and record["choice"] == "cell edge 0"
    assert settled["cell"].tolist() == [pytest.approx([0.0, 0.0, 1.0])]
    assert mix["cell"].tolist() == [weights]
    assert record["as_it_is"]["accuracy"] == 100 and record["without"]["c"][
        "accuracy"
    ] == pytest.approx(100 / 3)
    assert record["without"]["a"] == record["as_it_is"]


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_of_two_that_tie_the_first_is_kept(criterion):
    even = {"cell": torch.full((1, 3), 0.25, dtype=torch.float64)}
    _, record = decide(judge(NOTHING, ORACLE, ORACLE), even, EDGE, criterion)
    assert record["without"]["b"] == record["without"]["c"]
    # without one of two all are right as before
    assert record["kept"] == (["b"] if criterion == "loss" else ["a"])


def test_none_is_not_judged_and_can_be_kept():
    places = ((0, 0), (0, 1), (0, 2))
    choice = Choice(
        "cell",
        "edge 0",
        dict(zip(("none", "harm", "more harm"), ((p,) for p in places), strict=True)),
        places,
    )
    mix = {"cell": torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)}
    wrong = judge(NOTHING, -ORACLE, -ORACLE)
    settled, record = decide(wrong, mix, choice, "loss")
    assert record["kept"] == ["none"] and settled["cell"].tolist() == [
        pytest.approx([1.0, 0.0, 0.0])
    ]
    assert wrong.calls == choice.judgements == 3


def test_what_does_not_compete_is_never_kept():
    mix = {"cell": torch.tensor([[0.0, 0.4, 0.6]], dtype=torch.float64)}
    settled, record = decide(judge(NOTHING, -ORACLE, -ORACLE), mix, EDGE, "loss")
    assert record["without"].keys() == {"b", "c"} and record["kept"] != ["a"]
    assert settled["cell"][0, 0] == 0


def test_what_several_keep_they_share_and_edges_keep_their_own_weight():
    mix = {"cell": torch.tensor([[0.1, 0.3, 0.4]], dtype=torch.float64)}
    working = judge(ORACLE, NOTHING, 2 * ORACLE)
    shared, record = decide(working, mix, replace(EDGE, keep=2), "loss")
    assert record["kept"] == ["c", "a"] and shared["cell"].tolist() == [
        pytest.approx([0.4, 0.0, 0.4])
    ]
    own, _ = decide(working, mix, replace(EDGE, keep=2, shared=False), "loss")
    assert own["cell"].tolist() == [[0.1, 0.0, 0.4]]


def test_the_costliest_by_hand():
    costs = {"a": 1.0, "b": 5.0, "c": 5.0, "d": 2.0}
    assert costliest(costs, 1) == ["b"] and costliest(costs, 3) == ["b", "c", "d"]
    assert costliest(costs, None) == ["b", "c"]  # their mean is 3.25
    assert costliest(dict.fromkeys("xyz", 2.0), None) == ["x"]


# What there is to choose


def test_choices_of_each_space():
    names = {
        name: [len(stage) for stage in stages(spaces.get(name), spaces.get(name).policies[0])]
        for name in spaces.names
    }
    assert names == {
        "nasbench201": [6],
        "lhd": [10, 2],
        **{name: [28, 6] for name in ("darts", "darts7", "s1", "s2", "s3", "s4")},
    }
    (edges,) = stages(spaces.get("nasbench201"), "argmax")
    assert list(edges[2].rivals) == list(spaces.get("nasbench201").ops) and edges[
        2
    ].places == tuple((2, k) for k in range(5))


def test_edges_of_an_own_space_have_their_own_operations_and_outputs_are_no_edges():
    space = toy_space(
        "toy",
        alpha_shapes={"normal": (2, 3), "normal_output": (2, 5)},
        cell_types=("normal",),
        edge_ops={"normal": (("skip_connect", "a"), ("b", "a"))},
    )
    (edges,) = stages(space, "argmax")
    assert [list(edge.rivals) for edge in edges] == [["skip_connect", "a"], ["b", "a"]]


def test_none_is_no_rival_on_the_darts_space_but_loses_its_weight():
    ops, nodes = stages(spaces.get("s3"), "top2")
    assert list(ops[0].rivals) == ["skip_connect", "sep_conv_3x3"] and ops[0].places == (
        (0, 0),
        (0, 1),
        (0, 2),
    )
    last = nodes[2]
    assert (last.key, last.name, last.keep, last.shared) == ("normal", "node 5", 2, False)
    assert list(last.rivals) == [f"edge {e}" for e in range(9, 14)] and last.rivals["edge 9"] == (
        (9, 0),
        (9, 1),
        (9, 2),
    )


@pytest.mark.parametrize("policy", lhd_policies.POLICIES)
def test_nodes_of_lhd_keep_what_their_policy_does(policy):
    nodes, outputs = stages(spaces.get("lhd"), policy)
    assert {c.keep for c in nodes} == {lhd_policies.POLICIES[policy].ops}
    assert {c.keep for c in outputs} == {lhd_policies.POLICIES[policy].outputs}
    assert [len(c.rivals) for c in nodes[:5]] == [7 * n for n in (2, 3, 4, 5, 6)]
    assert (
        list(outputs[1].rivals) == [f"node {n}" for n in (2, 3, 4, 5, 6)]
        and outputs[1].key == "reduce_output"
    )


def test_the_order_is_random_by_the_seed_and_a_round_has_every_cell_type():
    space = spaces.get("darts")
    first, again, other = (rounds(space, "top2", seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [len(together) for together in first] == [2] * 17
    assert all([c.key for c in together] == ["normal", "reduce"] for together in first)
    assert {c.name for together in first[:14] for c in together} == {
        f"edge {e}" for e in range(14)
    }
    assert (
        [c.name for c, _ in first[:14]]
        != [c.name for _, c in first[:14]]
        != sorted(c.name for _, c in first[:14])
    )
    assert {c.name for together in first[14:] for c in together} == {"node 3", "node 4", "node 5"}


# What it costs


@pytest.mark.parametrize(
    ("space", "images", "tune_epochs", "expected"),
    [
        (
            "nasbench201",
            250,
            5,
            Cost(30, 30, 25),
        ),  # 6 edges as they are and without 4 operations; 5 gaps
        (
            "darts",
            251,
            5,
            Cost(254, 508, 80),
        ),  # 28 edges: 1 + 7; twice 3 nodes: 1 + 3, 4, 5; 16 gaps
        ("s2", 1000, 0, Cost(114, 456, 0)),
        ("lhd", 250, 1, Cost(302, 302, 5)),  # twice 5 nodes: 1 + 7 * (2 to 6), and the sum: 1 + 5
    ],
)
def test_the_cost_is_known_before(space, images, tune_epochs, expected):
    found = Selection(search(space), images=images, tune_epochs=tune_epochs).cost
    assert found == expected
    assert str(Cost(254, 1508, 80)).startswith(
        "254 judgements of the supernet, which are 1,508 forward passes of up to 250"
    )


# Runs


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    torch.set_num_threads(1)
    machine = Machine(runs=tmp_path_factory.mktemp("runs"))
    for space in ("nasbench201", "s3"):
        search(space).run(machine)
    return machine


@pytest.mark.parametrize("space", ["nasbench201", "s3"])
def test_a_selection_passes_as_often_as_it_said_and_ends_in_a_genotype(
    space, machine, monkeypatch
):
    for where in (module, supernets):
        monkeypatch.setattr(where, "EVALUATION_BATCH", 6)
    selection, passes = Selection(search(space), images=8), []
    starting = Selection.start

    def counting(self, machine):
        selecting = starting(self, machine)
        selecting.search.net.register_forward_hook(lambda *_: passes.append(1))
        return selecting

    monkeypatch.setattr(Selection, "start", counting)
    run = selection.run(machine)
    assert len(passes) == selection.cost.forwards == 2 * selection.cost.judgements
    assert (
        run.result["cost"]["forwards"] == len(passes)
        and run.result["epochs"] == len(run.records) == selection.epochs
    )
    spaces.get(space).finalnet(run.result["genotype"], 2, 3, 10)
    assert all(record["cost"]["seconds"] > 0 for record in run.records)


def test_the_genotype_is_what_was_kept(machine):
    run = Selection(search(), images=40, criterion="loss").run(machine)
    kept = {record["choice"]: record["kept"][0] for record in run.records}
    arch = spaces.nasbench201.query(run.result["genotype"]).arch
    assert arch == "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(
        *(kept[f"cell edge {e}"] for e in range(6))
    )
    for record in run.records:
        losses = {name: judged["loss"] for name, judged in record["without"].items()}
        assert (
            losses[record["kept"][0]] == max(losses.values())
            and record["without"]["none"] == record["as_it_is"]
        )


def test_the_edges_of_a_node_are_those_that_were_kept(machine):
    run = Selection(search("s3"), images=24).run(machine)
    kept = {record["choice"]: record["kept"] for record in run.records}
    assert run.result["genotype"] == str(spaces.get("s3").discretize(one_hot(kept)))


def one_hot(kept):
    """One operation of weight 1 on every edge that was kept."""
    mix = {key: torch.zeros(14, 3) for key in ("normal", "reduce")}
    for key in mix:
        edges = [0, 1] + [
            int(name.split()[1]) for node in (3, 4, 5) for name in kept[f"{key} node {node}"]
        ]
        for e in edges:
            mix[key][e, spaces.get("s3").ops.index(kept[f"{key} edge {e}"][0])] = 1
    return mix


def test_the_genotype_does_not_hang_on_rounding(machine):
    """Edges that were kept have all the weight of their operations, a sum that is 1 nearly."""
    selecting, found = Selection(search("s3"), images=8).start(machine), set()
    for sign in (1, 0, -1):
        weights = torch.zeros(14, 3)
        weights[:, 1] = 1 + sign * 2e-7 * torch.arange(14).remainder(3).sub(1)
        selecting.mix = {"normal": weights, "reduce": weights}
        found.add(selecting.genotype())
    assert len(found) == 1


@pytest.mark.parametrize("policy", lhd_policies.POLICIES)
def test_the_cells_of_lhd_are_what_was_kept(policy, monkeypatch):
    """Judged by chance: a pass through this supernet is dear."""
    task, draw = search("lhd", options={"policy": policy}), torch.Generator().manual_seed(1)
    selection, built = Selection(task, images=8), build(task, Machine())
    selecting, judged = Selecting(selection, built, built.method.inference()), []

    def by_chance(mix):
        judged.append(mix)
        return {"accuracy": 100 * torch.rand((), generator=draw).item(), "loss": 1.0}

    monkeypatch.setattr(selecting, "judge", by_chance)
    kept = {record["choice"]: set(record["kept"]) for record in selecting.run()}
    assert len(judged) == selection.cost.judgements and len(kept) == selection.epochs
    for cell in Genotype.parse(selecting.genotype()).cells:
        living = [(node, pairs) for node, pairs in enumerate(cell.nodes, start=2) if pairs]
        for node, pairs in living:
            edges = {
                (source, node): e
                for e, (source, to) in enumerate(spaces.get("lhd").edges[cell.name])
                if to == node
            }
            assert {f"edge {edges[source, node]} {op}" for op, source in pairs} == kept[
                f"{cell.name} node {node}"
            ]
        assert {f"node {n}" for n in cell.sum} == kept[f"{cell.name}_output sum"]


def test_it_begins_with_the_supernet_that_the_search_ended_with(machine):
    selecting = Selection(search(), images=40).start(machine)
    kept, _ = Run(machine.runs / runs.key(search().params())).weights()
    assert torch.equal(selecting.mix["cell"], kept["mix_cell"])
    assert torch.equal(selecting.search.net.linear.weight, kept["net.linear.weight"])


def test_it_is_judged_on_images_for_alpha_and_tuned_on_those_for_the_weights(machine, monkeypatch):
    selecting = Selection(search(), images=8, tune_epochs=1).start(machine)
    task, tuned = selecting.search, []
    batch = task.batch

    def noting(role, images, index):
        tuned.append(images)
        return batch(role, images, index)

    monkeypatch.setattr(task, "batch", noting)
    selecting.tune()
    _, alpha = data.search_split(task.data, "half", 64)
    assert torch.equal(selecting.images.images, alpha.images[:8])
    assert tuned and all(torch.equal(images.images, task.train.images) for images in tuned)


@pytest.mark.parametrize("tune_epochs", [0, 2])
def test_judging_leaves_no_trace_and_tuning_moves_the_weights(tune_epochs, machine):
    selecting = Selection(search(), images=40, tune_epochs=tune_epochs).start(machine)
    before = {name: t.clone() for name, t in selecting.search.net.state_dict().items()}
    record = selecting.one_choice()
    after = selecting.search.net.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items()) == (not tune_epochs)
    assert record["tuned_epochs"] == tune_epochs


def test_the_weights_are_tuned_at_a_tenth_of_the_first_rate_of_the_search(machine, monkeypatch):
    selecting = Selection(search(), images=8, tune_epochs=2).start(machine)
    descend, rates = selecting.search.descend, []

    def noting(gradients):
        rates.append(selecting.search.optimizer.param_groups[0]["lr"])
        return descend(gradients)

    monkeypatch.setattr(selecting.search, "descend", noting)
    list(selecting.run())
    steps = 5 * 2 * 2  # of two batches, in two epochs between six choices
    assert rates == [pytest.approx(0.0025)] * steps


@pytest.mark.parametrize("cut", [1, 4])
def test_killed_and_resumed_it_ends_in_the_same_records(cut, machine, monkeypatch):
    selection = Selection(search(), images=24, tune_epochs=1, seed=5 + cut)
    appended, append = [], Run.append

    def dying(run, record, state):
        append(run, record, state)
        appended.append(record)
        if len(appended) == cut:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        selection.run(machine)
    monkeypatch.setattr(Run, "append", append)
    resumed = trace(selection.run(machine))
    home = Run(machine.runs / runs.key(selection.params()))
    home.path.rename(machine.runs / f"resumed-{cut}")
    assert trace(selection.run(machine)) == resumed


def test_a_search_that_is_not_there_is_not_trained(tmp_path):
    selection = Selection(search(), images=8)
    with pytest.raises(ValueError, match=r"no finished search in .*compute it first"):
        selection.check(Machine(runs=tmp_path))
    with pytest.raises(ValueError, match="no finished search in"):
        selection.run(Machine(runs=tmp_path))
    assert not (tmp_path / runs.key(search().params())).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": search(keep_weights=False)}, "search must have keep_weights=True"),
        ({"search": search(method="pc-darts")}, "not defined on partial channels"),
        ({"search": search("s2", options={"policy": "top2-skips2"})}, "limits skip connections"),
        ({"images": 0}, "images must be a whole number"),
        ({"tune_epochs": -1}, "tune_epochs must be"),
        ({"criterion": "los"}, "unknown criterion 'los'.*did you mean 'loss'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        Selection(**{"search": search(), "images": 8, **change})


def test_more_images_than_alpha_has_are_refused(machine):
    with pytest.raises(
        ValueError, match="images must be 1 to 64, the search's images for alpha, not 65"
    ):
        Selection(search(), images=65).check(machine)


def test_a_selection_has_a_name_and_is_called_by_its_search():
    one, other = (Selection(search(), images=8, seed=seed) for seed in (0, 1))
    assert runs.key(one.params()) != runs.key(other.params())
    assert kind(one.params()) == "selection darts on nasbench201, digits"
