"""The files around the package agree with each other: environment, parameters, Makefile, citation.

Run: pytest tests/test_project.py
"""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import nasutils

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text()
NOTEBOOKS = sorted(path.stem for path in ROOT.glob("notebooks/*.ipynb"))
PARAMS = sorted(path.relative_to(ROOT) for path in ROOT.glob("params/*/*.yaml"))
TARGETS = [
    "setup",
    "figures",
    "confirmation",
    "rivals",
    "unreleased",
    "results",
    "constraints",
    "test",
    "lint",
    "lab",
    "site",
    "bench",
    "clean",
]
INHERITED = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "SCALE", "NOTEBOOK"}


def output(*command: str) -> str:
    """What `command` prints when run in the repository,
    untouched by a make that runs the tests.
    """
    env = {key: value for key, value in os.environ.items() if key not in INHERITED}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_conda_leaves_dependencies_to_pyproject():
    assert [entry for entry in CONDA if isinstance(entry, dict)] == [
        {"pip": ["-c constraints.txt", "-e .[dev]"]}
    ]


def test_conda_lists_only_python_and_pip():
    names = {re.split(r"[=<> ]", entry)[0] for entry in CONDA if isinstance(entry, str)}
    assert names == {"python", "pip"}


def test_conda_python_is_one_that_the_package_accepts():
    (python,) = [entry for entry in CONDA if isinstance(entry, str) and entry.startswith("python")]
    assert python.removeprefix("python=") in SpecifierSet(PROJECT["requires-python"])


def test_makefile_asks_for_the_python_that_the_package_accepts():
    low, high = re.search(r"(\(3, \d+\)) <= sys.version_info < (\(3, \d+\))", MAKEFILE).groups()
    versions = [".".join(re.findall(r"\d+", version)) for version in (low, high)]
    assert PROJECT["requires-python"] == ">={},<{}".format(*versions)


def test_the_constraints_hold_a_version_of_every_dependency_that_the_package_accepts():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    fixed = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines)
    }
    extras = (wanted for group in PROJECT["optional-dependencies"].values() for wanted in group)
    for text in (*PROJECT["dependencies"], *extras):
        wanted = Requirement(text)
        if wanted.name != PROJECT["name"]:
            assert wanted.specifier.contains(fixed[canonicalize_name(wanted.name)]), text


def test_make_setup_takes_the_constraints_or_the_latest():
    setup = ("make", "--dry-run", "--always-make", "setup")
    assert "pip install -c constraints.txt -e" in output(*setup)
    assert "constraints.txt" not in next(
        line for line in output(*setup, "LATEST=1").splitlines() if "-e '" in line
    )


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_has_target(target):
    assert output("make", "--dry-run", "--always-make", target)


def test_make_figures_executes_every_notebook():
    lines = output("make", "--dry-run", "figures")
    for name in NOTEBOOKS:
        assert f"-f params/smoke/{name}.yaml notebooks/{name}.ipynb" in lines


def test_make_figures_executes_one_notebook_on_request():
    for name in NOTEBOOKS:
        lines = output("make", "--dry-run", "figures", f"NOTEBOOK={name}")
        assert re.findall(r"notebooks/(\w+)\.ipynb", lines) == [name]


def test_every_parameter_file_has_its_notebook_and_a_known_scale():
    for path in PARAMS:
        assert path.stem in NOTEBOOKS, f"{path}: no notebooks/{path.stem}.ipynb"
        assert path.parent.name in {"smoke", "laptop", "paper"}, f"{path}: unknown scale"


def test_import_needs_only_torch_and_numpy():
    code = """
import sys, numpy, torch
known = set(sys.modules)  # torch imports tqdm where it is installed
import nasutils
print(*{name.partition(".")[0] for name in sys.modules.keys() - known})
"""
    heavy = "pandas sklearn matplotlib pydantic scipy torchvision tqdm seaborn yaml IPython ray"
    assert set(output(sys.executable, "-c", code).split()) & set(heavy.split()) == set()


def test_runs_of_a_plan_are_computed_where_no_notebook_is():
    code = """
import sys
import nasutils.studies.confirmation.__main__
print(*{name.partition(".")[0] for name in sys.modules})
"""
    notebook = "IPython ipywidgets matplotlib seaborn"
    assert set(output(sys.executable, "-c", code).split()) & set(notebook.split()) == set()


def test_citation_names_the_four_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert len(citation["references"]) == 4


def test_no_file_names_a_path_of_the_machine_that_made_it():
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = [ROOT / name for name in output(*listed).split("\0") if name]
    leak = re.compile(rb"(?<![\w.])/(?:work|root)/")
    assert [path for path in files if path.is_file() and leak.search(path.read_bytes())] == []


# The architecture

ROOMS = [
    "tables",
    "__main__",
    "notebook",
    "studies",
    "report",
    "sweep",
    "training",
    "measures",
    "methods",
    "spaces",
    "data",
    "own_data",
    "registry",
    "runs",
    "stamp",
    "errors",
    "paths",
]
"""From top to bottom: a module imports from its own room and from those below it.
tables: their scripts.
"""


def room(module):
    """`nasutils.spaces.base` -> its place in ROOMS; the package itself is above all."""
    _, *names = module.split(".")
    return ROOMS.index(names[0]) if names else -1


def imports(file):
    """The modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "nasutils"
        ):
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield (
                    whole
                    if (ROOT / f"{whole.replace('.', '/')}.py").exists() or room_exists(whole)
                    else node.module
                )
        elif isinstance(node, ast.Import):
            yield from (
                name.name for name in node.names if name.name.partition(".")[0] == "nasutils"
            )


def room_exists(module):
    return (ROOT / module.replace(".", "/") / "__init__.py").exists()


def test_imports_go_downwards_only():
    upwards = []
    for file in sorted((ROOT / "nasutils").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        upwards += [
            f"{module} imports {other}" for other in imports(file) if room(other) < room(module)
        ]
    assert upwards == []


def test_no_room_imports_private_names_of_another():
    private = []
    for file in (ROOT / "nasutils").rglob("*.py"):
        here = file.relative_to(ROOT).parts[1]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nasutils."):
                away = node.module.split(".")[1] != here
                private += [
                    f"{file.name}: {n.name}" for n in node.names if away and n.name.startswith("_")
                ]
    assert private == []


def test_every_folder_of_the_package_is_a_room():
    found = {
        path.name
        for path in (ROOT / "nasutils").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    files = {path.stem for path in (ROOT / "nasutils").glob("*.py")} - {"__init__"}
    assert found | files == set(ROOMS)


SHARED = {
    "the files of a space": """DARTS EDGES EXTRA FinalCell FinalNet INCOMING NODES OPS POLICIES Policy
        Supernet SupernetCell _derive_cell check_genotype derive finalnet_parameters""",
    "methods and spaces by name": "__getattr__ _check get register registry",
    "tasks, each with a version in its key": "VERSION build",
    "data sets, ours and people's own": "content located",
    "commands": "main",
    "a kind of things with a name each": "CRITERIA TESTS WIDTH interval load rank_correlation",
}
"""Names that more than one module defines, by what makes them mean the same."""


def defined(file):
    """The names that a module defines at its top level."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))


def test_a_name_is_defined_in_one_module_unless_it_means_the_same_by_design():
    """Studies have the same files with the same names, and scripts of tables are no modules."""
    modules = defaultdict(set)
    for file in (ROOT / "nasutils").rglob("*.py"):
        if file.relative_to(ROOT).parts[1] not in ("studies", "tables"):
            for name in set(defined(file)) - {"__all__"}:
                modules[name].add(file)
    shared = {name for name, files in modules.items() if len(files) > 1}
    assert shared == set(" ".join(SHARED.values()).split())


@pytest.mark.parametrize("study", ["sparsification", "bypass_leakage", "lhd_benchmark", "lr_swap"])
def test_who_knows_one_study_knows_four(study):
    found = {path.stem for path in (ROOT / "nasutils" / "studies" / study).glob("*.py")}
    assert found >= {"variants", "results", "claims", "figures"}


@pytest.mark.parametrize("name", nasutils.MOVED)
def test_short_names_are_the_modules_themselves(name):
    short, full = (importlib.import_module(f"nasutils.{n}") for n in (name, nasutils.MOVED[name]))
    assert short is full and full.__spec__.name == f"nasutils.{nasutils.MOVED[name]}"


# Notebooks


@pytest.mark.parametrize(
    "file", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda file: file.stem
)
def test_nbval_compares_nearly_every_output(file):
    """A cell without a count is not compared, nor one with the tag,
    which is for times and for what still grows.
    """
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    ignored = [
        c
        for c in cells
        if {"nbval-ignore-output", "nbval-skip"} & set(c["metadata"].get("tags", []))
    ]
    assert len(ignored) <= 5 and not any("NBVAL_" in "".join(cell["source"]) for cell in cells)
    assert sum(bool(cell["outputs"]) for cell in cells) - len(ignored) >= 15


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_drawn_file_is_one_that_its_notebook_draws_and_is_stamped(notebook):
    """Files are called by what they show: the numbers of figures and tables change."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    saved = set(re.findall(r'gallery\.(?:figure|table)\(\s*"(\w+)"', code))
    folder = ROOT / "figures" / "laptop" / notebook
    drawn = {file.stem for file in folder.iterdir()} - {"stamp"}
    stamped = json.loads((folder / "stamp.json").read_text())
    assert drawn <= saved
    assert drawn == {name for entry in stamped for name in entry["files"]}
    assert not any(re.fullmatch(r"(table|figure)\d*", name) for name in saved)
