"""Own images as a data set: a folder in the layout of torchvision's ImageFolder,
or an .npz file of arrays.

    flowers/train/rose/1.jpg  a folder per class
    flowers/test/rose/2.jpg   the test part
    flowers/rose/1.jpg        the same without a test part
    flowers.npz               images, labels; test_images, test_labels (both or none);
                              classes (names, or none)

* Arrays: images uint8, (n, height, width, 3) or (n, 3, height, width); labels whole numbers, (n,).
  None is unpickled.
* An image is cut to its central square and brought to the resolution asked for by area averages.
* The order of the images is drawn once and for all: classes one after another would not make
  halves.
* A data set is named by the sha256 of its content, wherever it lies: that of the arrays, or of the
  files of a folder with their classes and names.
"""

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nasutils.errors import MissingData

CONTENT = "sha256:"
"""How the name of own data begins, in the parameters of a run."""
ARRAYS = ("images", "labels", "test_images", "test_labels", "classes")
GREY_OR_COLOUR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Modes of Pillow's images with 8 bits a channel;
others would lose what they hold without a word.
"""
UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, EOFError, MemoryError, AttributeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy raises of a file that is damaged, or is no .npz file of plain arrays."""

LabelledImages = tuple[Tensor, Tensor]
"""images: (n, 3, side, side) uint8; labels: (n,) int64."""


@dataclass(frozen=True)
class OwnData:
    """A data set of the user's. content: `sha256:` and its digest. test: without images where
    there is no test part. classes: their names.
    """

    content: str
    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    num_classes: int


def is_path(dataset: str | Path) -> bool:
    """Whether own data are meant: a Path, or a text with a slash in it,
    or with the ending .npz.
    """
    return isinstance(dataset, Path) or (
        isinstance(dataset, str) and ("/" in dataset or dataset.endswith(".npz"))
    )


def located(dataset: str | Path) -> str:
    """The absolute path, which is the same in every process.
    Raises ValueError for a `~` of nobody.
    """
    try:
        return str(Path(dataset).expanduser().absolute())
    except RuntimeError as error:
        raise ValueError(
            f"dataset must be a folder or an .npz file, not {str(dataset)!r}: {error}"
        ) from None


# The content's name

_KNOWN: dict[str, tuple[Any, str]] = {}
"""What the disk said of the files of every path read so far (sizes, times),
and the name of their content.
"""


def content(path: str) -> str:
    """The name of own data. Files that the disk says are unchanged are not read again in this
    process.

    Raises MissingData where there are none, ValueError if they are no data set.
    """
    signature = _signature(Path(path))
    known, name = _KNOWN.get(path, (None, ""))
    if known != signature:
        root = Path(path)
        digest = _arrays_digest(_arrays(root)) if _is_npz(path) else _folder_digest(root)
        name = CONTENT + digest
        _KNOWN[path] = signature, name
    return name


def _is_npz(path: str) -> bool:
    return path.endswith(".npz")


def _signature(path: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        if _is_npz(str(path)):
            found = path.stat()
            return ((str(path), found.st_size, found.st_mtime_ns),)
        return tuple(sorted(_files(str(path))))
    except OSError as error:
        raise MissingData(
            f"no own data at {error.filename or path} ({error.strerror}): expected a folder of"
            " images or an .npz"
        ) from None


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of every file under a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(entry.path)
            else:
                found = entry.stat()
                yield entry.path, found.st_size, found.st_mtime_ns


def _folder_digest(root: Path) -> str:
    lines = []
    for part, folder in _part_folders(root).items():
        for file, _ in _listed(folder)[0]:
            lines.append(_line(part, folder, file, _bytes(file)))
    return _text_digest(lines)


def _text_digest(lines: Iterable[str]) -> str:
    """Of names as the disk has them, also those that are not UTF-8."""
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _line(part: str, folder: Path, file: str, image: bytes) -> str:
    return (
        f"{hashlib.sha256(image).hexdigest()} "
        f" {part}/{Path(file).relative_to(folder).as_posix()}\n"
    )


def _arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The sha256 of checked arrays by name, see `_arrays`."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# Reading


def read(path: str, resolution: int | None = None) -> OwnData:
    """The images at a resolution (side in pixels; None: their own, if they have one).

    Raises MissingData where there are none, ValueError, naming the file, for what is no data set.
    """
    return _read_once(path, resolution, content(path))


@lru_cache(maxsize=2)
def _read_once(path: str, resolution: int | None, expected: str) -> OwnData:
    """Own data that are kept for the next run of the process. Raises ValueError if their content
    is not the expected one.
    """
    read_all = _from_arrays if _is_npz(path) else _from_folder
    found = read_all(Path(path), resolution)
    if found.content != expected:
        raise ValueError(f"{path} changed while it was read: run this again")
    return found


def _from_folder(root: Path, resolution: int | None) -> OwnData:
    lines: list[str] = []
    read: dict[str, LabelledImages] = {}
    names: dict[str, list[str]] = {}
    for part, folder in _part_folders(root).items():
        samples, names[part] = _listed(folder)
        squares, labels = [], []
        for file, label in samples:
            image = _bytes(file)
            lines.append(_line(part, folder, file, image))
            (square,) = _squared(_decoded(file, image)[None], resolution)
            squares.append(square)
            labels.append(label)
        read[part] = _stacked(root, squares), torch.tensor(labels)
    classes = names["train"]
    if (other := names.get("test", classes)) != classes:
        raise ValueError(
            f"the classes of {root / 'test'} must be those of train, {classes}, not {other}"
        )
    return _own_data(root, _text_digest(lines), read["train"], read.get("test"), classes)


def _part_folders(root: Path) -> dict[str, Path]:
    """The folders of the training part and, if there is one, of the test part."""
    inside = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if "train" not in inside:
        return {"train": root}
    if others := [name for name in inside if name not in ("train", "test")]:
        raise ValueError(
            f"{root} must have the folders train and, if you like, test; beside them are {others}"
        )
    return {name: root / name for name in inside[::-1]}


def _listed(folder: Path) -> tuple[list[tuple[str, int]], list[str]]:
    """The images of a part with their labels, and the names of the classes."""
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise ValueError(
            f"{folder} must have a folder of images for each class: {error}"
        ) from None
    return found.samples, found.classes


def _bytes(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror})") from None


def _decoded(file: str, content: bytes) -> Tensor:
    """An image of three channels, (3, height, width) uint8. Raises ValueError naming the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in GREY_OR_COLOUR:
                raise ValueError(f"its mode {image.mode} has not 8 bits a channel")
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except UnidentifiedImageError:
        raise ValueError(f"{file} cannot be read as an image: it is of no known format") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from None


def _stacked(root: Path, squares: Sequence[Tensor]) -> Tensor:
    sides = {square.shape[-1] for square in squares}
    if len(sides) > 1:
        raise ValueError(
            f"the images of {root} have sides of {min(sides)} to {max(sides)} pixels: pass"
            " resolution"
        )
    return torch.stack(list(squares))


def _squared(images: Tensor, resolution: int | None) -> Tensor:
    """The central square of each image at a resolution, by area averages; None: as it is.

    images: (n, 3, height, width) -> (n, 3, side, side).
    """
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    if resolution in (None, side):
        return square
    parts = [
        F.adaptive_avg_pool2d(part.float(), resolution).round().byte()
        for part in square.split(10_000)
    ]
    return torch.cat(parts)


def _from_arrays(path: Path, resolution: int | None) -> OwnData:
    arrays = _arrays(path)
    parts: dict[str, LabelledImages] = {}
    for prefix in ("", "test_"):
        if f"{prefix}images" in arrays:
            images = torch.from_numpy(arrays[f"{prefix}images"])
            labels = torch.from_numpy(arrays[f"{prefix}labels"])
            parts[prefix] = _squared(images, resolution), labels
    names = [str(name) for name in arrays.get("classes", ())]
    return _own_data(path, _arrays_digest(arrays), parts[""], parts.get("test_"), names)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The checked arrays: images (n, 3, height, width) uint8, labels int64."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be read as an .npz file of plain arrays: {error}"
        ) from None
    _check_names(path, found)
    for prefix in ("", "test_"):
        images, labels = f"{prefix}images", f"{prefix}labels"
        if images in found:
            count = len(found[images])
            found[images] = _checked_images(f"{images} of {path}", found[images])
            found[labels] = _checked_labels(f"{labels} of {path}", found[labels], count)
    classes = found.get("classes", np.array([], str))
    if classes.ndim != 1 or classes.dtype.kind != "U":
        found_instead = f"{classes.dtype} of shape {classes.shape}"
        raise ValueError(f"classes of {path} must be a list of texts, not {found_instead}")
    return found


def _check_names(path: Path, found: Collection[str]) -> None:
    """Raise ValueError unless these are the names of the arrays of a data set."""
    if unknown := sorted(set(found) - set(ARRAYS)):
        raise ValueError(f"{path} must hold {', '.join(ARRAYS)}, not {', '.join(unknown)}")
    wanted = {"images", "labels"}
    if any("test" in name for name in found):
        wanted |= {"test_images", "test_labels"}
    if missing := sorted(wanted - set(found)):
        raise ValueError(
            f"{path} must hold {', '.join(sorted(wanted))}; {', '.join(missing)} is missing"
        )


def _checked_images(name: str, images: np.ndarray) -> np.ndarray:
    """The images as (n, 3, height, width). Raises ValueError naming them if they are none."""
    shape = images.shape
    channels = [axis for axis in (1, 3) if len(shape) == 4 and shape[axis] == 3]
    if images.dtype != np.uint8 or len(channels) != 1 or 0 in shape:
        wanted = "uint8 of shape (n, height, width, 3) or (n, 3, height, width)"
        raise ValueError(f"{name} must be {wanted}, not {images.dtype} of shape {shape}")
    return images if channels == [1] else images.transpose(0, 3, 1, 2)


def _checked_labels(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        found = f"{labels.dtype} of shape {labels.shape}"
        raise ValueError(
            f"{name} must be whole numbers, one for each of {count} images, not {found}"
        )
    return labels.astype(np.int64)


def _own_data(
    path: Path,
    digest: str,
    train: LabelledImages,
    test: LabelledImages | None,
    classes: Sequence[str],
) -> OwnData:
    """Checks what the labels say, and draws the order of the images."""
    images, labels = train
    present = labels.unique().tolist()
    count = len(classes) or len(present)
    if present != list(range(count)) or count < 2:
        rule = (
            f"labels of {path} must be 0 to {count - 1}, two or more, each of them in the training"
            f" part{', since classes names as many' if len(classes) else ''}"
        )
        raise ValueError(f"{rule}; they are {_few(present)}")
    test_images, test_labels = test or (images[:0], labels[:0])
    if strange := sorted(set(test_labels.tolist()) - set(present)):
        raise ValueError(f"test labels of {path} must be 0 to {count - 1}, not {_few(strange)}")
    if test_images.shape[1:] != images.shape[1:]:
        sides = f"{images.shape[-1]} and {test_images.shape[-1]} pixels"
        raise ValueError(
            f"training and test images of {path} have sides of {sides}: pass resolution"
        )
    shuffled = _shuffled(train), _shuffled((test_images, test_labels))
    return OwnData(CONTENT + digest, *shuffled, tuple(classes), count)


def _few(values: Sequence[int]) -> str:
    shown = [str(value) for value in values[:10]]
    if len(values) > 10:
        shown.append("...")
    return ", ".join(shown)


def _shuffled(part: LabelledImages) -> LabelledImages:
    images, labels = part
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return images[order], labels[order]
