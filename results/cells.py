"""What a leaderboard is made of: one cell per run, and the scores of the teachers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from results.schema import Record


@dataclass(frozen=True)
class Cell:
    """One run of the table: its record once it is done, or the reason why it cannot be."""

    pair: str
    method: str
    trial: int
    record: Record | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TeacherScores:
    """Accuracies of a pair's teacher in percent: one, or one per trial."""

    name: str
    accuracies: tuple[float, ...]


def is_missing(value: Any) -> bool:
    """Whether a data frame has no value there: None or NaN, which is not equal to itself."""
    return value is None or value != value
