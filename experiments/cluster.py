"""The commands that talk to SLURM: submit, cancel; and `look`, which all others may ask."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from . import census, cli, estimate, hints, ledger, matrix, sbatch, slurm, submission
from .arrays import Array
from .census import Status
from .environment import CHECKOUT
from .errors import InputError
from .hints import Hint
from .progress import Progress
from .slurm_options import SlurmOptions, merged, parsed, site_file
from .submission import Outlook, Settings
from .workspace import Plan, check_accuracies, check_writable

COHORT_SIZE = 8  # runs per job: most of what sharing a teacher saves, and little to lose at once
FOLLOW_SECONDS = 10.0  # between two looks of --wait
OPTIONS = ("partition", "account", "qos", "time", "gpus", "cpus", "mem", "constraint", "nodes")


def submit(args: argparse.Namespace) -> int:
    """Send what is to do to SLURM: teachers first, students in arrays."""
    if not args.dry_run:
        slurm.require()
    options = _options(args)
    args.device = options.device if args.device == "auto" else args.device
    found = cli.planned(args, here=False)
    _check_nodes(found.processes, options.nodes)
    check_writable(found.workspace.runs)
    _check_pattern(found.workspace.runs)
    states = cli.wanted(args)
    statuses, known = submission.look(found)
    statuses = _as_reset(statuses, states)
    print(cli.census_line(found, statuses), flush=True)
    settings = _settings(args, found, statuses, options)
    view = submission.outlook(found, statuses, known, settings, _limits(args, options))
    _describe(view, settings)
    _say_who_waits(view, statuses)
    if args.dry_run:
        _show_scripts(found, view, options)
        return 0
    if not view.arrays and not submission.unfinished(found.workspace.runs, known):
        print("nothing to send")
        return _followed(args, found)
    check_accuracies(found, (s.spec for s in statuses.values() if s.state in census.OPEN))
    if not cli.may_go_on(args, "submit?"):
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
    return merged(site, matrix.load(args.matrix).slurm, given)


def _check_pattern(runs: Path) -> None:
    if "%" in str(runs):
        raise InputError(f"--runs {runs}: SLURM would expand the % in its log files' names")


def _settings(
    args: argparse.Namespace, found: Plan, statuses: Mapping[str, Status], options: SlurmOptions
) -> Settings:
    assert found.data is not None  # a strict plan has its data
    timed = not (args.no_timing or options.time)
    kind, several = found.workspace.device, found.processes
    cost = estimate.cost(statuses.values(), found.data, kind, timed, several)
    size = args.cohort_size or COHORT_SIZE
    return Settings(options, size, args.save_minutes, args.snapshot, cost.of)


def _limits(args: argparse.Namespace, options: SlurmOptions) -> submission.Limits:
    """Without SLURM (a dry run on a laptop) those that SLURM has by default."""
    if slurm.is_here():
        return submission.limits(options)
    return submission.Limits(options.max_array_size or 1001, None, options.max_jobs)


def _as_reset(statuses: Mapping[str, Status], states: set[str]) -> dict[str, Status]:
    """As they will be once what is wanted again has been put aside."""
    again = states - {*census.OPEN}
    wanted = {run for run, status in statuses.items() if status.state in again}
    found = {
        run: replace(status, state=census.TODO, detail="", epoch=0) if run in wanted else status
        for run, status in statuses.items()
    }
    for run, status in found.items():
        teacher = status.spec.teacher.run if status.spec.teacher else None
        if status.state == census.BLOCKED and teacher in wanted:
            found[run] = replace(status, state=census.TODO, detail="")
    return found


def _describe(view: Outlook, settings: Settings) -> None:
    """What it comes to, before anything is sent."""
    jobs = sum(len(array.tasks) for array in view.arrays)
    if not jobs and not view.left_out:
        return
    seconds = [array.seconds for array in view.arrays]
    known = [s for s in seconds if s is not None]
    cost = "the time is not known: nothing like it has run on such a device yet"
    if len(known) == len(seconds) and known:
        kind = "GPU" if settings.options.device == "cuda" else "CPU job"
        cost = f"about {cli.duration(sum(known))} of one {kind}"
    print(f"to send: {jobs} jobs in {len(view.arrays)} arrays, {cost}")
    if not known and not settings.options.time:
        print("without --time the partition's default limit holds; jobs that reach it go on later")
    if view.left_out:
        print(
            f"{view.left_out} more jobs do not fit into what you may have in the queue now; "
            f"the next submit sends them"
        )


def _say_who_waits(view: Outlook, statuses: Mapping[str, Status]) -> None:
    """Students of a teacher that no job of the queue trains (`run` does, or a lost claim)."""
    ready = {run for array in view.arrays for run in array.runs}
    waiting = [r for r, s in statuses.items() if s.state in census.OPEN and r not in ready]
    if waiting and not view.left_out:
        print(
            f"{len(waiting)} runs wait for a teacher that is being trained outside of the queue; "
            f"submit again when it is done"
        )


def _show_scripts(found: Plan, view: Outlook, options: SlurmOptions) -> None:
    """Every array's sbatch script. Ids of teachers to come stand as TEACHER."""
    for array in view.arrays:
        after = view.under_way.get(array.after, "TEACHER") if array.after else None
        entry = ledger.new(
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
    with submission.alone(runs, _note) as claim:
        for line in submission.recover(runs):
            _note(f"left by an earlier submit: {line}")
        cli.reset(found, cli.wanted(args))
        for _ in range(submission.ROUNDS):
            statuses, known = submission.look(found)
            submission.release(known, _note)
            limits = submission.limits(settings.options)
            view = submission.outlook(found, statuses, known, settings, limits)
            sent = submission.send(found, view, settings, claim, _note)
            if not submission.dropped(sent):
                break
            _note("a teacher's job ended meanwhile and SLURM dropped its students; looking again")
    print(f"how it goes: {cli.command(args, 'status')}")


def _note(line: str) -> None:
    print(line, flush=True)


def _followed(args: argparse.Namespace, found: Plan) -> int:
    return follow(found) if args.wait else 0


def follow(found: Plan) -> int:
    """Until nothing is in the queue any more; 1 if something is not done then."""
    statuses = look(found)
    left = sum(s.spec.recipe.epochs - s.epoch for s in statuses.values() if s.state in census.BUSY)
    progress = Progress(left, sum(s.state in census.BUSY for s in statuses.values()))
    try:
        while any(s.state in census.BUSY for s in statuses.values()):
            time.sleep(FOLLOW_SECONDS)
            before, statuses = statuses, look(found)
            progress.moved(before, statuses)
    except KeyboardInterrupt:
        progress.note("no longer watching; the jobs go on")
    progress.close()
    print(cli.census_line(found, statuses))
    good = (census.DONE, census.UNSUPPORTED)
    return 0 if all(s.state in good for s in statuses.values()) else 1


def look(found: Plan) -> dict[str, Status]:
    """Every run's state; where SLURM does not answer, the disk's word alone, which is said."""
    statuses = found.statuses()
    try:
        known = hints.gather(found.workspace.runs, statuses.values())
    except slurm.SlurmError as error:
        print(f"note: SLURM does not say ({error}): only what the disk says", file=sys.stderr)
        return statuses
    return hints.merged(statuses, known, found.workspace.runs)


# ---- cancel --------------------------------------------------------------------------------------


def cancel(args: argparse.Namespace) -> int:
    """Take the jobs of a matrix (or of the part that the filters name) out of SLURM's queue."""
    slurm.require()
    found = cli.planned(args, strict=False)
    statuses = found.statuses()
    known = hints.gather(found.workspace.runs, statuses.values())
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
    if not cli.may_go_on(args, "cancel?"):
        return 1
    slurm.cancel(list(tasks))
    print("cancelled; what was saved is safe, and submit goes on from there")
    return 0


def _spared(found: Plan, known: Mapping[str, Hint]) -> set[str]:
    """Teachers that come along with the named students, but that others wait for, too."""
    named = {spec.id for spec in found.expansion.runs}
    of_others: set[str | None] = {
        sent.after
        for sent in ledger.load(found.workspace.runs)
        if not named.issuperset(run for ids in sent.tasks for run in ids)
    }
    teachers = {spec.id for spec in found.expansion.teachers}
    teachers -= {entry.spec.id for entry in found.expansion.entries}
    return {run for run in teachers if run in known and known[run].task in of_others}


def _company(runs: Path, tasks: Mapping[str, Hint], named: set[str]) -> int:
    """Runs of the same jobs that were not named."""
    share = {
        run
        for sent in ledger.load(runs)
        for i, ids in enumerate(sent.tasks)
        if f"{sent.job}_{i}" in tasks
        for run in ids
    }
    return len(share - named)
