"""The runs of a report as TensorBoard's event files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from experiments.activity import activity
from experiments.rundir import event_files
from results import board_file

if TYPE_CHECKING:
    from results.report.content import Content, Run

_NOT_IN_NAMES = re.compile(r"[/\\\x00-\x1f\ud800-\udfff]")
_LONGEST = 200  # bytes; file systems allow 255


def write(contents: Iterable[Content], folder: Path) -> int:
    """Write the history of every run that has one; returns how many runs have one.

    What is shown of a run is replaced as a whole, so that the same report written twice shows the
    same. Runs are in the directories that they have in a runs directory. InputError where the
    package is missing; OSError where the disk refuses.
    """
    event_files.require()
    written: set[str] = set()
    with activity(f"writing {folder}"), event_files.errors_once():
        for content in contents:
            for run in content.runs:
                history = "" if run.id in written else content.history(run.id)
                if history:
                    spec = yaml.safe_dump(dict(run.spec), sort_keys=False)
                    if _write(place_of(run, folder), spec, history):
                        written.add(run.id)
    return len(written)


def _write(place: Path, spec: str, history: str) -> bool:
    """Whether the history could be read; a note where it could not."""
    try:
        event_files.write(place, spec, history)
    except ValueError as error:
        print(f"note: {place.name} left out: its history is {error}", file=sys.stderr)
        return False
    return True


def place_of(run: Run, folder: Path) -> Path:
    """DATASET/TEACHER--STUDENT/METHOD/TRIAL-ID below a folder."""
    *cell, trial, name = board_file.place_of(run.spec, run.id)
    return folder.joinpath(*map(_directory, (*cell, f"{int(trial)}-{name}")))


def _directory(text: str) -> str:
    """A name of one directory: those in a board file may be anything, such as ".."."""
    plain = _NOT_IN_NAMES.sub("_", text)
    if not plain.strip("."):
        return "unnamed"
    return plain.encode()[:_LONGEST].decode(errors="ignore")
