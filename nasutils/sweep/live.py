"""What is seen of a sweep while it runs: in JupyterLab a line per run with a growing curve,
elsewhere a bar of epochs.

Both look into the run folders, seldom enough to slow nothing: the runs know nothing of who watches
them.
"""

import html
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import ceil, isnan, nan
from statistics import fmean
from time import monotonic
from typing import Any, Protocol

from nasutils.measures.searches import cell_accuracy
from nasutils.sweep.planning import Outlook, Progress
from nasutils.sweep.pool import Task, name_of
from nasutils.training.computation import Machine
from nasutils.training.loop import Record

OVER = ("cached", "finished", "failed")
"""States of a run that is no longer computed."""
SHARE = 20
"""A table is drawn anew after so many times the seconds that drawing it took."""
SHOWN = 16
"""Number of runs that have a line of their own: those under way, then those that are over,
the last ones first.
"""
WIDTH, HEIGHT, EDGE = 120, 24, 2
"""Size of a curve, in pixels. Its line keeps off the edges, which would cut it."""


class View(Protocol):
    """What shows a sweep: called with the states of all runs by name (see `launch.States`),
    at every change and now and then between.
    """

    def __call__(self, states: Mapping[str, str]) -> None: ...

    def close(self) -> None:
        """Leave nothing that moves."""


def view(tasks: Mapping[Any, Task], machine: Machine) -> View:
    """The view that suits where this runs; tasks: by the keys that they are known by."""
    return Table(tasks, machine) if in_jupyter() else Bar(tasks.values(), machine)


def in_jupyter() -> bool:
    """Whether a person watches: a kernel that a Jupyter server started, not one of papermill,
    nbval or nbconvert.
    """
    return "JPY_SESSION_NAME" in os.environ


def caption(states: Mapping[str, str], left: float) -> str:
    """Words for how many runs are under way and have failed, and for the time left.

    left: seconds, nan if it is not known yet.
    """
    counts = Counter(states.values())
    parts = [f"{counts[state]} {state}" for state in ("running", "failed") if counts[state]]
    if (counts["running"] or counts["waiting"]) and not isnan(left):
        parts.append(f"{duration(left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """A time in hours and whole minutes, begun ones counted."""
    minutes = ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


class Bar:
    """A line of text: epochs done of all, and the `caption`."""

    def __init__(self, tasks: Iterable[Task], machine: Machine) -> None:
        from tqdm import tqdm

        named = {name_of(task): task for task in tasks}
        self._outlook = Outlook(named.values(), machine)
        self._epochs = {name: task.epochs for name, task in named.items()}
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar = tqdm(total=sum(self._epochs.values()), unit="epoch", bar_format=form)

    def __call__(self, states: Mapping[str, str]) -> None:
        left = self._outlook(states)
        under_way = self._outlook.under_way
        done = 0
        for name, state in states.items():
            if state in OVER:
                done += self._epochs[name]
            elif name in under_way:  # a run that has ended since may still be there
                done += under_way[name].epochs
        self._bar.n = done
        self._bar.set_postfix_str(caption(states, left))

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line of text for every run that ends; labels: what the runs are called, by name."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._ended: set[str] = set()

    def __call__(self, states: Mapping[str, str]) -> None:
        over = {name for name, state in states.items() if state in ("finished", "failed")}
        for name in sorted(over - self._ended):
            ended = f"{states[name]}: {self._labels[name]} ({name})"
            print(f"{ended}; {len(over)} of {len(states)}", flush=True)
        self._ended = over


class Table:
    """A line per run, in a notebook that somebody looks at:
    its epoch, the time left, a curve of how it goes.
    """

    def __init__(self, tasks: Mapping[Any, Task], machine: Machine) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._next = 0.0
        self._outlook = Outlook(tasks.values(), machine)
        self._tasks: dict[str, Task] = {}
        self._labels: dict[str, str] = {}
        for key, task in tasks.items():
            name = name_of(task)
            self._tasks[name] = task
            self._labels.setdefault(name, _label(key))  # equal tasks are one run
        self._over: dict[str, str] = {}
        """Lines of the runs that are over, which do not change any more."""
        self._handle = display(HTML(""), display_id=True)

    def __call__(self, states: Mapping[str, str]) -> None:
        started = monotonic()
        if started < self._next:
            return
        left = self._outlook(states)
        self._handle.update(self._html(self._drawn(states, left)))
        self._next = monotonic() + max(1.0, SHARE * (monotonic() - started))

    def _drawn(self, states: Mapping[str, str], left: float) -> str:
        over = [name for name, state in states.items() if state in OVER]
        running = [name for name, state in states.items() if state == "running"]
        ended = [name for name in over if states[name] != "cached"]
        last_first = [*running, *reversed(ended)]
        lines = [self._line(name, states[name]) for name in last_first[:SHOWN]]
        head = f"{len(over)} of {len(states)} runs are over; {caption(states, left)}"
        return f"<p>{head}</p><table>{''.join(lines)}</table>"

    def _line(self, name: str, state: str) -> str:
        if state == "running":
            return self._row(name, state, self._outlook.under_way.get(name, Progress()))
        if name not in self._over:
            self._over[name] = self._row(name, state, self._outlook.progress(name))
        return self._over[name]

    def _row(self, name: str, state: str, done: Progress) -> str:
        task = self._tasks[name]
        cells = [html.escape(self._labels[name]), state, f"epoch {done.epochs} of {task.epochs}"]
        left = self._outlook.ends.get(name, nan)
        known = state == "running" and not isnan(left)
        cells.append(f"{duration(left)} left" if known else "")
        with suppress(ValueError, TypeError, KeyError, AttributeError):  # an odd record
            space = task.params().get("space", "")
            cells += _curves(done.records, space)
        style = "text-align: left; white-space: nowrap"
        row = "".join(f'<td style="{style}">{cell}</td>' for cell in cells)
        return f"<tr>{row}</tr>"

    def close(self) -> None:
        self._handle.update(self._html(""))


def _label(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _curves(records: Sequence[Record], space: str) -> list[str]:
    """Curves of a run, each with its last value."""
    watched, values = curve(records, space)
    spread = entropies(records)
    return [
        sparkline(watched, values),
        f"{values[-1]:.1f} % {watched}" if values else "",
        sparkline("entropy", spread),
        f"{spread[-1]:.2f} nats entropy" if spread else "",
    ]


def entropies(records: Sequence[Record]) -> list[float]:
    """Entropy of the mixing weights (nats), the mean over the cell types of a search;
    nothing of a final network.
    """
    return [fmean(record["entropy"].values()) for record in records if "entropy" in record]


def curve(records: Sequence[Record], space: str) -> tuple[str, list[float]]:
    """What to watch of a run, and its values (%) so far.

    The tabulated accuracy of the current cell, where the space has a table; else the accuracy of
    the supernet, or of a final network on the test images; else that of training.
    """
    if space == "nasbench201" and records and "genotype" in records[0]:
        cells = [cell_accuracy(record["genotype"]) for record in records]
        return "accuracy of the current cell", cells
    for name in ("supernet_accuracy", "test_accuracy", "train_accuracy"):
        found = [record[name] for record in records if record.get(name) is not None]
        if found:
            values = [value["relaxed"] if isinstance(value, dict) else value for value in found]
            return name.replace("_", " "), values
    return "", []


def sparkline(name: str, values: Sequence[float]) -> str:
    """A small curve between its smallest and largest value as SVG;
    nothing of fewer than two values.
    """
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = high - low or 1  # a flat curve lies at the bottom
    step = (WIDTH - 2 * EDGE) / (len(values) - 1)
    points = []
    for i, value in enumerate(values):
        x = EDGE + i * step
        # SVG counts from the top.
        y = HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * ((value - low) / span)
        points.append(f"{x:.1f},{y:.1f}")
    line = (
        f'<polyline points="{" ".join(points)}" fill="none" stroke="currentColor"'
        ' stroke-width="1.5"/>'
    )
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{name}">{line}</svg>'
