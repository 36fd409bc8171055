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
    "docs/found_network": "tensor([",
}
"""What each prints, among other things."""


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_the_code_of_a_guide_runs_as_it_stands(guide, tmp_path):
    blocks = re.findall(
        r"^```python\n(.*?)^```",
        (ROOT / f"{guide}.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    (tmp_path / "guide.py").write_text("\n".join(blocks))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "guide.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert GUIDES[guide] in done.stdout


def test_guides_are_reached_from_the_one_of_the_package():
    text = (ROOT / "docs" / "package.md").read_text()
    guides = [Path(guide).name for guide in GUIDES if guide.startswith("docs/")]
    assert guides and all(f"({guide}.md)" in text for guide in guides)
