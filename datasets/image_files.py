"""List image files by class, and read their pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import DataError, near

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True)
class Listing:
    """The image files of a part.

    paths   (n) relative to ``folder``, class by class, sorted
    labels  (n,) int64
    sha256  of the sorted (class, relative path, size): identifies a set too large to be read
    """

    folder: Path
    paths: Sequence[str]
    labels: np.ndarray
    sha256: str

    def __len__(self) -> int:
        return len(self.paths)

    def full(self, place: int) -> str:
        return f"{self.folder}/{self.paths[place]}"


def find(name: str, root: Path, folders: Sequence[str], layout: str) -> Path:
    """The first of ``folders`` under ``root``, or ``root`` itself, with a sub-folder "train".

    Raises DataError naming the folders tried and the expected ``layout``.
    """
    places = [root / folder for folder in folders] + [root]
    for place in places:
        if (place / "train").is_dir():
            return place
    looked = ", ".join(str(place.resolve()) for place in places)
    raise DataError(f"{name}: no folder train in {looked}; expected {layout}")


def check_size(name: str, option: str, value: object, least: int = 8) -> int:
    """An image size given as an option. Raises DataError if it is invalid."""
    if type(value) is not int or value < least:
        raise DataError(
            f"{name}: option {option} = {value!r}: expected a whole number from {least}"
        )
    return value


def classes(folder: Path) -> list[str]:
    """Names of the class folders of a part, sorted. Raises DataError if there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one folder per class in it")
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and e.name[0] != ".")
    if not names:
        raise DataError(f"{folder}: holds no folders; expected one folder per class")
    return names


def by_class(folder: Path, names: Sequence[str]) -> Listing:
    """The images under ``folder``/<class>/, at any depth; labels are positions in ``names``.

    Raises DataError for a class that is not in ``names``, and for a class without images.
    """
    files = {}
    for name in classes(folder):
        if name not in names:
            raise DataError(f"{folder / name}: no class of the training part: {near(name, names)}")
        files[name] = sorted(_images(folder / name, name))
        if not files[name]:
            raise DataError(f"{folder / name}: holds no image ({', '.join(SUFFIXES)})")
    return listing(folder, names, files)


def listing(folder: Path, names: Sequence[str], files: dict[str, list[tuple[str, int]]]) -> Listing:
    """A `Listing` of (relative path, size) by class."""
    digest, paths, labels = hashlib.sha256(), [], []
    for number, name in enumerate(names):
        for path, size in files.get(name, ()):
            # Names of files need not be valid UTF-8; Python reads such bytes as surrogates.
            digest.update(f"{name}\0{path}\0{size}\n".encode(errors="surrogateescape"))
            paths.append(path)
            labels.append(number)
    return Listing(folder, paths, np.array(labels, dtype=np.int64), digest.hexdigest())


def _images(folder: Path, relative: str) -> Iterator[tuple[str, int]]:
    """Relative path and size of every image file under a folder, except hidden ones."""
    for entry in os.scandir(folder):
        path = f"{relative}/{entry.name}"
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _images(Path(entry.path), path)
        elif entry.name.lower().endswith(SUFFIXES):
            yield path, entry.stat().st_size


def read(path: str | Path) -> Image.Image:
    """An image file as RGB, whatever its mode. Raises DataError if it cannot be read."""
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{path}: cannot be read as an image ({reason})") from error


def fitted(picture: Image.Image, size: int, margin: int = 0) -> Image.Image:
    """The central ``size``² pixels, after resizing the shorter side to ``size`` + ``margin``.

    Interpolates and rounds like torchvision's ``Resize`` and ``CenterCrop``.
    """
    goal = size + margin
    width, height = picture.size
    short = min(width, height)
    if short != goal:
        # One side becomes exactly `goal`; the other is rounded down, as in torchvision.
        width, height = (goal * side // short for side in (width, height))
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    # round() takes halves to the even neighbour, and torchvision uses it too.
    left, top = (round((side - size) / 2) for side in (width, height))
    return picture.crop((left, top, left + size, top + size))


def pixels(picture: Image.Image) -> np.ndarray:
    """The pixels (3, H, W) uint8."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
