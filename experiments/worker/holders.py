"""A task of an array whose run another process trains: it waits, since others wait for its end.

SLURM starts a teacher's students once its task has ended well. A task that found its teacher held,
by a `run` on another machine for instance, and ended at once would wake them for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from experiments.rundir import claims
from experiments.train.distributed import ProcessGroup
from experiments.worker.job import Job
from results import records

POLL_SECONDS = 15.0  # between two looks at the disk
SAY_SECONDS = 600.0  # between two lines of the log


def wait(
    job: Job, stop: Callable[[], bool], group: ProcessGroup, say: Callable[[str], None]
) -> bool:
    """Wait until a run of ``job`` has a result or no holder any more; False at a stop request."""
    spoken: float | None = None
    while not group.on_main(lambda: _is_free(job)):
        if spoken is None or time.monotonic() - spoken > SAY_SECONDS:
            spoken = time.monotonic()
            say(_line(job))
        if _sleep(stop, group):
            return False
    return True


def _is_free(job: Job) -> bool:
    places = [job.directory(spec) for spec in job.specs]
    return any(records.read(place) or not claims.is_held(place) for place in places)


def _line(job: Job) -> str:
    """ "resnet14, vanilla, trial 0: job 12_0 is training it; waiting for its result"."""
    claim = claims.newest(job.directory(job.specs[0]))
    task = claims.job_of(claim) if claim else None
    holder = f"job {task}" if task else "a process outside SLURM"
    return f"{job.specs[0]}: {holder} is training it; waiting for its result"


def _sleep(stop: Callable[[], bool], group: ProcessGroup) -> bool:
    """Sleep until the next look, or less; whether a stop was requested, in any process."""
    end = time.monotonic() + POLL_SECONDS
    while not stop() and time.monotonic() < end:
        time.sleep(min(1.0, POLL_SECONDS))
    (stopped,) = group.any(stop())
    return stopped
