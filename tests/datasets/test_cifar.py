"""CIFAR's files: full-size stand-ins, everything that can be wrong with them, and the real ones."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import datasets
from datasets import DataError, cifar

REAL = Path(__file__).parents[2] / "data"


def pixels(count, seed=0):
    block = np.random.default_rng(seed).integers(0, 256, (500, 3072), dtype=np.uint8)
    return np.tile(block, (count // 500, 1))


def entry(count, classes, key):
    return {"data": pixels(count), key: [i * 7 % classes for i in range(count)], "filenames": []}


def dump(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=4))


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A data folder with both sets in full size."""
    root = tmp_path_factory.mktemp("cifar")
    folder = root / "cifar-100-python"
    dump(folder / "train", entry(50_000, 100, "fine_labels"))
    dump(folder / "test", entry(10_000, 100, "fine_labels"))
    dump(folder / "meta", {"fine_label_names": [f"thing{c}" for c in range(100)]})
    folder = root / "cifar-10-batches-py"
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        dump(folder / name, entry(10_000, 10, "labels"))
    dump(folder / "batches.meta", {"label_names": [f"kind{c}" for c in range(10)]})
    return root


@pytest.mark.parametrize(
    ("name", "classes", "first"), [("cifar100", 100, "thing0"), ("cifar10", 10, "kind0")]
)
def test_full_size_files_are_used_with_a_warning(whole, name, classes, first):
    data = datasets.build(name, whole)
    info = data.info
    assert (info.name, info.num_classes, info.image_size) == (name, classes, 32)
    assert info.train_labels.bincount().tolist() == [50_000 // classes] * classes
    assert info.class_names[0] == first
    assert data.steps_per_epoch() == 782
    assert data.steps_per_epoch(datasets.Stream("balanced")) == 781
    (warning,) = data.warnings
    assert "md5 of" in warning
    assert all(file in warning for file in cifar_layout(name).train)
    test = next(data.test_batches())
    image = torch.from_numpy(pixels(500)[1]).view(3, 32, 32).float() / 255  # red, green, blue
    mean, std = (torch.tensor(c)[:, None, None] for c in constants(name))
    assert torch.equal(test.images[1], (image - mean) / std)
    assert test.labels[1] == 7


@pytest.mark.parametrize("size", [16, 8])
def test_smaller_images_are_rounded_means_over_blocks(small, size):
    block = 32 // size
    data = datasets.build("cifar100", small.parent, image_size=size)
    assert data.info.image_size == size
    read = torch.from_numpy(pixels(500)).view(-1, 3, size, block, size, block).double()
    means = (read.mean(dim=(3, 5)) + 0.5).floor() / 255
    mean, std = (torch.tensor(c)[:, None, None] for c in constants("cifar100"))
    (test,) = data.test_batches(batch_size=500)
    assert torch.allclose(test.images, ((means.float() - mean) / std), atol=1e-6)
    with pytest.raises(DataError, match="option image_size = 20: expected 32, 16 or 8"):
        datasets.build("cifar100", small.parent, image_size=20)


def cifar_layout(name):
    return {"cifar10": cifar.CIFAR10, "cifar100": cifar.CIFAR100}[name]


def constants(name):
    layout = cifar_layout(name)
    return layout.mean, layout.std


@pytest.fixture
def small(tmp_path, monkeypatch):
    """CIFAR-100 with 1,000 + 500 images, to be broken; official when nothing is."""
    folder = tmp_path / "cifar-100-python"
    dump(folder / "train", entry(1000, 100, "fine_labels"))
    dump(folder / "test", entry(500, 100, "fine_labels"))
    dump(folder / "meta", {"fine_label_names": [f"thing{c}" for c in range(100)]})
    md5 = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in folder.iterdir()}
    parts = {part: {part: md5[part]} for part in ("train", "test", "meta")}
    layout = dataclasses.replace(cifar.CIFAR100, train_size=1000, test_size=500, **parts)
    monkeypatch.setattr(cifar, "CIFAR100", layout)
    return folder


def test_official_files_give_no_warning(small):
    data = datasets.build("cifar100", small.parent)
    assert data.warnings == ()
    assert data.info.train_size == 1000


def test_class_names_need_no_images(small):
    expected = datasets.build("cifar100", small.parent).info.class_names
    (small / "train").unlink()
    assert datasets.class_names("cifar100", small.parent, {}) == expected
    (small / "meta").unlink()
    assert datasets.class_names("cifar100", small.parent, {}) == ()


def test_only_the_differing_file_is_warned_about(small):
    dump(small / "meta", {"fine_label_names": ["same"] * 100})
    (warning,) = datasets.build("cifar100", small.parent).warnings
    assert "the md5 of meta differs" in warning


def changed(file, **changes):
    def change(folder):
        content = pickle.loads((folder / file).read_bytes())
        content.update(changes)
        dump(folder / file, {k: v for k, v in content.items() if v is not None})

    return change


def truncated(folder):
    path = folder / "train"
    path.write_bytes(path.read_bytes()[:-1000])


LABELS = [i % 100 for i in range(1000)]
WRONG = [
    ("train", truncated, "damaged or truncated"),
    ("train", changed("train", data=pixels(500)), "data is uint8 (500, 3072), expected uint8"),
    ("test", changed("test", data=pixels(500).astype(int)), "data is int64 (500, 3072), expected"),
    ("test", changed("test", data=[1, 2]), "data is a list of 2, expected uint8 (500, 3072)"),
    ("train", changed("train", data=None), "no 'data'; it holds filenames, fine_labels"),
    ("train", changed("train", fine_labels=None), "no 'fine_labels'; it holds data, filenames"),
    ("train", changed("train", fine_labels=LABELS[:999]), "fine_labels is a list of 999, expected"),
    ("train", changed("train", fine_labels=["0"] * 1000), "expected 1000 whole numbers"),
    ("train", changed("train", fine_labels=[]), "fine_labels is a list of 0, expected 1000"),
    ("train", changed("train", fine_labels=[*LABELS[:-1], 100]), "go from 0 to 100, expected 0"),
    ("train", changed("train", fine_labels=[-1, *LABELS[1:]]), "go from -1 to 99, expected 0"),
    (
        "train",
        changed("train", fine_labels=[*LABELS[:-1], 5]),
        "class 5 has 11 images, expected 10",
    ),
    ("meta", changed("meta", fine_label_names=["a"] * 99), "fine_label_names is a list of 99, exp"),
    ("meta", changed("meta", fine_label_names=[1] * 100), "expected 100 names"),
]


@pytest.mark.parametrize(("file", "change", "message"), WRONG, ids=[m[:45] for *_, m in WRONG])
def test_a_wrong_file_is_named_in_one_line(small, file, change, message):
    change(small)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        datasets.build("cifar100", small.parent)
    assert str(caught.value).startswith(f"{small / file}: ")
    assert "\n" not in str(caught.value)


def test_labels_may_be_an_array_and_names_bytes(small):
    before = datasets.build("cifar100", small.parent)
    labels = np.array([i * 7 % 100 for i in range(1000)], dtype=np.uint8)
    changed("train", fine_labels=labels)(small)
    changed("meta", fine_label_names=[b"x"] * 100)(small)
    data = datasets.build("cifar100", small.parent)
    assert data.fingerprint == before.fingerprint
    assert data.info.class_names == ("x",) * 100


def test_a_malicious_file_is_refused(small):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    dump(small / "train", {"data": Evil()})
    with pytest.raises(DataError, match=r"train: refused: it asks for builtins\.print"):
        datasets.build("cifar100", small.parent)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_data_say_where_and_how(tmp_path, name):
    with pytest.raises(DataError) as caught:
        datasets.build(name, tmp_path)
    message = str(caught.value)
    assert str(tmp_path / cifar_layout(name).folder) in message
    assert f"torchvision.datasets.{name.upper()}({str(tmp_path)!r}, download=True)" in message
    assert "\n" not in message


def test_a_single_missing_file_is_named(small):
    (small / "meta").unlink()
    with pytest.raises(DataError, match="cifar-100-python: meta missing; get it with"):
        datasets.build("cifar100", small.parent)


@pytest.mark.skipif(
    not (REAL / "cifar-100-python" / "train").is_file(), reason="no CIFAR-100 under data/"
)
def test_the_real_cifar100():
    data = datasets.build("cifar100", REAL)
    assert data.info.class_names[:3] == ("apple", "aquarium_fish", "baby")
    assert data.info.train_labels[:5].tolist() == [19, 29, 0, 11, 1]
    assert sum(len(batch) for batch in data.test_batches()) == 10_000
    images = torch.cat([b.images for b in islice(data.test_batches(), 10)])
    # The constants are the training part's: the test part comes close to mean 0, deviation 1.
    assert images.mean((0, 2, 3)).abs().max() < 0.03
    assert (images.std((0, 2, 3)) - 1).abs().max() < 0.03
