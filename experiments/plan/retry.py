"""Set aside what an earlier attempt left, so that its run is trained again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from experiments.memo import Memo
from experiments.plan import weights
from experiments.plan.plan import Plan
from experiments.rundir.status import State, Status, is_claimed
from results import records


def reset(plan: Plan, states: set[str]) -> int:
    """Make failed or stale runs trainable again, if in ``states``; returns how many there were.

    Nothing is deleted: errors and stale directories are renamed.
    """
    count = 0
    for status in plan.statuses().values():
        directory = status.spec.directory(plan.workspace.runs)
        if status.state == State.FAILED in states:
            records.set_aside(directory / "error.txt")
            count += 1
        if status.state == State.STALE in states and not is_claimed(directory):
            if directory.exists():
                directory.rename(_free_name(directory))
            else:  # stale is the result of earlier code, which stays where it is
                directory.mkdir(parents=True)
            count += 1
    return count


@dataclass(frozen=True)
class Redone:
    """A finished run whose weights others need and that were damaged; it is to be trained again.

    kept     where it lies now
    readers  finished runs that learned from the weights it had
    """

    status: Status
    kept: Path
    readers: int


def redo_teachers(plan: Plan) -> list[Redone]:
    """Set aside the teachers of unfinished runs whose weights are missing or damaged.

    Their own teachers, too, if those are damaged: they are needed again. Of a plan of probes: the
    students that they read. Nothing is deleted; runs that are done stay so if the weights come out
    as they were, bit for bit; else they are stale, and so is what learned from them.
    """
    statuses, runs = plan.statuses(), plan.workspace.runs
    damaged = {run: status for run, status in statuses.items() if status.damage}
    if plan.origin:
        memo = Memo(plan.workspace.data)
        damaged = weights.damaged_sources(statuses, plan.origin.statuses(), runs, memo)
    finished = [s for s in statuses.values() if s.state == State.DONE]
    done = Counter(run for s in finished for run in weights.read(s.spec))
    redone = []
    for run, status in damaged.items():
        directory = status.spec.directory(runs)
        if is_claimed(directory):
            continue
        kept = _free_name(directory)
        directory.rename(kept)
        redone.append(Redone(status, kept, done[run]))
    return redone


def _free_name(directory: Path) -> Path:
    number = 1
    while (name := directory.with_name(f"{directory.name}.stale-{number}")).exists():
        number += 1
    return name
