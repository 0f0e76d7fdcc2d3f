"""What SLURM's queue adds to what the disk says of runs that are not done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import census, claims, ledger, slurm
from .census import Status
from .ledger import Sent

UNKNOWN = "no longer known to SLURM"


@dataclass(frozen=True)
class Hint:
    """The latest array task that was to make a run.

    state   squeue's ("PENDING", "RUNNING", …), or "" when the task is in the queue no more
    reason  why it waits, its node, or how accounting says it ended
    """

    task: str
    state: str
    reason: str
    log: Path
    user: str

    @property
    def is_held(self) -> bool:
        """Whether SLURM holds the task for ever, since a node could not start it."""
        return self.state == "PENDING" and self.reason in slurm.HELD


def gather(runs: Path, statuses: Iterable[Status]) -> dict[str, Hint]:
    """Run id -> hint, for what is not done: one call of squeue and one of sacct for everything.

    Nothing where SLURM is not: then the disk speaks alone. Raises SlurmError where it is, but does
    not answer: "not in the queue" and "nobody knows" must not be mixed up.
    """
    open_ones = {s.spec.id for s in statuses if s.state in (*census.OPEN, *census.BUSY)}
    latest = _latest(ledger.load_here(runs), open_ones) if slurm.is_here() else {}
    if not latest:
        return {}
    jobs = {str(sent.job) for sent, _ in latest.values()}
    queued = slurm.queue(jobs)
    gone = {str(sent.job) for sent, i in latest.values() if f"{sent.job}_{i}" not in queued}
    ends = slurm.accounted(gone)
    found = {run: _hint(sent, i, queued, ends) for run, (sent, i) in latest.items()}
    return {run: hint for run, hint in found.items() if _is_telling(hint)}


def _is_telling(hint: Hint) -> bool:
    """Clusters may hide other people's jobs: not to see one then says nothing."""
    return bool(hint.state) or hint.user == slurm.user() or hint.reason != UNKNOWN


def _latest(entries: Iterable[Sent], wanted: set[str]) -> dict[str, tuple[Sent, int]]:
    """Run -> the last array that holds it and the task's index; without those never sent."""
    found: dict[str, tuple[Sent, int]] = {}
    for sent in entries:
        if sent.job is None:
            continue
        for i, runs in enumerate(sent.tasks):
            found.update({run: (sent, i) for run in runs if run in wanted})
    return found


def _hint(
    sent: Sent, i: int, queued: Mapping[str, slurm.Queued], ends: Mapping[str, tuple[str, str]]
) -> Hint:
    task = f"{sent.job}_{i}"
    there = queued.get(task)
    name, end = ends.get(task, (sent.name, UNKNOWN))
    if there is not None and there.name == sent.name:
        state, reason = there.state, there.reason
    else:
        state, reason = "", end if name == sent.name else UNKNOWN
    return Hint(task, state, reason, sent.log(i), sent.user)


def merged(
    statuses: Mapping[str, Status], hints: Mapping[str, Hint], runs: Path
) -> dict[str, Status]:
    """The disk's word first; a hint tells pending from to do, and lost from running."""
    return {
        run: _merged(status, hints[run], runs) if run in hints else status
        for run, status in statuses.items()
    }


def _merged(status: Status, hint: Hint, runs: Path) -> Status:
    if status.state == census.RUNNING:  # says a claim; but is it the hint's?
        if not _was_of(status, hint, runs) or hint.state not in ("", "PENDING"):
            return status
    elif status.state not in census.OPEN:
        return status
    if not hint.state:
        return _lost(status, hint)
    if hint.state == "PENDING":
        more = "; submit releases it" if hint.is_held else ""
        detail = f"job {hint.task}: {hint.reason}{more}"
        return replace(status, state=census.PENDING, detail=detail)
    return replace(status, state=census.RUNNING, detail=f"job {hint.task} on {hint.reason}")


def _lost(status: Status, hint: Hint) -> Status:
    detail = f"job {hint.task} ended: {hint.reason}"
    return replace(status, state=census.LOST, detail=detail)


def _was_of(status: Status, hint: Hint, runs: Path) -> bool:
    """Whether the claim on a run is that of the hint's job, which has ended: nobody beats it."""
    claim = claims.newest(status.spec.directory(runs))
    job = claims.job_of(claim) if claim else None
    return job == hint.task
