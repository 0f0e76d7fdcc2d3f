"""Faults inside a job's Python: found by PYTHONPATH, imported before anything else.

FAULT_FILL   "PATTERN NUMBER FREE BALLAST COUNT": right before the NUMBER-th time that a file is
             opened whose path holds PATTERN, by whatever process, the file BALLAST fills the disk
             up to FREE bytes; the file COUNT, elsewhere, counts
FAULT_SLOW   "SECONDS STARTS": seconds that pass whenever a checkpoint is written, in the first
             starts of a job
FAULT_READ_ONLY "FLAG FOLDER": while the file FLAG exists, nothing below FOLDER can be written
FAULT_CLOCK  seconds that this process's clock is ahead
FAULT_DEAF   the warnings of an approaching end are blocked
"""

from __future__ import annotations

import errno
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


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def refuse_writing(flag: str, folder: str) -> None:
    """As on a file system that is mounted read-only, as long as ``flag`` exists."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            writes = bool(int(str(arguments[2] or 0)) & WRITING)
        else:
            writes = event in CHANGES
        if writes and str(arguments[0]).startswith(folder) and os.access(flag, os.F_OK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), arguments[0])

    sys.addaudithook(hook)


def shift_clock(seconds: float) -> None:
    """What this process believes to be the time; the file system's clock stays right."""
    true, true_ns, local = time.time, time.time_ns, time.localtime
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)
    time.localtime = lambda moment=None: local(time.time() if moment is None else moment)


if "FAULT_READ_ONLY" in os.environ:
    refuse_writing(*os.environ["FAULT_READ_ONLY"].split())
if "FAULT_CLOCK" in os.environ:
    shift_clock(float(os.environ["FAULT_CLOCK"]))
if "FAULT_FILL" in os.environ:
    pattern, number, free, *files = os.environ["FAULT_FILL"].split()
    before_opening(pattern, Filler(int(number), int(free), *files))
if "FAULT_SLOW" in os.environ:
    seconds, starts = os.environ["FAULT_SLOW"].split()
    if int(os.environ.get("SLURM_RESTART_COUNT", 0)) < int(starts):
        before_opening(".checkpoint.", lambda: time.sleep(float(seconds)))
if "FAULT_DEAF" in os.environ:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
