"""The parameters cell: every params file fits its notebook,
and a mistake is named before any work.
"""

import pytest
import yaml

from nasutils import paths
from nasutils.report import params
from nasutils.report.gallery import Gallery

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
FILES = sorted((paths.ROOT / "params").glob("*/*.yaml"))


def declared(name="sparsification"):
    return params.declared(name)


def given(name="sparsification", **changes):
    """The own values of a notebook, changed."""
    return params.defaults(name) | changes


def test_the_notebooks_own_values_are_valid():
    assert params.validate(declared(), given()).scale == "laptop"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_every_params_file_is_valid(file, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    values = yaml.safe_load(file.read_text())
    checked = params.validate(declared(file.stem), given(file.stem, **values))
    assert checked.scale == file.parent.name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epoch": 3}, "unknown parameter 'epoch'.*did you mean 'epochs'"),
        ({"epochs": 0}, "epochs: .*greater than or equal to 1, not 0"),
        ({"epochs": "many"}, "epochs: .*integer.*'many'"),
        ({"dataset": "cifar"}, "dataset: unknown data set 'cifar'.*did you mean 'cifar10'"),
        ({"scale": "lab"}, "scale: unknown scale 'lab'.*'smoke'"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [0, 1, 0]}, "seeds: seeds must differ"),
        ({"dataset": "CIFAR10"}, "dataset: unknown data set 'CIFAR10'.*did you mean 'cifar10'"),
        ({"device": "gpu"}, "device: unknown device on this machine 'gpu'"),
        ({"epochs": 0, "batch": -1}, "epochs: .*; batch: "),
    ],
)
def test_a_mistake_is_named(changes, says):
    with pytest.raises(params.BadParameters, match=says):
        params.validate(declared(), given(**changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"s_channels": 5},
            "s_channels: channels must be an even number of at least 2 .*not 5; the nearest is 6",
        ),
        (
            {"final_channels": -1},
            "final_channels: channels must be an even number .*not -1; the nearest is 2",
        ),
        (
            {"s_cells": 2},
            "s_cells: cells must be at least 3 .*two of them are reduction cells.*not 2",
        ),
        ({"final_cells": 0}, "final_cells: cells must be at least 3 .*not 0"),
        ({"channels": 0}, "channels: .*greater than or equal to 1, not 0"),
        ({"s_spaces": ["s5"]}, "s_spaces: unknown space of RobustDARTS 's5'"),
    ],
)
def test_sizes_that_the_spaces_cannot_have_are_named(changes, says):
    with pytest.raises(params.BadParameters, match=f"^{says}"):
        params.validate(declared("bypass_leakage"), given("bypass_leakage", **changes))


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(
        params.BadParameters, match="device: device 'cuda:9' is not there: PyTorch .* sees no GPU"
    ):
        params.validate(declared(), given(device="cuda:9"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_what_departs_from_the_params_file_is_named(file, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    values = given(file.stem, **yaml.safe_load(file.read_text()))
    usual = params.validate(declared(file.stem), values | {"workers": 7, "data_root": "elsewhere"})
    assert params.departures(usual, file.stem, file.parent.name) == {}
    other = params.validate(declared(file.stem), values | {"seeds": [7, 8], "epochs": 3})
    assert params.departures(other, file.stem, file.parent.name) == {"seeds": [7, 8], "epochs": 3}


def test_a_package_installed_without_its_checkout_says_so_before_a_figure_is_lost(
    tmp_path, monkeypatch
):
    usual = params.at_scale("lr_swap", "smoke")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no notebook .*lr_swap.*pip install -e \."):
        Gallery(usual, "lr_swap", "a caption")
    assert list(tmp_path.iterdir()) == []


def test_injected_names_are_found_and_others_ignored():
    cells = ["x = 1", "# Parameters\nepoch = 3\nscale = 'smoke'\n"]
    assert params.injected(cells) == ["epoch", "scale"]
    assert params.injected(["# parameters of mine\nepoch = 3"]) == []


def test_papermill_stops_before_any_work_and_says_epochs(tmp_path):
    import papermill

    notebook = str(paths.ROOT / "notebooks" / "sparsification.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'epochs'"):
        papermill.execute_notebook(
            notebook, tmp_path / "out.ipynb", {"epoch": 3}, kernel_name="python3"
        )
