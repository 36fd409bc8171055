"""What `graphs` does around a recording, on a CPU: a stand-in computes anew what a CUDA graph would replay.

The recording itself needs a GPU: `test_cuda`.
"""

import pytest
import torch

from nasutils import graphs
from nasutils.experiment import Experiment, Machine, build
from nasutils.graphs import KEPT, SEEN, Graphs
from nasutils.studies.bypass_leakage import NEGLIGIBLE

pytestmark = pytest.mark.usefixtures("one_thread")


class Computed:
    """As `graphs._Graph`: fixed tensors for what it reads and leaves, overwritten by every replay."""

    def __init__(self, loss, net, images, labels, mix, active, weights):
        self.read = {name: m.detach().clone().requires_grad_(m.requires_grad) for name, m in mix.items()}
        self.inputs = [images.clone(), labels.clone(), *self.read.values()]
        self.sources, self.compute, self.active = [*self.read.values(), *weights], loss, active
        self.loss, self.logits, self.gradients = None, None, None

    def replay(self, inputs):
        for static, given in zip(self.inputs, inputs, strict=True):
            static.detach().copy_(given.detach())
        with torch.enable_grad():
            loss, logits = self.compute(*self.inputs[:2], self.read, self.active)
        of = [source for source in self.sources if source.requires_grad]
        found = iter(torch.autograd.grad(loss, of, materialize_grads=True))
        gradients = [next(found) if source.requires_grad else None for source in self.sources]
        left = [loss.detach(), logits.detach(), *gradients]
        if self.loss is None:
            self.loss, self.logits, *self.gradients = left
        else:
            for old, new in zip([self.loss, self.logits, *self.gradients], left, strict=True):
                if old is not None:
                    old.copy_(new)


@pytest.fixture
def computed(monkeypatch):
    monkeypatch.setattr(graphs, "_Graph", Computed)


def search(method, **fields):
    recipe = {"batch": 16, "split": "all" if method == "gaea-erm" else "half", **fields.pop("recipe", {})}
    sizes = {"channels": 2, "cells": 1, "epochs": 2, "images": 128, "evaluation": 8, "recipe": recipe}
    return build(Experiment("nasbench201", method, precision="float64", **sizes, **fields), Machine())


METHODS = [
    ("darts", {}),
    ("darts", {"options": {"order": 2}}),
    ("sp-darts", {"recipe": {"negligible": NEGLIGIBLE}}),
    ("edd-darts", {}),
    ("gdas", {}),
    ("milenas", {}),
    ("gaea-erm", {}),
    ("darts", {"preset": "released"}),
]


@pytest.mark.parametrize(("method", "fields"), METHODS)
def test_replaying_changes_nothing(computed, method, fields):
    plain, replayed = search(method, **fields), search(method, **fields)
    replayed.graphs = Graphs(replayed._loss, replayed.net)
    for a, b in zip(plain.run(), replayed.run(), strict=True):
        assert {**a, "cost": None} == {**b, "cost": None}
    assert bool(replayed.graphs._graphs) == (method != "gdas")


def test_a_combination_is_recorded_after_it_was_seen_and_the_oldest_goes(computed):
    s = search("darts")
    graph = Graphs(s._loss, s.net)
    batch, mix = s.batch("train", s.train, torch.arange(16)), s.method.mixing()
    everything = [[True] * 5 for _ in range(6)]
    for edge in range(KEPT):
        active = {"cell": [[*row[:4], e != edge] for e, row in enumerate(everything)]}
        for _ in range(SEEN):
            graph(batch.images, batch.labels, mix, active)
        assert len(graph._graphs) == edge
        graph(batch.images, batch.labels, mix, active)
        assert len(graph._graphs) == edge + 1
    first = next(iter(graph._graphs))
    for _ in range(SEEN + 1):
        graph(batch.images, batch.labels, mix, {"cell": everything})
    assert len(graph._graphs) == KEPT and first not in graph._graphs


def test_two_losses_of_one_graph_keep_their_own_gradients(computed):
    s = search("darts")
    graph = Graphs(s._loss, s.net)
    batches = [s.batch("train", s.train, torch.arange(16) + 16 * i) for i in range(2)]
    mix, active = s.method.mixing(), {"cell": [[True] * 5] * 6}
    alpha = list(s.method.alphas.values())

    def losses(compute):
        found = [compute(b.images, b.labels, mix, active)[0] for b in batches]
        return torch.autograd.grad(
            found[0] + 3 * found[1], [*alpha, *s.weights], retain_graph=True, materialize_grads=True
        )

    s.net.train()
    expected = losses(s._loss)
    for _ in range(SEEN):
        graph(batches[0].images, batches[0].labels, mix, active)
    for a, b in zip(losses(graph), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert len(graph._graphs) == 1
