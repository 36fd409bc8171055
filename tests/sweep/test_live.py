"""What is seen of a sweep: the bar of epochs, the table of a notebook, and when which is shown.

Run: pytest tests/sweep/test_live.py
"""

import itertools
import json
import math
import re
from collections import Counter

import pytest

from nasutils.runs import Run
from nasutils.sweep import live, planning
from nasutils.sweep.live import Bar, Table, caption, curve, sparkline, view
from nasutils.sweep.pool import name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from tests.sweeps import ONE, TWO, experiment

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
TASKS = {("DARTS", 0): ONE, ("<b>", 1): TWO}
RUNNING = {name_of(ONE): "running", name_of(TWO): "waiting"}


def written(root, task, epochs):
    """A run under way with so many records."""
    home = Run(root / name_of(task))
    home.path.mkdir()
    lines = [
        json.dumps({"epoch": i, "genotype": SKIPS, "cost": {"seconds": 60.0}})
        for i in range(epochs)
    ]
    (home.path / "records.jsonl").write_text("".join(line + "\n" for line in lines))
    return home


def test_the_caption_of_a_bar():
    states = {"a": "cached", "b": "running", "c": "running", "d": "failed", "e": "waiting"}
    assert caption(states, 90 * 60) == "2 running, 1 failed, 1 h 30 min left"
    assert caption(states, 61) == "2 running, 1 failed, 2 min left"
    assert caption(states, math.nan) == "2 running, 1 failed"
    assert caption({"a": "cached", "b": "finished"}, 0.0) == ""


def test_a_bar_counts_the_epochs_of_runs_under_way(tmp_path, capsys):
    written(tmp_path, ONE, 2)
    bar = Bar([ONE, TWO, ONE], Machine(tmp_path))
    bar(RUNNING)
    bar.close()
    assert "2/6" in capsys.readouterr().err


def test_a_bar_counts_a_run_that_has_just_ended_once(tmp_path, capsys):
    written(tmp_path, ONE, 2)
    bar = Bar([ONE, TWO], Machine(tmp_path))
    bar(RUNNING)
    bar({name_of(ONE): "finished", name_of(TWO): "running"})  # before it is looked at again
    bar.close()
    assert "3/6" in capsys.readouterr().err


def test_a_bar_goes_on_where_records_are_damaged(tmp_path, capsys):
    (written(tmp_path, ONE, 2).path / "records.jsonl").write_text("{\n")
    bar = Bar([ONE, TWO], Machine(tmp_path))
    bar(RUNNING)
    bar.close()
    assert "0/6" in capsys.readouterr().err


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show, the last text last."""
    texts = []

    class Handle:
        def update(self, shown):
            texts.append(shown.data)

    monkeypatch.setattr("IPython.display.display", lambda *_, **__: Handle())
    return texts


def test_a_table_has_a_line_per_run_and_leaves_nothing_behind(tmp_path, shown):
    written(tmp_path, ONE, 2)
    table = Table(TASKS, Machine(tmp_path))
    table(RUNNING)
    (line,) = re.findall("<tr>.*?</tr>", shown[-1])
    assert "DARTS, 0" in line and "epoch 2 of 3" in line and "1 min left" in line
    assert "54.3 % accuracy of the current cell" in line and "<polyline" in line
    assert "0 of 2 runs are over; 1 running" in shown[-1]
    table.close()
    assert shown[-1] == ""


@pytest.mark.parametrize("entropy", [{"cell": 0.5, "other": 1.0}, {}, 3.0])
def test_a_table_shows_the_entropy_of_a_search_and_goes_on_where_a_record_is_odd(
    entropy, tmp_path, shown
):
    home = written(tmp_path, ONE, 1)
    with (home.path / "records.jsonl").open("a") as file:
        for i in (1, 2):
            record = {"epoch": i, "genotype": SKIPS, "entropy": entropy, "cost": {"seconds": 1.0}}
            file.write(json.dumps(record) + "\n")
    Table(TASKS, Machine(tmp_path))(RUNNING)
    assert "epoch 3 of 3" in shown[-1]
    assert ("0.75 nats entropy" in shown[-1]) == (entropy == {"cell": 0.5, "other": 1.0})


def test_a_table_goes_on_where_a_genotype_is_none(tmp_path, shown):
    home = written(tmp_path, ONE, 2)
    text = (home.path / "records.jsonl").read_text()
    (home.path / "records.jsonl").write_text(text.replace("skip_connect~0", "skip_cannect~0"))
    Table(TASKS, Machine(tmp_path))(RUNNING)
    assert "epoch 2 of 3" in shown[-1] and "<polyline" not in shown[-1]


def test_a_table_is_drawn_at_most_once_a_second_and_shows_no_markup_of_labels(tmp_path, shown):
    table = Table(TASKS, Machine(tmp_path))
    for _ in range(3):
        table(dict.fromkeys(RUNNING, "running"))
    assert len(shown) == 1 and "&lt;b&gt;, 1" in shown[0] and "<b>" not in shown[0]


def test_a_table_reads_a_run_under_way_once_a_drawing_and_one_that_is_over_once_in_all(
    tmp_path, shown, monkeypatch
):
    under_way, over = written(tmp_path, ONE, 1), written(tmp_path, TWO, 3)
    reads, read = Counter(), Run.records.fget
    monkeypatch.setattr(Run, "records", property(lambda run: reads.update([run]) or read(run)))
    monkeypatch.setattr(live, "SHARE", 0)
    for module in (live, planning):  # a clock that is fast enough for a drawing at every call
        monkeypatch.setattr(module, "monotonic", itertools.count(0, 100).__next__)
    table = Table(TASKS, Machine(tmp_path))
    for _ in range(3):
        table({under_way.path.name: "running", over.path.name: "failed"})
    assert len(shown) == 3 and reads == {under_way: 3, over: 1}
    assert "epoch 1 of 3" in shown[-1] and "epoch 3 of 3" in shown[-1]


def test_a_table_shows_few_of_many_runs(tmp_path, shown):
    many = {seed: experiment(seed) for seed in range(40)}
    Table(many, Machine(tmp_path))({name_of(task): "running" for task in many.values()})
    assert (
        shown[-1].count("<tr>") == live.SHOWN and "0 of 40 runs are over; 40 running" in shown[-1]
    )


@pytest.mark.parametrize(
    ("records", "space", "expected"),
    [
        ([], "nasbench201", ("", [])),
        ([{"genotype": SKIPS}], "nasbench201", ("accuracy of the current cell", [54.3])),
        (
            [{"genotype": "x", "supernet_accuracy": {"relaxed": 9.0}}, {"genotype": "x"}],
            "s2",
            ("supernet accuracy", [9.0]),
        ),
        ([{"test_accuracy": None}, {"test_accuracy": 8.0}], "darts", ("test accuracy", [8.0])),
        ([{"epoch": 0}], "lhd", ("", [])),
    ],
)
def test_what_is_watched_of_a_run(records, space, expected):
    name, values = curve(records, space)
    assert name == expected[0] and values == pytest.approx(expected[1], abs=0.01)


def test_a_curve_runs_from_its_smallest_to_its_largest_value():
    assert '"2.0,22.0 60.0,2.0 118.0,12.0"' in sparkline("accuracy", [10.0, 30.0, 20.0])
    assert sparkline("accuracy", [10.0]) == sparkline("", []) == ""


def test_a_kernel_of_jupyterlab_shows_a_table_and_any_other_a_bar(tmp_path, shown, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert isinstance(view({0: Experiment()}, Machine(tmp_path)), Bar)
    monkeypatch.setenv("JPY_SESSION_NAME", "/a/notebook.ipynb")
    assert isinstance(view({0: Experiment()}, Machine(tmp_path)), Table)
