"""The bilevel loop, in one place, and the record it leaves after every epoch.

An iteration is one weight update on a training batch and one alpha update on a validation batch, in the order
the recipe asks for. Methods differ in what they implement; the loop asks no method what it is.
"""

import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils import relax, schedules
from nasutils.data import Data, ImageSet, augment, index_batches, normalize
from nasutils.errors import choose
from nasutils.methods import Method, Recipe
from nasutils.methods.base import ORDERS
from nasutils.relax import Mix
from nasutils.spaces.base import Active, nonzero

Record = dict[str, Any]
EVALUATION_BATCH = 250
PRECISIONS = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}
"""Type of weights and images by precision; `bf16` runs the network under autocast, alpha and mix stay float32."""


class NotFinite(FloatingPointError):
    """A loss became NaN or infinite; the message says at which epoch and step."""


@dataclass(frozen=True)
class Batch:
    """images: (batch, 3, H, W), augmented and normalised; labels: (batch,); role: "train" or "valid"."""

    role: str
    images: Tensor
    labels: Tensor


class Log:
    """Losses and hits of the batches of an epoch, read off the device once, at its end."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Tensor]] = {"train": [], "valid": []}

    def add(self, batch: Batch, loss: Tensor, logits: Tensor) -> None:
        hits = (logits.argmax(dim=1) == batch.labels).sum()
        size = len(batch.labels)
        self._rows[batch.role].append(torch.stack([loss.detach().double() * size, hits.double()]))

    def means(self, epoch: int, sizes: int) -> dict[str, float | None]:
        """train_loss (nats), train_accuracy (%) and the same of the alpha batches. Raises NotFinite."""
        means: dict[str, float | None] = {}
        for role, rows in self._rows.items():
            table = torch.stack(rows).cpu() if rows else torch.zeros(0, 2)
            bad = (~table[:, 0].isfinite()).nonzero()
            if len(bad):
                raise NotFinite(f"the {role} loss is not finite at epoch {epoch}, step {int(bad[0])}")
            loss, hits = (table.sum(dim=0) / sizes).tolist() if rows else (None, None)
            means[f"{role}_loss"] = loss
            means[f"{role}_accuracy"] = None if hits is None else 100 * hits
        return means


class Search:
    """A search in progress: network, method, optimizer, random states, and how many epochs are done.

    data: statistics for normalisation. train, valid: the images that train the weights and alpha.
    evaluation: the images on which the supernet is judged after an epoch (`valid` if None).
    recalibration: number of training batches from which batch-norm statistics are estimated anew.
    seed: of batches and augmentation (the method and the network have been seeded by whoever made them).
    """

    def __init__(
        self,
        net: nn.Module,
        method: Method,
        recipe: Recipe,
        data: Data,
        train: ImageSet,
        valid: ImageSet,
        *,
        evaluation: ImageSet | None = None,
        recalibration: int = 4,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        choose("order", recipe.order, ORDERS)
        self.net, self.method, self.recipe, self.data = net, method, recipe, data
        self.train, self.valid = train, valid
        self.evaluation = valid if evaluation is None else evaluation
        self.recalibration = recalibration
        self.dtype, self.autocast = PRECISIONS[precision], precision == "bf16"
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = list(net.parameters())
        self.optimizer = torch.optim.SGD(
            self.weights,
            recipe.weight_lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.alpha_gradients = [torch.zeros_like(a) for a in method.alphas.values()]
        self.epoch, self.log = 0, Log()

    def run(self) -> Iterator[Record]:
        """Search to the recipe's last epoch; yields a record after every one."""
        while self.epoch < self.recipe.epochs:
            yield self.one_epoch()

    def one_epoch(self) -> Record:
        """One pass over the training images, then the record of it. Raises NotFinite."""
        started = time.perf_counter()
        self.begin_epoch()
        for index in index_batches(len(self.train), self.recipe.batch, self.generator):
            chosen = torch.randint(len(self.valid), (len(index),), generator=self.generator)
            train = self.batch("train", self.train, index)
            valid = self.batch("valid", self.valid, chosen)
            self.step(train, valid)
        losses = self.log.means(self.epoch, len(self.train))
        self._check_finite()
        searched = time.perf_counter() - started
        record = {"epoch": self.epoch, **losses, **self._describe(), "supernet_accuracy": self._judge()}
        record["cost"] = self._cost(searched, time.perf_counter() - started)
        self.epoch += 1
        return record

    def begin_epoch(self) -> None:
        """Move the schedules and start a new log."""
        recipe = self.recipe
        rate = schedules.cosine(self.epoch, recipe.epochs, recipe.weight_lr, recipe.weight_lr_end)
        self.optimizer.param_groups[0]["lr"] = rate
        self.method.begin_epoch(self.epoch)
        self.log = Log()
        self.net.train()

    def batch(self, role: str, images: ImageSet, index: Tensor) -> Batch:
        chosen = images[index.to(images.labels.device)]
        augmented = augment(chosen.images, self.generator)
        return Batch(role, normalize(augmented, self.data, self.dtype), chosen.labels)

    def loss(
        self,
        batch: Batch,
        mix: Mix,
        active: Active | None = None,
        weights: Sequence[Tensor] | None = None,
        log: bool = True,
    ) -> Tensor:
        """Mean cross entropy of a batch; see `methods.base.Problem`."""
        logits = self._logits(batch.images, mix, active, weights)
        loss = F.cross_entropy(logits, batch.labels)
        if log:
            self.log.add(batch, loss, logits.detach())
        return loss

    def _logits(
        self, images: Tensor, mix: Mix, active: Active | None, weights: Sequence[Tensor] | None = None
    ) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            if weights is None:
                logits = self.net(images, mix, active)
            else:
                state = dict(zip((name for name, _ in self.net.named_parameters()), weights, strict=True))
                state |= {name: buffer.clone() for name, buffer in self.net.named_buffers()}
                logits = torch.func.functional_call(self.net, state, (images, mix, active))
        return logits.to(self.dtype)

    def unrolled_weights(self, gradients: Iterable[Tensor]) -> tuple[list[Tensor], float]:
        """The optimizer's next step, unclipped; see `methods.base.Problem`."""
        recipe, rate = self.recipe, self.optimizer.param_groups[0]["lr"]
        ahead = []
        for w, gradient in zip(self.weights, gradients, strict=True):
            decayed = gradient + recipe.weight_decay * w.detach()
            velocity = self.optimizer.state[w].get("momentum_buffer")
            step = decayed if velocity is None else decayed + recipe.momentum * velocity
            if recipe.nesterov:
                step = decayed + recipe.momentum * step
            ahead.append(w.detach() - rate * step)
        return ahead, rate * (1 + recipe.momentum) if recipe.nesterov else rate

    def step(self, train: Batch, valid: Batch) -> None:
        """One iteration: an update of the weights and one of alpha, in the recipe's order."""
        self.method.begin_step()
        updates = [self._weight_step]
        if self.epoch >= self.recipe.alpha_from:
            updates.insert(0 if self.recipe.order == "alpha-first" else 1, self._alpha_step)
        for update in updates:
            update(train, valid)

    def _check_finite(self) -> None:
        tensors = [*self.weights, *self.method.alphas.values()]
        if not torch.stack([t.detach().isfinite().all() for t in tensors]).all():
            raise NotFinite(f"a weight or alpha is not finite after the last step of epoch {self.epoch}")

    def _alpha_step(self, train: Batch, valid: Batch) -> None:
        self.alpha_gradients = self.method.alpha_gradients(self, train, valid)
        self.method.update([g.clone() for g in self.alpha_gradients])

    def _weight_step(self, train: Batch, valid: Batch) -> None:
        mix = self.method.weight_mixing()
        alphas = list(self.method.alphas.values()) if self.recipe.clip_includes_alpha else []
        active = self.method.active_in_weight_step(mix)
        if not alphas:
            mix = {name: m.detach() for name, m in mix.items()}
        loss = self.loss(train, mix, active)
        gradients = torch.autograd.grad(loss, [*self.weights, *alphas], materialize_grads=True)
        to_weights, to_alpha = gradients[: len(self.weights)], gradients[len(self.weights) :]
        clip(to_weights, self.recipe.clip, [a + b for a, b in zip(self.alpha_gradients, to_alpha, strict=False)])
        for w, gradient in zip(self.weights, to_weights, strict=True):
            w.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _describe(self) -> Record:
        """What the architecture is after the epoch: temperature, alpha, mixing weights, entropy (nats), genotype."""
        mix = self.method.inference()
        genotype = self.method.space.discretize(mix)
        return {
            "temperature": self.method.temperature,
            "weight_lr": self.optimizer.param_groups[0]["lr"],
            "alpha": {name: a.tolist() for name, a in self.method.alphas.items()},
            "mix": {name: m.tolist() for name, m in mix.items()},
            "entropy": {name: relax.entropy(m).mean().item() for name, m in mix.items()},
            "skip_count": str(genotype).count("skip_connect"),
            "genotype": str(genotype),
        }

    @torch.no_grad()
    def _judge(self) -> dict[str, float]:
        """Accuracy (%) of the supernet on the evaluation images, relaxed and with one operation per edge.

        Weights are unchanged; `recalibrated` estimates the batch-norm statistics anew under the
        one-operation-per-edge weights before judging them.
        """
        relaxed = self.method.inference()
        discretized = {name: relax.one_hot(m) for name, m in relaxed.items()}
        accuracies = {"relaxed": self._accuracy(relaxed), "discretized": self._accuracy(discretized)}
        with _batch_norms_restored(self.net):
            self._recalibrate(discretized)
            accuracies["discretized_recalibrated"] = self._accuracy(discretized)
        return accuracies

    def _accuracy(self, mix: Mix) -> float:
        self.net.eval()
        active, hits = nonzero(mix), 0
        for start in range(0, len(self.evaluation), EVALUATION_BATCH):
            part = self.evaluation[start : start + EVALUATION_BATCH]
            logits = self._logits(normalize(part.images, self.data, self.dtype), mix, active)
            hits += int((logits.argmax(dim=1) == part.labels).sum())
        return 100 * hits / len(self.evaluation)

    def _recalibrate(self, mix: Mix) -> None:
        """Average the batch-norm statistics over the first training images, unaugmented."""
        self.net.train()
        active = nonzero(mix)
        norms = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)]
        for i in range(self.recalibration):
            part = self.train.images[i * EVALUATION_BATCH : (i + 1) * EVALUATION_BATCH]
            if not len(part):
                break
            for norm in norms:
                norm.momentum = 1 / (i + 1)
            self._logits(normalize(part, self.data, self.dtype), mix, active)

    def _cost(self, searched: float, total: float) -> Record:
        """Seconds and speed of the epoch, and peak memory: of the process on a CPU, of the allocator on a GPU."""
        device = self.train.images.device
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        samples = 2 * len(self.train)
        return {"seconds": total, "samples_per_second": samples / searched, "peak_memory_bytes": peak}

    def state_dict(self) -> dict[str, Any]:
        """Everything the next epoch depends on: weights, alpha, optimizers, schedules, random states."""
        return {
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "alpha_gradients": self.alpha_gradients,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.net.load_state_dict(state["net"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.alpha_gradients = [
            g.to(a.device) for g, a in zip(state["alpha_gradients"], self.method.alphas.values(), strict=True)
        ]
        self.generator.set_state(state["generator"])


def clip(gradients: Iterable[Tensor], bound: float, others: Iterable[Tensor] = ()) -> Tensor:
    """Scale gradients in place to a norm of at most `bound`, taken together with `others`; returns that norm before."""
    gradients = list(gradients)
    norm = torch.nn.utils.get_total_norm([*gradients, *others])
    torch._foreach_mul_(gradients, (bound / (norm + 1e-6)).clamp(max=1.0))
    return norm


@contextmanager
def _batch_norms_restored(net: nn.Module) -> Iterator[None]:
    """Put the batch norms' statistics and momenta back as they were."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [({n: b.clone() for n, b in m.named_buffers()}, m.momentum) for m in norms]
    try:
        yield
    finally:
        for norm, (buffers, momentum) in zip(norms, before, strict=True):
            norm.load_state_dict(buffers, strict=False)
            norm.momentum = momentum
