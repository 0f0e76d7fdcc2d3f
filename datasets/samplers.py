"""Fixed stratified selections of samples, and the two samplers that order an epoch."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .batch import Stream
from .errors import DataError, near

CLASSES_PER_BATCH = 8  # of a balanced batch: 8 classes × 8 samples at the usual batch size of 64


def stratified(labels: Tensor, count: int, generator: Generator) -> Tensor:
    """Choose ``count`` of the samples with ``labels`` (N,), in proportion to their classes.

    Fractions are rounded by the largest remainders. Returns sorted indices (count,).
    """
    total = len(labels)
    _, sizes = labels.unique(return_counts=True)  # classes in ascending order
    quotas = sizes * count // total
    remainders = sizes * count % total
    largest = remainders.argsort(descending=True, stable=True)
    quotas[largest[: count - int(quotas.sum())]] += 1

    shuffled = torch.randperm(total, generator=generator)
    grouped = shuffled[labels[shuffled].argsort(stable=True)]  # by class, in random order within
    starts = sizes.cumsum(0) - sizes
    # The place of each sample among those of its class, of which the first ``quotas`` are taken.
    rank = torch.arange(total) - starts.repeat_interleave(sizes)
    return grouped[rank < quotas.repeat_interleave(sizes)].sort().values


def distinct(sizes: Tensor, count: int, generator: Generator) -> Tensor:
    """For each n in ``sizes`` (R,), ``count`` distinct numbers 0 ≤ i < n: (R, count).

    Uniform and in random order. Numbers repeat only in rows with n < count.
    """
    draws = torch.rand(len(sizes), count, generator=generator, dtype=torch.float64)
    # The k-th number is drawn among the n - k not yet taken, then moved up past those taken.
    picks = (draws * (sizes[:, None] - torch.arange(count)).clamp(min=1)).long()
    for k in range(1, count):
        for taken in picks[:, :k].sort(dim=1).values.unbind(1):
            picks[:, k] += picks[:, k] >= taken
    repeating = (draws * sizes[:, None]).long()
    return torch.where((sizes < count)[:, None], repeating, picks)


class PlainSampler:
    """Every sample once per epoch, in random order, with the last partial batch."""

    def __init__(self, labels: Tensor, batch_size: int) -> None:
        self.total = len(labels)
        self.steps = -(-self.total // batch_size)

    def draw(self, generator: Generator) -> Tensor:
        """Indices (N,) of an epoch, batch after batch."""
        return torch.randperm(self.total, generator=generator)


class BalancedSampler:
    """Batches of 8 classes (all, if fewer) × as many samples of each, drawn independently.

    Classes are drawn uniformly without replacement, and so are samples within a class unless it has
    too few; then the batch is shuffled. An epoch has floor(N / batch size) batches, but at least
    one, and need not cover the set. If the number of classes does not divide the batch size, some
    classes have one sample more. Source: GKD-FD, sampling.

    labels (N,) are on the CPU. Raises DataError if a batch cannot hold one sample of each class.
    """

    def __init__(self, labels: Tensor, batch_size: int) -> None:
        sizes = labels.bincount()
        self.members = labels.argsort(stable=True)  # indices, class after class
        self.starts = (sizes.cumsum(0) - sizes)[sizes > 0]
        self.sizes = sizes[sizes > 0]  # a class without samples is never drawn
        self.batch_size = batch_size
        self.classes = min(CLASSES_PER_BATCH, len(self.sizes))
        self.steps = max(1, len(labels) // batch_size)
        if batch_size < self.classes:
            raise DataError(
                f"batch size {batch_size}: the balanced sampler draws {self.classes} classes per "
                f"batch, so it needs at least {self.classes}"
            )

    def draw(self, generator: Generator) -> Tensor:
        """Indices (steps × batch size,) of an epoch, batch after batch."""
        # Sorting random keys permutes every row independently; ties are practically impossible.
        keys = torch.rand(self.steps, len(self.sizes), generator=generator, dtype=torch.float64)
        classes = keys.argsort(dim=1)[:, : self.classes]
        per_class = -(-self.batch_size // self.classes)
        picks = distinct(self.sizes[classes.flatten()], per_class, generator)
        places = self.starts[classes][..., None] + picks.view(*classes.shape, per_class)
        # Sample k of every class comes before sample k + 1 of any, so truncation keeps the balance.
        batches = self.members[places].transpose(1, 2).flatten(1)[:, : self.batch_size]
        keys = torch.rand(batches.shape, generator=generator, dtype=torch.float64)
        return batches.gather(1, keys.argsort(dim=1)).flatten()


Sampler = PlainSampler | BalancedSampler
SAMPLERS: dict[str, type[BalancedSampler]] = {"balanced": BalancedSampler}


def make(stream: Stream, labels: Tensor, batch_size: int) -> Sampler:
    """The sampler of ``stream`` for samples with ``labels`` (N,)."""
    if stream.sampler is None:
        return PlainSampler(labels, batch_size)
    if stream.sampler not in SAMPLERS:
        raise DataError(f"unknown sampler {stream.sampler!r}: {near(stream.sampler, SAMPLERS)}")
    return SAMPLERS[stream.sampler](labels, batch_size)
