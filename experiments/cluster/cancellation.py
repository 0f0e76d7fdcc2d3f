"""Decide which jobs a `cancel` takes out of the queue."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from experiments import slurm
from experiments.cluster import submitted
from experiments.cluster.addresses import Address
from experiments.cluster.questions import Task
from experiments.cluster.queue_status import QueueState
from experiments.errors import InputError
from experiments.plan.plan import Plan


def spared_teachers(plan: Plan, known: Mapping[str, QueueState]) -> set[str]:
    """Ids of teachers that are not named themselves and that jobs of other runs wait for."""
    named = plan.expansion.names
    of_others = {
        task
        for array in submitted.load(plan.workspace.runs)
        if not named.issuperset(run for ids in array.tasks for run in ids)
        for task in array.after
    }
    teachers = {spec.id for spec in plan.expansion.teachers}
    teachers -= {entry.spec.id for entry in plan.expansion.entries}
    return {run for run in teachers if run in known and known[run].task in of_others}


def count_sharing_runs(runs: Path, tasks: Collection[Address], named: set[str]) -> int:
    """The number of runs that share the jobs ``tasks`` but are not ``named``."""
    share = {
        run
        for array in submitted.load(runs)
        for i, ids in enumerate(array.tasks)
        if (array.cluster, f"{array.job}_{i}") in tasks
        for run in ids
    }
    return len(share - named)


def of_ids(runs: Path, ids: Sequence[str]) -> list[Task]:
    """The array tasks that ids name ("123": all of the array, "123_4"), each once.

    Raises InputError for an id that was not sent from ``runs``.
    """
    known = [
        Task.of(array, i)
        for array in submitted.load_here(runs)
        if array.job
        for i in range(len(array.tasks))
    ]
    found: dict[Address, Task] = {}
    for wanted in ids:
        tasks = [task for task in known if wanted in (task.id, task.array)]
        if not tasks:
            raise InputError(f"cancel --jobs {wanted}: {_expected(wanted, known, runs)}")
        found |= {task.address: task for task in tasks}
    return list(found.values())


def _expected(wanted: str, known: Iterable[Task], runs: Path) -> str:
    arrays = list(dict.fromkeys(task.array for task in known))
    if not re.fullmatch("[0-9]+(_[0-9]+)?", wanted):
        return "expected an array's id (123) or a task's (123_4)"
    sent = f"sent were {', '.join(arrays[-5:])}" if arrays else "none was sent from there"
    return f"no job of {runs}; {sent}"


def cancel(tasks: Iterable[Address]) -> None:
    """Take tasks out of the queues of their clusters."""
    by_cluster: dict[str | None, list[str]] = {}
    for cluster, task in tasks:
        by_cluster.setdefault(cluster, []).append(task)
    for cluster, theirs in by_cluster.items():
        slurm.cancel(theirs, cluster=cluster)
