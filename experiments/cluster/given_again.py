"""Job numbers that SLURM gives out twice, as its controller does after losing its latest jobs.

A controller that dies has not saved the jobs of its last seconds. When it comes back, it does not
know them, and counts on from the number before. A node that has seen a number refuses a new job of
that number, and SLURM holds what a node refuses, until somebody releases it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from experiments.cluster import queue_status, submission, submitted
from experiments.cluster.addresses import Address
from experiments.cluster.submitted import SubmittedArray
from experiments.plan.plan import Plan

RECENT = 3600.0  # seconds; nodes forget the numbers of jobs that ended long ago
WATCHED, EVERY = 40.0, 4.0  # seconds: a refusal comes with a job's start


def wait(seconds: float) -> None:
    """Until the next look; tests put something else in its place."""
    time.sleep(seconds)


def release_refused(
    plan: Plan, sent: Sequence[SubmittedArray], note: Callable[[str], None]
) -> None:
    """Where numbers were given out again, release for a while what nodes refuse."""
    again = given_again(sent, submitted.load(plan.workspace.runs))
    if not again:
        return
    numbers = ", ".join(str(array.job) for array in again)
    note(
        f"SLURM gives out numbers again ({numbers}): its controller has lost jobs. A node may "
        f"refuse such a job once; watching for {WATCHED:g} s to release it …"
    )
    released: Counter[Address] = Counter()
    for _ in range(round(WATCHED / EVERY)):
        wait(EVERY)
        submission.release(queue_status.survey(plan)[1], note, released)


def given_again(
    sent: Iterable[SubmittedArray], known: Sequence[SubmittedArray]
) -> list[SubmittedArray]:
    """The arrays whose number is not above that of one sent there shortly before. Pure."""
    return [array for array in sent if any(_is_later(array, other) for other in known)]


def _is_later(array: SubmittedArray, other: SubmittedArray) -> bool:
    """Whether it was sent shortly after another, and its number does not say so."""
    if array.job is None or other.job is None or array.cluster != other.cluster:
        return False
    is_after = other.name != array.name and 0 <= array.time - other.time < RECENT
    return is_after and int(array.job) <= int(other.job)
