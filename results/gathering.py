"""Finished runs of several runs directories and board files, each run once.

The same run in two places is compared: equal results are one run, different ones are an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel

from results import board_file, files, records
from results.records import RESULT, RecordError, refused
from results.schema import Record

SET_ASIDE = ".stale-"  # in the names of directories that `--redo-stale` moved away
Keep = Callable[[Record], bool]
_SAME = (  # what two results of one run must agree in
    "accuracy",
    "weights.sha256",
    "teacher.sha256",
    "source.sha256",
    "data.sha256",
    "spec",
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run and where its record is: a result file, or a line of a board file.

    start, length  of the line, in bytes; ``number`` counts lines from 1 and is 0 for a result file
    measured       whether it has measures
    history        whether it has its history
    """

    record: Record
    file: Path
    measured: bool
    history: bool = False
    number: int = 0
    start: int = 0
    length: int = 0

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}" if self.number else str(self.file)


@dataclass
class Place:
    """What one directory or board file had: finished runs, and why others do not count.

    unfinished  directories of runs without a readable result
    broken      what is wrong with those of them that have one
    unwanted    finished runs that were not asked for
    again       finished runs that an earlier place had, too, with the same result
    """

    path: Path
    finished: int = 0
    unfinished: int = 0
    broken: list[str] = field(default_factory=list)
    unwanted: int = 0
    again: int = 0


@dataclass
class Gathered:
    """Finished runs by id, in the order of their `board_file.place`, and the places they are of."""

    runs: dict[str, Finished] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)


def gather(paths: Iterable[Path], keep: Keep = lambda record: True) -> Gathered:
    """Every finished run of runs directories and board files for which ``keep`` is true, once.

    RecordError where a place cannot be read, and where a run is in two places with different
    results.
    """
    gathered, shared = Gathered(), board_file.Shared()
    conflicts: list[str] = []
    for path in paths:
        place = Place(path)
        gathered.places.append(place)
        for one in _on_board(path) if board_file.is_board_file(path) else _below(place):
            shared.parts(one.record)
            _add(one, gathered.runs, place, keep, conflicts)
    if conflicts:
        more = len(conflicts) - 1
        raise RecordError(conflicts[0] + (f" (and {more} more runs differ)" if more else ""))
    gathered.runs = dict(sorted(gathered.runs.items(), key=_sorting))
    return gathered


def _add(
    one: Finished, runs: dict[str, Finished], place: Place, keep: Keep, conflicts: list[str]
) -> None:
    run = one.record.run
    known = runs.get(run)
    if not keep(one.record):
        place.unwanted += 1
        return
    place.finished += 1
    if known is None:
        runs[run] = one
        return
    place.again += 1
    found = difference(known.record, one.record)
    if found:
        conflicts.append(f"run {run}: {known.where} and {one.where} differ in {found}")
    runs[run] = min(known, one, key=_preference)


def _preference(one: Finished) -> tuple[bool, bool, str]:
    """Of two equal results the one with measures, then with its history, then the older.

    Never by the order of their places.
    """
    starts = one.record.starts
    return (not one.measured, not one.history, (starts[0].time if starts else None) or "")


def _sorting(item: tuple[str, Finished]) -> tuple[str, ...]:
    return board_file.place(item[1].record)


def _on_board(path: Path) -> Iterator[Finished]:
    known: set[str] = set()
    start = 0
    for number, line in enumerate(board_file.lines(path), start=1):
        where = f"{path}:{number}"
        record, measured, history = board_file.split(line, where)
        if record.run in known:
            raise RecordError(f"{where}: run {record.run} is in an earlier line")
        known.add(record.run)
        yield Finished(record, path, measured, history, number, start, len(line))
        start += len(line)


def _below(place: Place) -> Iterator[Finished]:
    for directory, names in records.walk(place.path):
        if SET_ASIDE in directory.name:
            continue
        record = records.read(directory) if RESULT in names else None
        if record is not None:
            has = (name in names for name in (board_file.MEASURES, board_file.HISTORY))
            yield Finished(record, directory / RESULT, *has)
        elif RESULT in names or "spec.yaml" in names:
            place.unfinished += 1
            reason = records.problem(directory) if RESULT in names else ""
            place.broken += [f"{directory / RESULT}: {reason}"] if reason else []


# ---- the same run twice --------------------------------------------------------------------------


def difference(a: Record, b: Record) -> str | None:
    """The first field in which two results of one run differ, with both values; None if equal.

    When and where it was trained may differ, and so may what only one of them says: keys of a spec
    that another version lacks are at their default there, or the run would have another id.
    """
    for path in _SAME:
        values = _value(a, path), _value(b, path)
        found = None if None in values else _difference(*values, path)
        if found:
            return found
    return None


def _value(record: Record, path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = getattr(value, name, None)
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def _difference(a: Any, b: Any, path: str) -> str | None:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        found = (_difference(a[key], b[key], f"{path}.{key}") for key in a if key in b)
        return next((text for text in found if text), None)
    return None if a == b else f"{path}: {_short(a)} and {_short(b)}"


def _short(value: Any) -> str:
    """A number whole, a hash and other long texts by their beginning."""
    text = str(value)
    return text if len(text) <= 24 else f"{text[:10]}…"


# ---- their lines ---------------------------------------------------------------------------------


def lines(
    runs: Iterable[Finished], history: bool = False, left_out: dict[Path, str] | None = None
) -> Iterator[bytes]:
    """The line of each run on a board, with its history or without.

    ``left_out`` as in `board_file.line_of`. RecordError where a result cannot be read any more.
    """
    with contextlib.ExitStack() as stack:
        boards: dict[Path, BinaryIO] = {}
        for one in runs:
            if not one.number:
                yield board_file.line_of(one.file.parent, history, left_out)
                continue
            if one.file not in boards:
                boards[one.file] = stack.enter_context(_opened(one.file))
            boards[one.file].seek(one.start)
            line = boards[one.file].read(one.length).rstrip() + b"\n"
            yield line if history else board_file.without_history(line)


def _opened(path: Path) -> BinaryIO:
    try:
        return files.opened(path)
    except OSError as error:
        raise refused(path, "read", error) from error
