"""`cancel`: take a matrix's jobs out of SLURM's queue."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from experiments.commands.common import (
    Verbs,
    add_file,
    add_matrix_flags,
    add_verb,
    add_yes_flag,
    command,
    confirm,
    is_filtered,
    planned,
)
from experiments.errors import InputError
from experiments.wording import form, plural

if TYPE_CHECKING:
    from experiments.plan.plan import Plan


def cancel(args: argparse.Namespace) -> int:
    """Take the jobs of a matrix (or of the part that the filters name) out of SLURM's queue.

    With --removed, those of runs that were in the matrix when they were sent and are no longer;
    with --jobs, any that were sent from this runs directory.
    """
    from experiments import slurm

    _check(args)
    slurm.require()
    if args.jobs:
        return _cancel_jobs(args)
    plan = planned(args, strict=False, looks=True)
    return _cancel_removed(plan, args) if args.removed else _cancel_runs(plan, args)


def _check(args: argparse.Namespace) -> None:
    """Refuse what contradicts itself."""
    if args.jobs and (args.removed or is_filtered(args)):
        raise InputError(
            "cancel: --jobs names jobs: expected no --removed and no filters beside it"
        )
    if args.removed and is_filtered(args):
        raise InputError("cancel: --removed is about runs that filters do not know: expected none")
    if args.matrix is None and not args.jobs:
        raise InputError("cancel: expected a matrix, or --jobs ID …")


def _cancel_runs(plan: Plan, args: argparse.Namespace) -> int:
    """Cancel the jobs of the plan's runs; name those that it does not reach."""
    from experiments.cluster import cancellation, queue_status, removed

    runs = plan.workspace.runs
    statuses = plan.statuses()  # first: they say under which names runs were sent
    known = queue_status.query(runs, statuses.values(), False, plan.expansion.sent_as)
    spared = cancellation.spared_teachers(plan, known)
    tasks = {
        (queued.cluster, queued.task): queued
        for run, queued in known.items()
        if queued.state and not queued.is_forgotten and run not in spared
    }
    others = [] if is_filtered(args) else removed.lines(removed.find(plan), command(args, "cancel"))
    for line in others:
        print(f"not cancelled: {line}")
    if not tasks:
        print("none of these runs is in the queue")
        return 0
    named = set(known) | {name for run, name in plan.expansion.sent_as if run in known}
    sharing = cancellation.count_sharing_runs(runs, tasks, named - spared)
    more = ""
    if sharing:
        verbs = form(sharing, "shares these jobs and is", "share these jobs and are")
        more = f"{plural(sharing, 'other run')} {verbs} cancelled too; submit them again"
    return _confirmed(args, tasks, more)


def _cancel_removed(plan: Plan, args: argparse.Namespace) -> int:
    """Cancel the user's own jobs of runs that are no longer in the matrix."""
    from experiments.cluster import removed

    found = [one for one in removed.find(plan) if not one.is_moved]
    _require_answers(one.state for one in found)
    tasks = [one.task.address for one in found if one.is_queued and one.is_mine]
    if not tasks:
        print("no job of a run that is no longer in the matrix is in the queue")
        return 0
    return _confirmed(args, tasks, "their runs are no longer in the matrix; results stay")


def _cancel_jobs(args: argparse.Namespace) -> int:
    """Cancel jobs by their ids, if they were sent from this runs directory."""
    from experiments.cluster import cancellation, questions

    wanted = cancellation.of_ids(args.runs.absolute(), args.jobs)
    answers = questions.ask(wanted)
    states = [questions.state_of(task, answers) for task in wanted]
    _require_answers(states)
    queued = (state for state in states if state and state.state and not state.is_forgotten)
    tasks = [(state.cluster, state.task) for state in queued]
    if not tasks:
        print("none of these jobs is in the queue")
        return 0
    return _confirmed(args, tasks, "")


def _require_answers(states: Iterable[object]) -> None:
    """Raise SlurmError where a cluster did not answer: "none" would not be true."""
    from experiments import slurm
    from experiments.cluster import questions

    for state in states:
        if not isinstance(state, questions.QueueState) or state.is_forgotten:
            continue  # in no queue, whatever its end was
        if state.state == questions.SILENT:
            raise slurm.SlurmError(f"nothing was cancelled: {state.reason}")


def _confirmed(
    args: argparse.Namespace, tasks: Collection[tuple[str | None, str]], more: str
) -> int:
    """Name the jobs, ask, and cancel them."""
    from experiments.cluster import cancellation

    ids = [task for _, task in tasks]
    print(f"{plural(len(ids), 'job')}: {', '.join(ids[:10])}{', …' if len(ids) > 10 else ''}")
    if more:
        print(more)
    if not confirm(args, "cancel?"):
        return 1
    cancellation.cancel(tasks)
    print("cancelled; saved progress is kept, and submit resumes from it")
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "cancel", cancel)
    verb.set_defaults(loads_torch=False)
    add_file(verb, "matrix", nargs="?", help="a YAML file; not needed with --jobs")
    add_matrix_flags(verb)
    verb.add_argument(
        "--removed",
        action="store_true",
        help="cancel the jobs of runs that are no longer in the matrix, and only those",
    )
    verb.add_argument(
        "--jobs",
        nargs="+",
        default=[],
        metavar="ID",
        help="cancel these arrays (123) or tasks (123_4) of this runs directory",
    )
    add_yes_flag(verb)
