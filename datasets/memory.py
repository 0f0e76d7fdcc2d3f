"""Small data sets: all images stay on the device as uint8, and batches are made there."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .augment import Augmentation, Normalisation, Rotation
from .base import Settings
from .batch import Batch, Stream
from .labels import missing_classes
from .randaugment import send
from .randomness import generator
from .splits import split_training
from .streams import Coordinates, PixelTransform, Streams


@dataclass(frozen=True)
class Part:
    """Images (N, 3, H, W) uint8, and the labels (n,) int64 of those that belong to the part.

    rows    indices (n,) of the images that belong; None: all, in order
    mapped  the images are in a memory-mapped file, and stay there while training on the CPU
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None
    mapped: bool = False

    def take(self, indices: Tensor) -> Part:
        labels = self.labels[indices]
        if not self.mapped:
            return Part(self.images[indices], labels)
        rows = indices if self.rows is None else self.rows[indices]
        return replace(self, labels=labels, rows=rows)

    def pick(self, places: Tensor | slice) -> Tensor:
        """The images at positions ``places`` of the part."""
        return self.images[places if self.rows is None else self.rows[places]]

    def to(self, device: torch.device | str) -> Part:
        if self.mapped and torch.device(device).type == "cpu":
            return self
        images = self.pick(slice(None)) if self.mapped else self.images
        return Part(images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Images:
    """An in-memory data set as read: two parts, and how to present them.

    mean, std      per channel, of pixels scaled to [0, 1]
    padding, flip  of the training augmentation
    rotation       degrees by which training rotates images instead of shifting them; 0: shift
    warnings       function that checks the files; called only when the warnings are read
    content        sha256 of the parts if known; otherwise it is computed when it is needed
    """

    train: Part
    test: Part
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int
    flip: bool
    warnings: Callable[[], tuple[str, ...]] = tuple
    rotation: float = 0
    content: str | None = None

    @property
    def augmentation(self) -> Augmentation | Rotation:
        if self.rotation:
            return Rotation(self.rotation, self.train.images.shape[-1], self.flip)
        return Augmentation(self.padding, self.flip)


@dataclass(frozen=True)
class EpochPlan:
    """An epoch, position by position: indices and labels (n,), and the views' random draws.

    draws       per view, the augmentation's draws (k, n) on the device
    transforms  per view, the pixel transform after the augmentation
    """

    indices: Tensor
    labels: Tensor
    draws: tuple[Tensor, ...]
    transforms: tuple[PixelTransform, ...]


class MemoryData(Streams):
    """A `Data` whose images are kept as uint8 and augmented in one batched gather per view.

    On the CPU, memory-mapped images stay in their file: only those of a batch are read and padded.
    """

    def __init__(self, settings: Settings, images: Images) -> None:
        kept, held = split_training(settings, images.train.labels)
        whole = len(kept) == len(images.train.labels)
        train = images.train if whole else images.train.take(kept)
        is_tested = settings.scored_on == "test"
        self._parts = {"test": images.test} if is_tested else {}
        if held is not None:
            self._parts["validation"] = images.train.take(held)
        side = train.images.shape[-1]
        super().__init__(settings, settings.info(images.class_names, side, train.labels))
        self._find_warnings = images.warnings
        self._constants = (images.mean, images.std)
        self.normalisation = {"mean": list(images.mean), "std": list(images.std)}
        self._content = images.content and content_in_use(images.content, kept, held)
        if self._content and not is_tested:
            self._content = f"{self._content} without its test part"
        self._augmentation = images.augmentation
        self._normalise = Normalisation(images.mean, images.std)
        self._train = train if train.mapped else self._padded(train)
        self._place(settings.device)

    # Both read all of the data, which takes seconds, so they are computed only when needed.

    @functools.cached_property
    def warnings(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self._find_warnings(), *self._missing_classes())

    @functools.cached_property
    def fingerprint(self) -> str:  # type: ignore[override]
        if self._content is not None:
            text = repr((*self._constants, self._content))
            return hashlib.sha256(text.encode()).hexdigest()
        train = Part(self._augmentation.unpad(self._train.images), self.info.train_labels)
        return fingerprint({"train": train, **self._parts}, *self._constants)

    def to(self, device: torch.device | str) -> MemoryData:
        moved = copy.copy(self)
        moved._place(torch.device(device))
        return moved

    def _padded(self, part: Part) -> Part:
        return Part(self._augmentation.pad(part.images), part.labels)

    def _place(self, device: torch.device) -> None:
        self._device = device
        moved = self._train.to(device)
        # Mapped images are padded batch by batch; copied to a device, all at once.
        was_copied_from_file = self._train.mapped and not moved.mapped
        self._train = self._padded(moved) if was_copied_from_file else moved
        self._parts = {name: part.to(device) for name, part in self._parts.items()}
        self._normalise = self._normalise.to(device)

    def _missing_classes(self) -> tuple[str, ...]:
        tested = {name: part.labels for name, part in self._parts.items()}
        return missing_classes(
            self.info.name, self.info.class_names, self.info.train_labels, tested
        )

    @property
    def sizes(self) -> dict[str, int]:
        return {name: len(part.labels) for name, part in self._parts.items()}

    def _test_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        part = self._parts[split]
        indices = torch.arange(len(part.labels), device=self._device)
        for step, now in self._test_rows(len(indices), batch_size):
            images = self._normalise(part.pick(now))
            yield Batch(images, part.labels[now], indices[now], epoch=0, step=step)

    def _train_batches(
        self, trial: int, epoch: int, steps: range, stream: Stream
    ) -> Iterator[Batch]:
        # int() because the seeds depend on the type's name: a NumPy integer would change them.
        plan = self._plan((int(trial), stream.stage, int(epoch)), stream)
        for step in steps:
            now, whole = self._rows(step, len(plan.indices))
            indices = plan.indices[now]
            images, *views = (
                self._normalise(transform(self._view(indices, draws[:, now]), now))
                for draws, transform in zip(plan.draws, plan.transforms, strict=True)
            )
            yield Batch(images, plan.labels[now], indices, epoch, step, tuple(views), whole)

    def _view(self, indices: Tensor, draws: Tensor) -> Tensor:
        if not self._train.mapped:
            return self._augmentation.apply(self._train.images, indices, draws)
        read = self._augmentation.pad(self._train.pick(indices))
        return self._augmentation.apply(read, torch.arange(len(read)), draws)

    def _plan(self, where: Coordinates, stream: Stream) -> EpochPlan:
        """Draw the whole epoch on the CPU, whatever its first step, and send it to the device."""
        indices = self._order(where, stream)
        purposes = ["augment", *(f"view {k} {view}" for k, view in enumerate(stream.views))]
        draws = [
            self._augmentation.draw(len(indices), generator(self.info.name, purpose, *where))
            for purpose in purposes
        ]
        labels = self.info.train_labels[indices]
        sent = [send(tensor, self._device) for tensor in (indices, labels, *draws)]
        transforms = self._transforms(len(indices), where, stream)
        return EpochPlan(sent[0], sent[1], tuple(sent[2:]), transforms)


def content_in_use(content: str, kept: Tensor, held: Tensor | None) -> str:
    """The hash of the images in use, from that of all images and which are kept and held out."""
    digest = hashlib.sha256(content.encode())
    for part in (kept, held if held is not None else kept[:0]):
        digest.update(f" {len(part)} ".encode() + part.numpy().tobytes())
    return digest.hexdigest()


def fingerprint(parts: Mapping[str, Part], mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """sha256 of all images and labels, and of the normalisation constants."""
    digest = hashlib.sha256(repr((mean, std)).encode())
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {tuple(part.images.shape)}".encode())
        for tensor in (part.images, part.labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
