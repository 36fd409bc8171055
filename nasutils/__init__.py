"""Differentiable architecture search: spaces, methods and finalnets, every rule checked by number.

The folders are the architecture: imports go down this list only.

    studies    the four papers: what is compared, claimed, drawn
    report     what a reader sees: parameters, claims, figures, widgets
    sweep      many runs, on this machine or on a cluster
    training   the loops: searches and final networks
    measures   what a record says
    methods    how alpha moves
    spaces     what can be found
    data, own_data, registry, runs, stamp, errors, paths
"""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from nasutils import methods, spaces
from nasutils.spaces.genotype import Genotype

__all__ = ["Genotype", "methods", "spaces"]

MOVED = {
    "diagnosis": "report.diagnosis",
    "drawing": "report.drawing",
    "experiment": "training.experiment",
    "finalnet": "training.finalnet",
    "genotypes": "spaces.catalogue",
    "launch": "sweep.launch",
    "leakage": "measures.leakage",
    "measures.analysis": "measures.tables",
    "planning": "sweep.planning",
    "plots": "report.plots",
    "search": "training.search",
    "stopping": "measures.stopping",
}
"""Modules that people import by their short name, which stays valid:
`nasutils.experiment` is `training.experiment`.
"""


class _Moved(MetaPathFinder, Loader):
    """Finds a module of MOVED by its short name, as the same object that its full name gives."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == __name__ and name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(f"{__name__}.{MOVED[spec.name.partition('.')[2]]}")
        spec.loader_state = module.__spec__  # which Python is about to replace
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_Moved())
