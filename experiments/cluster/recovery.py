"""Arrays without a job id: what a killed submitter left, and what other people's may still do.

Only who sent an array can find out for certain: a cluster may hide other people's jobs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from experiments import slurm
from experiments.cluster import removal, submitted
from experiments.cluster.submitted import SubmittedArray
from experiments.rundir.status import NOT_STARTED, State, Status
from experiments.wording import form, plural

ANSWER_SECONDS = 15.0  # a killed caller's sbatch may still reach the controller this late
# So long the runs of another person's array without an id are not sent a second time. Later, a job
# of it that starts after all finds the claims and results of the second one.
HOLD_SECONDS = 3600.0


def recover(runs: Path) -> list[str]:
    """Complete what a killed submitter left: adopt arrays that SLURM has, drop the others.

    Those of `left_alone` stay as they are. The caller must hold `submit_lock`. Returns one line
    per array. Raises SlurmError where SLURM does not answer: then nobody knows, and all stays.
    """
    lines = []
    for array in submitted.load_here(runs):
        if array.job is not None or not array.is_mine:
            continue
        if (found := _find(array)) is not None:
            job, cluster = found
            array.with_job(job, cluster)
            lines.append(f"{array.name}: adopted as job {job}")
        else:
            lines.append(f"{array.name}: was never submitted")
            lines += removal.remove(array.folder)
    return lines


def is_due(runs: Path) -> bool:
    """Whether there is something that `recover` can complete."""
    return any(array.is_mine for array in submitted.load_here(runs) if array.job is None)


def held_back(runs: Path, statuses: Mapping[str, Status]) -> dict[str, Status]:
    """The statuses, with runs as pending that an array without an id may still train.

    This is about arrays that `recover` leaves alone: it has completed the others, or will.
    """
    found = ((array, f"{_who(array)} has no job id yet") for array in _waited_for(runs))
    return _marked(statuses, found, State.PENDING)


def unanswered(runs: Path, statuses: Mapping[str, Status]) -> dict[str, Status]:
    """The statuses, with runs as unknown that were sent without an answer of sbatch.

    A `submit` may be waiting for it, or was cut off; the next one finds out. For who only looks.
    """
    arrays = (array for array in submitted.load(runs) if array.job is None)
    return _marked(statuses, ((array, _unsure(array)) for array in arrays), State.UNKNOWN)


def _unsure(array: SubmittedArray) -> str:
    at = time.strftime("%H:%M", time.localtime(array.time))
    whose = "the" if array.is_mine else f"{array.user}'s"
    return f"sent at {at}, but sbatch has not answered yet: {whose} next submit finds out"


def _marked(
    statuses: Mapping[str, Status], arrays: Iterable[tuple[SubmittedArray, str]], state: str
) -> dict[str, Status]:
    """The statuses, with ``state`` and a detail for runs of arrays that seem not to be sent."""
    after = dict(statuses)
    for array, detail in arrays:
        for run in {run for ids in array.tasks for run in ids} & set(statuses):
            if statuses[run].state in NOT_STARTED:
                after[run] = replace(statuses[run], state=state, detail=detail)
    return after


def left_alone(runs: Path) -> list[str]:
    """A line for each array of `held_back`: other people's, and those of distant clusters."""
    return [_described(array) for array in _waited_for(runs)]


def _waited_for(runs: Path) -> list[SubmittedArray]:
    """Arrays without an id that this user cannot ask about here, and that may have waiting jobs."""
    arrays = [array for array in submitted.load(runs) if array.job is None]
    here = {array.folder for array in submitted.load_here(runs)} if arrays else set()
    others = (array for array in arrays if not (array.is_mine and array.folder in here))
    return [array for array in others if _may_be_queued(array)]


def _find(array: SubmittedArray) -> tuple[str, str | None] | None:
    """The array's job id by its name, and its cluster; None if no sbatch can be in flight."""
    while True:
        is_last = time.time() - array.time > ANSWER_SECONDS  # before asking, not after
        for cluster in _places(array):
            job = slurm.named(array.name, cluster=cluster, since=array.time)
            if job is not None:
                return job, cluster
        if is_last:
            return None
        time.sleep(1.0)


def _places(array: SubmittedArray) -> tuple[str | None, ...]:
    return (None, *sorted(slurm.others())) if array.clusters == ("all",) else array.clusters


def _may_be_queued(array: SubmittedArray) -> bool:
    """Whether an array that only another person can ask about may have jobs that have not begun."""
    if time.time() - array.time < HOLD_SECONDS:
        return True
    return any(_is_seen(array, cluster) for cluster in _places(array))


def _is_seen(array: SubmittedArray, cluster: str | None) -> bool:
    """Whether the queue shows it; False where it cannot be asked."""
    try:
        job = slurm.named(array.name, cluster=cluster, since=array.time)
        return job is not None and bool(slurm.queue([job], cluster=cluster))
    except slurm.SlurmError:
        return False


def _described(array: SubmittedArray) -> str:
    count = len({run for ids in array.tasks for run in ids})
    until = time.strftime("%H:%M", time.localtime(array.time + HOLD_SECONDS))
    soon = f"before {until}" if time.time() < array.time + HOLD_SECONDS else "while it is queued"
    verb = form(count, "is", "are")
    what = "ask there" if array.is_mine else f"only {array.user} can find out, by another submit"
    return (
        f"{_who(array)} has no job id yet: {what}; "
        f"its {plural(count, 'run')} {verb} not sent again {soon}"
    )


def _who(array: SubmittedArray) -> str:
    """ "alice's submit of 20:15", with the day if that is not today."""
    when = time.localtime(array.time)
    is_today = time.strftime("%F", when) == time.strftime("%F")
    at = time.strftime("%H:%M" if is_today else "%F %H:%M", when)
    whose = f"your submit to cluster {array.cluster}" if array.is_mine else f"{array.user}'s submit"
    return f"{whose} of {at}"
