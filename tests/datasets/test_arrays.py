"""A user's own .npz: the layouts it may have, and one clear line for everything else."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import datasets
from datasets import DataError
from datasets.arrays import channel_statistics

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def good(**changes):
    entries = {
        "x_train": IMAGES,
        "y_train": LABELS,
        "x_test": IMAGES[:6],
        "y_test": LABELS[:6],
        **changes,
    }
    return {key: value for key, value in entries.items() if value is not None}


def build(folder, entries, **settings):
    np.savez(folder / "mine.npz", **entries)
    return datasets.build("arrays", folder, file="mine.npz", **settings)


def test_channel_last_images_come_through(tmp_path):
    data = build(tmp_path, good())
    info = data.info
    assert (info.num_classes, info.image_size, info.train_size) == (3, 16, 12)
    assert info.class_names == ("0", "1", "2")
    (test,) = data.test_batches()
    scaled = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).double() / 255
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3), correction=0)
    expected = (scaled[:6] - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(test.images.double(), expected, rtol=0, atol=1e-5)
    assert test.labels.tolist() == LABELS[:6].tolist()


def test_channel_first_is_the_same_data(tmp_path):
    first = {f"x_{part}": good()[f"x_{part}"].transpose(0, 3, 1, 2) for part in ("train", "test")}
    assert build(tmp_path, good()).fingerprint == build(tmp_path, good(**first)).fingerprint


def test_grey_images_get_three_channels(tmp_path):
    data = build(tmp_path, good(x_train=IMAGES[..., 0], x_test=IMAGES[:6, ..., 0]))
    (test,) = data.test_batches()
    assert test.images.shape == (6, 3, 16, 16)
    assert torch.equal(test.images[:, 0], test.images[:, 2])


@pytest.mark.parametrize("place", [1, 3])
def test_grey_images_may_have_a_channel(tmp_path, place):
    grey = good(x_train=IMAGES[..., 0], x_test=IMAGES[:6, ..., 0])
    one = {x: np.expand_dims(grey[x], place) for x in ("x_train", "x_test")}
    assert build(tmp_path, grey | one).fingerprint == build(tmp_path, grey).fingerprint


def test_names_mean_and_std_of_the_file_are_used(tmp_path):
    extras = {"class_names": np.array(["ant", "bee", "cat", "dog"])}
    extras |= {"mean": np.array([0.5, 0.25, 0]), "std": np.array([0.5, 1, 0.25])}
    data = build(tmp_path, good(**extras))
    assert data.info.class_names == ("ant", "bee", "cat", "dog")
    (test,) = data.test_batches()
    red = torch.from_numpy(IMAGES[:6, ..., 0]).float() / 255
    torch.testing.assert_close(test.images[:, 0], (red - 0.5) / 0.5)
    assert data.fingerprint != build(tmp_path, good()).fingerprint


def test_padding_and_flip_are_options(tmp_path):
    plain = build(tmp_path, good(), padding=0, flip=False)
    batch = next(plain.train_stream(0, 1))
    (test,) = plain.test_batches()
    for image, index in zip(batch.images, batch.indices, strict=True):
        assert index >= 6 or torch.equal(image, test.images[index])
    usual = build(tmp_path, good())
    assert usual._train.images.shape[-1] == 16 + 2 * 2  # H // 8 on either side
    assert not torch.equal(next(usual.train_stream(0, 1)).images, batch.images)


def test_statistics_are_exact_and_constant_channels_harmless():
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).clone()
    images[:, 1] = 51
    mean, std = channel_statistics(images)
    assert mean[1] == pytest.approx(0.2)
    assert std[1] == 1
    red = IMAGES[..., 0].astype(np.float64) / 255
    assert mean[0] == pytest.approx(red.mean(), abs=1e-14)
    assert std[0] == pytest.approx(red.std(), abs=1e-12)


def test_the_file_may_stand_anywhere(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", **good())
    inside = datasets.build("arrays", tmp_path, file="mine.npz")
    absolute = datasets.build("arrays", "elsewhere", file=str(tmp_path / "mine.npz"))
    monkeypatch.chdir(tmp_path)
    here = datasets.build("arrays", "elsewhere", file="mine.npz")
    assert inside.fingerprint == absolute.fingerprint == here.fingerprint


WRONG = [
    (good(x_train=None, xtrain=IMAGES), "unknown key 'xtrain': did you mean x_train"),
    (good(y_test=None), "no y_test; it holds x_train, y_train, x_test"),
    (good(x_train=IMAGES.astype(np.float32)), "x_train is float32 (12, 16, 16, 3), expected uint8"),
    (good(x_train=IMAGES[:, :, :8]), "x_train is uint8 (12, 16, 8, 3), expected square images"),
    (
        good(x_train=IMAGES[..., :2]),
        "x_train is uint8 (12, 16, 16, 2), expected uint8 (N, H, W, 3)",
    ),
    (good(x_train=IMAGES[0, 0]), "x_train is uint8 (16, 3), expected uint8"),
    (good(x_train=IMAGES[:0], y_train=LABELS[:0]), "x_train is uint8 (0, 16, 16, 3), expected"),
    (good(x_test=IMAGES[:6, :8, :8]), "x_test has 8 pixels a side, x_train 16"),
    (good(y_train=LABELS[:11]), "y_train is int64 (11,), expected whole numbers (12,)"),
    (good(y_test=LABELS[:6].astype(float)), "y_test is float64 (6,), expected whole numbers (6,)"),
    (good(y_train=LABELS - 1), "y_train holds -1, expected class numbers from 0"),
    (good(class_names=np.array(["a", "b"])), "2 class_names, but the labels go up to 2"),
    (good(class_names=np.arange(3)), "class_names is int64 (3,), expected one string per class"),
    (good(mean=np.zeros(3)), "has only mean of mean and std"),
    (good(mean=np.zeros(3), std=np.zeros(3)), "std = (0.0, 0.0, 0.0), expected numbers above"),
    (good(mean=np.zeros(1), std=np.ones(3)), "mean is float64 (1,), expected 3 finite numbers"),
    (good(mean=np.full(3, 127), std=np.ones(3)), "mean = [127, 127, 127], expected numbers for"),
    (good(x_train=np.array([None] * 12)), "x_train.npy holds Python objects (pickled)"),
    (good(x_train=IMAGES / 255), "pixels from 0 to 1: save (255 * x).round().astype(np.uint8)"),
    (good(x_train=IMAGES.astype(np.uint16)), "of 16 bits: save (x // 257).astype(np.uint8)"),
    (good(x_train=IMAGES.astype(int)), "pixels from 0 to 255: save x.astype(np.uint8)"),
    (good(x_train=IMAGES[..., [0, 1, 2, 2]]), "without transparency: save x[..., :3]"),
    (good(x_train=IMAGES.view(bool)), "x_train is bool (12, 16, 16, 3), expected uint8"),
    (good(x_train=IMAGES[None]), "x_train is uint8 (1, 12, 16, 16, 3), expected uint8"),
    (good(mean=np.zeros(3), std=np.full(3, np.nan)), "std is float64 (3,), expected 3 finite"),
    (good(mean=np.zeros(3), std=np.full(3, 1e-300)), "expected numbers above 0.0001"),
    (good(mean=np.zeros(3), std=np.ones(3) * 1j), "std is complex128 (3,), expected 3 finite"),
    (good(class_names=np.array(["a", "b\x1b[2J", "c"])), "class_names[1] = 'b\\x1b[2J', expected"),
    (
        good(class_names=np.array([b"a", b"b", b"c"])),
        "class_names is |S1 (3,), expected one string",
    ),
]


@pytest.mark.parametrize(("entries", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_a_wrong_file_is_named_in_one_line(tmp_path, entries, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        build(tmp_path, entries)
    assert str(caught.value).startswith(str(tmp_path / "mine.npz"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"not an archive", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"mine\.npz: cannot be read as an \.npz"):
        datasets.build("arrays", tmp_path, file="mine.npz")


def test_a_truncated_npz_is_refused(tmp_path):
    build(tmp_path, good())
    path = tmp_path / "mine.npz"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"mine\.npz: cannot be read"):
        datasets.build("arrays", tmp_path, file="mine.npz")


def test_a_single_npy_is_refused(tmp_path):
    with (tmp_path / "mine.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(DataError, match=r"mine\.npz: is a single array"):
        datasets.build("arrays", tmp_path, file="mine.npz")


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataError, match="option file = None: expected the path"):
        datasets.build("arrays", tmp_path)
    with pytest.raises(DataError, match=re.escape(f"looked for {tmp_path}/none.npz and ")):
        datasets.build("arrays", tmp_path, file="none.npz")


@pytest.mark.parametrize("padding", [-1, 2.0, True, 17, 10**9])
def test_a_wrong_padding_is_refused(tmp_path, padding):
    with pytest.raises(DataError, match=r"arrays: option padding = .*expected a whole number"):
        build(tmp_path, good(), padding=padding)
