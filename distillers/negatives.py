"""Negatives for contrastive methods: per sample, many training samples of other classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NegativeSampler(nn.Module):
    """Draws ``count`` indices per row, uniformly from the training samples of other classes.

    Draws are without replacement where the other classes have enough samples, else with it. Random
    numbers come from a CPU generator; everything else runs on the labels' device without
    synchronising with it.

    Rows drawn without replacement share one random permutation of the training samples: each takes
    the first ``count`` samples of other classes after its own random starting point, in cyclic
    order. A random permutation rotated to any start is still uniform, so each row by itself is a
    uniform subset. Two rows of a batch are not independent, unlike in RepDistiller, which permutes
    once per sample; the expected loss, a sum over rows, is the same.
    """

    order: Tensor  # (n,) all samples, sorted by class
    starts: Tensor  # (C,) where each class begins in ``order``
    sizes: Tensor  # (C,) samples per class
    labels: Tensor  # (n,)

    def __init__(self, labels: Tensor, num_classes: int, count: int) -> None:
        super().__init__()
        sizes = torch.bincount(labels, minlength=num_classes)
        # Not persistent: they can be recomputed from the data.
        self.register_buffer("labels", labels.clone(), persistent=False)
        self.register_buffer("order", labels.argsort(stable=True), persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        self.count, self.largest = count, int(sizes.max())

    def draw(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 1 + count) indices for anchors of these classes (B,); the caller fills column 0."""
        rows = self._distinct(classes, generator)
        if len(self.labels) - self.largest >= self.count:
            return rows
        too_few = len(self.labels) - self.sizes[classes] < self.count
        return torch.where(too_few[:, None], self._repeated(classes, generator), rows)

    def same_class(self, classes: Tensor, otherwise: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) random samples of the given classes; ``otherwise`` where a class has none."""
        chance = torch.rand(len(classes), generator=generator, dtype=torch.float64)
        place = (_to_device_of(classes, chance) * self.sizes[classes]).long()
        place = (self.starts[classes] + place).clamp(max=len(self.labels) - 1)
        return torch.where(self.sizes[classes] > 0, self.order[place], otherwise)

    def _distinct(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Windows of a permutation, with samples of the row's own class replaced by later ones.

        The spares are the ``largest`` samples after a window. At most as many of them have the
        row's class as that class has outside the window, so enough are left for those inside.
        """
        total, width = len(self.labels), 1 + self.count
        shuffled = _to_device_of(classes, torch.randperm(total, generator=generator))
        begin = _to_device_of(classes, torch.randint(total, (len(classes),), generator=generator))
        # Repeated often enough for a window and its spares to begin at the last sample.
        cyclic = shuffled.repeat(2 + (width + self.largest) // total)
        rows = cyclic.unfold(0, width, 1)[begin]  # (B, width)
        spare = cyclic.unfold(0, self.largest, 1)[begin + width]  # (B, largest)

        # The inverse permutation: where each sample is in ``shuffled``.
        position = torch.empty_like(shuffled).scatter_(0, shuffled, self._range(total))
        own, exists = self._members(classes)
        offset = (position[own] - begin[:, None]) % total
        inside = exists & (offset >= 1) & (offset < width)
        # The k-th own sample inside is replaced by the k-th spare of another class. Own samples
        # outside the window are written to column 0, which the caller overwrites.
        others = (self.labels[spare] != classes[:, None]).cumsum(dim=1)
        place = torch.searchsorted(others, inside.cumsum(dim=1)).clamp(max=self.largest - 1)
        return rows.scatter_(1, torch.where(inside, offset, 0), spare.gather(1, place))

    def _members(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, largest) samples of each row's class, and a mask of those that exist."""
        column = self._range(self.largest)
        place = (self.starts[classes][:, None] + column).clamp(max=len(self.labels) - 1)
        return self.order[place], column < self.sizes[classes][:, None]

    def _repeated(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Independent draws from the samples in class order, skipping the row's own class."""
        total, sizes = len(self.labels), self.sizes[classes][:, None]
        shape = len(classes), 1 + self.count
        chance = torch.rand(shape, generator=generator, dtype=torch.float64)
        place = (_to_device_of(classes, chance) * (total - sizes)).long()
        # Places from the start of the row's own class on jump over it.
        place = place + torch.where(place >= self.starts[classes][:, None], sizes, 0)
        return self.order[place.clamp(max=total - 1)]

    def _range(self, stop: int) -> Tensor:
        return torch.arange(stop, device=self.labels.device)


def _to_device_of(like: Tensor, drawn: Tensor) -> Tensor:
    """CPU numbers copied to the device of ``like`` without synchronising with it."""
    if like.is_cuda:
        # Only a copy from pinned memory is asynchronous.
        return drawn.pin_memory().to(like.device, non_blocking=True)
    return drawn.to(like.device)
