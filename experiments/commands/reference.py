"""Rows of finished runs of others beside a table's own: `table --reference`.

A run joins where everything but its method is the same, see `protocol`. What differs is left out
by name, never mixed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.commands.reference_rows import (
    Key,
    Row,
    Runs,
    key_of,
    notes_on,
    options_by_pair,
    rows_of,
)
from experiments.errors import InputError
from experiments.matrix.expansion import Entry
from experiments.matrix.protocol import Protocol, Slot
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status
from results.cells import Cell, TeacherScores
from results.gathering import difference, gather
from results.schema import Record

_VANILLA = "vanilla"


@dataclass(frozen=True)
class Source:
    """Finished runs that a table may show: their place as given, a short name, the records.

    ``places``: run id -> its directory, for runs that have one.
    """

    path: Path
    name: str
    records: tuple[Record, ...]
    places: Mapping[str, Path] = field(default_factory=dict)


@dataclass
class Joined:
    """A table's cells with those of the references; its notes, and more teachers by pair.

    baseline  the label of a student alone among the references' rows, if there is one
    """

    cells: list[Cell]
    notes: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    teachers: dict[str, TeacherScores] = field(default_factory=dict)
    baseline: str | None = None


def read(paths: Sequence[Path]) -> list[Source]:
    """The finished runs of runs directories and board files, each run once.

    InputError where a place has none; RecordError where two have different results of one run.
    """
    gathered = gather(paths)
    empty = [place.path for place in gathered.places if not place.finished]
    if empty:
        raise InputError(f"--reference {empty[0]}: no finished run there")
    records: dict[Path, list[Record]] = {path: [] for path in paths}
    places: dict[Path, dict[str, Path]] = {path: {} for path in paths}
    for one in gathered.runs.values():
        place = next(path for path in paths if path == one.file or path in one.file.parents)
        records[place].append(one.record)
        if one.file != place:
            places[place][one.record.run] = one.file.parent
    named = zip(paths, _names(paths), strict=True)
    return [Source(path, name, tuple(records[path]), places[path]) for path, name in named]


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths by which they can be told apart."""
    whole = [path.resolve().parts for path in paths]
    names = []
    for parts in whole:
        depth = 1
        while depth < len(parts) and [p[-depth:] for p in whole].count(parts[-depth:]) > 1:
            depth += 1
        names.append("/".join(parts[-depth:]))
    return names


# ---- the table's own side ------------------------------------------------------------------------


def slots(both: Iterable[tuple[Entry, Cell]], statuses: Mapping[str, Status]) -> list[Slot]:
    """What can be joined: one slot per pair and trial of a table, with its teacher's weights.

    Of the table's own recipe and data: rows that depart from them are no measure for others.
    """
    found: dict[tuple[str, int], Slot] = {}
    for entry, cell in both:
        if cell.departs:
            continue
        key, teacher = (cell.pair, cell.trial), entry.spec.teacher
        known = found.get(key)
        if known is None or (teacher and not known.weights):
            name = teacher.name if teacher else None
            found[key] = Slot(cell.pair, entry.spec, name, _weights(entry, statuses))
    return list(found.values())


def _weights(entry: Entry, statuses: Mapping[str, Status]) -> str | None:
    """sha256 of the weights of an entry's teacher: as given, as trained, or as a student used."""
    teacher = entry.spec.teacher
    if teacher is None or teacher.sha256:
        return teacher.sha256 if teacher else None
    own, student = statuses.get(teacher.run or ""), statuses[entry.spec.id]
    if own and own.state == State.DONE and own.record and own.record.weights.sha256:
        return own.record.weights.sha256
    used = student.record.teacher if student.state == State.DONE and student.record else None
    return used.sha256 if used else None


# ---- joining -------------------------------------------------------------------------------------


def join(
    entries: Sequence[Entry],
    cells: Sequence[Cell],
    statuses: Mapping[str, Status],
    sources: Iterable[Source],
) -> Joined:
    """A table's cells, then those of the references' methods, row by row.

    A run that the table plans, too, is no row of its own: where its cell is still empty, it stands
    in it. ``entries`` and ``cells`` are the table's, in the same order.
    """
    table = _Table(entries, cells, statuses)
    for source in sources:
        table.add(source)
    return table.joined


class _Table:
    """A table that references are added to."""

    def __init__(
        self, entries: Sequence[Entry], cells: Sequence[Cell], statuses: Mapping[str, Status]
    ) -> None:
        self.joined = Joined(list(cells))
        both = list(zip(entries, cells, strict=True))
        self.slots = slots(both, statuses)
        self.protocol = Protocol(self.slots)
        self.own = {
            (cell.pair, cell.trial, *key_of(entry.spec.method, entry.spec.options)): number
            for number, (entry, cell) in enumerate(both)
            if not cell.departs
        }

    def add(self, source: Source) -> None:
        """All rows of one reference, and what must be said about it."""
        left: Runs = defaultdict(set)
        filled: Runs = defaultdict(set)
        rows: dict[Key, Row] = {}
        teachers = {(r.spec.get("teacher") or {}).get("run") for r in source.records}
        for record in source.records:
            fitting, reason = self.protocol.fit(record)
            if not fitting and record.run not in teachers:  # a teacher is no row anyway
                left[reason].add(record.run)
            for slot in fitting:
                self._place(record, slot, rows, filled, left)
        shown = rows_of(rows, source.name)
        for label, row in shown.items():
            self.joined.cells += self._cells(label, row)
        self.joined.exceptions += options_by_pair(shown)
        self.joined.notes += notes_on(source.path, source.name, bool(shown), filled, left)
        self._baseline(shown)

    def _place(
        self,
        record: Record,
        slot: Slot,
        rows: dict[Key, Row],
        filled: Runs,
        left: Runs,
    ) -> None:
        """A fitting run in one slot: in the table's own cell for it, or in the reference's row."""
        key = key_of(str(record.spec["method"]), record.spec["options"])
        number = self.own.get((slot.pair, slot.spec.trial, *key))
        self._teacher(record, slot)
        if number is None:
            there = rows.setdefault(key, {}).setdefault((slot.pair, slot.spec.trial), record)
            if there.run != record.run:
                left["a second run of a trial that is shown"].add(record.run)
            return
        cell = self.joined.cells[number]
        if cell.state in (*NOT_STARTED, *ACTIVE):
            self.joined.cells[number] = replace(cell, record=record, state=State.DONE, reason=None)
            filled[cell.method].add(record.run)
        elif cell.record is None:
            left[f"{record.spec['method']} of that trial is {cell.state} here"].add(record.run)
        elif found := difference(record, cell.record):
            left[f"done here, too, with another {found.partition(':')[0]}"].add(record.run)

    def _teacher(self, record: Record, slot: Slot) -> None:
        used = record.teacher
        if used and used.accuracy is not None:
            scores = TeacherScores(slot.teacher or used.name, (used.accuracy,))
            self.joined.teachers.setdefault(slot.pair, scores)

    def _cells(self, label: str, row: Row) -> Iterator[Cell]:
        """One cell per slot: a trial that the reference lacks is missing, as in other rows."""
        spec = next(iter(row.values())).spec
        for slot in self.slots:
            record = row.get((slot.pair, slot.spec.trial))
            described = record.spec if record else {**spec, "student": slot.spec.student}
            yield Cell(slot.pair, label, slot.spec.trial, record, spec=described)

    def _baseline(self, shown: Mapping[str, Row]) -> None:
        for label, row in shown.items():
            if next(iter(row.values())).spec["method"] == _VANILLA and not self.joined.baseline:
                self.joined.baseline = label
