"""Faults inside a job's Python: found by PYTHONPATH, imported before anything else.

FAULT_FILL   "PATTERN NUMBER FREE BALLAST COUNT": right before the NUMBER-th time that a file is
             opened whose path holds PATTERN, by whatever process, the file BALLAST fills the disk
             up to FREE bytes; the file COUNT, elsewhere, counts
FAULT_SLOW   "SECONDS STARTS": seconds that pass whenever a checkpoint is written, in the first
             starts of a job
FAULT_DEAF   the warnings of an approaching end are blocked
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable


def before_opening(pattern: str, act: Callable[[], None]) -> None:
    """Call ``act`` whenever a file is about to be opened whose path holds ``pattern``."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and pattern in str(arguments[0]):
            act()

    sys.addaudithook(hook)


class Filler:
    """Counts together with other processes, and at a number fills the disk."""

    def __init__(self, number: int, free: int, ballast: str, count: str) -> None:
        self.number, self.free, self.ballast, self.count = number, free, ballast, count

    def __call__(self) -> None:
        handle = os.open(self.count, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(handle, b".")
        if os.lseek(handle, 0, os.SEEK_CUR) == self.number:  # after what this process has added
            self.fill()
        os.close(handle)

    def fill(self) -> None:
        handle = os.open(self.ballast, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        size = sum(self.written(handle, b"\0" * block) for block in (1 << 16, 1 << 12))
        os.ftruncate(handle, max(0, size - self.free))
        os.close(handle)

    @staticmethod
    def written(handle: int, block: bytes) -> int:
        size = 0
        while True:
            try:
                size += os.write(handle, block)
            except OSError:  # no space left on the device: that is what this is for
                return size


if "FAULT_FILL" in os.environ:
    pattern, number, free, *files = os.environ["FAULT_FILL"].split()
    before_opening(pattern, Filler(int(number), int(free), *files))
if "FAULT_SLOW" in os.environ:
    seconds, starts = os.environ["FAULT_SLOW"].split()
    if int(os.environ.get("SLURM_RESTART_COUNT", 0)) < int(starts):
        before_opening(".checkpoint.", lambda: time.sleep(float(seconds)))
if "FAULT_DEAF" in os.environ:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
