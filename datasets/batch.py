"""The plain types passed from the data to the trainer and the methods."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Info:
    """What a method may know about the data and the schedule.

    train_size, train_labels (LongTensor on the CPU) describe the training part after any hold-out
    or subset; batch_size and epochs are those of the recipe.
    """

    name: str
    num_classes: int
    image_size: int
    class_names: tuple[str, ...]
    train_size: int
    train_labels: Tensor
    batch_size: int = 64
    epochs: int = 240


@dataclass(frozen=True)
class Batch:
    """One training step's data.

    images   (B, 3, H, W) float, normalised
    labels   (B,) class numbers, or soft labels (B, C)
    indices  (B,) into the training part
    epoch    counted from 1; step from 0
    views    further images (B, 3, H, W) of the same samples, one per extra view
    whole    size of the global batch over all processes; 0 if this batch is the whole one
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    epoch: int
    step: int
    views: tuple[Tensor, ...] = ()
    whole: int = 0

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Stream:
    """The kind of batches a run consumes; runs with equal streams share them.

    sampler  None: every sample once per epoch, in random order, with the last partial batch;
             "balanced": classes × samples per class, drawn independently for each batch
    views    names of the extra views
    stage    "main", or "initial" for the stage that some methods train before it
    """

    sampler: str | None = None
    views: tuple[str, ...] = ()
    stage: str = "main"
