"""Training and testing of a derived network:
the protocol, one run of it as a value, a record after every epoch.

The test images are judged after every epoch, as in the field's code, unless the protocol says
otherwise. What is reported is the last epoch; the best one is selected on the test set itself,
hence optimistic, and recorded beside it as `best_...`.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils import data, runs, spaces
from nasutils.data import Data, ImageSet, augment, cutout, index_batches, normalize
from nasutils.errors import as_declared, choose, plain, up_to
from nasutils.runs import Run
from nasutils.spaces.genotype import Genotype, is_namedtuple
from nasutils.spaces.size import count_multiply_adds, count_parameters
from nasutils.training.batchnorm import EVALUATION_BATCH, batch_norms_restored, recalibrate
from nasutils.training.classifier import keep, restore, tensors
from nasutils.training.computation import (
    Machine,
    OfImages,
    asked_again,
    check_setting,
    images_of,
    own_sources,
)
from nasutils.training.loop import PRECISIONS, Batch, Log, Record, clip, clock, cost
from nasutils.training.protocols import PROTOCOLS, Protocol

VERSION = 1
"""Raise by hand when the meaning of an evaluation or of a named protocol changes,
see `experiment.VERSION`.
"""


@dataclass(frozen=True)
class Evaluation(OfImages):
    """The training and testing of a derived network.

    genotype: its text (a `Genotype` or DARTS's namedtuple becomes it). dataset: see `Experiment`;
    own images need a test part. images, test_images: train and test on that many, the first of the
    data set (None: all). preset: a name in PROTOCOLS. protocol: fields of `Protocol` that depart
    from it. resolution: side in pixels (None: the data set's own). seed: of initial weights,
    batches and augmentation. precision: float32, float64 or bf16. keep_weights: the trained
    network stays in the run's folder, see `weights.load`; it is then another run than without, see
    `Experiment`.

    Raises ValueError for an unknown name, a number that cannot be, a genotype that is not of the
    space, MissingData for own images that are not there; what only the data or the size of the
    network can tell, `build` raises.
    """

    genotype: str
    space: str = "nasbench201"
    preset: str = "short"
    protocol: dict[str, Any] = field(default_factory=dict)
    dataset: str | Path = "cifar10"
    resolution: int | None = None
    images: int | None = None
    test_images: int | None = None
    channels: int = 16
    cells: int = 5
    seed: int = 0
    precision: str = "float32"
    keep_weights: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", data.located(self.dataset))
        check_setting(vars(self))
        plain("protocol", self.protocol)
        protocol_of(self)
        if isinstance(self.genotype, Genotype) or is_namedtuple(self.genotype):
            object.__setattr__(self, "genotype", str(Genotype.of(self.genotype)))
        if not isinstance(self.genotype, str):
            raise ValueError(f"genotype must be a Genotype or its text, not {self.genotype!r}")
        _check_genotype(self.space, self.genotype, spaces.registry.source(self.space))
        _ = self.content  # raises MissingData

    @classmethod
    def of(cls, run: Run, dataset: str | Path | None = None) -> "Evaluation":
        """The training whose run this is, finished or not, see `computation.asked_again`."""
        return asked_again(cls, run, "finalnet", VERSION, dataset)

    @property
    def epochs(self) -> int:
        """Number of epochs of the training."""
        return protocol_of(self).epochs

    def params(self) -> runs.Params:
        """What the run folder is named by."""
        protocol = as_declared(self.protocol, {f.name: f.type for f in fields(Protocol)})
        params = {
            "kind": "finalnet",
            "version": VERSION,
            **asdict(self),
            "dataset": self.content,
            "protocol": protocol,
        }
        # A field of earlier versions, which is part of the names of their runs.
        params["compile"] = False
        if not self.keep_weights:  # as were all runs before it could be asked for
            del params["keep_weights"]
        return {**params, **own_sources(self.space)}

    def start(self, machine: Machine) -> "FinalnetTraining":
        """The training at its epoch 0, see `build`."""
        return build(self, machine)

    def result(self, training: "FinalnetTraining", run: Run) -> runs.Result:
        """Accuracies and size, see the function `result`; the weights are kept where that is
        asked for.
        """
        if self.keep_weights:
            keep(run, _without_head(self, training), self.genotype, training.data)
        return result(self, training, run.records)


class FinalnetTraining:
    """The training of a network in progress:
    network, optimizer, random state, and how many epochs are done.

    net: images -> logits; in training mode, if it has an auxiliary head, -> (logits, auxiliary
    logits). Where it has an attribute `drop_path`, that is set at every epoch. data: statistics
    for normalisation. seed: of batches and augmentation (the network has been seeded by whoever
    made it).

    Raises ValueError if the protocol drops paths of a network that cannot, and if the last batch
    of an auxiliary head has one image, of which its batch norm makes no statistics.
    """

    def __init__(
        self,
        net: nn.Module,
        protocol: Protocol,
        data: Data,
        train: ImageSet,
        test: ImageSet,
        *,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        self.can_drop = hasattr(net, "drop_path")
        if protocol.drop_path > 0 and not self.can_drop:
            raise _unable("drop_path")
        if protocol.auxiliary > 0 and (len(train) - 1) % protocol.batch == 0:
            found = f"not {protocol.batch} of {len(train)} images"
            raise ValueError(
                "batch must leave more than one image for the last batch of an auxiliary head,"
                f" {found}"
            )
        self.net = net
        self.protocol = protocol
        self.data = data
        self.train = train
        self.test = test
        self.dtype = PRECISIONS[precision]
        self.autocast = precision == "bf16"
        self.cutout = protocol.cutout_at(data.resolution)
        self.drop_path = protocol.drop_path
        if protocol.drop_path_per_output:
            self.drop_path *= len(net.genotype.cells[0].output)  # type: ignore[union-attr, index]
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.SGD(
            net.parameters(),
            protocol.lr,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
            nesterov=protocol.nesterov,
        )
        self.epoch, self.log = 0, Log("train")

    def run(self) -> Iterator[Record]:
        """Train to the protocol's last epoch; yields a record after every one."""
        while self.epoch < self.protocol.epochs:
            yield self.one_epoch()

    def one_epoch(self) -> Record:
        """One pass over the training images, a test, then the record of both. Raises NotFinite.

        train_loss: what is minimised, with smoothed labels and the auxiliary head; test_loss:
        cross entropy (nats). test_loss and test_accuracy are None in an epoch that is not tested.
        """
        started = clock()
        self.begin_epoch()
        for index in index_batches(len(self.train), self.protocol.batch, self.generator):
            self.step(self.batch(index))
        losses = self.log.means(self.epoch, len(self.train))
        trained = clock()
        tested: Record = {"test_loss": None, "test_accuracy": None}
        if self.protocol.tested_in(self.epoch):
            tested = self.judge()
        record = {
            "epoch": self.epoch,
            **losses,
            **tested,
            "lr": self.protocol.lr_at(self.epoch),
            "drop_path": self._drop_path(),
        }
        record["cost"] = cost(self.train.images.device, len(self.train), started, trained, clock())
        self.drop_path = self.protocol.grown(self.drop_path, self.epoch, record["train_accuracy"])
        self.epoch += 1
        return record

    def _drop_path(self) -> float:
        return self.protocol.drop_path_at(self.epoch, self.drop_path)

    def begin_epoch(self) -> None:
        """Move the schedules and start a new log."""
        self.optimizer.param_groups[0]["lr"] = self.protocol.lr_at(self.epoch)
        if self.can_drop:
            self.net.drop_path = self._drop_path()  # type: ignore[assignment]
        self.log = Log("train")
        self.net.train()

    def batch(self, index: Tensor) -> Batch:
        """Training images, augmented, normalised and cut out."""
        chosen = self.train[index.to(self.train.labels.device)]
        return Batch("train", self._varied(chosen.images), chosen.labels)

    def _varied(self, images: Tensor) -> Tensor:
        if self.protocol.augment:
            images = augment(images, self.generator)
        images = normalize(images, self.data, self.dtype)
        return cutout(images, self.generator, self.cutout) if self.cutout else images

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of a training batch,
        plus that of the auxiliary head times its weight.
        """
        logits, *auxiliary = self._outputs(batch.images)
        smoothing = self.protocol.label_smoothing
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        for head in auxiliary:
            own = F.cross_entropy(head, batch.labels, label_smoothing=smoothing)
            loss = loss + self.protocol.auxiliary * own
        self.log.add(batch, loss, logits.detach())
        return loss

    def step(self, batch: Batch) -> None:
        """One update of the weights."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        if self.protocol.clip:
            clip([w.grad for w in self.net.parameters() if w.grad is not None], self.protocol.clip)
        self.optimizer.step()

    def _outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits, followed by those of the auxiliary head in training mode."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            outputs = self.net(images)
        if not isinstance(outputs, tuple):
            outputs = (outputs,)
        return tuple(output.to(self.dtype) for output in outputs)

    @torch.no_grad()
    def judge(self) -> dict[str, float | None]:
        """test_loss (nats) and test_accuracy (%). Raises NotFinite."""
        self.net.eval()
        log = Log("test")
        for start in range(0, len(self.test), EVALUATION_BATCH):
            part = self.test[start : start + EVALUATION_BATCH]
            if self.protocol.test_augmented:
                images = self._varied(part.images)
            else:
                images = normalize(part.images, self.data, self.dtype)
            batch = Batch("test", images, part.labels)
            (logits,) = self._outputs(batch.images)
            log.add(batch, F.cross_entropy(logits, batch.labels), logits)
        return log.means(self.epoch, len(self.test))

    @torch.no_grad()
    def recalibrated_accuracy(self) -> float | None:
        """Test accuracy (%) with batch-norm statistics of unaugmented training images;
        the network is unchanged.
        """
        with batch_norms_restored(self.net):
            self.net.eval()  # no dropped path, no auxiliary head
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.train()
            recalibrate(
                self.net,
                self.train.images,
                self.protocol.recalibration,
                lambda images: self._outputs(normalize(images, self.data, self.dtype)),
            )
            return self.judge()["test_accuracy"]

    def state_dict(self) -> dict[str, Any]:
        """Everything the next epoch depends on: weights, optimizer, random states."""
        return {
            "epoch": self.epoch,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "drop_path": self.drop_path,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.drop_path = state.get("drop_path", self.drop_path)


def build(evaluation: Evaluation, machine: Machine) -> FinalnetTraining:
    """The training at its epoch 0. Raises ValueError for a bad field,
    MissingData without the data set.
    """
    e, protocol = evaluation, protocol_of(evaluation)
    device, dtype = machine.device, PRECISIONS[e.precision]
    images = images_of(e, machine)
    if not len(images.test):
        raise ValueError(
            f"{images.name} has no test part, on which the network is to be judged, see"
            " nasutils.own_data"
        )
    train = _first("images", images.train, e.images)
    test = _first("test_images", images.test, e.test_images)
    net = network(e, images.num_classes, auxiliary=protocol.auxiliary > 0).to(device, dtype)
    return FinalnetTraining(net, protocol, images, train, test, seed=e.seed, precision=e.precision)


def protocol_of(evaluation: Evaluation) -> Protocol:
    """The named protocol with the evaluation's departures.
    Raises ValueError for a name or value that cannot be.
    """
    preset = PROTOCOLS[choose("protocol", evaluation.preset, PROTOCOLS)]
    for name in evaluation.protocol:
        choose("field of the protocol", name, Protocol.__dataclass_fields__)
    return replace(preset, **evaluation.protocol)


def network(evaluation: Evaluation, num_classes: int, *, auxiliary: bool = False) -> nn.Module:
    """The network at its initial weights, on the CPU.
    Raises ValueError if the space has no auxiliary head.
    """
    e, space = evaluation, spaces.get(evaluation.space)
    if auxiliary and e.space not in _regularizable():
        raise _unable("auxiliary")
    head = {"auxiliary": True} if auxiliary else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(e.seed)
        return space.finalnet(e.genotype, e.channels, e.cells, num_classes, **head)


def _without_head(evaluation: Evaluation, training: FinalnetTraining) -> nn.Module:
    """The trained network without its auxiliary head, on the CPU."""
    net = network(evaluation, training.data.num_classes).to(dtype=training.dtype)
    trained = tensors(training.net)
    restore(net, {name: trained[name] for name in tensors(net)})
    return net


@cache
def _check_genotype(space: str, genotype: str, source: str | None) -> None:
    """Raise ValueError unless a genotype is of the space. source: the digest of an own space."""
    spaces.get(space).check_genotype(genotype)


def result(
    evaluation: Evaluation, training: FinalnetTraining, records: Sequence[Record]
) -> runs.Result:
    """What is left of a training: accuracies (%) of the test images, and the size of the network.

    test_accuracy is that of the last epoch. best_test_accuracy is the highest of all tested
    epochs, which is selected on the test set and so optimistic; best_epoch is the first one that
    has it. params and macs: trainable weights and multiply-adds for one image, without auxiliary
    head. recalibrated_test_accuracy: where the protocol asks for it.
    """
    tested = [record for record in records if record["test_accuracy"] is not None]
    best = max(tested, key=lambda record: record["test_accuracy"])
    net = network(evaluation, training.data.num_classes)
    found = {
        "genotype": evaluation.genotype,
        "epochs": training.epoch,
        "test_accuracy": records[-1]["test_accuracy"],
        "best_test_accuracy": best["test_accuracy"],
        "best_epoch": best["epoch"],
        "params": count_parameters(net),
        "macs": count_multiply_adds(net, training.data.resolution),
    }
    if training.protocol.recalibration:
        found["recalibrated_test_accuracy"] = training.recalibrated_accuracy()
    return found


def _first(name: str, images: ImageSet, count: int | None) -> ImageSet:
    if count is not None:
        up_to(name, count, len(images))
    return images[:count]


def _regularizable() -> list[str]:
    """The spaces whose final networks can drop paths and have an auxiliary head."""
    found = []
    for name in spaces.names:
        if "auxiliary" in inspect.signature(spaces.get(name).finalnet).parameters:
            found.append(name)
    return found


def _unable(name: str) -> ValueError:
    return ValueError(
        f"{name} must be 0 for this network: only those of {', '.join(_regularizable())} can do it"
    )
