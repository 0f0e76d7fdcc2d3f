"""A plugin: with KD_SHUFFLED_LABELS in the environment, no test image keeps its own label.

It acts on every data set that is kept in memory; nothing else about it changes, so the ids of
runs are the same. For `tools/reports/leak.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from datasets.base import Settings
from datasets.memory import Images, MemoryData, Part
from datasets.randomness import generator

SWITCH = "KD_SHUFFLED_LABELS"


def shuffled(part: Part) -> Part:
    """The images with the labels of others, in the same proportions."""
    order = torch.randperm(len(part.labels), generator=generator("shuffled test labels"))
    return replace(part, labels=part.labels[order])


@contextmanager
def shuffling() -> Iterator[None]:
    """Data sets that are built meanwhile have shuffled test labels."""
    plain = MemoryData.__init__
    _install()
    try:
        yield
    finally:
        MemoryData.__init__ = plain  # type: ignore[method-assign]


def _install() -> None:
    plain = MemoryData.__init__

    def made(self: MemoryData, settings: Settings, images: Images) -> None:
        plain(self, settings, replace(images, test=shuffled(images.test)))

    MemoryData.__init__ = made  # type: ignore[method-assign]


if os.environ.get(SWITCH):
    _install()
