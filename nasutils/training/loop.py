"""What the loops of searches and of final networks share:
batches, their log, the optimizer, what an epoch costs.
"""

import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

Record = dict[str, Any]
PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}
"""Type of weights and images by precision; `bf16` runs the network under autocast,
alpha and mix stay float32.
"""


class NotFinite(FloatingPointError):
    """A loss became NaN or infinite; the message says at which epoch and step."""


@dataclass(frozen=True)
class Batch:
    """images: (batch, 3, H, W), augmented and normalised; labels: (batch,);
    role: "train", "valid" or "test".
    """

    role: str
    images: Tensor
    labels: Tensor


class Log:
    """Losses and hits of the batches of an epoch, read off the device once, at its end."""

    def __init__(self, *roles: str) -> None:
        self._rows: dict[str, list[Tensor]] = {role: [] for role in roles}

    def add(self, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        size = len(batch.labels)
        hits = (logits.argmax(dim=1) == batch.labels).sum()
        summed = torch.stack([loss.detach().double() * size, hits.double()])
        self._rows[batch.role].append(summed)

    def means(self, epoch: int, sizes: int) -> dict[str, float | None]:
        """Of every role `<role>_loss` (nats) and `<role>_accuracy` (%), None without batches.
        Raises NotFinite.
        """
        means: dict[str, float | None] = {}
        for role, rows in self._rows.items():
            table = torch.stack(rows).cpu() if rows else torch.zeros(0, 2)
            bad = (~table[:, 0].isfinite()).nonzero()
            if len(bad):
                raise NotFinite(
                    f"the {role} loss is not finite at epoch {epoch}, step {int(bad[0])}"
                )
            loss, hits = (table.sum(dim=0) / sizes).tolist() if rows else (None, None)
            means[f"{role}_loss"] = loss
            means[f"{role}_accuracy"] = None if hits is None else 100 * hits
        return means


class Moment(NamedTuple):
    """Seconds on the wall's clock and of the process's CPU time, all threads together."""

    wall: float
    cpu: float


def clock() -> Moment:
    """Now."""
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
