"""What a process does while it waits for a batch: it keeps its claims, and a stop ends the wait."""

from __future__ import annotations

import time
from collections.abc import Callable

from experiments.train.distributed import Broken, ProcessGroup

# How long one of several processes waits on after a stop request. The others are at a later point
# and cannot save with it; SLURM kills a job 30 s after its signal (KillWait).
GRACE_SECONDS = 20.0


class Interrupted(BaseException):
    """A stop was requested; everything is saved, or is by whoever catches this at a step boundary.

    Not an Exception: it passes through what catches the failures of a run.
    """


class Waits:
    """Call it while a batch is awaited. Raises Interrupted once ``stop`` gives True.

    In a job of several processes it raises Broken instead, after GRACE_SECONDS: the next start
    resumes from the last save.
    """

    def __init__(
        self,
        stop: Callable[[], bool],
        group: ProcessGroup,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.stop, self.group, self.beat = stop, group, beat
        self._asked: float | None = None  # when a stop request was first seen

    def __call__(self) -> None:
        self.beat()
        if not self.stop():
            return
        if self.group.size == 1:
            raise Interrupted
        self._asked = self._asked or time.monotonic()
        if time.monotonic() - self._asked > GRACE_SECONDS:
            raise Broken(f"process {self.group.rank} was stopped while it waited for a batch")
