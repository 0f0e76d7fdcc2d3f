"""Look closely at every image file of a set: what cannot be read, and what is odd."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import ExifTags, Image

from .errors import DataError
from .image_files import LEFTOVERS, SUFFIXES, Listing, is_image, shown
from .pictures import PLAIN, converted, opened, orientation
from .survey import each

TINY = 8  # pixels; a shorter side below it shows next to nothing
LONG = 10  # times the shorter side; the crops of a longer picture miss most of it
ENDINGS = {  # format -> the endings that name it
    "JPEG": (".jpeg", ".jpg"),
    "MPO": (".jpeg", ".jpg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm"),
    "TIFF": (".tif", ".tiff"),
}
OTHER_PICTURES = (".gif", ".avif", ".heic", ".heif", ".jp2", ".jfif", ".dng", ".svg", ".psd")


@dataclass(frozen=True)
class Look:
    """What one file is. ``problem`` is empty if it can be read; ``digest`` is of its bytes."""

    problem: str = ""
    mode: str = ""
    digest: bytes = b""
    odd: tuple[str, ...] = ()


@dataclass
class Inspection:
    """What is to be said about a set.

    files     how many image files there are
    problems  messages about those that cannot be read
    odd       what is odd -> the files, relative to the set
    modes     Pillow's name of how pixels are stored -> how many files
    """

    files: int
    problems: list[str] = field(default_factory=list)
    odd: dict[str, list[str]] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, path: str) -> None:
        self.odd.setdefault(kind, []).append(shown(path))


def inspect(name: str, train: Listing, test: Listing, workers: int) -> Inspection:
    """Decode every file of both parts in ``workers`` threads, with a progress bar."""
    parts = (train, test)
    paths = [part.full(place) for part in parts for place in range(len(part))]
    short = [f"{part.folder.name}/{path}" for part in parts for path in part.paths]
    found = Inspection(len(paths))
    seen: dict[bytes, str] = {}
    looks = each(look, paths, workers, f"inspecting {name}")
    for place, (path, one) in enumerate(zip(short, looks, strict=True)):
        if one.problem:
            found.problems.append(one.problem)
            continue
        found.modes[one.mode] += 1
        for kind in one.odd:
            found.note(kind, path)
        if place < len(train):
            seen.setdefault(one.digest, path)
        elif one.digest in seen:
            found.note("in both parts with the same content", f"{path} = {seen[one.digest]}")
    for part in parts:
        for kind, path in skipped(part):
            found.note(kind, f"{part.folder.name}/{path}")
    return found


def look(path: str) -> Look:
    """What a file is; decodes it."""
    try:
        with opened(path) as picture:
            odd = tuple(_oddities(path, picture))
            converted(picture, as_shown=True)
            mode = picture.mode
        return Look(mode=mode, digest=_digest(path), odd=odd)
    except DataError as error:
        return Look(problem=str(error))
    except OSError as error:
        return Look(problem=f"{shown(path)}: {error}")


def _digest(path: str) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


def _oddities(path: str, picture: Image.Image) -> Iterator[str]:
    """What is odd about an open picture, whose pixels are read as README.md says."""
    kind, (short, long) = picture.format or "", sorted(picture.size)
    if not path.lower().endswith(ENDINGS.get(kind, ())):
        yield f"{kind} by content, another format by ending"
    if picture.mode not in PLAIN:
        yield f"mode {picture.mode}"
    if picture.has_transparency_data:
        yield "with transparency, shown on white in folder"
    if getattr(picture, "n_frames", 1) > 1:
        yield "of several frames, the first is used"
    if picture.info.get("icc_profile") or "gamma" in picture.info:
        yield "with a color profile or gamma, which are not applied"
    if not _exif_is_readable(picture):
        yield "with damaged EXIF, as stored"
    elif orientation(picture) != 1:
        yield "with an EXIF orientation, turned by it in folder"
    if short < TINY:
        yield f"under {TINY} pixels wide or high"
    if long > LONG * short:
        yield f"over {LONG} times as long as wide"


def _exif_is_readable(picture: Image.Image) -> bool:
    try:
        return isinstance(picture.getexif().get(ExifTags.Base.Orientation, 1), int)
    except Exception:  # noqa: BLE001  (Pillow raises anything on a damaged block)
        return False


def skipped(part: Listing) -> Iterator[tuple[str, str]]:
    """What lies in a part and is no image of it: kind and relative path."""
    used = set(part.paths)
    for folder, below, files in os.walk(part.folder, followlinks=True):
        relative = Path(folder).relative_to(part.folder)
        left = [name for name in below if name in LEFTOVERS or name.startswith(".")]
        below[:] = [name for name in below if name not in left]
        for name in (*left, *files):
            path = str(relative / name)
            if path not in used:
                yield _why(name, is_folder=name in left), path


def _why(name: str, is_folder: bool) -> str:
    if name in LEFTOVERS:
        return "left by another program, not used"
    if name.startswith("."):
        return "hidden, not used"
    if is_image(name):
        return "images of no class, not used"
    ending = Path(name).suffix.lower()
    if ending in OTHER_PICTURES:
        return f"pictures with an ending that is not read ({', '.join(SUFFIXES)}), not used"
    return "without an ending, not used" if not ending else "no images by their ending, not used"
