"""Whether what `status` said about each run can have been true at a moment while it ran. Pure.

`status` takes a second or more, and jobs start and end meanwhile. So the truth is looked at right
before and right after it: a line is false only if it fits neither look nor a way from one to the
other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

WAITS = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Look:
    """What was so at one moment.

    done     runs with a result
    failed   runs with an error.txt
    blocked  runs with a stored reason, or whose teacher failed
    odd      runs whose teacher's weights are gone or damaged, those teachers, and runs of code that
             has changed
    queued   run -> the states of its tasks in the queue
    working  runs that a live process is training
    ran      runs with a task that SLURM's accounts have running since the look before
    sent     runs with a task that was sent, or put back, since then, by the same accounts
    unsure   runs of arrays for which sbatch has not answered
    answers  whether SLURM's controller answers
    """

    done: frozenset[str] = NONE
    failed: frozenset[str] = NONE
    blocked: frozenset[str] = NONE
    odd: frozenset[str] = NONE
    queued: Mapping[str, frozenset[str]] = field(default_factory=dict)
    working: frozenset[str] = NONE
    ran: frozenset[str] = NONE
    sent: frozenset[str] = NONE
    unsure: frozenset[str] = NONE
    answers: bool = True

    def waits(self, run: str) -> bool:
        return bool(self.queued.get(run, NONE) & WAITS)

    def runs(self, run: str) -> bool:
        return bool(self.queued.get(run, NONE) - WAITS) or run in self.working

    def is_known(self, run: str) -> bool:
        """Whether SLURM has a task for it, or a process trains it."""
        return self.waits(run) or self.runs(run)


def falsehoods(before: Look, said: Mapping[str, str], after: Look) -> list[str]:
    """What was said of runs (id -> state and details) and cannot have been so, a line each."""
    return [
        f"{run} was said to be {text!r}: {reason}"
        for run, text in said.items()
        if (reason := _objection(before, run, text, after))
    ]


def _objection(before: Look, run: str, text: str, after: Look) -> str | None:
    """Why a state is false; None if it may be true."""
    state = next((word for word in _OBJECTIONS if text.startswith(word)), None)
    if state is None:
        return f"expected one of {', '.join(_OBJECTIONS)}"
    return _OBJECTIONS[state](before, run, after)


def _done(before: Look, run: str, after: Look) -> str | None:
    return None if run in after.done else "it has no result"


def _failed(before: Look, run: str, after: Look) -> str | None:
    return None if run in before.failed | after.failed else "it has no error.txt"


def _blocked(before: Look, run: str, after: Look) -> str | None:
    seen = before.blocked | after.blocked | before.odd | after.odd
    return None if run in seen else "nothing blocks it"


def _stale(before: Look, run: str, after: Look) -> str | None:
    return None if run in before.odd | after.odd else "nothing of it has changed"


def _running(before: Look, run: str, after: Look) -> str | None:
    if before.runs(run) or after.runs(run):
        return None
    if run in after.done | after.failed and run not in before.done:
        return None  # it began and ended in between
    if before.waits(run) and not after.waits(run):
        return None
    if before.waits(run) and run in after.ran:
        return None  # it was started and sent back to the queue in between
    if run in after.ran & after.sent:
        return None  # sent, started and ended in between
    return _finished(before, run) or "no task of it runs, and no process trains it"


def _pending(before: Look, run: str, after: Look) -> str | None:
    if before.waits(run) or after.waits(run):
        return None
    if after.is_known(run) and not before.is_known(run):
        return None  # it was sent and started in between
    if run in after.sent:
        return None  # sent, or back in the queue, and started or cancelled, in between
    return _finished(before, run) or "no task of it waits"


def _lost(before: Look, run: str, after: Look) -> str | None:
    same = before.queued.get(run) == after.queued.get(run)
    if same and before.is_known(run) and after.is_known(run):
        return "its task is in the queue"
    return _finished(before, run)


def _to_do(before: Look, run: str, after: Look) -> str | None:
    if not (before.answers or after.answers) and before.queued.get(run):
        return "it is in the queue of a SLURM that does not answer"
    return _lost(before, run, after)


def _unknown(before: Look, run: str, after: Look) -> str | None:
    asked = after.is_known(run) and not before.is_known(run)  # sent, and answered, in between
    unsure = asked or run in before.unsure | after.unsure | after.sent
    if before.answers and after.answers and not unsure:
        return "SLURM answers, and so did sbatch"
    return _finished(before, run)


def _impossible(before: Look, run: str, after: Look) -> str | None:
    return "its method can serve its pair"  # the scenarios have no other


def _finished(before: Look, run: str) -> str | None:
    """Results stay: one that was there before is there while `status` looks."""
    return "it had a result" if run in before.done - before.odd else None


_OBJECTIONS = {
    "done": _done,
    "running": _running,
    "pending": _pending,
    "to do": _to_do,
    "lost": _lost,
    "blocked": _blocked,
    "failed": _failed,
    "stale": _stale,
    "n/a": _impossible,
    "unknown": _unknown,
}
