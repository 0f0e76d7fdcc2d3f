"""What a report is made from: leaderboards, facts about their methods, and their runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from results.leaderboard import Leaderboard
from results.schema import Record, Start

TEACHER = "Teacher"  # the label of the teachers' own runs, and of their row in tables


@dataclass(frozen=True)
class Option:
    """An option of a method as it was used; all texts as YAML has them."""

    name: str
    value: str
    default: str
    expected: str = ""  # which values it takes, in words


@dataclass(frozen=True)
class MethodFacts:
    """What is known of the method of one row; texts are empty where it is not known here.

    family      "logits", "features", "relations between images", "no teacher"
    reads       what it reads of the teacher: "logits", "features", …
    beyond      why it computes more than the recipe implies; empty: compute-matched
    demands     what else it needs, as headings and texts
    formula     plain text: formula, shapes, source, where it differs from the reference
    options     all options of the row; those of single pairs are in ``exceptions``
    exceptions  pair -> options that only it has, e.g. "beta 2.0"
    lines       the row as the entry of a matrix, in YAML
    """

    label: str
    name: str = ""
    title: str = ""
    family: str = ""
    reads: Sequence[str] = ()
    beyond: Sequence[str] = ()
    demands: Sequence[tuple[str, str]] = ()
    paper: str = ""
    reference: str = ""  # the paper's title
    arxiv: str = ""
    venue: str = ""
    year: str = ""
    formula: str = ""
    bibtex: str = ""
    options: Sequence[Option] = ()
    exceptions: Mapping[str, str] = field(default_factory=dict)
    lines: str = ""


@dataclass(frozen=True)
class Run:
    """One run, done or not. ``pair`` as tables print it; ``label`` is its row, or TEACHER.

    state, reason  in the words of `status`
    starts         every start: of the record, else of the log of starts
    error          all that its error.txt says
    directory      where its files are; "" for one of a board file
    weights        the file of a finished one's weights; "" likewise
    """

    id: str
    pair: str
    label: str
    trial: int
    state: str
    reason: str = ""
    epoch: int = 0  # epochs done
    epochs: int = 0  # planned
    spec: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None
    starts: Sequence[Start] = ()
    error: str = ""
    directory: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Step:
    """One thing that a person can do next: why, and the command."""

    reason: str
    command: str


@dataclass(frozen=True)
class Progress:
    """How far a matrix is.

    source  the matrix file as it was named
    counts  state -> number of runs, in the order of `status`
    groups  (pair, label, "2/3 done, 1 running (epoch 17/240, 3 hours left)")
    steps   what is to do, in the order in which to do it; empty when all is done
    active  whether something may still change by itself: runs to do, in the queue or running
    """

    source: str
    counts: Mapping[str, int]
    groups: Sequence[tuple[str, str, str]]
    steps: Sequence[Step] = ()
    active: bool = False


def no_history(run: str) -> str:
    """The history of runs of which none is known."""
    return ""


@dataclass(frozen=True, eq=False)
class Content:
    """One board of a report. Two of them are never equal, so that one can be a key of a cache.

    name       a short name, unique in the report: "digits"
    board      its leaderboard; records have their measures, where there are any
    methods    by label, of every row of the board
    runs       of every cell of the board once, and the teachers trained for it
    history    run id -> the text of its history.csv, "" where there is none
    progress   of a matrix; None for a board file
    classes    names of the classes by number; empty where they are not known
    train      the command that trains this matrix; "" of a board file
    again      the same for other runs than these: a directory of its own
    """

    name: str
    board: Leaderboard
    methods: Mapping[str, MethodFacts]
    runs: Sequence[Run]
    history: Callable[[str], str] = no_history
    progress: Progress | None = None
    classes: Sequence[str] = ()
    train: str = ""
    again: str = ""
