"""CIFAR-10 and CIFAR-100 in torchvision's layout: pickled arrays under the data folder."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import Data, Settings
from .errors import DataError
from .memory import Images, MemoryData, Part
from .registry import Facts, register
from .unpickle import load_dict

SIZE = 32


@dataclass(frozen=True)
class Variant:
    """CIFAR-10 or CIFAR-100: its files, each with the md5 of the official download.

    train, test, meta     file names to md5; all files of a part hold equally many images
    label_key, names_key  keys of the labels and the class names in the files
    """

    title: str
    folder: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    meta: Mapping[str, str]
    label_key: str
    names_key: str
    num_classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train_size: int = 50_000
    test_size: int = 10_000


CIFAR10 = Variant(
    title="CIFAR10",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    label_key="labels",
    names_key="label_names",
    num_classes=10,
    mean=(0.4914, 0.4822, 0.4465),  # of the training part's pixels
    std=(0.2470, 0.2435, 0.2616),
)

CIFAR100 = Variant(
    title="CIFAR100",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    label_key="fine_labels",
    names_key="fine_label_names",
    num_classes=100,
    mean=(0.5071, 0.4867, 0.4408),  # RepDistiller's, which published numbers use
    std=(0.2675, 0.2565, 0.2761),
)


@register(
    "cifar10",
    facts=Facts(10, SIZE, 50_000, 10_000),
    class_names=lambda root, options: _class_names(CIFAR10, root / CIFAR10.folder),
)
def cifar10(settings: Settings, *, image_size: int = SIZE) -> Data:
    """CIFAR-10: 50,000 + 10,000 images of 32×32, 10 classes (Krizhevsky, 2009).

    image_size  pixels a side; 16 and 8 are means over blocks of pixels, for fast experiments
    """
    return _build(CIFAR10, settings, image_size)


@register(
    "cifar100",
    facts=Facts(100, SIZE, 50_000, 10_000),
    class_names=lambda root, options: _class_names(CIFAR100, root / CIFAR100.folder),
)
def cifar100(settings: Settings, *, image_size: int = SIZE) -> Data:
    """CIFAR-100: 50,000 + 10,000 images of 32×32, 100 classes (Krizhevsky, 2009).

    image_size  pixels a side; 16 and 8 are means over blocks of pixels, for fast experiments
    """
    return _build(CIFAR100, settings, image_size)


def _build(variant: Variant, settings: Settings, image_size: int) -> Data:
    if type(image_size) is not int or image_size not in (8, 16, SIZE):
        raise DataError(
            f"{settings.name}: option image_size = {image_size!r}: expected 32, 16 or 8"
        )
    folder = settings.root / variant.folder
    files = {**variant.train, **variant.test, **variant.meta}
    _check_present(variant, settings.root, list(files))
    images = Images(
        train=_part(variant, folder, list(variant.train), variant.train_size, image_size),
        test=_part(variant, folder, list(variant.test), variant.test_size, image_size),
        class_names=_class_names(variant, folder),
        mean=variant.mean,
        std=variant.std,
        padding=image_size // 8,
        flip=True,
        warnings=functools.partial(_unofficial, settings.name, folder, files),
    )
    return MemoryData(settings, images)


def _check_present(variant: Variant, root: Path, files: list[str]) -> None:
    """Raise DataError, explaining how to get the data, unless all ``files`` exist."""
    folder = root / variant.folder
    missing = [name for name in files if not (folder / name).is_file()]
    if not missing:
        return
    where = f"{', '.join(missing)} missing" if folder.is_dir() else "no such folder"
    command = (
        f"import torchvision; torchvision.datasets.{variant.title}({str(root)!r}, download=True)"
    )
    raise DataError(
        f"{variant.title}: looked in {folder.resolve()}: {where}; "
        f'get it with: python -c "{command}"'
    )


def _part(variant: Variant, folder: Path, files: list[str], size: int, image_size: int) -> Part:
    """The images and labels of ``files`` in their order, ``size`` in total."""
    pieces = [_read(folder / name, variant, size // len(files)) for name in files]
    labels = np.concatenate([labels for _, labels in pieces])
    counts = np.bincount(labels, minlength=variant.num_classes)
    expected = size // variant.num_classes
    if (counts != expected).any():
        worst = int(np.abs(counts - expected).argmax())
        raise DataError(
            f"{folder / files[0]}: class {worst} has {counts[worst]} images, expected {expected}"
            + (f" in {len(files)} files" if len(files) > 1 else "")
        )
    # A row is one image: its red, green and blue plane, each row by row.
    images = np.concatenate([pixels for pixels, _ in pieces])
    pixels = torch.from_numpy(images).view(-1, 3, SIZE, SIZE)
    return Part(_reduced(pixels, image_size), torch.from_numpy(labels))


def _reduced(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 images (N, 3, 32, 32) as (N, 3, size, size): rounded means over square blocks."""
    if size == SIZE:
        return images
    block = SIZE // size
    blocks = images.reshape(-1, 3, size, block, size, block)
    sums = blocks.sum(dim=(3, 5), dtype=torch.int32)
    return ((sums + block * block // 2) // (block * block)).to(torch.uint8)


def _read(path: Path, variant: Variant, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (size, 3072) uint8 and labels (size,) int64 of one file, checked."""
    entry = load_dict(path)
    pixels = _entry(entry, "data", path)
    shape = (size, 3 * SIZE * SIZE)
    if not isinstance(pixels, np.ndarray) or pixels.shape != shape or pixels.dtype != np.uint8:
        raise DataError(f"{path}: data is {_describe(pixels)}, expected uint8 {shape}")
    labels = _integers(_entry(entry, variant.label_key, path))
    if labels is None or labels.shape != (size,):
        given = _describe(entry[variant.label_key])
        raise DataError(f"{path}: {variant.label_key} is {given}, expected {size} whole numbers")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= variant.num_classes:
        limits = f"expected 0 to {variant.num_classes - 1}"
        raise DataError(f"{path}: {variant.label_key} go from {low} to {high}, {limits}")
    return pixels, labels


def _class_names(variant: Variant, folder: Path) -> tuple[str, ...]:
    (path,) = (folder / name for name in variant.meta)
    names = _entry(load_dict(path), variant.names_key, path)
    listed = names if isinstance(names, list) else []
    texts = [n.decode("latin1") if isinstance(n, bytes) else n for n in listed]
    if len(texts) != variant.num_classes or not all(isinstance(text, str) for text in texts):
        expected = f"expected {variant.num_classes} names"
        raise DataError(f"{path}: {variant.names_key} is {_describe(names)}, {expected}")
    return tuple(texts)


def _entry(entry: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in entry:
        raise DataError(f"{path}: no {key!r}; it holds {', '.join(sorted(entry)) or 'nothing'}")
    return entry[key]


def _integers(value: Any) -> np.ndarray | None:
    """A list or array of integers as int64; None if it is something else."""
    if isinstance(value, list) and all(type(number) is int for number in value):
        value = np.array(value) if value else None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        return None
    return value.astype(np.int64)


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    length = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{length}"


def _unofficial(name: str, folder: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """A warning naming the files whose md5 differs from the official download's."""
    differing = [file for file, md5 in files.items() if _md5(folder / file) != md5]
    if not differing:
        return ()
    return (
        f"{name}: the md5 of {', '.join(differing)} differs from the official download's; "
        "shapes, counts and labels are right, so the data are used",
    )


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
