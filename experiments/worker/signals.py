"""Being asked to stop: by a signal, by the loss of the process that started this one, by SLURM."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from experiments import slurm
from experiments.slurm import ABOUT_TO_TIME_OUT

QUEUE_PID = "KD_QUEUE_PID"  # environment: the local queue that a worker must not outlive
KILL_SECONDS = 120  # SLURM's KillWait is 30 by default


class Stop:
    """True once a signal asked for a stop, or once the process that started this one is gone.

    The handler only notes the signal: what is to be saved is saved at the next step boundary.
    """

    def __init__(self) -> None:
        self.asked = False
        self.signal: int | None = None
        self.parent = int(os.environ.get(QUEUE_PID, os.getppid()))
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(name, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked, self.signal = True, number

    def __call__(self) -> bool:
        self.asked = self.asked or os.getppid() != self.parent
        return self.asked


def requeue_or_wait(stop: Stop) -> None:
    """Inside a SLURM job, after everything is saved: see to it that the job goes on later.

    Before a time limit it puts itself back into the queue. After any other signal SLURM knows what
    it is about: a pre-empted job is requeued by SLURM only if it is killed, so this waits for that;
    a cancelled one may end at once.
    """
    job = os.environ["SLURM_JOB_ID"]
    if stop.signal == ABOUT_TO_TIME_OUT:
        try:
            slurm.requeue(job)
        except slurm.SlurmError as error:
            print(f"not requeued ({error}): the next submit goes on with these runs", flush=True)
            return
    patience = time.monotonic() + KILL_SECONDS
    while slurm.state_of(job) == "RUNNING" and time.monotonic() < patience:
        time.sleep(2)
