"""The records of a board in one file, ``NAME.jsonl``: for publishing results without their runs.

Each line is a run's ``result.json`` without its white space. Where the run has a ``measures.json``,
its content is one more key, the last one: ``measures``. On request the text of its ``history.csv``
is another one, before that: ``history``. Lines are sorted by the directories that the runs had, so
that a board that grows is a small diff.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import from_json

from results import files, schema
from results.records import HISTORY, MEASURES, RESULT, RecordError, refused, write_atomic
from results.schema import Record

SUFFIX = ".jsonl"
KEY, HISTORY_KEY = "measures", "history"
# Nothing inside a text looks like these: quotes there have a backslash before them.
_BEGIN = b',"measures":{'
_NAMED = b'"history"'


def is_board_file(path: Path) -> bool:
    """Whether a path names a board file, there or not, rather than a directory of runs."""
    return path.suffix == SUFFIX and not path.is_dir()


def read(path: Path, measures: bool = False) -> dict[str, Record]:
    """Run id -> record. RecordError, with the line's number, where a line is no record.

    Records have no ``measures`` unless asked for: these take most of a line's memory. They never
    have a history: see `histories`. Their specs may be of any form.
    """
    records: dict[str, Record] = {}
    shared = Shared()
    for number, line in enumerate(lines(path), start=1):
        where = f"{path}:{number}"
        record = _with_measures(line, where) if measures else split(line, where, True).record
        if record.run in records:
            raise RecordError(f"{where}: run {record.run} is in an earlier line")
        records[record.run] = shared.parts(record)
    return records


def _with_measures(line: bytes, where: str) -> Record:
    """The record with its measures; without them where they are none, as those of a run are."""
    try:
        return parse(line, where, any_spec=True)
    except RecordError:
        return split(line, where, any_spec=True).record


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file. RecordError where the disk refuses."""
    try:
        with files.opened(path) as file:
            yield from file
    except OSError as error:
        raise refused(path, "read", error) from error


def histories(path: Path) -> dict[str, str]:
    """Run id -> the text of its history, of the runs that have one there. RecordError as `read`."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines(path), start=1):
        where = f"{path}:{number}"
        document = _object(line, where) if _NAMED in line else {}
        text = document.get(HISTORY_KEY)
        if isinstance(text, str) and "run" in document:
            found[str(document["run"])] = text
        elif text is not None:
            raise RecordError(f"{where}: history: expected a text, got {text!r:.40}")
    return found


def parse(line: bytes, where: str, any_spec: bool = False) -> Record:
    """The record in a JSON text. RecordError that begins with ``where`` if it is none.

    ``any_spec`` as in `schema.parse`.
    A history is dropped: it may take more memory than the rest.
    """
    return _parse(line, where, any_spec)[0]


def _parse(line: bytes, where: str, any_spec: bool) -> tuple[Record, bool]:
    """The record in a line, without its history, and whether it has one."""
    try:
        record = schema.parse(line, any_spec)
    except ValueError as error:
        raise RecordError(f"{where}: not the record of a run: {error}") from error
    return record, _drop_history(record)


def _drop_history(record: Record) -> bool:
    """Take a history out of what the record holds beside its fields; whether there was one."""
    if HISTORY_KEY not in (record.model_extra or {}):
        return False
    record.model_fields_set.discard(HISTORY_KEY)
    return (record.model_extra or {}).pop(HISTORY_KEY) is not None


class Split(NamedTuple):
    """The record in a line without its measures and history, and whether it has some."""

    record: Record
    measured: bool
    history: bool


def split(line: bytes, where: str, any_spec: bool = False) -> Split:
    """The record in a line, and what else the line has. Else as `parse`.

    Measures that stand last, as `line_of` writes them, are cut off: building their objects would
    take longer than the rest.
    """
    head, _, tail = line.rstrip().rpartition(_BEGIN)
    if head and tail.endswith(b"}"):
        with contextlib.suppress(ValueError):  # they stand elsewhere, or the line is broken
            from_json(b"{" + tail[:-1])
            record = schema.parse(head + b"}", any_spec)
            return Split(record, True, _drop_history(record))
    record, history = _parse(line, where, any_spec)
    if b'"measures"' not in line:
        return Split(record, False, history)
    document = json.loads(line)
    has_some = document.pop(KEY, None) is not None
    if has_some:
        record = parse(json.dumps(document).encode(), where, any_spec)
    return Split(record, has_some, history)


def _object(line: bytes, where: str) -> dict[str, Any]:
    """The JSON object in a line. RecordError if there is none."""
    try:
        content = _loaded(line)
    except ValueError as error:
        raise RecordError(f"{where}: not the record of a run: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{where}: not the record of a run: expected an object")
    return content


def _loaded(line: bytes) -> Any:
    """As `json.loads`, in a third of the time where the line has no lone surrogates."""
    with contextlib.suppress(ValueError):
        return from_json(line)
    return json.loads(line)


class Shared:
    """Keeps equal parts of many records once: without it, a record takes twice the memory.

    The runs of a matrix share data set and recipe, and the records of one version the names of
    their fields, which pydantic keeps for every object.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}
        self._names: dict[frozenset[str], set[str]] = {}

    def parts(self, record: Record) -> Record:
        """The record, with the parts that an earlier one had, too."""
        for key, value in record.spec.items():
            if isinstance(value, dict):
                record.spec[key] = self._known.setdefault(repr(value), value)
        for part in (record, record.accuracy, *vars(record).values(), *record.starts):
            if isinstance(part, BaseModel):
                names = part.model_fields_set
                kept = self._names.setdefault(frozenset(names), names)
                object.__setattr__(part, "__pydantic_fields_set__", kept)
        return record


def write(path: Path, board: Iterable[bytes]) -> None:
    """Write a board file of lines that are in the order of their `place`."""
    write_atomic(path, board)


def place(record: Record) -> tuple[str, ...]:
    """The parts of a run's directory, by which lines are sorted; trials as numbers: 9, then 10."""
    return place_of(record.spec, record.run)


def place_of(spec: Mapping[str, Any], run: str) -> tuple[str, ...]:
    """The `place` of the run with this spec and id."""
    source, dataset = spec.get("source"), spec.get("dataset")
    teacher, method = _name(spec.get("teacher")) or "none", spec.get("method")
    if source:  # a probe: its student's data set and method stand in place of teacher and method
        teacher, method = source["dataset"], source["method"]
    cell = (_name(dataset), f"{teacher}--{spec.get('student')}", str(method))
    flat = (part.replace("/", ".") for part in cell)
    return (*flat, str(spec.get("trial", 0)).zfill(9), run)


def _name(part: Any) -> str:
    return str(part["name"] if isinstance(part, dict) else part or "")


def line_of(
    directory: Path, history: bool = False, left_out: dict[Path, str] | None = None
) -> bytes:
    """The line of the finished run in ``directory``. Nothing of its result is changed.

    history   whether its ``history.csv``, if there is one, is part of the line
    left_out  given: takes what is wrong with measures or a history that cannot be read

    RecordError where its result, its measures or its history cannot be read.
    """
    data = _bytes(directory / RESULT)
    parse(data, str(directory / RESULT))
    document = json.loads(data)
    with _tolerated(directory / MEASURES, left_out) as measured:
        measured += [_measures(directory / MEASURES, document["run"])]
    measures = measured[0] if measured else None
    if history and (directory / HISTORY).exists():
        with _tolerated(directory / HISTORY, left_out):
            text = _bytes(directory / HISTORY).decode(errors="surrogateescape")
            document = {**_without(document, HISTORY_KEY), HISTORY_KEY: text}
    return _line({**document, KEY: measures} if measures else document)


@contextlib.contextmanager
def _tolerated(path: Path, left_out: dict[Path, str] | None) -> Iterator[list[Any]]:
    """Inside, a RecordError about ``path`` is put into ``left_out``, if that is given."""
    try:
        yield []
    except RecordError as error:
        if left_out is None:
            raise
        left_out[path] = str(error)


def without_history(line: bytes) -> bytes:
    """A line of a board file, with its line break, without a history that it may have."""
    line = line.rstrip() + b"\n"
    if _NAMED not in line:
        return line
    return _line(_without(json.loads(line), HISTORY_KEY))


def _without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != key}


def _line(document: dict[str, Any]) -> bytes:
    """A line as it is written.

    Python's JSON keeps the order of keys and every digit; the record's model would drop neither,
    but might turn a number that is no int into one.
    """
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _measures(path: Path, run: str) -> dict[str, Any] | None:
    """None where there are none."""
    if not path.exists():
        return None
    data = _bytes(path)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: expected an object, got {content!r:.40}")
    if content.get("run", run) != run:
        raise RecordError(f"{path}: run: expected {run}, got {content['run']!r:.40}")
    return content


def _bytes(path: Path) -> bytes:
    try:
        return files.read_bytes(path)
    except OSError as error:
        raise refused(path, "read", error) from error
