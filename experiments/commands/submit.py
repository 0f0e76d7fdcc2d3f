"""`submit`: train a matrix on a SLURM cluster."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from experiments.commands.arguments import positive
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    add_sharing_flag,
    add_site_flag,
    add_training_flags,
    add_yes_flag,
    check_tensorboard,
    command,
    confirm,
    level,
    planned,
    print_note,
    states_to_train,
)
from experiments.commands.plan import print_teacher_notes
from experiments.errors import InputError

if TYPE_CHECKING:
    from experiments.cluster.arrays import Settings
    from experiments.matrix.slurm_options import SlurmOptions
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

COHORT_SIZE = 8  # runs per job: most of what sharing a teacher saves, and little to lose at once
FOLLOW_SECONDS = 10.0  # between two looks of --wait
OPTIONS = (
    "partition",
    "account",
    "qos",
    "time",
    "gpus",
    "cpus",
    "mem",
    "constraint",
    "nodes",
    "workers_per_gpu",
)


def submit(args: argparse.Namespace) -> int:
    """Send whatever is not done yet to SLURM: teachers first, students in arrays."""
    from experiments import slurm
    from experiments.cluster import arrays, preview, queue_status, recovery, submission
    from experiments.plan.preflight import check_writable
    from experiments.plan.summary import format_counts
    from experiments.rundir.status import NOT_STARTED

    if not args.dry_run:
        slurm.require()
    check_tensorboard(args)
    options = _options(args)
    args.device = options.device if args.device == "auto" else args.device
    plan = planned(args, here=False)
    _check(plan, options)
    print_note(check_writable(plan.workspace.runs))
    statuses, known = queue_status.survey(plan)
    for line in recovery.left_alone(plan.workspace.runs):
        _note(line)
    statuses = recovery.held_back(plan.workspace.runs, statuses)
    statuses = preview.as_reset(statuses, states_to_train(args))
    settings = _settings(args, plan, statuses.values(), options)
    view = arrays.plan_submission(plan, statuses, known, settings, preview.limits(options))
    if not (args.quiet and args.yes):  # without --yes, people are asked about what this shows
        print(format_counts(plan, statuses), flush=True)
        preview.describe(view, settings)
        preview.describe_waiting(view, statuses)
    if args.dry_run:
        preview.show_scripts(plan, view, options)
        return 0
    if not view.arrays and not submission.unfinished(plan.workspace.runs, known):
        print("nothing to send")
    else:
        plan.check_accuracies(s.spec for s in statuses.values() if s.state in NOT_STARTED)
        print_teacher_notes(plan, statuses, measure=False)
        if not confirm(args, "submit?"):
            return 1
        _send(args, plan, settings)
    return follow(plan, level(args)) if args.wait else 0


def _options(args: argparse.Namespace) -> SlurmOptions:
    """SLURM's options from the site file, the matrix and the flags; the last one wins."""
    from experiments.cluster import addresses
    from experiments.matrix import schema
    from experiments.matrix.slurm_options import merged, parsed, site_file

    site = site_file(args.site)
    given = {name: getattr(args, name) for name in OPTIONS}
    given |= {"setup": args.setup, "array_parallelism": args.array_parallelism}
    given |= {"max_jobs": args.max_jobs, "sbatch": parsed(args.sbatch) or None}
    return addresses.resolved(merged(site, schema.load(args.matrix).slurm, given))


def _check(plan: Plan, options: SlurmOptions) -> None:
    """Refuse what SLURM would get wrong."""
    from experiments.local.devices import check_sharing

    processes, nodes, runs = plan.processes, options.nodes, plan.workspace.runs
    if processes % nodes:
        raise InputError(f"slurm.nodes: {processes} processes cannot be spread over {nodes} evenly")
    check_sharing(options.workers_per_gpu, processes)
    if "%" in str(runs):
        raise InputError(f"--runs {runs}: SLURM would expand the % in the names of log files")


def _settings(
    args: argparse.Namespace, plan: Plan, statuses: Iterable[Status], options: SlurmOptions
) -> Settings:
    from experiments.cluster.arrays import Settings
    from experiments.plan.cost import predict_cost

    assert plan.data is not None  # a strict plan has its data
    timed = not (args.no_timing or options.time)  # a given limit needs no prediction
    size = args.cohort_size or math.ceil(COHORT_SIZE / options.workers_per_gpu)
    cost = predict_cost(statuses, plan.data, plan.workspace.device, timed, plan.processes, size)
    return Settings(
        options, size, args.save_minutes, args.snapshot, cost.of, tensorboard=args.tensorboard
    )


def _send(args: argparse.Namespace, plan: Plan, settings: Settings) -> None:
    """Plan again under the lock, with what others may have sent meanwhile, and send."""
    from experiments.cluster import arrays, preview, queue_status, recovery, submission
    from experiments.plan.retry import reset

    runs = plan.workspace.runs
    with submission.submit_lock(runs, _note) as claim:
        for line in recovery.recover(runs):
            _note(f"left by an earlier submit: {line}")
        reset(plan, states_to_train(args))
        for _ in range(submission.ROUNDS):
            statuses, known = queue_status.survey(plan)
            statuses = recovery.held_back(runs, statuses)
            submission.release(known, _note)
            limits = preview.limits(settings.options)
            view = arrays.plan_submission(plan, statuses, known, settings, limits)
            sent = submission.send(plan, view, settings, claim, _note)
            if not submission.dropped(sent):
                break
            _note("a teacher's job ended meanwhile and SLURM dropped its students; looking again")
    print(f"check progress: {command(args, 'status')}")


def _note(line: str) -> None:
    print(line, flush=True)


def follow(plan: Plan, level: int = 0) -> int:
    """Watch until no run is in the queue or running; 1 if something is not done then."""
    from experiments.cluster import queue_status
    from experiments.local.progress import Progress
    from experiments.plan.summary import format_counts, labels
    from experiments.rundir.status import ACTIVE, State

    statuses = queue_status.statuses(plan)
    active = [s for s in statuses.values() if s.state in ACTIVE]
    progress = Progress(active, len(active), labels(plan), level=level)
    try:
        while any(s.state in ACTIVE for s in statuses.values()):
            time.sleep(FOLLOW_SECONDS)
            before, statuses = statuses, queue_status.statuses(plan)
            progress.moved(before, statuses)
    except KeyboardInterrupt:
        progress.note("no longer watching; the jobs continue")
    progress.close()
    print(format_counts(plan, statuses))
    good = (State.DONE, State.UNSUPPORTED)
    return 0 if all(s.state in good for s in statuses.values()) else 1


def register(verbs: Verbs) -> None:
    """Add the verb and its flags: SLURM's options win over the matrix and the site file."""
    verb = add_matrix_verb(verbs, "submit", submit)
    add = verb.add_argument
    for name in ("partition", "account", "qos", "constraint"):
        add(f"--{name}", help=f"submit every job with this {name}")
    add("--time", help="time limit of every job: minutes, or 12:00:00 (default: from the cost)")
    add("--mem", help="memory of every job, e.g. 16G")
    add("--nodes", type=int, help="spread the processes of a job over this many nodes (default: 1)")
    add("--gpus", type=int, help="GPUs per process, 0 or 1")
    add("--cpus", type=int, help="cores per process; of all workers that share a GPU")
    add_sharing_flag(verb, "train this many cohorts at once in a job, on its one GPU")
    add("--setup", action="append", default=[], help="run this shell line first (repeatable)")
    add(
        "--sbatch",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="pass any other option to sbatch (repeatable)",
    )
    add_site_flag(verb)
    add_training_flags(
        verb, cohort_size="train at most this many runs in one worker (default: 8 per job)"
    )
    add("--array-parallelism", type=positive, help="run at most this many jobs of an array at once")
    add("--max-jobs", type=positive, help="have at most this many jobs in the queue at once")
    add("--no-timing", action="store_true", help="do not time training steps on this machine")
    add("--snapshot", action="store_true", help="run the jobs from a copy of today's code")
    add("--dry-run", action="store_true", help="only print the sbatch scripts")
    add("--wait", action="store_true", help="follow until all jobs have ended")
    add_yes_flag(verb)
