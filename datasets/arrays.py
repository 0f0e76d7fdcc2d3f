"""A user's own images in one .npz file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import npz
from .base import Data, Settings
from .errors import DataError, near, printable
from .first_bytes import foreign
from .labels import check_numbering, class_numbers
from .memory import Images, MemoryData, Part
from .registry import check_label, register

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
PARTS = ("train", "test")
OPTIONAL = ("class_names", "mean", "std")
LAYOUTS = "uint8 (N, H, W, 3), (N, 3, H, W), or grey (N, H, W), with or without a 1"
SMALLEST_STD = 1e-4  # of pixels in [0, 1]; a deviation below would make any other pixel huge
Arrays = Mapping[str, np.ndarray]


@register("arrays", placement=("label",))
def arrays(
    settings: Settings,
    *,
    file: str | None = None,
    flip: bool = True,
    padding: int | None = None,
    label: str | None = None,
) -> Data:
    """The images of an .npz file.

    file     its path, relative to the data folder or to the working directory. It holds x_train
             and x_test: uint8 (N, H, W, 3), (N, 3, H, W), or grey (N, H, W), (N, H, W, 1) or
             (N, 1, H, W), square; y_train and y_test: (N,) integers from 0; optionally class_names
             (C,), and mean and std (3,) of pixels scaled to [0, 1], by default those of x_train
    flip     whether training mirrors images
    padding  maximum shift of training images in pixels; None: H // 8
    label    the data set's name in tables; default: arrays
    """
    check_label("arrays", label)
    path = _find(settings, file)
    arrays = _read(path)
    train, test = (_part(arrays, name, path) for name in PARTS)
    class_names = _class_names(arrays, (train, test), path)
    side = train.images.shape[-1]
    if test.images.shape[-1] != side:
        raise DataError(f"{path}: x_test has {test.images.shape[-1]} pixels a side, x_train {side}")
    if padding is not None and (type(padding) is not int or not 0 <= padding <= side):
        raise DataError(
            f"arrays: option padding = {padding!r}: expected a whole number from 0 to {side}"
        )
    mean, std = _constants(arrays, train.images, path)
    return MemoryData(
        settings,
        Images(
            train=train,
            test=test,
            class_names=class_names,
            mean=mean,
            std=std,
            padding=side // 8 if padding is None else padding,
            flip=flip,
        ),
    )


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 images (N, 3, H, W) scaled to [0, 1].

    Computed from integer sums, so the result is the same on every machine. A constant channel gets
    the deviation 1.
    """
    means, deviations = [], []
    for channel in images.unbind(1):
        counts = channel.flatten().bincount(minlength=256).tolist()
        n = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value**2 * count for value, count in enumerate(counts))
        means.append(total / n / 255)
        deviations.append((n * squares - total**2) ** 0.5 / n / 255 or 1.0)
    return tuple(means), tuple(deviations)


def _find(settings: Settings, file: str | None) -> Path:
    if not isinstance(file, str | Path):
        raise DataError(f"arrays: option file = {file!r}: expected the path of an .npz file")
    try:
        given = Path(os.path.expanduser(file))
        places = list(dict.fromkeys([settings.root / given, given]))
        for place in places:
            if place.is_file():
                return place
        looked = " and ".join(printable(str(place.resolve()), 400) for place in places)
    except (ValueError, RuntimeError, OSError) as error:  # a null byte, no such user, a loop
        raise DataError(f"arrays: option file = {file!r}: no usable path ({error})") from error
    what = "a folder, expected a file" if any(map(Path.is_dir, places)) else "no such file"
    raise DataError(f"arrays: option file = {str(file)!r}: {what}; looked for {looked}")


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by key; nothing in it is unpickled."""
    try:
        kind = foreign(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if kind:
        raise DataError(f"{path}: is {kind}; expected an .npz with {', '.join(REQUIRED)}")
    return npz.read(path, lambda keys: _check_keys(keys, path))


def _check_keys(keys: list[str], path: Path) -> None:
    for key in keys:
        if key not in REQUIRED + OPTIONAL:
            shown = printable(key)
            raise DataError(f"{path}: unknown key '{shown}': {near(shown, REQUIRED + OPTIONAL)}")
    missing = [key for key in REQUIRED if key not in keys]
    if missing:
        raise DataError(f"{path}: no {', '.join(missing)}; it holds {', '.join(keys) or 'nothing'}")


def _part(arrays: Arrays, name: str, path: Path) -> Part:
    """The images and labels of "train" or "test", checked."""
    images = _images(arrays[f"x_{name}"], f"{path}: x_{name}")
    key = f"y_{name}"
    labels = class_numbers(arrays[key], len(images), f"{path}: {key}", f"x_{name}")
    return Part(images, torch.from_numpy(labels))


def _images(array: np.ndarray, where: str) -> Tensor:
    """An array in any of the layouts as (N, 3, H, W)."""
    given = f"{where} is {array.dtype} {array.shape}"
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(f"{given}, expected {LAYOUTS}{_remedy(array)}")
    images = torch.from_numpy(array)
    if array.ndim == 3:
        images = images[:, None]
    elif array.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    elif array.shape[1] not in (1, 3):
        raise DataError(f"{given}, expected {LAYOUTS}{_remedy(array)}")
    if images.shape[2] != images.shape[3]:
        raise DataError(f"{given}, expected square images")
    return images.expand(-1, 3, -1, -1).contiguous()  # the steps above only made views


def _remedy(array: np.ndarray) -> str:
    """What to save instead of these images, where that is known."""
    if array.dtype.kind == "f":
        return "; pixels from 0 to 1: save (255 * x).round().astype(np.uint8)"
    if array.dtype == np.uint16:
        return "; of 16 bits: save (x // 257).astype(np.uint8)"
    if array.dtype.kind in "iub" and array.dtype != np.uint8:
        return "; pixels from 0 to 255: save x.astype(np.uint8)"
    if array.ndim == 4 and 4 in (array.shape[1], array.shape[3]):
        return "; without transparency: save x[..., :3] (or x[:, :3])"
    return ""


def _class_names(arrays: Arrays, parts: tuple[Part, Part], path: Path) -> tuple[str, ...]:
    """One name per class: the file's, or the numbers up to the highest label."""
    names = arrays.get("class_names")
    if names is not None:
        _check_names(names, path)
    labels = {f"y_{p}": part.labels.numpy() for p, part in zip(PARTS, parts, strict=True)}
    try:
        classes = check_numbering(labels, None if names is None else names.tolist())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return tuple(map(str, range(classes) if names is None else names.tolist()))


def _check_names(names: np.ndarray, path: Path) -> None:
    if names.dtype.kind != "U" or names.ndim != 1:
        shown = f"{names.dtype} {names.shape}"
        raise DataError(f"{path}: class_names is {shown}, expected one string per class")
    for number, name in enumerate(names.tolist()):
        if not name.isprintable():
            shown = printable(name)
            raise DataError(f"{path}: class_names[{number}] = '{shown}', expected one line of text")


def _constants(
    arrays: Arrays, train: Tensor, path: Path
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std: the file's, or those of its training images."""
    given = [key for key in ("mean", "std") if key in arrays]
    if len(given) == 1:
        raise DataError(f"{path}: has only {given[0]} of mean and std, expected both or neither")
    if not given:
        return channel_statistics(train)
    mean, std = (_three(arrays[key], f"{path}: {key}") for key in ("mean", "std"))
    if min(std) < SMALLEST_STD:
        raise DataError(f"{path}: std = {std}, expected numbers above {SMALLEST_STD}")
    return mean, std


def _three(array: np.ndarray, where: str) -> tuple[float, ...]:
    if array.dtype.kind not in "fiu" or array.shape != (3,) or not np.isfinite(array).all():
        raise DataError(f"{where} is {array.dtype} {array.shape}, expected 3 finite numbers")
    if (np.abs(array) > 1).any():
        raise DataError(f"{where} = {array.tolist()}, expected numbers for pixels scaled to [0, 1]")
    return tuple(float(number) for number in array)
