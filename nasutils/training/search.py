"""The bilevel loop, in one place, and the record it leaves after every epoch.

An iteration is one weight update on a training batch and one alpha update on a validation batch,
in the order the recipe asks for, or both from gradients at the same point (single-level and
mixed-level search). Methods differ in what they implement; the loop asks no method what it is.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils.data import Data, ImageSet, augment, index_batches, normalize
from nasutils.errors import choose, up_to, whole
from nasutils.measures import leakage
from nasutils.methods import Method, Recipe, relax
from nasutils.spaces.base import SKIP, Active, Mix, nonzero
from nasutils.training.batchnorm import EVALUATION_BATCH, batch_norms_restored, recalibrate
from nasutils.training.cuda_graphs import Graphs
from nasutils.training.loop import PRECISIONS, Batch, Log, NotFinite, Record, clip, clock, cost


class Search:
    """A search in progress: network, method, optimizer, random states,
    and how many epochs are done.

    data: statistics for normalisation. train, valid: the images that train the weights and alpha.
    evaluation: the images on which the supernet is judged (`valid` if None): after every
    `judge_every` epochs, after the last one, and wherever leakage is measured. held_out: images
    that neither the weights nor alpha are trained on; the loss and accuracy of the relaxed
    supernet on them are recorded after every epoch (None: not). recalibration: number of training
    batches from which batch-norm statistics are estimated anew.
    seed: of batches and augmentation (the method and the network have been seeded by whoever made
    them). probe_every: leakage is measured after every so many epochs and after the last one (0:
    never). eigenvalue_every: the same for the dominant Hessian eigenvalue alone, which a probe
    measures, too.
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
        held_out: ImageSet | None = None,
        recalibration: int = 4,
        seed: int = 0,
        precision: str = "float32",
        judge_every: int = 1,
        probe_every: int = 0,
        eigenvalue_every: int = 0,
    ) -> None:
        _check_recipe(recipe, method, len(valid))
        _check_supernet(net, method)
        if whole("probe_every", probe_every, 0) or whole("eigenvalue_every", eigenvalue_every, 0):
            _check_measurable(method)
        if probe_every:
            leakage.operations_of(net, method.alphas)
        self.net = net
        self.method = method
        self.recipe = recipe
        self.data = data
        self.train = train
        self.valid = valid
        self.evaluation = valid if evaluation is None else evaluation
        self.held_out = held_out
        self.recalibration = recalibration
        self.judge_every = whole("judge_every", judge_every)
        self.probe_every = probe_every
        self.eigenvalue_every = eigenvalue_every
        self.dtype = PRECISIONS[precision]
        self.autocast = precision == "bf16"
        self.generator = torch.Generator().manual_seed(seed)
        self.weights = list(net.parameters())
        self.optimizer = torch.optim.SGD(
            self.weights,
            recipe.weight_lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            foreach=True,  # the default on a GPU; on a CPU the same bits, without a loop in Python
        )
        self.alpha_gradients = [torch.zeros_like(a) for a in method.alphas.values()]
        self.graphs = Graphs(self._loss, net) if self.weights[0].is_cuda else None
        self.epoch = 0
        self.log = Log("train", "valid")

    def run(self) -> Iterator[Record]:
        """Search to the recipe's last epoch; yields a record after every one."""
        while self.epoch < self.recipe.epochs:
            yield self.one_epoch()

    def one_epoch(self) -> Record:
        """One pass over the training images, then the record of it. Raises NotFinite."""
        started = clock()
        self.begin_epoch()
        steps = -(-len(self.train) // self.recipe.batch)
        for i, index in enumerate(
            index_batches(len(self.train), self.recipe.batch, self.generator)
        ):
            self._set_rate(self.epoch + i / steps)
            valid_index = self._valid_index(len(index))
            train = self.batch("train", self.train, index)
            valid = self.batch("valid", self.valid, valid_index)
            self.step(train, valid)
        losses = self.log.means(self.epoch, len(self.train))
        self.check_finite()
        trained = clock()
        record = {
            "epoch": self.epoch,
            **losses,
            # Euclidean, all cell types together, mean over the steps
            "alpha_gradient_norm": self.log.mean_norm,
            **self._describe(),
        }
        if observed := self.method.observed():
            record["observed"] = _numbers(observed, self.method)
        self.epoch += 1
        record |= self._observed()
        # over as many images as the training images
        passes = 1 if losses["valid_loss"] is None else 2
        samples = passes * len(self.train)
        record["cost"] = cost(self.train.images.device, samples, started, trained, clock())
        return record

    def _valid_index(self, count: int) -> Tensor:
        """Alpha's images of a step, drawn as the recipe says."""
        if self.recipe.valid_batch == "distinct":
            return torch.randperm(len(self.valid), generator=self.generator)[:count]
        return torch.randint(len(self.valid), (count,), generator=self.generator)

    def _observed(self) -> Record:
        """What is measured after this epoch beside the losses.

        None of it changes the search, but where operations draw noise (S4): the evaluation takes
        its draws from those of the training, so another `judge_every` is another search there.
        """
        record: Record = {}
        if self._due(self.judge_every) or self._due(self.probe_every):
            record["supernet_accuracy"] = self._evaluate()
            record["judged_on"] = "train" if self.recipe.split == "all" else "valid"
        if self.held_out is not None:
            record["held_out"] = self._evaluate_held_out(self.held_out)
        if self._due(self.probe_every):
            record["leakage"] = self._probe()
        if self._due(self.eigenvalue_every):
            probed = record.get("leakage")
            record["eigenvalue"] = probed["eigenvalue"] if probed else self._eigenvalue()
        return record

    def _due(self, every: int) -> bool:
        return every > 0 and (self.epoch % every == 0 or self.epoch == self.recipe.epochs)

    def begin_epoch(self) -> None:
        """Move the schedules and start a new log."""
        self._set_rate(self.epoch)
        self.method.begin_epoch(self.epoch)
        self.log = Log("train", "valid")
        self.net.train()

    def _set_rate(self, epoch: float) -> None:
        self.optimizer.param_groups[0]["lr"] = self.recipe.rate(epoch)

    def batch(self, role: str, images: ImageSet, index: Tensor) -> Batch:
        """Images at these places, augmented as the recipe says, and normalised."""
        chosen = images[index.to(images.labels.device)]
        shown = chosen.images
        if self.recipe.augment:
            shown = augment(shown, self.generator)
        return Batch(role, normalize(shown, self.data, self.dtype), chosen.labels)

    def loss(
        self,
        batch: Batch,
        mix: Mix,
        active: Active | None = None,
        weights: Sequence[Tensor] | None = None,
        log: bool = True,
        fixed: bool = False,
    ) -> Tensor:
        """Mean cross entropy of a batch; see `methods.base.Problem`."""
        if fixed:
            with evaluation_mode(self.net), frozen(self.weights):
                return self.loss(batch, mix, active, weights, log)
        if self.graphs is None or active is None or weights is not None:
            loss, logits = self._loss(batch.images, batch.labels, mix, active, weights)
        else:
            loss, logits = self.graphs(batch.images, batch.labels, mix, active)
        if log:
            self.log.add(batch, loss, logits.detach())
        return loss

    def _loss(
        self,
        images: Tensor,
        labels: Tensor,
        mix: Mix,
        active: Active | None,
        weights: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        logits = self.logits(images, mix, active, weights)
        return F.cross_entropy(logits, labels), logits

    def logits(
        self,
        images: Tensor,
        mix: Mix,
        active: Active | None,
        weights: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Logits of normalised images: computed in the precision of the search,
        returned in the type of its weights.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            if weights is None:
                logits = self.net(images, mix, active)
            else:
                names = [name for name, _ in self.net.named_parameters()]
                state = dict(zip(names, weights, strict=True))
                # Batch norms move copies of their statistics, not the network's own.
                state |= {name: buffer.clone() for name, buffer in self.net.named_buffers()}
                logits = torch.func.functional_call(self.net, state, (images, mix, active))
        return logits.to(self.dtype)

    def unrolled_weights(self, gradients: Iterable[Tensor]) -> tuple[list[Tensor], float]:
        """The optimizer's next step, unclipped; see `methods.base.Problem`."""
        recipe = self.recipe
        rate = self.optimizer.param_groups[0]["lr"]
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
        if self.epoch < self.recipe.alpha_from:
            self._weight_step(train)
        elif self.recipe.order == "together":
            self._joint_step(train, valid)
        elif self.recipe.order == "weights-first":
            self._weight_step(train)
            self._alpha_step(train, valid)
        else:
            self._alpha_step(train, valid)
            self._weight_step(train)

    def check_finite(self) -> None:
        """Raise NotFinite unless all weights and alphas are numbers."""
        tensors = [*self.weights, *self.method.alphas.values()]
        if not torch.stack([t.detach().isfinite().all() for t in tensors]).all():
            raise NotFinite(
                f"a weight or alpha is not finite after the last step of epoch {self.epoch}"
            )

    def _joint_step(self, train: Batch, valid: Batch) -> None:
        to_weights, to_alpha = self.method.joint_gradients(self, train, valid)
        self.alpha_gradients = _of_each_alpha(to_alpha, self.method)
        self.descend(to_weights, self.alpha_gradients if self.recipe.clip_includes_alpha else ())
        self._move_alpha()

    def _alpha_step(self, train: Batch, valid: Batch) -> None:
        with frozen(self.weights):
            gradients = self.method.alpha_gradients(self, train, valid)
        self.alpha_gradients = _of_each_alpha(gradients, self.method)
        self._move_alpha()

    def _move_alpha(self) -> None:
        self.log.add_norm(torch.nn.utils.get_total_norm(self.alpha_gradients))
        self.method.update([g.clone() for g in self.alpha_gradients])

    def _weight_step(self, train: Batch) -> None:
        mix = self.method.perturbed(self.method.weight_mixing(), self, train)
        mix = relax.without(mix, self.recipe.negligible)
        active = self.method.active_in_weight_step(mix)
        if not self.recipe.clip_includes_alpha:
            loss = self.loss(train, {name: m.detach() for name, m in mix.items()}, active)
            self.descend(torch.autograd.grad(loss, self.weights, materialize_grads=True))
            return
        # As in the released NAS-Bench-201 code: the gradient of this loss in alpha is added to
        # what the alpha step has left there, and the norm that is clipped is that of weights and
        # alpha together.
        loss = self.loss(train, mix, active)
        wanted = [*self.weights, *self.method.alphas.values()]
        gradients = torch.autograd.grad(loss, wanted, materialize_grads=True)
        to_weights = gradients[: len(self.weights)]
        to_alpha = gradients[len(self.weights) :]
        added = [a + b for a, b in zip(self.alpha_gradients, to_alpha, strict=True)]
        self.descend(to_weights, added)

    def descend(self, gradients: Sequence[Tensor], others: Iterable[Tensor] = ()) -> None:
        """One optimizer step on the weights, the gradients clipped together with `others`."""
        if self.recipe.clip:
            clip(gradients, self.recipe.clip, others)
        for w, gradient in zip(self.weights, gradients, strict=True):
            w.grad = gradient
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _describe(self) -> Record:
        """What the architecture is after the epoch:
        temperature, alpha, mixing weights, entropy (nats), genotype.

        entropy: mean over edges, or over whatever else operations compete on in the space.
        """
        mix = self.method.inference()
        genotype = self.method.genotype()
        return {
            "temperature": self.method.temperature,
            "softmax_temperature": self.method.softmax_temperature,
            "weight_lr": self.optimizer.param_groups[0]["lr"],
            "alpha": {name: a.tolist() for name, a in self.method.alphas.items()},
            "mix": {name: m.tolist() for name, m in mix.items()},
            "entropy": {
                name: _mean_entropy(rows)
                for name, rows in self.method.space.competing(mix).items()
            },
            "skip_count": str(genotype).count(SKIP),
            "genotype": str(genotype),
        }

    def _evaluate(self) -> dict[str, float]:
        """Accuracy (%) of the supernet on the evaluation images,
        relaxed and with one operation per edge.

        Where other things compete in the space than operations of an edge, one of those is left
        (LHD: of all into a node; gates stay as they are). In PC-DARTS the weights of edges are
        then one, too.
        """
        mix = self.method.inference()
        strongest = self.method.space.relax(mix, relax.one_hot, gates=lambda g: g)
        relaxed, discretized = self.method.evaluated(mix), self.method.evaluated(strongest)
        return {
            "relaxed": self.accuracy(relaxed),
            "discretized": self.accuracy(discretized),
            "discretized_recalibrated": self.recalibrated_accuracy(discretized),
        }

    def _evaluate_held_out(self, images: ImageSet) -> dict[str, float]:
        """Loss (nats) and accuracy (%) of the relaxed supernet on images that nothing is trained
        on.
        """
        with leakage.undisturbed(self.net):
            self.net.eval()
            mix = self.method.evaluated(self.method.inference())
            loss, accuracy = self.tested(images, mix)
        return {"loss": loss, "accuracy": accuracy}

    def accuracy(self, mix: Mix) -> float:
        """Accuracy (%) of the supernet on the evaluation images under mixing weights,
        by the batch-norm statistics of its training.
        """
        self.net.eval()
        _, accuracy = self.tested(self.evaluation, mix)
        return accuracy

    @torch.no_grad()
    def tested(self, images: ImageSet, mix: Mix) -> tuple[float, float]:
        """Mean cross entropy (nats) and accuracy (%) of the supernet in the mode it is in."""
        active = nonzero(mix)
        loss = 0.0
        hits = 0
        for start in range(0, len(images), EVALUATION_BATCH):
            part = images[start : start + EVALUATION_BATCH]
            shown = normalize(part.images, self.data, self.dtype)
            logits = self.logits(shown, mix, active)
            loss += F.cross_entropy(logits.double(), part.labels, reduction="sum").item()
            hits += int((logits.argmax(dim=1) == part.labels).sum())
        return loss / len(images), 100 * hits / len(images)

    @torch.no_grad()
    def recalibrated_accuracy(self, mix: Mix) -> float:
        """Accuracy (%) of the supernet on the evaluation images under mixing weights, with
        batch-norm statistics estimated under these, on the first training images, unaugmented.
        """
        active = nonzero(mix)

        def forward(images: Tensor) -> None:
            self.logits(normalize(images, self.data, self.dtype), mix, active)

        with batch_norms_restored(self.net):
            self.net.train()
            recalibrate(self.net, self.train.images, self.recalibration, forward)
            return self.accuracy(mix)

    def _eigenvalue(self) -> float | None:
        """The dominant Hessian eigenvalue on the first evaluation images;
        None where mix is no softmax of alpha.
        """
        temperature = self.method.softmax_temperature
        if temperature is None:
            return None
        part = self.evaluation[: leakage.CURVATURE_IMAGES]
        images = normalize(part.images, self.data, self.dtype)
        return leakage.dominant_eigenvalue(
            self.net, self.method.inference(), images, part.labels, temperature
        )

    def _probe(self) -> Record:
        """Leakage on the first evaluation images, unaugmented, in the precision of the weights.

        accuracy: of the supernet (%, all evaluation images) without some operations, see
        `leakage.ablated`, with batch-norm statistics estimated anew.
        """
        mix = self.method.inference()
        part = self.evaluation[: leakage.IMAGES]
        images = normalize(part.images, self.data, self.dtype)
        with leakage.undisturbed(self.net):
            ablations = leakage.ablated(self.net, mix)
            accuracy = {name: self.recalibrated_accuracy(left) for name, left in ablations.items()}
        temperature = self.method.softmax_temperature
        measured = leakage.measure(self.net, mix, images, part.labels, temperature=temperature)
        return {**measured, "accuracy": accuracy}

    def state_dict(self) -> dict[str, Any]:
        """Everything the next epoch depends on:
        weights, alpha, optimizers, schedules, random states.
        """
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
        alphas = self.method.alphas.values()
        self.alpha_gradients = [
            g.to(a.device) for g, a in zip(state["alpha_gradients"], alphas, strict=True)
        ]
        self.generator.set_state(state["generator"])


def _check_recipe(recipe: Recipe, method: Method, images: int) -> None:
    """Raise ValueError for a recipe that the method cannot follow;
    images: those that train alpha.
    """
    choose(f"order of {method.name}", recipe.order, method.orders)
    if recipe.epochs not in (method.epochs, 0):
        raise ValueError(
            f"recipe of {method.name} must leave epochs at {method.epochs}, as asked for, not"
            f" {recipe.epochs}: how long a search is, Experiment(epochs=...) says"
        )
    if not 0 <= recipe.warmup < max(recipe.epochs, 1):
        raise ValueError(
            f"warmup must be 0 to {recipe.epochs - 1}, below the epochs, not {recipe.warmup}"
        )
    if 0 < recipe.epochs <= recipe.alpha_from:
        rule = (
            f"alpha_from must be 0 to {recipe.epochs - 1} (recipe={{'alpha_from': ...}}), below"
            " the epochs"
        )
        raise ValueError(f"{rule}, or alpha never moves, not {recipe.alpha_from}")
    if recipe.valid_batch == "distinct":
        up_to("batch", recipe.batch, images, "the images for alpha")


def _check_supernet(net: nn.Module, method: Method) -> None:
    """Raise ValueError if the supernet was not built as the method needs it."""
    if getattr(net, "partial", 1) != method.partial:
        raise ValueError(f"{method.name} needs a supernet(..., partial={method.partial})")
    if getattr(net, "extra", ()) != method.extra:
        raise ValueError(f"{method.name} needs a supernet(..., extra={method.extra})")


def _check_measurable(method: Method) -> None:
    """Raise ValueError where leakage and the Hessian's eigenvalue are not defined."""
    space, none = method.space, "probe_every and eigenvalue_every must be 0"
    if beside := [name for name in space.alpha_shapes if name not in space.cell_types]:
        raise ValueError(
            f"{none} on {space.name}, where not all weights are those of edges:"
            f" {', '.join(beside)}"
        )
    if method.partial > 1:
        raise ValueError(f"{none} on partial channels ({method.name})")


def _of_each_alpha(gradients: Any, method: Method) -> list[Tensor]:
    """Return the gradients if there is one of each alpha, of its shape. Raises ValueError."""
    shapes = [alpha.shape for alpha in method.alphas.values()]
    if isinstance(gradients, (list, tuple)):
        if [getattr(gradient, "shape", None) for gradient in gradients] == shapes:
            return list(gradients)
        found = str([tuple(g.shape) if isinstance(g, Tensor) else g for g in gradients])
    else:
        found = repr(gradients)
    wanted = ", ".join(f"{name} {tuple(alpha.shape)}" for name, alpha in method.alphas.items())
    raise ValueError(
        f"{method.name} must return a gradient of each alpha, a list of tensors ({wanted}), not"
        f" {found}"
    )


def _numbers(observed: Any, method: Method) -> dict[str, float]:
    """What a method observed, if it is plain finite numbers by name. Raises ValueError."""
    rule = f"{method.name}.observed() must be a dict of finite numbers by name"
    if not isinstance(observed, dict):
        raise ValueError(f"{rule}, not {observed!r}")
    for name, value in observed.items():
        number = isinstance(value, int | float) and math.isfinite(value)
        if not number or not isinstance(name, str):
            raise ValueError(f"{rule}, not {value!r} as {name!r}")
    return observed


def _mean_entropy(rows: Sequence[Tensor]) -> float:
    """Mean entropy (nats) of distributions (rows, K); weights whose sum is that of an edge
    (PC-DARTS) are taken relatively.
    """
    entropies = [relax.entropy(p / p.sum(dim=1, keepdim=True)) for p in rows]
    return torch.cat(entropies).mean().item()


@contextmanager
def evaluation_mode(net: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode, and afterwards back in the one it was in."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)


@contextmanager
def frozen(weights: Sequence[Tensor]) -> Iterator[None]:
    """Take no gradients of these weights of a network; afterwards as before.

    They are given as a list: to look for them in the modules of a supernet, at every step, took a
    twentieth of a step in which few operations run (GDAS).
    """
    trained = [weight for weight in weights if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trained:
            weight.requires_grad_()
