"""What `cuda_graphs` does around a recording, on a CPU:
a stand-in computes anew what a CUDA graph would replay.

The recording itself needs a GPU: `test_cuda`.
"""

from types import SimpleNamespace

import pytest
import torch

from nasutils.spaces.base import everything
from nasutils.studies.bypass_leakage.variants import NEGLIGIBLE
from nasutils.training import cuda_graphs
from nasutils.training.batchnorm import batch_norms_restored
from nasutils.training.computation import Machine
from nasutils.training.cuda_graphs import KEPT, SEEN, Graphs
from nasutils.training.experiment import Experiment, build

pytestmark = pytest.mark.usefixtures("one_thread")


class Computed(cuda_graphs._Graph):
    """Fixed tensors for what it reads and leaves, overwritten by every replay,
    as of a recording.
    """

    def _record(self, net):
        with batch_norms_restored(net):  # recording runs nothing
            self.loss, self.logits, self.gradients = self._leave()
        return SimpleNamespace(replay=self._again)

    def _again(self):
        with torch.enable_grad():
            loss, logits, gradients = self._leave()
        for old, new in zip(
            [self.loss, self.logits, *self.gradients], [loss, logits, *gradients], strict=True
        ):
            if old is not None:
                old.copy_(new)


@pytest.fixture
def computed(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_Graph", Computed)


def search(method, **fields):
    recipe = {
        "batch": 16,
        "split": "all" if method == "gaea-erm" else "half",
        **fields.pop("recipe", {}),
    }
    sizes = {
        "dataset": "digits",
        "channels": 2,
        "cells": 1,
        "epochs": 2,
        "images": 128,
        "evaluation": 8,
        "recipe": recipe,
    }
    return build(
        Experiment("nasbench201", method, precision="float64", **sizes, **fields), Machine()
    )


METHODS = [
    ("darts", {}),
    ("darts", {"options": {"order": 2}}),
    ("sp-darts", {"recipe": {"negligible": NEGLIGIBLE}}),
    ("edd-darts", {}),
    ("gdas", {}),
    ("sdarts-rs", {}),
    ("sdarts-adv", {}),
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
    whole = everything(mix)
    for edge in range(KEPT):
        active = {"cell": [[*row[:4], e != edge] for e, row in enumerate(whole["cell"])]}
        for _ in range(SEEN):
            graph(batch.images, batch.labels, mix, active)
        assert len(graph._graphs) == edge
        graph(batch.images, batch.labels, mix, active)
        assert len(graph._graphs) == edge + 1
    first = next(iter(graph._graphs))
    for _ in range(SEEN + 1):
        graph(batch.images, batch.labels, mix, whole)
    assert len(graph._graphs) == KEPT and first not in graph._graphs


def test_two_losses_of_one_graph_keep_their_own_gradients(computed):
    s = search("darts")
    graph = Graphs(s._loss, s.net)
    batches = [s.batch("train", s.train, torch.arange(16) + 16 * i) for i in range(2)]
    mix = s.method.mixing()
    active = everything(mix)
    alpha = list(s.method.alphas.values())

    def losses(compute):
        found = [compute(b.images, b.labels, mix, active)[0] for b in batches]
        return torch.autograd.grad(
            found[0] + 3 * found[1],
            [*alpha, *s.weights],
            retain_graph=True,
            materialize_grads=True,
        )

    s.net.train()
    expected = losses(s._loss)
    for _ in range(SEEN):
        graph(batches[0].images, batches[0].labels, mix, active)
    for a, b in zip(losses(graph), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert len(graph._graphs) == 1
