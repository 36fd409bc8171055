"""The parameters cell of a notebook, validated: the cell is the only declaration of names, types and defaults.

    p = check(globals())

reads the annotated names of the parameters cell, and refuses what papermill injected beside them.
"""

import ast
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from nasutils import data, methods, places, spaces, workers
from nasutils.errors import choose
from nasutils.methods.base import PRESETS, S_SPACES
from nasutils.protocols import PROTOCOLS
from nasutils.search import PRECISIONS
from nasutils.spaces.base import check_cells, check_channels
from nasutils.spaces.nasbench201 import OPS


def _one_of(kind: str, choices: Iterable[str]) -> Any:
    allowed = tuple(choices)
    return Annotated[str, AfterValidator(lambda value: choose(kind, value, allowed))]


Scale = _one_of("scale", places.SCALES)
SpaceName = _one_of("space", spaces.names)
MethodName = _one_of("method", methods.names)
DataSet = _one_of("data set", data.NAMES)
Split = _one_of("split", data.SPLITS)
Preset = _one_of("preset", PRESETS)
ProtocolName = _one_of("protocol", PROTOCOLS)
Precision = _one_of("precision", PRECISIONS)
Engine = _one_of("engine", workers.ENGINES)
OperationName = _one_of("operation of nasbench201", OPS)


def _device(value: str) -> str:
    """cpu, or a CUDA device that is there."""
    here = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return choose("device on this machine", value, ["cpu", *(["cuda", *here] if here else [])])


Device = Annotated[str, AfterValidator(_device)]
Positive = Annotated[int, Field(ge=1)]
DartsChannels = Annotated[int, AfterValidator(check_channels)]
DartsCells = Annotated[int, AfterValidator(check_cells)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rates = list[Rate]
Share = Annotated[float, Field(ge=0, le=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Labels = list[str]
Count = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
DataSets = Annotated[
    list[str],
    AfterValidator(lambda values: [choose("data set", v, data.NAMES) for v in values]),
    Field(min_length=1),
]
Budgets = Annotated[list[Literal["released", "equal"]], Field(min_length=1, max_length=2)]
SSpaces = Annotated[
    list[str], AfterValidator(lambda values: [choose("space of RobustDARTS", v, S_SPACES) for v in values])
]
Switch = Literal[True, False]


class BadParameters(ValueError):
    """One or more parameters are unknown, of the wrong type or out of range; the message names each."""


def check(namespace: Mapping[str, Any]) -> BaseModel:
    """Validate the annotated names of the parameters cell; returns them as one frozen record.

    namespace: the notebook's `globals()`. Names that papermill injected without their being declared are
    refused (papermill itself only logs them). Raises BadParameters, all mistakes in one message.
    """
    declared = dict(namespace.get("__annotations__", {}))
    given = {name: namespace[name] for name in declared} | {
        name: namespace[name] for name in injected(namespace.get("In", [])) if name in namespace
    }
    return validate(declared, given)


def validate(declared: Mapping[str, Any], given: Mapping[str, Any]) -> BaseModel:
    """Check values against declared types (name -> type); see `check`."""
    __tracebackhide__ = True
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in declared.items()}
    schema = create_model("Parameters", __config__=ConfigDict(extra="forbid", frozen=True), **fields)
    try:
        return schema(**given)
    except ValidationError as error:
        message = "; ".join(_explain(e, tuple(declared)) for e in error.errors())
    raise BadParameters(message)


def _explain(error: Any, names: tuple[str, ...]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        try:
            choose("parameter", where, names)
        except ValueError as unknown:
            return str(unknown)
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}, not {error['input']!r}"


def injected(cells: Iterable[str]) -> list[str]:
    """Names that papermill assigned in its injected cell; none when a notebook is run by hand."""
    for source in cells:
        if source.startswith("# Parameters\n"):
            targets = [node.targets[0] for node in ast.parse(source).body if isinstance(node, ast.Assign)]
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def declared_in(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The names and types that a notebook (its parsed JSON) declares in its parameters cell."""
    source = next(
        "".join(cell["source"]) for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])
    )
    return {
        node.target.id: eval(ast.unparse(node.annotation), globals())
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
