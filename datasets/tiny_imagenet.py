"""Tiny-ImageNet-200: 64×64 images, 500 + 50 for each of 200 classes of ImageNet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .base import Data, Settings
from .decoding import decoded_set
from .errors import DataError, near
from .loaders import count_workers
from .memory import MemoryData
from .pictures import Listing, by_class, check_size, classes, find, listing
from .registry import register

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


@register("tiny-imagenet", placement=("cache", "workers"))
def tiny_imagenet(
    settings: Settings,
    *,
    image_size: int = 64,
    augmentation: str = "crop",
    cache: str | None = None,
    workers: int | None = None,
) -> Data:
    """Tiny-ImageNet-200; its labelled val part is the test part.

    image_size    pixels a side; 32 is the transfer protocol's, with its constants
    augmentation  "crop": shifted by up to image_size // 8 pixels and mirrored, as transfer and most
                  of the literature have it; "rotation": turned by up to 20° and mirrored, the
                  recipe of mdistiller (DOT's tables)
    cache         folder of the decoded images; default: ROOT/.cache, or the user's cache
    workers       threads that decode, the first time
    """
    name = settings.name
    check_size(name, "image_size", image_size)
    threads = count_workers(name, workers)
    if augmentation not in AUGMENTATIONS:
        expected = near(augmentation, AUGMENTATIONS)
        raise DataError(f"{name}: option augmentation = {augmentation!r}: {expected}")
    folder = find(name, settings.root, FOLDERS, LAYOUT)
    wnids = classes(folder / "train")
    train, test = by_class(folder / "train", wnids), _test_part(folder / "val", wnids)
    made = decoded_set(settings, train, test, wnids, image_size, threads, cache)
    images = made.images(
        mean=MEAN,
        std=STD_32 if image_size == 32 else STD,
        padding=image_size // 8,
        flip=True,
        rotation=DEGREES if augmentation == "rotation" else 0,
        warnings=lambda: _incomplete(name, train, test, len(wnids)),
    )
    return MemoryData(settings, images)


def _test_part(folder: Path, wnids: list[str]) -> Listing:
    """The val part, in class folders or as it is distributed."""
    annotations = folder / "val_annotations.txt"
    if not (annotations.is_file() and (folder / "images").is_dir()):
        return by_class(folder, wnids)
    files: dict[str, list[tuple[str, int]]] = {wnid: [] for wnid in wnids}
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        image, wnid, *_ = [*line.split("\t"), "", ""]
        if wnid not in files:
            expected = near(wnid, wnids)
            raise DataError(f"{annotations}:{number}: {wnid!r}: no class of train: {expected}")
        path = folder / "images" / image
        if path.is_file():  # a sample of the images comes with the whole list
            files[wnid].append((f"images/{image}", path.stat().st_size))
    if not any(files.values()):
        raise DataError(f"{folder / 'images'}: none of the images of {annotations.name}")
    return listing(folder, wnids, {wnid: sorted(found) for wnid, found in files.items()})


def _incomplete(name: str, train: Listing, test: Listing, count: int) -> tuple[str, ...]:
    """Warnings where less than the whole set is there."""
    found = []
    if count != CLASSES:
        found.append(f"{name}: {count} of {CLASSES} classes")
    for title, part, expected in (("training", train, TRAIN_SIZE), ("test", test, TEST_SIZE)):
        sizes = np.bincount(part.labels, minlength=count)
        low, high = int(sizes.min()), int(sizes.max())
        if (low, high) != (expected, expected):
            shown = f"{low}" if low == high else f"{low} to {high}"
            found.append(f"{name}: {shown} of {expected} {title} images per class")
    return tuple(found)
