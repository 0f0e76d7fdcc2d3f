"""The commands that talk to SLURM: submit, cancel; and `look`, which all others may ask."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments import slurm
from experiments.cluster import arrays, queue_status, sbatch, submission, submitted
from experiments.cluster.arrays import Array, Settings, SubmissionPlan
from experiments.commands.common import (
    _PROCESSES,
    _SITE,
    Verbs,
    add_matrix_verb,
    add_yes,
    command,
    confirm,
    planned,
    positive,
    states_to_train,
)
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.local.progress import Progress
from experiments.matrix import schema
from experiments.matrix.slurm_options import SlurmOptions, merged, parsed, site_file
from experiments.plan.cost import predict_cost
from experiments.plan.plan import Plan
from experiments.plan.preflight import check_accuracies, check_writable
from experiments.plan.retry import reset
from experiments.plan.summary import census_line, duration
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status

COHORT_SIZE = 8  # runs per job: most of what sharing a teacher saves, and little to lose at once
FOLLOW_SECONDS = 10.0  # between two looks of --wait
OPTIONS = ("partition", "account", "qos", "time", "gpus", "cpus", "mem", "constraint", "nodes")


def submit(args: argparse.Namespace) -> int:
    """Send what is to do to SLURM: teachers first, students in arrays."""
    if not args.dry_run:
        slurm.require()
    options = _options(args)
    args.device = options.device if args.device == "auto" else args.device
    found = planned(args, here=False)
    _check_nodes(found.processes, options.nodes)
    check_writable(found.workspace.runs)
    _check_pattern(found.workspace.runs)
    states = states_to_train(args)
    statuses, known = queue_status.survey(found)
    statuses = _as_reset(statuses, states)
    print(census_line(found, statuses), flush=True)
    settings = _settings(args, found, statuses, options)
    view = arrays.plan_submission(found, statuses, known, settings, _limits(args, options))
    _describe(view, settings)
    _say_who_waits(view, statuses)
    if args.dry_run:
        _show_scripts(found, view, options)
        return 0
    if not view.arrays and not submission.unfinished(found.workspace.runs, known):
        print("nothing to send")
        return _followed(args, found)
    check_accuracies(found, (s.spec for s in statuses.values() if s.state in NOT_STARTED))
    if not confirm(args, "submit?"):
        return 1
    _send(args, found, settings)
    return _followed(args, found)


def _check_nodes(processes: int, nodes: int) -> None:
    if processes % nodes:
        raise InputError(f"slurm.nodes: {processes} processes cannot be spread over {nodes} evenly")


def _options(args: argparse.Namespace) -> SlurmOptions:
    site = site_file(args.site)
    given = {name: getattr(args, name) for name in OPTIONS}
    given |= {"setup": args.setup, "array_parallelism": args.array_parallelism}
    given |= {"max_jobs": args.max_jobs, "sbatch": parsed(args.sbatch) or None}
    return merged(site, schema.load(args.matrix).slurm, given)


def _check_pattern(runs: Path) -> None:
    if "%" in str(runs):
        raise InputError(f"--runs {runs}: SLURM would expand the % in its log files' names")


def _settings(
    args: argparse.Namespace, found: Plan, statuses: Mapping[str, Status], options: SlurmOptions
) -> Settings:
    assert found.data is not None  # a strict plan has its data
    timed = not (args.no_timing or options.time)
    kind, several = found.workspace.device, found.processes
    cost = predict_cost(statuses.values(), found.data, kind, timed, several)
    size = args.cohort_size or COHORT_SIZE
    return Settings(options, size, args.save_minutes, args.snapshot, cost.of)


def _limits(args: argparse.Namespace, options: SlurmOptions) -> arrays.Limits:
    """Without SLURM (a dry run on a laptop) those that SLURM has by default."""
    if slurm.is_here():
        return arrays.limits(options)
    return arrays.Limits(options.max_array_size or 1001, None, options.max_jobs)


def _as_reset(statuses: Mapping[str, Status], states: set[str]) -> dict[str, Status]:
    """As they will be once what is wanted again has been put aside."""
    again = states - {*NOT_STARTED}
    wanted = {run for run, status in statuses.items() if status.state in again}
    found = {
        run: replace(status, state=State.TODO, detail="", epoch=0) if run in wanted else status
        for run, status in statuses.items()
    }
    for run, status in found.items():
        teacher = status.spec.teacher.run if status.spec.teacher else None
        if status.state == State.BLOCKED and teacher in wanted:
            found[run] = replace(status, state=State.TODO, detail="")
    return found


def _describe(view: SubmissionPlan, settings: Settings) -> None:
    """What it comes to, before anything is sent."""
    jobs = sum(len(array.tasks) for array in view.arrays)
    if not jobs and not view.left_out:
        return
    seconds = [array.seconds for array in view.arrays]
    known = [s for s in seconds if s is not None]
    cost = "the time is not known: nothing like it has run on such a device yet"
    if len(known) == len(seconds) and known:
        kind = "GPU" if settings.options.device == "cuda" else "CPU job"
        cost = f"about {duration(sum(known))} of one {kind}"
    print(f"to send: {jobs} jobs in {len(view.arrays)} arrays, {cost}")
    if not known and not settings.options.time:
        print("without --time the partition's default limit holds; jobs that reach it go on later")
    if view.left_out:
        print(
            f"{view.left_out} more jobs do not fit into what you may have in the queue now; "
            f"the next submit sends them"
        )


def _say_who_waits(view: SubmissionPlan, statuses: Mapping[str, Status]) -> None:
    """Students of a teacher that no job of the queue trains (`run` does, or a lost claim)."""
    ready = {run for array in view.arrays for run in array.runs}
    waiting = [r for r, s in statuses.items() if s.state in NOT_STARTED and r not in ready]
    if waiting and not view.left_out:
        print(
            f"{len(waiting)} runs wait for a teacher that is being trained outside of the queue; "
            f"submit again when it is done"
        )


def _show_scripts(found: Plan, view: SubmissionPlan, options: SlurmOptions) -> None:
    """Every array's sbatch script. Ids of teachers to come stand as TEACHER."""
    for array in view.arrays:
        after = view.under_way.get(array.after, "TEACHER") if array.after else None
        entry = submitted.new(
            found.workspace.runs,
            found.source,
            [task.job.specs for task in array.tasks],
            after=after,
            minutes=array.minutes,
        )
        print(f"\n# ---- {_contents(array)}")
        several = found.processes
        about = submission.parameters(entry, options, CHECKOUT, several)
        print(sbatch.script(entry.folder, **about))


def _contents(array: Array) -> str:
    runs = array.runs
    first = array.tasks[0].job.specs[0]
    return f"{len(runs)} runs in {len(array.tasks)} jobs, beginning with {first}"


def _send(args: argparse.Namespace, found: Plan, settings: Settings) -> None:
    """Plan again under the lock, with what others may have sent meanwhile, and send."""
    runs = found.workspace.runs
    with submission.submit_lock(runs, _note) as claim:
        for line in submission.recover(runs):
            _note(f"left by an earlier submit: {line}")
        reset(found, states_to_train(args))
        for _ in range(submission.ROUNDS):
            statuses, known = queue_status.survey(found)
            submission.release(known, _note)
            limits = arrays.limits(settings.options)
            view = arrays.plan_submission(found, statuses, known, settings, limits)
            sent = submission.send(found, view, settings, claim, _note)
            if not submission.dropped(sent):
                break
            _note("a teacher's job ended meanwhile and SLURM dropped its students; looking again")
    print(f"how it goes: {command(args, 'status')}")


def _note(line: str) -> None:
    print(line, flush=True)


def _followed(args: argparse.Namespace, found: Plan) -> int:
    return follow(found) if args.wait else 0


def follow(found: Plan) -> int:
    """Until nothing is in the queue any more; 1 if something is not done then."""
    statuses = queue_status.statuses(found)
    left = sum(s.spec.recipe.epochs - s.epoch for s in statuses.values() if s.state in ACTIVE)
    progress = Progress(left, sum(s.state in ACTIVE for s in statuses.values()))
    try:
        while any(s.state in ACTIVE for s in statuses.values()):
            time.sleep(FOLLOW_SECONDS)
            before, statuses = statuses, queue_status.statuses(found)
            progress.moved(before, statuses)
    except KeyboardInterrupt:
        progress.note("no longer watching; the jobs go on")
    progress.close()
    print(census_line(found, statuses))
    good = (State.DONE, State.UNSUPPORTED)
    return 0 if all(s.state in good for s in statuses.values()) else 1


# ---- cancel --------------------------------------------------------------------------------------


def add_submit_arguments(verb: argparse.ArgumentParser) -> None:
    """SLURM's options (they win over the matrix and the site file), and how to send."""
    for name in ("partition", "account", "qos", "time", "mem", "constraint"):
        verb.add_argument(f"--{name}", help=f"of every job{_TEXTS.get(name, '')}")
    verb.add_argument("--processes", type=positive, help=_PROCESSES)
    verb.add_argument("--nodes", type=int, help="for the processes of a job (1)")
    verb.add_argument("--gpus", type=int, help="per process, 0 or 1")
    verb.add_argument("--cpus", type=int, help="per process")
    verb.add_argument("--setup", action="append", default=[], help="a shell line before Python")
    verb.add_argument(
        "--sbatch", action="append", default=[], metavar="KEY=VALUE", help="any other"
    )
    verb.add_argument("--site", type=Path, help=_SITE)
    verb.add_argument("--cohort-size", type=positive, help="runs per job at most (8)")
    verb.add_argument("--array-parallelism", type=positive, help="jobs of an array at once")
    verb.add_argument("--max-jobs", type=positive, help="of yours in the queue at once")
    verb.add_argument("--save-minutes", type=float, default=10.0, help="also saved every epoch")
    verb.add_argument("--no-timing", action="store_true", help="do not time steps here")
    verb.add_argument("--snapshot", action="store_true", help="run from a copy of today's code")
    verb.add_argument("--dry-run", action="store_true", help="print the sbatch scripts only")
    verb.add_argument("--wait", action="store_true", help="follow until all has ended")
    verb.add_argument("--retry-failed", action="store_true", help="also what failed before")
    verb.add_argument("--redo-stale", action="store_true", help="also what is out of date")
    add_yes(verb)


_TEXTS = {
    "time": ": minutes, or 12:00:00; default: from the predicted cost",
    "mem": ", e.g. 16G",
}


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_submit_arguments(add_matrix_verb(verbs, "submit", submit))
