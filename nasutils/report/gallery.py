"""Where figures and tables go: each saved with the table it was drawn from and a stamp of what made it."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from nasutils import paths, runs
from nasutils.report import params

SCREEN = 130
"""Dots per inch of a figure in a notebook."""


class Gallery:
    """Where a notebook's figures and tables go, the caption they carry, and stamp.json, which says what made each.

    p: the notebook's parameters. Those of params/<scale>/<notebook>.yaml fill figures/<scale>/<notebook>; others fill
    a folder beside it with a hash in its name, so that nothing is overwritten.
    """

    def __init__(self, p: Any, notebook: str, caption: str) -> None:
        self.departures = params.departures(p, notebook, p.scale)
        folder = f"{notebook}-{runs.key(self.departures)[:6]}" if self.departures else notebook
        self.folder, self.caption = paths.figures(p.scale, folder), caption
        self.runs: set[runs.Run] = set()
        self._made: dict[str, Any] = {"drawn on": runs.stamp(), "runs at hand": {}}
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.departures:
            print(f"figures go to {self.folder.name}, since these are not those of params/{p.scale}: {self.departures}")

    def drawn_from(self, *found: Mapping[Any, runs.Run]) -> None:
        """What is saved from here on may rest on these runs, too; several sets of runs may use the same keys."""
        for runs_by_key in found:
            self.runs |= set(runs_by_key.values())
        self._made["runs at hand"] = runs.computed_on(self.runs)

    def figure(self, name: str, figure: Figure, table: pd.DataFrame, caption: str | None = None) -> None:
        """Save <name>.png, .svg and .csv, and show the figure; caption: instead of the gallery's own.

        Its text form is the digest of the table, so that who compares texts sees that a picture shows other numbers.
        """
        figure.supxlabel(caption or self.caption, fontsize="x-small", color="0.4", x=0.01, ha="left")
        figure.savefig(self.folder / f"{name}.png")
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        self.table(name, table, caption)
        display(Shown(name, figure, table))
        plt.close(figure)

    def table(self, name: str, table: pd.DataFrame, caption: str | None = None) -> pd.DataFrame:
        """Save <name>.csv (six significant digits); returns the table for display."""
        table.to_csv(self.folder / f"{name}.csv", index=False, float_format="%.6g")
        self._stamp(name, caption or self.caption)
        return table

    def _stamp(self, name: str, caption: str) -> None:
        """Note how a file was made: an entry of stamp.json holds all that were made the same way."""
        made = {"what": caption, **self._made}
        made |= {"other parameters": self.departures} if self.departures else {}
        file = self.folder / "stamp.json"
        entries = json.loads(file.read_text()) if file.exists() else []
        for entry in entries:
            entry["files"] = [other for other in entry["files"] if other != name]
        same = next((entry for entry in entries if {**entry, "files": []} == {**made, "files": []}), None)
        if same is None:
            entries.append(same := {"files": [], **made})
        same["files"].append(name)
        file.write_text(json.dumps([entry for entry in entries if entry["files"]], indent=1) + "\n")


class Shown:
    """A figure as a notebook shows it: its picture, and a text that tells by which table it was drawn."""

    def __init__(self, name: str, figure: Figure, table: pd.DataFrame) -> None:
        self._figure, self._text = figure, f"<figure {name}: {digest(table)}>"

    def __repr__(self) -> str:
        return self._text

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self._figure.savefig(picture, dpi=SCREEN)
        return picture.getvalue()


def digest(table: pd.DataFrame) -> str:
    """Rows, columns and eight hex digits of a table's text, numbers to four digits: the same on any processor."""
    text = table.to_csv(index=False, float_format="%.4g")
    return f"{len(table)} x {len(table.columns)}, {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def best_picture(notebook: str, name: str) -> Path | None:
    """A figure from the largest scale that has it in figures/ (None: nowhere yet)."""
    candidates = (paths.figures(scale, notebook) / f"{name}.png" for scale in paths.SCALES)
    return next((path for path in candidates if path.exists()), None)
