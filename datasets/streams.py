"""The part shared by both kinds of data sets: order, steps, and each process's rows of a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from . import samplers
from .base import MAIN, TEST_BATCH, Data, Settings
from .batch import Batch, Info, Stream
from .errors import DataError, near
from .randaugment import Strong
from .randomness import generator

# Extra views: the standard augmentation drawn again, then this transform of its pixels.
VIEWS: dict[str, Strong | None] = {"weak": None, "strong": Strong()}
MIN_SAMPLES = 2  # per batch and process: batch normalisation cannot train on one

Coordinates = tuple[int, str, int]  # trial, stage, epoch


@dataclass(frozen=True)
class PixelTransform:
    """The transform of a view's pixels, with its draws (k, n) for an epoch, on the CPU."""

    strong: Strong | None = None
    draws: Tensor | None = None

    def __call__(self, images: Tensor, now: slice) -> Tensor:
        """Transform the uint8 images (B, 3, H, W) at positions ``now`` of the epoch."""
        if self.strong is None or self.draws is None:
            return images
        return self.strong.apply(images, self.draws[:, now])


class Streams(Data):
    """A `Data` that checks its arguments and determines the samples of each batch.

    With ``settings.shard = (rank, world)`` every process draws the same global batches and keeps
    its own rows, so neither order nor augmentation depends on the number of processes.
    """

    def __init__(self, settings: Settings, info: Info) -> None:
        self.info = info
        self._shard = settings.shard
        self.scored_on = settings.scored_on
        self._device = settings.device
        self._samplers: dict[str | None, samplers.Sampler] = {}
        world = self._shard[1]
        least = MIN_SAMPLES * world
        for what, size in ("batch_size", info.batch_size), ("training images", info.train_size):
            if world > 1 and size < least:
                raise DataError(
                    f"{info.name}: {what} = {size}: {world} processes need at least {least}"
                )

    def steps_per_epoch(self, stream: Stream = MAIN) -> int:
        sampler, world = self._sampler(stream), self._shard[1]
        last = (self.info.train_size - 1) % self.info.batch_size + 1
        # Only the plain sampler has a partial batch. It is left out where a process would get too
        # few samples of it.
        partial = isinstance(sampler, samplers.PlainSampler)
        short = partial and world > 1 and last < MIN_SAMPLES * world
        return sampler.steps - short

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

    def test_batches(
        self, split: str | None = None, batch_size: int = TEST_BATCH
    ) -> Iterator[Batch]:
        split = self.scored_on if split is None else split
        if split not in self.sizes:
            if split == "validation":
                raise DataError(
                    f"{self.info.name}: no validation part: none was held out (validation: N)"
                )
            if split == "test":
                raise DataError(
                    f"{self.info.name}: no test part: it is scored on the held-out part"
                )
            expected = near(split, ("test", "validation"))
            raise DataError(f"{self.info.name}: unknown split {split!r}: {expected}")
        return self._test_batches(split, batch_size)

    @abstractmethod
    def _train_batches(
        self, trial: int, epoch: int, steps: range, stream: Stream
    ) -> Iterator[Batch]:
        """The batches ``steps`` of an epoch."""

    @abstractmethod
    def _test_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """This process's batches of a part, in order."""

    def _order(self, where: Coordinates, stream: Stream) -> Tensor:
        """Indices (n,) of an epoch, batch after batch; always drawn whole, whatever its start."""
        draws = generator(self.info.name, stream.sampler or "order", *where)
        return self._sampler(stream).draw(draws)

    def _transforms(
        self, total: int, where: Coordinates, stream: Stream
    ) -> tuple[PixelTransform, ...]:
        """The transforms of the images and of each view, for an epoch of ``total`` samples."""
        transforms = [PixelTransform()]
        for k, view in enumerate(stream.views):
            strong = VIEWS[view]
            draws = generator(self.info.name, f"view {k} {view} pixels", *where)
            drawn = (strong, strong.draw(total, draws)) if strong else ()
            transforms.append(PixelTransform(*drawn))
        return tuple(transforms)

    def _rows(self, step: int, total: int) -> tuple[slice, int]:
        """This process's positions in an epoch of ``total``, and the global batch's size."""
        start = step * self.info.batch_size
        whole = min(self.info.batch_size, total - start)
        mine = share(whole, self._shard)
        return slice(start + mine.start, start + mine.stop), whole

    def _sampler(self, stream: Stream) -> samplers.Sampler:
        """Built once per kind, because the balanced one sorts all labels."""
        if stream.sampler not in self._samplers:
            sampler = samplers.make(stream, self.info.train_labels, self.info.batch_size)
            self._samplers[stream.sampler] = sampler
        return self._samplers[stream.sampler]

    def _test_rows(self, total: int, batch_size: int) -> Iterator[tuple[int, slice]]:
        """Step and positions of this process's batches of a part of ``total`` images."""
        rank, world = self._shard
        for step in range(rank, -(-total // batch_size), world):  # the last batch may be partial
            yield step, slice(step * batch_size, min(total, (step + 1) * batch_size))


def share(count: int, shard: tuple[int, int]) -> slice:
    """The rows of process ``rank`` of ``world`` among ``count``, as torch.tensor_split divides.

    >>> [share(5, (rank, 2)) for rank in (0, 1)]
    [slice(0, 3, None), slice(3, 5, None)]
    """
    rank, world = shard
    each, more = divmod(count, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))
