"""SLURM's states, reasons and exit codes in words: what it is, and what to do. Pure."""

from __future__ import annotations

import pwd
import re
import signal as signals
from collections.abc import Mapping, Sequence

from experiments import slurm
from experiments.wording import form
from experiments.worker.job import BLOCKED, REFUSED, STOPPED

KNOWN_NO_MORE = "no longer known to SLURM"

# A job that waits, or is held, in a state of its own. {id} is the job's.
WAITS = {
    "CONFIGURING": "its nodes are being started",
    "REQUEUED": "it goes back into the queue",
    "REQUEUE_FED": "it goes back into the queue of its federation",
    "REQUEUE_HOLD": "requeued and held: `scontrol release {id}`, or `cancel`",
    "SPECIAL_EXIT": "held after a special exit: look at its log, then `scontrol release {id}`",
    "RESV_DEL_HOLD": "held since its reservation was deleted: `scontrol release {id}`, or `cancel`",
}
# A job that has its nodes and is not plainly running.
RUNS = {
    "COMPLETING": "it is ending",
    "RESIZING": "its size is being changed",
    "SIGNALING": "it is being sent a signal",
    "STAGE_OUT": "its files are being copied back",
    "STOPPED": "stopped by a signal, and keeps its nodes: `scancel --signal=CONT {id}`",
    "SUSPENDED": "suspended by SLURM or an administrator; it goes on when they resume it",
}
STAND_STILL = ("STOPPED", "SUSPENDED")  # a claim's heart may beat, but nothing is trained
# Why a job waits, by the beginning of squeue's reason; what needs no explanation is left out.
REASONS = {
    "Assoc": "a limit of the account; it starts when that allows",
    "BadConstraints": "no node is as it asks: `cancel`, and submit with other options",
    "BeginTime": "it starts again in a minute or two",
    "DependencyNeverSatisfied": "its teacher's job did not end well: `cancel`, then `submit`",
    "InvalidAccount": "it never starts: `cancel`, and submit with another --account",
    "InvalidQOS": "it never starts: `cancel`, and submit with another --qos",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held by its user: `scontrol release {id}`",
    "JobHoldMaxRequeue": "submit releases it",
    "NodeDown": "a node that it needs is down",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "more nodes than the partition gives: `cancel`, submit with fewer",
    "PartitionTimeLimit": "longer than the partition allows, it never starts: `cancel`, and submit "
    "with a shorter --time",
    "QOS": "a limit of the quality of service; it starts when that allows",
    "ReqNodeNotAvail": "a node that it needs is not available, or reserved",
    "job requeued in held state": "`scontrol release {id}`, or `cancel`",
    "job requeued in special exit state": "look at its log, then `scontrol release {id}`",
    "launch failed requeued held": "submit releases it",
}
# How a job ended; {by} is who cancelled it.
ENDS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "cancelled{by}",
    "DEADLINE": "it could not end before its deadline",
    "LAUNCH_FAILED": "its node could not start it",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "it used more memory than --mem gave",
    "PREEMPTED": "another job took its place",
    "RECONFIG_FAIL": "its nodes could not be set up",
    "REVOKED": "another cluster of the federation has it",
    "TIMEOUT": "its time limit passed",
}
CODES = {  # of workers, and of shells
    REFUSED: "bad input, or --setup ended so: see its log",
    STOPPED: "stopped with everything saved, or --setup ended so: see its log",
    BLOCKED: "its runs were blocked, or --setup ended so: see its log",
    126: "a command of --setup, or python, cannot be executed",
    127: "a command of --setup, or python, was not found",
}
SIGNALS = {
    "SIGBUS": "a full /dev/shm or disk?",
    "SIGFPE": "it crashed",
    "SIGILL": "it crashed: a program for another kind of CPU?",
    "SIGKILL": "out of memory?",
    "SIGSEGV": "it crashed",
}


def waiting(task: str, state: str, reason: str, held: Sequence[str] = ()) -> str:
    """ "job 12_3: Priority", with what to do where somebody has to do something.

    ``held``: tasks that it waits for and that SLURM holds.
    """
    if held:
        verb, them = form(len(held), "is", "are"), form(len(held), "it", "them")
        return f"job {task}: waits for {', '.join(held)}, which {verb} held; submit releases {them}"
    explained = (WAITS.get(state) or _by_beginning(REASONS, reason)).replace("{id}", task)
    known = f"{state}:" if state in WAITS else f"{reason};" if reason else ""
    return f"job {task}: {' '.join(filter(None, (known, explained))).rstrip(';') or state}"


def running(task: str, state: str, node: str) -> str:
    """ "job 12_3 on n1"; with the state where that is not just RUNNING."""
    more = f", {state}: {RUNS[state].replace('{id}', task)}" if state in RUNS else ""
    return f"job {task}{f' on {node}' if node else ''}{more}"


def present(task: str, state: str, reason: str) -> str:
    """What a job that is in the queue does: `running` or `waiting`."""
    words = running if slurm.is_running(state) else waiting
    return words(task, state, reason)


def ended(task: str, end: slurm.Ended | None) -> str:
    """ "job 12_3 ended: FAILED, exit code 127"; cause and log: see `cause`."""
    return f"job {task} ended: {how(end)}"


def how(end: slurm.Ended | None) -> str:
    """ "TIMEOUT", "FAILED, exit code 1", "FAILED, killed by SIGKILL": as SLURM accounts for it."""
    if end is None:
        return KNOWN_NO_MORE
    number = 0 if end.state.partition(" ")[0] in ENDS else signal_of(end)
    if number:
        return f"{end.state}, killed by {signal_name(number)}"
    return f"{end.state}, exit code {end.exit_code}" if end.exit_code else end.state


def cause(end: slurm.Ended | None) -> str:
    """What most likely ended a job, for a person; empty where nothing is known."""
    if end is None:
        return ""
    state, _, by = end.state.partition(" by ")
    if end.state == "CANCELLED" and end.exit_code is not None:  # the accounts name nobody
        return "cancelled by SLURM: the job that it waited for did not end well?"
    if state in ENDS:
        return ENDS[state].format(by=f" by {_user(by)}" if by else "")
    number = signal_of(end)
    if number:
        return SIGNALS.get(signal_name(number), "")
    if state == "COMPLETED":
        return "it ended well, but left no result: see its log"
    return CODES.get(end.exit_code or 0, "see its log")


def signal_of(end: slurm.Ended) -> int:
    """The signal that killed a job; shells and srun report it as exit code 128 + signal."""
    if end.signal:
        return end.signal
    code = end.exit_code or 0
    return code - 128 if 128 < code < 128 + signals.NSIG else 0


def signal_name(number: int) -> str:
    """ "SIGKILL"; "signal 99" for a number without a name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _by_beginning(table: Mapping[str, str], reason: str) -> str:
    """The longest entry that a reason begins with: "QOSMaxJobsPerUserLimit" is one of QOS."""
    fitting = [key for key in table if reason.startswith(key)]
    return table[max(fitting, key=len)] if fitting else ""


def node_of(end: slurm.Ended | None) -> str:
    """Where a job ran; empty if it never did ("None assigned")."""
    return "" if end is None or " " in end.node else end.node


def _user(uid: str) -> str:
    """A user's name by the number that accounting has."""
    try:
        return pwd.getpwuid(int(uid)).pw_name if re.fullmatch("[0-9]+", uid) else uid
    except (KeyError, OverflowError):
        return uid
