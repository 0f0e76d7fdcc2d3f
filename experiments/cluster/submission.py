"""Submit planned arrays to SLURM, exactly once."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from experiments import slurm
from experiments.cluster import (
    addresses,
    naming,
    policies,
    recovery,
    refusals,
    removal,
    sbatch,
    snapshot,
    submitted,
)
from experiments.cluster.addresses import Address, Awaited
from experiments.cluster.answer import UnclearError
from experiments.cluster.arrays import Array, Settings, SubmissionPlan
from experiments.cluster.queue_status import QueueState
from experiments.cluster.submitted import SubmittedArray
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.plan import Plan
from experiments.rundir import claims
from experiments.wording import form, plural
from experiments.worker.job import Job, task_file

# Attempts: SLURM drops students whose teacher's job ends just before their sbatch.
ROUNDS = 3
MOST_RELEASES = 3  # of one task by one command
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
            still = f"another submit{_holder(folder)} still holds the lock"
            raise InputError(f"{folder}: {still}; end it there, or try again later")
        if not is_waiting:
            note(
                f"another submit{_holder(folder)} is working on these runs; waiting for it … (if "
                f"it died: {claims.STALE_SECONDS / 60:.0f} minutes after its last sign of life)"
            )
            is_waiting = True
        time.sleep(1.0)
    try:
        yield claim
    finally:
        claim.release()


def _holder(folder: Path) -> str:
    """Who holds the lock, in brackets."""
    latest = claims.newest(folder)
    return f" ({claims.describe(latest)})" if latest else ""


def unfinished(runs: Path, queue: Mapping[str, QueueState]) -> bool:
    """Whether `submit` has work even if there is nothing to send: tokens without id, held tasks."""
    return recovery.is_due(runs) or any(state.to_release for state in queue.values())


def release(
    queue: Mapping[str, QueueState],
    note: Callable[[str], None],
    before: Counter[Address] | None = None,
) -> None:
    """Release tasks that SLURM holds because a node failed to start them: nothing else does.

    Also those of runs that are done: others may wait for such a task to end. ``before`` counts how
    often those who watch have released each: a node that refuses every time ends this.
    """
    held = {(state.cluster, task) for state in queue.values() for task in state.to_release}
    before = Counter() if before is None else before
    for cluster, task in sorted(held, key=str):
        if before[cluster, task] >= MOST_RELEASES:
            continue
        before[cluster, task] += 1
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
    """Call sbatch for every array, in their order. Raises SlurmError when one is refused.

    Arrays submitted before that stay submitted and recorded; nothing is left of the refused one.
    """
    sender = _Sender(plan, settings)
    known = addresses.of_runs(plan.workspace.runs, submission.under_way)
    sent: list[SubmittedArray] = []
    apart: dict[Awaited, list[str]] = {}
    for array in submission.arrays:
        claim.beat()
        if not claim.is_held():  # this process was suspended or cut off for long
            raise InputError("another submit has taken over; look at `status`, then submit again")
        if not known.keys() >= {*array.after, *array.after_end}:
            continue  # what it waits for was not sent: it has no place beside its own teacher
        awaited = Awaited.of(array.after, array.after_end, known)
        options = addresses.beside(settings.options, awaited.all)
        if options is None:
            apart.setdefault(awaited, []).extend(array.runs)
            continue
        try:
            for entry in refusals.in_pieces(array, partial(sender.send, awaited, options)):
                sent.append(entry)
                note(_summary(entry))
                for i, ids in enumerate(entry.tasks):
                    known |= dict.fromkeys(ids, (entry.cluster, f"{entry.job}_{i}"))
        except refusals.LimitReached as error:
            if not sent:
                explained = str(_explained(error, sent))
                raise refusals.LimitReached(error.limit, explained) from error
            note(_reached(error, options))
            break
        except slurm.SlurmError as error:
            raise _explained(error, sent) from error
    for line in _apart(apart):
        note(line)
    return sent


class _Sender:
    """Sends arrays of one submission, all from the same code."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan, self.settings = plan, settings
        self.code, self.plugins = CHECKOUT, plan.plugins
        if settings.snapshot:
            folder = plan.workspace.runs / submitted.FOLDER
            self.code, self.plugins = snapshot.make(folder, plan.plugins)

    def send(self, awaited: Awaited, options: SlurmOptions, array: Array) -> SubmittedArray:
        """Send an array that waits for ``awaited``."""
        tasks = [[replace(t.job, plugins=self.plugins) for t in jobs] for jobs in array.jobs]
        copied_code = str(self.code) if self.settings.snapshot else None
        entry = _entry(self.plan, array, tasks[0][0].code, awaited, copied_code, options)
        return _send_one(entry, tasks, options.of_job(array.most), self.code)


def _reached(error: refusals.LimitReached, options: SlurmOptions) -> str:
    jobs = slurm.mine(policies.addressed(options))
    return (
        f"SLURM admits no more of your jobs now ({error.limit}); `--max-jobs {jobs}` keeps to "
        f"that. The next submit sends the rest"
    )


def _apart(waiting: Mapping[Awaited, list[str]]) -> Iterator[str]:
    """A sentence for each set of jobs that runs cannot be sent to wait for: on other clusters."""
    for awaited, runs in waiting.items():
        clusters = list(dict.fromkeys(cluster for cluster, _ in awaited.all))
        jobs = [job for _, job in awaited.all]
        whose = ""
        if not awaited.arrays:
            its = form(len(runs), "its", "their")
            whose = f"{its} {form(len(jobs), 'teacher', 'teachers')}, "
        where = " and ".join(_jobs_on(cluster, awaited) for cluster in clusters)
        elsewhere = f", or with --sbatch clusters={clusters[0]}" if len(clusters) == 1 else ""
        yield (
            f"{plural(len(runs), 'run')} {form(len(runs), 'waits', 'wait')} for {whose}{where}: "
            f"SLURM's dependencies end at a cluster's edge; submit again when "
            f"{form(len(jobs), 'it is', 'they are')} done{elsewhere}"
        )


def _jobs_on(cluster: str | None, awaited: Awaited) -> str:
    """ "jobs 7_0, 9 on cluster there"."""
    jobs = [job for where, job in awaited.all if where == cluster]
    return f"{form(len(jobs), 'job', 'jobs')} {', '.join(jobs)} on cluster {cluster or 'here'}"


def runs_of_jobs(array: Array) -> list[list[str]]:
    """The ids of the runs of each job."""
    return [[spec.id for task in jobs for spec in task.job.specs] for jobs in array.jobs]


def _entry(
    plan: Plan,
    array: Array,
    code: dict[str, Any] | None,
    awaited: Awaited,
    snapshot: str | None,
    options: SlurmOptions,
) -> SubmittedArray:
    """The array's record before it is submitted."""
    return submitted.new(
        plan.workspace.runs,
        str(Path(plan.source).absolute()),
        runs_of_jobs(array),
        naming.teacher(array.specs),
        after=tuple(task for _, task in awaited.tasks),
        after_end=tuple(job for _, job in awaited.arrays),
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
    specs = [spec for jobs in tasks for job in jobs for spec in job.specs]
    try:
        about = parameters(entry, options, code, specs, tasks[0][0].processes)
        found = sbatch.send(entry.folder, **about)
    except UnclearError:
        raise  # the token stays: the next submit finds out
    except slurm.SlurmError:
        removal.remove(entry.folder)  # what stays is of no use, and `clean` names it
        raise
    if found.cluster is None and len(addresses.clusters(options)) > 1:
        raise UnclearError(f"sbatch: job {found.job} was accepted by one of {entry.cluster}")
    return entry.with_job(found.job, found.cluster)


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
        "after_end": entry.after_end,
        "code": code,
        "processes": processes,
        "comment": naming.comment(entry.matrix, specs),
    }


def _summary(array: SubmittedArray) -> str:
    what = f"{plural(sum(map(len, array.tasks)), 'run')} in {plural(len(array.tasks), 'job')}"
    time_limit = f", time limit {plural(array.minutes, 'minute')}" if array.minutes else ""
    jobs = (*array.after, *array.after_end)
    after = f", after {form(len(jobs), 'job', 'jobs')} {', '.join(jobs)}" if jobs else ""
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
