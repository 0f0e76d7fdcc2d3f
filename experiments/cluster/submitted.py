"""What was submitted to SLURM: one folder per array, under ``runs/.slurm``.

``array.json`` is written before sbatch is called, without a job id: it is the token that says an
array may have been submitted. The id is added when sbatch has answered. A process that finds a
token without an id looks the job up by its name, which is unique. Nothing here decides whether a
run is done.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from experiments import slurm
from experiments.cluster import naming
from results import files, records

FOLDER = ".slurm"  # under the runs directory
ENTRY = "array.json"


@dataclass(frozen=True)
class SubmittedArray:
    """One array: ``tasks`` holds the run ids of each task; ``job`` is None until sbatch answers."""

    folder: Path
    name: str
    matrix: str
    user: str
    time: float  # seconds since 1970
    tasks: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] = ()  # the array tasks that must end well before it starts
    after_end: tuple[str, ...] = ()  # the arrays that must have ended, in any way
    minutes: int | None = None
    job: str | None = None
    code: dict[str, Any] | None = None  # `environment.code` at submission
    snapshot: str | None = None  # the copy of the code that it runs from
    # Two clusters may share a disk, but not their job ids. "a,b" until sbatch has chosen one.
    cluster: str | None = None

    @property
    def is_mine(self) -> bool:
        """Whether the user of this process sent it; in a container, a user may have no name."""
        me = os.getuid()
        names = {slurm.user(), str(me)}
        if self.user in names:
            return True
        return slurm.user() == str(me) and self.owner == me

    @property
    def owner(self) -> int | None:
        """The number of the user whose files these are; None if they are gone."""
        try:
            return self.folder.lstat().st_uid
        except OSError:
            return None

    @property
    def clusters(self) -> tuple[str | None, ...]:
        """Where to ask for it: None is this machine's cluster."""
        return tuple(self.cluster.split(",")) if self.cluster else (None,)

    def task_of(self, run: str) -> int | None:
        """The index of the task that trains a run."""
        return next((i for i, runs in enumerate(self.tasks) if run in runs), None)

    def log(self, task: int) -> Path:
        """A task's log file; every start of the task appends to it."""
        return self.folder / f"{self.job}_{task}_0_log.out"

    def write(self) -> None:
        """Write the file; earlier code, too, reads that of an array that waits for one task."""
        plain = {k: v for k, v in vars(self).items() if k != "folder"}
        if len(self.after) < 2:
            plain["after"] = self.after[0] if self.after else None
        if not self.after_end:
            del plain["after_end"]
        records.write_atomic(self.folder / ENTRY, json.dumps(plain, indent=1))

    def with_job(self, job: str, cluster: str | None = None) -> SubmittedArray:
        """This array with its job id and the cluster that has it, written to disk, too."""
        known = replace(self, job=job, cluster=cluster or self.cluster)
        known.write()
        return known


def _several(after: Any) -> Any:
    """A list, also of what was written as the one task, or none, that an array waits for."""
    return [after] if isinstance(after, str) else [] if after is None else after


Tasks = Annotated[tuple[str, ...], Field(strict=False)]


class _Entry(BaseModel):
    """What an ``array.json`` holds."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    matrix: str
    user: str
    time: float
    tasks: Annotated[tuple[Tasks, ...], Field(strict=False)]
    after: Annotated[Tasks, BeforeValidator(_several)] = ()
    after_end: Tasks = ()
    minutes: int | None = None
    job: str | None = None
    code: dict[str, Any] | None = None
    snapshot: str | None = None
    cluster: str | None = None


def new(
    runs: Path,
    matrix: str,
    tasks: Iterable[Iterable[str]],
    about: str = "",
    **more: Any,
) -> SubmittedArray:
    """Name an array that is about to be submitted; ``tasks`` are run ids. Writes nothing.

    ``about`` becomes part of the name. ``more``: other fields; without ``cluster``, it is for the
    one of this machine.
    """
    name = naming.name(matrix, about)
    return SubmittedArray(
        folder=runs / FOLDER / name,
        name=name,
        matrix=matrix,
        user=slurm.user(),
        time=time.time(),
        tasks=tuple(map(tuple, tasks)),
        cluster=more.pop("cluster", None) or slurm.cluster(),
        **more,
    )


def load(runs: Path) -> list[SubmittedArray]:
    """All arrays submitted for these runs, oldest first; unreadable entries are skipped."""
    arrays = (_read(path) for path in (runs / FOLDER).glob(f"*/{ENTRY}"))
    return sorted((array for array in arrays if array), key=lambda array: array.time)


def load_here(runs: Path) -> list[SubmittedArray]:
    """As `load`, but only arrays whose clusters can be asked from this machine.

    Raises SlurmError where SLURM is installed and does not say which these are.
    """
    arrays = load(runs)
    if not slurm.is_here():
        return [array for array in arrays if array.cluster in (None, slurm.cluster())]
    return [array for array in arrays if all(map(_can_be_asked, array.clusters))]


def _can_be_asked(cluster: str | None) -> bool:
    """This machine's cluster, and those of the same accounts: SLURM's own word is "all"."""
    if cluster is None or cluster.lower() == (slurm.here() or "").lower():
        return True
    return cluster == "all" or cluster.lower() in slurm.others()


def _read(path: Path) -> SubmittedArray | None:
    try:
        content = files.read_bytes(path)
        entry = _Entry.model_validate_json(content)
    except (OSError, ValueError):  # truncated, or written by another version
        return None
    return SubmittedArray(folder=path.parent, **entry.model_dump())
