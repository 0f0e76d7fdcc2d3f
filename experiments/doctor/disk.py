"""The file systems: what the runs directory can do, how much fits, and who else sees it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.plan.preflight import check_writable

MOUNTS = Path("/proc/self/mountinfo")
# Of one machine, unless it exports them. What is not named here (nfs, lustre, gpfs, …) is shared.
LOCAL = ("btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs")
SKEW_SECONDS = 60.0  # between the file system's clock and this machine's
WHILE_RUNNING = 4  # weights and a checkpoint of three times their size (see `estimate`)
FILES_PER_RUN = 12  # directories, spec, history, checkpoint, weights, claim, temporary files
FULL = "the disk is full, or your quota of it"
LITTLE = 10**9  # bytes; less is said even where nothing is planned
PATTERN = "%\\"  # what SLURM replaces, or takes as an escape, in the path of a log


# ---- writing -------------------------------------------------------------------------------------


def runs(path: Path, is_slurm: bool) -> list[Finding]:
    """Whether runs can be kept in a directory, existing or to come; leaves nothing behind."""
    what = f"runs directory {path}"
    try:
        check_writable(path)
        folder = Path(tempfile.mkdtemp(prefix=".doctor-", dir=nearest(path)))
    except (InputError, OSError) as error:
        said = str(error).removeprefix(f"--runs {path}: ")
        mend = "--runs another one; results that are here can be looked at all the same"
        return [Finding(FAIL, what, f"cannot be written: {said}", mend)]
    try:
        problems = [_problem(trial, folder) for trial in TRIALS]
        about = [*_judged(what, problems), *clock(folder), *named(path, is_slurm)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not about:
        new = "" if path.is_dir() else ", to be made"
        abilities = "exclusive creation, links, rename and fsync work; its clock goes right"
        about = [Finding(OK, what, f"{kind_of(path) or 'disk'}{new}: {abilities}")]
    return about


def nearest(path: Path) -> Path:
    """The path itself, or the closest directory above it that exists."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _problem(trial: Callable[[Path], str], folder: Path) -> str:
    """What a trial finds, or what the disk says to it; empty if all is well."""
    try:
        return trial(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return FULL
        subject = (trial.__doc__ or "").partition(".")[0]
        return f"{subject}: {error.strerror}"


def _judged(what: str, problems: list[str]) -> list[Finding]:
    found = "; ".join(dict.fromkeys(problem for problem in problems if problem))
    if not found:
        return []
    mend = "claims and results rely on it: --runs on a file system that has it (NFS v4 does)"
    if found == FULL:
        mend = "free some space, or --runs on another disk; workers go on from what was saved"
    return [Finding(FAIL, what, found, mend)]


def exclusive(folder: Path) -> str:
    """Creating a file that must not exist. A second creation has to fail."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(folder / "exclusive", flags, 0o644))
    try:
        os.close(os.open(folder / "exclusive", flags, 0o644))
    except FileExistsError:
        return ""
    return "O_EXCL creates the same file twice"


def durable(folder: Path) -> str:
    """Writing and fsync. Of a file of some size, so that a full disk shows."""
    with (folder / "durable").open("wb") as file:
        file.write(b"\1" * 2**20)
        file.flush()
        os.fsync(file.fileno())
    return ""


def linked(folder: Path) -> str:
    """Hard links. One never replaces a file that is there."""
    for name in ("first", "second"):
        (folder / name).write_text(name)
    os.link(folder / "first", folder / "published")
    try:
        os.link(folder / "second", folder / "published")
    except FileExistsError:
        right = (folder / "published").read_text() == "first"
        return "" if right else "a link has other contents than its file"
    return "a link replaces a file that is there"


def renamed(folder: Path) -> str:
    """Renaming over a file. As checkpoints are saved."""
    (folder / "old").write_text("old")
    (folder / "new").write_text("new")
    os.replace(folder / "new", folder / "old")
    return "" if (folder / "old").read_text() == "new" else "a renamed file keeps its old contents"


TRIALS: tuple[Callable[[Path], str], ...] = (exclusive, durable, linked, renamed)


def clock(folder: Path) -> list[Finding]:
    """The file system's time against this machine's."""
    before = time.time()
    try:
        (folder / "clock").touch()
        stamp, after = (folder / "clock").stat().st_mtime, time.time()
    except OSError:  # the trials have said why
        return []
    skew = max(before - stamp, stamp - after)
    if skew <= SKEW_SECONDS:
        return []
    mend = "heartbeats go by the file system's clock and stay right; times in records do not: NTP"
    return [Finding(WARN, "clock", f"{skew:.0f} seconds from that of the runs directory", mend)]


def named(path: Path, is_slurm: bool) -> list[Finding]:
    """Paths that SLURM would not take as they stand."""
    odd = [c for c in PATTERN if c in str(path)]
    if not odd:
        return []
    found = f"has {odd[0]!r} in its path, which SLURM replaces in the names of logs"
    mend = "a directory without it (`run` on this machine is not concerned)"
    return [Finding(FAIL if is_slurm else WARN, f"runs directory {path}", found, mend)]


# ---- space ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """Of the runs that are still to do: how many, and the bytes of the weights that they leave."""

    runs: int = 0
    weights: int = 0


@dataclass(frozen=True)
class Free:
    """What a file system has left for this user; ``files`` None where it knows no such limit."""

    bytes: int
    files: int | None


def free(path: Path) -> Free:
    """Raises OSError."""
    told = os.statvfs(nearest(path))
    return Free(told.f_bavail * told.f_frsize, told.f_favail if told.f_files else None)


def space(have: Free, need: Need) -> Finding:
    """Whether what is to do fits. Quotas are not seen: most file systems do not tell them here."""
    files = f" and {have.files:,} files" if have.files is not None else ""
    found = f"{_size(have.bytes)}{files} free"
    runs, most = need.runs, WHILE_RUNNING * need.weights
    if runs:
        found += f"; {runs} runs leave {_size(need.weights)}, up to {_size(most)} while all run"
    mend = "free some, or --runs on another disk; `clean` removes what nobody needs any more"
    if have.bytes < need.weights or (have.files is not None and have.files < FILES_PER_RUN * runs):
        return Finding(FAIL, "space for runs", found, mend)
    if have.bytes < max(most, LITTLE):
        return Finding(WARN, "space for runs", found, mend)
    return Finding(OK, "space for runs", f"{found} (quotas are not seen here)")


def _size(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 10**6:,.0f} MB"


# ---- who sees it ---------------------------------------------------------------------------------


def shared(places: dict[str, Path]) -> Finding:
    """Whether the machines of a cluster can see these places (what they are -> path)."""
    here = {what: reason for what, path in places.items() if (reason := why_local(path))}
    if not here:
        return Finding(OK, "places", f"{', '.join(places)}: none on a disk of this machine alone")
    found = "; ".join(f"{what} {places[what]} ({reason})" for what, reason in here.items())
    mend = "a file system that all nodes share, unless this machine exports this one to them"
    return Finding(WARN, "places", f"the nodes may not see: {found}", mend)


def places(runs: Path, data: Path) -> dict[str, Path]:
    """Everything that jobs read or write."""
    found = {"runs": runs, "data": data, "code": CHECKOUT, "Python": Path(sys.prefix)}
    return {what: path for what, path in found.items() if what != "data" or path.exists()}


def why_local(path: Path) -> str:
    """ "tmpfs", "below /tmp", … where a path lies on this machine alone, as far as can be told."""
    real = Path(os.path.realpath(path))
    for folder in dict.fromkeys(map(os.path.realpath, (tempfile.gettempdir(), "/tmp", "/var/tmp"))):
        if real.is_relative_to(folder):
            return f"below {folder}"
    kind = kind_of(real)
    return kind if kind in LOCAL else ""


def kind_of(path: Path) -> str:
    """The type of the file system that a path lies on; empty where nobody tells."""
    try:
        text = MOUNTS.read_text(errors="surrogateescape")
    except OSError:  # not Linux
        return ""
    return mounted(text, Path(os.path.realpath(path)))


def mounted(mountinfo: str, path: Path) -> str:
    """The type of the last mount on the longest prefix of ``path``, see proc(5)."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if not rest:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields.split()[4]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), rest.split()[0]
    return kind
