"""Randomness as a pure function of coordinates.

Every draw of the harness comes from a generator seeded by where it is used (data set, trial, epoch,
step, …), never by what was drawn before. So a run's numbers depend neither on the runs trained
beside it nor on interruptions. Generators are on the CPU, so every device gets the same numbers.
"""

from __future__ import annotations

import hashlib

import torch


def seed(*coordinates: str | int | None) -> int:
    """A 63-bit seed from coordinates, the same on every machine and in every Python."""
    text = "\x1f".join(f"{type(c).__name__}:{c}" for c in coordinates)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*coordinates: str | int | None) -> torch.Generator:
    """A CPU generator seeded from coordinates.

    >>> a, b = generator("order", 0, 1), generator("order", 0, 1)
    >>> torch.equal(torch.randperm(9, generator=a), torch.randperm(9, generator=b))
    True
    """
    return torch.Generator().manual_seed(seed(*coordinates))
