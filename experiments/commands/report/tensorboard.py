"""The runs of a report as TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from experiments.activity import activity
from experiments.rundir import event_files
from results import board_file

if TYPE_CHECKING:
    from results.report.content import Content, Run


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
                    event_files.write(place_of(run, folder), spec, history)
                    written.add(run.id)
    return len(written)


def place_of(run: Run, folder: Path) -> Path:
    """DATASET/TEACHER--STUDENT/METHOD/TRIAL-ID below a folder."""
    *cell, trial, name = board_file.place_of(run.spec, run.id)
    return folder.joinpath(*cell, f"{int(trial)}-{name}")
