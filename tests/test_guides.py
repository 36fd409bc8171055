"""The code of the README and the guides runs as it stands, each as one script in an empty folder.

Run: pytest tests/test_guides.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = {
    "README": "~0|+|",
    "docs/own_data": "sha256:",
    "docs/own_method": "[1.0, 0.5] |",
    "docs/own_space": "triangle |",
    "docs/read_a_run": "supernet_accuracy/relaxed",
    "docs/found_network": "tensor([",
    "docs/verdicts": "2b warm-up",
}
"""What each prints, among other things."""
NEEDS_IMAGES = {"docs/verdicts": 3}
"""How many of its last blocks need CIFAR-10."""


def blocks(guide):
    """The code of a guide, block by block."""
    text = (ROOT / f"{guide}.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def said(folder, *command):
    """What Python prints, run in a folder."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_the_code_of_a_guide_runs_as_it_stands(guide, tmp_path):
    code = blocks(guide)
    run = code[: len(code) - NEEDS_IMAGES.get(guide, 0)]
    (tmp_path / "guide.py").write_text("\n".join(run))
    assert GUIDES[guide] in said(tmp_path, "guide.py")


@pytest.mark.slow
def test_the_code_of_the_package_runs_as_one_script(tmp_path):
    """All but the last block, whose searches are of the papers' size. The processes that it starts
    import the script.
    """
    (tmp_path / "guide.py").write_text("\n".join(blocks("docs/package")[:-1]))
    text = said(tmp_path, "guide.py")
    assert "4 of 4 runs finished" in text and "core-hours left" in text
    assert (tmp_path / "cells.png").exists() and (tmp_path / "search.png").exists()


def test_guides_are_reached_from_the_one_of_the_package():
    text = (ROOT / "docs" / "package.md").read_text()
    guides = [Path(guide).name for guide in GUIDES if guide.startswith("docs/")]
    assert guides and all(f"({guide}.md)" in text for guide in guides)
