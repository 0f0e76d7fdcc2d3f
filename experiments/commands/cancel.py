"""`cancel`: take a matrix's jobs out of SLURM's queue."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from experiments import slurm
from experiments.cluster import queue_status, submitted
from experiments.cluster.queue_status import QueueState
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    add_yes,
    confirm,
    planned,
)
from experiments.plan.plan import Plan


def cancel(args: argparse.Namespace) -> int:
    """Take the jobs of a matrix (or of the part that the filters name) out of SLURM's queue."""
    slurm.require()
    found = planned(args, strict=False)
    statuses = found.statuses()
    known = queue_status.query(found.workspace.runs, statuses.values())
    spared = _spared(found, known)
    tasks = {hint.task: hint for run, hint in known.items() if hint.state and run not in spared}
    if not tasks:
        print("none of these runs is in the queue")
        return 0
    company = _company(found.workspace.runs, tasks, set(known) - spared)
    print(f"{len(tasks)} jobs: {', '.join(list(tasks)[:10])}{', …' if len(tasks) > 10 else ''}")
    if company:
        print(
            f"{company} other runs share these jobs and are cancelled, too; submit sends them again"
        )
    if not confirm(args, "cancel?"):
        return 1
    slurm.cancel(list(tasks))
    print("cancelled; what was saved is safe, and submit goes on from there")
    return 0


def _spared(found: Plan, known: Mapping[str, QueueState]) -> set[str]:
    """Teachers that come along with the named students, but that others wait for, too."""
    named = {spec.id for spec in found.expansion.runs}
    of_others: set[str | None] = {
        sent.after
        for sent in submitted.load(found.workspace.runs)
        if not named.issuperset(run for ids in sent.tasks for run in ids)
    }
    teachers = {spec.id for spec in found.expansion.teachers}
    teachers -= {entry.spec.id for entry in found.expansion.entries}
    return {run for run in teachers if run in known and known[run].task in of_others}


def _company(runs: Path, tasks: Mapping[str, QueueState], named: set[str]) -> int:
    """Runs of the same jobs that were not named."""
    share = {
        run
        for sent in submitted.load(runs)
        for i, ids in enumerate(sent.tasks)
        if f"{sent.job}_{i}" in tasks
        for run in ids
    }
    return len(share - named)


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_yes(add_matrix_verb(verbs, "cancel", cancel))
