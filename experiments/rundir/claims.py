"""Claims: numbered files that keep two processes from training the same run at once.

A claim is a file ``claim-0001`` in the run's directory, created with O_EXCL. It is taken over only
by creating the next number, and only if its holder is proven dead (by the process table of this
machine, or by SLURM) or its heartbeat, the file's modification time, is stale by the file system's
own clock. A holder looks before every save whether the claim with the highest number is its own, by
number and nonce: numbers begin again at 1 once the claims of a finished run are deleted, or its
directory is moved away. Nothing beyond what NFS guarantees is relied on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments import slurm
from experiments.rundir import processes

BEAT_SECONDS = 30.0
_LATEST = 2.0**32  # seconds since 1970: what every machine can show as a time
_MOST = 65536  # bytes of a claim: it has some hundred
_NAME = re.compile("claim-[0-9]{4,18}", re.ASCII)
STALE_SECONDS = 600.0  # 20 missed beats: a step may compile, an evaluation or a disk be slow


class Lost(RuntimeError):  # noqa: N818  (describes a claim)
    """Another process has taken a claim over."""


class Claim:
    """A claim of this process; ``nonce`` is in its file and in no other."""

    def __init__(self, path: Path, nonce: str) -> None:
        self.path, self.nonce = path, nonce
        self.number = _number(path)
        self._last_beat = time.monotonic()

    def beat(self) -> None:
        """Touch the file, at most every BEAT_SECONDS, if it is still this claim's."""
        if time.monotonic() - self._last_beat > BEAT_SECONDS:
            self._last_beat = time.monotonic()
            with contextlib.suppress(OSError):  # taken over, or no disk: the next save notices
                if self._is_own():
                    os.utime(self.path, follow_symlinks=False)

    def is_held(self) -> bool:
        """False once another claim is the newest: this holder must stop and save nothing."""
        latest = newest(self.path.parent)
        return latest is not None and _number(latest) == self.number and self._is_own()

    def _is_own(self) -> bool:
        """Whether the file holds what `take` wrote; one that is still empty is another's."""
        return _holder(self.path).get("nonce") == self.nonce

    def release(self) -> None:
        """Give the claim up. The file stays, and with it its number.

        A link that somebody put in its place becomes stale at once; no process has made it.
        """
        if self.path.is_symlink():
            os.utime(self.path, (0, 0), follow_symlinks=False)
        if not self.is_held():
            return
        try:
            self._replace_content(json.dumps({"released": True}))
        except OSError:  # a full disk, on which times can still be set; or no file of ours
            os.utime(self.path, (0, 0), follow_symlinks=False)  # stale at once

    def _replace_content(self, text: str) -> None:
        """Write into the file itself: a link that somebody put there is not followed."""
        handle = os.open(self.path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)


def take(directory: Path) -> Claim | None:
    """Claim a run's directory; None if a live process holds it."""
    latest = newest(directory)
    if latest is not None and _is_respected(latest):
        return None
    number = _number(latest) + 1 if latest is not None else 1
    path, nonce = directory / f"claim-{number:04d}", secrets.token_hex(8)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None  # another process took this number first
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            pid = os.getpid()
            me = {"host": processes.host(), "pid": pid, "started": processes.start_time(pid)}
            json.dump({**me, "slurm": _slurm(), "time": time.time(), "nonce": nonce}, file)
    except OSError:  # a full disk: an empty claim would block the run until it is stale
        path.unlink(missing_ok=True)
        raise
    claim = Claim(path, nonce)
    if not claim.is_held():  # the listing missed a higher number: files changed while it was read
        path.unlink(missing_ok=True)
        return None
    if latest is not None:
        latest.unlink(missing_ok=True)
    return claim


def is_held(directory: Path) -> bool:
    """Whether `take` would fail: a process that may still be working holds the run."""
    latest = newest(directory)
    return latest is not None and _is_respected(latest)


def _is_respected(path: Path) -> bool:
    return is_alive(path) and not _job_has_ended(path)


def remove_all(directory: Path) -> None:
    """Delete all claims of a run. Only for a run with a result, which nobody trains again."""
    for path in _claims(directory):
        path.unlink(missing_ok=True)


def newest(directory: Path) -> Path | None:
    """The claim file with the highest number, if any."""
    return max(_claims(directory), key=_number, default=None)


def _claims(directory: Path) -> list[Path]:
    """The claim files; what only begins like one ("claim-0001x", a folder) is none."""
    found = directory.glob("claim-[0-9]*")
    return [path for path in found if _NAME.fullmatch(path.name) and not path.is_dir()]


def is_alive(path: Path) -> bool:
    """Whether the holder of a claim may still be working."""
    try:
        if _is_given_up(_holder(path)):
            return False  # checked first: reading the clock takes a write
        return _now(path.parent) - path.lstat().st_mtime <= STALE_SECONDS
    except FileNotFoundError:
        return False


def describe(path: Path) -> str:
    """Who holds a claim, for whoever waits: "pid 7 of ada on login2, since 20:15:03".

    With the seconds since the last sign of life, if the file is there still.
    """
    holder = _holder(path)
    host = str(holder.get("host", "an unknown machine")).partition(":")[0]
    since = holder.get("time")
    words = f"pid {holder.get('pid', '?')} of {_owner(path)} on {host}"
    if isinstance(since, float) and 0 < since < _LATEST:  # another clock's, or anything
        words += time.strftime(", since %H:%M:%S", time.localtime(since))
    with contextlib.suppress(FileNotFoundError):
        silent = max(0.0, _now(path.parent) - path.lstat().st_mtime)
        words += f", last sign of life {silent:.0f} s ago"
    return words


def _owner(path: Path) -> str:
    """The name of a claim's user, or the number of one that is unknown here."""
    try:
        owner = path.lstat().st_uid
        return pwd.getpwuid(owner).pw_name
    except FileNotFoundError:
        return "an unknown user"
    except KeyError:
        return f"user {owner}"


def job_of(path: Path) -> str | None:
    """The SLURM array task ("123_4") that holds a claim, if any."""
    task = _of_slurm(_holder(path)).get("task")
    return task if isinstance(task, str) else None


def address_of(path: Path) -> tuple[str | None, str] | None:
    """The cluster and the array task that hold a claim of this user's; None for any other claim.

    Clusters may hide other users' jobs: what SLURM does not say of them proves nothing.
    """
    known = _of_slurm(_holder(path))
    task, cluster = known.get("task"), known.get("cluster")
    if not isinstance(task, str) or not _is_mine(path):
        return None
    return (cluster if isinstance(cluster, str) else None), task


def _of_slurm(holder: Mapping[str, Any]) -> dict[str, Any]:
    """What a claim says of its job; empty without one."""
    known = holder.get("slurm")
    return known if isinstance(known, dict) else {}


def _job_has_ended(path: Path) -> bool:
    """Whether SLURM proves a holder dead: its job has ended, or is this one, requeued since.

    On a node that lost its network the process may still run. It then finds the higher number
    before its next save.
    """
    holder, mine = _of_slurm(_holder(path)), _slurm()
    job, restart = holder.get("job"), holder.get("restart")
    if not isinstance(job, str) or not isinstance(restart, int) or not _is_mine(path):
        return False  # clusters may hide other users' jobs: a missing one proves nothing
    if mine and (holder.get("cluster"), job) == (mine["cluster"], mine["job"]):
        return bool(restart < mine["restart"])
    if not slurm.is_here():
        return False
    cluster = mine["cluster"] if mine else slurm.cluster()
    return cluster == holder.get("cluster") and slurm.has_ended(job)


def _is_mine(path: Path) -> bool:
    """Whether a claim belongs to the user of this process."""
    try:
        return path.lstat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


def _slurm() -> dict[str, Any] | None:
    """The SLURM job of this process, if any."""
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
    """The content of a claim; empty if the file is gone, not (yet) complete, or no claim."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            holder = json.loads(file.read(_MOST))
    except (ValueError, RecursionError):
        return {}
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EISDIR):
            return {}
        raise
    return holder if isinstance(holder, dict) else {}


def _is_given_up(holder: dict[str, Any]) -> bool:
    """Whether a claim was released, or its holder was a process of this machine that is gone."""
    if holder.get("released"):
        return True
    if holder.get("host") != processes.host():
        return False
    pid = holder.get("pid")
    if type(pid) is not int or not 0 < pid <= processes.HIGHEST_PID:
        return False  # nothing that this code has written: it holds until it is stale
    return processes.is_over(pid, holder.get("started"))


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _now(directory: Path) -> float:
    """The time by the clock of the directory's file system, which all machines share."""
    probe = directory / f".clock-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        probe.touch(exist_ok=False)
        return probe.stat().st_mtime
    except OSError:
        return time.time()  # no write access: good enough to display a state
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
