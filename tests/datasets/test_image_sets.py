"""Tiny-ImageNet, STL-10 and a user's folder: layouts, constants, options, what can be wrong."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

import datasets
from datasets import DataError, Stream, stl10, tiny_imagenet
from tests.datasets import image_files

MEAN = (0.4802, 0.4481, 0.3975)


def uint8(data, batch):
    """The pixels of normalised images."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in data._constants)
    return ((batch.images * std + mean) * 255).round().to(torch.uint8)


def by_torchvision(path, size):
    picture = v2.Compose([v2.Resize(size), v2.CenterCrop(size)])(Image.open(path).convert("RGB"))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


# ---- Tiny-ImageNet -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["raw", "class folders"])
def tiny(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    image_files.tiny_imagenet(root / "tiny-imagenet-200", raw=request.param == "raw")
    return root


def test_both_layouts_are_the_same_set(tiny):
    data = datasets.build("tiny-imagenet", tiny, batch_size=5)
    assert data.info.class_names == image_files.CLASSES
    assert (data.info.image_size, data.info.train_size, data.sizes) == (64, 12, {"test": 6})
    (test,) = data.test_batches()
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for image, number in zip(uint8(data, test), (0, 3, 1, 4, 2, 5), strict=True):
        (path,) = tiny.rglob(f"val_{number}.JPEG")
        assert torch.equal(image, by_torchvision(path, 64))
    assert data.warnings == (
        "tiny-imagenet: 3 of 200 classes",
        "tiny-imagenet: 4 of 500 training images per class",
        "tiny-imagenet: 2 of 50 test images per class",
    )


def test_class_names_are_told_without_decoding(tiny, stl, tmp_path):
    assert datasets.class_names("tiny-imagenet", tiny, {}) == image_files.CLASSES
    assert datasets.class_names("stl10", stl, {})[:2] == ("thing0", "thing1")
    for name in ("tiny-imagenet", "stl10", "imagenet", "folder", "arrays"):
        assert datasets.class_names(name, tmp_path, {}) == ()
    assert list(tmp_path.iterdir()) == []


def test_both_layouts_have_one_fingerprint(tmp_path):
    prints = set()
    for raw in (True, False):
        image_files.tiny_imagenet(tmp_path / str(raw), raw=raw)
        prints.add(datasets.build("tiny-imagenet", tmp_path / str(raw)).fingerprint)
    assert len(prints) == 1


@pytest.mark.parametrize(
    "stream", [Stream(), Stream("balanced"), Stream(views=("strong",))], ids=str
)
def test_a_stream_starts_anywhere(tiny, stream):
    data = datasets.build("tiny-imagenet", tiny, batch_size=5)
    whole = list(data.train_stream(0, 1, stream=stream))
    for start in range(len(whole)):
        tail = list(data.train_stream(0, 1, start, stream))
        assert all(
            torch.equal(a.images, b.images) for a, b in zip(tail, whole[start:], strict=True)
        )


@pytest.mark.parametrize(
    ("size", "std"), [(64, (0.2302, 0.2265, 0.2262)), (32, (0.2770, 0.2691, 0.2821))]
)
def test_sizes_have_their_protocols_constants(tiny, size, std):
    data = datasets.build("tiny-imagenet", tiny, image_size=size)
    assert data._constants == (MEAN, std)
    assert data._augmentation.padding == size // 8
    assert next(data.test_batches()).images.shape == (6, 3, size, size)


def test_resizing_is_torchvisions(tiny):
    data = datasets.build("tiny-imagenet", tiny, image_size=32)
    shown = uint8(data, next(data.test_batches()))[0]
    (path,) = tiny.rglob("val_0.JPEG")
    assert torch.equal(shown, by_torchvision(path, 32))


def test_rotation_turns_and_mirrors_without_shifting(tiny):
    data = datasets.build("tiny-imagenet", tiny, augmentation="rotation", subset=1, batch_size=1)
    still = data._train.pick(torch.tensor([0]))[0]
    turned = [uint8(data, next(data.train_stream(0, epoch)))[0] for epoch in range(1, 30)]
    centre = still[:, 32:33, 32:33]
    corners = torch.stack([t[:, 0, 0] for t in turned])
    assert len({t.numpy().tobytes() for t in turned}) == 29
    assert (corners == 0).all(1).float().mean() > 0.7  # most turns leave black corners
    found = [abs(int(t[0, 31:33, 31:33].float().mean()) - int(centre[0])) for t in turned]
    assert np.median(found) < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentation": "rotate"}, "option augmentation = 'rotate': did you mean rotation?"),
        ({"image_size": 2}, "option image_size = 2: expected a whole number from 8"),
        ({"workers": -2}, "option workers = -2: expected a whole number from 0"),
        ({"cache": "/proc/nowhere"}, "cannot write /proc/nowhere; name a folder with option cache"),
    ],
)
def test_wrong_options_are_refused(tiny, options, message):
    with pytest.raises(DataError, match=re.escape(f"tiny-imagenet: {message}")):
        datasets.build("tiny-imagenet", tiny, **options)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(DataError, match=r"no folder train in .*tiny-imagenet-200, .*; expected"):
        datasets.build("tiny-imagenet", tmp_path)
    root = image_files.tiny_imagenet(tmp_path, raw=True)  # the root itself is the set
    annotations = root / "val/val_annotations.txt"
    annotations.write_text(annotations.read_text().replace("n02124075", "n99999999"))
    with pytest.raises(DataError, match=r"val_annotations.txt:2: 'n99999999': no class of train"):
        datasets.build("tiny-imagenet", tmp_path)
    shutil.rmtree(root / "val/images")
    (root / "val/images").mkdir()
    annotations.write_text("val_9.JPEG\tn01443537\t0\t0\t1\t1\n")
    with pytest.raises(DataError, match=r"none of the images of val_annotations.txt"):
        datasets.build("tiny-imagenet", tmp_path)


REAL = [image_files.DATA / name for name in (*tiny_imagenet.FOLDERS, "tiny-imagenet-sample")]
FOUND = [folder for folder in REAL if (folder / "train").is_dir()]


@pytest.mark.skipif(not FOUND, reason=f"no Tiny-ImageNet in {image_files.DATA}")
def test_the_real_images(tmp_path):
    data = datasets.build("tiny-imagenet", FOUND[0], image_size=32, cache=str(tmp_path))
    assert (data.info.num_classes, data.sizes["test"] % 200) == (200, 0)
    images = torch.cat([b.images for b in data.test_batches()])
    assert images.mean((0, 2, 3)).abs().max() < 0.3  # the constants are those of these images
    assert (images.std((0, 2, 3)) - 1).abs().max() < 0.1
    if data.info.train_size < 100_000:
        assert re.fullmatch(
            r"tiny-imagenet: \d+ of 500 training images per class", data.warnings[0]
        )


# ---- STL-10 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stl(tmp_path_factory):
    """STL-10's files with fewer images, and how many there are."""
    root = tmp_path_factory.mktemp("stl")
    folder = root / "stl10_binary"
    folder.mkdir()
    for name, count in (("train", 20), ("test", 30)):
        images = np.stack([np.array(image_files.picture(count + k, 96, 96)) for k in range(count)])
        images.transpose(0, 3, 2, 1).tofile(folder / f"{name}_X.bin")  # down the columns
        (np.arange(count) % 10 + 1).astype(np.uint8).tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("\n".join(f"thing{c}" for c in range(10)) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stl10, "SIZES", {"train": 20, "test": 30})
        yield root


@pytest.mark.parametrize("size", [96, 32])
def test_stl_images_stand_upright(stl, size):
    data = datasets.build("stl10", stl, image_size=size)
    test = next(data.test_batches())
    assert test.labels.tolist() == [k % 10 for k in range(30)]
    assert data.info.class_names[3] == "thing3"
    assert data._constants == ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2712))
    for k, image in enumerate(uint8(data, test)[:4]):
        picture = v2.Resize(size)(image_files.picture(30 + k, 96, 96))
        assert torch.equal(image, torch.from_numpy(np.array(picture)).permute(2, 0, 1))


def test_stl_files_are_checked(stl, tmp_path):
    with pytest.raises(DataError, match=r"stl10: no train_X.bin in .*; expected train_X.bin, "):
        datasets.build("stl10", tmp_path)
    shutil.copytree(stl / "stl10_binary", tmp_path / "stl10_binary")
    (tmp_path / "stl10_binary/train_X.bin").write_bytes(b"1234")
    with pytest.raises(DataError, match=r"train_X.bin: 4 bytes, expected 552960"):
        datasets.build("stl10", tmp_path)
    (tmp_path / "stl10_binary/train_y.bin").write_bytes(bytes(20))
    with pytest.raises(DataError, match=r"train_y.bin: expected 20 numbers from 1 to 10"):
        datasets.build("stl10", tmp_path)
    (tmp_path / "stl10_binary/test_y.bin").unlink()
    with pytest.raises(DataError, match=r"stl10_binary lacks test_y.bin"):
        datasets.build("stl10", tmp_path)


# ---- a user's folder -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return image_files.imagenet(tmp_path_factory.mktemp("own") / "mine").parent


@pytest.mark.parametrize("decode", ["stream", "once"])
def test_a_users_folder(own, decode):
    data = datasets.build("folder", own, folder="mine", image_size=32, decode=decode, workers=0)
    (test,) = data.test_batches()
    assert test.images.shape == (9, 3, 32, 32)
    assert test.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for stream in (Stream("balanced"), Stream(views=("strong",))):
        assert len(list(data.train_stream(0, 1, stream=stream))) == 1
    again = datasets.build("folder", "nowhere", folder=str(own / "mine"), image_size=32,
                           decode=decode, cache=str(own / "cache"))  # fmt: skip
    assert again.fingerprint == data.fingerprint


def test_decoded_once_the_shorter_side_fits(own):
    data = datasets.build("folder", own, folder="mine", image_size=24, decode="once")
    shown = data._parts["test"].images[4]
    path = own / "mine/val" / image_files.CLASSES[1] / f"{image_files.CLASSES[1]}_1.JPEG"
    assert torch.equal(shown, by_torchvision(path, 24))


def test_paths_and_speed_change_no_identity(own):
    for name in ("tiny-imagenet", "stl10", "imagenet", "folder"):
        placed = {o for o in datasets.options(name) if datasets.is_placement(name, o)}
        assert placed == {"cache", "workers"} | ({"folder", "label"} if name == "folder" else set())
    assert datasets.is_placement("arrays", "file")
    assert not datasets.is_placement("arrays", "flip")
    assert not datasets.is_own_data("cache")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "folder: option folder = None: expected the path of a folder"),
        ({"folder": "yours"}, "folder: option folder = 'yours': no such folder; looked for "),
        ({"folder": "."}, "folder: option folder = '.': no folder train in "),
        ({"folder": "mine", "decode": "twice"}, "option decode = 'twice': expected stream or once"),
    ],
)
def test_a_wrong_folder_is_refused(own, options, message):
    with pytest.raises(DataError, match=re.escape(message)):
        datasets.build("folder", own, **options)


def test_a_folder_needs_two_classes_and_a_test_part(tmp_path):
    image_files.save(tmp_path / "train/a/1.JPEG", image_files.picture(0, 20, 20))
    with pytest.raises(DataError, match="train: one class, 'a'; expected at least two"):
        datasets.build("folder", tmp_path, folder=".")
    image_files.save(tmp_path / "train/b/1.png", image_files.picture(0, 20, 20), "PNG")
    with pytest.raises(DataError, match="no folder val, test, validation; expected one to test on"):
        datasets.build("folder", tmp_path, folder=".")
