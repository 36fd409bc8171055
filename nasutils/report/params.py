"""The parameters cell of a notebook, validated:
the cell is the only declaration of names, types and defaults.

    p = check(globals())

reads the annotated names of the parameters cell, and refuses what papermill injected beside them.
"""

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from reprlib import repr as short
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from nasutils import data, paths
from nasutils.errors import choose
from nasutils.methods.base import PRESETS
from nasutils.spaces import S_SPACES
from nasutils.spaces.base import check_cells, check_channels
from nasutils.spaces.nasbench201 import OPS
from nasutils.sweep import pool
from nasutils.training.computation import check_device
from nasutils.training.loop import PRECISIONS
from nasutils.training.protocols import PROTOCOLS


def _one_of(kind: str, choices: Iterable[str]) -> Any:
    allowed = tuple(choices)
    return Annotated[str, AfterValidator(lambda value: choose(kind, value, allowed))]


Scale = _one_of("scale", paths.SCALES)
DataSet = Annotated[str, AfterValidator(data.located)]
Split = _one_of("split", data.SPLITS)
Preset = _one_of("preset", PRESETS)
ProtocolName = _one_of("protocol", PROTOCOLS)
Precision = _one_of("precision", PRECISIONS)
Engine = _one_of("engine", pool.ENGINES)
OperationName = _one_of("operation of nasbench201", OPS)


def _different_seeds(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError(f"seeds must differ, or one search counts as several, not {values}")
    return values


Device = Annotated[str, AfterValidator(check_device)]
Positive = Annotated[int, Field(ge=1)]
DartsChannels = Annotated[int, AfterValidator(check_channels)]
DartsCells = Annotated[int, AfterValidator(check_cells)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rates = list[Rate]
Share = Annotated[float, Field(ge=0, le=1)]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_different_seeds)
]
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
    list[str],
    AfterValidator(lambda values: [choose("space of RobustDARTS", v, S_SPACES) for v in values]),
]
Switch = Literal[True, False]


class BadParameters(ValueError):
    """One or more parameters are unknown, of the wrong type or out of range;
    the message names each.
    """


def check(namespace: Mapping[str, Any]) -> BaseModel:
    """Validate the annotated names of the parameters cell; returns them as one frozen record.

    namespace: the notebook's `globals()`. Names that papermill injected without their being
    declared are refused (papermill itself only logs them). Raises BadParameters, all mistakes in
    one message.
    """
    declared = dict(namespace.get("__annotations__", {}))
    names = [*declared, *injected(namespace.get("In", []))]
    return validate(declared, {name: namespace[name] for name in names if name in namespace})


def validate(declared: Mapping[str, Any], given: Mapping[str, Any]) -> BaseModel:
    """Check values against declared types (name -> type); see `check`."""
    __tracebackhide__ = True
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in declared.items()}
    schema = create_model(
        "Parameters", __config__=ConfigDict(extra="forbid", frozen=True), **fields
    )
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
    message = error["msg"]
    return f"{where}: {message[0].lower()}{message[1:]}, not {short(error['input'])}"


def injected(cells: Iterable[str]) -> list[str]:
    """Names that papermill assigned in its injected cell; none when a notebook is run by hand."""
    for source in cells:
        if source.startswith("# Parameters\n"):
            assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
            targets = [node.targets[0] for node in assigned]
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def _parameters_cell(notebook: str) -> Iterator[tuple[str, ast.AnnAssign]]:
    """The annotated assignments of a notebook's parameters cell, by name."""
    cells = json.loads(paths.notebook(notebook).read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    source = "".join(tagged[0]["source"])
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


def declared(notebook: str) -> dict[str, Any]:
    """The names and types that a notebook declares in its parameters cell."""
    types = {}
    for name, node in _parameters_cell(notebook):
        types[name] = eval(ast.unparse(node.annotation), globals())
    return types


def defaults(notebook: str) -> dict[str, Any]:
    """The values of a notebook's parameters cell, those of laptop scale."""
    values = {}
    for name, node in _parameters_cell(notebook):
        if node.value is not None:
            values[name] = ast.literal_eval(node.value)
    return values


def _at_scale(notebook: str, scale: str) -> dict[str, Any]:
    """The values of params/<scale>/<notebook>.yaml, and the notebook's own for all others."""
    values = defaults(notebook)
    file = paths.params(scale, notebook)
    if file.exists():
        values |= yaml.safe_load(file.read_text())
    return values


def at_scale(notebook: str, scale: str, **changes: Any) -> BaseModel:
    """The parameters with which a notebook is run at a scale. Raises BadParameters."""
    return validate(declared(notebook), _at_scale(notebook, scale) | changes)


WHERE = (
    "workers",
    "engine",
    "gpus",
    "device",
    "data_root",
    "download",
    "compute_rivals",
    "trained_cells",
)
"""Parameters that say where things are and run, not what is computed."""


def departures(given: BaseModel, notebook: str, scale: str) -> dict[str, Any]:
    """The parameters that differ from params/<scale>/<notebook>.yaml
    (and the notebook's defaults), but for WHERE.
    """
    values = _at_scale(notebook, scale)
    schema = type(given)  # which `check` made of the cell's annotations
    usual = schema(**{name: values[name] for name in schema.model_fields}).model_dump()
    changed = {}
    for name, value in given.model_dump().items():
        if name not in WHERE and value != usual[name]:
            changed[name] = value
    return changed
