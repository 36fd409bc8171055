"""JupyterLab as a reader uses it: notebooks run, controls move pictures, a search is interrupted.

It runs on a copy of the repository with its finished runs, so that nothing in the repository
changes.

Run: pytest tests/browser/test_lab.py
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import pytest

from tests.sweeps import free_port, until

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in ROOT.glob("notebooks/*.ipynb"))
READ = ("nasutils", "notebooks", "params", "figures")
"""The folders of the repository that a notebook reads."""
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight exist, too
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
SEARCH = """\
from nasutils.notebook import *
from nasutils.training.experiment import Experiment
size = {"images": 96, "evaluation": 96, "channels": 4, "cells": 1, "epochs": 40}
search = Experiment(dataset="digits", recipe={"split": "half", "batch": 32}, **size)
found = gather({"DARTS": search}, Machine(runs="searched"), workers=1)
"""
"""A search of smoke size, in the folder of its notebook."""
PATIENCE = 300
"""Seconds, on a busy machine."""
patiently = partial(until, seconds=PATIENCE, every=0.2)
PIXELS = """async image => {
    // A picture that is just being exchanged cannot be decoded.
    for (let tries = 1; !(await image.decode().then(() => true, () => false)); tries++) {
        if (tries === 100) throw new Error("the picture cannot be decoded");
        await new Promise(done => setTimeout(done, 50));
    }
    const size = [image.naturalWidth, image.naturalHeight];
    const canvas = new OffscreenCanvas(...size).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const sum = await crypto.subtle.digest("SHA-256", canvas.getImageData(0, 0, ...size).data);
    return new Uint8Array(sum).join(" ");
}"""
"""A digest of what an image shows, which stays the same if the same picture is sent again."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what notebooks read; the package in it finds the other folders beside itself."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in READ:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(SEARCH)],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        ),
        copy / "notebooks" / "search.ipynb",
    )
    return copy


@pytest.fixture(scope="module")
def lab(checkout, tmp_path_factory):
    """The address of a JupyterLab for the copy, with the settings of nobody."""
    from jupyterlab.commands import get_app_dir  # takes seconds, which other tests need not wait

    own = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        file = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    folders = {
        "JUPYTER_CONFIG_DIR": own / "config",
        "JUPYTER_DATA_DIR": own / "data",
        "JUPYTER_RUNTIME_DIR": own / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": own / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": own / "workspaces",
        "IPYTHONDIR": own / "ipython",
        "JUPYTER_PATH": Path(get_app_dir()).parent,  # where the widgets' pages lie beside its own
        "PYTHONPATH": checkout,
    }
    port = free_port()
    options = ["--allow-root", "--no-browser", f"--port={port}", "--IdentityProvider.token="]
    with (own / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options, checkout / "notebooks"],
            env=os.environ | {name: str(folder) for name, folder in folders.items()},
            stdout=log,
            stderr=log,
        )
    try:
        patiently(lambda: answers(port) or server.poll() is not None)
        assert answers(port), (own / "log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def answers(port):
    """Whether a server listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def opened(lab, chromium):
    """Every notebook, in a tab of its own, with all its cells being run."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(1000 * PATIENCE)
    tabs = {name: run_all(context, lab, name) for name in NOTEBOOKS}
    yield tabs
    context.close()


def run_all(context, lab, name):
    """Open a notebook and run all its cells; returns the tab without waiting for them."""
    tab = context.new_page()
    tab.errors = []
    tab.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.goto(f"{lab}/doc/tree/{name}.ipynb")
    tab.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    choose(tab, "Run", "Run All Cells")
    tab.locator(".jp-InputPrompt", has_text="[*]").first.wait_for(state="attached")
    return tab


def choose(tab, menu, entry):
    """Choose an entry of the menu bar."""
    tab.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
    tab.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")).click()


def wait_for_cells(tab):
    """Wait until no cell is being run or waits for that."""
    prompts = "[...document.querySelectorAll('.jp-InputPrompt')]"
    tab.wait_for_function(f"!{prompts}.some(prompt => prompt.innerText.includes('*'))")


def errors(tab):
    """What a notebook shows in red."""
    shown = tab.locator('[data-mime-type$=".error"], [data-mime-type$=".stderr"]')
    return [*shown.all_inner_texts(), *tab.errors]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all_of_a_notebook_ends_without_an_error(name, opened):
    tab = opened[name]
    wait_for_cells(tab)
    assert errors(tab) == []
    prompts = tab.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert [prompt for prompt in prompts if not re.fullmatch(r"\[\d+\]:", prompt)] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_control_of_a_notebook_moves_its_picture(name, opened):
    tab = opened[name]
    wait_for_cells(tab)
    explorers = tab.locator(".widget-vbox:has(.widget-image)").all()
    assert explorers
    for explorer in explorers:
        picture = explorer.locator(".widget-image")
        controls = explorer.locator(".widget-slider, .widget-dropdown, .widget-select").all()
        assert controls
        for control in controls:
            before = picture.evaluate(PIXELS)
            move(control)
            changed = patiently(lambda b=before, p=picture: p.evaluate(PIXELS) != b)
            assert changed, f"{control.inner_text()} moves nothing"
    assert errors(tab) == []


def move(control):
    """Drag a slider that one can hit from its place to near its beginning; elsewhere choose another value."""
    track = control.locator(".noUi-target")
    if not track.count():
        chosen = control.locator("select").evaluate("list => list.selectedIndex")
        control.locator("select").select_option(index=0 if chosen else 1)
        return
    track.scroll_into_view_if_needed()
    box, handle = track.bounding_box(), control.locator(".noUi-handle").bounding_box()
    assert box["width"] >= 300
    mouse, height = control.page.mouse, box["y"] + box["height"] / 2
    mouse.move(handle["x"] + handle["width"] / 2, height)
    mouse.down()
    mouse.move(box["x"] + 0.2 * box["width"], height, steps=10)
    mouse.up()


def test_an_interrupted_search_goes_on_from_its_checkpoint(lab, checkout, page):
    tab = run_all(page.context, lab, "search")

    def records():
        return [line for file in runs.glob("*/records.jsonl") for line in file.open()]

    runs = checkout / "notebooks" / "searched"
    assert patiently(lambda: len(records()) >= 3 or errors(tab)) and errors(tab) == []
    choose(tab, "Kernel", "Interrupt Kernel")
    wait_for_cells(tab)
    assert "Interrupted: 0 of 1 runs are finished" in tab.locator(".jp-OutputArea").inner_text()
    before = records()
    choose(tab, "Run", "Run All Cells")
    assert patiently(lambda: [*runs.glob("*/result.json")])
    wait_for_cells(tab)
    assert "1 of 1 runs finished" in tab.locator(".jp-OutputArea").inner_text()
    kept = before[:-1]  # the search may have been ended before it kept the state of the last one
    assert len(kept) >= 2 and records()[: len(kept)] == kept
    assert len(before) < len(records()) == 40
