"""Class numbers of a user's own set: checked, and what is said about classes without images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import DataError

LONGEST_GAP = 10  # unused class numbers in a row; more are no gap, but another numbering
NAMED = 5  # classes that a warning lists


def class_numbers(array: np.ndarray, count: int, where: str, images: str) -> np.ndarray:
    """Labels (N,) or (N, 1) of ``count`` images as int64 (N,).

    ``where`` and ``images`` name the arrays in messages. Raises DataError, with what to save
    instead, for anything but whole numbers from 0.
    """
    given = f"{where} is {array.dtype} {array.shape}"
    expected = f"expected whole numbers ({count},), one per image of {images}"
    if array.shape == (count, 1):
        array = array[:, 0]
    if array.shape != (count,) or array.dtype.kind not in "iub":
        raise DataError(f"{given}, {expected}{_remedy(array, count)}")
    if array.min() < 0 or array.max() > np.iinfo(np.int64).max:
        worst = array.min() if array.min() < 0 else array.max()
        raise DataError(f"{where} holds {worst}, expected class numbers from 0")
    return array.astype(np.int64)


def _remedy(array: np.ndarray, count: int) -> str:
    """What to save instead of these labels, where that is known."""
    if array.ndim == 2 and len(array) == count and array.dtype.kind in "iubf":
        return "; if they are one-hot, save y.argmax(axis=1)"
    if array.shape != (count,):
        return ""
    if array.dtype.kind == "f":
        whole = np.isfinite(array).all() and (array == np.floor(array)).all()
        return "; save y.astype(int)" if whole else "; they are not whole"
    if array.dtype.kind in "US":
        return "; save names, y = np.unique(y, return_inverse=True), and names as class_names"
    return ""


def check_numbering(parts: Mapping[str, np.ndarray], names: Sequence[str] | None) -> int:
    """The number of classes: of ``names``, otherwise one more than the highest label.

    ``parts``: label's array name -> labels (N,), the training part first. Raises DataError where
    a number is probably no class, because networks would get an output for every unused number,
    and chance and top-5 would count them. A file with ``class_names`` means what it says.
    """
    train = next(iter(parts.values()))
    used = np.unique(np.concatenate([np.unique(labels) for labels in parts.values()]))
    lowest, highest = int(used[0]), int(used[-1])
    where = " and ".join(parts)
    if names is not None and len(names) <= highest:
        remedy = f": save y - {lowest}" if lowest else ""
        raise DataError(f"{len(names)} class_names, but the labels go up to {highest}{remedy}")
    if train.min() == train.max():
        raise DataError(f"{next(iter(parts))} holds one class ({train[0]}), expected at least two")
    if names is not None:
        return len(names)
    if lowest:
        raise DataError(
            f"{where} hold labels from {lowest} to {highest}, expected from 0: save y - {lowest}, "
            f"or class_names with {highest + 1} names if class 0 has no image"
        )
    gaps = np.diff(used) - 1
    unused = highest + 1 - len(used)
    if gaps.max() > LONGEST_GAP or unused > len(used):
        place = int(gaps.argmax())
        raise DataError(
            f"{where} hold {len(used)} different labels up to {highest}, but none from "
            f"{used[place] + 1} to {used[place + 1] - 1}: remove images with labels that mean "
            "'ignore', or number the classes from 0 without gaps; class_names with "
            f"{highest + 1} names says that all are meant"
        )
    return highest + 1


def missing_classes(
    name: str, class_names: Sequence[str], train: Tensor, tested: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Warnings about classes without an image in a part; ``tested``: part -> labels (N,)."""
    parts = {"training": train, **tested}
    return tuple(
        f"{name}: {_count(absent, len(class_names))} no {part} image "
        f"({_listed([class_names[c] for c in absent])})"
        for part, labels in parts.items()
        if (absent := _absent(labels, len(class_names)))
    )


def _count(absent: Sequence[int], classes: int) -> str:
    return f"{len(absent)} of {classes} classes {'has' if len(absent) == 1 else 'have'}"


def _absent(labels: Tensor, classes: int) -> list[int]:
    there = torch.zeros(classes, dtype=torch.bool)
    there[labels.cpu().unique()] = True
    return (~there).nonzero()[:, 0].tolist()


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
