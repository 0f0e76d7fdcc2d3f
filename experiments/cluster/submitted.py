"""What was sent to SLURM: one folder per array, under ``runs/.slurm``.

``array.json`` is written before sbatch is called, without a job id: it is the token that something
may have been sent. The id is added when sbatch has answered. Whoever finds a token without an id
looks the job up by its name, which nothing else has. Nothing here decides whether a run is done.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import slurm
from experiments.matrix.run_spec import RunSpec
from results import records

FOLDER = ".slurm"  # under the runs directory
ENTRY = "array.json"


@dataclass(frozen=True)
class SubmittedArray:
    """One array: ``tasks`` are the ids of each task's runs, ``job`` its id once sbatch answered."""

    folder: Path
    name: str
    matrix: str
    user: str
    time: float  # seconds since 1970
    tasks: tuple[tuple[str, ...], ...]
    after: str | None = None  # the array task it waits for
    minutes: int | None = None
    job: str | None = None
    code: dict[str, Any] | None = None  # `environment.code` at submission
    snapshot: str | None = None  # the copy of the code that it runs from
    cluster: str | None = None  # where it was sent: two clusters may share a disk, not their ids

    def task_of(self, run: str) -> int | None:
        """The index of the task that makes a run."""
        return next((i for i, runs in enumerate(self.tasks) if run in runs), None)

    def log(self, task: int) -> Path:
        """Where a task writes; every start of it appends."""
        return self.folder / f"{self.job}_{task}_0_log.out"

    def write(self) -> None:
        plain = {k: v for k, v in vars(self).items() if k != "folder"}
        records.write_atomic(self.folder / ENTRY, json.dumps(plain, indent=1))

    def with_job(self, job: str) -> SubmittedArray:
        """The same, its id known; on disk, too."""
        known = replace(self, job=job)
        known.write()
        return known


def new(
    runs: Path,
    matrix: str,
    tasks: Iterable[Iterable[RunSpec]],
    **more: Any,
) -> SubmittedArray:
    """A folder and a name for an array that is about to be sent; nothing is written yet."""
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(matrix).stem)
    name = f"kd-{stem[:40]}-{secrets.token_hex(4)}"
    ids = tuple(tuple(spec.id for spec in specs) for specs in tasks)
    where = runs / FOLDER / name
    here = slurm.cluster()
    return SubmittedArray(where, name, matrix, slurm.user(), time.time(), ids, cluster=here, **more)


def load(runs: Path) -> list[SubmittedArray]:
    """Everything that was sent for these runs, oldest first; what cannot be read is passed over."""
    found = (_read(path) for path in (runs / FOLDER).glob(f"*/{ENTRY}"))
    return sorted((sent for sent in found if sent), key=lambda sent: sent.time)


def load_here(runs: Path) -> list[SubmittedArray]:
    """As `load`, what this machine's cluster can speak of."""
    found = load(runs)
    here = slurm.cluster() if found else None
    return [sent for sent in found if sent.cluster in (None, here)]


def _read(path: Path) -> SubmittedArray | None:
    try:
        plain = json.loads(path.read_text())
        plain["tasks"] = tuple(tuple(runs) for runs in plain["tasks"])
        plain["time"] = float(plain["time"])
        return SubmittedArray(folder=path.parent, **plain)
    except (OSError, ValueError, KeyError, TypeError):  # cut in half, or of another version
        return None
