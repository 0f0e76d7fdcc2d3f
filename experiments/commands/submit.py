"""`submit`: train a matrix on a SLURM cluster."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    check_tensorboard,
    command,
    confirm,
    level,
    planned,
    print_note,
    states_to_train,
    warn_of_damage,
)
from experiments.commands.follow import follow, outcome
from experiments.commands.plan import print_teacher_notes
from experiments.commands.submit_flags import add_flags, options_of
from experiments.errors import InputError
from experiments.matrix.slurm_grammar import gpu_type
from experiments.wording import plural

if TYPE_CHECKING:
    from experiments.cluster.again import Tally
    from experiments.cluster.arrays import Settings, SubmissionPlan
    from experiments.cluster.queue_status import QueueState
    from experiments.cluster.site import Site
    from experiments.cluster.submitted import SubmittedArray
    from experiments.doctor.disk import Need
    from experiments.matrix.slurm_options import SlurmOptions
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

COHORT_SIZE = 8  # runs per job: most of what sharing a teacher saves, and little to lose at once


def submit(args: argparse.Namespace) -> int:
    """Send whatever is not done yet to SLURM: teachers first, students in arrays."""
    from experiments import slurm
    from experiments.cluster import arrays, given_again, preview, site, submission, waiting
    from experiments.cluster.again import Tally
    from experiments.plan.preflight import check_writable

    if not args.dry_run:
        slurm.require()
    check_tensorboard(args)
    options = options_of(args)
    if slurm.is_here():
        options = waiting.checked(options, print_note)
    args.device = options.device if args.device == "auto" else args.device
    plan = planned(args, here=False)
    _check(plan, options)
    print_note(check_writable(plan.workspace.runs))
    statuses, known = _survey(args, plan)
    settings, need = _settings(args, plan, statuses.values(), options)
    there = site.of(options) if slurm.is_here() else None
    view = arrays.plan_submission(plan, statuses, known, settings, preview.limits(options, there))
    _describe(args, plan, statuses, view, settings)
    if args.dry_run:
        _warn(there, plan, options)
        preview.show_scripts(plan, view, options)
        return 0
    tally = Tally()
    if not view.arrays and not submission.unfinished(plan.workspace.runs, known):
        print("nothing to send")
    else:
        _examine(plan, options, there, need)
        if not _agreed(args, plan, statuses):
            return 1
        sent = _send(args, plan, settings, there, tally)
        tally.count(sent, statuses)
        if not (args.wait or args.keep_going):  # who watches releases them, too
            given_again.release_refused(plan, sent, _note)
    if args.keep_going:
        return _keep_going(args, plan, settings, there, tally)
    return follow(plan, level(args)) if args.wait else 0


def _survey(
    args: argparse.Namespace, plan: Plan
) -> tuple[dict[str, Status], dict[str, QueueState]]:
    """What is to be sent, as the runs will be once failed and stale ones are reset; and the queue.

    What stands in the way of some is printed.
    """
    from experiments.cluster import preview, queue_status, recovery

    statuses, known = queue_status.survey(plan)
    for line in recovery.left_alone(plan.workspace.runs):
        _note(line)
    statuses = recovery.held_back(plan.workspace.runs, statuses)
    warn_of_damage(args, statuses)
    return preview.as_reset(statuses, states_to_train(args)), known


def _describe(
    args: argparse.Namespace,
    plan: Plan,
    statuses: Mapping[str, Status],
    view: SubmissionPlan,
    settings: Settings,
) -> None:
    """Print what would be sent. Without --yes, people are asked about what this shows."""
    from experiments.cluster import preview
    from experiments.plan.summary import format_counts

    if args.quiet and args.yes:
        return
    print(format_counts(plan, statuses), flush=True)
    preview.describe(view, settings)
    preview.describe_waiting(view, statuses)


def _agreed(args: argparse.Namespace, plan: Plan, statuses: Mapping[str, Status]) -> bool:
    """Check the given teachers that are needed, and ask."""
    from experiments.rundir.status import NOT_STARTED

    plan.check_accuracies(s.spec for s in statuses.values() if s.state in NOT_STARTED)
    print_teacher_notes(plan, statuses, measure=False)
    return confirm(args, "submit?")


def _check(plan: Plan, options: SlurmOptions) -> None:
    """Refuse what SLURM would get wrong, whatever the cluster."""
    from experiments.local.devices import check_sharing

    processes, nodes, runs = plan.processes, options.nodes, plan.workspace.runs
    if processes % nodes:
        raise InputError(f"slurm.nodes: {processes} processes cannot be spread over {nodes} evenly")
    check_sharing(options.workers_per_gpu, processes)
    if re.search(r"[\\\x00-\x1f]", str(runs)):
        raise InputError(f"--runs {str(runs)!r}: SLURM cannot write logs to such a path")
    _check_gpus(options.gpus, processes // nodes)


def _check_gpus(asked: int | str | None, per_node: int) -> None:
    """Refuse "a100:2" unless two processes of a job use one each."""
    count = int(asked.partition(":")[2]) if isinstance(asked, str) else 1
    if count not in (1, per_node):
        raise InputError(
            f"slurm.gpus: {asked}: a cohort trains on one GPU, and a job has "
            f"{plural(per_node, 'process', 'processes')} per node; expected "
            f"{gpu_type(asked)}:1, or more processes (`processes: {count}`)"
        )


def _settings(
    args: argparse.Namespace, plan: Plan, statuses: Iterable[Status], options: SlurmOptions
) -> tuple[Settings, Need]:
    """How to divide and submit, and what the runs will leave on the disk."""
    from experiments.cluster.arrays import Settings
    from experiments.cluster.preview import gpu_wanted
    from experiments.doctor.disk import Need
    from experiments.plan.cost import predict_cost, predictions_bytes

    assert plan.data is not None  # a strict plan has its data
    timed = not (args.no_timing or options.time)  # a given limit needs no prediction
    size = args.cohort_size or math.ceil(COHORT_SIZE / options.workers_per_gpu)
    wanted = gpu_wanted(options)
    device = plan.workspace.device
    cost = predict_cost(statuses, plan.data_sets, device, timed, plan.processes, size, gpu=wanted)
    settings = Settings(
        options, size, args.save_minutes, args.snapshot, cost.of, args.tensorboard, cost.gpus
    )
    stored = predictions_bytes(cost, plan.data, plan.matrix.predictions)
    return settings, Need(len(cost.of), cost.disk_bytes, stored)


def _warn(there: Site | None, plan: Plan, options: SlurmOptions) -> None:
    """Say what `submit` would refuse."""
    from experiments.cluster.site import Site
    from experiments.doctor import before_submit, requests

    for finding in requests.problems(there or Site(), options, plan.processes):
        print_note(f"note: {before_submit.line(finding)}")


def _examine(
    plan: Plan,
    options: SlurmOptions,
    there: Site | None,
    need: Need,
) -> None:
    """The cheap checks of `doctor`; raises InputError for what no job would survive."""
    from experiments.cluster.site import Site
    from experiments.doctor.before_submit import check

    runs = plan.workspace.runs
    for line in check(there or Site(), options, plan.processes, runs, need):
        print_note(line)


def _send(
    args: argparse.Namespace, plan: Plan, settings: Settings, there: Site | None, tally: Tally
) -> list[SubmittedArray]:
    """Plan again under the lock, with what others may have sent meanwhile, and send."""
    from experiments.cluster import arrays, dropping, preview, queue_status, recovery, submission
    from experiments.plan.retry import reset

    runs = plan.workspace.runs
    everything: list[SubmittedArray] = []
    settings = replace(settings, options=tally.excluding(settings.options))
    with submission.submit_lock(runs, _note) as claim:
        for line in recovery.recover(runs):
            _note(f"left by an earlier submit: {line}")
        if not tally.sent:
            reset(plan, states_to_train(args))
        for _ in range(submission.ROUNDS):
            statuses, known = queue_status.survey(plan)
            statuses = tally.without(recovery.held_back(runs, statuses))
            submission.release(known, _note)
            limits = preview.limits(settings.options, there)
            view = arrays.plan_submission(plan, statuses, known, settings, limits)
            sent = submission.send(plan, view, settings, claim, _note)
            everything += sent
            dropped = dropping.dropped(sent)
            if not dropped:
                break
            dropping.withdraw(dropped)
            _note("a teacher's job ended meanwhile and SLURM dropped its students; looking again")
    if everything or not tally.sent:
        print(f"check progress: {command(args, 'status')}")
    return everything


def _keep_going(
    args: argparse.Namespace, plan: Plan, settings: Settings, there: Site | None, tally: Tally
) -> int:
    """Follow, and send again what was lost; ends as `follow` does."""
    from experiments.cluster import queue_status
    from experiments.commands.keep_going import keep_going
    from experiments.local.progress import Progress
    from experiments.plan.summary import labels, pairs
    from experiments.rundir.status import ACTIVE

    statuses: Mapping[str, Status] = queue_status.statuses(plan)
    active = [s for s in statuses.values() if s.state in ACTIVE]
    progress = Progress(active, len(active), labels(plan), None, level(args), pairs(plan))

    def moved(before: Mapping[str, Status], now: Mapping[str, Status]) -> None:
        progress.labels |= labels(plan)  # some options may have been chosen
        progress.pairs |= pairs(plan)
        progress.moved(before, now)

    try:
        send = partial(_send, args, plan, settings, there)
        statuses = keep_going(plan, tally, send, progress.note, moved)
    except KeyboardInterrupt:
        progress.note("no longer watching, nothing is sent again; the jobs continue")
        statuses = queue_status.statuses(plan)
    progress.close()
    if tally.given_up(statuses):
        _note(tally.summary(statuses))
    return outcome(plan, statuses)


def _note(line: str) -> None:
    print(line, flush=True)


def register(verbs: Verbs) -> None:
    """Add the verb and its flags."""
    add_flags(add_matrix_verb(verbs, "submit", submit))
