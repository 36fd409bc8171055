"""The networks of the truth file of LHD: weights,
data and alpha by one rule (`lhd_supernet.json`).
"""

import json
import math
import os
from pathlib import Path

import torch
from torch import nn

from nasutils import spaces

COPIES, FULL = Path(__file__).parent / "truth", os.environ.get("NASUTILS_TRUTH")
LHD = spaces.get("lhd")
NETWORKS = json.loads((Path(FULL or COPIES) / "lhd_supernet.json").read_text())


def wave(count, offset=0):
    i = torch.arange(count, dtype=torch.int64) + offset
    return ((7919 * i + 12345) % 10007).double() / 10007


def filled(net):
    net = net.double()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                fan_in = module.weight[0].numel()
                values = (2 * wave(module.weight.numel()) - 1) * math.sqrt(3 / fan_in)
                module.weight.copy_(values.float().reshape(module.weight.shape))
                if module.bias is not None:
                    module.bias.zero_()
    return net


def batch(offset, labels):
    return 4 * wave(len(labels) * 3072, offset).reshape(-1, 3, 32, 32) - 2, torch.tensor(labels)


def alphas(uniform=False):
    found = {}
    for t, (name, shape) in enumerate(LHD.alpha_shapes.items(), start=1):
        values = 0.5 * (2 * wave(math.prod(shape), 1000 * t) - 1).reshape(shape)
        found[name] = (
            torch.full_like(values, 1 / shape[1]) if uniform else values
        ).requires_grad_()
    return found


def close(found, expected, rtol=1e-9, atol=1e-12):
    torch.testing.assert_close(
        torch.as_tensor(found, dtype=torch.float64),
        torch.tensor(expected, dtype=torch.float64),
        rtol=rtol,
        atol=atol,
    )
