"""The NAS-Bench-201 supernet written the plain way:
one module per operation, a weighted sum per edge.

The reference for the tests of equality and for the benchmark. `unstack` and `stack` translate what
is named after our supernet's parameters and buffers (a state dict, gradients) into this one's
names, and back.
"""

import re

import torch
from torch import nn

EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]


class Zero(nn.Module):
    def forward(self, x):
        return x * 0


class ReLUConvBN(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride=1, affine=False):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=not affine)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x):
        return self.bn(self.conv(torch.relu(x)))


class Residual(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.first = ReLUConvBN(c_in, c_out, 3, 2, affine=True)
        self.second = ReLUConvBN(c_out, c_out, 3, affine=True)
        self.shortcut = nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x):
        return self.second(self.first(x)) + self.shortcut(nn.functional.avg_pool2d(x, 2))


class Cell(nn.Module):
    def __init__(self, channels):
        super().__init__()
        pool = {"stride": 1, "padding": 1, "count_include_pad": False}
        self.edges = nn.ModuleList(
            nn.ModuleDict(
                {
                    "none": Zero(),
                    "skip_connect": nn.Identity(),
                    "nor_conv_1x1": ReLUConvBN(channels, channels, 1),
                    "nor_conv_3x3": ReLUConvBN(channels, channels, 3),
                    "avg_pool_3x3": nn.AvgPool2d(3, **pool),
                }
            )
            for _ in EDGES
        )

    def forward(self, x, weights):
        nodes = [x]
        for target in (1, 2, 3):
            nodes.append(
                sum(
                    sum(
                        w * op(nodes[s])
                        for w, op in zip(weights[e], self.edges[e].values(), strict=True)
                    )
                    for e, (s, t) in enumerate(EDGES)
                    if t == target
                )
            )
        return nodes[-1]


class NaiveSupernet(nn.Module):
    def __init__(self, channels=16, cells=5, num_classes=10):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        layers = []
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                layers.append(Residual(width // 2, width))
            layers += [Cell(width) for _ in range(cells)]
        self.layers = nn.ModuleList(layers)
        self.bn = nn.BatchNorm2d(4 * channels)
        self.linear = nn.Linear(4 * channels, num_classes)

    def forward(self, images, mix):
        x = self.stem(images)
        for layer in self.layers:
            x = layer(x, mix["cell"]) if isinstance(layer, Cell) else layer(x)
        return self.linear(torch.relu(self.bn(x)).mean(dim=(2, 3)))


STACKED = re.compile(r"(layers\.\d+)\.fans\.(\d)\.(\d)\.(.+)")
LEAVING = [[e for e, (source, _) in enumerate(EDGES) if source == node] for node in range(3)]
CONVOLUTIONS = {"2": "nor_conv_1x1", "3": "nor_conv_3x3"}


def unstack(tensors):
    """Our names -> the naive ones: edge i of a fan owns the i-th part of its channels."""
    parts = {}
    for name, value in tensors.items():
        for i, (plain, count) in enumerate(_plain_names(name)):
            parts[plain] = value.chunk(count)[i] if value.ndim else value
    return parts


def stack(parts, names):
    """The naive names -> ours, for the given names of ours."""
    tensors = {}
    for name in names:
        values = [parts[plain] for plain, _ in _plain_names(name)]
        tensors[name] = torch.cat(values) if values[0].ndim else values[0]
    return tensors


def _plain_names(name):
    """The naive names that make up one of ours, each with their number."""
    match = STACKED.fullmatch(name)
    if match is None:
        return [(name, 1)]
    layer, source, op, rest = match.groups()
    edges = LEAVING[int(source)]
    return [(f"{layer}.edges.{e}.{CONVOLUTIONS[op]}.{rest}", len(edges)) for e in edges]
