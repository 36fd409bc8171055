"""The benchmark against other projects' own code, on a tiny checkout that is laid out like one.

Run: pytest tests/benchmarks/test_peers.py
"""

import sys

import pytest
import torch

from tests.benchmarks import bench, peers
from tests.benchmarks.variants import Machine, Ours, Setting

TINY = Setting("tiny", "nasbench201", 2, 1, 2, 8, 1)
CPU = Machine("cpu", 1)
MODEL = """
import torch
from torch import nn
from operations import SCALE


class Network(nn.Module):
    def __init__(self, channels, classes, layers, criterion):
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 3)
        self.alphas = (SCALE * torch.ones(1)).cuda().requires_grad_()

    def arch_parameters(self):
        return [self.alphas]

    def forward(self, images):
        return self.alphas * self.conv(images).mean(dim=(2, 3))
"""


def checkout(folder, scale=1.0):
    (folder / "cnn").mkdir(parents=True)
    (folder / "cnn" / "model_search.py").write_text(MODEL)
    (folder / "cnn" / "operations.py").write_text(f"SCALE = {scale}\n")
    return folder


def peer(path):
    return peers.Peer(path, peers.layout(path).networks["DARTS"], TINY, CPU)


def test_a_checkout_is_known_by_its_files(tmp_path):
    assert peers.layout(checkout(tmp_path)).project == "DARTS authors (quark0/darts)"


def test_a_step_of_a_peer_moves_its_weights_and_its_alphas(tmp_path):
    theirs = peer(checkout(tmp_path))
    moved = [theirs.net.conv.weight, theirs.net.alphas]
    before = [x.detach().clone() for x in moved]
    theirs.step(*Ours(TINY, CPU).batches(2))
    assert not any(torch.equal(a, b) for a, b in zip(before, moved, strict=True))


def test_two_checkouts_with_modules_of_one_name_do_not_meet(tmp_path):
    cuda, paths = torch.Tensor.cuda, list(sys.path)
    first, second = (peer(checkout(tmp_path / str(scale), scale)) for scale in (2.0, 3.0))
    assert (first.net.alphas.item(), second.net.alphas.item()) == (2.0, 3.0)
    assert not {"model_search", "operations"} & set(sys.modules)
    assert torch.Tensor.cuda is cuda and sys.path == paths


def test_a_row_compares_our_step_with_that_of_the_checkout(tmp_path):
    path = checkout(tmp_path)
    (row,), shares = bench.against(path, peers.layout(path), TINY, CPU)
    assert (row.row, row.reference) == ("dense", "DARTS, DARTS authors (quark0/darts)")
    assert row.ratio == row.seconds / row.reference_seconds > 1  # theirs is one convolution
    ours, theirs = shares.splitlines()[-1], shares.splitlines()[-2]
    assert int(theirs.split("|")[3]) == 2 < int(ours.split("|")[3])


def test_the_parts_of_a_step_are_all_of_it():
    ours = Ours(TINY, CPU)
    shares, _ = bench.parts(lambda: ours.step(*ours.batches(2)))
    assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0


def test_a_folder_that_is_no_checkout_is_refused_with_what_was_looked_for(
    tmp_path, monkeypatch, capsys
):
    (checkout(tmp_path) / "cnn" / "operations.py").unlink()
    monkeypatch.setattr(sys, "argv", ["bench.py", "--peer", str(tmp_path)])
    with pytest.raises(SystemExit):
        bench.main()
    said = capsys.readouterr().err
    assert "DARTS authors (quark0/darts): no cnn/operations.py" in said
    assert "search/concate_sum_five_sig.py" in said and "cnn/model_search.py" not in said
