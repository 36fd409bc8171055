"""What the loops of searches and of final networks share:
batches, their log, the optimizer, what an epoch costs.
"""

import resource
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

Record = dict[str, Any]
PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}
"""Type of weights and images by precision; `bf16` runs the network under autocast,
alpha and mix stay float32.
"""


GRADIENT = "alpha's gradient"
"""How `NotFinite` calls a gradient of alpha that is not finite."""


class NotFinite(FloatingPointError):
    """Something became NaN or infinite; the message says what, at which epoch and step."""


@dataclass(frozen=True)
class Batch:
    """Images with their labels. images: (batch, 3, H, W), augmented and normalised;
    labels: (batch,); role: "train", "valid" or "test".
    """

    role: str
    images: Tensor
    labels: Tensor


class Log:
    """Losses and hits of the batches of an epoch, read off the device once, at its end."""

    def __init__(self, *roles: str) -> None:
        self._rows: dict[str, list[Tensor]] = {role: [] for role in roles}
        self._norms: list[Tensor] = []
        self._came: list[str] = []
        """What each loss and norm is called in a message, in the order in which they came."""

    def add(self, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        """Keep the mean loss and the hits of a batch."""
        size = len(batch.labels)
        hits = (logits.argmax(dim=1) == batch.labels).sum()
        summed = torch.stack([loss.detach().double() * size, hits.double()])
        self._rows[batch.role].append(summed)
        self._came.append(f"the {batch.role} loss")

    def add_norm(self, norm: Tensor) -> None:
        """Keep the norm of alpha's gradient at this step."""
        self._norms.append(norm)
        self._came.append(GRADIENT)

    @property
    def mean_norm(self) -> float | None:
        """Mean norm of alpha's gradient, None without one."""
        return torch.stack(self._norms).mean().item() if self._norms else None

    def means(self, epoch: int, images: int) -> dict[str, float | None]:
        """Means of every role over the images of an epoch: `<role>_loss` (nats) and
        `<role>_accuracy` (%), None without batches. Raises NotFinite if a loss is not finite,
        naming what was the first.
        """
        means: dict[str, float | None] = {}
        finite: dict[str, list[bool]] = {}
        for role, rows in self._rows.items():
            table = torch.stack(rows).cpu() if rows else torch.zeros(0, 2)
            finite[f"the {role} loss"] = table[:, 0].isfinite().tolist()
            loss, hits = (table.sum(dim=0) / images).tolist() if rows else (None, None)
            means[f"{role}_loss"] = loss
            means[f"{role}_accuracy"] = None if hits is None else 100 * hits
        if not all(chain(*finite.values())):
            what, step = self._first_bad(finite)
            raise NotFinite(f"{what} is not finite at epoch {epoch}, step {step}")
        return means

    def _first_bad(self, finite: dict[str, list[bool]]) -> tuple[str, int]:
        """What was not finite first, and at which step: a loss or alpha's gradient.
        finite: by what it is called, whether a loss was at each step.
        """
        if self._norms:
            finite = {**finite, GRADIENT: torch.stack(self._norms).isfinite().tolist()}
        steps = Counter[str]()
        for name in self._came:
            step = steps[name]
            if not finite[name][step]:
                return name, step
            steps[name] += 1
        raise AssertionError("all are finite")


class Moment(NamedTuple):
    """Seconds on the wall's clock and of the process's CPU time, all threads together."""

    wall: float
    cpu: float


def clock() -> Moment:
    """The time now."""
    return Moment(time.perf_counter(), time.process_time())


def cost(
    device: torch.device, samples: int, started: Moment, trained: Moment, ended: Moment
) -> Record:
    """What an epoch cost: all of it, with judging and probes, and its training alone.

    samples: images trained on between `started` and `trained`. Peak memory: of the process on a
    CPU, of the allocator on a GPU.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": ended.wall - started.wall,
        "cpu_seconds": ended.cpu - started.cpu,
        "training_cpu_seconds": trained.cpu - started.cpu,
        "samples_per_second": samples / (trained.wall - started.wall),
        "peak_memory_bytes": peak,
    }


def clip(gradients: Iterable[Tensor], bound: float, others: Iterable[Tensor] = ()) -> Tensor:
    """Scale gradients in place to a norm of at most `bound`, taken together with `others`;
    returns that norm before.
    """
    gradients = list(gradients)
    norm = torch.nn.utils.get_total_norm([*gradients, *others])
    torch._foreach_mul_(gradients, (bound / (norm + 1e-6)).clamp(max=1.0))
    return norm
