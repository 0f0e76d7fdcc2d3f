"""What a leaderboard is made of: one cell per run, and the teachers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One run of the table: its record once it is done, or the reason why it cannot be."""

    pair: str
    method: str
    trial: int
    record: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Teacher:
    """Accuracy in per cent over the teachers of a pair: one, or one per trial."""

    name: str
    accuracies: tuple[float, ...]


def is_missing(value: Any) -> bool:
    """Whether a frame has no value there: None or NaN, which alone is not equal to itself."""
    return value is None or value != value
