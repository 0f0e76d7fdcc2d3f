"""What SLURM's accounts say about the task that a fault has hit. Pure, but for asking sacct.

A signal or a lost node may come when a task has just ended, and other tasks of the same scenario
end badly for reasons of their own: a blocked student's with exit code 4, one whose setup lines fail
with theirs. So a fault counts only where the accounts show an end of the very task that it hit, in
a state that it leads to, and no sooner than it was injected.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COLUMNS = "JobID,JobName,State,ExitCode,NodeList,End,Start,Submit"
SACCT = ("sacct", "-X", "-n", "-P", "--duplicates", "--starttime", "now-6hours")
COMMAND = (*SACCT, f"--format={COLUMNS}")  # with TIMES in the environment
TIMES = {"SLURM_TIME_FORMAT": "%s"}  # seconds since 1970
KILLED = ("FAILED", "OUT_OF_MEMORY", "CANCELLED")  # what a killed step makes of its job
SLACK = 1.0  # seconds: the accounts have whole ones


@dataclass(frozen=True)
class Start:
    """One start of an array task and how it ended; a task that was requeued has several.

    task   "12_3"; as sacct writes it for what never started: "12_[0-3]"
    state  as sacct writes it, less what follows ("CANCELLED by 0")
    ended  seconds since 1970; infinite while it has not
    began  likewise; infinite where it has not started
    sent   when sbatch was called, or it was requeued
    """

    task: str
    name: str
    state: str
    code: str
    node: str
    ended: float
    began: float = math.inf
    sent: float = math.inf

    @property
    def indices(self) -> list[str]:
        """The numbers of its tasks: of what never started, several may share a row."""
        return [task.partition("_")[2] for task in expanded(self.task) or [self.task]]

    def overlaps(self, since: float, until: float) -> bool:
        """Whether it ran at some moment of a span (seconds since 1970)."""
        return self.began <= until + SLACK and self.ended >= since - SLACK

    def was_sent(self, since: float, until: float) -> bool:
        """Whether it was sent in a span."""
        return since - SLACK <= self.sent <= until + SLACK


@dataclass(frozen=True)
class Hit:
    """A fault that was injected into a task.

    states  of which SLURM must give it one
    since   seconds since 1970
    node    where it ran, if it matters
    """

    task: str
    states: tuple[str, ...]
    since: float
    node: str = ""


def starts(table: str, prefix: str = "") -> list[Start]:
    """The rows of COMMAND's answer whose job's name begins like this; other lines are skipped."""
    rows = (line.split("|") for line in table.splitlines())
    found = [_start(row) for row in rows if len(row) == len(COLUMNS.split(","))]
    return [start for start in found if start.name.startswith(prefix)]


def _start(row: Sequence[str]) -> Start:
    task, name, state, code, node, *times = row
    ended, began, sent = (float(time) if time.isdecimal() else math.inf for time in times)
    return Start(task, name, (state.split() or [""])[0], code, node, ended, began, sent)


def proof(hit: Hit, found: Iterable[Start]) -> Start | None:
    """The first end that shows it; None if the accounts have none."""
    fitting = [start for start in found if _shows(start, hit)]
    return min(fitting, key=lambda start: start.ended, default=None)


def _shows(start: Start, hit: Hit) -> bool:
    if not (start.task == hit.task or hit.task in expanded(start.task)):
        return False
    on_time = hit.since - SLACK <= start.ended < math.inf
    return on_time and start.state in hit.states and hit.node in ("", start.node)


def expanded(task: str) -> list[str]:
    """ "12_[0-2,5%3]" is 12_0, 12_1, 12_2 and 12_5; of anything else, nothing."""
    array, bracket, inside = task.partition("_[")
    if not bracket:
        return []
    parts = [part.partition("-") for part in inside.rstrip("]").partition("%")[0].split(",")]
    numbers = [range(int(low), int(high or low) + 1) for low, _, high in parts if low.isdecimal()]
    return [f"{array}_{number}" for some in numbers for number in some]


def shown(hits: Iterable[Hit], found: Sequence[Start]) -> Counter[str]:
    """State -> how many of the hits the accounts show with it."""
    proofs = (proof(hit, found) for hit in hits)
    return Counter(one.state for one in proofs if one is not None)
