"""Folders as downloads, network storage and phones leave them; the look at all files of a set."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import datasets
from datasets import DataError, survey
from datasets.image_files import by_class, classes
from datasets.inspection import inspect
from tests.datasets import image_files


def own(root, train="train", val="val", classes=("ant", "bee"), kind="jpg"):
    """A small set of a user's own, every picture different."""
    for number, part in enumerate((train, val)):
        for c, name in enumerate(classes):
            for k in range(3 - number):
                picture = image_files.picture(100 * number + 10 * c + k, 24, 20)
                path = root / part / name / f"{k}.{kind}"
                image_files.save(path, picture, "PNG" if kind == "png" else "JPEG")
    return root


def build(root, **options):
    settings = {"image_size": 16, "workers": 0, "cache": str(root.parent / "cache")}
    return datasets.build("folder", root.parent, folder=root.name, **(settings | options))


def junk(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# ---- what is no class and no image ---------------------------------------------------------------


def test_what_programs_leave_is_no_class_and_no_image(tmp_path):
    clean = build(own(tmp_path / "clean")).fingerprint
    root = own(tmp_path / "mine")
    jpeg = (root / "train/ant/0.jpg").read_bytes()
    for name in (
        "train/@eaDir/0.jpg",
        "train/ant/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg",
        "train/ant/Thumbs/0.jpg",
        "train/ant/deep/__MACOSX/0.jpg",
        "val/__MACOSX/ant/0.jpg",
        "val/ant/Thumbs.db",
        "train/.ipynb_checkpoints/0-checkpoint.jpg",
        "train/ant/.AppleDouble/0.jpg",
        "train/ant/._0.jpg",
        "train/.DS_Store",
    ):
        junk(root / name, jpeg)
    data = build(root)
    assert (data.info.class_names, data.info.train_size) == (("ant", "bee"), 6)
    assert data.sizes == {"test": 4}
    assert data.fingerprint == clean  # as if they were not there
    assert data.warnings == (
        "folder: left out, being no class and no image: train/@eaDir, train/ant/@eaDir, "
        "train/ant/Thumbs, train/ant/deep/__MACOSX, val/__MACOSX and 1 more",
    )
    assert build(root, decode="once").warnings == data.warnings
    assert build(tmp_path / "clean").warnings == ()


def test_a_class_may_be_called_thumbs(tmp_path):
    data = build(own(tmp_path / "mine", classes=("thumbs", "toes")))
    assert data.info.class_names == ("thumbs", "toes")
    assert data.info.train_size == 6


def test_images_beside_the_class_folders_are_left_out_with_a_note(tmp_path):
    root = own(tmp_path / "mine")
    shutil.copy(root / "train/ant/0.jpg", root / "train/loose.jpg")
    assert build(root).warnings == (
        "folder: left out, being no class and no image: train/loose.jpg",
    )


def test_names_in_any_bytes_links_and_upper_case(tmp_path):
    root = own(tmp_path / "mine")
    for part in ("train", "val"):
        (root / part / "ant/0.jpg").rename(root / part / "ant/0.JPG")
        (root / part / "ant/1.jpg").rename(root / part / os.fsdecode(b"ant/\xff\n.jpg"))
    (root / "train/bee").rename(tmp_path / "elsewhere")
    (root / "train/bee").symlink_to(tmp_path / "elsewhere")
    for decode in ("stream", "once"):
        data = build(root, decode=decode)
        assert (data.info.train_size, data.sizes, data.warnings) == (6, {"test": 4}, ())
        assert len(list(data.train_stream(0, 1))) == 1


def test_links_that_lead_nowhere_or_in_a_circle_are_named(tmp_path):
    root = own(tmp_path / "mine")
    (root / "train/ant/loop").symlink_to(root / "train/ant")
    with pytest.raises(DataError, match="train/ant/loop: a link to a folder above it"):
        build(root)
    (root / "train/ant/loop").unlink()
    (root / "train/ant/gone.jpg").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"ant/gone\.jpg: a link that leads nowhere"):
        build(root)
    (root / "train/ant/gone.jpg").unlink()
    os.mkfifo(root / "train/ant/pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg: named as an image, but no regular file"):
        build(root)


# ---- layouts -------------------------------------------------------------------------------------


def moved(source, goal):
    goal.parent.mkdir(parents=True, exist_ok=True)
    source.rename(goal)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: own(r, "Train", "Val"), "holds Train: rename Train to train, Val to val"),
        (lambda r: own(r, "training"), "holds training: rename training to train"),
        (lambda r: own(r, val="valid"), "no folder val, test, validation; rename valid to val"),
        (lambda r: own(r, val="Test"), "no folder val, test, validation; rename Test to val"),
        (lambda r: own(r / "train"), "one level further down: give .*mine/train as the folder"),
        (lambda r: own(r / "inner"), "there is one in .*mine/inner: give that folder"),
        (lambda r: own(r, "train/train"), "train: holds one folder, train, which holds ant, bee"),
        (lambda r: own(r, ".", "."), r"holds class folders \(ant, bee\): divide their images"),
        (lambda r: own(r, val="val", classes=("ant",)), "train: one class, 'ant'; expected"),
    ],
)
def test_other_layouts_are_refused_with_the_fix(tmp_path, make, words):
    make(tmp_path / "mine")
    with pytest.raises(DataError, match=words):
        build(tmp_path / "mine")


def test_images_without_class_folders_are_refused_with_the_fix(tmp_path):
    root = own(tmp_path / "mine")
    for name in ("ant", "bee"):
        for path in list((root / "train" / name).iterdir()):
            path.rename(root / "train" / f"{name}-{path.name}")
        (root / "train" / name).rmdir()
    with pytest.raises(DataError, match="train: holds no folders but 6 images: sort them into"):
        build(root)


def test_classes_that_are_missing_in_a_part(tmp_path):
    root = own(tmp_path / "mine", classes=("ant", "bee", "cat"))
    for path in (root / "val/bee").iterdir():
        path.unlink()  # the folder stays, empty
    shutil.rmtree(root / "val/cat")
    warning = "folder: 2 of 3 classes have no test image (bee, cat)"
    assert build(root).warnings == (warning,)
    assert build(root, decode="once").warnings == (warning,)
    (root / "val/Ant").mkdir()
    with pytest.raises(
        DataError, match=r"val/Ant: no class of the training part: did you mean ant"
    ):
        build(root)
    (root / "val/Ant").rmdir()
    for name in ("bee", "cat"):
        for path in (root / "train" / name).iterdir():
            path.rename(path.with_suffix(".gif"))
    with pytest.raises(DataError, match=r"train/bee, cat: hold no image \(.*delete the folder in"):
        build(root)


def test_imagenet_with_a_flat_val_is_refused_with_the_fix(tmp_path):
    image_files.imagenet(tmp_path / "imagenet", train=1, test=1)
    val = tmp_path / "imagenet/val"
    for number, path in enumerate(sorted(val.rglob("*.JPEG"))):
        path.rename(val / f"ILSVRC2012_val_{number:08}.JPEG")
    for folder in classes(val):
        (val / folder).rmdir()
    with pytest.raises(DataError, match=r"val: holds images but no class folders.*val/<wnid>/"):
        datasets.build("imagenet", tmp_path, workers=0)


def test_imagenets_index_keeps_what_is_left_out(tmp_path):
    image_files.imagenet(tmp_path / "imagenet", train=1, test=1)
    junk(tmp_path / "imagenet/train/@eaDir/0.JPEG")
    for _ in range(2):  # read, and from the index
        data = datasets.build("imagenet", tmp_path, workers=0)
        assert data.warnings[1:] == (
            "imagenet: left out, being no class and no image: train/@eaDir",
        )


# ---- Tiny-ImageNet's val -------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    """As distributed."""
    return image_files.tiny_imagenet(tmp_path / "tiny-imagenet-200", raw=True, train=1)


def sort(val, copy=False, but=()):
    """What common scripts do with the images of val."""
    for line in (val / "val_annotations.txt").read_text().splitlines():
        image, wnid, *_ = line.split("\t")
        (val / wnid).mkdir(exist_ok=True)
        if image not in but:
            (shutil.copy if copy else shutil.move)(val / "images" / image, val / wnid / image)


def shown_by(root):
    data = datasets.build("tiny-imagenet", root, cache=str(root / "cache"), workers=1)
    return torch.cat([batch.images for batch in data.test_batches()]), data.warnings


@pytest.mark.parametrize("how", ["moved", "copied", "some left", "folders only", "no list"])
def test_a_sorted_val_is_the_same_as_the_distributed_one(tiny, how):
    raw, warnings = shown_by(tiny.parent)
    val = tiny / "val"
    left = val / "images/val_0.JPEG"
    content = left.read_bytes()
    if how == "folders only":
        sort(val, but=[path.name for path in (val / "images").iterdir()])
    else:
        sort(val, copy=how == "copied")
    if how == "some left":
        left.write_bytes(content)
    if how == "no list":
        (val / "val_annotations.txt").unlink()
    images, again = shown_by(tiny.parent)
    assert torch.equal(images, raw)
    assert again == warnings


def test_a_val_that_is_sorted_in_part_is_refused(tiny):
    sort(tiny / "val", but=("val_0.JPEG", "val_5.JPEG"))
    with pytest.raises(DataError, match="2 images only in images, 4 only in class folders: finish"):
        shown_by(tiny.parent)


def test_the_list_names_images_and_no_paths(tiny):
    annotations = tiny / "val/val_annotations.txt"
    lines = annotations.read_text()
    outside = f"../../train/{image_files.CLASSES[0]}/images/{image_files.CLASSES[0]}_0.JPEG"
    annotations.write_text(f"{outside}\t{image_files.CLASSES[1]}\t0\t0\t1\t1\n{lines}")
    assert len(shown_by(tiny.parent)[0]) == 6


# ---- the look at every file ----------------------------------------------------------------------


def jpeg_of(picture, **options):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("decode", ["stream", "once"])
def test_all_bad_files_are_named_at_once(tmp_path, decode):
    root = own(tmp_path / "mine")
    cut = root / "train/ant/0.jpg"
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    junk(root / "train/bee/1.png", b"version https://git-lfs.github.com/spec/v1\n")
    junk(root / "val/bee/x.png")
    with pytest.raises(DataError) as raised:
        build(root, decode=decode)
    message = str(raised.value)
    assert message.startswith("folder: 3 of 12 files: ")
    for words in ("ant/0.jpg: cannot be read as an image (cut off", "1.png", "Git LFS", "x.png"):
        assert words in message
    cut.write_bytes(content)
    (root / "train/bee/1.png").unlink()
    (root / "val/bee/x.png").unlink()
    assert build(root, decode=decode).fingerprint


def test_tiny_imagenet_names_all_bad_files_too(tiny):
    for path in sorted(tiny.rglob("*_0.JPEG"))[:2]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"tiny-imagenet: 2 of 9 files: .*empty.*; .*empty"):
        shown_by(tiny.parent)
    assert not list((tiny.parent / "cache").glob("*.safetensors*"))


def test_files_are_looked_through_once(tmp_path, monkeypatch):
    root = own(tmp_path / "mine", kind="png")
    first = build(root).fingerprint
    monkeypatch.setattr(survey, "opened", None)  # calling it would fail
    assert build(root).fingerprint == first
    for stored in (tmp_path / "cache").glob("survey-*.json"):
        stored.write_text("{damaged")
    with pytest.raises(TypeError):
        build(root)


@pytest.mark.parametrize("decode", ["stream", "once"])
def test_ordinary_sets_keep_their_fingerprints_and_others_change_them(
    tmp_path, monkeypatch, decode
):
    """Results of pictures that are read differently now are not mixed with older ones."""
    root = own(tmp_path / "mine", kind="png")
    data = build(root, decode=decode)
    with monkeypatch.context() as patch:  # as it was before files were looked through
        patch.setattr("datasets.folder.identified", lambda name, train, test, *_: (train, test))
        assert build(root, decode=decode).fingerprint == data.fingerprint
    cached = set((tmp_path / "cache").glob("*.safetensors"))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = image_files.picture(7, 24, 20)
    image_files.save(root / "val/ant/9.png", picture, "PNG")
    plain = build(root, decode=decode).fingerprint
    size = (root / "val/ant/9.png").stat().st_size
    picture.save(root / "val/ant/9.png", exif=turned)
    with monkeypatch.context() as patch:
        patch.setattr("datasets.folder.identified", lambda name, train, test, *_: (train, test))
        old = build(root, decode=decode)
    new = build(root, decode=decode)
    assert len({plain, old.fingerprint if decode == "stream" else "", new.fingerprint}) == 3
    if decode == "once":  # the old cache is not used for it
        assert len(set((tmp_path / "cache").glob("*.safetensors")) - cached) == 3
    assert size != (root / "val/ant/9.png").stat().st_size


@pytest.mark.parametrize("kind", ["deep", "turned", "clear"])
def test_stream_and_once_show_the_same_picture(tmp_path, kind):
    root = own(tmp_path / "mine", kind="png")
    path = root / "val/ant/0.png"
    expected = image_files.picture(5, 16, 16)
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 3
        expected.transpose(Image.Transpose.ROTATE_180).save(path, exif=exif)
    elif kind == "deep":
        expected = expected.convert("L")
        Image.fromarray(np.asarray(expected).astype(np.uint16) * 257).save(path)
    else:
        clear = expected.copy()
        clear.putalpha(0)
        clear.save(path)
        expected = Image.new("RGB", (16, 16), "white")
    wanted = torch.from_numpy(np.array(expected.convert("RGB"))).permute(2, 0, 1)
    once = build(root, decode="once")._parts["test"].images[0]
    assert torch.equal(once, wanted)
    streamed = build(root)
    streamed._decoder.margin = 0  # the picture is as large as the crop
    mean, std = (torch.tensor(v)[:, None, None] for v in streamed.normalisation.values())
    image = next(streamed.test_batches()).images[0]
    assert torch.equal(((image * std + mean) * 255).round().to(torch.uint8), wanted)


# ---- the close look ------------------------------------------------------------------------------


def test_an_inspection_lists_what_is_bad_odd_and_skipped(tmp_path):
    root = own(tmp_path / "mine")
    shutil.copy(root / "train/ant/0.jpg", root / "val/bee/copy.jpg")
    picture = image_files.picture(1, 20, 20)
    image_files.save(root / "train/ant/png.jpg", picture, "PNG")
    image_files.save(root / "train/ant/dot.png", picture.resize((1, 1)), "PNG")
    image_files.save(root / "train/ant/long.png", picture.resize((300, 20)), "PNG")
    image_files.save(root / "train/bee/clear.png", picture.convert("RGBA"), "PNG")
    exif = Image.Exif()
    exif[0x0112] = 8
    picture.save(root / "train/bee/turned.jpg", exif=exif)
    picture.save(root / "train/bee/frames.png", save_all=True, append_images=[picture.rotate(90)])
    junk(root / "train/bee/bad.jpg")
    junk(root / "train/bee/none")
    junk(root / "train/bee/notes.txt")
    junk(root / "train/bee/x.gif")
    junk(root / "train/bee/.hidden.jpg")
    junk(root / "train/@eaDir/0.jpg")
    shutil.copy(root / "train/ant/0.jpg", root / "val/loose.jpg")
    train, test = datasets.files("folder", tmp_path, {"folder": "mine"})
    found = inspect("folder", train, test, workers=2)
    (problem,) = found.problems
    assert re.search(r"bee/bad\.jpg: cannot be read as an image", problem)
    listed = {kind.partition(",")[0].partition(" (")[0]: p for kind, p in found.odd.items()}
    assert listed == {
        "PNG by content": ["train/ant/png.jpg"],
        "under 8 pixels wide or high": ["train/ant/dot.png"],
        "over 10 times as long as wide": ["train/ant/long.png"],
        "mode RGBA": ["train/bee/clear.png"],
        "with transparency": ["train/bee/clear.png"],
        "with an EXIF orientation": ["train/bee/turned.jpg"],
        "of several frames": ["train/bee/frames.png"],
        "in both parts with the same content": ["val/bee/copy.jpg = train/ant/0.jpg"],
        "hidden": ["train/bee/.hidden.jpg"],
        "left by another program": ["train/@eaDir"],
        "images of no class": ["val/loose.jpg"],
        "no images by their ending": ["train/bee/notes.txt"],
        "pictures with an ending that is not read": ["train/bee/x.gif"],
        "without an ending": ["train/bee/none"],
    }
    assert (found.files, found.modes) == (18, {"RGB": 16, "RGBA": 1})


def test_every_set_of_image_files_can_be_inspected(tmp_path, tiny):
    image_files.imagenet(tmp_path / "imagenet", train=1, test=1)
    for name in ("tiny-imagenet", "imagenet"):
        parts = datasets.files(name, tmp_path, {})
        assert not inspect(name, *parts, workers=1).problems
    assert datasets.files("digits", tmp_path, {}) is None
    with pytest.raises(DataError, match="unknown data set 'foldr': did you mean folder"):
        datasets.files("foldr", tmp_path, {})


def test_listing_goes_by_exact_names(tmp_path):
    own(tmp_path, classes=("thumbnails", "__macosx"))
    assert len(by_class(tmp_path / "train", classes(tmp_path / "train"))) == 6
    assert Path(by_class(tmp_path / "train", ["__macosx", "thumbnails"]).full(0)).is_file()
