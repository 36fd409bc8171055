"""How large a network is: its trainable weights, and its multiply-adds for one image."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode


def count_parameters(module: nn.Module) -> int:
    """Number of trainable weights of a network (architecture parameters are never among them)."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


class _Counting(TorchFunctionMode):
    """Counts multiply-adds of convolutions and linear maps,
    whether a module or a function calls them.
    """

    total = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if function in (F.conv2d, F.linear):
            weight = args[1]
            bias = args[2] if len(args) > 2 else kwargs.get("bias")
            self.total += out.numel() * (weight[0].numel() + (bias is not None))
        return out


@torch.no_grad()
def count_multiply_adds(net: nn.Module, resolution: int) -> int:
    """Multiply-adds of `net(images)` for one image of resolution x resolution pixels,
    in evaluation mode.

    Those of convolutions and linear maps, with one add per output for a bias; batch norms, pools
    and sums count nothing. The network is left as it was.
    """
    weight, training = next(net.parameters()), net.training
    with _Counting() as counting:
        net.eval()(
            torch.zeros(1, 3, resolution, resolution, dtype=weight.dtype, device=weight.device)
        )
    net.train(training)
    return counting.total
