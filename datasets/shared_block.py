"""Memory that the trainer shares with one decoding process.

It lies in an anonymous file of the kernel's (memfd), not in /dev/shm, whose size is 64 MB in a
container unless told otherwise, and which may be missing or read-only. Where the kernel or Python
has no such files, an unlinked file in the folder for temporary files takes its place.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any

import numpy as np

COUNTERS = mmap.PAGESIZE  # bytes at the start that hold counters
BEGUN, PLACE, CANCELLED = range(3)  # their places: see `SharedBlock`


class SharedBlock:
    """Counters, then bytes to read and write on both sides.

    counters  int64 (3,): files begun so far, the place of the last in its batch, and the number of
              the last batch that is not wanted any more

    It can be an argument of a process that is being started.
    """

    def __init__(self, file: int | None = None) -> None:
        self.is_reserved = file is None and not hasattr(os, "memfd_create")
        self.file = _anonymous_file() if file is None else file
        if file is None:
            self.grow(COUNTERS)
        self._map = mmap.mmap(self.file, 0)
        self.counters = np.frombuffer(self._map, np.int64, 3)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attached, (reduction.DupFd(self.file),)

    def grow(self, size: int) -> None:
        """Make it at least ``size`` bytes long. Raises OSError where there is no room."""
        if os.fstat(self.file).st_size >= size:
            return
        if self.is_reserved:  # a full disk is an error now, not a SIGBUS when it is written
            os.posix_fallocate(self.file, 0, size)
        else:
            os.ftruncate(self.file, size)

    def bytes(self, start: int, size: int) -> np.ndarray:
        """uint8 (size,): the memory itself, from ``start``, which is at least COUNTERS."""
        if len(self._map) < start + size:  # it has grown; arrays keep the old mapping alive
            self._map = mmap.mmap(self.file, 0)
            self.counters = np.frombuffer(self._map, np.int64, 3)
        return np.frombuffer(self._map, np.uint8, size, start)

    def release(self) -> None:
        """Give all memory behind the counters back; it reads as zeros afterwards."""
        size = len(self._map) - COUNTERS
        if size > 0:
            with contextlib.suppress(OSError):  # a file system that cannot: it stays in use
                self._map.madvise(mmap.MADV_REMOVE, COUNTERS, size)

    def close(self) -> None:
        """Close the file; memory stays until the last array on it is gone."""
        if self.file >= 0:
            os.close(self.file)
        self.file = -1


def _attached(file: Any) -> SharedBlock:
    return SharedBlock(file.detach())


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("decoded")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
