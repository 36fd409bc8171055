"""A trained network with what its images need:
what is kept of a run, and given back by `weights.load`.

Apart from `weights`, which needs `experiment`, which needs this.
"""

import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nasutils.data import Data
from nasutils.runs import Run
from nasutils.spaces.base import Mix, nonzero


class Relaxed(nn.Module):
    """A supernet under fixed mixing weights:
    normalised images (batch, 3, H, W) -> logits (batch, num_classes).

    The mixing weights are buffers, `mix_<cell type>`. Operations of weight 0 are not run.
    """

    def __init__(self, net: nn.Module, mix: Mix) -> None:
        super().__init__()
        self.net = net
        self.cell_types = tuple(mix)
        self.active = nonzero(mix)
        for cell_type, weights in mix.items():
            self.register_buffer(f"mix_{cell_type}", weights.detach().clone())

    @property
    def mix(self) -> dict[str, Tensor]:
        """The mixing weights by cell type, (edges, operations)."""
        return {cell_type: self.get_buffer(f"mix_{cell_type}") for cell_type in self.cell_types}

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        return self.net(images, self.mix, self.active)


class Classifier(nn.Module):
    """A trained network: images as they are -> logits (batch, num_classes).

    Images: (batch, 3, resolution, resolution) of any type, values 0 to 255. net: the network,
    which takes normalised images. mean, std: of the channels in [0, 1], by which they are
    normalised. classes: names of the classes, () where the data set has none. genotype: text of
    what was found.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        genotype: str,
        mean: Sequence[float],
        std: Sequence[float],
        resolution: int,
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.net = net
        self.genotype = genotype
        self.resolution = resolution
        self.classes = tuple(classes)
        dtype = next(net.parameters()).dtype
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images as they are. Raises ValueError for images of another shape."""
        side, shape = self.resolution, tuple(images.shape)
        if shape[1:] != (3, side, side):
            raise ValueError(f"images must be (batch, 3, {side}, {side}), not {shape}")
        return self.net((images.to(self.mean.dtype) - 255 * self.mean) / (255 * self.std))


def keep(run: Run, net: nn.Module, genotype: str, data: Data) -> None:
    """Keep the weights of a network in its run's folder,
    and beside them what a `Classifier` needs.
    """
    about = {
        "mean": data.mean,
        "std": data.std,
        "resolution": data.resolution,
        "classes": data.classes,
        "num_classes": data.num_classes,
    }
    texts = {name: json.dumps(value) for name, value in about.items()}
    run.keep_weights(tensors(net), {"genotype": genotype, **texts})


def tensors(net: nn.Module) -> dict[str, Tensor]:
    """The state of a network without the states of its random generators, which are no tensors."""
    return {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}


def restore(net: nn.Module, kept: dict[str, Tensor]) -> None:
    """Give a network its kept weights. Raises ValueError, naming a weight,
    if they are those of another network.
    """
    own = tensors(net)
    misfits = own.keys() ^ kept.keys()
    misfits |= {name for name in own.keys() & kept.keys() if own[name].shape != kept[name].shape}
    if misfits:
        raise ValueError(
            f"the kept weights are those of another network: {min(misfits)} does not fit"
        )
    net.load_state_dict({**net.state_dict(), **kept})
