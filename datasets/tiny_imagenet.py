"""Tiny-ImageNet-200: 64×64 images, 500 + 50 for each of 200 classes of ImageNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .base import Data, Settings
from .decoding import decoded_set
from .errors import DataError, near, printable
from .image_files import (
    Found,
    Listing,
    Walk,
    by_class,
    check_size,
    classes,
    find,
    left_out_note,
    listing,
)
from .loaders import count_workers
from .memory import MemoryData
from .registry import Facts, register

FOLDERS = ("tiny-imagenet-200", "tiny-imagenet", "tiny_imagenet", "TinyImageNet")
LAYOUT = (
    "tiny-imagenet-200/train/<wnid>/[images/]*.JPEG and val/<wnid>/*.JPEG, or val/images with "
    "val_annotations.txt, as in http://cs231n.stanford.edu/tiny-imagenet-200.zip"
)
CLASSES, TRAIN_SIZE, TEST_SIZE = 200, 500, 50  # images per class
MEAN = (0.4802, 0.4481, 0.3975)
STD = (0.2302, 0.2265, 0.2262)  # mdistiller's, of 64×64 pixels
STD_32 = (0.2770, 0.2691, 0.2821)  # the CRD paper's, for transfer at 32×32
AUGMENTATIONS = ("crop", "rotation")
DEGREES = 20.0
IMAGES = "images"  # the folder of val as it is distributed


def _parts(folder: Path) -> tuple[list[str], Listing, Listing]:
    wnids = classes(folder / "train")
    return wnids, by_class(folder / "train", wnids), _test_part(folder / "val", wnids)


def _files(root: Path, options: Mapping[str, Any]) -> tuple[Listing, Listing]:
    return _parts(find("tiny-imagenet", root, FOLDERS, LAYOUT))[1:]


@register(
    "tiny-imagenet",
    placement=("cache", "workers"),
    facts=Facts(CLASSES, 64, CLASSES * TRAIN_SIZE, CLASSES * TEST_SIZE),
    class_names=lambda root, options: classes(
        find("tiny-imagenet", root, FOLDERS, LAYOUT) / "train"
    ),
    files=_files,
)
def tiny_imagenet(
    settings: Settings,
    *,
    image_size: int = 64,
    augmentation: str = "crop",
    cache: str | None = None,
    workers: int | None = None,
) -> Data:
    """Tiny-ImageNet-200; its labelled val part is the test part.

    image_size    pixels a side; the transfer protocol uses 32, with its own constants
    augmentation  "crop": shift by up to image_size // 8 pixels and mirror, as in transfer and most
                  of the literature; "rotation": rotate by up to 20° and mirror, mdistiller's
                  recipe (DOT's tables)
    cache         folder for the decoded images; default: ROOT/.cache, or the user's cache
    workers       threads that decode the images the first time
    """
    name = settings.name
    check_size(name, "image_size", image_size)
    threads = count_workers(name, workers)
    if augmentation not in AUGMENTATIONS:
        expected = near(augmentation, AUGMENTATIONS)
        raise DataError(f"{name}: option augmentation = {augmentation!r}: {expected}")
    folder = find(name, settings.root, FOLDERS, LAYOUT)
    wnids, train, test = _parts(folder)
    decoded = decoded_set(settings, train, test, wnids, image_size, threads, cache)
    images = decoded.images(
        mean=MEAN,
        std=STD_32 if image_size == 32 else STD,
        padding=image_size // 8,
        flip=True,
        rotation=DEGREES if augmentation == "rotation" else 0,
        warnings=lambda: (
            *_incomplete(name, train, test, len(wnids)),
            *left_out_note(name, train, test),
        ),
    )
    return MemoryData(settings, images)


def _test_part(folder: Path, wnids: list[str]) -> Listing:
    """The val part: in class folders, in the distributed layout, or in both with the same files.

    Scripts that sort the images into class folders leave the list of annotations and an empty
    folder images, or copies. Raises DataError where neither layout has all files of the other.
    """
    annotations = folder / "val_annotations.txt"
    left = folder / IMAGES
    if not (annotations.is_file() and left.is_dir()):
        empty = left.is_dir() and not any(Walk(folder).images(IMAGES))
        return by_class(folder, wnids, may_be_empty=True, ignore=(IMAGES,) if empty else ())
    listed = _listed(annotations, wnids)
    in_classes = {w: sorted(Walk(folder).images(w)) for w in wnids if (folder / w).is_dir()}
    flat, ordered = _identities(listed), _identities(in_classes)
    if not flat and not ordered:
        raise DataError(f"{left}: none of the images of {annotations.name}")
    if ordered <= flat:
        return listing(folder, wnids, listed)
    if flat <= ordered:
        return by_class(folder, wnids, may_be_empty=True, ignore=(IMAGES,))
    raise DataError(
        f"{folder}: {len(flat - ordered)} images only in {IMAGES}, {len(ordered - flat)} only in "
        f"class folders: finish sorting them by {annotations.name}, or unpack val again"
    )


def _listed(annotations: Path, wnids: list[str]) -> dict[str, list[Found]]:
    """The images in folder images by class, as the list says; those that exist."""
    files: dict[str, list[Found]] = {wnid: [] for wnid in wnids}
    text = annotations.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        image, wnid, *_ = [*line.split("\t"), "", ""]
        if wnid not in files:
            expected = near(wnid, wnids)
            raise DataError(
                f"{annotations}:{number}: {printable(wnid)!r}: no class of train: {expected}"
            )
        path = annotations.parent / IMAGES / image
        if Path(image).name == image and path.is_file():  # a reduced copy may keep the full list
            files[wnid].append((f"{IMAGES}/{image}", path.stat().st_size))
    return {wnid: sorted(images) for wnid, images in files.items()}


def _identities(files: Mapping[str, Sequence[Found]]) -> set[tuple[str, str]]:
    """Class and file name of every image, wherever it lies."""
    return {(wnid, path.rpartition("/")[2]) for wnid, found in files.items() for path, _ in found}


def _incomplete(name: str, train: Listing, test: Listing, count: int) -> tuple[str, ...]:
    """Warnings if images or classes are missing."""
    warnings = []
    if count != CLASSES:
        warnings.append(f"{name}: {count} of {CLASSES} classes")
    for title, part, expected in (("training", train, TRAIN_SIZE), ("test", test, TEST_SIZE)):
        sizes = np.bincount(part.labels, minlength=count)
        low, high = int(sizes.min()), int(sizes.max())
        if (low, high) != (expected, expected):
            shown = f"{low}" if low == high else f"{low} to {high}"
            warnings.append(f"{name}: {shown} of {expected} {title} images per class")
    return tuple(warnings)
