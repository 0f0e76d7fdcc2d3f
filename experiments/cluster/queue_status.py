"""What SLURM's queue adds to what the disk says of runs that are not done."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from experiments import slurm
from experiments.cluster import submitted
from experiments.cluster.submitted import SubmittedArray
from experiments.plan.plan import Plan
from experiments.rundir import claims
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status

UNKNOWN = "no longer known to SLURM"


@dataclass(frozen=True)
class QueueState:
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


def query(runs: Path, statuses: Iterable[Status]) -> dict[str, QueueState]:
    """Run id -> hint, for what is not done: one call of squeue and one of sacct for everything.

    Nothing where SLURM is not: then the disk speaks alone. Raises SlurmError where it is, but does
    not answer: "not in the queue" and "nobody knows" must not be mixed up.
    """
    open_ones = {s.spec.id for s in statuses if s.state in (*NOT_STARTED, *ACTIVE)}
    latest = _latest(submitted.load_here(runs), open_ones) if slurm.is_here() else {}
    if not latest:
        return {}
    jobs = {str(sent.job) for sent, _ in latest.values()}
    queued = slurm.queue(jobs)
    gone = {str(sent.job) for sent, i in latest.values() if f"{sent.job}_{i}" not in queued}
    ends = slurm.accounted(gone)
    found = {run: _hint(sent, i, queued, ends) for run, (sent, i) in latest.items()}
    return {run: hint for run, hint in found.items() if _is_telling(hint)}


def _is_telling(hint: QueueState) -> bool:
    """Clusters may hide other people's jobs: not to see one then says nothing."""
    return bool(hint.state) or hint.user == slurm.user() or hint.reason != UNKNOWN


def _latest(
    entries: Iterable[SubmittedArray], wanted: set[str]
) -> dict[str, tuple[SubmittedArray, int]]:
    """Run -> the last array that holds it and the task's index; without those never sent."""
    found: dict[str, tuple[SubmittedArray, int]] = {}
    for sent in entries:
        if sent.job is None:
            continue
        for i, runs in enumerate(sent.tasks):
            found.update({run: (sent, i) for run in runs if run in wanted})
    return found


def _hint(
    sent: SubmittedArray,
    i: int,
    queued: Mapping[str, slurm.Queued],
    ends: Mapping[str, tuple[str, str]],
) -> QueueState:
    task = f"{sent.job}_{i}"
    there = queued.get(task)
    name, end = ends.get(task, (sent.name, UNKNOWN))
    if there is not None and there.name == sent.name:
        state, reason = there.state, there.reason
    else:
        state, reason = "", end if name == sent.name else UNKNOWN
    return QueueState(task, state, reason, sent.log(i), sent.user)


def merge(
    statuses: Mapping[str, Status], hints: Mapping[str, QueueState], runs: Path
) -> dict[str, Status]:
    """The disk's word first; a hint tells pending from to do, and lost from running."""
    return {
        run: _merge_one(status, hints[run], runs) if run in hints else status
        for run, status in statuses.items()
    }


def _merge_one(status: Status, hint: QueueState, runs: Path) -> Status:
    if status.state == State.RUNNING:  # says a claim; but is it the hint's?
        if not _was_of(status, hint, runs) or hint.state not in ("", "PENDING"):
            return status
    elif status.state not in NOT_STARTED:
        return status
    if not hint.state:
        return _lost(status, hint)
    if hint.state == "PENDING":
        more = "; submit releases it" if hint.is_held else ""
        detail = f"job {hint.task}: {hint.reason}{more}"
        return replace(status, state=State.PENDING, detail=detail)
    return replace(status, state=State.RUNNING, detail=f"job {hint.task} on {hint.reason}")


def _lost(status: Status, hint: QueueState) -> Status:
    detail = f"job {hint.task} ended: {hint.reason}"
    return replace(status, state=State.LOST, detail=detail)


def _was_of(status: Status, hint: QueueState, runs: Path) -> bool:
    """Whether the claim on a run is that of the hint's job, which has ended: nobody beats it."""
    claim = claims.newest(status.spec.directory(runs))
    job = claims.job_of(claim) if claim else None
    return job == hint.task


def survey(plan: Plan) -> tuple[dict[str, Status], dict[str, QueueState]]:
    """Every run's state by the disk and SLURM, and SLURM's hints. Raises SlurmError."""
    statuses = plan.statuses()
    found = query(plan.workspace.runs, statuses.values())
    return merge(statuses, found, plan.workspace.runs), found


def statuses(found: Plan) -> dict[str, Status]:
    """Every run's state; where SLURM does not answer, the disk's word alone, which is said."""
    known = found.statuses()
    try:
        queued = query(found.workspace.runs, known.values())
    except slurm.SlurmError as error:
        print(f"note: SLURM does not say ({error}): only what the disk says", file=sys.stderr)
        return known
    return merge(known, queued, found.workspace.runs)
