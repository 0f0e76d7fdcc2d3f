"""A user's own pictures, in class folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import Data, Settings
from .cache import folders as cache_folders
from .decoding import decoded_set
from .errors import DataError
from .image_files import Listing, by_class, check_size, classes, left_out_note, shown
from .imagenet import MEAN, SIZE, STD, margin
from .layouts import TEST_NAMES, check_train, no_test, no_train
from .loaders import count_workers
from .memory import MemoryData
from .registry import check_label, register
from .streamed import Files, StreamedData
from .survey import identified


def _parts(place: Path) -> tuple[list[str], Listing, Listing]:
    """The names of the classes, and the files of both parts. Raises DataError."""
    check_train(place / "train")
    names = classes(place / "train")
    if len(names) < 2:
        raise DataError(f"{place / 'train'}: one class, {names[0]!r}; expected at least two")
    train = by_class(place / "train", names)
    return names, train, by_class(_test_folder(place), names, may_be_empty=True)


def _files(root: Path, options: Mapping[str, Any]) -> tuple[Listing, Listing]:
    return _parts(_own_folder(root, options["folder"]))[1:]


@register("folder", placement=("cache", "workers", "label"), files=_files)
def folder(
    settings: Settings,
    *,
    folder: str | None = None,
    image_size: int = SIZE,
    decode: str = "stream",
    flip: bool = True,
    cache: str | None = None,
    workers: int | None = None,
    label: str | None = None,
) -> Data:
    """A user's own images: FOLDER/train/<class>/* and FOLDER/val/<class>/* (or test).

    folder      its path, relative to the data folder or to the working directory
    image_size  pixels a side of the networks' input
    decode      "stream": decode every batch from its files, with RandomResizedCrop, as ImageNet;
                "once": resize all images once and shift them by up to image_size // 8 pixels, as
                CIFAR
    flip        whether training mirrors images
    cache       folder for the images decoded once; default: ROOT/.cache, or the user's cache
    workers     decoding processes or threads; default: one per core
    label       the data set's name in tables; default: folder

    Pictures are read as they are shown: turned by their EXIF orientation, transparency on white.
    All files are looked through the first time. Normalised with ImageNet's constants, as pretrained
    networks expect. The fingerprint covers the names and sizes of the files, or the pixels if they
    are decoded once.
    """
    name = settings.name
    check_size(name, "image_size", image_size)
    count = count_workers(name, workers)
    if decode not in ("stream", "once"):
        raise DataError(f"{name}: option decode = {decode!r}: expected stream or once")
    check_label(name, label)
    place = _own_folder(settings.root, folder)
    names, train, test = _parts(place)
    notes = left_out_note(name, train, test)
    train, test = identified(name, train, test, count, cache_folders(settings.root, cache))
    files = Files(
        train=train,
        test=test,
        class_names=tuple(names),
        mean=MEAN,
        std=STD,
        size=image_size,
        margin=margin(image_size),
        flip=flip,
        as_shown=True,
        warnings=notes,
    )
    if decode == "once":
        return _decoded(settings, files, count, cache)
    return StreamedData(settings, files, count)


def _decoded(settings: Settings, files: Files, threads: int, cache: str | None) -> Data:
    """The files resized once and kept in memory."""
    decoded = decoded_set(
        settings, files.train, files.test, files.class_names, files.size, threads, cache, True
    )
    images = decoded.images(
        mean=files.mean,
        std=files.std,
        padding=files.size // 8,
        flip=files.flip,
        warnings=lambda: files.warnings,
    )
    return MemoryData(settings, images)


def _own_folder(root: Path, folder: object) -> Path:
    if not isinstance(folder, str | Path):
        raise DataError(f"folder: option folder = {folder!r}: expected the path of a folder")
    given = Path(os.path.expanduser(folder))
    places = list(dict.fromkeys([root / given, given]))
    for place in places:
        if (place / "train").is_dir():
            return place
    looked = " and ".join(shown(place.resolve()) for place in places)
    expected = "expected train/<class>/* and val/<class>/* or test/<class>/*"
    fix = next(filter(None, map(no_train, places)), expected)
    missing = (
        "no folder train in" if any(map(Path.is_dir, places)) else "no such folder; looked for"
    )
    raise DataError(f"folder: option folder = {folder!r}: {missing} {looked}; {fix}")


def _test_folder(place: Path) -> Path:
    for name in TEST_NAMES:
        if (place / name).is_dir():
            return place / name
    raise DataError(f"{shown(place)}: no folder {', '.join(TEST_NAMES)}; {no_test(place)}")
