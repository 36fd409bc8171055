"""The `.pl` files of the LHD repository: mixing weights of a finished search, read without unpickling them.

A pickle can run code when it is loaded. These are lists of four float32 arrays whose bytes lie at the same offsets in
all 135 released files (chaoji90/LHD, folder `results`), so the numbers are copied from there, and a file of any other
form is refused.
"""

from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nasutils.spaces.base import Mix
from nasutils.spaces.lhd import LHD

SIZE = 1480
OFFSETS = {"normal": 155, "reduce": 756, "normal_output": 1354, "reduce_output": 1432}
START, END = b"\x80\x03]q\x00(cnumpy.core.multiarray\n_reconstruct\n", b"e."
"""Protocol 3, a list, its first entry an array; the end of the list and of the pickle."""
TOLERANCE = 1e-5
"""By which the float32 weights of a node may miss 1 in their sum (the released ones: by up to 2.4e-7)."""


def read(path: str | Path) -> Mix:
    """The mixing weights in a file, float32, with the keys and shapes of `LHD.alpha_shapes`.

    Raises ValueError naming the file and what does not fit, OSError if it cannot be read.
    """
    with Path(path).open("rb") as file:
        content = file.read(SIZE + 1)
    try:
        return parse(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a search result of the LHD repository: {error}") from None


def parse(content: bytes) -> Mix:
    """The mixing weights in the bytes of a file. Raises ValueError saying what does not fit."""
    if len(content) != SIZE:
        raise ValueError(f"it has {'more' if len(content) > SIZE else len(content)} bytes, not {SIZE}")
    if not (content.startswith(START) and content.endswith(END)):
        raise ValueError("it is no list of numpy arrays in protocol 3 of pickle")
    mix = {name: _array(content, name) for name in LHD.alpha_shapes}
    _check_values(mix)
    return mix


def _array(content: bytes, name: str) -> Tensor:
    at, shape = OFFSETS[name], LHD.alpha_shapes[name]
    size = 4 * prod(shape)
    announced = b"C" + size.to_bytes(1, "little") if size < 256 else b"B" + size.to_bytes(4, "little")
    if not content[:at].endswith(announced):
        raise ValueError(f"at byte {at} there are no {size} bytes of {name}, float32 {shape}")
    values = np.frombuffer(content, dtype="<f4", count=prod(shape), offset=at)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _check_values(mix: Mix) -> None:
    for name, weights in mix.items():
        if not ((weights >= 0) & (weights <= 1)).all():
            raise ValueError(f"{name} has values that are not in [0, 1]")
    for name, groups in LHD().competing(mix).items():
        worst = max(float((rows.sum(dim=-1) - 1).abs().max()) for rows in groups)
        if worst > TOLERANCE:
            raise ValueError(f"weights of {name} that compete do not sum to 1 (off by {worst:.2g})")
