"""One search, or the training of one network, from the command line; several seeds side by side.

    python -m nasutils search method=sp-darts space=s2 epochs=20 'recipe={batch: 32}'
    python -m nasutils train 'genotype=|nor_conv_3x3~0|+...' 'protocol={epochs: 20}' --seeds 0 1

What may be set are the fields of `Experiment` and of `Evaluation`, in YAML; the others keep their
defaults. The same command again reads what is finished, and goes on with what was killed.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import yaml

from nasutils.data import MissingData
from nasutils.errors import choose
from nasutils.measures.diagnosis import diagnose
from nasutils.measures.searches import cell_accuracy
from nasutils.runs import Run
from nasutils.sweep.launch import gather
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation


class _Values(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, too, not only 1.0e-3."""


_Values.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
TASKS = {"search": Experiment, "train": Evaluation}


def main() -> int:
    """Parse, compute, say what was found; returns how many runs failed."""
    given = parsed()
    try:
        found = computed(given)
    except (ValueError, MissingData) as error:
        sys.exit(f"python -m nasutils: {error}")
    for seed, run in found.items():
        print(f"\nseed {seed}: {run.path}\n{in_words(run)}")
    return sum(not run.finished for run in found.values())


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m nasutils",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=TASKS)
    parser.add_argument("settings", nargs="*", metavar="FIELD=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--data", type=Path, help="folder of the data sets (NASUTILS_DATA)")
    parser.add_argument("--download", action="store_true", help="fetch a data set that is absent")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or one of several: cuda:1")
    parser.add_argument("--workers", type=int, help="runs side by side (as many as cores)")
    return parser.parse_intermixed_args()


def computed(given: argparse.Namespace) -> dict[int, Run]:
    """The runs by seed. Raises ValueError and MissingData, see `gather`."""
    kind = TASKS[given.action]
    made_of = settings(kind, given.settings)
    tasks = {seed: kind(**made_of, seed=seed) for seed in given.seeds}
    machine = Machine(given.runs, given.data, given.download, given.device)
    return gather(tasks, machine, given.workers)


def settings(task: type[Experiment | Evaluation], given: Sequence[str]) -> dict[str, Any]:
    """The values of FIELD=VALUE by field: a text as it is where the field is one, else YAML.

    Raises ValueError for another field, for what is no YAML, and for a field that is needed.
    """
    kinds = {field.name: field.type for field in fields(task) if field.name != "seed"}
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        kind = kinds[choose("field", name, kinds)]
        try:
            found[name] = value if kind is str else yaml.load(value, _Values)
        except yaml.YAMLError as error:
            raise ValueError(f"{name} must be YAML, not {value!r}: {error}") from None
    for field in fields(task):
        if field.default is field.default_factory is MISSING and field.name not in found:
            raise ValueError(f"{field.name} is needed: {field.name}=VALUE")
    return found


def in_words(run: Run) -> str:
    """What a run found, in words."""
    result = run.sound_result
    if result is None:
        failure = run.failure
        return failure["error"] if failure else "not finished"
    lines = [f"{name}: {value}" for name, value in result.items()]
    params = run.params
    assert params is not None  # a sound run has them
    if params["kind"] == "search":
        if params["space"] == "nasbench201":
            accuracy = cell_accuracy(result["genotype"])
            lines.append(f"accuracy of that cell in NAS-Bench-201's table: {accuracy:.2f} %")
        if records := run.records:
            if "stopped" in result:
                lines.append("Of its last epoch, when it stopped:")
            lines.append(str(diagnose(records, params["space"], params["method"])))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
