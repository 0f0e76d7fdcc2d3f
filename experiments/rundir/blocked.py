"""Why a run could not be tried: one line in ``blocked.txt`` in its directory, for people.

It stops nobody: the next start tries again, and removes the file when the run begins.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from experiments.rundir.layout import BLOCKED
from experiments.rundir.status import is_claimed
from results import records


def store(directory: Path, reason: str) -> None:
    """Write ``reason`` in one line, unless a process is working on the run.

    A disk that refuses it is passed over: the reason is in the job's log, too.
    """
    with contextlib.suppress(OSError, records.RecordError):
        directory.mkdir(parents=True, exist_ok=True)
        if not is_claimed(directory):
            records.write_atomic(directory / BLOCKED, " ".join(reason.split()) + "\n")


def clear(directory: Path) -> None:
    """Remove what `store` wrote. Only for the holder of the run's claim."""
    (directory / BLOCKED).unlink(missing_ok=True)
