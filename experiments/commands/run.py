"""`run` and `retry`: train a matrix on this machine."""

from __future__ import annotations

import argparse

from experiments.commands.common import (
    _PROCESSES,
    Verbs,
    add_matrix_verb,
    command,
    planned,
    positive,
    states_to_train,
)
from experiments.local import devices
from experiments.local import queue as local_queue
from experiments.local.progress import Progress
from experiments.plan import jobs
from experiments.plan.plan import Plan
from experiments.plan.preflight import check_accuracies, check_writable
from experiments.plan.retry import reset
from experiments.plan.summary import census_line
from experiments.rundir.status import State


def retry(args: argparse.Namespace) -> int:
    """Put the errors of failed runs aside: the next run or submit goes on with them."""
    found = planned(args, strict=False)
    states = {State.FAILED} | ({State.STALE} if args.redo_stale else set())
    count = reset(found, states)
    print(f"{count} runs will be tried again by the next `run` or `submit`")
    return 0


def add_run_arguments(verb: argparse.ArgumentParser) -> None:
    """What only training asks for."""
    verb.add_argument("--workers", type=positive, help="default: all GPUs, or cores / threads")
    verb.add_argument("--processes", type=positive, help=_PROCESSES)
    verb.add_argument("--cohort-size", type=positive, help="runs that share a process at most")
    verb.add_argument("--save-minutes", type=float, default=10.0, help="also saved every epoch")
    verb.add_argument("--retry-failed", action="store_true", help="also what failed before")
    verb.add_argument("--redo-stale", action="store_true", help="also what is out of date")


def add_retry_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--redo-stale", action="store_true", help="also what is out of date")


def run(args: argparse.Namespace) -> int:
    """Train what is to do on this machine."""
    found = planned(args)
    check_writable(found.workspace.runs)
    wanted = states_to_train(args)
    check_accuracies(found, (s.spec for s in found.statuses().values() if s.state in wanted))
    reset(found, wanted)
    statuses = list(found.statuses().values())
    print(census_line(found, {s.spec.id: s for s in statuses}), flush=True)
    todo = [s for s in statuses if s.state == State.TODO]
    if not todo:
        return _verdict(found, args)
    threads, several = found.matrix.recipe.threads, found.processes
    slots = devices.slots(found.workspace.device, args.workers, threads, several)
    size = args.cohort_size or devices.default_size(statuses, len(slots))
    queue = jobs.tasks(statuses, found.template(args.save_minutes), found.teacher_files, size)
    progress = Progress(sum(s.spec.recipe.epochs - s.epoch for s in todo), len(todo))
    finished = local_queue.run(queue, slots, progress)
    progress.close()
    if not finished:
        print("stopped. What was saved is safe: to go on, give the same command again.")
        return 1
    return _verdict(found, args)


def _verdict(found: Plan, args: argparse.Namespace) -> int:
    """What is not done and why; exit code 1 if that is an error."""
    states = found.statuses().values()
    good = (State.DONE, State.RUNNING, State.UNSUPPORTED)
    bad = [s for s in states if s.state not in good]
    for s in bad[:20]:
        print(f"{s.spec}: {s.state}: {s.detail or 'not trained'}")
    if any(s.state == State.FAILED for s in bad):
        print("failed runs are tried again with --retry-failed")
    if any(s.state == State.STALE for s in bad):
        print("stale runs are put aside and trained again with --redo-stale")
    print(f"the table: {command(args, 'table')}")
    return 1 if bad else 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_run_arguments(add_matrix_verb(verbs, "run", run))
    add_retry_arguments(add_matrix_verb(verbs, "retry", retry))
