"""Predictions beside a board: ``NAME.predictions/RUN.safetensors`` for ``NAME.jsonl``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import board_file
from results.gathering import Finished, lines
from results.records import PREDICTIONS, RecordError, refused, write_atomic


def folder(board: Path) -> Path:
    """Where the predictions of a board's runs are."""
    return board.with_suffix(".predictions")


def path_of(one: Finished) -> Path:
    """Where the predictions of a run are, if it has any."""
    if one.number:
        return folder(one.file) / f"{one.record.run}.safetensors"
    return one.file.parent / PREDICTIONS


def copy(runs: Sequence[Finished], board: Path) -> int:
    """Put the predictions of ``runs`` beside ``board``; returns how many of them have some.

    RecordError where a file cannot be read, or is not the one that the run's measures are of.
    """
    found = [one for one in runs if path_of(one).is_file()]
    if found:
        folder(board).mkdir(exist_ok=True)
    for one, line in zip(found, lines(found), strict=True):
        target = folder(board) / f"{one.record.run}.safetensors"
        if not target.exists() or not target.samefile(path_of(one)):
            write_atomic(target, _checked(path_of(one), json.loads(line)))
    return len(found)


def _checked(path: Path, document: dict[str, Any]) -> bytes:
    """The content of a file of predictions, if it is the one that was measured."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise refused(path, "read", error) from error
    stated = ((document.get(board_file.KEY) or {}).get("predictions") or {}).get("sha256")
    actual = hashlib.sha256(data).hexdigest()
    if stated not in (None, actual):
        raise RecordError(
            f"{path}: sha256 is {actual[:10]}…, but the measures of run {document['run']} are of "
            f"{stated[:10]}…"
        )
    return data
