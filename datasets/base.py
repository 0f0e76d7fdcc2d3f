"""What every data set is: its `Info`, and batches as a pure function of where training stands."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .batch import Batch, Info, Stream
from .errors import DataError

MAIN = Stream()  # every sample once per epoch, no extra views


@dataclass(frozen=True)
class Settings:
    """What `build` was asked for, beside the data set's own options.

    subset      train on a stratified selection of that many images, the same for every trial
    validation  hold out that many images (int), or that part (0 < float < 1), of the training part
    shard       (rank, world): of every batch the rows of process ``rank`` among ``world``
    """

    name: str
    root: Path
    subset: int | None = None
    validation: int | float | None = None
    batch_size: int = 64
    epochs: int = 240
    device: torch.device = torch.device("cpu")  # noqa: RUF009  (immutable)
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        for key in ("batch_size", "epochs", "subset"):
            value = getattr(self, key)
            if value is None and key == "subset":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise DataError(f"{self.name}: {key} = {value!r}: expected a whole number from 1")
        rank, world = self.shard
        if not 0 <= rank < world:
            raise DataError(
                f"{self.name}: shard = {self.shard}: expected (rank, world), rank < world"
            )

    def info(self, class_names: tuple[str, ...], image_size: int, train_labels: Tensor) -> Info:
        """The `Info` of a data set of these settings; ``train_labels`` (N,) is what remains."""
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


class Data(ABC):
    """A data set of one benchmark: a training part, a test part, perhaps a validation part.

    info         describes the training part as it is trained on
    warnings     what a reader of the results should know about the files; stored with them
    fingerprint  sha256 of the images and labels of all parts in use; of sets that stay in their
                 files (ImageNet) of the files' names and sizes
    """

    info: Info
    warnings: tuple[str, ...] = ()
    fingerprint: str

    @property
    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Number of images of the parts to test on: "test", and "validation" where held out."""

    @abstractmethod
    def steps_per_epoch(self, stream: Stream = MAIN) -> int:
        """Number of batches of ``stream`` in an epoch."""

    @abstractmethod
    def train_stream(
        self, trial: int, epoch: int, start_step: int = 0, stream: Stream = MAIN
    ) -> Iterator[Batch]:
        """The batches of an epoch (from 1), from ``start_step`` (from 0) on.

        The same arguments give the same batches, whatever was drawn before. Of ``world`` processes
        each gets its rows, ``torch.tensor_split(batch, world)[rank]``; a last batch without two
        samples for every process is left out. ``batch.whole`` is the size of the global batch.
        Raises DataError for a sampler, view or step that there is not.
        """

    @abstractmethod
    def test_batches(self, split: str = "test", batch_size: int = 250) -> Iterator[Batch]:
        """The "test" or "validation" part in its order, not augmented; ``epoch`` is 0.

        ``indices`` count within that part. Of ``world`` processes each gets every world-th batch.
        Raises DataError for a split that there is not.
        """

    @abstractmethod
    def to(self, device: torch.device | str) -> Data:
        """The same data set, its batches on ``device``."""
