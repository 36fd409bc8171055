"""The supernets of the DARTS family written the plain way:
one module per operation, a weighted sum per edge.

With partial channels an edge is the mixed operation of PC-DARTS. The reference for the tests of
equality and for the benchmark. Parameters have the names of ours.
"""

import torch
import torch.nn.functional as F
from torch import nn

EDGES = [(source, target) for target in range(2, 6) for source in range(target)]


class Separable(nn.Module):
    def __init__(self, c, kernel, stride):
        super().__init__()
        self.depthwise1 = nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c, bias=False)
        self.pointwise1 = nn.Conv2d(c, c, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c, affine=False)
        self.depthwise2 = nn.Conv2d(c, c, kernel, 1, kernel // 2, groups=c, bias=False)
        self.pointwise2 = nn.Conv2d(c, c, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c, affine=False)

    def forward(self, x):
        x = self.bn1(self.pointwise1(self.depthwise1(torch.relu(x))))
        return self.bn2(self.pointwise2(self.depthwise2(torch.relu(x))))


class Dilated(nn.Module):
    def __init__(self, c, kernel, stride):
        super().__init__()
        self.depthwise = nn.Conv2d(
            c, c, kernel, stride, kernel - 1, dilation=2, groups=c, bias=False
        )
        self.pointwise = nn.Conv2d(c, c, 1, bias=False)
        self.bn = nn.BatchNorm2d(c, affine=False)

    def forward(self, x):
        return self.bn(self.pointwise(self.depthwise(torch.relu(x))))


class Reduction(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.even = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(c_in, c_out - c_out // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x):
        x = torch.relu(x)
        return self.bn(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


class Pointwise(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv, self.bn = (
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=False),
        )

    def forward(self, x):
        return self.bn(self.conv(torch.relu(x)))


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return x[:, :, :: self.stride, :: self.stride] * 0


def operation(name, c, stride):
    pools = {
        "max_pool_3x3": lambda: nn.MaxPool2d(3, stride, 1),
        "avg_pool_3x3": lambda: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    }
    if name in pools:
        return nn.Sequential(pools[name](), nn.BatchNorm2d(c, affine=False))
    if name in ("skip_connect", "auxiliary_skip"):
        return nn.Identity() if stride == 1 else Reduction(c, c)
    if name == "none":
        return Zero(stride)
    return (Separable if name.startswith("sep") else Dilated)(c, int(name[-1]), stride)


class Cell(nn.Module):
    def __init__(self, kind, edge_ops, inputs, c, halved, partial=1):
        super().__init__()
        self.cell_type, self.partial = kind, partial
        self.enter0 = (Reduction if halved else Pointwise)(inputs[0], c)
        self.enter1 = Pointwise(inputs[1], c)
        self.names = [[f"{e}_{name}" for name in names] for e, names in enumerate(edge_ops)]
        self.ops = nn.ModuleDict()
        for e, names in enumerate(edge_ops):
            stride = 2 if kind == "reduce" and EDGES[e][0] < 2 else 1
            self.ops.update(
                {f"{e}_{name}": operation(name, c // partial, stride) for name in names}
            )

    def forward(self, first, second, weights):
        states = [self.enter0(first), self.enter1(second)]
        for target in range(2, 6):
            states.append(
                sum(
                    w * self.ops[name](states[EDGES[e][0]])
                    for e in range(14)
                    if EDGES[e][1] == target
                    for w, name in zip(weights[e], self.names[e], strict=True)
                )
            )
        return torch.cat(states[2:], 1)


class PartialCell(Cell):
    def forward(self, first, second, weights):
        states = [self.enter0(first), self.enter1(second)]
        for target in range(2, 6):
            edges = [e for e in range(14) if EDGES[e][1] == target]
            states.append(sum(self.mixed_op(e, states[EDGES[e][0]], weights[e]) for e in edges))
        return torch.cat(states[2:], 1)

    def mixed_op(self, e, x, weights):
        through, around = x[:, : x.shape[1] // self.partial], x[:, x.shape[1] // self.partial :]
        mixed = sum(
            w * self.ops[name](through) for w, name in zip(weights, self.names[e], strict=True)
        )
        if mixed.shape[2] < x.shape[2]:
            around = F.max_pool2d(around, 2, 2)
        joined = torch.cat([mixed, weights.sum() * around], 1)
        n, c, h, w = joined.shape
        return (
            joined.view(n, self.partial, c // self.partial, h, w)
            .transpose(1, 2)
            .reshape(n, c, h, w)
        )


class Supernet(nn.Module):
    def __init__(self, edge_ops, channels, cells, classes, partial=1):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        self.cells = nn.ModuleList()
        inputs, halved, cell = (
            (3 * channels, 3 * channels),
            False,
            Cell if partial == 1 else PartialCell,
        )
        for i in range(cells):
            reduction = i in (cells // 3, 2 * cells // 3)
            kind, channels = ("reduce", 2 * channels) if reduction else ("normal", channels)
            self.cells.append(cell(kind, edge_ops[kind], inputs, channels, halved, partial))
            inputs, halved = (inputs[1], 4 * channels), reduction
        self.linear = nn.Linear(inputs[1], classes)

    def forward(self, images, mix):
        before = last = self.stem(images)
        for cell in self.cells:
            before, last = last, cell(before, last, mix[cell.cell_type])
        return self.linear(last.mean(dim=(2, 3)))
