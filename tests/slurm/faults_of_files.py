"""What happens to files: damaged, gone, not writable; and clocks that files are dated by."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.slurm.accounts import KILLED
from tests.slurm.dev_cluster import Task, wait_until
from tests.slurm.scenario import QUEUE_SECONDS, STUDENTS, TEACHER, MissedError, Scenario

INJECT = Path(__file__).resolve().parent / "inject"
STUDENTS_SLEEP = 10  # seconds
HOURS = 3 * 3600  # seconds that clocks differ by, either way


def checkpoint_cut(s: Scenario) -> None:
    """A worker is killed, and the file it would resume from has lost its second half."""
    s.submit()
    task = s.rng.choice(_running_with_checkpoints(s))
    s.hit(task, *KILLED)
    if not s.cluster.kill_python(task):
        raise MissedError(f"{task.id} had no Python any more")
    wait_until(lambda: all(t.id != task.id for t in s.tasks()), 120, f"{task.id} does not end")
    cut = [_cut(path) for path in _checkpoints(s)]
    if not cut:
        raise MissedError("nothing had been saved")
    s.note(f"{len(cut)} files", 0)


def _running_with_checkpoints(s: Scenario) -> list[Task]:
    """The tasks of the teacher, or those of students, some time after one has saved something."""
    role, more = s.rng.choice([TEACHER, STUDENTS]), s.rng.uniform(0, 0.5)
    wait_until(
        lambda: (s.epochs(role) > 0 and bool(_checkpoints(s))) or not s.tasks(),
        QUEUE_SECONDS,
        f"{role} saved nothing",
        every=0.1,
    )
    time.sleep(more)
    running = s.running(role)
    if not running:
        raise MissedError(f"{role} had ended")
    s.note(f"{role}, {more:.1f} s after something was saved")
    return running


def _checkpoints(s: Scenario) -> list[Path]:
    return list(s.runs.glob("*/*/*/*/checkpoint"))


def _cut(path: Path) -> Path:
    os.truncate(path, path.stat().st_size // 2)
    return path


def weights_cut(s: Scenario) -> None:
    """Half of a done teacher's weights is gone while its students are to be trained."""
    _spoil(s, _cut)


def weights_purged(s: Scenario) -> None:
    """A done teacher's weights are deleted, as scratch disks do, while its students wait."""
    _spoil(s, lambda path: path.unlink())


def _spoil(s: Scenario, spoil: Callable[[Path], object]) -> None:
    """As soon as the teacher is done; its students' jobs sleep for a while before they begin."""
    s.first = ("--setup", f"sleep {STUDENTS_SLEEP}")
    s.submit()
    wait_until(
        lambda: bool(_weights(s)) or not s.tasks(), 300, "the teacher is not done", every=0.2
    )
    time.sleep(s.rng.uniform(0, STUDENTS_SLEEP / 2))
    s.oddities = True
    for path in _weights(s):
        spoil(path)
    s.note("right after the teacher was done")
    s.wait_for_queue()
    if set(s.looker.eyes.teachers()) <= s.looker.eyes.look().done:
        raise MissedError("the students were done")
    done = s.command("retry", "--redo-teacher")
    s.moments.append(f"{s.seconds:.0f} s: retry --redo-teacher: exit code {done.code}")
    if done.code or "set aside" not in done.said:
        s.wrong.append(f"retry --redo-teacher: exit code {done.code}: {done.said}")


def _weights(s: Scenario) -> list[Path]:
    """Of the teachers that are done."""
    teachers = {run for run in s.looker.eyes.teachers().values() if run}
    done = [path for run in teachers for path in s.runs.glob(f"*/*/*/*-{run}/result.json")]
    return [path.with_name("weights.safetensors") for path in done]


def read_only(s: Scenario) -> None:
    """For some seconds nothing can be written to the runs directory: the disk is mounted anew."""
    flag = s.folder / "read-only"
    s.first = (
        *("--setup", f"export PYTHONPATH='{INJECT}'"),
        *("--setup", f"export FAULT_READ_ONLY='{flag} {s.runs}'"),
    )
    s.submit()
    s.random_moment()
    flag.touch()
    seconds = s.rng.uniform(3, 20)
    time.sleep(seconds)
    flag.unlink()
    s.note(f"for {seconds:.0f} s", 0)


def inodes_gone(s: Scenario) -> None:
    """No file can be made any more, until nothing is in the queue; there is space left."""
    s.submit()
    s.random_moment()
    ballast = s.runs / "ballast"
    ballast.mkdir()
    count = _fill_inodes(ballast)
    s.wait_for_queue()
    for path in ballast.iterdir():
        path.unlink()
    ballast.rmdir()
    s.note(f"{count} files filled it", 0)


def _fill_inodes(folder: Path) -> int:
    for number in range(1_000_000):
        try:
            (folder / str(number)).touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return number
    raise MissedError("there is room for a million files")


def clocks(s: Scenario) -> None:
    """The clocks of the nodes and of the login node are three hours off, each its own way; a worker
    is killed, so that the next has to tell whether it lives."""
    jobs, login = s.rng.choice([(HOURS, -HOURS), (-HOURS, HOURS), (HOURS, 0), (-HOURS, 0)])
    s.flags = (
        *s.flags,
        *("--setup", f"export PYTHONPATH='{INJECT}'"),
        *("--setup", f"export FAULT_CLOCK={jobs}"),
    )
    s.env = {"PYTHONPATH": str(INJECT), "FAULT_CLOCK": str(login)} if login else {}
    s.submit()
    task = s.rng.choice(s.random_moment(s.rng.choice([TEACHER, STUDENTS])))
    s.hit(task, *KILLED)
    if not s.cluster.kill_python(task):
        raise MissedError(f"{task.id} had no Python any more")
    s.note(f"nodes {jobs / 3600:+.0f} h, login node {login / 3600:+.0f} h", 0)
