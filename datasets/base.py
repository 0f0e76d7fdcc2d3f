"""The interface of a data set: its `Info`, and batches that depend on (trial, epoch, step) only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .batch import Batch, Info, Stream
from .errors import DataError, near

TEST_BATCH = 250  # images of a batch to test on
MAIN = Stream()  # every sample once per epoch, no extra views


@dataclass(frozen=True)
class Settings:
    """The arguments of `build` that all data sets share.

    subset      train on a stratified selection of that many images, the same for every trial
    validation  hold out that many images (int) or that fraction (0 < float < 1) for validation
    shard       (rank, world): return only process ``rank``'s rows of every batch, among ``world``
    scored_on   the part that accuracies are of; under "validation" there is no test part
    """

    name: str
    root: Path
    subset: int | None = None
    validation: int | float | None = None
    batch_size: int = 64
    epochs: int = 240
    device: torch.device = torch.device("cpu")  # noqa: RUF009  (immutable)
    shard: tuple[int, int] = (0, 1)
    scored_on: str = "test"

    def __post_init__(self) -> None:
        for key in ("batch_size", "epochs", "subset"):
            value = getattr(self, key)
            if value is None and key == "subset":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DataError(f"{self.name}: {key} = {value!r}: expected a whole number from 1")
        if self.scored_on not in ("test", "validation"):
            expected = near(self.scored_on, ("test", "validation"))
            raise DataError(f"{self.name}: scored_on = {self.scored_on!r}: {expected}")
        if self.scored_on == "validation" and self.validation is None:
            raise DataError(f"{self.name}: scored_on = 'validation': expected validation, too")
        rank, world = self.shard
        if not 0 <= rank < world:
            expected = "expected (rank, world), 0 ≤ rank < world"
            raise DataError(f"{self.name}: shard = {self.shard}: {expected}")

    def info(self, class_names: tuple[str, ...], image_size: int, train_labels: Tensor) -> Info:
        """The `Info` of a data set; ``train_labels`` (N,) are those after hold-out and subset."""
        return Info(
            name=self.name,
            num_classes=len(class_names),
            image_size=image_size,
            class_names=class_names,
            train_size=len(train_labels),
            train_labels=train_labels.cpu().long(),
            batch_size=self.batch_size,
            epochs=self.epochs,
        )


def _go_on() -> None:
    """Wait on."""


class Data(ABC):
    """A data set: a training part, a test part and, if held out, a validation part.

    One that is scored on its validation part has no test part: nothing can read it.

    info         describes the training part after hold-out and subset
    warnings     what a reader of the results should know about the files; stored with the results
    fingerprint  sha256 of the images and labels of all parts in use; for data sets streamed from
                 their files (ImageNet), of the files' names and sizes
    shared_bytes memory that decoding processes share with the trainer, at most, per view
    normalisation  {"mean": three numbers, "std": three numbers} of pixels in 0…1, red first: images
                 are (pixels - mean) / std; None where that is unknown
    scored_on    the part that accuracies are of: "test", or "validation"
    """

    info: Info
    warnings: tuple[str, ...] = ()
    fingerprint: str
    shared_bytes: int = 0
    scored_on: str = "test"
    # Called about twice a second while a batch is awaited; what it raises ends the wait.
    while_waiting: Callable[[], None] = staticmethod(_go_on)
    normalisation: Mapping[str, list[float]] | None = None

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Number of images of the parts to test on: "test" and, if held out, "validation"."""

    @property
    def scored(self) -> int:
        """Number of images of the part that accuracies are of."""
        return self.sizes[self.scored_on]

    @property
    def epoch_split(self) -> str:
        """The part that every epoch is scored on: what is held out, if anything is, else the test
        part. Where it is not `scored_on`, the latter is read once, after the last epoch."""
        return "validation" if "validation" in self.sizes else "test"

    @abstractmethod
    def steps_per_epoch(self, stream: Stream = MAIN) -> int:
        """Number of batches in an epoch of ``stream``."""

    @abstractmethod
    def train_stream(
        self, trial: int, epoch: int, start_step: int = 0, stream: Stream = MAIN
    ) -> Iterator[Batch]:
        """The batches of an epoch (counted from 1) beginning at ``start_step`` (counted from 0).

        The same arguments give the same batches, whatever was drawn before. Each of ``world``
        processes gets its rows, ``torch.tensor_split(batch, world)[rank]``; a last batch with fewer
        than two samples per process is left out. ``batch.whole`` is the size of the global batch.
        Raises DataError for an unknown sampler or view, or a step outside the epoch.
        """

    @abstractmethod
    def test_batches(
        self, split: str | None = None, batch_size: int = TEST_BATCH
    ) -> Iterator[Batch]:
        """The "test" or "validation" part in order, not augmented; ``epoch`` is 0.

        The default is the part that accuracies are of. ``indices`` count within the part. Each of
        ``world`` processes gets every world-th batch.
        Raises DataError for an unknown split.
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> Data:
        """The same data set with its batches on ``device``."""
