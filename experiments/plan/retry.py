"""Set aside what an earlier attempt left, so that its run is trained again."""

from __future__ import annotations

from pathlib import Path

from experiments.plan.plan import Plan
from experiments.rundir.status import State, is_claimed
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


def _free_name(directory: Path) -> Path:
    number = 1
    while (name := directory.with_name(f"{directory.name}.stale-{number}")).exists():
        number += 1
    return name
