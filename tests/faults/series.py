"""Damage to the files of a search, try by try: does a number change without a word?

    python -m tests.faults.series --tries 600

prints the table of docs/faults.md. A try copies a run that is half done or finished, damages one
of its files, and asks for the run again. What came of it:

    equal     every number is that of the undisturbed search
    named     BadRun or BadCheckpoint, with the name of the folder
    bare      another error, or one without the name
    silent    a number is another one, and nobody was told
"""

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from nasutils.runs import BadCheckpoint, BadRun, Run
from nasutils.sweep.launch import name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment

SEARCH = Experiment(
    **{
        "dataset": "digits",
        "resolution": 8,
        "images": 32,
        "evaluation": 32,
        "channels": 4,
        "cells": 1,
        "epochs": 4,
    },
    **{"method": "sp-darts", "recipe": {"split": "half", "batch": 16}, "seed": 7},
)
HALF = 2
"""Epochs after which the half run was stopped."""
OUTCOMES = ("equal", "named", "bare", "silent")


# Damage


def flip(content: bytes, draw: random.Random) -> bytes:
    """One bit."""
    changed = bytearray(content)
    changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def zeros(content: bytes, draw: random.Random) -> bytes:
    """A range, as of a block that was not written."""
    start = draw.randrange(len(content))
    length = min(draw.randrange(1, 4096), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def truncated(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def garbage(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(len(content))


def empty(content: bytes, draw: random.Random) -> bytes:
    return b""


def deleted(content: bytes, draw: random.Random) -> None:
    return None


Damage = Callable[[bytes, random.Random], bytes | None]
DAMAGES: tuple[Damage, ...] = (
    flip,
    flip,
    flip,
    flip,
    flip,
    zeros,
    zeros,
    truncated,
    garbage,
    empty,
    deleted,
)
"""In turn: what happens most often comes most often."""


# A try


class Stopped(Exception):
    """Ends a search between two epochs, as a kill would."""


def half_run(root: Path) -> Run:
    """The search, stopped after HALF epochs."""
    append = Run.append

    def append_and_stop(run: Run, record: dict, state: dict) -> None:
        append(run, record, state)
        if record["epoch"] == HALF - 1:
            raise Stopped

    Run.append = append_and_stop
    try:
        SEARCH.run(Machine(root))
    except Stopped:
        return Run(root / name_of(SEARCH))
    finally:
        Run.append = append
    raise AssertionError("the search was not stopped")


def numbers(run: Run) -> tuple:
    """All that a reader may take from a run, but for what its epochs cost and where."""
    kept = [
        {name: value for name, value in record.items() if name != "cost"} for record in run.records
    ]
    return run.result, kept


def outcome(folder: Path, undisturbed: tuple, stamp: dict | None) -> str:
    """What comes of asking for a run in a damaged folder.
    stamp: what a finished run must still say of its machine.
    """
    try:
        run = SEARCH.run(Machine(folder))
        same = numbers(run) == undisturbed and stamp in (None, run.stamp)
    except (BadRun, BadCheckpoint) as error:
        return "named" if str(folder) in str(error) else "bare"
    except Exception:
        return "bare"
    return "equal" if same else "silent"


def series(tries: int, seed: int = 0) -> dict[tuple[str, str], Counter[str]]:
    """What came of so many tries, in turn over files and kinds of damage:
    {(state, file): outcomes}.
    """
    draw, found = random.Random(seed), dict[tuple[str, str], Counter[str]]()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        half, whole = half_run(root / "half"), SEARCH.run(Machine(root / "whole"))
        undisturbed = numbers(whole)
        for (state, run, file), damage, _ in zip(
            _turns(half, whole),
            _repeated(DAMAGES, len(_files(half, whole))),
            range(tries),
            strict=False,
        ):
            shutil.copytree(run.path.parent, root / "try")
            _damage(root / "try" / run.path.name / file, damage, draw)
            came = outcome(root / "try", undisturbed, whole.stamp if state == "finished" else None)
            found.setdefault((state, file), Counter())[came] += 1
            shutil.rmtree(root / "try")
    return found


def _files(half: Run, whole: Run) -> list[tuple[str, Run, str]]:
    """Every file of the two runs. The checkpoint comes three times, since it holds most."""
    found = [
        (state, run, file.name)
        for state, run in (("half", half), ("finished", whole))
        for file in sorted(run.path.iterdir())
        if file.name not in ("lock", "failed.json")
    ]
    return found + 2 * [entry for entry in found if entry[2] == "checkpoint.pt"]


def _turns(half: Run, whole: Run) -> Iterator[tuple[str, Run, str]]:
    while True:
        yield from _files(half, whole)


def _repeated(damages: tuple[Damage, ...], times: int) -> Iterator[Damage]:
    """Each damage to every file before the next one."""
    while True:
        for damage in damages:
            yield from [damage] * times


def _damage(file: Path, damage: Damage, draw: random.Random) -> None:
    content = damage(file.read_bytes(), draw)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


def table(found: dict[tuple[str, str], Counter[str]]) -> str:
    """As Markdown."""
    lines = [f"| run | file | tries | {' | '.join(OUTCOMES)} |", "|---|---|---|---|---|---|---|"]
    for (state, file), came in found.items():
        lines.append(
            f"| {state} | `{file}` | {came.total()} |"
            f" {' | '.join(str(came[o]) for o in OUTCOMES)} |"
        )
    total = sum(found.values(), Counter())
    lines.append(f"| all | | {total.total()} | {' | '.join(str(total[o]) for o in OUTCOMES)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.series", description=__doc__)
    parser.add_argument("--tries", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(table(series(given.tries, given.seed)))
