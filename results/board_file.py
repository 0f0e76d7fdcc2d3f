"""The records of a board in one file, ``NAME.jsonl``: for publishing results without their runs.

Each line is a run's ``result.json`` without its white space. Lines are sorted by the directories
that the runs had, so that a board that grows is a small diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from results import schema
from results.records import RESULT, RecordError, refused, write_atomic
from results.schema import Record

SUFFIX = ".jsonl"


def is_board_file(path: Path) -> bool:
    """Whether a path names a board file, there or not, rather than a directory of runs."""
    return path.suffix == SUFFIX and not path.is_dir()


def read(path: Path) -> dict[str, Record]:
    """Run id -> record. RecordError, with the line's number, where a line is no record."""
    records: dict[str, Record] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                record = _parse(line, f"{path}:{number}")
                if record.run in records:
                    raise RecordError(f"{path}:{number}: run {record.run} is in an earlier line")
                records[record.run] = record
    except OSError as error:
        raise refused(path, "read", error) from error
    return records


def _parse(line: bytes, where: str) -> Record:
    try:
        return schema.parse(line)
    except ValueError as error:
        raise RecordError(f"{where}: not the record of a run: {error}") from error


def write(path: Path, directories: Iterable[Path]) -> int:
    """Write the results of finished runs; returns how many. Nothing of a result is changed.

    ``directories`` are those of the runs, dataset/pair/method/trial-id. RecordError where one has
    no readable result.
    """
    lines = [_line(directory) for directory in sorted(set(directories), key=_place)]
    write_atomic(path, b"".join(lines))
    return len(lines)


def _place(directory: Path) -> tuple[str, ...]:
    """Trials as numbers: 10 comes after 9."""
    *cell, run = directory.parts[-4:]
    trial, _, run_id = run.partition("-")
    return (*cell, trial.zfill(9), run_id)


def _line(directory: Path) -> bytes:
    path = directory / RESULT
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(path, "read", error) from error
    _parse(data, str(path))
    # Python's JSON keeps the order of keys and every digit; the record's model would drop neither,
    # but might turn a number that is no int into one.
    text = json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":"))
    return f"{text}\n".encode("utf-8", "backslashreplace")
