"""Runs that are trained again: what is left of an earlier attempt is put aside."""

from __future__ import annotations

from pathlib import Path

from experiments.plan.plan import Plan
from experiments.rundir.status import State, is_claimed
from results import records


def reset(found: Plan, states: set[str]) -> int:
    """Put what failed or is stale aside where it is to be trained again; nothing is deleted."""
    count = 0
    for entry in found.statuses().values():
        directory = entry.spec.directory(found.workspace.runs)
        if entry.state == State.FAILED in states:
            records.set_aside(directory / "error.txt")
            count += 1
        if entry.state == State.STALE in states and not is_claimed(directory):
            directory.rename(_free_name(directory))
            count += 1
    return count


def _free_name(directory: Path) -> Path:
    number = 1
    while (name := directory.with_name(f"{directory.name}.stale-{number}")).exists():
        number += 1
    return name
