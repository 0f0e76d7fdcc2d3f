"""Small data sets: all images as uint8 on the device, batches made there."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from . import samplers
from .augment import Augmentation, Normalisation
from .base import MAIN, Data, Settings
from .batch import Batch, Stream
from .errors import DataError, near
from .randomness import generator
from .splits import split_training

VIEWS = ("weak",)  # "weak": the standard augmentation, drawn a second time


@dataclass(frozen=True)
class Part:
    """Images (N, 3, H, W) uint8 and their labels (N,) int64."""

    images: Tensor
    labels: Tensor

    def take(self, indices: Tensor) -> Part:
        return Part(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Part:
        return Part(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Images:
    """What the loader of an in-memory data set reads: two parts and how to present them.

    mean, std      per channel, of pixels scaled to [0, 1]
    padding, flip  of the training augmentation
    warnings       finds what is wrong with the files; asked when somebody wants to know
    """

    train: Part
    test: Part
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool
    warnings: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class EpochPlan:
    """An epoch position by position: indices and labels (n,), and per view the draws (3, n)."""

    indices: Tensor
    labels: Tensor
    draws: tuple[Tensor, ...]


class MemoryData(Data):
    """A `Data` whose images are held as uint8 and augmented in one batched gather per view."""

    def __init__(self, settings: Settings, images: Images) -> None:
        kept, held = split_training(settings, images.train.labels)
        whole = len(kept) == len(images.train.labels)
        train = images.train if whole else images.train.take(kept)
        self._parts = {"test": images.test}
        if held is not None:
            self._parts["validation"] = images.train.take(held)
        self.info = settings.info(images.class_names, train.images.shape[-1], train.labels)
        self._find_warnings = images.warnings
        self._constants = (images.mean, images.std)
        self._augmentation = Augmentation(images.padding, images.flip)
        self._normalise = Normalisation(images.mean, images.std)
        self._train = Part(self._augmentation.pad(train.images), train.labels)
        self._samplers: dict[str | None, samplers.Sampler] = {}
        self._place(settings.device)

    # Both read all of the data: seconds, which only somebody who trains needs to spend.

    @functools.cached_property
    def warnings(self) -> tuple[str, ...]:  # type: ignore[override]
        return self._find_warnings()

    @functools.cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        train = Part(self._augmentation.unpad(self._train.images), self.info.train_labels)
        return fingerprint({"train": train, **self._parts}, *self._constants)

    def to(self, device: torch.device | str) -> MemoryData:
        moved = copy.copy(self)
        moved._place(torch.device(device))
        return moved

    def _place(self, device: torch.device) -> None:
        self._device = device
        self._train = self._train.to(device)
        self._parts = {name: part.to(device) for name, part in self._parts.items()}
        self._normalise = self._normalise.to(device)

    @property
    def sizes(self) -> dict[str, int]:
        return {name: len(part.labels) for name, part in self._parts.items()}

    def steps_per_epoch(self, stream: Stream = MAIN) -> int:
        return self._sampler(stream).steps

    def train_stream(
        self, trial: int, epoch: int, start_step: int = 0, stream: Stream = MAIN
    ) -> Iterator[Batch]:
        steps = self.steps_per_epoch(stream)
        for view in stream.views:
            if view not in VIEWS:
                raise DataError(f"{self.info.name}: unknown view {view!r}: {near(view, VIEWS)}")
        if not 0 <= start_step <= steps:
            raise DataError(f"{self.info.name}: step {start_step}: the epoch has {steps} steps")
        return self._train_batches(trial, epoch, range(start_step, steps), stream)

    def test_batches(self, split: str = "test", batch_size: int = 250) -> Iterator[Batch]:
        if split == "validation" and split not in self._parts:
            raise DataError(
                f"{self.info.name}: no validation part: none was held out (validation: N)"
            )
        if split not in self._parts:
            expected = near(split, ("test", "validation"))
            raise DataError(f"{self.info.name}: unknown split {split!r}: {expected}")
        return self._test_batches(self._parts[split], batch_size)

    def _test_batches(self, part: Part, batch_size: int) -> Iterator[Batch]:
        indices = torch.arange(len(part.labels), device=self._device)
        chunks = (tensor.split(batch_size) for tensor in (part.images, part.labels, indices))
        for step, (images, labels, places) in enumerate(zip(*chunks, strict=True)):
            yield Batch(self._normalise(images), labels, places, epoch=0, step=step)

    def _train_batches(
        self, trial: int, epoch: int, steps: range, stream: Stream
    ) -> Iterator[Batch]:
        plan = self._plan(trial, epoch, stream)
        size = self.info.batch_size
        for step in steps:
            now = slice(step * size, (step + 1) * size)
            indices = plan.indices[now]
            images, *views = (self._view(indices, draws[:, now]) for draws in plan.draws)
            yield Batch(images, plan.labels[now], indices, epoch, step, tuple(views))

    def _view(self, indices: Tensor, draws: Tensor) -> Tensor:
        crops = self._augmentation.apply(self._train.images, indices, draws)
        return self._normalise(crops)

    def _plan(self, trial: int, epoch: int, stream: Stream) -> EpochPlan:
        """Drawn on the CPU whole, wherever the epoch starts; sent to the device once."""
        where = (int(trial), stream.stage, int(epoch))
        sampler = stream.sampler or "order"
        indices = self._sampler(stream).draw(generator(self.info.name, sampler, *where))
        purposes = ["augment", *(f"view {k} {view}" for k, view in enumerate(stream.views))]
        draws = [
            self._augmentation.draw(len(indices), generator(self.info.name, purpose, *where))
            for purpose in purposes
        ]
        labels = self.info.train_labels[indices]
        sent = [self._send(tensor) for tensor in (indices, labels, *draws)]
        return EpochPlan(sent[0], sent[1], tuple(sent[2:]))

    def _send(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()  # without it the copy would wait for the device
        return tensor.to(self._device, non_blocking=True)

    def _sampler(self, stream: Stream) -> samplers.Sampler:
        """Built once per kind: the class index of the balanced one is a sort of all labels."""
        if stream.sampler not in self._samplers:
            made = samplers.make(stream, self.info.train_labels, self.info.batch_size)
            self._samplers[stream.sampler] = made
        return self._samplers[stream.sampler]


def fingerprint(parts: Mapping[str, Part], mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """sha256 of all images and labels, and of the constants they are normalised with."""
    digest = hashlib.sha256(repr((mean, std)).encode())
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {tuple(part.images.shape)}".encode())
        for tensor in (part.images, part.labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
