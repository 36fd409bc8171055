"""One search, or one training, from the command line."""

import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasutils import __main__ as command

ROOT = Path(__file__).parents[1]
SMALL = "dataset=digits resolution=8 images=32 channels=4 cells=1"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"


@pytest.fixture
def ask(monkeypatch, tmp_path, capsys):
    """What a command line returns and prints; its runs lie in `tmp_path / "runs"`."""
    monkeypatch.chdir(tmp_path)

    def asked(line):
        monkeypatch.setattr(sys, "argv", ["nasutils", *shlex.split(line)])
        return command.main(), capsys.readouterr().out

    return asked


def test_searches_of_two_seeds_are_computed_once_and_told_in_words(ask, tmp_path):
    line = f"search {SMALL} epochs=2 'recipe={{split: half, batch: 16}}' --seeds 3 4 --workers 2"
    failed, told = ask(line)
    assert failed == 0
    assert "2 of 2 runs finished" in told and "seed 3: runs/" in told and "seed 4: runs/" in told
    assert "NAS-Bench-201's table" in told and "2 epochs on nasbench201" in told
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.glob("runs/*/stamp.json")}
    assert len(stamps) == 2
    assert ask(line) == (failed, told)
    assert stamps == {file: file.stat().st_mtime_ns for file in stamps}


def test_a_training_takes_a_genotype_as_it_is_and_says_its_accuracy(ask):
    failed, told = ask(f"train 'genotype={CELL}' {SMALL} 'protocol={{epochs: 1, batch: 16}}'")
    assert failed == 0
    assert f"genotype: {CELL}" in told and "test_accuracy: " in told


def test_a_random_cell_has_no_epochs_to_tell_of(ask):
    failed, told = ask("search method=random dataset=digits 'recipe={split: half}'")
    assert failed == 0
    assert "genotype: |" in told and "epochs: 0" in told


def test_a_number_may_be_written_without_a_point():
    found = command.settings(command.Experiment, ["recipe={weight_lr: 1e-3}", "images=100"])
    assert found == {"recipe": {"weight_lr": 1e-3}, "images": 100}
    assert command.settings(command.Experiment, ["preset=1e3"]) == {"preset": "1e3"}


@pytest.mark.parametrize("stopped", [{}, {"stopped": {"epoch": 3}}])
def test_what_is_said_of_a_search_that_stopped_is_of_its_last_epoch(stopped, monkeypatch):
    monkeypatch.setattr(command, "diagnose", lambda *args: "COLLAPSED")
    run = SimpleNamespace(
        sound_result={"genotype": CELL, **stopped},
        params={"kind": "search", "space": "nasbench201", "method": "darts"},
        records=[{}],
    )
    assert command.in_words(run).endswith("stopped:\nCOLLAPSED") == bool(stopped)


def test_a_run_that_failed_is_told_and_counted(ask, monkeypatch):
    monkeypatch.setattr(command, "diagnose", None)  # is not asked
    lr = "'recipe={split: half, batch: 16, weight_lr: 1.0e+30}'"
    failed, told = ask(f"search {SMALL} epochs=2 {lr}")
    assert failed == 1
    assert "0 of 1 runs finished" in told and told.count("NotFinite") == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("search metod=darts", "unknown field 'metod': .*did you mean 'method'"),
        ("search method=dats", "unknown method 'dats': .*did you mean 'darts'"),
        ("search seed=3", "unknown field 'seed'"),
        ("search epochs=ten", "epochs must be a whole number, 1 or more, not 'ten'"),
        ("search recipe={", "recipe must be YAML, not '{'"),
        ("search recipe=3", "recipe must be a dict"),
        ("search dataset=digits images=9999 'recipe={split: half}'", "images must be 1 to "),
        ("train", "genotype is needed: genotype=VALUE"),
        ("train genotype=x", "'x'"),
    ],
)
def test_what_cannot_be_is_one_sentence(ask, line, said):
    with pytest.raises(SystemExit, match=f"^python -m nasutils: .*{said}"):
        ask(line)


def test_the_commands_of_the_guide_name_fields_that_there_are():
    guide = (ROOT / "docs" / "running.md").read_text().replace("\\\n", " ")
    lines = [
        line
        for line in guide.splitlines()
        if "-m nasutils search" in line or "-m nasutils train" in line
    ]
    assert len(lines) == 2
    for line in lines:
        _, _, _, action, *given = shlex.split(line)
        settings = [text for text in given if "=" in text]
        assert command.TASKS[action](**command.settings(command.TASKS[action], settings))
