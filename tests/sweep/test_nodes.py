"""A node of a Ray cluster dies in a sweep: the run goes on from its checkpoint on the next node.

A cluster of its own: a head that computes nothing, and one node that does.

Run: pytest tests/sweep/test_nodes.py
"""

import os
import secrets
import shutil
import tempfile
from time import monotonic

import pytest

from nasutils.runs import Run
from nasutils.sweep.launch import name_of, sweep
from nasutils.training.computation import Machine
from tests.sweeps import experiment, holders, starting_ray, trace, until

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow

TASK = experiment(5, epochs=60)


@pytest.fixture
def cluster(monkeypatch):
    """The cluster, whose address is in the environment; its files are apart from those of others."""
    folder = tempfile.mkdtemp()  # of pytest's own the paths are too long for sockets
    monkeypatch.setenv("RAY_TMPDIR", folder)
    # As `connected` does it; a process reads its token once, so that it stays after this test.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())
    cluster = Cluster()
    try:
        with starting_ray():
            cluster.add_node(num_cpus=0, include_dashboard=False)
            cluster.add_node(num_cpus=1)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_node_dies_and_the_run_goes_on_elsewhere_to_the_same_result(cluster, tmp_path):
    home, seen = Run(tmp_path / "disturbed" / name_of(TASK)), []
    (node,), patience = cluster.worker_nodes, monotonic() + 400

    def kill_the_node(states):
        assert monotonic() < patience, f"the run is {states}"
        seen.append(states[home.path.name])
        if seen[-1] == "running" and node in cluster.worker_nodes:
            assert until(lambda: len(home.records) >= 3, seconds=120)
            cluster.remove_node(node, allow_graceful=False)
            assert until(lambda: not holders(home), seconds=60)
            seen.append(len(home.records))
            with starting_ray():
                cluster.add_node(num_cpus=1)

    (disturbed,) = sweep([TASK], Machine(home.path.parent), engine="ray", watch=kill_the_node)
    assert "waiting" in seen[1:] and 3 <= max(n for n in seen if isinstance(n, int)) < TASK.epochs
    assert trace(disturbed) == trace(TASK.run(Machine(tmp_path / "undisturbed")))
