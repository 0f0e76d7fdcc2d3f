"""Class numbers that are whole, but not 0 to C - 1; classes without images; sets of one image."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import datasets
from datasets import DataError, Stream
from datasets.labels import check_numbering, class_numbers, missing_classes

COUNT = 120
Y = np.arange(COUNT) % 10
PIXELS = np.zeros((COUNT, 4, 4), np.uint8)
PIXELS[:, 0, 0] = np.arange(COUNT)


def changed(value, place=50):
    return np.where(np.arange(COUNT) == place, value, Y)


def build(folder, train, test=Y[:40], names=None, **settings):
    extra = {} if names is None else {"class_names": np.array(names)}
    images = {"x_train": PIXELS[: len(train)], "x_test": PIXELS[: len(test)]}
    np.savez(folder / "own.npz", y_train=train, y_test=test, **images, **extra)
    return datasets.build("arrays", folder, file="own.npz", **settings)


REFUSED = {
    "from one": (Y + 1, Y[:40] + 1, "labels from 1 to 10, expected from 0: save y - 1"),
    "from five": (Y + 5, Y[:40] + 5, "labels from 5 to 14, expected from 0: save y - 5"),
    "ignore": (changed(255), Y[:40], "11 different labels up to 255, but none from 10 to 254"),
    "stray in test": (Y, changed(99)[40:80], "different labels up to 99, but none from 10 to 98"),
    "huge": (changed(10**9), Y[:40], "up to 1000000000, but none from 10 to 999999999"),
    "too large": (Y.astype(np.uint64) + 2**63, Y[:40], "y_train holds 9223372036854775817"),
    "sparse": (Y * 11, Y[:40] * 11, "10 different labels up to 99, but none from 1 to 10"),
    "every third": (Y * 3, Y[:40] * 3, "10 different labels up to 27, but none from 1 to 2"),
    "one class": (Y * 0, Y[:40] * 0, "y_train holds one class (0), expected at least two"),
    "one class to train on": (Y * 0 + 3, Y[:40], "y_train holds one class (3)"),
    "one image": (Y[:1], Y[:40], "y_train holds one class (0)"),
    "negative": (changed(-1), Y[:40], "y_train holds -1, expected class numbers from 0"),
    "whole floats": (Y.astype(float), Y[:40], "save y.astype(int)"),
    "fractions": (Y / 2, Y[:40], "they are not whole"),
    "nan": (changed(np.nan), Y[:40], "they are not whole"),
    "text": (Y.astype(str), Y[:40], "save names, y = np.unique(y, return_inverse=True)"),
    "one-hot": (np.eye(10)[Y], Y[:40], "if they are one-hot, save y.argmax(axis=1)"),
    "complex": (Y * 1j, Y[:40], "y_train is complex128 (120,), expected whole numbers"),
    "dates": (Y.astype("M8[s]"), Y[:40], "y_train is datetime64[s] (120,), expected whole"),
    "scalar": (np.array(3), Y[:40], None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_that_would_make_classes_nobody_meant_are_refused(tmp_path, name):
    train, test, message = REFUSED[name]
    if message is None:
        with pytest.raises(DataError, match=r"y_train is int64 \(\), expected whole numbers"):
            class_numbers(train, COUNT, "y_train", "x_train")
        return
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        build(tmp_path, train, test)
    assert str(caught.value).isprintable() and str(tmp_path / "own.npz") in str(caught.value)


GAP = np.where(Y == 4, 5, Y)
WARNED = {
    "gap": (GAP, GAP[:40], ["1 of 10 classes has no training image (4)", "no test image (4)"]),
    "only in test": (np.where(Y == 9, 0, Y), Y[:40], ["1 of 10 classes has no training image (9)"]),
    "not in test": (Y, Y[:8], ["2 of 10 classes have no test image (8, 9)"]),
    "one image to test on": (Y, Y[:1], ["9 of 10 classes have no test image (1, 2, 3, 4, 5 and 4"]),
    "two gaps": (changed(12), Y[:40], ["2 of 13 classes have no training image (10, 11)", "test"]),
}


@pytest.mark.parametrize("name", WARNED)
def test_classes_without_an_image_are_warned_of(tmp_path, name):
    train, test, expected = WARNED[name]
    warnings = build(tmp_path, train, test).warnings
    assert len(warnings) == len(expected)
    assert all(part in text for part, text in zip(expected, warnings, strict=True))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint64, np.dtype(">i4")])
def test_whole_numbers_of_any_type_and_shape_are_taken(tmp_path, dtype):
    two = (Y % 2).astype(dtype)
    flat, column = build(tmp_path, two, two[:40]), build(tmp_path, two[:, None], two[:40, None])
    assert flat.fingerprint == column.fingerprint and flat.info.num_classes == 2
    assert flat.warnings == ()


def test_names_say_that_a_class_without_images_is_meant(tmp_path):
    names = [f"class {c}" for c in range(256)]
    data = build(tmp_path, changed(255), names=names)
    assert data.info.num_classes == 256
    assert data.warnings[0].startswith(
        "arrays: 245 of 256 classes have no training image (class 10"
    )
    assert build(tmp_path, Y + 1, names=names[:11]).info.num_classes == 11
    with pytest.raises(DataError, match="10 class_names, but the labels go up to 10: save y - 1"):
        build(tmp_path, Y + 1, Y[:40] + 1, names=names[:10])


def test_many_classes_are_no_stray_labels():
    labels = np.arange(10_000)
    assert check_numbering({"y_train": labels, "y_test": labels[:1]}, None) == 10_000
    names = [str(c) for c in range(10_000)]
    (warning,) = missing_classes(
        "own", names, torch.from_numpy(labels), {"test": torch.tensor([0])}
    )
    assert warning.startswith("own: 9999 of 10000 classes have no test image (1, 2, 3, 4, 5 and 99")


# ---- what settings leave of a class --------------------------------------------------------------


def test_a_subset_smaller_than_the_number_of_classes_is_warned_of():
    data = datasets.build("fake", subset=4)
    assert data.info.train_size == 4 and data.info.num_classes == 10
    assert data.warnings[0].startswith("fake: 6 of 10 classes have no training image")


def test_a_hold_out_that_takes_a_class_whole_is_warned_of(tmp_path):
    labels = np.array([0] * 40 + [1])
    data = build(tmp_path, labels, labels, validation=40)
    assert data.info.train_labels.tolist() in ([0], [1])
    assert any("no training image" in text for text in data.warnings)


def test_complete_sets_have_no_warning():
    assert datasets.build("fake", subset=100, validation=50).warnings == ()


@pytest.mark.parametrize("batch_size", [8, 64])
def test_a_class_of_one_image_is_drawn_by_the_balanced_sampler(tmp_path, batch_size):
    labels = np.array([0] * 30 + [1] * 30 + [2])
    data = build(tmp_path, labels, batch_size=batch_size, test=labels)
    seen = dict.fromkeys(range(3), 0)
    for batch in data.train_stream(0, 1, 0, Stream(sampler="balanced")):
        assert len(batch) == batch_size and batch.labels.unique().tolist() == [0, 1, 2]
        assert (batch.labels == torch.from_numpy(labels)[batch.indices]).all()
        for c in seen:
            seen[c] += int((batch.labels == c).sum())
    assert max(seen.values()) <= min(seen.values()) + len(seen) * 8  # the one image again and again
