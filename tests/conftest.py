"""Fixtures of several test modules."""

import pytest

from nasutils.training.computation import repeatable


@pytest.fixture
def one_thread():
    """Sums do not depend on the number of cores:
    what is compared bit for bit is computed on one thread.
    """
    with repeatable():
        yield
