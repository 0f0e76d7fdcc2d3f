"""SLURM's commands. Their answers are hints: only the disk decides whether a run is done."""

from __future__ import annotations

import functools
import os
import pwd
import re
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from experiments.activity import activity
from experiments.job_states import ENDED, WAITING, is_over, is_running, is_waiting
from experiments.slurm_command import NoAnswerError, SlurmError, environment, execute, one_line

__all__ = ["ENDED", "WAITING", "NoAnswerError", "is_over", "is_running", "is_waiting", "one_line"]

TIMEOUT = 60  # seconds for one command; a busy controller may take that long
HELD = (
    "launch failed requeued held",
    "JobHoldMaxRequeue",
)  # reasons of tasks that SLURM holds because of a node's fault
_UNKNOWN_JOB = "Invalid job id"
_NO_ACCOUNTS = ("accounting storage is disabled", "not running a supported accounting_storage")
DAY = 86_400.0  # seconds
ABOUT_TO_TIME_OUT = signal.SIGUSR2  # which `submit` asks SLURM to send before the time limit


@dataclass(frozen=True)
class Queued:
    """An array task as squeue shows it; ``reason`` is why it waits, or its node.

    After a crash the controller may give out ids again: ``name`` tells whose job it is.
    """

    state: str
    reason: str
    name: str


@dataclass(frozen=True)
class Ended:
    """An array task as the accounts show it; ``state`` may be "CANCELLED by 1000".

    Accounts also know jobs that wait or run: `is_over` tells. ``signal`` is what killed it, or 0;
    ``start`` and ``end`` are as sacct prints them, "Unknown" where there is none.
    """

    name: str
    state: str
    exit_code: int | None = None
    signal: int | None = None
    node: str = ""
    start: str = ""
    end: str = ""


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
    """What a command prints, whatever the user's variables say of its output.

    Raises SlurmError with the command's own words in one line, or where it takes over TIMEOUT.
    """
    with activity(f"waiting for SLURM's {command[0]}"):
        done = execute(command, environment(), TIMEOUT)
    if done.returncode:
        raise SlurmError(f"{command[0]}: {one_line(done.stderr or done.stdout)}")
    return done.stdout


# ---- the cluster ---------------------------------------------------------------------------------


@functools.cache
def config() -> dict[str, str]:
    """`scontrol show config`."""
    pairs = (line.partition("=") for line in call("scontrol", "show", "config").splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def cluster() -> str | None:
    """The name of the cluster that answers here, as its jobs have it; None if it does not."""
    try:
        return here()
    except SlurmError:
        return None


def here() -> str | None:
    """The name of this machine's cluster. Raises SlurmError where it does not answer."""
    return config().get("ClusterName")


@functools.cache
def others() -> frozenset[str]:
    """The names of all clusters of the same accounts, which can be asked from here, too.

    Empty where no accounts are kept. Raises SlurmError where they are but cannot be read.
    """
    try:
        table = call("sacctmgr", "-n", "-P", "show", "cluster", "format=cluster,controlport")
    except SlurmError as error:
        if any(words in str(error) for words in _NO_ACCOUNTS):
            return frozenset()
        raise
    return frozenset(name.lower() for name, port in _rows(table, 2) if port.isdigit())


def _at(cluster: str | None) -> list[str]:
    """The flag that sends a command to a cluster; none for this machine's, which needs none.

    So nothing depends on accounting, where other clusters' addresses come from, without need.
    """
    is_local = cluster is None or cluster.lower() == (here() or "").lower()
    return [] if is_local else ["-M", str(cluster)]


def max_array_size() -> int:
    """The number of tasks that an array may have: indices run from 0 to MaxArraySize - 1."""
    return int(config().get("MaxArraySize", "1001"))


def partition_limit(partition: str | None) -> int | None:
    """The longest job of a partition in minutes, None without a limit.

    ``partition`` None is the default one; of several ("a,b"), the shortest limit applies.
    """
    return _shortest(partition, "%l")


def partition_default(partition: str | None) -> int | None:
    """The time limit in minutes of jobs that ask for none, if the partition has one."""
    return _shortest(partition, "%L")


def _shortest(partition: str | None, what: str) -> int | None:
    name = [f"--partition={partition}"] if partition else []
    table = call("sinfo", "-h", "-o", f"%P|{what}", *name)
    lines = [line.partition("|") for line in table.splitlines()]
    limits = [_minutes(limit) for name, _, limit in lines if partition or name.endswith("*")]
    return min((limit for limit in limits if limit is not None), default=None)


def _minutes(limit: str) -> int | None:
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if match is None:  # "infinite"
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + (seconds > 0)


def submit_limit(account: str | None, qos: str | None) -> int | None:
    """The number of jobs that the user may have in the queue, if accounting limits it.

    It is the lowest limit of the association (with ``account``, or any) and its quality of service.
    """
    try:
        command = ["sacctmgr", "-n", "-P", "show", "assoc", f"user={user()}"]
        table = call(*command, "format=account,defaultqos,maxsubmitjobs,grpsubmitjobs")
        rows = _rows(table, 4)
        rows = [row for row in rows if account in (None, row[0])]
        names = {qos} if qos else {row[1] or "normal" for row in rows}
        limits = "format=name,maxsubmitjobsperuser,maxsubmitjobsperaccount"
        table = call("sacctmgr", "-n", "-P", "show", "qos", limits)
    except SlurmError:  # without accounting there is no such limit
        return None
    services = _rows(table, 3)
    cells = [cell for row in rows for cell in row[2:]]
    cells += [cell for row in services if row[0] in names for cell in row[1:]]
    return min((int(cell) for cell in cells if cell.isdigit()), default=None)


def user() -> str:
    """The user's name as SLURM knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without this user
        return str(os.getuid())


# ---- jobs: each is asked of the cluster that has it (None: the one of this machine) --------------


def queue(jobs: Iterable[str], cluster: str | None = None) -> dict[str, Queued]:
    """Array task ("123_4") -> its entry, for all tasks of these arrays in the queue. One call."""
    found = known(jobs, cluster)
    return {task: entry for task, entry in found.items() if not is_over(entry.state)}


def known(jobs: Iterable[str], cluster: str | None = None) -> dict[str, Queued]:
    """As `queue`, with the tasks that have ended and that the controller still remembers."""
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    try:
        form = ("-h", "-r", "-t", "all", "-o", "%F|%K|%T|%j|%R")
        table = call("squeue", *_at(cluster), *form, "-j", ",".join(wanted))
    except SlurmError as error:
        if _UNKNOWN_JOB in str(error):  # the only job, or all of them, left the queue
            return {}
        raise
    rows = [row for row in _rows(table, 5) if row[0].isdigit() and row[1].isdigit()]
    return {f"{r[0]}_{r[1]}": Queued(r[2], r[4].strip("()"), r[3]) for r in rows}


def _rows(table: str, columns: int) -> list[list[str]]:
    """The lines of a table; others, such as a site's greeting, are skipped."""
    lines = (line.split("|", columns - 1) for line in table.splitlines())
    return [row for row in lines if len(row) == columns]


def mine(cluster: str | None = None) -> int:
    """The number of the user's jobs in the queue, counting every array task."""
    table = call("squeue", *_at(cluster), "-h", "-r", "-u", user(), "-o", "%i|")
    return sum(row[0].strip()[:1].isdigit() for row in _rows(table, 2))


def accounted(jobs: Iterable[str], cluster: str | None = None) -> dict[str, Ended]:
    """Array task -> how it ended, from accounting; empty where no accounts are kept.

    Raises SlurmError where they are kept but cannot be read.
    """
    wanted = sorted(set(jobs))
    if not wanted:
        return {}
    columns = "JobID,State,ExitCode,NodeList,Start,End,JobName"
    table = _sacct(cluster, "-o", columns, "-j", ",".join(wanted))
    ends = {}
    for job, state, code, node, start, end, name in _rows(table, 7):
        exit_code, _, killed = code.partition(":")
        if exit_code.isdigit() and killed.isdigit():
            found = Ended(name, state, int(exit_code), int(killed), node, start, end)
            ends.update(dict.fromkeys(_elements(job), found))
    return ends


def _sacct(cluster: str | None, *arguments: str) -> str:
    """What sacct prints of jobs, without their steps; nothing where no accounts are kept."""
    try:
        return call("sacct", *_at(cluster), "-a", "-X", "-n", "-P", *arguments)
    except SlurmError as error:
        if any(words in str(error) for words in _NO_ACCOUNTS):
            return ""
        raise


def _elements(job: str) -> Iterator[str]:
    """ "12_[0-2,5]" -> its tasks: accounting joins those that never started."""
    array, _, tasks = job.partition("_")
    for part in tasks.strip("[]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if not first.isdigit():
            yield job
            continue
        yield from (f"{array}_{i}" for i in range(int(first), int(last or first) + 1))


def named(name: str, cluster: str | None = None, since: float | None = None) -> str | None:
    """The array with a job name, in the queue or in the accounts; None if there is none.

    ``since`` is when it was sent, in seconds since 1970 (default: within the last week). Raises
    SlurmError where SLURM does not answer: then nobody knows.
    """
    table = call("squeue", *_at(cluster), "-h", "-t", "all", "-o", "%F|%j", "--name", name)
    if not any(row[1] == name for row in _rows(table, 2)):
        begin = time.time() - 7 * DAY if since is None else since - DAY  # clocks differ
        start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(begin))
        table = _sacct(cluster, "-S", start, "-o", "JobID,JobName", "--name", name)
    jobs = [row[0].partition("_")[0] for row in _rows(table, 2) if row[1] == name]
    return next((job for job in jobs if job.isdigit()), None)


def has_ended(job: str, cluster: str | None = None) -> bool:
    """Whether SLURM is certain that a job has ended; False if it does not answer."""
    try:
        states = _states(job, cluster)
    except SlurmError as error:
        return _UNKNOWN_JOB in str(error)
    return bool(states) and all(map(is_over, states))


def _states(job: str, cluster: str | None = None) -> list[str]:
    table = call("squeue", *_at(cluster), "-h", "-t", "all", "-o", "%A|%T", "-j", job)
    return [row[1].strip() for row in _rows(table, 2) if row[0].strip().isdigit()]


def cancel(tasks: Sequence[str], cluster: str | None = None) -> None:
    """Cancel tasks; those that have ended meanwhile are no error."""
    for start in range(0, len(tasks), 200):
        try:
            call("scancel", *_at(cluster), *tasks[start : start + 200])
        except SlurmError as error:
            if _UNKNOWN_JOB not in str(error):
                raise


def state_of(job: str, cluster: str | None = None) -> str:
    """A job's state; empty if SLURM does not know it or does not answer."""
    try:
        return next(iter(_states(job, cluster)), "")
    except SlurmError:
        return ""


def release(task: str, cluster: str | None = None) -> None:
    """Let a held job start again."""
    call("scontrol", *_at(cluster), "release", task)


def requeue(job: str, cluster: str | None = None) -> None:
    """Put a running job back into the queue; it is killed and starts again later."""
    call("scontrol", *_at(cluster), "requeue", job)
