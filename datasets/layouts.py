"""What is wrong with how a set's folders are laid out, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .errors import DataError
from .image_files import LISTED, is_image, is_left_out, shown

TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("val", "test", "validation")
OTHER_TEST_NAMES = ("valid", "dev", "eval", "testing")
FLAT_VAL = (
    "holds images but no class folders, as ImageNet's val is distributed: move each image to "
    "val/<wnid>/, as the script valprep.sh of github.com/soumith/imagenetloader.torch does, or by "
    "the column PredictionString of Kaggle's LOC_val_solution.csv"
)


def folders(place: Path) -> list[str]:
    """Names of the folders in a place, without hidden ones and what programs leave; sorted."""
    if not place.is_dir():
        return []
    return sorted(e.name for e in place.iterdir() if e.is_dir() and not is_left_out(e.name))


def no_train(place: Path) -> str:
    """What a folder without a sub-folder train holds instead; empty if nothing tells."""
    names = folders(place)
    other = [name for name in names if name.lower() in TRAIN_NAMES]
    if other:
        tests = [name for name in names if name.lower() in TEST_NAMES and name not in TEST_NAMES]
        renamed = ", ".join(f"{name} to {name.lower()}" for name in tests)
        more = f", {renamed}" if renamed else ""
        return f"{shown(place)} holds {other[0]}: rename {other[0]} to train{more}"
    below = [name for name in names if (place / name / "train").is_dir()]
    if below:
        return f"there is one in {shown(place / below[0])}: give that folder"
    if len(names) > 1 and all(any(map(is_image, _names(place / name))) for name in names):
        return (
            f"{shown(place)} holds class folders ({_listed(names)}): divide their images into "
            "train/<class>/ and val/<class>/"
        )
    return ""


def no_test(place: Path) -> str:
    """What a folder without a part to test on holds instead."""
    other = [name for name in folders(place) if name.lower() in (*TEST_NAMES, *OTHER_TEST_NAMES)]
    return f"rename {other[0]} to val" if other else "expected one to test on"


def check_train(train: Path) -> None:
    """Raise DataError if the class folders are one level further down: a set unpacked twice."""
    inside = folders(train)
    tests = [name for name in inside if name in TEST_NAMES and folders(train / name)]
    if "train" in inside and tests and folders(train / "train"):
        raise DataError(
            f"{shown(train)}: holds train and {tests[0]}, which hold the class folders: the set is "
            f"one level further down: give {shown(train)} as the folder"
        )
    if len(inside) == 1 and len(folders(train / inside[0])) > 1:
        only = train / inside[0]
        raise DataError(
            f"{shown(train)}: holds one folder, {inside[0]}, which holds {_listed(folders(only))}: "
            f"move these up, into {shown(train)}"
        )


def check_not_flat(part: Path) -> None:
    """Raise DataError if ImageNet's val holds its images without class folders."""
    if not folders(part) and any(map(is_image, _names(part))):
        raise DataError(f"{shown(part)}: {FLAT_VAL}")


def _names(place: Path) -> Iterable[str]:
    return (entry.name for entry in place.iterdir() if not is_left_out(entry.name))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return shown(", ".join(names[:LISTED]) + more)
