"""Where figures and tables go: each saved with the table it was drawn from and a stamp of what
made it.
"""

import hashlib
import io
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from nasutils import paths, runs
from nasutils.report import params
from nasutils.stamp import stamp

SCREEN = 130
"""Dots per inch of a figure in a notebook."""
CAPTION = 118
"""Characters of a line below a figure."""


class Gallery:
    """Where a notebook's figures and tables go, the caption they carry, and stamp.json,
    which says what made each.

    p: the notebook's parameters. Those of params/<scale>/<notebook>.yaml fill
    figures/<scale>/<notebook>; others fill a folder beside it with a hash in its name, so that
    nothing is overwritten.
    """

    def __init__(self, p: Any, notebook: str, caption: str) -> None:
        self.departures = params.departures(p, notebook, p.scale)
        folder = f"{notebook}-{runs.key(self.departures)[:6]}" if self.departures else notebook
        self.folder = paths.figures(p.scale, folder)
        self.caption = caption
        self.runs: set[runs.Run] = set()
        self._made: dict[str, Any] = {"drawn on": stamp(), "runs at hand": {}}
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.departures:
            print(
                f"figures go to {self.folder.name}, since these are not those of params/{p.scale}:"
                f" {self.departures}"
            )

    def drawn_from(self, *found: Mapping[Any, runs.Run]) -> None:
        """What is saved from here on may rest on these runs, too;
        several sets of runs may use the same keys.
        """
        for runs_by_key in found:
            self.runs |= set(runs_by_key.values())
        self._made["runs at hand"] = runs.computed_on(self.runs)

    def figure(
        self,
        name: str,
        figure: Figure,
        table: pd.DataFrame,
        caption: str | None = None,
        reading: str = "",
    ) -> None:
        """Save <name>.png, .svg and .csv, and show the figure, and under it what it says.

        caption: instead of the gallery's own; below the figure it is followed by the note that the
        figure carries. reading: one or two sentences computed from the results; they end the
        picture's alternative text, too.
        The figure's text form is the digest of its table, so that who compares texts sees that a
        picture shows other numbers.
        """
        caption = caption or self.caption
        note = figure.get_supxlabel()
        foot = f"{caption}; {note}" if note else caption
        figure.supxlabel(
            textwrap.fill(foot, CAPTION), fontsize="small", color="0.3", x=0.01, ha="left"
        )
        sentence = note[:1].upper() + note[1:]
        alt = alternative_text(figure, f"{reading} {sentence}")
        files = {
            "png": _drawn(figure, "png", {"Description": alt}),
            "svg": _drawn(figure, "svg", {"Date": None, "Title": alt}),
            "csv": _written(table),
        }
        self._save(name, files, caption)
        display(Shown(name, figure, table, alt))
        if reading:
            display(Markdown(f"**Reading.** {reading}"))
        plt.close(figure)

    def table(self, name: str, table: pd.DataFrame, caption: str | None = None) -> pd.DataFrame:
        """Save <name>.csv (six significant digits); returns the table for display."""
        self._save(name, {"csv": _written(table)}, caption or self.caption)
        return table

    def _save(self, name: str, files: Mapping[str, bytes], caption: str) -> None:
        """Write <name>.<kind> where the content is another one than before, and stamp it then.

        What came out as it was keeps its stamp, which names the commit that drew it first.
        """
        changed = False
        for kind, content in files.items():
            changed |= _replace(self.folder / f"{name}.{kind}", content)
        stamps = self.folder / "stamp.json"
        entries = json.loads(stamps.read_text()) if stamps.exists() else []
        captions = [entry["what"] for entry in entries if name in entry["files"]]
        if changed or caption not in captions:
            kept = self._stamped(entries, name, caption)
            _replace(stamps, (json.dumps(kept, indent=1) + "\n").encode())

    def _stamped(
        self, entries: list[dict[str, Any]], name: str, caption: str
    ) -> list[dict[str, Any]]:
        """The entries of stamp.json, with how a file was made now; what was made the same way
        shares an entry.
        """
        made: dict[str, Any] = {"files": [], "what": caption, **self._made}
        if self.departures:
            made["other parameters"] = self.departures
        for entry in entries:
            entry["files"] = [other for other in entry["files"] if other != name]
        same = next((entry for entry in entries if {**entry, "files": []} == made), None)
        if same is None:
            same = made
            entries.append(same)
        same["files"].append(name)
        return [entry for entry in entries if entry["files"]]


def _drawn(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    """A picture's file."""
    picture = io.BytesIO()
    figure.savefig(picture, format=kind, metadata=metadata)
    return picture.getvalue()


def _written(table: pd.DataFrame) -> bytes:
    """A table's file: CSV with six significant digits."""
    return table.to_csv(index=False, float_format="%.6g").encode()


def _replace(file: Path, content: bytes) -> bool:
    """Write a file unless that is what it holds; returns whether it was written."""
    if file.exists() and file.read_bytes() == content:
        return False
    runs.write_whole(file, content)
    return True


class Shown:
    """A figure as a notebook shows it: its picture with an alternative text,
    and a text that tells its table.
    """

    def __init__(self, name: str, figure: Figure, table: pd.DataFrame, alt: str) -> None:
        self._figure = figure
        self._text = f"<figure {name}: {table_digest(table)}>"
        self._alt = alt

    def __repr__(self) -> str:
        return self._text

    def _repr_png_(self) -> tuple[bytes, dict[str, str]]:
        picture = io.BytesIO()
        self._figure.savefig(picture, dpi=SCREEN)
        return picture.getvalue(), {"alt": self._alt}


def alternative_text(figure: Figure, reading: str = "") -> str:
    """A figure in words, for who does not see it:
    panels, axes, what is drawn, and then the reading.
    """
    panels = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    titles = _different_texts(ax.get_title() for ax in panels)
    up = _different_texts(ax.get_ylabel() for ax in panels)
    across = _different_texts(ax.get_xlabel() for ax in panels)
    drawn = _different_texts(_legend_texts(figure, panels))

    told = f"{len(panels)} panels" if len(panels) > 1 else "One panel"
    if titles:
        told += f" ({'; '.join(titles)})"
    labels = [" and ".join(labels) for labels in (up, across) if labels]
    if labels:
        told += f": {' against '.join(labels)}"
    if drawn:
        told += f". Shown: {', '.join(drawn)}"
    plain = f"{told}. {reading}".replace("**", "").replace("`", "")
    return _one_line(plain)


def _legend_texts(figure: Figure, panels: Iterable[Axes]) -> Iterator[str]:
    for legend in (*figure.legends, *(ax.get_legend() for ax in panels)):
        if legend is not None:
            yield from (text.get_text() for text in legend.get_texts())


def _different_texts(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(_one_line(text) for text in texts if text.strip()))


def _one_line(text: str) -> str:
    """The words of a text with one space between."""
    return " ".join(text.split())


def table_digest(table: pd.DataFrame) -> str:
    """Rows, columns and eight hex digits of a table's text, numbers to four digits:
    the same on any processor.
    """
    text = table.to_csv(index=False, float_format="%.4g")
    return f"{len(table)} x {len(table.columns)}, {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def best_picture(notebook: str, name: str) -> Path | None:
    """A figure from the largest scale that has it in figures/ (None: nowhere yet)."""
    for scale in paths.SCALES:
        picture = paths.figures(scale, notebook) / f"{name}.png"
        if picture.exists():
            return picture
    return None


def show(table: pd.DataFrame, **formats: str) -> Styler:
    """A table as a notebook shows it: estimates as `mean [low, high]`, counts whole,
    other numbers to three digits.

    formats: of single columns, as of `Styler.format`. Backticks, which mark labels in texts, are
    not shown.
    """
    shown = readable(table).rename(columns=lambda column: column.replace("_", " "))
    texts = shown.select_dtypes(exclude="number").columns
    shown[texts] = shown[texts].map(_without_backticks)
    format_of = dict.fromkeys(shown.select_dtypes("number").columns, "{:.3g}")
    format_of |= {column: "{:.0f}" for column in ("n", "seed", "epoch") if column in shown}
    styler = shown.style.hide(axis="index").format(format_of | formats, na_rep="")
    left = [{"selector": "td, th", "props": "text-align: left"}]
    digest = table_digest(shown).split()[-1]  # the same table has the same HTML
    return styler.set_table_styles(left).set_uuid(digest)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """For display: each column with its `_low` and `_high` beside it as one text,
    mean [low, high].
    """
    shown = table.copy()
    for column in table.columns:
        if f"{column}_low" not in table.columns:
            continue
        low, high = shown.pop(f"{column}_low"), shown.pop(f"{column}_high")
        rows = zip(table[column], low, high, strict=True)
        shown[column] = [_with_interval(*row) for row in rows]
    return shown


def _with_interval(mean: float, low: float, high: float) -> str:
    """`mean [low, high]`, as far as they are known; a mean that rounds to -0.00 is 0.00."""
    if math.isnan(mean):
        return ""
    if math.isnan(low):
        return f"{mean:z.2f}"
    return f"{mean:z.2f} [{low:z.2f}, {high:z.2f}]"


def _without_backticks(cell: Any) -> Any:
    return cell.replace("`", "") if isinstance(cell, str) else cell
