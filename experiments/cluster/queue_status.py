"""What SLURM's queue knows about runs that are not done, merged into what the disk says."""

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
    """The latest array task that was submitted for a run.

    state   squeue's ("PENDING", "RUNNING", …), or "" if the task is no longer in the queue
    reason  why it waits, its node, or how accounting says it ended
    """

    task: str
    state: str
    reason: str
    log: Path
    user: str
    cluster: str | None = None

    @property
    def is_held(self) -> bool:
        """Whether SLURM holds the task indefinitely because a node could not start it."""
        return self.state == "PENDING" and self.reason in slurm.HELD


def survey(plan: Plan) -> tuple[dict[str, Status], dict[str, QueueState]]:
    """Every run's status, from the disk and the queue, and the queue's part of it, by run id.

    Raises SlurmError where SLURM is installed but does not answer.
    """
    statuses = plan.statuses()
    queue = query(plan.workspace.runs, statuses.values())
    return merge(statuses, queue, plan.workspace.runs), queue


def statuses(plan: Plan, measures: bool = False) -> dict[str, Status]:
    """Every run's status; if SLURM does not answer, the disk's alone, with a note on stderr.

    ``measures``: see `Plan.statuses`.
    """
    on_disk = plan.statuses(measures)
    try:
        queue = query(plan.workspace.runs, on_disk.values())
    except slurm.SlurmError as error:
        print(f"note: SLURM did not answer; showing what the disk says ({error})", file=sys.stderr)
        return on_disk
    return merge(on_disk, queue, plan.workspace.runs)


def query(runs: Path, statuses: Iterable[Status]) -> dict[str, QueueState]:
    """Run id -> queue state of unfinished runs, with one call of squeue and one of sacct.

    Empty where SLURM is not installed. Raises SlurmError where it is installed but does not answer:
    "not in the queue" and "unknown" must not be confused.
    """
    unfinished = {s.spec.id for s in statuses if s.state in (*NOT_STARTED, *ACTIVE)}
    latest = _latest_tasks(submitted.load_here(runs), unfinished) if slurm.is_here() else {}
    if not latest:
        return {}
    states: dict[str, QueueState] = {}
    for cluster in {array.cluster for array, _ in latest.values()}:
        there = {run: (a, i) for run, (a, i) in latest.items() if a.cluster == cluster}
        queued = slurm.queue({str(a.job) for a, _ in there.values()}, cluster=cluster)
        gone = {str(a.job) for a, i in there.values() if f"{a.job}_{i}" not in queued}
        ends = slurm.accounted(gone, cluster=cluster)
        states |= {run: _state_of(a, i, queued, ends) for run, (a, i) in there.items()}
    # A cluster may hide other people's jobs: not seeing one of theirs proves nothing.
    return {
        run: state
        for run, state in states.items()
        if state.state or state.user == slurm.user() or state.reason != UNKNOWN
    }


def _latest_tasks(
    arrays: Iterable[SubmittedArray], wanted: set[str]
) -> dict[str, tuple[SubmittedArray, int]]:
    """Run -> the last array that contains it, and the task's index; only arrays with a job id."""
    latest: dict[str, tuple[SubmittedArray, int]] = {}
    for array in arrays:
        if array.job is None:
            continue
        for i, runs in enumerate(array.tasks):
            latest.update({run: (array, i) for run in runs if run in wanted})
    return latest


def _state_of(
    array: SubmittedArray,
    i: int,
    queued: Mapping[str, slurm.Queued],
    ends: Mapping[str, slurm.Ended],
) -> QueueState:
    """The state of one task. Ids can be given out twice, so the job's name must match, too."""
    task = f"{array.job}_{i}"
    entry = queued.get(task)
    end = ends.get(task, slurm.Ended(array.name, UNKNOWN))
    if entry is not None and entry.name == array.name:
        state, reason = entry.state, entry.reason
    else:
        state, reason = "", end.state if end.name == array.name else UNKNOWN
    return QueueState(task, state, reason, array.log(i), array.user, array.cluster)


def merge(
    statuses: Mapping[str, Status], queue: Mapping[str, QueueState], runs: Path
) -> dict[str, Status]:
    """The disk decides; the queue tells "pending" from "to do", and "lost" from "running"."""
    return {
        run: _merge_one(status, queue[run], runs) if run in queue else status
        for run, status in statuses.items()
    }


def _merge_one(status: Status, queue: QueueState, runs: Path) -> Status:
    if status.state == State.RUNNING:
        # A claim says so. If it is this task's and the task is not running, nobody renews it.
        claim = claims.newest(status.spec.directory(runs))
        is_this_tasks = claim is not None and claims.job_of(claim) == queue.task
        if not is_this_tasks or queue.state not in ("", "PENDING"):
            return status
    elif status.state not in NOT_STARTED:
        return status
    if not queue.state:
        return replace(status, state=State.LOST, detail=f"job {queue.task} ended: {queue.reason}")
    if queue.state == "PENDING":
        hint = "; submit releases it" if queue.is_held else ""
        detail = f"job {queue.task}: {queue.reason}{hint}"
        return replace(status, state=State.PENDING, detail=detail)
    return replace(status, state=State.RUNNING, detail=f"job {queue.task} on {queue.reason}")
