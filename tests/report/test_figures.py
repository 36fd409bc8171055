"""The looks of the figures, the common figures on small results, published errors,
and the widgets' controls.

Run: pytest tests/report/test_figures.py
"""

import io
import json
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import matplotlib
import pandas as pd
import PIL.Image
import pytest
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from nasutils import runs, spaces
from nasutils.report import gallery as galleries
from nasutils.report import plots, widgets
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.stamp import stamp
from nasutils.studies import bypass_leakage, lr_swap, small_spaces, sparsification
from nasutils.studies import figures as common_figures
from nasutils.studies import readings as read
from nasutils.studies.lr_swap.figures import rates
from nasutils.studies.published import S_SPACE_RESULTS
from nasutils.studies.sparsification import tables

STUDIES = {"sparsification": sparsification, "bypass_leakage": bypass_leakage}
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


# Looks


@pytest.mark.parametrize("study", [*STUDIES.values(), lr_swap], ids=lambda study: study.__name__)
def test_every_variant_has_a_look(study):
    assert set(study.VARIANTS) <= set(plots.LOOKS)


@pytest.mark.parametrize(
    "labels",
    [*(s.VARIANTS for s in STUDIES.values()), *(spaces.get(name).ops for name in spaces.names)],
    ids=[*STUDIES, *spaces.names],
)
def test_looks_that_meet_differ_in_colour_line_and_marker(labels):
    for part in zip(*(plots.LOOKS[label] for label in labels), strict=True):
        assert len(set(part)) == len(labels)


def test_no_two_methods_and_no_two_operations_look_the_same():
    ops = {op for name in spaces.names for op in spaces.get(name).ops}
    for labels in (ops, plots.LOOKS.keys() - ops):
        assert len({plots.LOOKS[label] for label in labels}) == len(labels)


def test_a_label_without_a_look_gets_one_that_stays():
    looks = [plots.look(label) for label in ("my method", "my other method", "my method")]
    assert looks[0] == looks[2] != looks[1]
    plt.figure().gca().plot([1, 2], **looks[0])


def test_a_method_has_the_same_look_in_every_notebook():
    figure, _ = common_figures.accuracy(results(), ["DARTS", "SP-DARTS"])
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    color, _, marker = plots.LOOKS["SP-DARTS"]
    assert (lines["median"].get_color(), lines["median"].get_marker()) == (color, marker)


# The gallery


@dataclass
class Parameters:
    scale: str = "smoke"
    departures: dict = field(default_factory=dict)


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "svg.hashsalt", "nasutils")  # as in notebooks
    monkeypatch.setattr(galleries.paths, "ROOT", tmp_path)
    monkeypatch.setattr(galleries.params, "departures", lambda p, notebook, scale: p.departures)
    return lambda caption, **departures: galleries.Gallery(
        Parameters(departures=departures), "lr_swap", caption
    )


def stamped(gallery):
    return [
        (entry["files"], entry["what"])
        for entry in json.loads((gallery.folder / "stamp.json").read_text())
    ]


def test_the_stamp_says_how_each_file_was_made(gallery, tmp_path):
    table, first = pd.DataFrame({"a": [1 / 3]}), gallery("before")
    for name in ("one", "two"):
        first.table(name, table)
    first.figure("drawn", plt.figure(), table, caption="its own")
    assert stamped(first) == [(["one", "two"], "before"), (["drawn"], "its own")]
    second = gallery("after")
    assert stamped(second) == stamped(first)  # nothing has been drawn yet
    home = runs.run(lambda params, run: {}, {"kind": "test"}, tmp_path / "runs")
    second.drawn_from({0: home, 1: home})
    second.table("one", table)
    assert stamped(second) == [(["two"], "before"), (["drawn"], "its own"), (["one"], "after")]
    assert json.loads((second.folder / "stamp.json").read_text())[2]["runs at hand"] == {
        stamp()["device"]: 1
    }
    assert {file.name for file in second.folder.iterdir()} == {
        *("stamp.json", "one.csv", "two.csv", "drawn.csv", "drawn.png", "drawn.svg")
    }


def test_what_is_drawn_again_as_it_was_keeps_its_stamp(gallery, monkeypatch):
    """So a rerun from another commit changes only the stamps of what came out otherwise."""

    def draw(commit, **values):
        monkeypatch.setattr(galleries, "stamp", lambda: {"commit": commit})
        shown = gallery("any")
        for name, value in values.items():
            figure, table = plt.figure(), pd.DataFrame({"a": [value]})
            figure.gca().set_title(name)
            shown.figure(name, figure, table)
            shown.table(f"{name}_table", table)
        stamps = json.loads((shown.folder / "stamp.json").read_text())
        return {name: entry["drawn on"]["commit"] for entry in stamps for name in entry["files"]}

    def of(**commits):
        return {name + end: commit for name, commit in commits.items() for end in ("", "_table")}

    assert draw("first", one=1, two=2) == of(one="first", two="first")
    assert draw("second", one=1, two=2) == of(one="first", two="first")
    assert draw("third", one=1, two=3) == of(one="first", two="third")


def test_a_picture_that_changed_is_stamped_anew_though_its_table_did_not(gallery, monkeypatch):
    shown, table, commits = gallery("any"), pd.DataFrame({"a": [1]}), []
    for title in ("before", "before", "after"):
        figure = plt.figure()
        figure.gca().set_title(title)
        monkeypatch.setitem(shown._made, "drawn on", f"commit {len(commits)}")
        shown.figure("drawn", figure, table)
        commits.append(json.loads((shown.folder / "stamp.json").read_text())[0]["drawn on"])
    assert commits == ["commit 0", "commit 0", "commit 2"]


def test_the_text_of_a_figure_tells_when_its_numbers_change(gallery, capsys):
    """So nbval, which compares no picture, finds a picture of other numbers."""
    texts = []
    for value in (1 / 3, 0.33334, 0.3343):
        gallery("any").figure("drawn", plt.figure(), pd.DataFrame({"a": [value]}))
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("<figure drawn: 1 x 1, ")


def test_runs_of_equal_keys_are_all_counted(gallery, tmp_path):
    """A search and the final network of its cell are named alike in two dicts."""
    homes = [
        runs.run(lambda params, run: {}, {"kind": kind}, tmp_path / "runs")
        for kind in ("search", "network")
    ]
    found = gallery("both")
    found.drawn_from(*({("s2", "DARTS", 0): home} for home in homes))
    found.table("one", pd.DataFrame())
    assert json.loads((found.folder / "stamp.json").read_text())[0]["runs at hand"] == {
        stamp()["device"]: 2
    }


def test_other_parameters_overwrite_nothing(gallery, capsys):
    usual, other, same = gallery("usual"), gallery("other", seeds=[7]), gallery("other", seeds=[7])
    assert usual.folder.name == "lr_swap" and other.folder == same.folder != usual.folder
    assert other.folder.parent == usual.folder.parent and other.folder.name.startswith("lr_swap-")
    assert f"figures go to {other.folder.name}" in capsys.readouterr().out
    other.table("one", pd.DataFrame())
    assert json.loads((other.folder / "stamp.json").read_text())[0]["other parameters"] == {
        "seeds": [7]
    }


# Common figures


@dataclass(frozen=True)
class Results:
    runs: dict
    epochs: pd.DataFrame
    last: pd.DataFrame


def record(epoch):
    mix = [[0.2, 0.1, 0.4, 0.2, 0.1]] * 6
    probe = {
        "loss": 2.0,
        "cut": {"cell": [[0.0, 0.1, 0.25, -0.1, epoch / 10]] * 6},
        "only": {"cell": [[1.0, 0.5, 0.125, 0.2, 0.3]] * 6},
    }
    return {
        **{
            "epoch": epoch,
            "genotype": CELL,
            "temperature": 1.0,
            "mix": {"cell": mix},
            "entropy": {"cell": 1.4},
        },
        **({"leakage": probe} if epoch % 2 == 0 else {}),
        "cost": {"samples_per_second": 100.0, "seconds": 1.0},
    }


def results(labels=("DARTS", "SP-DARTS", "of mine"), seeds=(0, 1), epochs=5):
    keys = [(label, seed) for seed in seeds for label in labels]
    columns = {"cifar10": 90.0, "cifar100": 60.0, "imagenet16-120": 30.0, "genotype": CELL}
    columns |= {"relaxed": 50.0, "discretized": 20.0, "recalibrated": 30.0, "gap": 20.0}
    table = pd.DataFrame(
        [{"method": m, "seed": s, "epoch": e} | columns for m, s in keys for e in range(epochs)]
    )
    runs = {key: SimpleNamespace(records=[record(e) for e in range(epochs)]) for key in keys}
    return Results(runs, table, table[table["epoch"] == epochs - 1])


def test_what_was_searched_is_shown_in_the_order_asked_for():
    assert common_figures.present(results(), ["SP-DARTS", "PCD", "DARTS"]) == ["SP-DARTS", "DARTS"]
    assert common_figures.present(results(), ["PCD"]) == ["DARTS", "SP-DARTS"]


def test_a_label_that_nothing_has_is_told_the_nearest():
    with pytest.raises(ValueError, match="unknown label 'DARTSS'.*did you mean 'DARTS'"):
        common_figures.accuracy(results(), ["DARTSS"])


def test_one_search_is_picked_by_label_and_seed_and_named():
    found = results()
    name, run = common_figures.one_search(found, "SP-DARTS", 1)
    assert name == "SP-DARTS, seed 1" and run is found.runs["SP-DARTS", 1]
    name, run = common_figures.one_search(found, "PCD", 1)
    assert name == "DARTS, seed 0" and run is found.runs["DARTS", 0]
    assert common_figures.picked(found, "SP-DARTS", 99) == ("SP-DARTS", 0)


@pytest.mark.parametrize(
    "draw", [common_figures.accuracy, common_figures.gap, common_figures.distributions]
)
def test_common_figures_show_every_label(draw):
    figure, table = draw(results(), ["DARTS", "SP-DARTS"])
    figure.canvas.draw()
    titles = {ax.get_title().partition(":")[0] for ax in figure.axes}
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"DARTS", "SP-DARTS"} <= titles | legend
    assert {"DARTS", "SP-DARTS"} <= set(table["method"])


def test_rates_of_every_setting_are_told_apart():
    labels = [
        "DARTS",
        "warm-up 10",
        "warm-up 30, as released",
        "warm-up 100, as released",
        "SS setting",
        "EX-DARTS",
    ]
    figure, table = rates(labels, 50)
    drawn = [
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in figure.axes[0].lines
    ]
    assert (
        len({color for color, _, _ in drawn})
        == len({drawing[1:] for drawing in drawn})
        == len(labels)
    )
    assert list(table["setting"].unique()) == labels


# Published errors on S1-S4


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "svhn", "digits"])
def test_published_errors_are_those_on_the_data_set(dataset):
    columns = ["space", "method", "test_accuracy", "params"]
    finals = pd.DataFrame(
        [("s2", "DARTS", 80.0, 1e6), ("s2", "DARTS", 82.0, 1e6)], columns=columns
    )
    table = small_spaces.errors_table(finals, dataset)
    assert tuple(table.loc[0, ["dataset", "space", "method", "error", "n"]]) == (
        dataset,
        "s2",
        "DARTS",
        19.0,
        2,
    )
    published = table[table["source"].str.startswith("published")]
    assert set(published["dataset"]) == {"cifar10" if dataset == "digits" else dataset}
    assert set(published.groupby("space").size()) == {8}


def test_the_interval_of_an_error_stays_within_the_possible():
    rows = [("s4", "DARTS", accuracy, 1e6) for accuracy in (10.0, 10.0, 10.0, 10.0, 60.0)]
    finals = pd.DataFrame(rows, columns=["space", "method", "test_accuracy", "params"])
    ours = small_spaces.errors_table(finals, "cifar10").loc[0]
    assert tuple(ours[["error_low", "error", "error_high"]]) == (40.0, 90.0, 90.0)


def test_published_errors_are_complete():
    assert len(S_SPACE_RESULTS) == 3 * 4 * 8 and S_SPACE_RESULTS["source"].notna().all()
    rome = S_SPACE_RESULTS[S_SPACE_RESULTS["method"] == "ROME"].set_index(["dataset", "space"])
    assert (
        rome.loc[("cifar10", "s3"), "error"] == 2.61
        and "restored" in rome.loc[("svhn", "s4"), "source"]
    )


# Widgets


def controls(box):
    *found, picture = box.children
    return {control.description: control for control in found}, picture


def test_leakage_explorer_says_when_nothing_was_probed():
    with pytest.raises(ValueError, match="no record holds a probe: search with `probe_every`"):
        widgets.leakage_explorer([{"epoch": 0}], ["0 to 1"], OPS)


def test_leakage_explorer_cuts_the_operation_that_is_picked():
    edges = [f"{s} to {t}" for s, t in EDGES]
    found, picture = controls(widgets.leakage_explorer([record(e) for e in range(5)], edges, OPS))
    assert list(found) == ["epoch", "edge", "cut"]
    assert found["epoch"].options == (0, 2, 4) and found["epoch"].value == 4
    assert [name for name, _ in found["edge"].options] == edges
    assert [name for name, _ in found["cut"].options] == list(OPS)
    assert found["cut"].label == "nor_conv_1x1"  # the strongest
    seen = [picture.value]
    for name, label in (("cut", "skip_connect"), ("edge", "1 to 3")):
        found[name].label = label
        seen.append(picture.value)
    found["epoch"].value = 2
    assert len({*seen, picture.value}) == 4


@pytest.fixture
def drawn(monkeypatch):
    """The figures that explorers make."""
    figures, panels = [], plots.panels
    monkeypatch.setattr(
        widgets.plots, "panels", lambda *a, **k: figures.append(made := panels(*a, **k)) or made
    )
    return lambda: figures[-1][0]


def test_leakage_explorer_says_what_the_cut_costs(drawn):
    found, _ = controls(widgets.leakage_explorer([record(0)], [str(e) for e in range(6)], OPS))
    assert (
        drawn().get_suptitle()
        == "loss 2.000; without nor_conv_1x1: 2.250 (+0.250); with nothing but it: 2.125 (+0.125)"
    )
    found["cut"].label = "nor_conv_3x3"
    assert (
        drawn().get_suptitle()
        == "loss 2.000; without nor_conv_3x3: 1.900 (-0.100); with nothing but it: 2.200 (+0.200)"
    )


def explorers():
    edges, alpha = [f"{s} to {t}" for s, t in EDGES], torch.arange(5.0) / 1000
    records = [
        record(e) | {"alpha": {"cell": [[e * 0.1, 0.0, 0.2, 0.0, 0.0]] * 6}} for e in range(8)
    ]
    return {
        "temperature": lambda: widgets.temperature_explorer(alpha, alpha * 1e3 - 2, OPS),
        "trajectory": lambda: widgets.trajectory_explorer(records, edges, OPS),
        "leakage": lambda: widgets.leakage_explorer(records, edges, OPS),
        "stopping": lambda: widgets.stopping_explorer(records, "nor_conv_3x3"),
    }


@pytest.mark.parametrize("name", explorers())
def test_a_slider_moves_one_figure_whose_axes_stay_still(name, drawn):
    found, picture = controls(explorers()[name]())
    slider = next(iter(found.values()))
    assert int(slider.layout.width.removesuffix("px")) >= 300
    before, limits = picture.value, [(ax.get_xlim(), ax.get_ylim()) for ax in drawn().axes]
    figure = drawn()
    slider.value = slider.options[0] if hasattr(slider, "options") else slider.min
    assert picture.value != before and drawn() is figure
    assert [(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes] == limits
    assert all(
        ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes if ax.get_label() != "<colorbar>"
    )


@pytest.mark.parametrize("name", explorers())
def test_a_slider_redraws_its_picture_five_times_a_second(name):
    """Of processor time, the least of several redraws: a new figure each time would take longer."""
    found, _ = controls(explorers()[name]())
    slider = next(iter(found.values()))
    places = slider.options if hasattr(slider, "options") else [slider.min, slider.max]
    seconds = []
    for place in (*places[:2], *places[:2], *places[:2]):
        begun = time.thread_time()
        slider.value = place
        seconds.append(time.thread_time() - begun)
    assert min(taken for taken in seconds if taken > 0.005) < 0.2


def test_explorers_are_sharp():
    _, picture = controls(explorers()["trajectory"]())
    width = PIL.Image.open(io.BytesIO(picture.value)).width
    assert width >= 2 * int(picture.layout.width.removesuffix("px"))


# What a figure says


def test_a_figure_has_an_alternative_text_of_what_it_draws_and_what_that_says():
    figure, _ = common_figures.gap(results(), ["DARTS", "SP-DARTS"])
    text = galleries.alternative_text(figure, read.gap(results(), ["DARTS", "SP-DARTS"]))
    for part in (
        "2 panels (DARTS",
        "against epoch",
        "one operation per edge",
        "a gap of 20 points",
    ):
        assert part in text


def test_the_caption_says_what_is_drawn(gallery):
    figure, table = common_figures.gap(results(), ["DARTS"])
    gallery("smoke scale").figure("gap", figure, table)
    assert figure.get_supxlabel().startswith(
        "smoke scale; median over seeds and its interval (50 %, the range of 2"
    )


def test_texts_of_vector_pictures_stay_texts(gallery):
    plots.use_style()
    made = gallery("any")
    figure, table = common_figures.gap(results(), ["DARTS"])
    made.figure("gap", figure, table)
    drawn = (made.folder / "gap.svg").read_text()
    assert "one operation per edge</text>" in drawn and "<title>One panel" in drawn


def test_a_median_band_stays_within_the_seeds():
    _, ax = plt.subplots()
    table = pd.DataFrame({"epoch": [0] * 5, "share": [0.0, 100.0, 100.0, 100.0, 100.0]})
    plots.median_band(ax, table, "epoch", "share")
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == 0 and heights.max() == 100


def test_a_stretched_axis_shows_both_a_fallen_and_a_good_cell():
    _, ax = plt.subplots()
    plots.stretch(ax, "y", 5)
    at = ax.transData.transform([(0, a) for a in (10, 90, 94)])[:, 1]
    assert at[0] < at[1] < at[2] and at[2] - at[1] > 0.1 * (at[2] - at[0])


def test_readings_tell_what_the_searches_came_to():
    fallen = results()
    best = fallen.epochs["epoch"] == 0
    fallen.epochs.loc[best & (fallen.epochs["method"] == "DARTS"), "cifar10"] = 93.0
    fallen.last["skips"] = [6, 0, 0, 0, 0, 0]
    text = read.accuracy(fallen, ["DARTS", "SP-DARTS"])
    assert (
        "DARTS: all 2 searches end more than a point below their own best cell, 1 of them in the"
        " cell" in text
    )
    assert "SP-DARTS: none of 2 searches" in text
    assert "from 90.0 % (DARTS) to 90.0 % (DARTS)." in read.final_cells(fallen, ["DARTS"])


def test_by_hand_formula_and_autograd_agree():
    """But for rounding, to which 1/T lends weight: p (g - <p, g>) / T has an error of eps / T."""
    for temperature in (1e-2, 1e-3, 3e-5):
        table = tables.toy(temperature)
        rounding = 8 * torch.finfo(torch.float64).eps * max(tables.TOY_UPSTREAM) / temperature
        for gradient in ("plain", "noisy"):
            formula, autograd = (
                table[f"{gradient}, {how}"].tolist() for how in ("formula", "autograd")
            )
            assert formula == pytest.approx(autograd, rel=0, abs=rounding)


def test_by_hand_the_noisy_gradient_is_left_where_the_plain_one_vanishes():
    """At T = 3e-5 the largest p is 1 - 3e-15; at 1e-4 the plain gradient would still be 0.9."""
    table = tables.toy(3e-5)
    assert abs(table["plain, formula"]).max() < 1e-9 < 0.01 < abs(table["noisy, formula"]).min()
