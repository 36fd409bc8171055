"""Pools: the average that a GPU computes in its own way is the one of PyTorch."""

import pytest
import torch

from nasutils.spaces.pools import avg_pool_3x3, summed_average


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5), (2, 2)])
def test_thesummed_average_is_the_average_with_all_its_gradients(stride, height, width):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    a, b = avg_pool_3x3(x, stride), summed_average(x, stride)
    g = torch.randn_like(a)
    assert torch.equal(a, b)
    torch.testing.assert_close(*(torch.autograd.grad(y, x, g)[0] for y in (b, a)))
    assert torch.autograd.gradgradcheck(lambda x: summed_average(x, stride) ** 3, x)
