"""`cancel`: take a matrix's jobs out of SLURM's queue."""

from __future__ import annotations

import argparse

from experiments.commands.common import Verbs, add_matrix_verb, add_yes_flag, confirm, planned
from experiments.wording import form, plural


def cancel(args: argparse.Namespace) -> int:
    """Take the jobs of a matrix (or of the part that the filters name) out of SLURM's queue."""
    from experiments import slurm
    from experiments.cluster import cancellation, queue_status

    slurm.require()
    plan = planned(args, strict=False)
    runs = plan.workspace.runs
    known = queue_status.query(runs, plan.statuses().values())
    spared = cancellation.spared_teachers(plan, known)
    tasks = {
        queued.task: queued for run, queued in known.items() if queued.state and run not in spared
    }
    if not tasks:
        print("none of these runs is in the queue")
        return 0
    sharing = cancellation.count_sharing_runs(runs, tasks, set(known) - spared)
    first = f"{', '.join(list(tasks)[:10])}{', …' if len(tasks) > 10 else ''}"
    print(f"{plural(len(tasks), 'job')}: {first}")
    if sharing:
        verbs = form(sharing, "shares these jobs and is", "share these jobs and are")
        print(f"{plural(sharing, 'other run')} {verbs} cancelled too; submit them again")
    if not confirm(args, "cancel?"):
        return 1
    for cluster in {queued.cluster for queued in tasks.values()}:
        theirs = [task for task, queued in tasks.items() if queued.cluster == cluster]
        slurm.cancel(theirs, cluster=cluster)
    print("cancelled; saved progress is kept, and submit resumes from it")
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_yes_flag(add_matrix_verb(verbs, "cancel", cancel))
