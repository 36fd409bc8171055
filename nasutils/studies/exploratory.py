"""Campaigns beside the registered plan, from the command line: computed stage by stage, runs side
by side. What is finished in the repository is not computed again; a run that was killed goes on,
one that failed is tried again.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from nasutils import paths
from nasutils.report import params
from nasutils.runs import Run, copy_finished
from nasutils.sweep.launch import sweep
from nasutils.sweep.live import Lines
from nasutils.sweep.pool import ENGINES, Task, home_of, name_of
from nasutils.training.computation import Machine

Key = tuple[str, int]
"""Label and seed."""


class Staged(Protocol):
    """Runs in stages. cost: of all of it, in words. names: of the stages."""

    @property
    def cost(self) -> str: ...

    @property
    def names(self) -> Sequence[str]: ...

    def stages(self, machine: Machine) -> Iterator[Mapping[Key, Task]]:
        """The runs of each, made of those that are finished by the time it is asked."""


Parts = Mapping[str, tuple[str, Callable[[Any], Staged]]]
"""Name of a campaign -> the notebook of whose parameters it is made, and by what."""


def main(module: str, about: str | None, parts: Parts) -> None:
    """The command `python -m MODULE run | status`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("action", choices=["run", "status"])
    parser.add_argument("--part", choices=list(parts), help="only this one")
    add_machine(parser, paths.SCALES)
    given = parser.parse_args()
    kept = paths.runs(given.scale)
    machine = Machine(given.runs or kept, given.data, device=given.device)
    for name in [given.part] if given.part else parts:
        notebook, made_of = parts[name]
        campaign = made_of(params.at_scale(notebook, given.scale, device=given.device))
        print(f"{name} (notebook {notebook}): {campaign.cost}", flush=True)
        if given.action == "run":
            compute(campaign, machine, kept, **side_by_side(given))
        print("\n".join(status(campaign, machine, kept)), flush=True)


def add_machine(parser: argparse.ArgumentParser, scales: Sequence[str]) -> None:
    """The options of a command that say where runs lie and are computed."""
    parser.add_argument("--runs", type=Path, help="folder of the runs (figures/<scale>/runs)")
    parser.add_argument("--data", type=Path, help="folder of the data sets (NASUTILS_DATA)")
    parser.add_argument("--scale", default="laptop", choices=scales)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or one of several: cuda:1")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side")
    parser.add_argument("--engine", default="local", choices=ENGINES, help="ray: on a cluster")
    parser.add_argument(
        "--gpus",
        type=float,
        default=0.0,
        help="share of a GPU that a run takes, on all GPUs of device cuda (0: all on the device)",
    )


def side_by_side(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `sweep` that these options give."""
    return {"workers": given.workers, "engine": given.engine, "gpus": given.gpus}


def compute(campaign: Staged, machine: Machine, kept: Path, **how: Any) -> None:
    """Compute what is missing; kept: folder of runs that are used; how: see `side_by_side`."""
    for tasks in campaign.stages(machine):
        bring(tasks.values(), machine, kept)
        labels: dict[str, str] = {}
        for (label, seed), task in tasks.items():
            # Of equal tasks, which are one run, the first one names it.
            labels.setdefault(name_of(task), f"{label}, seed {seed}")
        sweep(list(tasks.values()), machine, watch=Lines(labels), **how)


def bring(tasks: Iterable[Task], machine: Machine, kept: Path) -> None:
    """Copy the finished runs of these tasks from `kept` to the machine's folder, if not there."""
    if machine.runs == kept:
        return
    for task in tasks:
        copy_finished(Run(kept / name_of(task)), home_of(task, machine))


def status(campaign: Staged, machine: Machine, kept: Path) -> Iterator[str]:
    """In words: how many runs of each stage are finished, and what failed; kept: see `compute`."""
    for stage, tasks in zip(campaign.names, campaign.stages(machine), strict=True):
        homes = {key: home_of(task, machine) for key, task in tasks.items()}
        done = sum(home.finished or Run(kept / home.path.name).finished for home in homes.values())
        if tasks:
            yield f"  {stage}: {done} of {len(homes)} finished"
        for (label, seed), home in homes.items():
            if failure := home.failure:
                yield f"  failed: {label}, seed {seed} ({home.path.name}): {failure['error']}"


def complete(campaign: Staged, machine: Machine) -> bool:
    """Whether all runs are finished."""
    for tasks in campaign.stages(machine):
        if not all(home_of(task, machine).finished for task in tasks.values()):
            return False
    return True


def tell_missing(command: str, core_hours: int) -> None:
    """Print, in place of what a notebook would show, how to compute it."""
    hours = f"about {core_hours} core-hours at laptop scale"
    print(f"Not computed yet: `{command}` computes it ({hours}).")
