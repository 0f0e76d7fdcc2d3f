"""Stop requests: a signal, or the end of the parent process; and how a SLURM job then ends."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Protocol

from experiments import slurm
from experiments.slurm import ABOUT_TO_TIME_OUT

QUEUE_PID = "KD_QUEUE_PID"  # environment: the process that a worker must not outlive
KILL_SECONDS = 120  # how long to wait for SLURM to kill the job: its KillWait is 30 by default


class Stop:
    """Calling it gives True once a signal has requested a stop, or once the parent process is gone.

    The signal handler only sets a flag: state is saved at the next step boundary.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal: int | None = None  # the last one
        self.parent = int(os.environ.get(QUEUE_PID, os.getppid()))
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(name, self._request)

    def _request(self, number: int, frame: Any) -> None:
        self.requested, self.signal = True, number

    def __call__(self) -> bool:
        self.requested = self.requested or os.getppid() != self.parent
        return self.requested


class Signalled(Protocol):
    """Who knows the last signal: `Stop`, or the queue of a job of several workers."""

    signal: int | None


def requeue_or_wait(stop: Signalled) -> None:
    """Call in a SLURM job after everything is saved, so that the job can resume later.

    Before its time limit the job requeues itself. After any other signal SLURM decides: it requeues
    a preempted job only if it has to kill it, so this waits for that. A cancelled job may end at
    once.
    """
    job = os.environ["SLURM_JOB_ID"]
    if stop.signal == ABOUT_TO_TIME_OUT:
        try:
            slurm.requeue(job)
        except slurm.SlurmError as error:
            print(f"not requeued ({error}): the next submit resumes these runs", flush=True)
            return
    # A job that ends by itself now would count as failed, also one that is requeued.
    deadline = time.monotonic() + KILL_SECONDS
    while slurm.state_of(job) == "RUNNING" and time.monotonic() < deadline:
        time.sleep(2)
