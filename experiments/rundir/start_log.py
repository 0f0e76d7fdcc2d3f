"""Every start of a run, on record before anything can go wrong: ``starts.json`` in its directory.

A list, oldest first. Per start it has what `environment.start_record` says, and::

    epoch, steps  where it began: in which epoch, after how many steps
    submitted     the code at submission, only where this start's own is another
    progress      whether a step was saved since, by this run or, while it waits, by its cohort
    ended         "interrupted" or "failed" where it ended of itself before that

A start with neither progress nor end crashed. After two of them in a row nobody tries a third time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results import provenance, records
from results.schema import Code

FILE = "starts.json"
TRIES = 2  # starts in a row that may crash before they have saved one step

Start = dict[str, Any]


class NoProgress(RuntimeError):  # noqa: N818  (an outcome of starting)
    """Start after start crashes before one step is saved."""


def read(directory: Path) -> list[Start]:
    """The starts on record; none where there is no such file, or one that makes no sense."""
    try:
        found = json.loads((directory / FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, RecursionError):  # half a file, or somebody else's
        return []
    return [start for start in found if isinstance(start, dict)] if isinstance(found, list) else []


def write(directory: Path, starts: Sequence[Start]) -> None:
    """Put them on record; only for whoever holds the run's claim."""
    records.write_atomic(directory / FILE, json.dumps(starts, indent=1) + "\n")


def failures(directory: Path) -> int:
    """How many of the last starts crashed, one after the other, before a step was saved.

    One that is under way counts until its first step is saved: ask only where nobody is at work.
    """
    try:
        return len(crashed(read(directory)))
    except OSError:  # this is for looking at runs; whoever starts one is told
        return 0


def crashed(starts: Sequence[Start]) -> list[Start]:
    """Those at the end of the list that crashed; starts of former versions count as good."""
    last = len(starts)
    while last and not starts[last - 1].get("progress", True) and "ended" not in starts[last - 1]:
        last -= 1
    return list(starts[last:])


def begin(
    directory: Path, run: str, start: Start, submitted: Mapping[str, Any] | None = None
) -> list[Start]:
    """Put a new start of a run on record; returns the earlier ones and, last, this one.

    ``submitted`` is the code at submission. Raises NoProgress, and records no start, when too many
    have crashed already.
    """
    earlier = read(directory)
    lost = crashed(earlier)
    if len(lost) >= TRIES:
        raise NoProgress(_no_progress(run, lost[-TRIES:]))
    new = {**start, "progress": False}
    if submitted and provenance.is_other_code(
        Code.model_validate(submitted), Code.model_validate(start)
    ):
        new["submitted"] = dict(submitted)
    starts = [*earlier, new]
    write(directory, starts)
    return starts


def _no_progress(run: str, lost: Sequence[Start]) -> str:
    places = [_place(start) for start in lost]
    logs = f"; see `benchmark.py logs {run}`" if any(s.get("job") for s in lost) else ""
    return (
        f"two starts ended before one step was saved ({', '.join(places)}): "
        f"out of memory, a time limit too short, or a crash{logs}"
    )


def _place(start: Start) -> str:
    host = start.get("host", "an unknown machine")
    return f"job {start['job']} on {host}" if start.get("job") else f"on {host}"


def end(directory: Path, how: str) -> None:
    """Note that the last start ends of itself ("interrupted", "failed"): it did not crash."""
    starts = read(directory)
    if not starts or not crashed(starts[-1:]):
        return
    starts[-1]["ended"] = how
    try:
        write(directory, starts)
    except (OSError, records.RecordError):
        # A full disk: there is room where the old file was; and without a record nothing counts.
        (directory / FILE).unlink(missing_ok=True)
        write(directory, starts)
