"""Sending what is to do to SLURM, exactly once."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from experiments import slurm
from experiments.cluster import sbatch, snapshot, submitted
from experiments.cluster.arrays import Settings, SubmissionPlan
from experiments.cluster.queue_status import QueueState
from experiments.cluster.submitted import SubmittedArray
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.plan import Plan
from experiments.rundir import claims
from experiments.worker.job import Job, task_file

ROUNDS = 3  # of sending what SLURM dropped because a teacher ended between the look and sbatch
ANSWER_SECONDS = 15.0  # an sbatch whose caller was killed may still be on its way
WAIT_SECONDS = 900.0  # for another submitter
# What sbatch says when the controller may have heard the question although no answer came.
UNCLEAR = ("timed out", "Unable to contact", "Zero Bytes were transmitted", "Connection reset")


# ---- sending -------------------------------------------------------------------------------------


@contextlib.contextmanager
def submit_lock(runs: Path, note: Callable[[str], None]) -> Iterator[claims.Claim]:
    """One submitter at a time per runs directory; the next one waits, then sees what was sent."""
    folder = runs / submitted.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    patience = time.monotonic() + WAIT_SECONDS
    told = False
    while (claim := claims.take(folder)) is None:
        if time.monotonic() > patience:
            raise InputError(f"{folder}: another submit has been at work for long; try again later")
        if not told:
            note("another submit is at work on these runs; waiting for it …")
            told = True
        time.sleep(1.0)
    try:
        yield claim
    finally:
        claim.release()


def recover(runs: Path) -> list[str]:
    """Settle what a killed submitter left: adopt what SLURM has, drop what never got there.

    Only for whoever is `submit_lock`. Returns what was found, in words.
    """
    told = []
    for sent in submitted.load_here(runs):
        if sent.job is not None:
            continue
        job = _looked_up(sent)
        if job is None:
            shutil.rmtree(sent.folder)
            told.append(f"{sent.name}: was never sent")
        else:
            sent.with_job(job)
            told.append(f"{sent.name}: adopted as job {job}")
    return told


def unfinished(runs: Path, found: Mapping[str, QueueState]) -> bool:
    """Whether a submit has something to see to, even where nothing is to send."""
    return any(sent.job is None for sent in submitted.load_here(runs)) or any(
        hint.is_held for hint in found.values()
    )


def release(found: Mapping[str, QueueState], note: Callable[[str], None]) -> None:
    """Let go of what SLURM holds since a node failed to start it: nobody else would."""
    for task in sorted({hint.task for hint in found.values() if hint.is_held}):
        try:
            slurm.release(task)
            note(f"released {task}: a node could not start it, and SLURM held it back")
        except slurm.SlurmError as error:
            note(f"{task} is held back by SLURM: {error}")


def _looked_up(sent: SubmittedArray) -> str | None:
    while (job := slurm.named(sent.name)) is None:
        if time.time() - sent.time > ANSWER_SECONDS:
            return None
        time.sleep(1.0)
    return job


def send(
    plan: Plan,
    view: SubmissionPlan,
    settings: Settings,
    claim: claims.Claim,
    note: Callable[[str], None],
) -> list[SubmittedArray]:
    """sbatch for every array, teachers first. Raises SlurmError when one is refused.

    What was sent before stays sent, and is known; of the refused one nothing is left.
    """
    runs = plan.workspace.runs
    code, plugins = CHECKOUT, plan.plugins
    if settings.snapshot:
        code, plugins = snapshot.make(runs / submitted.FOLDER, plugins)
    teachers = dict(view.under_way)
    sent: list[SubmittedArray] = []
    for array in view.arrays:
        claim.beat()
        if not claim.is_held():  # this process was suspended, or cut off, for long
            raise InputError("another submit has taken over; look at `status`, then submit again")
        if array.after is not None and array.after not in teachers:
            continue  # its teacher did not fit into the limits
        tasks = [replace(task.job, plugins=plugins) for task in array.tasks]
        entry = submitted.new(
            runs,
            str(Path(plan.source).absolute()),
            [job.specs for job in tasks],
            after=teachers.get(array.after or ""),
            minutes=array.minutes,
            code=tasks[0].code,
            snapshot=str(code) if settings.snapshot else None,
        )
        try:
            sent.append(_send(entry, tasks, settings.options, code))
        except slurm.SlurmError as error:
            raise _refused(error, sent) from error
        note(_sentence(sent[-1]))
        new = sent[-1]
        teachers |= {run: f"{new.job}_{i}" for i, ids in enumerate(new.tasks) for run in ids}
    return sent


def _send(
    entry: SubmittedArray, tasks: list[Job], options: SlurmOptions, code: Path
) -> SubmittedArray:
    """The token, sbatch, the id."""
    entry.folder.mkdir(parents=True)
    for i, job in enumerate(tasks):
        job.write(entry.folder / task_file(i))
    entry.write()
    try:
        job_id = sbatch.send(entry.folder, **parameters(entry, options, code, tasks[0].processes))
    except slurm.SlurmError as error:
        if not _is_unclear(error):
            shutil.rmtree(entry.folder)
        raise
    return entry.with_job(job_id)


def parameters(
    entry: SubmittedArray, options: SlurmOptions, code: Path, processes: int = 1
) -> dict[str, object]:
    """What `sbatch` needs to know of an array."""
    return {
        "name": entry.name,
        "tasks": len(entry.tasks),
        "options": options,
        "minutes": entry.minutes,
        "after": entry.after,
        "code": code,
        "processes": processes,
    }


def _sentence(sent: SubmittedArray) -> str:
    runs, jobs = sum(map(len, sent.tasks)), len(sent.tasks)
    time_limit = f", time limit {sent.minutes} minutes" if sent.minutes else ""
    after = f", after job {sent.after}" if sent.after else ""
    plural = "s" * (jobs != 1)
    return f"sent {sent.job}: {runs} runs in {jobs} job{plural}{time_limit}{after}"


def _refused(error: slurm.SlurmError, sent: list[SubmittedArray]) -> slurm.SlurmError:
    if _is_unclear(error):  # the token stays
        return slurm.SlurmError(f"{error} (perhaps it was taken: submit again, which finds out)")
    if not sent:
        return slurm.SlurmError(f"{error} (nothing was sent)")
    jobs = ", ".join(str(entry.job) for entry in sent)
    return slurm.SlurmError(f"{error} (sent before that: {jobs}; submit again for the rest)")


def _is_unclear(error: slurm.SlurmError) -> bool:
    return any(words in str(error) for words in UNCLEAR)


def dropped(sent: list[SubmittedArray]) -> list[SubmittedArray]:
    """Arrays that SLURM let vanish: their teacher's job had failed when sbatch accepted them."""
    waiting = [entry for entry in sent if entry.after]
    queued = slurm.queue(str(entry.job) for entry in waiting)
    names = {there.name for there in queued.values()}
    return [entry for entry in waiting if entry.name not in names]
