"""The LHD supernet written the plain way: one module per operation, a weighted sum per node.

The reference for the tests of equality and for the benchmark. Parameters have the names of ours.
"""

import torch
from torch import nn

from tests.naive_darts import Pointwise, Reduction

EDGES = [(source, target) for target in range(2, 7) for source in range(target)]
OPS = [
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
]


class Depthwise(nn.Module):
    def __init__(self, c, kernel, stride, dilation):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(c, c, kernel, stride, padding, dilation, groups=c, bias=False)
        self.bn = nn.BatchNorm2d(c, affine=False)

    def forward(self, x):
        return self.bn(self.depthwise(torch.relu(x)))


def operation(name, c, stride):
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Reduction(c, c)
    if name.endswith("pool_3x3"):
        pool = (
            nn.MaxPool2d(3, stride, 1)
            if name[0] == "m"
            else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        return nn.Sequential(pool, nn.BatchNorm2d(c, affine=False))
    return Depthwise(c, int(name[-1]), stride, 2 if name.startswith("dil") else 1)


class Cell(nn.Module):
    def __init__(self, kind, inputs, c):
        super().__init__()
        self.cell_type = kind
        self.enter0 = Pointwise(inputs[0], c) if kind == "reduce" else nn.Identity()
        self.enter1 = Pointwise(inputs[1], c)
        self.ops = nn.ModuleDict()
        for e, (source, _) in enumerate(EDGES):
            stride = 2 if kind == "reduce" and source < 2 else 1
            self.ops.update({f"{e}_{name}": operation(name, c, stride) for name in OPS})

    def forward(self, first, second, weights, outputs):
        states, summed = [self.enter0(first), self.enter1(second)], 0
        for node in range(5):
            z = 0
            for e, (source, target) in enumerate(EDGES):
                if target == node + 2:
                    for k, name in enumerate(OPS):
                        z = z + weights[e, k] * self.ops[f"{e}_{name}"](states[source])
            summed = summed + outputs[0, node] * z
            states.append(outputs[1, node] * z)
        return summed, torch.cat(states[2:], 1)


class Supernet(nn.Module):
    def __init__(self, channels, cells, classes):
        super().__init__()
        self.stem0, self.stem1 = (
            nn.Sequential(nn.Conv2d(3, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
            for c in (channels, 3 * channels)
        )
        self.cells = nn.ModuleList()
        inputs = (channels, 3 * channels)
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            kind, channels = ("reduce", 2 * channels) if reduction else ("normal", channels)
            self.cells.append(Cell(kind, inputs, channels))
            inputs = (channels, 5 * channels)
        self.linear = nn.Linear(6 * channels, classes)

    def forward(self, images, mix):
        first, second = self.stem0(images), self.stem1(images)
        for cell in self.cells:
            first, second = cell(
                first, second, mix[cell.cell_type], mix[f"{cell.cell_type}_output"]
            )
        return self.linear(torch.cat([first, second], 1).mean(dim=(2, 3)))
