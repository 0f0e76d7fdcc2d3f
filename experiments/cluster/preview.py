"""Describe a submission before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments import slurm
from experiments.cluster import naming, policies, sbatch, site, submission, submitted
from experiments.cluster.arrays import Limits, Settings, SubmissionPlan
from experiments.environment import CHECKOUT
from experiments.matrix.slurm_grammar import gpu_type
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.plan import Plan
from experiments.plan.summary import duration
from experiments.rundir.status import NOT_STARTED, State, Status
from experiments.wording import form, plural


def limits(options: SlurmOptions, there: site.Site | None = None) -> Limits:
    """What the cluster allows, lowered by the user's own limits; ``there``, if it is known already.

    Without SLURM (a dry run on a laptop) SLURM's defaults.
    """
    if not slurm.is_here():
        return Limits(options.max_array_size or 1001, None, options.max_jobs)
    there = there or site.of(options)
    count = policies.Counter(policies.addressed(options)).jobs
    bounds = [policies.room(there, count)]
    if options.max_jobs:
        bounds.append(max(0, options.max_jobs - slurm.mine(policies.addressed(options))))
    return Limits(
        array_size=options.max_array_size or slurm.max_array_size(),
        minutes=there.shortest[0] if there.shortest else None,
        room=min((bound for bound in bounds if bound is not None), default=None),
        default=there.default,
    )


def as_reset(statuses: Mapping[str, Status], states: set[str]) -> dict[str, Status]:
    """The statuses as `reset` will leave them: what is trained again is to do, its students too."""
    again = states - {*NOT_STARTED}
    wanted = {run for run, status in statuses.items() if status.state in again}
    after = dict(statuses)
    for run in wanted:
        after[run] = replace(statuses[run], state=State.TODO, detail="", epoch=0)
    blocked = {run: status for run, status in statuses.items() if status.state == State.BLOCKED}
    while freed := [run for run, status in blocked.items() if wanted & {*status.spec.needs}]:
        for run in freed:  # of a chain, one link after the other
            after[run] = replace(blocked.pop(run), state=State.TODO, detail="")
        wanted = set(freed)
    return after


def describe(view: SubmissionPlan, settings: Settings) -> None:
    """Print the number of jobs and what they cost."""
    jobs = sum(len(array.jobs) for array in view.arrays)
    if not jobs and not view.left_out:
        return
    seconds = [array.seconds for array in view.arrays]
    known = [s for s in seconds if s is not None]
    cost = "time unknown: nothing like it has run on such a device yet"
    if len(known) == len(seconds) and known:
        kind = "GPU" if settings.options.device == "cuda" else "CPU job"
        cost = f"about {duration(sum(known))} of one {kind}"
        cost += _source(settings.gpus)
    print(f"to send: {plural(jobs, 'job')} in {plural(len(view.arrays), 'array')}, {cost}")
    _describe_sharing(view, settings.options)
    if not known and not settings.options.time:
        print(
            "without --time the partition's default limit applies; "
            "jobs that hit it are requeued and resume"
        )
    _describe_cuts(view, settings.options)
    if view.left_out:
        print(
            f"{plural(view.left_out, 'more job')} {form(view.left_out, 'exceeds', 'exceed')} your "
            f"limit of jobs in the queue; the next submit sends the rest"
        )


def gpu_wanted(options: SlurmOptions) -> str | None:
    """The type of GPU that jobs ask for, as far as SLURM's options tell; None for any."""
    gres = re.match(r"gpu:([A-Za-z][\w.-]*)", str(options.sbatch.get("gres", "")))
    per_task = re.match(r"([A-Za-z][\w.-]*):", str(options.sbatch.get("gpus-per-task", "")))
    found = gres or per_task
    return gpu_type(options.gpus) or (found[1] if found else None)


def _source(gpus: Sequence[str]) -> str:
    """Which GPUs a prediction comes from: others may be slower."""
    if not gpus:
        return ""
    slowest = "" if len(gpus) == 1 else " (the slowest of them for each run)"
    return f", from results on {', '.join(gpus)}{slowest}"


def _describe_cuts(view: SubmissionPlan, options: SlurmOptions) -> None:
    """Say that predicted times exceed what any job may have."""
    cut = [array for array in view.arrays if array.is_cut]
    if cut and not options.time:
        count = sum(len(array.jobs) for array in cut)
        print(
            f"{plural(count, 'job')} may need more than {cut[0].minutes} minutes, the longest that "
            f"is allowed here: such jobs are requeued at the limit and resume"
        )


def _describe_sharing(view: SubmissionPlan, options: SlurmOptions) -> None:
    """Say how many workers share a job's GPU, and what such a job asks for."""
    most = max((array.most for array in view.arrays), default=1)
    if most == 1:
        if options.workers_per_gpu > 1 and view.arrays:
            print("one worker per job: no two cohorts can share a job (see --cohort-size)")
        return
    asked, place = options.of_job(most), "GPU" if options.device == "cuda" else "cores"
    each = [
        _amount(options.cpus or 1, asked.cpus, "cores"),
        _amount(options.mem, asked.mem, "of memory"),
    ]
    wants = ", ".join(text for text in each if text)
    print(f"up to {plural(most, 'worker')} share the {place} of a job, which asks for {wants}")


def _amount(one: object, all_of_it: object, unit: str) -> str:
    """ "8 cores (4 per worker)"; nothing where the cluster's default applies."""
    if all_of_it is None:
        return ""
    return f"{all_of_it} {unit}" + (f" ({one} per worker)" if one != all_of_it else " (as given)")


def describe_waiting(view: SubmissionPlan, statuses: Mapping[str, Status]) -> None:
    """Say how many runs wait for one that no queued job trains (`run`, a lost claim)."""
    ready = {run for array in view.arrays for run in array.runs}
    waiting = [s for r, s in statuses.items() if s.state in NOT_STARTED and r not in ready]
    if waiting and not view.left_out:
        whom = "runs" if any(s.spec.choice for s in waiting) else "a teacher"
        print(
            f"{plural(len(waiting), 'run')} {form(len(waiting), 'waits', 'wait')} for {whom} "
            f"that {form(1 + (whom == 'runs'), 'is', 'are')} being trained outside the queue; "
            f"submit again when {form(1 + (whom == 'runs'), 'it is', 'they are')} done"
        )


def show_scripts(plan: Plan, view: SubmissionPlan, options: SlurmOptions) -> None:
    """Print every array's sbatch script.

    TEACHER and SEARCH stand for ids that are not known yet: of tasks, and of whole arrays.
    """
    for array in view.arrays:
        after = [view.under_way.get(run, "TEACHER") for run in array.after]
        ends = [view.under_way.get(run, "SEARCH") for run in array.after_end]
        entry = submitted.new(
            plan.workspace.runs,
            plan.source,
            submission.runs_of_jobs(array),
            naming.teacher(array.specs),
            after=tuple(dict.fromkeys(after)),
            after_end=tuple(dict.fromkeys(task.partition("_")[0] for task in ends)),
            minutes=array.minutes,
        )
        first = array.tasks[0].job.specs[0]
        runs, jobs = plural(len(array.runs), "run"), plural(len(array.jobs), "job")
        print(f"\n# ---- {runs} in {jobs}, beginning with {first}")
        options_of_job = options.of_job(array.most)
        about = submission.parameters(entry, options_of_job, CHECKOUT, array.specs, plan.processes)
        print(sbatch.script(entry.folder, **about))
