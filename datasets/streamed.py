"""Image sets too large for memory: every batch is decoded from its files when needed."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .augment import Normalisation
from .base import TEST_BATCH, Settings
from .batch import Batch, Stream
from .decoding import Decoder, Request
from .image_files import Listing
from .labels import missing_classes
from .loaders import Loaders, shared_bytes
from .memory import content_in_use
from .randaugment import send
from .randomness import seed
from .splits import split_training
from .streams import Coordinates, Streams


@dataclass(frozen=True)
class Files:
    """The files of a folder data set, and how to present them: the rest as in `Decoder`."""

    train: Listing
    test: Listing
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    margin: int
    flip: bool = True
    as_shown: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The files of a part in use: their rows (n,) in ``listing`` and labels (n,), on the CPU."""

    listing: Listing
    rows: Tensor
    labels: Tensor

    def path(self, place: int) -> str:
        return self.listing.full(int(self.rows[place]))


class StreamedData(Streams):
    """A `Data` whose images stay in their files.

    Worker processes decode, crop and flip; the uint8 pixels are sent to the device and normalised
    there. A sample's augmentation depends only on its position in the epoch. The fingerprint covers
    the names and sizes of the files: reading them all would take as long as an epoch.
    """

    def __init__(self, settings: Settings, files: Files, workers: int) -> None:
        labels = torch.from_numpy(files.train.labels)
        kept, held = split_training(settings, labels)
        self._train = Chosen(files.train, kept, labels[kept])
        self._parts = {}
        if settings.scored_on == "test":
            everything = torch.arange(len(files.test))
            self._parts["test"] = Chosen(
                files.test, everything, torch.from_numpy(files.test.labels)
            )
        if held is not None:
            self._parts["validation"] = Chosen(files.train, held, labels[held])
        info = settings.info(files.class_names, files.size, self._train.labels)
        super().__init__(settings, info)
        tested = {name: part.labels for name, part in self._parts.items()}
        missing = missing_classes(info.name, info.class_names, self._train.labels, tested)
        self.warnings = (*files.warnings, *missing)
        self.normalisation = {"mean": list(files.mean), "std": list(files.std)}
        content = f"{files.train.sha256} {files.test.sha256 if 'test' in self._parts else ''}"
        self._identity = repr((files.mean, files.std, content_in_use(content, kept, held)))
        self._decoder = Decoder(files.size, files.margin, files.flip, files.as_shown)
        self._workers = workers
        self._normalise = Normalisation(files.mean, files.std)
        self._place(settings.device)

    @functools.cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        return hashlib.sha256(self._identity.encode()).hexdigest()

    @property
    def sizes(self) -> dict[str, int]:
        return {name: len(part.labels) for name, part in self._parts.items()}

    @property
    def shared_bytes(self) -> int:  # type: ignore[override]
        largest = max(self.info.batch_size, TEST_BATCH)
        return shared_bytes(self._workers, largest, self.info.image_size)

    def to(self, device: torch.device | str) -> StreamedData:
        moved = copy.copy(self)
        moved._place(torch.device(device))
        return moved

    def _place(self, device: torch.device) -> None:
        self._device = device
        self._normalise = self._normalise.to(device)
        self._loaders = Loaders(self._decoder, self._workers)

    def _train_batches(
        self, trial: int, epoch: int, steps: range, stream: Stream
    ) -> Iterator[Batch]:
        # int() because the seeds depend on the type's name: a NumPy integer would change them.
        where = (int(trial), stream.stage, int(epoch))
        order = self._order(where, stream)
        transforms = self._transforms(len(order), where, stream)
        rows = [self._rows(step, len(order)) for step in steps]
        requests = (self._requests(order, now, where, stream) for now, _ in rows)
        pixels = self._loaders.batches(requests, lambda: self.while_waiting())
        for step, (now, whole), views in zip(steps, rows, pixels, strict=True):
            views = send(views, self._device)
            images, *extra = (
                self._normalise(transform(views[:, k], now))
                for k, transform in enumerate(transforms)
            )
            labels, indices = self._sent(self.info.train_labels[order[now]], order[now])
            yield Batch(images, labels, indices, epoch, step, tuple(extra), whole)

    def _requests(
        self, order: Tensor, now: slice, where: Coordinates, stream: Stream
    ) -> list[Request]:
        """What the worker processes need for a batch: its files, and a seed per sample and view."""
        name = self.info.name
        purposes = ["augment", *(f"view {k} {view}" for k, view in enumerate(stream.views))]
        return [
            Request(
                self._train.path(int(index)),
                tuple(seed(name, purpose, *where, place) for purpose in purposes),
            )
            for place, index in enumerate(order[now].tolist(), start=now.start)
        ]

    def _test_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        part = self._parts[split]
        rows = list(self._test_rows(len(part.labels), batch_size))
        requests = ([Request(part.path(k)) for k in range(r.start, r.stop)] for _, r in rows)
        pixels = self._loaders.batches(requests, lambda: self.while_waiting())
        for (step, now), views in zip(rows, pixels, strict=True):
            images = self._normalise(send(views, self._device)[:, 0])
            indices = torch.arange(now.start, now.stop)
            labels, indices = self._sent(part.labels[now], indices)
            yield Batch(images, labels, indices, epoch=0, step=step)

    def _sent(self, *tensors: Tensor) -> list[Tensor]:
        return [send(tensor, self._device) for tensor in tensors]
