"""ImageNet-1k, and a user's own class folders."""

from __future__ import annotations

from pathlib import Path

from .base import Data, Settings
from .cache import folders as cache_folders
from .decoding import decoded_set
from .errors import DataError
from .image_files import by_class, check_size, classes, find
from .index import indexed_listing
from .loaders import count_workers
from .memory import MemoryData
from .registry import Facts, check_label, register
from .streamed import Files, StreamedData

CLASSES = 1000
FOLDERS = ("imagenet", "imagenet-1k", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
LAYOUT = "imagenet/train/<wnid>/*.JPEG and imagenet/val/<wnid>/*.JPEG"
TEST_FOLDERS = ("val", "test", "validation")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of torchvision's weights
SIZE, MARGIN = 224, 32  # tested on the central 224 of 256 pixels


@register(
    "imagenet",
    placement=("cache", "workers"),
    facts=Facts(CLASSES, SIZE, 1_281_167, 50_000),  # ILSVRC 2012
    class_names=lambda root, options: classes(find("imagenet", root, FOLDERS, LAYOUT) / "train"),
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
    if not (folder / "val").is_dir():
        raise DataError(f"{folder / 'val'}: no such folder; expected {LAYOUT}")
    folders = cache_folders(settings.root, cache)
    train, test = (indexed_listing(folder / part, wnids, folders) for part in ("train", "val"))
    incomplete = f"{name}: {len(wnids)} of {CLASSES} classes"
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
            warnings=() if len(wnids) == CLASSES else (incomplete,),
        ),
        count,
    )


@register("folder", placement=("cache", "workers", "label"))
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

    Normalised with ImageNet's constants, as pretrained networks expect. The fingerprint covers the
    names and sizes of the files, or the pixels if they are decoded once.
    """
    name = settings.name
    check_size(name, "image_size", image_size)
    count = count_workers(name, workers)
    if decode not in ("stream", "once"):
        raise DataError(f"{name}: option decode = {decode!r}: expected stream or once")
    check_label(name, label)
    place = _own_folder(settings, folder)
    names = classes(place / "train")
    if len(names) < 2:
        raise DataError(f"{place / 'train'}: one class, {names[0]!r}; expected at least two")
    train, test = (by_class(part, names) for part in (place / "train", _test_folder(place)))
    if decode == "stream":
        files = Files(train, test, tuple(names), MEAN, STD, image_size, margin(image_size), flip)
        return StreamedData(settings, files, count)
    decoded = decoded_set(settings, train, test, names, image_size, count, cache)
    images = decoded.images(mean=MEAN, std=STD, padding=image_size // 8, flip=flip)
    return MemoryData(settings, images)


def margin(size: int) -> int:
    """Pixels by which the shorter side of a test image exceeds the centre crop: 32 at 224."""
    return round(size * MARGIN / SIZE)


def _own_folder(settings: Settings, folder: str | None) -> Path:
    if not isinstance(folder, str | Path):
        raise DataError(f"folder: option folder = {folder!r}: expected the path of a folder")
    given = Path(folder).expanduser()
    places = list(dict.fromkeys([settings.root / given, given]))
    for place in places:
        if (place / "train").is_dir():
            return place
    looked = " and ".join(str(place.resolve()) for place in places)
    raise DataError(
        f"folder: option folder = {folder!r}: no folder train in {looked}; expected "
        "train/<class>/* and val/<class>/* or test/<class>/*"
    )


def _test_folder(place: Path) -> Path:
    for name in TEST_FOLDERS:
        if (place / name).is_dir():
            return place / name
    raise DataError(f"{place}: no folder {', '.join(TEST_FOLDERS)}; expected one to test on")
