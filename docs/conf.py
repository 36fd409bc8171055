"""The site: `make site` reads the repository as it is, from its root, and writes build/site.

So a link that works on GitHub works on the site. Notebooks are shown as committed, never executed
here.
"""

import json
import re
import subprocess
from functools import cache
from html import unescape
from itertools import groupby
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

project = "nasutils"
author = "the nasutils authors"
html_title = project
root_doc = "README"
include_patterns = ["README.md", "docs/**", "notebooks/*.ipynb", "figures/README.md"]
include_patterns += [
    "figures/bench/*.md",
    "figures/bench/cuda/*.md",
    "figures/bench/peers/*.md",
    "nasutils/tables/README.md",
]
exclude_patterns = ["build", "docs/site", "figures/*/runs", "**/.*"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}  # no kernel, no widgets
nb_render_markdown_format = "myst"

autodoc_default_options = {"members": True, "show-inheritance": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
add_module_names = False
highlight_language = "none"  # of blocks that name no language
templates_path = ["site/templates"]

html_theme = "furo"
html_theme_options = {"sidebar_hide_name": False}
html_static_path = ["site/static", "../build/katex/static"]
html_css_files = ["katex.min.css", "site.css"]
html_math_renderer = "katex"
html_favicon = "site/static/icon.svg"
html_copy_source = html_domain_indices = False
html_show_copyright = html_show_sphinx = False
html_permalinks_icon = "#"

ALT = 250
"""Characters of a description at most."""
SHORT, LONG = 24, 40
"""Characters of a table's cell that stay on one line at most, and that need room at least."""
CELL = re.compile(r"(<t[dh]\b[^>]*>)(.*?)(</t[dh]>)", re.DOTALL)
"""Of an HTML table: its opening tag, content and closing tag."""
PURPOSES = {
    r"\A(from|import) ": "imports",
    r"^scale: Scale": "the parameters and their values",
    r"check\(globals": "checks the parameters",
    r"gather\(": "reads the runs, or computes those that are missing",
    r"gallery\.figure\(": "draws the figure",
    r"show\(|gallery\.table\(": "makes the table",
    r"verdict_on\(|claims\.told\(": "tests the claim",
    r"page\.section\(": "reads the results",
    r"widgets\.\w+_explorer\(": "what can be moved in JupyterLab",
    r"^machine = ": "says where runs lie and where they are computed",
    r"^expected = ": "counts the runs and what they cost",
}
"""What a cell of a notebook does, by the first of the patterns that its code has."""

CONTENTS = """
```{toctree}
:hidden:
:caption: The four papers

notebooks/sparsification
notebooks/bypass_leakage
notebooks/lhd_benchmark
notebooks/lr_swap
```

```{toctree}
:hidden:
:caption: Results

figures/README
docs/pilot
docs/pilot_in_words
```

```{toctree}
:hidden:
:caption: Guides

docs/running
docs/package
docs/own_data
docs/own_method
docs/own_space
docs/read_a_run
docs/found_network
docs/verdicts
docs/faults
```

```{toctree}
:hidden:
:caption: Reference

docs/reference/api
figures/bench/bench
figures/bench/cuda/bench
figures/bench/peers/bench
nasutils/tables/README
```
"""


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """The README is the first page; only the site needs its table of contents."""
    if docname == root_doc:
        source[0] += CONTENTS


def keep_anchors(app: Sphinx, docname: str, source: list[str]) -> None:
    """Anchors that GitHub knows by their HTML are targets here."""
    source[0] = re.sub(r'^<a id="([\w-]+)"></a>$', r"(\1)=", source[0], flags=re.MULTILINE)


def read_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """A notebook is an article: its code is there for who unfolds it."""
    if docname.startswith("notebooks/"):
        notebook = json.loads(source[0])
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                set_cell(cell)
        source[0] = json.dumps(notebook)


def set_cell(cell: dict[str, Any]) -> None:
    """Fold the code under a line that says what it does, keep the picture's alternative text,
    and give the columns of tables their width.
    """
    tags = {*cell["metadata"].get("tags", []), "hide-input"}
    prompt = purpose("".join(cell["source"]))
    render: dict[str, Any] = {"code_prompt_show": prompt, "code_prompt_hide": prompt}
    for output in cell["outputs"]:
        if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
            render.setdefault("image", {"alt": alt})
        if table := output.get("data", {}).get("text/html"):
            output["data"]["text/html"] = CELL.sub(with_width, "".join(table))
    cell["metadata"] |= {"tags": sorted(tags), "mystnb": render}


def purpose(code: str) -> str:
    """The line that a cell's code is folded under: what it does, or how it begins."""
    does = (words for pattern, words in PURPOSES.items() if re.search(pattern, code, re.MULTILINE))
    return f"Code: {next(does, None) or code.splitlines()[0]}"


def with_width(cell: re.Match[str]) -> str:
    """A cell of an HTML table with the class of its width."""
    tag, text, end = cell.groups()
    name = width(unescape(re.sub("<[^>]+>", "", text)))
    return tag.replace(' class="', f' class="{name} ', 1) + text + end


def width(text: str) -> str:
    """The class of a table's cell: see site.css."""
    return "short" if len(text) <= SHORT else "long" if len(text) > LONG else ""


def set_widths(app: Sphinx, doctree: nodes.document) -> None:
    """Cells of tables have the class of their width."""
    for entry in doctree.findall(nodes.entry):
        if name := width(entry.astext()):
            entry["classes"].append(name)


def describe_images(app: Sphinx, doctree: nodes.document) -> None:
    """A figure of a notebook is described by the words before it:
    its caption up to ALT characters.
    """
    before = ""
    for node in doctree.findall(lambda n: isinstance(n, (nodes.paragraph, nodes.image))):
        if isinstance(node, nodes.paragraph):
            before = node.astext() or before
        elif not node.get("alt"):
            node["alt"] = shortened(" ".join(before.split()))


def frame_figures(app: Sphinx, doctree: nodes.document) -> None:
    """A figure of a notebook has a box of its own, in which it can be scrolled on a phone."""
    for image in list(doctree.findall(nodes.image)):
        if "mime_type" in image.parent:
            box = nodes.container(classes=["output", "figure"])
            image.replace_self(box)
            box += image


def shortened(text: str) -> str:
    """The first sentences of a text that have room in ALT characters,
    or the beginning of the first.
    """
    if len(text) <= ALT:
        return text
    end = text.rfind(". ", 0, ALT)
    return text[: end + 1] if end > 0 else text[: text.rfind(" ", 0, ALT)] + " ..."


def plain_text(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are plain text: blocks between blank lines, code in backticks or indented,
    lists with stars.
    """
    blocks = [
        "\n".join(block)
        for blank, block in groupby(lines, lambda line: not line.strip())
        if not blank
    ]
    lines[:] = "\n\n".join(map(restructured, blocks)).splitlines()


def restructured(block: str) -> str:
    """A block of lines as reStructuredText."""
    if block.startswith("    "):
        return f"::\n\n{block}\n\n.."
    parts = re.split(r"`([^`]+)`", block)
    parts[::2] = [re.sub(r"([\\*_|`])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [rf"\ ``{' '.join(code.split())}``\ " for code in parts[1::2]]
    text = "".join(parts)
    if re.search(r"^ {4}", text, flags=re.MULTILINE):  # columns within a list: line by line
        return "\n".join(f"| {line}" for line in text.splitlines())
    return re.sub(r"^\\\* ", "* ", text, flags=re.MULTILINE)


@cache
def katex() -> subprocess.Popen[str]:
    """The process that makes HTML of TeX; it ends with this one."""
    command = ["node", Path(__file__).parent / "site" / "formulas.js"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def formula(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """Formulas are made into HTML here, so that a page needs neither a script nor a network for
    them.
    """
    display = isinstance(node, nodes.math_block)
    line, process = json.dumps([node.astext(), display]), katex()
    print(line, file=process.stdin, flush=True)
    if not (answer := process.stdout.readline()):
        raise ExtensionError(f"KaTeX cannot read {node.astext()!r}; what it says stands above")
    html = json.loads(answer)
    translator.body.append(f'<div class="math">{html}</div>' if display else html)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer(
        "katex", inline_renderers=(formula, None), block_renderers=(formula, None)
    )
    app.connect("source-read", add_contents)
    app.connect("source-read", keep_anchors)
    app.connect("source-read", read_notebook)
    app.connect("doctree-read", describe_images)
    app.connect("doctree-read", frame_figures)
    app.connect("doctree-read", set_widths)
    app.connect("autodoc-process-docstring", plain_text)
