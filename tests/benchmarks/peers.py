"""Other projects' own search steps, made of a checkout of theirs.

A `Layout` says by which files a checkout is known, and how its supernets are built from its own
classes. Nothing of a checkout is changed or copied. Its code runs in this process, so give only one
that you trust. Their scripts ask for a GPU; on a CPU `.cuda()` is made to do nothing while a
network is built, and nothing else is patched. A step is what their scripts do, without logging: the
alpha update, then the weight update with its gradients clipped.

Another project is one more entry of `LAYOUTS`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasutils import spaces
from tests.benchmarks.variants import PLAIN, Machine, Ours, Plain, Setting, Step

Built = tuple[nn.Module, Sequence[Tensor]]
"""A supernet, whose alphas are none of its parameters or are left out of them, and its alphas."""


@dataclass(frozen=True)
class Network:
    """A supernet of a peer.

    module: where its class is, as a script of theirs imports it. folders: on the module path for
    that, relative to the checkout. build: from the module and the setting. rivals: our steps that
    it is compared with, by row: method and options.
    """

    module: str
    folders: Sequence[str]
    build: Callable[..., Built]
    rivals: Mapping[str, Step]


@dataclass(frozen=True)
class Layout:
    """A project. files: those by which a checkout is known, relative to it. space: the name of the
    search space, as in `spaces.get`. networks: by row of the table.
    """

    project: str
    files: Sequence[str]
    space: str
    networks: Mapping[str, Network]


def _darts(module: object, setting: Setting) -> Built:
    """DARTS's own network."""
    criterion = nn.CrossEntropyLoss()
    net = module.Network(setting.channels, 10, setting.cells, criterion)  # type: ignore[attr-defined]
    return net, net.arch_parameters()


def _lhd(module: object, setting: Setting) -> Built:
    """A network of the LHD authors: DARTS's with five nodes, all of them in the concatenation."""
    criterion = nn.CrossEntropyLoss()
    net = module.Network(setting.channels, 10, setting.cells, criterion, 5, 5)  # type: ignore[attr-defined]
    return net, net.arch_parameters()


def _autodl(name: str) -> Callable[..., Built]:
    def build(module: object, setting: Setting) -> Built:
        ops = list(spaces.get("nasbench201").ops)
        make = getattr(module, name)
        net = make(setting.channels, setting.cells, 4, 10, ops, False, True)
        return net, net.get_alphas()

    return build


DENSE = {"dense": PLAIN}
GDAS: Mapping[str, Step] = {"GDAS": ("gdas", {})}
LHD_GDAS: Mapping[str, Step] = {
    "GDAS, one operation per edge (published)": ("gdas", {}),
    "GDAS, one operation per node (as theirs)": ("gdas", {"preset": "released"}),
}
AUTODL = "xautodl/models/cell_searchs"
LAYOUTS = (
    Layout(
        "LHD authors (chaoji90/LHD)",
        ["search/concate_sum_five_sig.py", "search/GDAS/concate_sum_five_sig_gdas.py"],
        "lhd",
        {
            "DARTS": Network("concate_sum_five_sig", ["search"], _lhd, DENSE),
            "GDAS": Network(
                "concate_sum_five_sig_gdas", ["search/GDAS", "search"], _lhd, LHD_GDAS
            ),
        },
    ),
    Layout(
        "DARTS authors (quark0/darts)",
        ["cnn/model_search.py", "cnn/operations.py"],
        "darts",
        {"DARTS": Network("model_search", ["cnn"], _darts, DENSE)},
    ),
    Layout(
        "AutoDL-Projects (D-X-Y/AutoDL-Projects)",
        [f"{AUTODL}/search_model_darts.py", f"{AUTODL}/search_model_gdas.py"],
        "nasbench201",
        {
            "DARTS": Network(
                "xautodl.models.cell_searchs.search_model_darts",
                ["."],
                _autodl("TinyNetworkDarts"),
                DENSE,
            ),
            "GDAS": Network(
                "xautodl.models.cell_searchs.search_model_gdas",
                ["."],
                _autodl("TinyNetworkGDAS"),
                GDAS,
            ),
        },
    ),
)


def layout(path: Path) -> Layout:
    """Whose checkout is in a folder. Raises ValueError, which says what was looked for."""
    lacking = {}
    for known in LAYOUTS:
        missing = [name for name in known.files if not (path / name).is_file()]
        if not missing:
            return known
        lacking[known.project] = missing
    looked = "; ".join(f"{project}: no {', '.join(files)}" for project, files in lacking.items())
    state = "is no folder" if not path.is_dir() else "is no checkout of a project that is known"
    raise ValueError(f"{path} {state}. Looked for, under it: {looked}")


class Peer(Plain):
    """The search step of another project, with its own network."""

    def __init__(self, path: Path, network: Network, setting: Setting, machine: Machine) -> None:
        torch.manual_seed(0)
        with importing(path, network), _without_cuda(machine.device == "cpu"):
            net, alphas = network.build(import_module(network.module), setting)
        self.dtype = "float32"
        recipe = Ours(setting, machine).method.recipe
        super().__init__(net.to(machine.device).train(), alphas, recipe)

    def logits(self, images: Tensor) -> Tensor:
        found = self.net(images)
        return found[-1] if isinstance(found, tuple) else found  # AutoDL: features, logits

    def loss(self, batch) -> Tensor:  # type: ignore[no-untyped-def]
        return F.cross_entropy(self.logits(batch.images), batch.labels)


@contextmanager
def importing(path: Path, network: Network) -> Iterator[None]:
    """The folders of a checkout are on the module path; what was imported from it is forgotten
    afterwards, since projects have modules of the same names (`genotypes`, `utils`).
    """
    before = set(sys.modules)
    folders = [str((path / folder).resolve()) for folder in network.folders]
    sys.path[:0] = folders
    try:
        yield
    finally:
        del sys.path[: len(folders)]
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(path.resolve()):
                del sys.modules[name]


@contextmanager
def _without_cuda(wanted: bool) -> Iterator[None]:
    def stay(x, *_, **__):  # type: ignore[no-untyped-def]
        return x

    if not wanted:
        yield
        return
    with mock.patch.object(Tensor, "cuda", stay), mock.patch.object(nn.Module, "cuda", stay):
        yield
