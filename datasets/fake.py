"""Seeded noise that can be learned: for tests and for trying a matrix without data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .base import Data, Settings
from .errors import DataError
from .memory import Images, MemoryData, Part
from .randomness import generator
from .registry import register

MOST_BYTES = 2 * 2**30  # of noise: thirteen times CIFAR-100
MOST_CLASSES = 100_000  # four times those of ImageNet-21k
BANDS = 4  # horizontal bands of a class's pattern, which mirroring does not change


def _class_names(options: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"class{c}" for c in range(options["num_classes"]))


@register("fake", class_names=lambda root, options: _class_names(options))
def fake(
    settings: Settings,
    *,
    num_classes: int = 10,
    image_size: int = 32,
    train_size: int = 512,
    test_size: int = 128,
    seed: int = 0,
) -> Data:
    """Noise around a mean that depends on the class, the channel and the quarter of the height."""
    _check(num_classes=(num_classes, 2), image_size=(image_size, 4))
    _check(train_size=(train_size, 1), test_size=(test_size, 1))
    _check_memory(num_classes, image_size, train_size, test_size)
    # Below 128, as is the noise, so that their sum fits into a byte.
    means = torch.randint(
        128, (num_classes, 3, BANDS, 1), generator=generator("fake", "means", seed)
    )
    bands = torch.arange(image_size) * BANDS // image_size
    patterns = means[:, :, bands].to(torch.uint8)
    return MemoryData(
        settings,
        Images(
            train=_part(patterns, train_size, "train", seed),
            test=_part(patterns, test_size, "test", seed),
            class_names=_class_names({"num_classes": num_classes}),
            mean=(0.5,) * 3,
            std=(0.2,) * 3,
            padding=image_size // 8,
            flip=True,
        ),
    )


def _part(patterns: Tensor, size: int, name: str, seed: int) -> Part:
    """``size`` images, cycling through the classes: patterns (C, 3, H, 1) plus noise below 128."""
    labels = torch.arange(size) % len(patterns)
    shape = (size, 3, patterns.shape[2], patterns.shape[2])
    noise = torch.randint(128, shape, dtype=torch.uint8, generator=generator("fake", name, seed))
    return Part(patterns[labels] + noise, labels)


def _check_memory(classes: int, side: int, *images: int) -> None:
    """DataError for noise that would fill the memory, in which all of it is held."""
    if classes > MOST_CLASSES:
        expected = f"expected at most {MOST_CLASSES:,}"
        raise DataError(f"fake: option num_classes = {classes}: {expected}")
    needed = (classes + sum(images)) * 3 * side**2
    if needed > MOST_BYTES:
        raise DataError(
            f"fake: option image_size = {side}, {sum(images):,} images and {classes:,} classes: "
            f"expected at most {MOST_BYTES // 2**30} GiB of memory"
        )


def _check(**limits: tuple[int, int]) -> None:
    for key, (value, least) in limits.items():
        if value < least:
            raise DataError(f"fake: option {key} = {value}: expected at least {least}")
