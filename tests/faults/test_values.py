"""Values of a wrong type, texts of strangers:
a ValueError that names the field, and HTML that stays text.

Run: pytest tests/faults/test_values.py
"""

import json
from collections import namedtuple

import pandas as pd
import pytest
from pandas.io.formats.style import Styler

from nasutils import Genotype, methods, spaces
from nasutils.report import plots
from nasutils.runs import DIGEST, run
from nasutils.sweep.planning import plan
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation
from tests.sweeps import experiment

CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
NO_DICTS = [None, 1.5, [], "a", {1: 2}, {1: 2, "a": 3}]
NO_VALUES = [1j, {1}, float("nan"), float("inf"), b"a", {"b": {"c": object()}}]


@pytest.mark.parametrize("value", [*NO_DICTS, *({"a": value} for value in NO_VALUES)])
@pytest.mark.parametrize("name", ["options", "recipe", "stop"])
def test_what_is_no_dict_of_plain_values_is_named_by_a_search(name, value):
    with pytest.raises(ValueError, match=f"{name} must "):
        Experiment(**{name: value})


@pytest.mark.parametrize("value", [*NO_DICTS, *({"epochs": value} for value in NO_VALUES)])
def test_what_is_no_dict_of_plain_values_is_named_by_a_training(value):
    with pytest.raises(ValueError, match="protocol must "):
        Evaluation(CELL, protocol=value)


def test_values_that_hold_each_other_are_refused():
    endless = {}
    endless["a"] = endless
    with pytest.raises(ValueError, match="options must hold .*Circular"):
        Experiment(options=endless)


@pytest.mark.parametrize("value", [[], None, 3, b"|none~0|"])
def test_a_genotype_that_is_no_text_is_named(value):
    with pytest.raises(ValueError, match="genotype must be a Genotype or its text"):
        Evaluation(genotype=value)


@pytest.mark.parametrize("value", [1, None, "yes", b""])
def test_a_switch_that_is_neither_on_nor_off_is_named(value):
    with pytest.raises(ValueError, match="keep_weights must be True or False"):
        Evaluation(CELL, keep_weights=value)


@pytest.mark.parametrize("value", [float("inf"), 1.5, "1", -1, 2**63])
def test_a_seed_that_cannot_be_is_named(value):
    with pytest.raises(ValueError, match="seed must be "):
        methods.get("pc-darts", spaces.get("nasbench201"), seed=value)
    with pytest.raises(ValueError, match="seed must be "):
        Experiment(seed=value)


def test_machines_without_a_folder_for_runs_are_refused():
    with pytest.raises(ValueError, match="runs must be a folder, not None"):
        Machine(runs=None)


# Genotypes


def test_a_trained_cell_may_be_a_namedtuple_and_is_named_as_its_genotype():
    form = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
    edges = [("sep_conv_3x3", 0), ("skip_connect", 1)] * 4
    cell = form(edges, range(2, 6), edges, range(2, 6))
    training = Evaluation(cell, space="darts")
    assert training == Evaluation(Genotype.parse(str(cell)), space="darts")
    with pytest.raises(ValueError, match="is it of the space 'darts'"):
        Evaluation(cell)


def darts(normal="[('none', 0), ('none', 1)]", concat="[2]"):
    return f"Genotype(normal={normal}, normal_concat={concat})"


@pytest.mark.parametrize(
    "text",
    [
        darts("[]", "range(10**9)"),
        darts("[]", "range(2, 1000000000)"),
        darts("range(1000000000)"),
        darts(concat="[-7, 99]"),
        darts(concat="[True]"),
        darts(concat="[100]"),
        darts(concat="-" * 10_000 + "1"),
        darts(concat="1+" * 9_000 + "1"),
        darts(concat="(" * 300 + ")" * 300),
        darts(concat="-" * 100_000 + "1"),
        "|" + "none~0|" * 10_000,
    ],
)
def test_a_genotype_of_endless_size_or_depth_is_refused(text):
    with pytest.raises(
        ValueError, match="expected|a genotype must be a text of at most 20000"
    ) as refused:
        Genotype.parse(text)
    assert len(str(refused.value)) < 1000


# Tables


@pytest.fixture
def styled(monkeypatch):
    """The style of a notebook, for the time of a test."""
    monkeypatch.setattr(Styler, "format", Styler.format)
    with pd.option_context("styler.format.escape", None):
        plots.use_style()
        yield


HTML = "<script>alert(1)</script>"


def test_a_machine_of_a_stranger_is_shown_as_text(styled, tmp_path):
    task = experiment()
    home = run(lambda params, run: {}, task.params(), tmp_path)
    stamp = {**home.stamp, "device": HTML}
    (home.path / "stamp.json").write_text(json.dumps(stamp))
    (home.path / DIGEST).unlink()
    table = plan({0: task}, Machine(tmp_path))
    assert table["measured on"]["all"] == HTML
    for shown in (table.style, table.style.format(precision=2, na_rep="")):
        page = shown.to_html()
        assert "<script>" not in page and "&lt;script&gt;" in page


def test_numbers_are_shown_as_before(styled):
    shown = (
        pd.DataFrame({"a": [1 / 3, None], "b": [1, 2]})
        .style.format(precision=2, na_rep="-")
        .to_html()
    )
    assert all(f">{text}</td>" in shown for text in ("0.33", "-", "1", "2"))
