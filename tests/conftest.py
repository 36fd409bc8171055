"""Fixtures of several test modules."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Sums do not depend on the number of cores: what is compared bit for bit is computed on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
