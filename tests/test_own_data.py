"""Own images: folders and arrays as data sets, their names, what is refused, and runs on them.

Run: pytest tests/test_own_data.py
"""

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from nasutils import data, own_data
from nasutils.runs import Run
from nasutils.sweep.launch import gather, name_of
from nasutils.sweep.planning import plan
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation
from nasutils.training.weights import load

DIGITS = data.load("digits")
COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def drawn(colour, number, size):
    """An image of one colour whose centre has a grey that tells its number."""
    image = Image.new("RGB", size, colour)
    image.paste(
        (number, number, number),
        (size[0] // 2 - 2, size[1] // 2 - 2, size[0] // 2 + 2, size[1] // 2 + 2),
    )
    return image


def write_folder(root, parts=("train", "test"), each=6, size=(16, 16)):
    for part in parts:
        for name, colour in COLOURS.items():
            (root / part / name).mkdir(parents=True)
            for i in range(each):
                drawn(colour, 40 * i, size).save(root / part / name / f"{i}.png")
    return root


def arrays(**changed):
    """An .npz file's worth of digits, 100 + 50 images."""
    parts = {"": DIGITS.train[:100], "test_": DIGITS.test[:50]}
    found = {}
    for prefix, part in parts.items():
        found[f"{prefix}images"] = part.images.permute(0, 2, 3, 1).numpy()
        found[f"{prefix}labels"] = part.labels.numpy()
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def write_arrays(path, **changed):
    np.savez(path, **arrays(**changed))
    return path


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "flags")


@pytest.fixture
def file(tmp_path):
    return write_arrays(tmp_path / "digits.npz")


# A folder


def test_a_folder_has_the_images_and_classes_of_its_folders(folder):
    found = data.load(folder)
    assert (
        found.classes == ("blue", "green", "red")
        and found.num_classes == 3
        and found.resolution == 16
    )
    assert found.train.images.shape == (18, 3, 16, 16) and found.train.images.dtype == torch.uint8
    assert found.test.labels.bincount().tolist() == [6, 6, 6]
    for image, label in zip(found.train.images, found.train.labels, strict=True):
        assert tuple(image[:, 0, 0].tolist()) == COLOURS[found.classes[label]]


def test_class_folders_alone_are_a_training_part(tmp_path):
    root = write_folder(tmp_path / "flags", parts=("",))
    found = data.load(f"{root}/")
    assert len(found.train) == 18 and found.test.images.shape == (0, 3, 16, 16)


def test_both_halves_have_every_class(folder):
    for half in data.search_split(data.load(folder), "half"):
        assert half.labels.unique().tolist() == [0, 1, 2]


def test_images_of_any_size_and_mode_are_cut_to_their_central_square(tmp_path):
    root = write_folder(tmp_path / "flags", size=(24, 16))
    drawn((255, 0, 0), 0, (90, 30)).convert("P").save(root / "train" / "red" / "wide.png")
    drawn((255, 0, 0), 0, (16, 40)).convert("RGBA").save(root / "train" / "red" / "high.png")
    found = data.load(root, resolution=8)
    assert found.train.images.shape == (20, 3, 8, 8)
    red = found.train.images[found.train.labels == 2]
    assert (red[:, 0, 0, 0] > 250).all() and (red[:, 1, 0, 0] < 5).all()


def test_images_of_several_sizes_need_a_resolution(folder):
    drawn((255, 0, 0), 0, (20, 30)).save(folder / "train" / "red" / "other.png")
    with pytest.raises(ValueError, match="flags have sides of 16 to 20 pixels: pass resolution"):
        data.load(folder)


def test_statistics_are_those_of_the_training_images(folder):
    found = data.load(folder)
    x = found.train.images.double() / 255
    assert found.mean == pytest.approx(x.mean(dim=(0, 2, 3)).tolist())
    assert found.std == pytest.approx(x.std(dim=(0, 2, 3)).tolist())


def truncate(root):
    file = root / "train" / "red" / "0.png"
    file.write_bytes(file.read_bytes()[:40])


def sixteen_bits(root):
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(root / "train" / "red" / "0.png")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (truncate, "red/0.png cannot be read as an image: it is of no known format"),
        (
            sixteen_bits,
            "red/0.png cannot be read as an image: its mode I;16 has not 8 bits a channel",
        ),
        (lambda root: (root / "val").mkdir(), r"beside them are \['val'\]"),
        (
            lambda root: shutil.rmtree(root / "test" / "red"),
            "the classes of .*test must be those of train",
        ),
        (
            lambda root: (root / "train" / "void").mkdir(),
            "Found no valid file for the classes void",
        ),
        (
            lambda root: [
                shutil.rmtree(root / p / c) for p in ("train", "test") for c in ("red", "blue")
            ],
            "two or more",
        ),
        (
            lambda root: [shutil.rmtree(root / "train" / c) for c in COLOURS],
            "a folder of images for each class",
        ),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_with_the_place(change, says, folder):
    change(folder)
    with pytest.raises(ValueError, match=says):
        data.load(folder)


# Arrays


def test_arrays_are_the_images_they_hold(file):
    found = data.load(file)
    assert (
        found.train.images.shape == (100, 3, 16, 16)
        and found.num_classes == 10
        and len(found.test) == 50
    )
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found.train.images, DIGITS.train.images[order])
    assert torch.equal(found.train.labels, DIGITS.train.labels[order])


def test_channels_may_be_first_or_last(tmp_path):
    first = {f"{p}images": arrays()[f"{p}images"].transpose(0, 3, 1, 2) for p in ("", "test_")}
    a, b = write_arrays(tmp_path / "a.npz"), write_arrays(tmp_path / "b.npz", **first)
    assert torch.equal(data.load(a).train.images, data.load(b).train.images)
    assert data.content(str(a)) == data.content(str(b))


@pytest.mark.parametrize("resolution", [8, 4])
def test_a_smaller_resolution_averages_areas_as_that_of_other_data_does(resolution, file):
    here = {i.numpy().tobytes() for i in data.load(file, resolution=resolution).test.images}
    there = {
        i.numpy().tobytes() for i in data.load("digits", resolution=resolution).test.images[:50]
    }
    assert here == there


@pytest.mark.parametrize("resolution", [5, 24])
def test_any_resolution_can_be_had(resolution, file):
    assert data.load(file, resolution=resolution).test.images.shape == (
        50,
        3,
        resolution,
        resolution,
    )


def test_classes_may_have_names(tmp_path):
    names = [f"digit {i}" for i in range(10)]
    assert data.load(write_arrays(tmp_path / "d.npz", classes=np.array(names))).classes == tuple(
        names
    )


IMAGES, LABELS = arrays()["images"], arrays()["labels"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"images": IMAGES.astype(np.float32)}, "images of .* must be uint8 .* not float32"),
        ({"images": IMAGES[..., 0]}, r"not uint8 of shape \(100, 16, 16\)"),
        ({"images": IMAGES[..., :2]}, r"not uint8 of shape \(100, 16, 16, 2\)"),
        ({"labels": LABELS[:-1]}, r"one for each of 100 images, not int64 of shape \(99,\)"),
        ({"labels": LABELS.astype(float)}, "labels of .* must be whole numbers"),
        (
            {"labels": np.where(LABELS == 3, 250, LABELS)},
            "must be 0 to 9, .*; they are 0, 1, 2, 4, .*250",
        ),
        ({"labels": np.where(LABELS == 3, -1, LABELS)}, "they are -1, 0, 1"),
        ({"labels": LABELS * 0}, "two or more"),
        ({"test_labels": arrays()["test_labels"] + 1}, "test labels of .* must be 0 to 9, not 10"),
        ({"test_labels": None}, "test_labels is missing"),
        ({"labels": None}, "labels is missing"),
        ({"lables": LABELS}, "must hold images, labels, .* not lables"),
        ({"classes": np.array(["a", "b"])}, "must be 0 to 1"),
        (
            {"classes": np.array("a")},
            r"classes of .* must be a list of texts, not <U1 of shape \(\)",
        ),
        ({"classes": np.array([b"a", b"b"])}, "must be a list of texts, not .S1"),
        (
            {"images": np.array([{}], dtype=object)},
            "cannot be read as an .npz file of plain arrays",
        ),
        (
            {"test_images": arrays()["test_images"][:, :8, :8]},
            "sides of 16 and 8 pixels: pass resolution",
        ),
        ({"images": IMAGES * 0}, "all of one colour"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused_by_name(changed, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        data.load(write_arrays(tmp_path / "d.npz", **changed))


def test_code_in_an_array_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "trace").mkdir, ()

    np.savez(tmp_path / "d.npz", images=np.array([Bomb()], dtype=object), labels=LABELS)
    with pytest.raises(ValueError, match="cannot be read"):
        data.load(tmp_path / "d.npz")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b[:500], lambda b: b[:900] + b"x" + b[901:], lambda b: b"no"],
)
def test_a_damaged_file_is_named(damage, file):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="digits.npz cannot be read as an .npz file"):
        data.load(file)


@pytest.mark.parametrize("flipped", [0b1, 0b11111111])
def test_a_flipped_byte_is_refused_or_changes_nothing(flipped, tmp_path):
    path = tmp_path / "small.npz"
    np.savez_compressed(path, images=IMAGES[:4, 8:10, 8:10], labels=np.array([0, 1, 0, 1]))
    whole, name = path.read_bytes(), data.content(str(path))
    refusals = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
        try:
            assert data.content(str(path)) == name
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > len(whole) / 2
    assert all(str(path) in refusal for refusal in refusals)


def test_arrays_that_change_between_their_name_and_their_images_are_noticed(file, monkeypatch):
    name = data.content(str(file))
    monkeypatch.setattr(own_data, "content", lambda path: name)
    write_arrays(file, images=IMAGES[::-1])
    with pytest.raises(ValueError, match="digits.npz changed while it was read"):
        own_data.read(str(file))


def test_the_images_of_a_file_are_read_once_for_their_name_and_once_to_be_used(file, monkeypatch):
    read, arrays_of = [], own_data._arrays
    monkeypatch.setattr(own_data, "_arrays", lambda path: read.append(path) or arrays_of(path))
    data.load(file)
    assert len(read) == 2


# Names


@pytest.mark.parametrize("path", ["/nowhere/flags", "./flags", "flags.npz", "~/no such flags/"])
def test_what_is_not_there_says_where_it_was_looked_for(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(data.MissingData, match=f"no own data at {data.located(path)}"):
        Experiment(dataset=path)


def test_a_link_that_leads_nowhere_is_named(folder):
    link = folder / "train" / "red" / "gone.png"
    link.symlink_to(folder / "nothing.png")
    with pytest.raises(data.MissingData, match=f"no own data at {link} "):
        data.content(str(folder))


def test_names_of_files_need_not_be_utf_8(folder):
    """As unpacked from an old zip archive."""
    before = data.content(str(folder))
    image = folder / "train" / "red" / "0.png"
    image.rename(image.parent / os.fsdecode(b"caf\xe9.png"))
    assert data.content(str(folder)) != before
    assert len(data.load(str(folder)).train) == 18


def test_statistics_need_no_copy_of_the_images_and_are_those_of_floats():
    pixels = torch.randint(256, (50, 9, 9), generator=torch.Generator().manual_seed(0))
    values = pixels.double() / 255
    found = data._mean_and_deviation(pixels.byte())
    assert found == pytest.approx((values.mean().item(), values.std().item()), rel=1e-14)


def test_a_name_without_a_slash_is_no_path_and_is_told_so():
    with pytest.raises(
        ValueError, match="unknown data set 'flags'.*own images are given as a path: './folder'"
    ):
        Experiment(dataset="flags")


def experiment(dataset, **changed):
    size = {
        "resolution": 8,
        "images": 32,
        "evaluation": 16,
        "channels": 4,
        "cells": 1,
        "epochs": 1,
    }
    return Experiment(
        **{"dataset": dataset, "recipe": {"split": "half", "batch": 16}, **size, **changed}
    )


def test_the_same_content_elsewhere_is_the_same_run(folder, file, tmp_path):
    shutil.copytree(folder, tmp_path / "elsewhere")
    np.savez_compressed(tmp_path / "packed.npz", **arrays())
    assert name_of(experiment(folder)) == name_of(experiment(tmp_path / "elsewhere"))
    assert name_of(experiment(file)) == name_of(experiment(f"{tmp_path}/packed.npz"))
    assert "/" not in str(experiment(folder).params())


def other_pixel(root):
    drawn((255, 0, 0), 9, (16, 16)).save(root / "train" / "red" / "0.png")


@pytest.mark.parametrize(
    "change",
    [
        other_pixel,
        lambda root: (root / "train" / "red" / "0.png").rename(root / "train" / "blue" / "9.png"),
        lambda root: (root / "test" / "red" / "0.png").unlink(),
        lambda root: [
            (root / part / "red").rename(root / part / "rot") for part in ("train", "test")
        ],
    ],
)
def test_other_content_is_another_run(change, folder):
    before = name_of(experiment(folder))
    change(folder)
    assert name_of(experiment(folder)) != before


@pytest.mark.parametrize(
    "changed", [{"labels": np.roll(LABELS, 1)}, {"images": IMAGES[::-1]}, {"test_images": None}]
)
def test_other_arrays_are_another_run(changed, file, tmp_path):
    changed = {**changed, "test_labels": None} if "test_images" in changed else changed
    other = write_arrays(tmp_path / "other.npz", **changed)
    assert name_of(experiment(file)) != name_of(experiment(other))


def test_images_that_change_between_the_question_and_the_run_are_noticed(folder, tmp_path):
    asked = experiment(folder, images=8, evaluation=None, recipe={"split": "half", "batch": 8})
    other_pixel(folder)
    with pytest.raises(
        ValueError, match="flags has changed since this Experiment was made: make it anew"
    ):
        asked.run(Machine(tmp_path / "runs"))


def test_unchanged_files_are_read_once_for_their_name(folder, monkeypatch):
    first = data.content(str(folder))
    monkeypatch.setattr(own_data, "_folder_digest", None)
    assert data.content(str(folder)) == first


# Runs


def test_searches_and_trainings_run_in_other_processes_wherever_these_are(
    file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    machine = Machine(tmp_path / "runs")
    evaluation = Evaluation(
        CELL, dataset="./digits.npz", resolution=8, channels=4, cells=1, protocol={"epochs": 1}
    )
    tasks = {"search": experiment("./digits.npz"), "training": evaluation}
    done = gather(tasks, machine, workers=1)
    assert all(run.result for run in done.values()), capsys.readouterr().out
    assert done["search"].params["dataset"] == data.content(str(file))
    assert any(
        name.startswith("search darts on nasbench201, own images ")
        for name in plan(tasks, machine).index
    )


def test_a_finished_run_is_found_without_its_images_by_the_name_of_their_content(file, tmp_path):
    task, machine = experiment(file, keep_weights=True), Machine(tmp_path / "runs")
    run = task.run(machine)
    file.unlink()
    found = experiment(run.params["dataset"], keep_weights=True)
    assert Run(machine.runs / name_of(found)) == run and found.run(machine).result == run.result
    with pytest.raises(data.MissingData, match="own data are read from where they lie"):
        experiment(run.params["dataset"], seed=1).run(machine)


def test_a_trained_network_knows_its_classes(folder, tmp_path):
    size = {"channels": 4, "cells": 1, "protocol": {"epochs": 20, "batch": 6, "lr": 0.1}}
    net = load(
        Evaluation(CELL, dataset=folder, keep_weights=True, **size).run(Machine(tmp_path / "runs"))
    )
    found = data.load(folder).test
    said = [net.classes[i] for i in net(found.images).argmax(dim=1)]
    assert said == [tuple(COLOURS)[label] for label in found.labels]


def test_without_a_test_part_there_is_nothing_to_judge_a_network_on(tmp_path):
    root = write_folder(tmp_path / "flags", parts=("",))
    with pytest.raises(ValueError, match="flags has no test part"):
        Evaluation(CELL, dataset=root, channels=4, cells=1).check(Machine(tmp_path))


def test_the_split_of_the_benchmark_names_the_one_to_take(folder, tmp_path):
    with pytest.raises(ValueError, match="use 'half', that is recipe={'split': 'half'}"):
        Experiment(dataset=folder).check(Machine(tmp_path))


def test_a_task_takes_the_name_of_its_images_along(file):
    task = pickle.loads(pickle.dumps(experiment(file)))
    file.unlink()
    assert task.params() == experiment(task.content).params()


def test_names_of_content_never_change(tmp_path):
    """Runs on own images, and a part of the plan, are named by them."""
    images = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    np.savez(tmp_path / "o.npz", images=images, labels=np.array([0, 1, 0, 1]))
    assert data.content(str(tmp_path / "o.npz")) == (
        "sha256:da01efa71c80d527b5e1cb2a43901ebecb901d66083c2b5cade744f3279031a4"
    )
    for name in "ab":
        file = tmp_path / "f" / "train" / name / "0.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" + name.encode())
    assert data.content(str(tmp_path / "f")) == (
        "sha256:0deeca9870d5743f7924a8a8b9c3e4c382cb491aa0f5232890e1be9244a45040"
    )
