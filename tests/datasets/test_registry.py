"""Names, options and settings; the embedded sets."""

from __future__ import annotations

import re
import time

import pytest
import torch
from torch.nn import functional as F

import datasets
from datasets import DataError, registry
from datasets.arrays import channel_statistics
from datasets.digits import MEAN, STD, upsample


def test_names_are_sorted_and_hold_the_usual_sets():
    assert datasets.names() == sorted(datasets.names())
    assert {"arrays", "cifar10", "cifar100", "digits", "fake"} <= set(datasets.names())


@pytest.mark.parametrize(("name", "options"), [("digits", {}), ("fake", {"num_classes": 3})])
def test_class_names_are_those_of_the_data(tmp_path, name, options):
    names = datasets.class_names(name, tmp_path, options)
    assert names == datasets.build(name, tmp_path, **options).info.class_names
    assert datasets.class_names("no such set", tmp_path, {}) == ()


def test_options_are_the_factorys_keywords():
    assert datasets.options("arrays") == {
        "file": None,
        "flip": True,
        "padding": None,
        "label": None,
    }
    assert datasets.options("cifar100") == {"image_size": 32}
    assert datasets.options("fake")["num_classes"] == 10


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cifar1000", {}, "unknown data set 'cifar1000': did you mean cifar100"),
        ("svhn", {}, "unknown data set 'svhn': known: arrays, cifar10"),
        ("fake", {"num_clases": 3}, "fake: unknown option 'num_clases': did you mean num_classes?"),
        ("digits", {"flip": True}, "digits: unknown option 'flip': there are none"),
        ("fake", {"seed": "1"}, "fake: option seed = '1': expected int"),
        ("fake", {"num_classes": True}, "fake: option num_classes = True: expected int"),
        ("fake", {"num_classes": 1}, "fake: option num_classes = 1: expected at least 2"),
        ("fake", {"test_size": 0}, "fake: option test_size = 0: expected at least 1"),
        ("fake", {"batch_size": 0}, "fake: batch_size = 0: expected a whole number from 1"),
        ("fake", {"epochs": 2.5}, "fake: epochs = 2.5: expected a whole number from 1"),
        ("fake", {"device": "gpu"}, "fake: device 'gpu': expected cpu, cuda or cuda:N"),
    ],
)
def test_errors_teach_in_one_line(name, arguments, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        datasets.build(name, **arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


@pytest.mark.usefixtures("own_registry")
def test_a_users_own_set_is_one_function():
    @datasets.register("stripes")
    def stripes(settings, *, count: int = 6):
        images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 8, 8)
        part = datasets.Part(images, torch.arange(count) % 2)
        names, zero, one = ("even", "odd"), (0.0,) * 3, (1 / 255,) * 3
        return datasets.MemoryData(
            settings, datasets.Images(part, part, names, zero, one, padding=0, flip=True)
        )

    data = datasets.build("stripes", batch_size=4, count=8)
    assert data.info.class_names == ("even", "odd")
    for batch in data.train_stream(0, 1):
        torch.testing.assert_close(batch.images.mean((1, 2, 3)), batch.indices.float())
    with pytest.raises(DataError, match=r"the name is taken by 'stripes'"):
        datasets.register("Stripes")(stripes)


@pytest.mark.usefixtures("own_registry")
def test_an_option_without_a_default_is_refused():
    with pytest.raises(DataError, match="'bad': option 'file' has no default"):

        @datasets.register("bad")
        def bad(settings, *, file): ...


def test_digits_are_a_fixed_stratified_fifth():
    data = datasets.build("digits")
    info = data.info
    assert (info.train_size, info.num_classes, info.image_size) == (1437, 10, 16)
    (test,) = data.test_batches(batch_size=1000)
    assert test.images.shape == (360, 3, 16, 16)
    counts = info.train_labels.bincount() / (info.train_labels.bincount() + test.labels.bincount())
    assert (counts - 0.8).abs().max() < 0.005
    # The split and the pixels are part of what a number means: they may never change unnoticed.
    assert test.labels[:8].tolist() == [3, 6, 1, 3, 7, 6, 7, 0]
    assert data.fingerprint.startswith("77a8cc872faa753c")


def test_digits_constants_are_those_of_the_training_part():
    crops = datasets.build("digits")._train.images[..., 2:-2, 2:-2]
    means, deviations = channel_statistics(crops)
    assert [round(value, 4) for value in means] == [MEAN] * 3
    assert [round(value, 4) for value in deviations] == [STD] * 3


def test_upsampling_is_bilinear():
    images = torch.randint(17, (6, 8, 8), generator=torch.Generator().manual_seed(0))
    ours = torch.from_numpy(upsample(images.numpy())).float()
    theirs = F.interpolate(
        images[:, None].double() * 255 / 16, scale_factor=2, mode="bilinear", align_corners=False
    )[:, 0]
    assert (ours - theirs).abs().max() <= 0.5


def test_digits_are_shifted_but_never_mirrored():
    data = datasets.build("digits", subset=1, batch_size=1)
    views = {next(data.train_stream(0, epoch)).images.numpy().tobytes() for epoch in range(1, 200)}
    assert 15 < len(views) <= 25


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_fake_data_can_be_learned(num_classes):
    """Nearest class mean over augmented images: far above chance on the test part."""
    data = datasets.build("fake", num_classes=num_classes, train_size=800, test_size=400)
    batches = list(data.train_stream(0, 1))
    images, labels = (torch.cat([getattr(b, k) for b in batches]) for k in ("images", "labels"))
    rows = images.mean(3).flatten(1)
    means = torch.stack([rows[labels == c].mean(0) for c in range(num_classes)])
    hits = [
        (torch.cdist(b.images.mean(3).flatten(1), means).argmin(1) == b.labels).float()
        for b in data.test_batches()
    ]
    assert torch.cat(hits).mean() > (0.7 if num_classes == 100 else 0.95)


def test_building_fake_data_takes_no_time():
    start = time.perf_counter()
    datasets.build("fake")
    assert time.perf_counter() - start < 2  # measured: 0.02 s
