"""The disk is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.slurm.faults_of_files import INJECT
from tests.slurm.scenario import MissedError, Scenario

DISK, INODES = 24 << 20, 3000  # bytes, files
FINAL_FILES = (("weights", 1 << 18), ("result.json", 1 << 12))  # less than their bytes


@contextmanager
def small_disk(runs: Path) -> Iterator[None]:
    """A file system of its own for the runs directory, for as long as this lasts."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK},nr_inodes={INODES}", "runs", runs], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", runs], check=True)


def disk_full(s: Scenario) -> None:
    """The disk is full from a random moment until nothing is in the queue any more."""
    s.submit()
    s.random_moment()
    ballast = s.runs / "ballast"
    _fill(ballast, s.rng.randrange(1 << 19))
    s.wait_for_queue()
    ballast.unlink()


def _fill(ballast: Path, free: int) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=64K"], capture_output=True)
    os.truncate(ballast, max(0, ballast.stat().st_size - free))


def disk_full_at_the_end(s: Scenario) -> None:
    """The disk is full when a run that has taken its last step writes its weights or result."""
    pattern, size = s.rng.choice(FINAL_FILES)
    number, free, ballast = s.rng.randint(1, 3), s.rng.randrange(size), s.runs / "ballast"
    fill = f"export FAULT_FILL='.{pattern}. {number} {free} {ballast} {s.folder / 'count'}'"
    s.first = ("--setup", f"export PYTHONPATH='{INJECT}'", "--setup", fill)
    s.submit()
    s.wait_for_queue()
    s.note(f"{pattern} of run {number} to end, at most {free} bytes free")
    if not ballast.exists():
        raise MissedError("nobody filled the disk")
    ballast.unlink()
