"""SLURM's commands. Their answers are hints: only the disk decides whether a run is done."""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from experiments.activity import activity
from experiments.errors import InputError

TIMEOUT = 60  # seconds for one command; a busy controller may take that long
ENDED = (  # states of jobs that squeue still shows for some time
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "TIMEOUT",
)
HELD = (
    "launch failed requeued held",
    "JobHoldMaxRequeue",
)  # reasons of tasks that SLURM holds because of a node's fault
_UNKNOWN_JOB = "Invalid job id"
ABOUT_TO_TIME_OUT = signal.SIGUSR2  # which `submit` asks SLURM to send before the time limit


class SlurmError(InputError):
    """A SLURM command refused or did not answer; the message is SLURM's, in one line."""


@dataclass(frozen=True)
class Queued:
    """An array task as squeue shows it; ``reason`` is why it waits, or its node.

    After a crash the controller may give out ids again: ``name`` tells whose job it is.
    """

    state: str
    reason: str
    name: str


def is_here() -> bool:
    """Whether this machine knows SLURM's commands."""
    return shutil.which("sbatch") is not None


def require() -> None:
    """Raise SlurmError where SLURM's commands are missing."""
    if not is_here():
        raise SlurmError(
            "sbatch: not found. Is this the login node of a SLURM cluster (perhaps after a "
            "`module load slurm`)? On one machine use `run`"
        )


def call(*command: str) -> str:
    """What a command prints. Raises SlurmError with its own words in one line."""
    try:
        with activity(f"waiting for SLURM's {command[0]}"):
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT
            )
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]}: not found; is this a login node of a cluster?") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]}: no answer within {TIMEOUT} seconds") from error
    if done.returncode:
        raise SlurmError(f"{command[0]}: {one_line(done.stderr or done.stdout)}")
    return done.stdout


def one_line(text: str) -> str:
    """SLURM's complaint without its prefixes: "sbatch: error: invalid partition specified: x"."""
    lines = [re.sub(r"^\w+: (error|fatal): ", "", s).strip() for s in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "no message"


# ---- the cluster ---------------------------------------------------------------------------------


@functools.cache
def config() -> dict[str, str]:
    """`scontrol show config`."""
    pairs = (line.partition("=") for line in call("scontrol", "show", "config").splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def cluster() -> str | None:
    """The name of the cluster that answers here, as its jobs have it; None if it does not."""
    try:
        return config().get("ClusterName")
    except SlurmError:
        return None


def max_array_size() -> int:
    """The number of tasks that an array may have: indices run from 0 to MaxArraySize - 1."""
    return int(config().get("MaxArraySize", "1001"))


def user() -> str:
    """The user's name as SLURM knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without this user
        return str(os.getuid())


# ---- jobs ----------------------------------------------------------------------------------------


def queue(jobs: Iterable[str]) -> dict[str, Queued]:
    """Array task ("123_4") -> its entry, for all tasks of these arrays in the queue. One call."""
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    try:
        command = ("squeue", "-h", "-r", "-o", "%F|%K|%T|%j|%R", "-j", ",".join(wanted))
        table = call(*command)
    except SlurmError as error:
        if _UNKNOWN_JOB in str(error):  # the only job, or all of them, left the queue
            return {}
        raise
    rows = (line.split("|", 4) for line in table.splitlines())
    states = {f"{r[0]}_{r[1]}": Queued(r[2], r[4].strip("()"), r[3]) for r in rows}
    return {task: queued for task, queued in states.items() if queued.state not in ENDED}


def mine() -> int:
    """The number of the user's jobs in the queue, counting every array task."""
    return len(call("squeue", "-h", "-r", "-u", user(), "-o", "%i").split())


def accounted(jobs: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Array task -> its name and how it ended ("TIMEOUT"), from accounting; empty without it."""
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    try:
        table = call("sacct", "-X", "-n", "-P", "-o", "JobID,JobName,State", "-j", ",".join(wanted))
    except SlurmError:  # not every cluster keeps accounts
        return {}
    ends = {}
    for line in table.splitlines():
        job, name, state = line.split("|", 2)
        ends.update(dict.fromkeys(_elements(job), (name, state)))
    return ends


def _elements(job: str) -> Iterator[str]:
    """ "12_[0-2,5]" -> its tasks: accounting joins those that never started."""
    array, _, tasks = job.partition("_")
    for part in tasks.strip("[]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if not first.isdigit():
            yield job
            continue
        yield from (f"{array}_{i}" for i in range(int(first), int(last or first) + 1))


def named(name: str) -> str | None:
    """The array with a job name, in the queue or in the accounts; None if there is none."""
    jobs = call("squeue", "-h", "-o", "%F", "--name", name).split()
    if not jobs:
        try:
            since = "now-7days"
            command = ("sacct", "-X", "-n", "-P", "-S", since, "-o", "JobID", "--name", name)
            jobs = [job.partition("_")[0] for job in call(*command).split()]
        except SlurmError:
            return None
    return jobs[0] if jobs else None


def has_ended(job: str) -> bool:
    """Whether SLURM is certain that a job has ended; False if it does not answer."""
    try:
        states = call("squeue", "-h", "-t", "all", "-o", "%T", "-j", job).split()
    except SlurmError as error:
        return _UNKNOWN_JOB in str(error)
    return all(state in ENDED for state in states)


def cancel(tasks: Sequence[str]) -> None:
    """Cancel tasks; those that have ended meanwhile are no error."""
    for start in range(0, len(tasks), 200):
        try:
            call("scancel", *tasks[start : start + 200])
        except SlurmError as error:
            if _UNKNOWN_JOB not in str(error):
                raise


def state_of(job: str) -> str:
    """A job's state; empty if SLURM does not know it or does not answer."""
    try:
        return call("squeue", "-h", "-t", "all", "-o", "%T", "-j", job).strip()
    except SlurmError:
        return ""


def release(task: str) -> None:
    """Let a held job start again."""
    call("scontrol", "release", task)


def requeue(job: str) -> None:
    """Put a running job back into the queue; it is killed and starts again later."""
    call("scontrol", "requeue", job)
