"""STL-10: 5,000 + 8,000 labelled images of 96×96, 10 classes (Coates, Ng, Lee, 2011)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .base import Data, Settings
from .cache import CacheSpec, ImageSource, cached
from .decoding import in_threads
from .errors import DataError
from .image_files import check_size
from .loaders import count_workers
from .memory import MemoryData
from .pictures import fitted, pixels
from .registry import Facts, register

FOLDERS = ("stl10_binary", "stl10", "STL10")
SIZE = 96
CLASSES = 10
SIZES = {"train": 5_000, "test": 8_000}
MEAN, STD = (0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2712)  # the CRD paper's, for transfer
FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt")
LAYOUT = f"{', '.join(FILES)} of http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"


@register(
    "stl10",
    placement=("cache", "workers"),
    facts=Facts(CLASSES, SIZE, SIZES["train"], SIZES["test"]),
    class_names=lambda root, options: _class_names(_find(Settings("stl10", root))),
)
def stl10(
    settings: Settings,
    *,
    image_size: int = SIZE,
    cache: str | None = None,
    workers: int | None = None,
) -> Data:
    """STL-10's labelled parts; training shifts by up to image_size // 8 pixels and mirrors.

    image_size  pixels a side; the transfer protocol uses 32
    cache       folder for the resized images; default: ROOT/.cache, or the user's cache
    workers     threads that resize the images the first time
    """
    check_size(settings.name, "image_size", image_size)
    threads = count_workers(settings.name, workers)
    folder = _find(settings)
    parts = {name: _part(folder, name, image_size, threads) for name in SIZES}
    stats = [(folder / file).stat() for file in FILES]
    resized = cached(
        CacheSpec(
            name=settings.name,
            key=repr([(s.st_size, s.st_mtime_ns) for s in stats]),
            size=image_size,
            parts=parts,
            class_names=_class_names(folder),
        ),
        settings.root,
        cache,
    )
    images = resized.images(mean=MEAN, std=STD, padding=image_size // 8, flip=True)
    return MemoryData(settings, images)


def _find(settings: Settings) -> Path:
    places = [settings.root / folder for folder in FOLDERS] + [settings.root]
    for place in places:
        if (place / FILES[0]).is_file():
            missing = [file for file in FILES if not (place / file).is_file()]
            if missing:
                raise DataError(f"{settings.name}: {place} lacks {', '.join(missing)}")
            return place
    looked = ", ".join(str(place.resolve()) for place in places)
    raise DataError(f"{settings.name}: no {FILES[0]} in {looked}; expected {LAYOUT}")


def _part(folder: Path, name: str, size: int, threads: int) -> ImageSource:
    """A part's labels, and a source of its images resized to ``size``."""
    path = folder / f"{name}_y.bin"
    labels = np.fromfile(path, dtype=np.uint8).astype(np.int64) - 1  # the file counts from 1
    if len(labels) != SIZES[name] or labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(f"{path}: expected {SIZES[name]} numbers from 1 to {CLASSES}")
    path = folder / f"{name}_X.bin"
    expected = SIZES[name] * 3 * SIZE * SIZE
    if path.stat().st_size != expected:
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected {expected}")

    def image(place: int) -> np.ndarray:
        stored = np.memmap(path, np.uint8, "r", place * 3 * SIZE**2, (3, SIZE, SIZE))
        upright = stored.transpose(2, 1, 0)  # the file stores columns first
        return pixels(fitted(Image.fromarray(np.ascontiguousarray(upright)), size))

    return ImageSource(labels, in_threads(image, threads))


def _class_names(folder: Path) -> tuple[str, ...]:
    path = folder / "class_names.txt"
    names = path.read_text(encoding="utf-8").split()
    if len(names) != CLASSES:
        raise DataError(f"{path}: {len(names)} names, expected {CLASSES}")
    return tuple(names)
