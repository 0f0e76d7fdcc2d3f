"""Data sets in memory whose test images have the labels of others, for `tools/tuning/leak.py`.

Nothing else about them changes, so the ids of runs are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from datasets.base import Settings
from datasets.memory import Images, MemoryData, Part
from datasets.randomness import generator

SWITCH = "KD_SHUFFLED_LABELS"  # in the environment of the commands


def shuffled(part: Part) -> Part:
    """The images with the labels of others, in the same proportions."""
    order = torch.randperm(len(part.labels), generator=generator("shuffled test labels"))
    return replace(part, labels=part.labels[order])


@contextmanager
def shuffling() -> Iterator[None]:
    """Data sets that are built meanwhile have shuffled test labels."""
    plain = MemoryData.__init__
    install()
    try:
        yield
    finally:
        MemoryData.__init__ = plain  # type: ignore[method-assign]


def install() -> None:
    """Shuffle the test labels of every data set in memory from now on."""
    plain = MemoryData.__init__

    def made(self: MemoryData, settings: Settings, images: Images) -> None:
        plain(self, settings, replace(images, test=shuffled(images.test)))

    MemoryData.__init__ = made  # type: ignore[method-assign]
