"""The log of a run's starts: ``starts.json`` in its directory.

A start is logged before anything of it can fail. The file is a list, oldest first. An entry has the
fields of `environment.start_record`, and::

    epoch, steps  where it began: in which epoch, after how many steps
    submitted     the code at submission, only if the start ran different code
    progress      whether a step was saved since, by this run or, while it waits, by its cohort
    ended         "interrupted" or "failed", if it ended without a crash before that

A start with neither progress nor end crashed. After two crashes in a row there is no third try.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results import files, provenance, records
from results.schema import Code

FILE = "starts.json"
TRIES = 2  # crashes in a row: one may be the fault of a machine, two are likely the run's

Start = dict[str, Any]


class NoProgress(RuntimeError):  # noqa: N818  (an outcome of starting)
    """Too many starts in a row crashed before they saved a step."""


def read(directory: Path) -> list[Start]:
    """All starts; empty if there is no log, or an invalid one."""
    try:
        starts = json.loads(files.read_bytes(directory / FILE))
    except (FileNotFoundError, NotADirectoryError, files.OddFile):
        return []
    except (ValueError, RecursionError):  # cut in half, or not ours
        return []
    if not isinstance(starts, list):
        return []
    return [start for start in starts if isinstance(start, dict)]


def write(directory: Path, starts: Sequence[Start]) -> None:
    """Replace the log. Only the holder of the run's claim may call this."""
    records.write_atomic(directory / FILE, json.dumps(starts, indent=1) + "\n")


def failures(directory: Path) -> int:
    """How many starts in a row, up to the last, crashed before they saved a step.

    A running start counts until its first step is saved: ask only if no process holds the run.
    """
    try:
        return len(crashed(read(directory)))
    except OSError:  # for display only: `begin`, which starts a run, raises this
        return 0


def crashed(starts: Sequence[Start]) -> list[Start]:
    """The starts at the end of the list that crashed. Those of earlier versions count as good."""
    last = len(starts)
    while last and not starts[last - 1].get("progress", True) and "ended" not in starts[last - 1]:
        last -= 1
    return list(starts[last:])


def begin(
    directory: Path, run: str, start: Start, submitted: Mapping[str, Any] | None = None
) -> list[Start]:
    """Log a new start of a run; returns all its starts, this one last.

    ``submitted`` is the code at submission. Raises NoProgress, and logs nothing, if TRIES starts in
    a row have crashed.
    """
    earlier = read(directory)
    crashes = crashed(earlier)
    if len(crashes) >= TRIES:
        raise NoProgress(_no_progress(run, crashes[-TRIES:]))
    new = {**start, "progress": False}
    if submitted and provenance.is_other_code(
        Code.model_validate(submitted), Code.model_validate(start)
    ):
        new["submitted"] = dict(submitted)
    starts = [*earlier, new]
    write(directory, starts)
    return starts


def _no_progress(run: str, crashes: Sequence[Start]) -> str:
    places = ", ".join(map(_place, crashes))
    logs = f"; see `benchmark.py logs {run}`" if any(s.get("job") for s in crashes) else ""
    return (
        f"two starts ended before they saved a step ({places}): "
        f"out of memory, a time limit too short, or a crash{logs}"
    )


def _place(start: Start) -> str:
    host = start.get("host", "an unknown machine")
    return f"job {start['job']} on {host}" if start.get("job") else f"on {host}"


def end(directory: Path, how: str) -> None:
    """Log how the last start ended ("interrupted", "failed"): it did not crash."""
    starts = read(directory)
    if not starts or not crashed(starts[-1:]):
        return
    starts[-1]["ended"] = how
    try:
        write(directory, starts)
    except (OSError, records.RecordError):
        # A full disk: deleting the old file makes room. Without a log, no start counts as a crash.
        (directory / FILE).unlink(missing_ok=True)
        write(directory, starts)
