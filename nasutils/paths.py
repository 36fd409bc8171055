"""Where things lie in a checkout, found from the package:
a notebook may run from any directory.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCALES = ("paper", "laptop", "smoke")
"""The scales, the largest first."""


def notebook(name: str) -> Path:
    """notebooks/<name>.ipynb. Raises FileNotFoundError where the package lies in no checkout."""
    file = ROOT / "notebooks" / f"{name}.ipynb"
    if not file.exists():
        raise FileNotFoundError(
            f"no notebook {file}: notebooks, their parameters and figures lie in a checkout, from"
            " which the package must be installed with pip install -e ."
        )
    return file


def shipped(name: str) -> Path:
    """A file of nasutils/tables, which ships with the package."""
    return ROOT / "nasutils" / "tables" / name


def params(scale: str, notebook: str) -> Path:
    """params/<scale>/<notebook>.yaml: what papermill -f takes."""
    return ROOT / "params" / scale / f"{notebook}.yaml"


def figures(scale: str, notebook: str) -> Path:
    """figures/<scale>/<notebook>: pictures, tables, the executed notebook."""
    return ROOT / "figures" / scale / notebook


def runs(scale: str) -> Path:
    """figures/<scale>/runs: the run folders behind all figures of a scale;
    finished ones are shared by notebooks.
    """
    return ROOT / "figures" / scale / "runs"
