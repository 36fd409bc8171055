"""3x3 pools: (batch, C, H, W) -> (batch, C, H/stride, W/stride);
pixels outside the image are not counted.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def avg_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """The average of each 3x3 window.

    PyTorch's gradient of it is wrong on a GPU for channels last and a padding (issue 188344; seen
    with 2.11). There the average is computed as a sum, of which every second number is taken if
    the stride is 2.
    """
    if not x.is_cuda:
        return F.avg_pool2d(x, 3, stride=stride, padding=1, count_include_pad=False)
    return summed_average(x, stride)


def summed_average(x: Tensor, stride: int) -> Tensor:
    """The average of each 3x3 window without PyTorch's gradient of it, see `avg_pool_3x3`."""
    height, width = x.shape[2:]
    counted = _pixels_inside(height, width, x.dtype, x.device)
    sums = _Sum3x3.apply(x)[:, :, ::stride, ::stride]
    return sums / counted[:, ::stride, ::stride]


class _Sum3x3(torch.autograd.Function):
    """The sum of each 3x3 window of stride 1:
    its own transpose, so its gradient needs no other kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, divisor_override=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return _Sum3x3.apply(g)


@cache
def _pixels_inside(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """How many pixels of the image each 3x3 window has, (1, H, W)."""
    # Cached, because a CUDA graph cannot make it while it is recorded.
    ones = torch.ones(1, height, width, dtype=dtype, device=device)
    return F.avg_pool2d(ones, 3, 1, 1, divisor_override=1)


def max_pool_3x3(x: Tensor, stride: int = 1) -> Tensor:
    """The maximum of each 3x3 window."""
    return F.max_pool2d(x, 3, stride=stride, padding=1)


POOLS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "max_pool_3x3": max_pool_3x3,
    "avg_pool_3x3": avg_pool_3x3,
}
