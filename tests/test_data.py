"""Data sets, augmentation against slow per-image references, splits,
and what is said when data is missing.

Run: pytest tests/test_data.py         with CIFAR-10: NASUTILS_DATA=<folder> pytest tests/test_data.py
"""

import pickle
from dataclasses import replace

import pytest
import torch

from nasutils import data
from nasutils.data import Data, ImageSet
from tests.images import needs_cifar10
from tests.small_runs import Bomb


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def cifar10():
    return data.load("cifar10")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(batch=16, side=32, seed=0):
    return torch.randint(
        1, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator(seed)
    )


def made_up(name="cifar10", train=64, test=16, side=4):
    """A data set whose labels are the index of the image."""
    sets = [ImageSet(noise(n, side), torch.arange(n)) for n in (train, test)]
    return Data(name, *sets, 10, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


# Digits


def test_digits_are_small_colour_images(digits):
    assert digits.train.images.shape == (1437, 3, 16, 16) and digits.test.images.shape == (
        360,
        3,
        16,
        16,
    )
    assert digits.train.images.dtype == torch.uint8 and digits.train.labels.dtype == torch.int64
    assert digits.resolution == 16 and digits.num_classes == 10


def test_digits_use_the_whole_range(digits):
    assert digits.train.images.min() == 0 and digits.train.images.max() == 255


def test_digits_have_every_class_in_both_parts(digits):
    for part in (digits.train, digits.test):
        assert part.labels.unique().tolist() == list(range(10))


def test_digits_are_pixels_doubled(digits):
    images = digits.train.images
    assert torch.equal(images[..., ::2, ::2], images[..., 1::2, 1::2])
    assert torch.equal(images[:, 0], images[:, 2])


def test_statistics_of_digits_are_those_of_the_training_images(digits):
    x = digits.train.images.double() / 255
    assert digits.mean == pytest.approx([x.mean().item()] * 3) and digits.std == pytest.approx(
        [x.std().item()] * 3
    )


# Augmentation


def slow_augment(images, generator, padding):
    """One image at a time, the same draws."""
    batch, channels, height, width = images.shape
    shifts = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator)
    flips = torch.rand(batch, 1, generator=generator) < 0.5
    result = torch.zeros_like(images)
    for i in range(batch):
        padded = torch.zeros(
            channels, height + 2 * padding, width + 2 * padding, dtype=images.dtype
        )
        padded[:, padding : padding + height, padding : padding + width] = images[i]
        top, left = int(shifts[0, i]), int(shifts[1, i])
        crop = padded[:, top : top + height, left : left + width]
        result[i] = crop.flip(2) if flips[i] else crop
    return result


@pytest.mark.parametrize(("side", "padding"), [(32, 4), (16, 2), (8, 1)])
def test_augmentation_is_crop_and_flip_of_each_image(side, padding):
    images = noise(64, side)
    assert torch.equal(
        data.augment(images, generator(1)), slow_augment(images, generator(1), padding)
    )


def test_every_image_has_its_own_draw():
    same = noise(1, 16).expand(64, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in data.augment(same, generator())}) > 20


def test_every_shift_and_flip_occurs():
    images = torch.zeros(2000, 3, 8, 8, dtype=torch.uint8)
    images[:, :, 4, 4] = 1
    places = {
        tuple(place) for place in data.augment(images, generator())[:, 0].nonzero()[:, 1:].tolist()
    }
    assert places == {(y, x) for y in (3, 4, 5) for x in (2, 3, 4, 5)}


def test_padding_is_black():
    augmented = data.augment(torch.full((64, 3, 16, 16), 255, dtype=torch.uint8), generator())
    assert set(augmented.unique().tolist()) == {0, 255}


def test_without_padding_only_flips_are_left():
    images = noise(side=7)
    augmented = data.augment(images, generator())
    flipped = [torch.equal(a, i.flip(2)) for a, i in zip(augmented, images, strict=True)]
    assert any(flipped) and not all(flipped)
    assert all(f or torch.equal(a, i) for f, a, i in zip(flipped, augmented, images, strict=True))


def test_the_same_generator_state_gives_the_same_batch():
    rng, images = generator(), noise()
    state = rng.get_state()
    first, second = data.augment(images, rng), data.augment(images, rng)
    assert not torch.equal(first, second)
    assert torch.equal(first, data.augment(images, rng.set_state(state)))


def test_augmentation_keeps_bytes_and_its_input():
    images = noise()
    augmented = data.augment(images, generator())
    assert augmented.dtype == torch.uint8 and augmented.shape == images.shape
    assert torch.equal(images, noise())


def slow_cutout(images, generator, side):
    batch, _, height, width = images.shape
    rows, columns = (torch.randint(0, n, (batch,), generator=generator) for n in (height, width))
    result = images.clone()
    for i in range(batch):
        for y in range(height):
            for x in range(width):
                top, left = int(rows[i]) - side // 2, int(columns[i]) - side // 2
                if top <= y < top + side and left <= x < left + side:
                    result[i, :, y, x] = 0
    return result


@pytest.mark.parametrize("side", [1, 4, 5, 8])
def test_cutout_is_a_square_cut_at_the_border(side):
    images = 1 + torch.rand(40, 3, 8, 8, generator=generator())
    assert torch.equal(
        data.cutout(images, generator(1), side), slow_cutout(images, generator(1), side)
    )


@pytest.mark.parametrize("side", [4, 5])
def test_cutout_inside_the_image_has_its_exact_size(side):
    holes = (data.cutout(torch.ones(500, 3, 16, 16), generator(), side) == 0).sum(dim=(2, 3))
    assert holes.max() == side * side and holes.min() < side * side
    assert torch.equal(holes[:, 0], holes[:, 2])


def test_normalisation_follows_its_formula():
    images, source = noise(4, 8), made_up()
    mean, std = torch.tensor(source.mean).view(3, 1, 1), torch.tensor(source.std).view(3, 1, 1)
    torch.testing.assert_close(data.normalize(images, source), (images / 255 - mean) / std)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalised_images_lie_channels_last(dtype):
    images = data.normalize(data.augment(noise(), generator()), made_up(), dtype)
    assert images.dtype == dtype and images.is_contiguous(memory_format=torch.channels_last)


def test_normalisation_leaves_the_bytes_alone():
    images = noise()
    data.normalize(images, made_up())
    assert torch.equal(images, noise())


# Batches


def test_an_epoch_has_each_image_once_in_random_order():
    index = torch.cat(list(data.index_batches(50, 8, generator())))
    assert index.sort().values.tolist() == list(range(50)) and index.tolist() != list(range(50))


def test_the_last_batch_may_be_short():
    assert [len(b) for b in data.index_batches(50, 16, generator())] == [16, 16, 16, 2]


# Resolution


def test_resolution_averages_areas(digits):
    small = data.load("digits", resolution=4).train.images
    areas = digits.train.images.double().unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean(dim=(3, 5))
    assert small.shape == (1437, 3, 4, 4) and small.dtype == torch.uint8
    assert (small.double() - areas).abs().max() <= 0.5


def test_the_data_sets_own_resolution_changes_nothing(digits):
    assert torch.equal(data.load("digits", resolution=16).train.images, digits.train.images)


@pytest.mark.parametrize("resolution", [0, 5, 32, -4])
def test_a_resolution_that_does_not_divide_lists_those_that_do(resolution):
    with pytest.raises(
        ValueError, match=rf"resolution must be one of \[1, 2, 4, 8, 16\], not {resolution}"
    ):
        data.load("digits", resolution=resolution)


# Splits


def test_half_is_first_and_second_half(digits):
    weights, alpha = data.search_split(digits, "half")
    assert len(weights) == 718 and len(alpha) == 719
    assert torch.equal(torch.cat([weights.labels, alpha.labels]), digits.train.labels)


def test_a_subset_takes_that_many_of_each_half():
    weights, alpha = data.search_split(made_up(), "half", 10)
    assert len(set(weights.labels.tolist())) == 10 and weights.labels.max() < 32
    assert len(set(alpha.labels.tolist())) == 10 and alpha.labels.min() >= 32


def test_a_subset_is_the_same_whatever_the_seed():
    subsets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        subsets.append(data.search_split(made_up(), "half", 10)[0].labels.tolist())
    assert subsets[0] == subsets[1]


@pytest.mark.parametrize("images", [0, -1, 33])
def test_images_out_of_range_name_the_range(images):
    with pytest.raises(ValueError, match=f"images must be 1 to 32 for cifar10, not {images}"):
        data.search_split(made_up(), "half", images)


def test_lists_of_cifar10_are_disjoint_halves_of_the_training_set():
    weights, alpha = data.search_split(made_up(train=50_000, side=1), "nasbench201")
    assert len(weights) == len(alpha) == 25_000
    assert torch.cat([weights.labels, alpha.labels]).sort().values.tolist() == list(range(50_000))


def test_lists_of_cifar100_judge_alpha_on_half_of_the_test_set():
    source = made_up("cifar100", train=50_000, test=10_000, side=1)
    weights, alpha = data.search_split(source, "nasbench201")
    assert torch.equal(weights.images, source.train.images)
    assert len(set(alpha.labels.tolist())) == 5_000 and torch.equal(
        alpha.images, source.test.images[alpha.labels]
    )


def test_an_unknown_split_names_the_nearest():
    with pytest.raises(ValueError, match="unknown split 'halves'.*did you mean 'half'"):
        data.search_split(made_up(), "halves")


def test_a_data_set_without_lists_is_refused(digits):
    with pytest.raises(
        ValueError, match="lists for cifar10 and cifar100, not for digits: use 'half'"
    ):
        data.search_split(digits, "nasbench201")


# Files


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(ValueError, match="unknown data set 'cifar-10'.*did you mean 'cifar10'"):
        data.load("cifar-10")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_missing_data_says_where_it_was_looked_for_and_how_to_get_it(name, tmp_path):
    with pytest.raises(data.MissingData) as caught:
        data.load(name, tmp_path)
    assert all(
        words in str(caught.value)
        for words in (name, str(tmp_path), "download=True", "NASUTILS_DATA")
    )


def test_the_root_is_the_argument_or_the_variable_or_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NASUTILS_DATA", str(tmp_path))
    assert data.root_folder("here").name == "here" and data.root_folder() == tmp_path
    monkeypatch.delenv("NASUTILS_DATA")
    assert data.root_folder().parts[-3:] == (".cache", "nasutils", "data")


def test_why_a_data_set_is_missing_is_told_and_of_one_that_is_there_nothing(tmp_path):
    assert data.missing("digits", tmp_path) is None
    assert str(tmp_path) in data.missing("cifar10", tmp_path)


def test_data_in_the_home_of_nobody_are_missing():
    with pytest.raises(data.MissingData, match="no data at '~nosuchuser'"):
        data.load("cifar10", "~nosuchuser")


@needs_cifar10
def test_cifar10_is_the_real_one(cifar10):
    assert cifar10.train.images.shape == (50_000, 3, 32, 32) and cifar10.test.images.shape == (
        10_000,
        3,
        32,
        32,
    )
    assert cifar10.train.labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]
    assert cifar10.test.labels.bincount().tolist() == [1000] * 10


@needs_cifar10
def test_means_of_cifar10_are_those_of_its_images(cifar10):
    means = [cifar10.train.images[:, c].double().mean().item() / 255 for c in range(3)]
    deviations = [cifar10.train.images[:, c].double().std().item() / 255 for c in range(3)]
    assert cifar10.mean == pytest.approx(means, abs=1e-5) and cifar10.std == pytest.approx(
        deviations, abs=1e-4
    )


def write_cifar100(root, entry):
    """Files in torchvision's layout that are not the original ones."""
    folder = root / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(pickle.dumps(entry, protocol=4))
    return folder


def test_code_in_a_data_file_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    write_cifar100(tmp_path, {"data": Bomb(trace), "fine_labels": []})
    with pytest.raises(data.MissingData, match=r"cifar100 not found \(or damaged\)"):
        data.load("cifar100", tmp_path)
    assert not trace.exists()
    pickle.loads((tmp_path / "cifar-100-python" / "train").read_bytes())
    assert trace.exists(), "the file was harmless: the test proves nothing"


def test_cifar100_whose_images_are_others_is_refused(tmp_path):
    write_cifar100(
        tmp_path, {"data": noise(6, 32).numpy().reshape(6, 3072), "fine_labels": [0] * 6}
    )
    with pytest.raises(data.MissingData, match=r"cifar100 not found \(or damaged\)"):
        data.load("cifar100", tmp_path)


def test_held_out_images_are_those_after_alphas_own():
    source = made_up()
    _, alpha = data.search_split(source, "half", 10)
    _, whole = data.search_split(source, "half")
    beside = data.held_out(source, "half", 10, len(whole) - 10)
    assert sorted([*alpha.labels.tolist(), *beside.labels.tolist()]) == sorted(
        whole.labels.tolist()
    )
    for part in (alpha, beside):
        assert torch.equal(part.images, source.train.images[part.labels])


def test_the_images_of_a_split_never_change():
    """No key names them: other images under the old names would pass for the old runs."""
    big = made_up(train=50_000, test=10_000, side=1)
    weights, alpha = data.search_split(big, "nasbench201")
    assert weights.labels[:6].tolist() == [0, 5, 7, 11, 13, 15]
    assert alpha.labels[:6].tolist() == [1, 2, 3, 4, 6, 8]
    weights, alpha = data.search_split(big, "nasbench201", 2000)
    assert weights.labels[:4].tolist() == [22048, 169, 21327, 7870]
    assert alpha.labels[:4].tolist() == [22131, 215, 21430, 7912]
    assert (weights.labels.sum(), alpha.labels.sum()) == (51136263, 51364035)
    _, alpha = data.search_split(replace(big, name="cifar100"), "nasbench201")
    assert alpha.labels[:6].tolist() == [1, 3, 4, 5, 8, 10]
    assert data.held_out(made_up(), "half", 5, 3).labels.tolist() == [61, 41, 42]


@pytest.mark.parametrize(
    ("scheme", "images", "count"), [("half", 10, 10_000), ("half", None, 1), ("all", 10, 1)]
)
def test_more_held_out_images_than_there_are_are_refused(scheme, images, count):
    with pytest.raises(ValueError, match="held_out must be 0 to "):
        data.held_out(made_up(), scheme, images, count)
