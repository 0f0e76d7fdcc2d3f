"""Contrastive pairs: for every sample of a batch, many training samples of other classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NegativeSampler(nn.Module):
    """Draws ``count`` indices per row, uniformly from the training samples of other classes.

    Without replacement where the other classes have that many samples, else with replacement. All
    random numbers come from a CPU generator, everything else happens on the labels' device, without
    waiting for it.

    Rows without replacement share one random permutation of the training samples: each takes the
    first ``count`` samples of other classes after a starting point of its own, in cyclic order.
    Seen from any point a random permutation is one, so every row by itself is a uniform subset; but
    two rows of a batch are not independent, as in RepDistiller, which permutes once per sample. The
    expected loss, a sum over rows, is the same.
    """

    order: Tensor  # (n,) all samples, by class
    starts: Tensor  # (C,) where in ``order`` a class begins
    sizes: Tensor  # (C,) how many samples it has
    labels: Tensor  # (n,)

    def __init__(self, labels: Tensor, num_classes: int, count: int) -> None:
        super().__init__()
        sizes = torch.bincount(labels, minlength=num_classes)
        # Not persistent: they are the data's, not the run's.
        self.register_buffer("labels", labels.clone(), persistent=False)
        self.register_buffer("order", labels.argsort(stable=True), persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("starts", sizes.cumsum(0) - sizes, persistent=False)
        self.count, self.largest = count, int(sizes.max())

    def draw(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 1 + count) indices for rows of the given classes (B,); column 0 is for the caller."""
        rows = self._distinct(classes, generator)
        if len(self.labels) - self.largest >= self.count:
            return rows
        too_few = len(self.labels) - self.sizes[classes] < self.count
        return torch.where(too_few[:, None], self._repeated(classes, generator), rows)

    def same_class(self, classes: Tensor, otherwise: Tensor, generator: torch.Generator) -> Tensor:
        """(B,) random samples of the given classes; ``otherwise`` where a class has none."""
        chance = torch.rand(len(classes), generator=generator, dtype=torch.float64)
        place = (_sent(chance, classes) * self.sizes[classes]).long()
        place = (self.starts[classes] + place).clamp(max=len(self.labels) - 1)
        return torch.where(self.sizes[classes] > 0, self.order[place], otherwise)

    def _distinct(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Windows of a permutation, in which a row's own class is exchanged for what comes next.

        Of the ``largest`` samples after a window, no more are of the row's class than the class has
        outside the window; so there are others enough for all of its own inside.
        """
        total, width = len(self.labels), 1 + self.count
        shuffled = _sent(torch.randperm(total, generator=generator), classes)
        begin = _sent(torch.randint(total, (len(classes),), generator=generator), classes)
        cyclic = shuffled.repeat(2 + (width + self.largest) // total)
        rows = cyclic.unfold(0, width, 1)[begin]
        spare = cyclic.unfold(0, self.largest, 1)[begin + width]

        position = torch.empty_like(shuffled).scatter_(0, shuffled, self._range(total))
        own, exists = self._members(classes)
        offset = (position[own] - begin[:, None]) % total
        inside = exists & (offset >= 1) & (offset < width)
        # The k-th own sample inside is replaced by the k-th spare one of another class. What is not
        # inside is written to column 0, which is the caller's.
        others = (self.labels[spare] != classes[:, None]).cumsum(dim=1)
        place = torch.searchsorted(others, inside.cumsum(dim=1)).clamp(max=self.largest - 1)
        return rows.scatter_(1, torch.where(inside, offset, 0), spare.gather(1, place))

    def _members(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, largest) samples of each row's class, and which of them exist."""
        column = self._range(self.largest)
        place = (self.starts[classes][:, None] + column).clamp(max=len(self.labels) - 1)
        return self.order[place], column < self.sizes[classes][:, None]

    def _repeated(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Independent draws: a place among the samples by class, the row's own class skipped."""
        total, sizes = len(self.labels), self.sizes[classes][:, None]
        shape = len(classes), 1 + self.count
        chance = torch.rand(shape, generator=generator, dtype=torch.float64)
        place = (_sent(chance, classes) * (total - sizes)).long()
        place = place + torch.where(place >= self.starts[classes][:, None], sizes, 0)
        return self.order[place.clamp(max=total - 1)]

    def _range(self, stop: int) -> Tensor:
        return torch.arange(stop, device=self.labels.device)


def _sent(drawn: Tensor, like: Tensor) -> Tensor:
    """Numbers from the CPU on the device of ``like``, without waiting for what it is doing."""
    if like.is_cuda:
        return drawn.pin_memory().to(like.device, non_blocking=True)
    return drawn.to(like.device)
