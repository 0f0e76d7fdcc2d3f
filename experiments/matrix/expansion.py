"""What a matrix expands to: all its runs, as pure data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.matrix.run_spec import DataSpec, RunSpec


@dataclass(frozen=True)
class Facts:
    """What expansion needs from the disk."""

    teacher_sha256: Mapping[str, str] = field(default_factory=dict)  # teacher -> hash of its file
    content: str | None = None  # hash of a user's own data
    # … of any part of them, which is read for it; None where the data are not a user's own
    content_of: Callable[[DataSpec], str] | None = None


@dataclass(frozen=True)
class Entry:
    """A run, with the pair and the label under which tables show it.

    family  label of the matrix's entry that this is a variant of; empty: of none
    values  what the variant sets: (("kd_temperature", 2.0), ("recipe.epochs", 60))
    """

    spec: RunSpec
    pair: str
    label: str
    family: str = ""
    values: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A run of the search stage: configuration ``number`` of the entry ``label``; 0 is its own."""

    spec: RunSpec
    pair: str
    label: str
    number: int


@dataclass(frozen=True)
class Choice:
    """One choice among configurations, on one pair or over several.

    id       ten hex digits over ``runs``; placeholders name it (`RunSpec.choice`)
    options  of each configuration, resolved
    runs     of each configuration, the ids of the runs of the search stage
    """

    id: str
    label: str
    pairs: tuple[str, ...]
    options: tuple[Mapping[str, Any], ...]
    runs: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Expansion:
    """All runs of a matrix. ``teachers`` are the runs that others learn from.

    candidates, choices  of a matrix that tunes: the runs of the search stage, and what is chosen
    sent_as  of runs whose options have been chosen: (run, the placeholder that jobs knew it by)
    """

    entries: tuple[Entry, ...]
    teachers: tuple[RunSpec, ...]
    candidates: tuple[Candidate, ...] = ()
    choices: tuple[Choice, ...] = ()
    sent_as: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> set[str]:
        """The ids of all runs, and what jobs call those that were sent before their choice."""
        return {spec.id for spec in self.runs} | {name for _, name in self.sent_as}

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Every run once, teachers first."""
        specs = [
            *self.teachers,
            *(candidate.spec for candidate in self.candidates),
            *(entry.spec for entry in self.entries),
        ]
        return tuple({spec.id: spec for spec in specs}.values())
