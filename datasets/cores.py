"""How many cores this process may use: those it may run on, and the CPU time it is granted.

A container (``docker --cpus 1``, a limit of Kubernetes) grants CPU time, not cores: the affinity
still shows every core of the host. Threads beyond the quota are stopped for part of every period of
usually 100 ms, and everything that waits for them is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def usable() -> int:
    """Cores to count on for workers, decoders and threads: the affinity, less if a quota is less.

    A quota of 1.5 cores counts as one: a second busy process would be stopped half of the time.
    SLURM's --cpus-per-task is in the affinity. OMP_NUM_THREADS says how many threads a library
    starts, not how many cores there are, and does not count.
    """
    granted = quota()
    return allowed() if granted is None else max(1, min(allowed(), int(granted)))


def allowed() -> int:
    """Cores that this process may run on (Python 3.13: also what PYTHON_CPU_COUNT says)."""
    counted = getattr(os, "process_cpu_count", None)
    if counted is not None:
        return counted() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: Path = ROOT) -> float | None:
    """The CPU time granted per time, in cores; None without a limit, or without control groups.

    The least of the limits of this process's control group and all above it that are visible, in
    versions 1 and 2 (Linux: Documentation/admin-guide/cgroup-v2.rst, scheduler/sched-bwc.rst).
    ``root`` is where /proc and the mount points are found.
    """
    limits = (_limit(folder) for folder in _folders(root))
    return min((limit for limit in limits if limit is not None), default=None)


def _folders(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups that may limit CPU time, and those above."""
    groups = {
        controllers: path
        for line in _lines(root / "proc/self/cgroup")
        for _, controllers, path in [line.split(":", 2)]
        if controllers == "" or "cpu" in controllers.split(",")
    }
    for line in _lines(root / "proc/self/mountinfo"):
        place, _, described = (part.split() for part in line.partition(" - "))
        is_second = described[0] == "cgroup2"
        if not is_second and not (described[0] == "cgroup" and "cpu" in described[-1].split(",")):
            continue
        for controllers, path in groups.items():
            if (controllers == "") == is_second:
                yield from _upwards(root / place[4].lstrip("/"), _below(path, place[3]))


def _below(path: str, mounted: str) -> Path:
    """The path of a control group below the one that is ``mounted``.

    Without a namespace of its own a container sees the host's path, but its own group mounted.
    From inside a namespace, a group outside of it starts with "/.."; then the top is all there is.
    """
    try:
        relative = Path(path).relative_to(mounted)
    except ValueError:
        return Path()
    return Path() if ".." in relative.parts else relative


def _upwards(top: Path, relative: Path) -> Iterator[Path]:
    yield top / relative
    yield from (top / above for above in relative.parents)


def _limit(folder: Path) -> float | None:
    """The limit of one control group, in cores: cpu.max ("50000 100000"), or version 1's files."""
    words = " ".join(_lines(folder / "cpu.max")).split()
    if not words:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [word for name in names for word in _lines(folder / name)]
    try:
        granted, period = map(int, words)
    except ValueError:  # "max", or no such files
        return None
    return granted / period if granted > 0 and period > 0 else None  # version 1: -1 is no limit


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
