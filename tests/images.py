"""Images that not every machine has."""

import os

import pytest

needs_cifar10 = pytest.mark.skipif(
    not os.environ.get("NASUTILS_DATA"),
    reason="NASUTILS_DATA does not name a folder with CIFAR-10",
)
