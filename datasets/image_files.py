"""List image files by class."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import DataError, near, printable

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
# What programs leave beside pictures, by exact name: neither classes nor images. A class may be
# called thumbs. Names that begin with a dot (.AppleDouble, ._0.jpg) are left out as hidden.
LEFTOVERS = (
    *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot"),  # network storage
    *("__MACOSX", "Thumbs", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini"),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__"),
)
LISTED = 5  # names that a message lists

Found = tuple[str, int]  # an image's path relative to its part, and its size


@dataclass(frozen=True)
class Listing:
    """The image files of a part.

    paths     (n) relative to ``folder``, class by class, sorted
    labels    (n,) int64
    sha256    of the sorted (class, relative path, size): identifies a set too large to be read
    left_out  what is no class and no image although it is not hidden: names in LEFTOVERS, and
              images that are in no class folder
    """

    folder: Path
    paths: Sequence[str]
    labels: np.ndarray
    sha256: str
    left_out: tuple[str, ...] = ()

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


def is_left_out(name: str) -> bool:
    """Whether a file or folder is hidden or what a program left, by its name."""
    return name.startswith(".") or name in LEFTOVERS


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's, in upper or lower case."""
    return name.lower().endswith(SUFFIXES)


def classes(folder: Path) -> list[str]:
    """Names of the class folders of a part, sorted. Raises DataError if there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one folder per class in it")
    entries = [entry for entry in os.scandir(folder) if not is_left_out(entry.name)]
    names = sorted(entry.name for entry in entries if entry.is_dir())
    if not names:
        images = sum(is_image(entry.name) for entry in entries)
        flat = f" but {images} images: sort them into one folder per class" if images else ""
        raise DataError(f"{folder}: holds no folders{flat or '; expected one folder per class'}")
    return names


def by_class(
    folder: Path, names: Sequence[str], may_be_empty: bool = False, ignore: Sequence[str] = ()
) -> Listing:
    """The images under ``folder``/<class>/, at any depth; labels are positions in ``names``.

    may_be_empty  classes may have no image, as long as one has
    ignore        names of folders that are no classes

    Raises DataError for a class that is not in ``names``, for classes without images, and for
    links that lead nowhere or in a circle.
    """
    walk, files = Walk(folder), {}
    for name in classes(folder):
        if name in ignore:
            continue
        if name not in names:
            raise DataError(
                f"{shown(folder / name)}: no class of the training part: {near(name, names)}"
            )
        files[name] = sorted(walk.images(name))
    empty = [name for name in files if not files[name]]
    if empty and not (may_be_empty and len(empty) < len(files)):
        more = f" and {len(empty) - LISTED} more" if len(empty) > LISTED else ""
        hold = f"{', '.join(empty[:LISTED])}{more}: {'hold' if len(empty) > 1 else 'holds'}"
        raise DataError(
            f"{shown(folder)}/{printable(hold)} no image ({', '.join(SUFFIXES)}); "
            "add images, or delete the folder in all parts"
        )
    return listing(folder, names, files, walk.beside())


def listing(
    folder: Path,
    names: Sequence[str],
    files: dict[str, list[Found]],
    left_out: Sequence[str] = (),
) -> Listing:
    """A `Listing` of (relative path, size) by class."""
    digest, paths, labels = hashlib.sha256(), [], []
    for number, name in enumerate(names):
        for path, size in files.get(name, ()):
            # Names of files need not be valid UTF-8; Python reads such bytes as surrogates.
            digest.update(f"{name}\0{path}\0{size}\n".encode(errors="surrogateescape"))
            paths.append(path)
            labels.append(number)
    every = np.array(labels, dtype=np.int64)
    return Listing(folder, paths, every, digest.hexdigest(), tuple(sorted(left_out)))


@dataclass
class Walk:
    """Looks for the images of a part, and notes what is left out by name."""

    folder: Path
    left_out: list[str] = field(default_factory=list)

    def images(self, relative: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Found]:
        """Relative path and size of every image below a folder, at any depth.

        above  device and inode of the folders that lead here: a link to one of them is a circle
        """
        here = os.stat(self.folder / relative)
        if (identity := (here.st_dev, here.st_ino)) in above:
            raise DataError(f"{shown(self.folder / relative)}: a link to a folder above it")
        for entry in os.scandir(self.folder / relative):
            path = f"{relative}/{entry.name}"
            if is_left_out(entry.name):
                self.left_out += [path] * (entry.name in LEFTOVERS)
            elif entry.is_dir():
                yield from self.images(path, (*above, identity))
            elif is_image(entry.name):
                yield path, self._size(entry)

    def beside(self) -> list[str]:
        """What was left out, also beside the class folders."""
        entries = [e.name for e in os.scandir(self.folder) if not e.name.startswith(".")]
        loose = [name for name in entries if name in LEFTOVERS or is_image(name)]
        loose = [name for name in loose if name in LEFTOVERS or (self.folder / name).is_file()]
        return [*self.left_out, *loose]

    def _size(self, entry: os.DirEntry[str]) -> int:
        try:
            found = entry.stat()
        except OSError as error:
            raise DataError(f"{shown(entry.path)}: a link that leads nowhere ({error})") from error
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{shown(entry.path)}: named as an image, but no regular file")
        return found.st_size


def shown(path: str | Path) -> str:
    """A path for a message: names may hold line breaks, control characters and other bytes."""
    return printable(str(path), most=1000)


def left_out_note(name: str, *parts: Listing) -> tuple[str, ...]:
    """A warning that names what is left out of the parts, if anything is."""
    found = [f"{part.folder.name}/{path}" for part in parts for path in part.left_out]
    if not found:
        return ()
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    names = ", ".join(map(shown, found[:LISTED]))
    return (f"{name}: left out, being no class and no image: {names}{more}",)
