"""`doctor MATRIX --images`: every file of the set is decoded, and what is bad or odd is listed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from experiments.doctor import images
from experiments.doctor.finding import FAIL, OK, WARN
from experiments.matrix import schema
from tests.datasets import image_files
from tests.experiments import cli


@pytest.fixture
def data(tmp_path: Path) -> Path:
    image_files.imagenet(tmp_path / "data/mine", train=3, test=2)
    return tmp_path / "data"


def check(data: Path, **dataset: object) -> list:
    path = cli.write(data.parent, dataset=dataset)
    return list(images.check_images(schema.load(str(path)), data))


def test_a_good_set(data: Path) -> None:
    *odd, whole = check(data, name="folder", folder="mine", image_size=32)
    assert (whole.level, whole.subject) == (OK, "images")
    assert whole.message.startswith("15 files, 0 unreadable; modes: 11 RGB, 2 L, 2 CMYK")
    assert [finding.message.partition(" (")[0] for finding in odd] == [
        "PNG by content, another format by ending"
    ]


def test_bad_files_fail_and_odd_ones_are_listed(data: Path) -> None:
    bad = sorted((data / "mine/train").rglob("*.JPEG"))[:2]
    for path in bad:
        path.write_bytes(b"")
    shutil.copy(sorted((data / "mine/train").rglob("*.JPEG"))[-1], data / "mine/val/loose.JPEG")
    found = check(data, name="folder", folder="mine")
    assert [f.message for f in found if f.level == FAIL] == [
        *(f"{path}: cannot be read as an image (empty)" for path in bad),
        "15 files, 2 unreadable; modes: 11 RGB, 1 L, 1 CMYK",
    ]
    assert "images of no class, not used (1): val/loose.JPEG" in [
        f.message for f in found if f.level == WARN
    ]


def test_sets_that_are_no_files(data: Path) -> None:
    (finding,) = check(data, name="digits")
    assert (finding.level, finding.message) == (OK, "digits is not made of image files")
