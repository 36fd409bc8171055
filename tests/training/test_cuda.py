"""On a GPU: the numbers of the CPU, the same bits every time, graphs that change nothing.
Skipped without one.
"""

import json
from dataclasses import replace

import pytest
import torch

from nasutils import spaces
from nasutils.methods import relax
from nasutils.spaces.base import Space, nonzero
from nasutils.spaces.pools import avg_pool_3x3, max_pool_3x3
from nasutils.studies.bypass_leakage.variants import NEGLIGIBLE
from nasutils.training.computation import Machine, repeatable
from nasutils.training.cuda_graphs import SEEN
from nasutils.training.experiment import Experiment, build
from nasutils.training.finalnet import Evaluation
from nasutils.training.search import Search

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SPACES = [
    ("nasbench201", 4, 1),
    ("darts", 4, 3),
    ("s1", 4, 3),
    ("s3", 4, 3),
    ("s4", 4, 3),
    ("lhd", 4, 3),
]
METHODS = [
    ("darts", {}),
    ("darts", {"order": 2}),
    ("sp-darts", {}),
    ("pcd-darts", {}),
    ("gdas", {}),
    ("sdarts-rs", {}),
    ("sdarts-adv", {}),
    ("milenas", {}),
    ("drnas", {}),
    ("gaea-erm", {}),
]


def experiment(
    space: str = "nasbench201", method: str = "darts", channels: int = 4, cells: int = 1, **fields
) -> Experiment:
    common = {
        "dataset": "digits",
        "channels": channels,
        "cells": cells,
        "epochs": 2,
        "images": 192,
        "evaluation": 64,
    }
    return Experiment(
        space, method, **{**common, "recipe": {"batch": 16, "split": "half"}, **fields}
    )


def trajectory(search: Search) -> list[torch.Tensor]:
    """Weights, buffers and alpha after every epoch."""
    states = []
    with repeatable():
        for _ in search.run():
            alphas = search.method.alphas.values()
            states += [
                t.detach().cpu().clone()
                for t in (*search.net.parameters(), *search.net.buffers(), *alphas)
            ]
    return states


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def weights(space: Space, drawn: int | None, device: str) -> dict[str, torch.Tensor]:
    """Mixing weights as leaves: nearly even, or one operation per edge, drawn."""
    generator = torch.Generator().manual_seed(drawn or 0)
    scores = {
        k: torch.randn(s, generator=generator, dtype=torch.float64)
        for k, s in space.alpha_shapes.items()
    }
    rule = relax.one_hot if drawn is not None else lambda a: relax.softmax(0.1 * a, 1.0)
    return {
        k: m.to(device).requires_grad_()
        for k, m in space.relax(scores, rule, edgewise=True).items()
    }


@pytest.mark.parametrize("drawn", [None, 0, 1, 2, 3])
@pytest.mark.parametrize(("space", "channels", "cells"), [s for s in SPACES if s[0] != "s4"])
def test_supernet_has_the_logits_and_gradients_of_the_cpu(space, channels, cells, drawn):
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        net = spaces.get(space).supernet(channels, cells, 10).to(device, torch.float64)
        mix = weights(spaces.get(space), drawn, device)
        images = torch.randn(
            6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        ).to(device)
        logits = net(images, mix, nonzero(mix))
        of = [*mix.values(), *net.parameters()]
        gradients = torch.autograd.grad(logits.square().sum(), of, materialize_grads=True)
        names = ["logits", *mix, *(name for name, _ in net.named_parameters())]
        found.append(dict(zip(names, [logits, *gradients], strict=True)))
    cpu, cuda = found
    far = {
        n: ((cuda[n].cpu() - x).abs().max() / x.abs().max().clamp(min=1)).item()
        for n, x in cpu.items()
    }
    assert {name: error for name, error in far.items() if error > 1e-8} == {}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pool", [avg_pool_3x3, max_pool_3x3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pools_have_the_gradients_of_the_cpu_in_both_layouts(pool, stride, layout):
    """cuDNN's float64 convolutions put out NCHW,
    so the test above hardly reaches the kernels that a search uses.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64, generator=generator)
    g = torch.randn(2, 16, 8 // stride, 8 // stride, dtype=torch.float64, generator=generator)
    found = []
    for device in ("cpu", "cuda"):
        there = x.to(device).contiguous(memory_format=layout).requires_grad_()
        y = pool(there, stride)
        found.append([y.cpu(), torch.autograd.grad(y, there, g.to(device))[0].cpu()])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("space", "channels", "cells"), SPACES)
def test_a_search_repeats_to_the_bit_and_graphs_change_no_bit(space, channels, cells):
    machine, e = Machine(device="cuda"), experiment(space, channels=channels, cells=cells)
    graphed, again, eager = (build(e, machine) for _ in range(3))
    eager.graphs = None
    first = trajectory(graphed)
    assert len(graphed.graphs._graphs) == 2
    assert same(first, trajectory(again))
    assert same(first, trajectory(eager))


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_graphs_change_no_bit_of_any_kind_of_method(method, options):
    e = experiment(method=method, options=options)
    if method == "sp-darts":
        e = replace(e, recipe={**e.recipe, "negligible": NEGLIGIBLE})
    graphed, eager = build(e, Machine(device="cuda")), build(e, Machine(device="cuda"))
    eager.graphs = None
    assert same(trajectory(graphed), trajectory(eager))


def test_a_stopped_search_goes_on_with_the_same_bits():
    machine, e = Machine(device="cuda"), experiment("s4", cells=3)
    whole = trajectory(build(e, machine))
    stopped, resumed = build(e, machine), build(e, machine)
    with repeatable():
        stopped.one_epoch()
    resumed.load_state_dict(stopped.state_dict())
    rest = trajectory(resumed)
    assert same(whole[-len(rest) :], rest)


def test_bf16_stays_near_float32():
    losses = []
    for precision in ("float32", "bf16"):
        search = build(experiment(precision=precision), Machine(device="cuda"))
        losses.append([record["train_loss"] for record in search.run()])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_a_probed_search_and_a_final_network_run(tmp_path):
    machine = Machine(runs=tmp_path, device="cuda")
    run = experiment(probe_every=1).run(machine)
    assert run.records[-1]["leakage"]["eigenvalue"] is not None
    assert (
        json.loads((run.path / "stamp.json").read_text())["device"] == torch.cuda.get_device_name()
    )
    final = Evaluation(
        run.result["genotype"],
        protocol={"epochs": 1},
        **{"dataset": "digits", "images": 64, "test_images": 64, "channels": 4, "cells": 1},
    )
    assert final.run(machine).result["epochs"] == 1


def test_a_graph_needs_some_steps_first():
    search = build(experiment(), Machine(device="cuda"))
    search.begin_epoch()
    batches = [search.batch(role, search.train, torch.arange(16)) for role in ("train", "valid")]
    for _ in range(SEEN):
        search.step(*batches)
    assert not search.graphs._graphs
    search.step(*batches)
    assert len(search.graphs._graphs) == 2
