"""Statistics of batch norms: estimated anew, and put back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

EVALUATION_BATCH = 250
"""Number of images per forward pass where nothing is trained."""


def recalibrate(
    net: nn.Module, images: Tensor, batches: int, forward: Callable[[Tensor], Any]
) -> None:
    """Average the batch-norm statistics over the first batches of images;
    each batch weighs the same.

    images: (n, 3, H, W) uint8. forward: runs the network, whose batch norms are in training mode,
    on some of them.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for i in range(batches):
        part = images[i * EVALUATION_BATCH : (i + 1) * EVALUATION_BATCH]
        if not len(part):
            break
        for norm in norms:
            norm.momentum = 1 / (i + 1)
        forward(part)


@contextmanager
def batch_norms_restored(net: nn.Module) -> Iterator[None]:
    """Afterwards put the batch norms' statistics and momenta back as they were."""
    before = []
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
            before.append((norm, buffers, norm.momentum))
    try:
        yield
    finally:
        for norm, buffers, momentum in before:
            norm.load_state_dict(buffers, strict=False)
            norm.momentum = momentum
