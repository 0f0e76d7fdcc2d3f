"""Submit planned arrays to SLURM, exactly once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments import slurm
from experiments.cluster import naming, refusals, removal, sbatch, snapshot, submitted
from experiments.cluster.arrays import Array, Settings, SubmissionPlan
from experiments.cluster.queue_status import QueueState
from experiments.cluster.submitted import SubmittedArray
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.plan import Plan
from experiments.rundir import claims
from experiments.wording import plural
from experiments.worker.job import Job, task_file

# Attempts: SLURM drops students whose teacher's job ends just before their sbatch.
ROUNDS = 3
ANSWER_SECONDS = 15.0  # a killed caller's sbatch may still reach the controller this late
WAIT_SECONDS = 900.0  # for another submitter to finish
# sbatch's messages after which the controller may or may not have accepted the job.
UNCLEAR = ("timed out", "Unable to contact", "Zero Bytes were transmitted", "Connection reset")


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


def recover(runs: Path) -> list[str]:
    """Complete what a killed submitter left: adopt arrays that SLURM has, drop the others.

    The caller must hold `submit_lock`. Returns one line per array.
    """
    lines = []
    for array in submitted.load_here(runs):
        if array.job is not None:
            continue
        job = _find_job(array)
        if job is None:
            lines.append(f"{array.name}: was never submitted")
            lines += removal.remove(array.folder)
        else:
            array.with_job(job)
            lines.append(f"{array.name}: adopted as job {job}")
    return lines


def _find_job(array: SubmittedArray) -> str | None:
    """The array's job id by its name; None once an sbatch in flight would have arrived."""
    while (job := slurm.named(array.name)) is None:
        if time.time() - array.time > ANSWER_SECONDS:
            return None
        time.sleep(1.0)
    return job


def unfinished(runs: Path, queue: Mapping[str, QueueState]) -> bool:
    """Whether `submit` has work even if there is nothing to send: tokens without id, held tasks."""
    if any(array.job is None for array in submitted.load_here(runs)):
        return True
    return any(state.is_held for state in queue.values())


def release(queue: Mapping[str, QueueState], note: Callable[[str], None]) -> None:
    """Release tasks that SLURM holds because a node failed to start them: nothing else does."""
    for task in sorted({state.task for state in queue.values() if state.is_held}):
        try:
            slurm.release(task)
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
    sender = _Sender(plan, settings)
    teachers = dict(submission.under_way)  # run id -> the array task that trains it
    sent: list[SubmittedArray] = []
    for array in submission.arrays:
        claim.beat()
        if not claim.is_held():  # this process was suspended or cut off for long
            raise InputError("another submit has taken over; look at `status`, then submit again")
        if array.after is not None and array.after not in teachers:
            continue  # its teacher did not fit into the limits
        try:
            for entry in refusals.in_pieces(array, partial(sender.send, teachers)):
                sent.append(entry)
                note(_summary(entry))
                teachers |= {
                    r: f"{entry.job}_{i}" for i, ids in enumerate(entry.tasks) for r in ids
                }
        except refusals.LimitReached as error:
            if not sent:
                raise _explained(error, sent) from error
            note(_reached(error))
            break
        except slurm.SlurmError as error:
            raise _explained(error, sent) from error
    return sent


class _Sender:
    """Sends arrays of one submission, all from the same code."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan, self.settings = plan, settings
        self.code, self.plugins = CHECKOUT, plan.plugins
        if settings.snapshot:
            folder = plan.workspace.runs / submitted.FOLDER
            self.code, self.plugins = snapshot.make(folder, plan.plugins)

    def send(self, teachers: Mapping[str, str], array: Array) -> SubmittedArray:
        """Send an array; ``teachers`` are the tasks that train them, by run id."""
        tasks = [[replace(t.job, plugins=self.plugins) for t in jobs] for jobs in array.jobs]
        copied_code = str(self.code) if self.settings.snapshot else None
        after = teachers.get(array.after or "")
        entry = _entry(self.plan, array, tasks[0][0].code, after, copied_code)
        return _send_one(entry, tasks, self.settings.options.of_job(array.most), self.code)


def _reached(error: refusals.LimitReached) -> str:
    jobs = slurm.mine()
    return (
        f"SLURM admits no more of your jobs now ({error.limit}); `--max-jobs {jobs}` keeps to "
        f"that. The next submit sends the rest"
    )


def runs_of_jobs(array: Array) -> list[list[str]]:
    """The ids of the runs of each job."""
    return [[spec.id for task in jobs for spec in task.job.specs] for jobs in array.jobs]


def _entry(
    plan: Plan, array: Array, code: dict[str, Any] | None, after: str | None, snapshot: str | None
) -> SubmittedArray:
    """The array's record before it is submitted; ``after`` is its teacher's array task."""
    return submitted.new(
        plan.workspace.runs,
        str(Path(plan.source).absolute()),
        runs_of_jobs(array),
        naming.teacher(array.specs),
        after=after,
        minutes=array.minutes,
        code=code,
        snapshot=snapshot,
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
    specs = [spec for jobs in tasks for job in jobs for spec in job.specs]
    try:
        job_id = sbatch.send(
            entry.folder, **parameters(entry, options, code, specs, tasks[0][0].processes)
        )
    except slurm.SlurmError as error:
        if not _is_unclear(error):
            removal.remove(entry.folder)  # what stays is of no use, and `clean` names it
        raise
    return entry.with_job(job_id)


def parameters(
    entry: SubmittedArray,
    options: SlurmOptions,
    code: Path,
    specs: Sequence[RunSpec],
    processes: int = 1,
) -> dict[str, object]:
    """The arguments of `sbatch.script` and `sbatch.send` for an array of these runs."""
    return {
        "name": entry.name,
        "tasks": len(entry.tasks),
        "options": options,
        "minutes": entry.minutes,
        "after": entry.after,
        "code": code,
        "processes": processes,
        "comment": naming.comment(entry.matrix, specs),
    }


def _summary(array: SubmittedArray) -> str:
    runs, jobs = sum(map(len, array.tasks)), len(array.tasks)
    time_limit = f", time limit {plural(array.minutes, 'minute')}" if array.minutes else ""
    after = f", after job {array.after}" if array.after else ""
    return f"sent {array.job}: {plural(runs, 'run')} in {plural(jobs, 'job')}{time_limit}{after}"


def _explained(error: slurm.SlurmError, sent: list[SubmittedArray]) -> slurm.SlurmError:
    """The error with what it means for the arrays of this submission."""
    if _is_unclear(error):  # the token stays
        return slurm.SlurmError(f"{error} (it may have been accepted: submit again to find out)")
    if not sent:
        return slurm.SlurmError(f"{error} (nothing was submitted)")
    jobs = ", ".join(str(entry.job) for entry in sent)
    return slurm.SlurmError(f"{error} (submitted before that: {jobs}; submit again for the rest)")


def _is_unclear(error: slurm.SlurmError) -> bool:
    return any(words in str(error) for words in UNCLEAR)


def dropped(sent: list[SubmittedArray]) -> list[SubmittedArray]:
    """Arrays that SLURM dropped: their teacher's job had failed before sbatch accepted them."""
    waiting = [array for array in sent if array.after]
    queued = slurm.queue(str(array.job) for array in waiting)
    names = {entry.name for entry in queued.values()}
    return [array for array in waiting if array.name not in names]
