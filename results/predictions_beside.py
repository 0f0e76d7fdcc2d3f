"""Predictions beside a board: ``NAME.predictions/RUN.safetensors`` for ``NAME.jsonl``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import board_file, files
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
    for one in runs:
        _check_name(one)
    found = [one for one in runs if path_of(one).is_file()]
    if found:
        folder(board).mkdir(exist_ok=True)
    for one, line in zip(found, lines(found, left_out={}), strict=True):
        target = folder(board) / f"{one.record.run}.safetensors"
        if not target.exists() or not target.samefile(path_of(one)):
            write_atomic(target, _checked(path_of(one), json.loads(line)))
    return len(found)


def _check_name(one: Finished) -> None:
    """RecordError for an id that is no file's name: it may lead anywhere."""
    run = one.record.run
    if run in ("", ".", "..") or "/" in run or not run.isprintable() or len(run) > 100:
        raise RecordError(
            f"{one.where}: run: expected an id of letters and digits, got {run!r:.40}"
        )


def _checked(path: Path, document: dict[str, Any]) -> bytes:
    """The content of a file of predictions, if it is the one that was measured."""
    try:
        data = files.read_bytes(path, most=None)
    except OSError as error:
        raise refused(path, "read", error) from error
    measures = document.get(board_file.KEY)
    used = measures.get("predictions") if isinstance(measures, dict) else None
    stated = used.get("sha256") if isinstance(used, dict) else None
    actual = hashlib.sha256(data).hexdigest()
    if isinstance(stated, str) and stated != actual:
        raise RecordError(
            f"{path}: sha256 is {actual[:10]}…, but the measures of run {document['run']} are of "
            f"{stated[:10]}…"
        )
    return data
