"""Data sets as uint8 tensors on the device; augmentation and splits. No worker processes.

* The whole set lies in memory (CIFAR-10: 180 MB); a batch is an index, its crop and flip one
  gather.
* Every random draw comes from a generator that the caller owns and checkpoints.
* Crop padding and cutout scale with the resolution: 4 and 16 pixels of 32.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nasutils import own_data, paths
from nasutils.errors import MissingData, choose, whole

CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "svhn": 10}
"""Data set -> its number of classes."""
NAMES = tuple(CLASSES)
SPLITS = ("half", "nasbench201", "all")

_STATISTICS = {
    "cifar10": ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}


@dataclass(frozen=True)
class ImageSet:
    """Labelled images. images: (n, 3, H, W) uint8; labels: (n,) int64; both on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageSet":
        return ImageSet(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Data:
    """A data set: its training and test images, the number of classes,
    channel mean and deviation in [0, 1].

    classes: their names, () where they have none.
    """

    name: str
    train: ImageSet
    test: ImageSet
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...] = ()

    @property
    def resolution(self) -> int:
        return self.train.images.shape[-1]


def root_folder(root: str | Path | None = None) -> Path:
    """Where data sets lie: `root`, or the environment variable NASUTILS_DATA,
    or ~/.cache/nasutils/data. Raises MissingData for the `~` of nobody.
    """
    chosen = (
        root or os.environ.get("NASUTILS_DATA") or Path.home() / ".cache" / "nasutils" / "data"
    )
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise MissingData(f"no data at {str(chosen)!r}: {error}") from None


def located(dataset: str | Path) -> str:
    """The name of a data set, or the absolute path of own data (see `own_data`),
    which are given as a path.

    Raises ValueError for an unknown name.
    """
    if own_data.is_path(dataset):
        return own_data.located(dataset)
    if isinstance(dataset, str) and dataset.startswith(own_data.CONTENT):
        return dataset
    try:
        return choose("data set", str(dataset), NAMES)
    except ValueError as error:
        raise ValueError(
            f"{error} (own images are given as a path: './folder' or 'file.npz')"
        ) from None


def content(dataset: str) -> str:
    """What a run is named by: the name of a data set,
    or of own data `sha256:` and the digest of their content.

    dataset: see `located`. Raises MissingData or ValueError for own data that are not there or not
    sound.
    """
    return own_data.content(dataset) if own_data.is_path(dataset) else dataset


def load(
    name: str | Path,
    root: str | Path | None = None,
    *,
    download: bool = False,
    resolution: int | None = None,
    device: str | torch.device = "cpu",
) -> Data:
    """Load a data set by name, or own data from a path, see `own_data`.

    root: see `root_folder`; not used by `digits` and own data. resolution: side in pixels, a
    divisor of the original one (area average), of own data any. download: fetch it through
    torchvision if it is missing.

    Raises ValueError for an unknown name or resolution and for own data that are not sound,
    MissingData where there is none.
    """
    name = located(name)
    if own_data.is_path(name):
        own = _own(name, resolution)
        return replace(own, train=_to(own.train, device), test=_to(own.test, device))
    if name.startswith(own_data.CONTENT):
        raise MissingData(f"own data are read from where they lie: pass their path, not {name}")
    data = _digits() if name == "digits" else _torchvision(name, root_folder(root), download)
    if resolution is not None:
        data = replace(
            data,
            train=_resized(data.train, resolution),
            test=_resized(data.test, resolution),
        )
    return replace(data, train=_to(data.train, device), test=_to(data.test, device))


def missing(
    name: str | Path, root: str | Path | None = None, *, download: bool = False
) -> str | None:
    """Why the images of a data set cannot be had; None if they can. Arguments: see `load`."""
    try:
        load(name, root, download=download)
    except MissingData as error:
        return str(error)
    return None


def _to(images: ImageSet, device: str | torch.device) -> ImageSet:
    return ImageSet(images.images.to(device), images.labels.to(device))


def _resized(images: ImageSet, resolution: int) -> ImageSet:
    side = images.images.shape[-1]
    if resolution < 1 or side % resolution:
        divisors = [d for d in range(1, side + 1) if side % d == 0]
        raise ValueError(f"resolution must be one of {divisors}, not {resolution}")
    factor = side // resolution
    if factor == 1:
        return images
    parts = [F.avg_pool2d(p.float(), factor).round().byte() for p in images.images.split(10_000)]
    return ImageSet(torch.cat(parts), images.labels)


def _own(path: str, resolution: int | None) -> Data:
    """Own data; mean and deviation are those of the training images at the resolution."""
    if resolution is not None:
        whole("resolution", resolution)
    found = own_data.read(path, resolution)
    train, test = ImageSet(*found.train), ImageSet(*found.test)
    channels = [_mean_and_deviation(train.images[:, channel]) for channel in range(3)]
    mean, std = map(tuple, zip(*channels, strict=True))
    if 0.0 in std:
        raise ValueError(f"the training images of {path} are all of one colour in a channel")
    return Data(path, train, test, found.num_classes, mean, std, found.classes)


def _mean_and_deviation(pixels: Tensor) -> tuple[float, float]:
    """Of pixels (uint8) as shares of 255; from how often each value occurs, since many large
    images as floats would not fit into memory.
    """
    values = torch.arange(256, dtype=torch.float64)
    counts = torch.bincount(pixels.flatten(), minlength=256).double()
    mean = (counts @ values) / counts.sum()
    variance = (counts @ (values - mean) ** 2) / (counts.sum() - 1)
    return mean.item() / 255, variance.sqrt().item() / 255


def _digits() -> Data:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 grey enlarged to 3 x 16 x 16;
    the last 360 are the test set.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    grey = torch.tensor(source.images * (255 / 16)).round().byte()
    enlarged = grey.repeat_interleave(2, 1).repeat_interleave(2, 2)
    images = enlarged[:, None].repeat(1, 3, 1, 1)
    everything = ImageSet(images, torch.tensor(source.target, dtype=torch.long))
    train, test = everything[:-360], everything[-360:]
    shown = train.images.double() / 255
    mean, std = float(shown.mean()), float(shown.std())
    return Data("digits", train, test, CLASSES["digits"], (mean,) * 3, (std,) * 3)


def _torchvision(name: str, root: Path, download: bool) -> Data:
    train = _split(name, root, download, train=True)
    test = _split(name, root, download, train=False)
    return Data(name, train, test, CLASSES[name], *_STATISTICS[name])


def _split(name: str, root: Path, download: bool, train: bool) -> ImageSet:
    from torchvision import datasets

    try:
        if name == "svhn":
            found: Any = datasets.SVHN(str(root), "train" if train else "test", download=download)
            return _image_set(found.data, found.labels)
        kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        found = kind(str(root), train=train, download=download)
        return _image_set(found.data.transpose(0, 3, 1, 2), found.targets)
    except (RuntimeError, OSError) as error:
        raise MissingData(
            f"{name} not found (or damaged) under {root.resolve()}: pass download=True (notebooks:"
            " download: true), or put torchvision's files there, or point NASUTILS_DATA or the"
            f" data_root parameter at the folder that has them ({error})"
        ) from None


def _image_set(images: Any, labels: Any) -> ImageSet:
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.as_tensor(np.asarray(labels), dtype=torch.long),
    )


def search_split(data: Data, scheme: str, images: int | None = None) -> tuple[ImageSet, ImageSet]:
    """The images that train the weights and those that train alpha.

    scheme "half": first and second half of the training set by index (DARTS). "nasbench201": the
    benchmark's lists for CIFAR-10; for CIFAR-100 all training images and the 5,000 x-valid images
    of its *test* set, as its protocol has it. "all": the whole training set for both (single-level
    search, which has no validation split). images: keep that many of each, drawn once and for all
    (not by the run's seed).

    Raises ValueError for an unknown scheme, a data set without lists, or more images than there
    are.
    """
    weights, alpha = _parts(data, scheme)
    if images is None:
        return weights, alpha
    if not 1 <= images <= min(len(weights), len(alpha)):
        available = min(len(weights), len(alpha))
        raise ValueError(f"images must be 1 to {available} for {data.name}, not {images}")
    return _subset(weights, images), _subset(alpha, images)


def held_out(data: Data, scheme: str, images: int | None, count: int) -> ImageSet:
    """`count` images of alpha's part that `search_split` does not hand to alpha:
    those that come after its own.

    Raises ValueError where there are not so many, as in the scheme "all", which trains on every
    image.
    """
    _, alpha = _parts(data, scheme)
    own = len(alpha) if scheme == "all" or images is None else images
    left = len(alpha) - own
    if not 1 <= count <= left:
        raise ValueError(
            f"held_out must be 0 to {left}, the images of alpha's part beside its own, not {count}"
        )
    return _subset(alpha, len(alpha))[own : own + count]


def _parts(data: Data, scheme: str) -> tuple[ImageSet, ImageSet]:
    choose("split", scheme, SPLITS)
    if scheme == "half":
        half = len(data.train) // 2
        return data.train[:half], data.train[half:]
    if scheme == "nasbench201":
        return _lists(data)
    return data.train, data.train


def _lists(data: Data) -> tuple[ImageSet, ImageSet]:
    if data.name not in ("cifar10", "cifar100"):
        raise ValueError(
            f"split 'nasbench201' has lists for cifar10 and cifar100, not for {data.name}: use"
            " 'half', that is recipe={'split': 'half'}"
        )
    lists = benchmark_lists()

    def listed(images: ImageSet, name: str) -> ImageSet:
        index = torch.as_tensor(lists[name], dtype=torch.long, device=images.labels.device)
        return images[index]

    if data.name == "cifar10":
        return listed(data.train, "c10_train"), listed(data.train, "c10_valid")
    return data.train, listed(data.test, "c100_xvalid")


def _subset(images: ImageSet, count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images), generator=generator)[:count]
    return images[order.to(images.labels.device)]


def index_batches(size: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index batches of one epoch, a random permutation of `size`; the last one may be smaller."""
    return iter(torch.randperm(size, generator=generator).split(batch))


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop of the image padded with black, then a horizontal flip:
    uint8 (batch, 3, H, W) -> the same.

    The padding is an eighth of H, rounded down (4 pixels of 32). One draw per image, from a CPU
    generator.
    """
    batch, _, height, width = images.shape
    padding = height // 8
    dy, dx = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator)
    flip = torch.rand(batch, 1, generator=generator) < 0.5
    # Which row and column of the padded image each pixel is taken from.
    rows = torch.arange(height) + dy
    columns = torch.arange(width)
    columns = torch.where(flip, columns.flip(0), columns) + dx
    rows = rows.to(images.device)[:, :, None]
    columns = columns.to(images.device)[:, None, :]
    which = torch.arange(batch, device=images.device)[:, None, None]
    padded = F.pad(images, (padding,) * 4)
    cropped = padded[which, :, rows, columns]
    return cropped.permute(0, 3, 1, 2)


def cutout(images: Tensor, generator: torch.Generator, side: int) -> Tensor:
    """Zero a square of `side` pixels, its centre uniform over the image and the square cut at the
    border.

    images: (batch, 3, H, W), normalised (the references cut after normalisation, so the hole has
    the mean colour).
    """
    batch, _, height, width = images.shape
    covered = []  # rows and columns, (batch, H) and (batch, W)
    for size in (height, width):
        centre = torch.randint(0, size, (batch, 1), generator=generator)
        low = centre - side // 2
        place = torch.arange(size)
        covered.append((place >= low) & (place < low + side))
    rows, columns = covered
    square = rows[:, None, :, None] & columns[:, None, None, :]
    return images.masked_fill(square.to(images.device), 0.0)


def normalize(images: Tensor, data: Data, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (batch, 3, H, W) -> (x / 255 - mean) / std in the given floating type,
    laid out channels last.
    """
    mean = torch.tensor(data.mean, dtype=dtype, device=images.device).view(3, 1, 1)
    std = torch.tensor(data.std, dtype=dtype, device=images.device).view(3, 1, 1)
    x = images.to(dtype=dtype, memory_format=torch.channels_last)
    return x.sub_(255 * mean).div_(255 * std)


def benchmark_lists() -> dict[str, np.ndarray]:
    """NAS-Bench-201's index splits by name (int32), see `tables/README.md`;
    the caller's own copy.
    """
    with np.load(paths.shipped("nasbench201_splits.npz")) as arrays:
        return {name: arrays[name] for name in arrays.files}
