"""`run` and `retry`: train a matrix on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    add_redo_flag,
    add_training_flags,
    command,
    planned,
    positive,
    states_to_train,
)
from experiments.commands.entry import INTERRUPTED
from experiments.wording import plural

if TYPE_CHECKING:
    from experiments.plan.plan import Plan


def run(args: argparse.Namespace) -> int:
    """Train on this machine whatever is not done yet."""
    from experiments.local import devices
    from experiments.local import queue as local_queue
    from experiments.local.progress import Progress
    from experiments.plan import jobs
    from experiments.plan.preflight import check_writable
    from experiments.plan.retry import reset
    from experiments.plan.summary import format_counts
    from experiments.rundir.status import State

    plan = planned(args)
    check_writable(plan.workspace.runs)
    states = states_to_train(args)
    # Teachers are measured before errors are put aside: bad input changes nothing.
    plan.check_accuracies(s.spec for s in plan.statuses().values() if s.state in states)
    reset(plan, states)
    statuses = list(plan.statuses().values())
    print(format_counts(plan, {s.spec.id: s for s in statuses}), flush=True)
    todo = [s for s in statuses if s.state == State.TODO]
    if not todo:
        return _verdict(plan, args)
    threads = plan.matrix.recipe.threads
    slots = devices.slots(plan.workspace.device, args.workers, threads, plan.processes)
    size = args.cohort_size or devices.default_size(statuses, len(slots))
    tasks = jobs.tasks(statuses, plan.template(args.save_minutes), plan.teacher_files, size)
    progress = Progress(sum(s.spec.recipe.epochs - s.epoch for s in todo), len(todo))
    finished = local_queue.run(tasks, slots, progress)
    progress.close()
    if not finished:
        print("stopped. What was saved is safe: repeat the command to resume.")
        return INTERRUPTED
    return _verdict(plan, args)


def _verdict(plan: Plan, args: argparse.Namespace) -> int:
    """Print what is not done and why; the exit code is 1 if there is any."""
    from experiments.rundir.status import State

    good = (State.DONE, State.RUNNING, State.UNSUPPORTED)
    bad = [s for s in plan.statuses().values() if s.state not in good]
    for s in bad[:20]:
        print(f"{s.spec}: {s.state}: {s.detail or 'not trained'}")
    if any(s.state == State.FAILED for s in bad):
        print("to try failed runs again, pass --retry-failed")
    if any(s.state == State.STALE for s in bad):
        print("to put stale runs aside and train them again, pass --redo-stale")
    print(f"the table: {command(args, 'table')}")
    return 1 if bad else 0


def retry(args: argparse.Namespace) -> int:
    """Put the errors of failed runs aside, so that the next run or submit tries them again."""
    from experiments.plan.retry import reset
    from experiments.rundir.status import State

    plan = planned(args, strict=False)
    states = {State.FAILED} | ({State.STALE} if args.redo_stale else set())
    count = reset(plan, states)
    print(f"{plural(count, 'run')} will be tried again by the next `run` or `submit`")
    return 0


def register(verbs: Verbs) -> None:
    """Add the verbs and their flags to the command line."""
    verb = add_matrix_verb(verbs, "run", run)
    verb.add_argument(
        "--workers",
        type=positive,
        help="run this many workers at once (default: one per GPU, or cores / threads)",
    )
    add_training_flags(verb, cohort_size="train at most this many runs in one process")
    add_redo_flag(add_matrix_verb(verbs, "retry", retry))
