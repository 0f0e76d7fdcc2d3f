"""ImageNet-1k."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .base import Data, Settings
from .cache import folders as cache_folders
from .errors import DataError
from .image_files import Listing, check_size, classes, find, left_out_note
from .index import indexed_listing
from .layouts import check_not_flat
from .loaders import count_workers
from .registry import Facts, register
from .streamed import Files, StreamedData

CLASSES = 1000
FOLDERS = ("imagenet", "imagenet-1k", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
LAYOUT = "imagenet/train/<wnid>/*.JPEG and imagenet/val/<wnid>/*.JPEG"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of torchvision's weights
SIZE, MARGIN = 224, 32  # tested on the central 224 of 256 pixels


def _parts(folder: Path, wnids: list[str], indexes: list[Path]) -> tuple[Listing, Listing]:
    """The files of train and val. Raises DataError if val is missing or holds no class folders."""
    if not (folder / "val").is_dir():
        raise DataError(f"{folder / 'val'}: no such folder; expected {LAYOUT}")
    check_not_flat(folder / "val")
    return (
        indexed_listing(folder / "train", wnids, indexes),
        indexed_listing(folder / "val", wnids, indexes, may_be_empty=True),
    )


def _files(root: Path, options: Mapping[str, Any]) -> tuple[Listing, Listing]:
    folder = find("imagenet", root, FOLDERS, LAYOUT)
    indexes = cache_folders(root, options["cache"])
    return _parts(folder, classes(folder / "train"), indexes)


@register(
    "imagenet",
    placement=("cache", "workers"),
    facts=Facts(CLASSES, SIZE, 1_281_167, 50_000),  # ILSVRC 2012
    class_names=lambda root, options: classes(find("imagenet", root, FOLDERS, LAYOUT) / "train"),
    files=_files,
)
def imagenet(
    settings: Settings,
    *,
    image_size: int = SIZE,
    cache: str | None = None,
    workers: int | None = None,
) -> Data:
    """ImageNet-1k: 1,281,167 + 50,000 images; the val part is the test part.

    Training uses RandomResizedCrop and flip. Test images are resized to a shorter side of
    image_size · 256 / 224, then cropped at the centre.

    image_size  pixels a side of the networks' input
    cache       folder for the index of files; default: ROOT/.cache, or the user's cache
    workers     decoding processes; 0: decode in the trainer; default: one per core
    """
    name = settings.name
    check_size(name, "image_size", image_size)
    count = count_workers(name, workers)
    folder = find(name, settings.root, FOLDERS, LAYOUT)
    wnids = classes(folder / "train")
    train, test = _parts(folder, wnids, cache_folders(settings.root, cache))
    few = () if len(wnids) == CLASSES else (f"{name}: {len(wnids)} of {CLASSES} classes",)
    return StreamedData(
        settings,
        Files(
            train=train,
            test=test,
            class_names=tuple(wnids),
            mean=MEAN,
            std=STD,
            size=image_size,
            margin=margin(image_size),
            warnings=(*few, *left_out_note(name, train, test)),
        ),
        count,
    )


def margin(size: int) -> int:
    """Pixels by which the shorter side of a test image exceeds the centre crop: 32 at 224."""
    return round(size * MARGIN / SIZE)
