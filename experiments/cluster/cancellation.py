"""Decide which jobs a `cancel` takes out of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from experiments.cluster import submitted
from experiments.cluster.queue_status import QueueState
from experiments.plan.plan import Plan


def spared_teachers(plan: Plan, known: Mapping[str, QueueState]) -> set[str]:
    """Ids of teachers that are not named themselves and that jobs of other runs wait for."""
    named = {spec.id for spec in plan.expansion.runs}
    of_others: set[str | None] = {
        array.after
        for array in submitted.load(plan.workspace.runs)
        if not named.issuperset(run for ids in array.tasks for run in ids)
    }
    teachers = {spec.id for spec in plan.expansion.teachers}
    teachers -= {entry.spec.id for entry in plan.expansion.entries}
    return {run for run in teachers if run in known and known[run].task in of_others}


def count_sharing_runs(runs: Path, tasks: Mapping[str, QueueState], named: set[str]) -> int:
    """The number of runs that share the jobs ``tasks`` but are not ``named``."""
    share = {
        run
        for array in submitted.load(runs)
        for i, ids in enumerate(array.tasks)
        if f"{array.job}_{i}" in tasks
        for run in ids
    }
    return len(share - named)
