"""The records of a board in one file, ``NAME.jsonl``: for publishing results without their runs.

Each line is a run's ``result.json`` without its white space. Where the run has a ``measures.json``,
its content is one more key, the last one: ``measures``. Lines are sorted by the directories that
the runs had, so that a board that grows is a small diff.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import from_json

from results import schema
from results.records import MEASURES, RESULT, RecordError, refused, write_atomic
from results.schema import Record

SUFFIX = ".jsonl"
KEY = "measures"
# Nothing inside a text looks like this: quotes there have a backslash before them.
_BEGIN = b',"measures":{'


def is_board_file(path: Path) -> bool:
    """Whether a path names a board file, there or not, rather than a directory of runs."""
    return path.suffix == SUFFIX and not path.is_dir()


def read(path: Path, measures: bool = False) -> dict[str, Record]:
    """Run id -> record. RecordError, with the line's number, where a line is no record.

    Records have no ``measures`` unless asked for: these take most of a line's memory.
    """
    records: dict[str, Record] = {}
    shared = Shared()
    for number, line in enumerate(lines(path), start=1):
        where = f"{path}:{number}"
        record = parse(line, where) if measures else split(line, where)[0]
        if record.run in records:
            raise RecordError(f"{where}: run {record.run} is in an earlier line")
        records[record.run] = shared.parts(record)
    return records


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file. RecordError where the disk refuses."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise refused(path, "read", error) from error


def parse(line: bytes, where: str) -> Record:
    """The record in a JSON text. RecordError that begins with ``where`` if it is none."""
    try:
        return schema.parse(line)
    except ValueError as error:
        raise RecordError(f"{where}: not the record of a run: {error}") from error


def split(line: bytes, where: str) -> tuple[Record, bool]:
    """The record in a line without its measures, and whether it has some. Else as `parse`.

    Measures that stand last, as `line_of` writes them, are cut off: building their objects would
    take longer than the rest.
    """
    head, _, tail = line.rstrip().rpartition(_BEGIN)
    if head and tail.endswith(b"}"):
        with contextlib.suppress(ValueError):  # they stand elsewhere, or the line is broken
            from_json(b"{" + tail[:-1])
            return schema.parse(head + b"}"), True
    if b'"measures"' not in line:
        return parse(line, where), False
    record = parse(line, where)
    document = json.loads(line)
    has_some = document.pop(KEY, None) is not None
    return (parse(json.dumps(document).encode(), where), True) if has_some else (record, False)


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
    spec = record.spec
    source, dataset = spec.get("source"), spec.get("dataset")
    teacher, method = _name(spec.get("teacher")) or "none", spec.get("method")
    if source:  # a probe: its student's data set and method stand in place of teacher and method
        teacher, method = source["dataset"], source["method"]
    cell = (_name(dataset), f"{teacher}--{spec.get('student')}", str(method))
    flat = (part.replace("/", ".") for part in cell)
    return (*flat, str(spec.get("trial", 0)).zfill(9), record.run)


def _name(part: Any) -> str:
    return str(part["name"] if isinstance(part, dict) else part or "")


def line_of(directory: Path) -> bytes:
    """The line of the finished run in ``directory``. Nothing of its result is changed.

    RecordError where its result or its measures cannot be read.
    """
    data = _bytes(directory / RESULT)
    parse(data, str(directory / RESULT))
    document = json.loads(data)
    measures = _measures(directory / MEASURES, document["run"])
    # Python's JSON keeps the order of keys and every digit; the record's model would drop neither,
    # but might turn a number that is no int into one.
    whole = {**document, KEY: measures} if measures else document
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _measures(path: Path, run: str) -> dict[str, Any] | None:
    """None where there are none."""
    if not path.exists():
        return None
    try:
        content = json.loads(_bytes(path))
    except ValueError as error:
        raise RecordError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: expected an object, got {content!r:.40}")
    if content.get("run", run) != run:
        raise RecordError(f"{path}: run: expected {run}, got {content['run']!r:.40}")
    return content


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise refused(path, "read", error) from error
