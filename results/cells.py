"""What a leaderboard is made of: one cell per run, and the scores of the teachers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from results.schema import Record

# States of a run, in the words of `status` (a test compares them).
DONE, TODO, UNSUPPORTED = "done", "to do", "n/a"
# No result comes of these by itself, so a table must not show them as "not there yet".
STUCK = (FAILED, BLOCKED, STALE, LOST) = ("failed", "blocked", "stale", "lost")


@dataclass(frozen=True)
class Cell:
    """One run of the table: its record once it is done, or its state and the reason for that.

    Without a ``state`` a cell is done, impossible or to do, by whether it has a record or a reason.
    ``run`` and ``spec`` describe a run that has no record. ``departs``: in what its recipe and data
    are not those of the table, as "recipe.epochs 120", "dataset.subset 5000".
    """

    pair: str
    method: str
    trial: int
    record: Record | None = None
    reason: str | None = None
    state: str = ""
    run: str = ""
    spec: Mapping[str, Any] | None = None
    departs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.state:
            state = DONE if self.record else UNSUPPORTED if self.reason else TODO
            object.__setattr__(self, "state", state)


def of_one_protocol(cells: Iterable[Cell]) -> list[Cell]:
    """The cells that may be compared: those of the table's own recipe and data."""
    return [cell for cell in cells if not cell.departs]


@dataclass(frozen=True)
class TeacherScores:
    """Accuracies of a pair's teacher in percent: one, or one per trial."""

    name: str
    accuracies: tuple[float, ...]


def is_missing(value: Any) -> bool:
    """Whether a data frame has no value there: None or NaN, which is not equal to itself."""
    return value is None or value != value
