"""How derived networks are trained, by name: the protocols of the field's papers and code."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from nasutils.errors import check_fields, choose, positive
from nasutils.methods import schedules


@dataclass(frozen=True)
class Protocol:
    """How a derived network is trained; the defaults are those of DARTS.

    lr falls along a cosine of the epoch to lr_end. clip: bound of the gradient norm, 0 for none.
    drop_path: the probability that the epochs ramp up to, linearly from 0. auxiliary: weight of
    the auxiliary head's loss, 0 for no head. augment: crop and flip training images. cutout: side
    in pixels of 32, 0 for none. recalibration: number of training batches from which batch-norm
    statistics are estimated anew for a further test after the last epoch, 0 for none.

    Of LHD's code: drop_path_per_output: drop_path is multiplied by the nodes that the normal cell
    concatenates. drop_path_growth: a name in GROWTHS. test_augmented: test images are cropped,
    flipped and cut out like those of training. test_late: only the last third of the epochs is
    tested. test_last (ours): only the last epoch is, which saves the time of the other tests and
    changes nothing else, unless tests draw, too (noise of S4; test_augmented).

    Raises ValueError naming the field that is out of range.
    """

    epochs: int = 600
    batch: int = 96
    lr: float = 0.025
    lr_end: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    clip: float = 5.0
    drop_path: float = 0.2
    auxiliary: float = 0.4
    cutout: int = 16
    label_smoothing: float = 0.0
    recalibration: int = 0
    augment: bool = True
    drop_path_per_output: bool = False
    drop_path_growth: str = "none"
    test_augmented: bool = False
    test_late: bool = False
    test_last: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr"):
            positive(name, getattr(self, name))
        check_fields(self, below_one=("momentum", "drop_path", "label_smoothing"))
        choose("drop_path_growth", self.drop_path_growth, GROWTHS)

    def lr_at(self, epoch: int) -> float:
        """The learning rate of an epoch (counted from 0)."""
        return schedules.cosine(epoch, self.epochs, self.lr, self.lr_end)

    def drop_path_at(self, epoch: int, target: float) -> float:
        """The probability with which a path is dropped in an epoch: target * epoch / epochs."""
        return target * epoch / self.epochs

    def late(self, epoch: int) -> bool:
        """Whether an epoch is in the last third:
        401 to 599 of 600, and the last one of any number.
        """
        return 3 * epoch > 2 * self.epochs or epoch == self.epochs - 1

    def grown(self, target: float, epoch: int, accuracy: float) -> float:
        """The target of drop_path after an epoch of that accuracy (%) on the training images."""
        threshold, step = GROWTHS[self.drop_path_growth][self.late(epoch)]
        return target + step * (accuracy > threshold)

    def tested_in(self, epoch: int) -> bool:
        """Whether the test images are judged after an epoch."""
        if self.test_last:
            return epoch == self.epochs - 1
        return not self.test_late or self.late(epoch)

    def cutout_at(self, resolution: int) -> int:
        """Side of the cutout in pixels of images of that resolution."""
        return round(self.cutout * resolution / 32)


GROWTHS: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "none": ((100.0, 0.0), (100.0, 0.0)),
    "lhd-cifar100": ((75.0, 5e-4), (85.0, 1e-4)),
    "lhd-svhn": ((97.0, 5e-4), (99.0, 1e-4)),
}
"""By how much the target of drop_path grows after an epoch whose training accuracy
(%) was above a threshold.

(threshold, growth) before the last third of the epochs and in it. Source: chaoji90/LHD,
eval/*/train_*.sh and the scripts that they call."""

_LHD = Protocol(batch=64, drop_path=0.01, drop_path_per_output=True)
_LHD100 = replace(_LHD, drop_path=0.02, drop_path_growth="lhd-cifar100")
_LHD_SVHN = replace(_LHD, drop_path=0.02, drop_path_growth="lhd-svhn", augment=False, cutout=0)

PROTOCOLS: Mapping[str, Protocol] = {
    "darts": Protocol(),
    "sp-darts": Protocol(epochs=2000, batch=128),
    "ss-darts": Protocol(epochs=2000, batch=128, drop_path=0.3),
    "drnas": Protocol(batch=64, drop_path=0.3),
    "s1-s4": Protocol(),
    "nasbench201": Protocol(
        epochs=200,
        batch=256,
        lr=0.1,
        nesterov=True,
        weight_decay=5e-4,
        clip=0.0,
        drop_path=0.0,
        auxiliary=0.0,
        cutout=0,
    ),
    "lhd-cifar10": _LHD,
    "lhd-cifar100": _LHD100,
    "lhd-svhn": _LHD_SVHN,
    "lhd-cifar10-1m": replace(_LHD, drop_path=0.015),
    "lhd-cifar100-1m": replace(_LHD100, drop_path=0.03),
    "lhd-svhn-1m": replace(_LHD_SVHN, drop_path=0.03),
    "lhd-cifar10-released": replace(_LHD, test_late=True),
    "lhd-cifar100-released": replace(_LHD100, test_late=True, test_augmented=True),
    "lhd-svhn-released": replace(_LHD_SVHN, test_late=True),
    "short": Protocol(epochs=20, batch=64, drop_path=0.0, auxiliary=0.0, cutout=0),
}
"""Protocols by name.

darts: Liu et al., ICLR 2019, 20 cells of 36 channels; the auxiliary head and cutout are flags of
its code that its README sets. sp-darts, ss-darts, drnas, s1-s4: the authors' copies of that code,
`SP-DARTS/train.py`, `SS-DARTS/train.py`, `DrNas/DARTS-space/train.py` and
`SmoothDARTS/sota/*/train.py`, with the same two flags; which one made a paper's numbers is not
recorded. nasbench201: Dong & Yang, ICLR 2020, 5 cells per stage, 16 channels.
lhd-*: the benchmark of Zhang & Ding, ICML 2023 (chaoji90/LHD, eval), 20 cells of 36 channels; 1m:
for 25 cells and as many channels as `LHD.finalnet_size` says, where more paths are dropped.
released: tested in the last 199 of 600 epochs only, of which the authors report the best
(`best_test_accuracy`), on CIFAR-100 with test images that are cropped, flipped and cut out; the
others test clean images after every epoch. Images of SVHN are not augmented. short: ours, for a
laptop; every space can run it.
"""
