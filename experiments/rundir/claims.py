"""Who is working on a run: numbered claim files, so that no run is run twice at once.

A claim is a file ``claim-0001`` in the run's directory, created with O_EXCL. It is taken over only
by creating the next number, and only when its holder is proven dead (same machine, no such process)
or its heartbeat, the file's modification time, is stale by the file system's own clock. A holder
looks for a higher number before every save. Only what NFS guarantees is used.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from experiments import slurm

STALE_SECONDS = 600.0  # ten missed minutes; a holder beats every BEAT_SECONDS
BEAT_SECONDS = 30.0


class Lost(RuntimeError):  # noqa: N818  (said of a claim)
    """Somebody else has taken a claim over."""


class Claim:
    """One held claim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = _number(path)
        self._beaten = time.monotonic()

    def beat(self) -> None:
        """Touch the file, at most every BEAT_SECONDS."""
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            with contextlib.suppress(OSError):  # taken over, or a disk away: the next save tells
                os.utime(self.path)

    def is_held(self) -> bool:
        """False once someone created a higher number: this holder must stop and save nothing."""
        latest = newest(self.path.parent)
        return latest is not None and _number(latest) == self.number

    def release(self) -> None:
        """Give the claim up. Its number stays taken: a sleeper who wakes must not think it his."""
        if not self.is_held():
            return
        try:
            self.path.write_text(json.dumps({"released": True}))
        except OSError:  # a full disk
            os.utime(self.path, (0, 0))  # stale at once


def take(directory: Path) -> Claim | None:
    """Claim a run's directory, or None when somebody alive holds it."""
    latest = newest(directory)
    if latest is not None and is_alive(latest) and not _has_lost_its_job(latest):
        return None
    number = _number(latest) + 1 if latest is not None else 1
    path = directory / f"claim-{number:04d}"
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None  # somebody else took this number first
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(_me(), file)
    except OSError:  # a full disk: an empty claim would hold the run back until it is stale
        path.unlink(missing_ok=True)
        raise
    claim = Claim(path)
    if not claim.is_held():  # the listing missed a number: it was made while files came and went
        path.unlink(missing_ok=True)
        return None
    if latest is not None:
        latest.unlink(missing_ok=True)
    return claim


def remove_all(directory: Path) -> None:
    """After the result is there: it alone speaks for the run from now on."""
    for path in directory.glob("claim-[0-9]*"):
        path.unlink(missing_ok=True)


def newest(directory: Path) -> Path | None:
    """The claim file with the highest number, if any."""
    return max(directory.glob("claim-[0-9]*"), key=_number, default=None)


def is_alive(path: Path) -> bool:
    """Whether a claim's holder may still be working."""
    try:
        if _is_given_up(_holder(path)):
            return False  # asked first: the clock takes a write
        return _now(path.parent) - path.stat().st_mtime <= STALE_SECONDS
    except FileNotFoundError:
        return False


def job_of(path: Path) -> str | None:
    """The SLURM array task ("123_4") that a claim is held by, if any."""
    return (_holder(path).get("slurm") or {}).get("task")


def _has_lost_its_job(path: Path) -> bool:
    """Whether SLURM proves a holder dead: its job has ended, or is this one, started again.

    (Where a node was cut off, the process may live on for a while: before its next save it finds
    the higher number.)
    """
    holder, mine = _holder(path).get("slurm"), _slurm()
    if not holder or not _is_mine(path):
        return False  # clusters may hide other people's jobs: not to see one proves nothing
    if mine and (holder["cluster"], holder["job"]) == (mine["cluster"], mine["job"]):
        return bool(holder["restart"] < mine["restart"])
    if not slurm.is_here():
        return False
    cluster = mine["cluster"] if mine else slurm.cluster()
    return cluster == holder["cluster"] and slurm.has_ended(holder["job"])


def _is_mine(path: Path) -> bool:
    """Whether a claim is of the user of this process."""
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": _host(), "pid": pid, "started": _start_time(pid), "slurm": _slurm()}


def _slurm() -> dict[str, Any] | None:
    """The job this process belongs to."""
    env = os.environ
    if "SLURM_JOB_ID" not in env:
        return None
    array, index = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    return {
        "cluster": env.get("SLURM_CLUSTER_NAME"),
        "job": env["SLURM_JOB_ID"],
        "task": f"{array}_{index}" if array else env["SLURM_JOB_ID"],
        "restart": int(env.get("SLURM_RESTART_COUNT", 0)),
    }


def _holder(path: Path) -> dict[str, Any]:
    """What a claim says; nothing if it comes or goes this very moment, or a crash cut it off."""
    try:
        holder = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_given_up(holder: dict[str, Any]) -> bool:
    """Released, or by a process of this machine that is no more."""
    if holder.get("released") or holder.get("host") != _host():
        return bool(holder.get("released"))
    started = _start_time(holder["pid"])
    return _is_gone(holder["pid"]) if started is None else started != holder["started"]


def _is_gone(pid: int) -> bool:
    """Proven: no process of that number (/proc may hide other people's)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _now(directory: Path) -> float:
    """The time as the directory's file system tells it, which other machines share."""
    probe = directory / f".clock-{socket.gethostname()}-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()  # somebody else's results, or a read-only disk: only looked at
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _host() -> str:
    """This machine and this boot of it: after a reboot no process is alive any more."""
    boot, pids = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [socket.gethostname(), os.environ.get("SLURMD_NODENAME", "")]
    parts += [boot.read_text().strip()[:8]] if boot.exists() else []
    parts += [os.readlink(pids)] if pids.is_symlink() else []  # containers count from 1 again
    return ":".join(parts)


def _start_time(pid: int) -> str | None:
    """When a process started (clock ticks since boot), so that a re-used pid is not mistaken."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
