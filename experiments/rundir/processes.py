"""Processes of this machine: which one holds something, and whether it is gone."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

HIGHEST_PID = 2**31 - 1  # what the kernel's type for it holds


def host() -> str:
    """This machine and its current boot: a reboot ends every process."""
    return ":".join([socket.gethostname(), os.environ.get("SLURMD_NODENAME", ""), *_boot()])


@functools.cache  # `status` asks for every claim
def _boot() -> list[str]:
    boot, pids = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [boot.read_text(encoding="utf-8").strip()[:8]] if boot.exists() else []
    parts += [os.readlink(pids)] if pids.is_symlink() else []  # each container numbers its own
    return parts


def start_time(pid: int) -> str | None:
    """When a process started (clock ticks since boot), which tells apart two uses of one pid."""
    fields = _stat(pid)
    return fields[19] if fields else None


def is_over(pid: int, started: object) -> bool:
    """Whether the process that had this pid and `start_time` is certainly gone.

    A zombie is: it holds nothing and never goes on. In a container whose first process reaps
    nobody, killed processes stay zombies until the container ends.
    """
    fields = _stat(pid)
    if fields is None:
        return _is_gone(pid)
    return fields[19] != started or (fields[0] in ("Z", "X") and not _has_threads(pid))


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None without such a process or file."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > 19 else None


def _has_threads(pid: int) -> bool:
    """Whether threads live on although the first one, which a process is named by, has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _is_gone(pid: int) -> bool:
    """Whether there certainly is no such process: /proc may hide those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
