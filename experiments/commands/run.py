"""`run` and `retry`: train a matrix on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.commands.arguments import positive
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    add_redo_flag,
    add_sharing_flag,
    add_training_flags,
    check_tensorboard,
    command,
    level,
    planned,
    print_note,
    states_to_train,
    warn_of_damage,
)
from experiments.commands.entry import INTERRUPTED
from experiments.commands.plan import print_teacher_notes
from experiments.wording import plural

if TYPE_CHECKING:
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status


def run(args: argparse.Namespace) -> int:
    """Train on this machine whatever is not done yet."""
    from experiments.local import devices
    from experiments.plan.preflight import check_writable
    from experiments.plan.retry import reset
    from experiments.plan.summary import format_counts
    from experiments.rundir.status import State

    check_tensorboard(args)
    plan = planned(args)
    per_gpu = args.workers_per_gpu or 1
    devices.check_sharing(per_gpu, plan.processes)
    states = states_to_train(args)
    before = plan.statuses()
    if any(s.state in states | {State.TODO} for s in before.values()):
        print_note(check_writable(plan.workspace.runs))
    _note(args, format_counts(plan, before))
    warn_of_damage(args, before)
    # Teachers are measured before errors are put aside: bad input changes nothing.
    plan.check_accuracies(s.spec for s in before.values() if s.state in states)
    if not args.quiet:  # a GPU's memory is left to the workers
        print_teacher_notes(plan, before, measure=plan.workspace.device == "cpu")
    if reset(plan, states):
        _note(args, format_counts(plan, plan.statuses()))
    statuses = list(plan.statuses().values())
    if not any(s.state == State.TODO for s in statuses):
        return _verdict(plan, args)
    if not _train(plan, args, statuses, per_gpu):
        print("stopped. What was saved is safe: repeat the command to resume.")
        return INTERRUPTED
    return _verdict(plan, args)


def _train(plan: Plan, args: argparse.Namespace, statuses: Sequence[Status], per_gpu: int) -> bool:
    """Train what is to do in a queue of workers; False if it was stopped.

    What other processes have trained, or left, meanwhile may make more runs ready: they follow.
    """
    from experiments.local import devices
    from experiments.local import queue as local_queue
    from experiments.local.progress import Progress
    from experiments.plan import jobs, needs
    from experiments.plan.summary import labels, pairs

    threads, device = plan.threads, plan.workspace.device
    slots = devices.slots(device, args.workers, threads, plan.processes, per_gpu)
    template = plan.template(args.save_minutes, args.tensorboard)
    needs_end = needs.of_choices(plan.expansion.choices)
    tried: set[str] = set()
    while True:
        left = [_but_once(status, tried) for status in statuses]
        size = args.cohort_size or devices.default_size(left, len(slots))
        tasks = jobs.tasks(left, template, plan.teacher_files, size, needs_end=needs_end)
        if not tasks:
            return True
        runs = {spec.id for task in tasks for spec in task.job.specs}
        todo = [status for status in left if status.spec.id in runs]
        seconds = _predicted_seconds(plan, left)
        progress = Progress(todo, len(slots), labels(plan), seconds, level(args), pairs(plan))
        finished = local_queue.run(tasks, slots, progress)
        progress.close()
        if not finished:
            return False
        tried |= runs
        statuses = list(plan.statuses().values())


def _but_once(status: Status, tried: Collection[str]) -> Status:
    """A run that was tried and is not done has ended for this command."""
    from experiments.rundir.status import NOT_STARTED, State

    is_left = status.spec.id in tried and status.state in NOT_STARTED
    return replace(status, state=State.BLOCKED) if is_left else status


def _note(args: argparse.Namespace, line: str) -> None:
    if not args.quiet:
        print(line, flush=True)


def _predicted_seconds(plan: Plan, statuses: Sequence[Status]) -> dict[str, float | None]:
    """Predicted seconds of each run, by which its epochs count in the time left.

    Steps are timed on the CPU only: this process must not hold memory of a GPU that workers need.
    """
    from experiments.plan.cost import predict_cost

    device = plan.workspace.device
    return predict_cost(statuses, plan.data_sets, device, device == "cpu", plan.processes).of


def _verdict(plan: Plan, args: argparse.Namespace) -> int:
    """Print what is not done and why; the exit code is 1 if there is any."""
    from experiments.plan import choosing
    from experiments.plan.summary import labels, pairs, run_name
    from experiments.rundir.status import State

    good = (State.DONE, State.RUNNING, State.UNSUPPORTED)
    statuses = plan.statuses()
    shown, of_pair = labels(plan), pairs(plan)
    lost = choosing.lost_runs(plan.expansion, statuses)
    bad = [s for run, s in statuses.items() if s.state not in good and run not in lost]
    for s in bad[:20]:
        name = run_name(s.spec, shown.get(s.spec.id), of_pair.get(s.spec.id))
        print(f"{name}: {s.state}: {s.detail or 'not trained'}")
    if any(s.state == State.FAILED for s in bad):
        print("to try failed runs again, pass --retry-failed")
    if any(s.state == State.STALE for s in bad):
        print("to put stale runs aside and train them again, pass --redo-stale")
    if plan.stale:
        print(f"to keep results of a plugin that has changed since: {command(args, 'accept')}")
    _note(args, f"the table: {command(args, 'table')}")
    return 1 if bad else 0


def retry(args: argparse.Namespace) -> int:
    """Put the errors of failed runs aside, so that the next run or submit tries them again."""
    from experiments.plan.retry import reset
    from experiments.rundir.status import State

    plan = planned(args, strict=False)
    states = {State.FAILED} | ({State.STALE} if args.redo_stale else set())
    count = _redo_teachers(plan, args) if args.redo_teacher else 0
    if not args.redo_teacher and not args.redo_stale:
        warn_of_damage(args, plan.statuses())
    count += reset(plan, states)
    print(f"{plural(count, 'run')} will be tried again by the next `run` or `submit`")
    return 0


def _redo_teachers(plan: Plan, args: argparse.Namespace) -> int:
    """Set aside what others need and whose weights are damaged; say what follows, and count it."""
    from experiments.plan.retry import redo_teachers

    redone = redo_teachers(plan)
    if not redone:
        print("no weights that unfinished runs need are missing or damaged")
    for one in redone:
        print(f"{one.status.spec}: set aside as {one.kept.name} ({one.status.detail})")
        if one.readers:
            print(
                f'its {plural(one.readers, "finished reader")} will be stale ("trained again '
                'since") unless the new weights are the same, bit for bit'
            )
    if redone and args.transfer:
        print("they are students: `run` or `submit` the matrix without --transfer first")
    return len(redone)


def register(verbs: Verbs) -> None:
    """Add the verbs and their flags to the command line."""
    verb = add_matrix_verb(verbs, "run", run)
    verb.add_argument(
        "--workers",
        type=positive,
        help="run this many workers at once (default: one per GPU, or cores / threads)",
    )
    add_sharing_flag(verb, "run this many workers on each GPU; on a CPU, so many times as many")
    add_training_flags(verb, cohort_size="train at most this many runs in one process")
    again = add_matrix_verb(verbs, "retry", retry)
    add_redo_flag(again)
    again.add_argument(
        "--redo-teacher",
        action="store_true",
        help="also train again the teachers (with --transfer: the students) whose weights are gone",
    )
