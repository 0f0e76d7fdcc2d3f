"""The file systems: whether runs can be kept there, how much fits, and whether nodes see them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.plan.preflight import check_writable
from experiments.wording import form, plural

# File systems of a single machine, unless it exports them. Others (nfs, lustre, …) are shared.
LOCAL = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs")
WHILE_RUNNING = 4  # weights, and a checkpoint of three times their size (see `plan.cost`)
FILES = 10  # of a run: its folder, spec, history, claims, checkpoint, weights, result, logs
MIN_FREE = 10**9  # bytes; less is worth a warning even if nothing is planned


# ---- the runs directory --------------------------------------------------------------------------


def check_runs(path: Path) -> Finding:
    """Whether runs can be kept in a directory, existing or not; leaves nothing behind."""
    subject, new = f"runs directory {path}", "" if path.is_dir() else ", to be created"
    try:
        note = check_writable(path)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=_nearest(path)) as folder:
            problem = try_operations(Path(folder), links=not note)
    except (InputError, OSError) as error:
        if _is_full(error) or _is_full(error.__cause__):
            fix = "free some space, or choose another disk with --runs; runs resume from their save"
            return Finding(FAIL, subject, "the disk or your quota is full", fix)
        if isinstance(error, InputError):
            return Finding(FAIL, subject, str(error), "choose another with --runs")
        problem = str(error)
    if problem:
        fix = "claims and results rely on it: --runs on a file system that supports it (NFSv4 does)"
        return Finding(FAIL, subject, problem, fix)
    kind = f"{kind_of(path) or 'disk'}{new}"
    if note:
        return Finding(OK, subject, f"{kind}; {note.removeprefix('note: ')}")
    return Finding(OK, subject, f"{kind}; exclusive creation, fsync, links and rename work")


def _is_full(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def try_operations(folder: Path, links: bool = True) -> str:
    """What works differently from what claims and results rely on; empty if all is well.

    Without ``links`` it does not try these: results are published another way. Raises OSError for
    what does not work at all.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(folder / "claim", flags, 0o644))
    with contextlib.suppress(FileExistsError):
        os.close(os.open(folder / "claim", flags, 0o644))
        return "O_EXCL creates the same file twice"
    with (folder / "old").open("wb") as file:
        file.write(b"\1" * 2**20)  # enough for a full disk or quota to show
        file.flush()
        os.fsync(file.fileno())
    (folder / "new").write_text("new", encoding="utf-8")
    if links:
        os.link(folder / "new", folder / "result")
        with contextlib.suppress(FileExistsError):
            os.link(folder / "old", folder / "result")
            return "a link replaces an existing file"
    os.replace(folder / "new", folder / "old")
    return (
        ""
        if (folder / "old").read_text(encoding="utf-8") == "new"
        else "a renamed file keeps its old contents"
    )


def _nearest(path: Path) -> Path:
    """The path itself, or the closest directory above it that exists."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


# ---- space ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """How many runs are left to do, and the bytes of the files that they will leave."""

    runs: int = 0
    weights: int = 0
    predictions: int = 0


def check_space(path: Path, need: Need) -> Finding:
    """Whether the rest of a matrix fits. (Most file systems do not report quotas here.)"""
    free, kept = shutil.disk_usage(_nearest(path)).free, need.weights + need.predictions
    peak = WHILE_RUNNING * need.weights + need.predictions
    message = f"{_size(free)} free"
    if need.runs:
        runs = f"{plural(need.runs, 'run')} {form(need.runs, 'writes', 'write')}"
        message += f"; {runs} {_size(kept)}, at most {_size(peak)} while all are running"
    fix = "free some space, or choose another disk with --runs; `clean` removes unneeded files"
    if free < kept:
        return Finding(FAIL, "disk space", message, fix)
    if free < max(peak, MIN_FREE):
        return Finding(WARN, "disk space", message, fix)
    return Finding(OK, "disk space", f"{message} (quotas not checked)")


def check_inodes(path: Path, need: Need) -> list[Finding]:
    """A finding where the file system cannot hold the number of files; some do not tell."""
    disk = os.statvfs(_nearest(path))
    wanted = FILES * need.runs
    if not disk.f_files or disk.f_favail >= wanted:
        return []
    runs = f"{plural(need.runs, 'run')} {form(need.runs, 'needs', 'need')} about {wanted:,}"
    fix = "remove files, or choose another disk with --runs; `clean` lists what can go"
    return [Finding(FAIL, "disk inodes", f"{disk.f_favail:,} more files can be made; {runs}", fix)]


def _size(count: int) -> str:
    return f"{count / 10**9:,.1f} GB" if count >= 10**9 else f"{count / 10**6:,.0f} MB"


# ---- sharing -------------------------------------------------------------------------------------


def check_shared(runs: Path, data: Path) -> Finding:
    """Whether a cluster's nodes can see everything that jobs read or write."""
    paths = {"runs": runs, "data": data, "code": CHECKOUT, "Python": Path(sys.prefix)}
    kinds = {what: kind_of(path) for what, path in paths.items()}
    local = [f"{what} {paths[what]} ({kind})" for what, kind in kinds.items() if kind in LOCAL]
    if not local:
        return Finding(OK, "shared disks", f"{', '.join(paths)} are not on local disks")
    fix = "use a file system that all nodes share, unless this machine exports this one to them"
    return Finding(WARN, "shared disks", f"nodes may not see {', '.join(local)}", fix)


def kind_of(path: Path) -> str:
    """The type of the file system of a path; empty if unknown."""
    command = ["findmnt", "-n", "-o", "FSTYPE", "-T", str(_nearest(path))]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace"
        ).stdout.strip()
    except OSError:  # not Linux
        return ""
