"""Submit planned arrays to SLURM, exactly once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import slurm
from experiments.cluster import addresses, recovery, removal, sbatch, snapshot, submitted
from experiments.cluster.addresses import Address
from experiments.cluster.answer import UnclearError
from experiments.cluster.arrays import Array, Settings, SubmissionPlan
from experiments.cluster.queue_status import QueueState
from experiments.cluster.submitted import SubmittedArray
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.plan import Plan
from experiments.rundir import claims
from experiments.wording import form, plural
from experiments.worker.job import Job, task_file

# Attempts: SLURM drops students whose teacher's job ends just before their sbatch.
ROUNDS = 3
WAIT_SECONDS = 900.0  # for another submitter to finish


@contextlib.contextmanager
def submit_lock(runs: Path, note: Callable[[str], None]) -> Iterator[claims.Claim]:
    """Allow one submitter at a time per runs directory; the next waits, then sees what was sent.

    Raises InputError after WAIT_SECONDS.
    """
    folder = runs / submitted.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + WAIT_SECONDS
    is_waiting = False
    while (claim := claims.take(folder)) is None:
        if time.monotonic() > deadline:
            raise InputError(f"{folder}: another submit still holds the lock; try again later")
        if not is_waiting:
            note("another submit is working on these runs; waiting for it …")
            is_waiting = True
        time.sleep(1.0)
    try:
        yield claim
    finally:
        claim.release()


def unfinished(runs: Path, queue: Mapping[str, QueueState]) -> bool:
    """Whether `submit` has work even if there is nothing to send: tokens without id, held tasks."""
    return recovery.is_due(runs) or any(state.is_held for state in queue.values())


def release(queue: Mapping[str, QueueState], note: Callable[[str], None]) -> None:
    """Release tasks that SLURM holds because a node failed to start them: nothing else does."""
    held = {(state.cluster, state.task) for state in queue.values() if state.is_held}
    for cluster, task in sorted(held, key=str):
        try:
            slurm.release(task, cluster=cluster)
            note(f"released {task}: SLURM held it because a node could not start it")
        except slurm.SlurmError as error:
            note(f"{task} is held by SLURM and could not be released: {error}")


def send(
    plan: Plan,
    submission: SubmissionPlan,
    settings: Settings,
    claim: claims.Claim,
    note: Callable[[str], None],
) -> list[SubmittedArray]:
    """Call sbatch for every array, teachers first. Raises SlurmError when one is refused.

    Arrays submitted before that stay submitted and recorded; nothing is left of the refused one.
    """
    runs = plan.workspace.runs
    code, plugins = CHECKOUT, plan.plugins
    if settings.snapshot:
        code, plugins = snapshot.make(runs / submitted.FOLDER, plugins)
    teachers = addresses.of_teachers(runs, submission.under_way)
    sent: list[SubmittedArray] = []
    apart: dict[Address | None, list[str]] = {}
    for array in submission.arrays:
        claim.beat()
        if not claim.is_held():  # this process was suspended or cut off for long
            raise InputError("another submit has taken over; look at `status`, then submit again")
        if array.after is not None and array.after not in teachers:
            continue  # its teacher did not fit into the limits
        teacher = teachers.get(array.after or "")
        options = addresses.beside(settings.options, teacher)
        if options is None:
            apart.setdefault(teacher, []).extend(array.runs)
            continue
        tasks = [[replace(t.job, plugins=plugins) for t in together] for together in array.jobs]
        copied_code = str(code) if settings.snapshot else None
        entry = _entry(plan, array, tasks[0][0].code, teacher, copied_code, options)
        try:
            entry = _send_one(entry, tasks, options.of_job(array.most), code)
        except slurm.SlurmError as error:
            raise _explained(error, sent) from error
        sent.append(entry)
        note(_summary(entry))
        for i, ids in enumerate(entry.tasks):
            teachers |= dict.fromkeys(ids, (entry.cluster, f"{entry.job}_{i}"))
    for line in _apart(apart):
        note(line)
    return sent


def _apart(waiting: Mapping[Address | None, list[str]]) -> Iterator[str]:
    """A sentence for each teacher whose students cannot be sent: it is on another cluster."""
    for teacher, students in waiting.items():
        assert teacher is not None
        verb = form(len(students), "waits for its", "wait for their")
        yield (
            f"{plural(len(students), 'run')} {verb} teacher, job {teacher[1]} on cluster "
            f"{teacher[0]}: SLURM's dependencies end at a cluster's edge; submit again when it is "
            f"done, or with --sbatch clusters={teacher[0]}"
        )


def runs_of_jobs(array: Array) -> list[list[str]]:
    """The ids of the runs of each job."""
    return [[spec.id for task in jobs for spec in task.job.specs] for jobs in array.jobs]


def _entry(
    plan: Plan,
    array: Array,
    code: dict[str, Any] | None,
    teacher: Address | None,
    snapshot: str | None,
    options: SlurmOptions,
) -> SubmittedArray:
    """The array's record before it is submitted; ``teacher`` is the task that it waits for."""
    return submitted.new(
        plan.workspace.runs,
        str(Path(plan.source).absolute()),
        runs_of_jobs(array),
        after=teacher[1] if teacher else None,
        minutes=array.minutes,
        code=code,
        snapshot=snapshot,
        cluster=addresses.recorded(options),
    )


def _send_one(
    entry: SubmittedArray, tasks: list[list[Job]], options: SlurmOptions, code: Path
) -> SubmittedArray:
    """Write the token, call sbatch, add the job id: in this order, see `submitted`."""
    entry.folder.mkdir(parents=True)
    for i, together in enumerate(tasks):
        for k, job in enumerate(together):
            job.write(entry.folder / (task_file(i, k) if len(together) > 1 else task_file(i)))
    entry.write()
    try:
        found = sbatch.send(entry.folder, **parameters(entry, options, code, tasks[0][0].processes))
    except UnclearError:
        raise  # the token stays: the next submit finds out
    except slurm.SlurmError:
        removal.remove(entry.folder)  # what stays is of no use, and `clean` names it
        raise
    if found.cluster is None and len(addresses.clusters(options)) > 1:
        raise UnclearError(f"sbatch: job {found.job} was accepted by one of {entry.cluster}")
    return entry.with_job(found.job, found.cluster)


def parameters(
    entry: SubmittedArray, options: SlurmOptions, code: Path, processes: int = 1
) -> dict[str, object]:
    """The arguments of `sbatch.script` and `sbatch.send` for an array."""
    return {
        "name": entry.name,
        "tasks": len(entry.tasks),
        "options": options,
        "minutes": entry.minutes,
        "after": entry.after,
        "code": code,
        "processes": processes,
    }


def _summary(array: SubmittedArray) -> str:
    what = f"{plural(sum(map(len, array.tasks)), 'run')} in {plural(len(array.tasks), 'job')}"
    time_limit = f", time limit {plural(array.minutes, 'minute')}" if array.minutes else ""
    after = f", after job {array.after}" if array.after else ""
    where = "" if array.cluster in (None, slurm.cluster()) else f" to {array.cluster}"
    return f"sent {array.job}{where}: {what}{time_limit}{after}"


def _explained(error: slurm.SlurmError, sent: list[SubmittedArray]) -> slurm.SlurmError:
    """The error with what it means for the arrays of this submission."""
    if isinstance(error, UnclearError):
        return UnclearError(f"{error} (it may have been accepted: submit again to find out)")
    if not sent:
        return slurm.SlurmError(f"{error} (nothing was submitted)")
    jobs = ", ".join(str(entry.job) for entry in sent)
    return slurm.SlurmError(f"{error} (submitted before that: {jobs}; submit again for the rest)")


def dropped(sent: list[SubmittedArray]) -> list[SubmittedArray]:
    """Arrays that SLURM dropped: their teacher's job had failed before sbatch accepted them.

    Only an end that SLURM names counts: not to be in the queue proves nothing.
    """
    return [array for array in sent if array.after and _is_over(array)]


def _is_over(array: SubmittedArray) -> bool:
    job, cluster = str(array.job), array.cluster
    shown = [e.state for e in slurm.known([job], cluster).values() if e.name == array.name]
    if not shown:
        ends = slurm.accounted([job], cluster)
        shown = [end.state for end in ends.values() if end.name == array.name]
    return bool(shown) and all(map(slurm.is_over, shown))
