"""A worker's reports, also written as TensorBoard's event files.

Whatever goes wrong there is said once and never fails a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.rundir import event_files
from experiments.rundir.event_files import EventFile
from experiments.rundir.outcome import Outcome
from experiments.train.cohort import Report
from results.records import HISTORY


class Observer:
    """A report of finished epochs that passes them on, and writes them below ``folder``.

    runs  where the histories are: one that has begun earlier is written from its beginning
    """

    def __init__(self, report: Report, runs: Path, folder: Path) -> None:
        self.report, self.runs, self.folder = report, runs, folder
        self.files: dict[str, EventFile] = {}  # of the runs that are being trained
        self.gave_up = False

    def __call__(self, spec: RunSpec, row: dict[str, Any]) -> None:
        self.report(spec, row)
        if row.get("state") == Outcome.BLOCKED:  # it has no file; its method may be unknown
            return
        if "state" in row:
            self._try(lambda: self._end(spec))
        else:
            self._try(lambda: self._add(spec, row))

    def _add(self, spec: RunSpec, row: dict[str, Any]) -> None:
        file = self.files.get(spec.id)
        if file and file.is_there():
            file.add(row)
            return
        if file:
            file.close()
        self.files[spec.id] = self._whole(spec)

    def _whole(self, spec: RunSpec) -> EventFile:
        """A new file with the history so far, whose last row is that of the epoch just finished."""
        history = (spec.directory(self.runs) / HISTORY).read_text(encoding="utf-8")
        folder = spec.directory(self.folder)
        return EventFile(folder, spec.as_yaml(), event_files.rows(history))

    def _end(self, spec: RunSpec) -> None:
        file = self.files.pop(spec.id, None)
        if file and not file.is_there():  # `report` has replaced it, perhaps by an earlier history
            file = self._whole(spec)
        if file:
            file.close()

    def close(self) -> None:
        """Close the files of runs that have not ended."""
        for file in self.files.values():
            self._try(file.close)

    def _try(self, action: Callable[[], None]) -> None:
        """Nothing is tried any more after the first error, which is printed."""
        if self.gave_up:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001  (no error there may fail a run)
            self.gave_up = True
            _warn(f"{self.folder}: {error}")


@contextlib.contextmanager
def observed(report: Report, runs: Path, folder: Path | None) -> Iterator[Report]:
    """The report, which inside also writes event files, if ``folder`` is given."""
    try:
        if folder is not None:
            event_files.require()
    except InputError as error:
        _warn(str(error))
        folder = None
    if folder is None:
        yield report
        return
    observer = Observer(report, runs, folder)
    with event_files.errors_once(), contextlib.closing(observer):
        yield observer


def _warn(reason: str) -> None:
    """One line on standard output, which `run` shows as a note and SLURM keeps in the log."""
    line = " ".join(reason.split())
    print(f"warning: nothing more is written for TensorBoard, training goes on: {line}", flush=True)
