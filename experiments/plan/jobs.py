"""From the runs that are to do to jobs: teachers first, then cohorts of students."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.plan.cohorts import form_cohorts
from experiments.rundir.layout import weights_of
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status
from experiments.worker.job import Job


def tasks(
    statuses: Sequence[Status],
    template: Job,
    teacher_files: dict[str, Path],
    size: int | None,
    cost: Callable[[Status], float] = lambda status: 1.0,
    under_way: Collection[str] = (),
) -> list[Task]:
    """The jobs of all runs that are to do: teachers first, then cohorts of at most ``size`` runs.

    template       what all jobs have in common
    teacher_files  weights of given teachers, by name
    cost           what cohorts are balanced by
    under_way      runs of teachers that are being trained and that a job can wait for; students of
                   other teachers that are being trained are left out

    A teacher's job is ``alone``, since its students wait for just that job; so is the job of a run
    that crashed its process before.
    """
    wanted = {s.spec.teacher.run for s in statuses if s.spec.teacher and s.spec.teacher.run}
    teachers = [s for s in statuses if s.spec.id in wanted]  # those that the harness trains
    first = [
        replace(_task([s], replace(template, awaited=True), {}), alone=True)
        for s in teachers
        if s.state in NOT_STARTED
    ]
    busy = {s.spec.id for s in teachers if s.state in ACTIVE} - set(under_way)
    to_come = {s.spec.id for s in teachers if s.state != State.DONE}
    # Students whose teacher is done come first: they need not wait for those whose teacher is not.
    rest: dict[bool, list[Status]] = {False: [], True: []}  # by whether the teacher is to come
    for s in statuses:
        teacher = s.spec.teacher.run if s.spec.teacher else None
        if s.state in NOT_STARTED and s.spec.id not in wanted and teacher not in busy:
            rest[teacher in to_come].append(s)
    files = {s.spec.id: weights_of(s.spec.directory(template.runs)) for s in teachers}
    groups = [group for part in rest.values() for group in _groups(part, size, cost)]
    return first + [_task(group, template, {**teacher_files, **files}) for group in groups]


def _groups(
    statuses: list[Status], size: int | None, cost: Callable[[Status], float]
) -> list[list[Status]]:
    """Cohorts. A run that crashed its process before gets a job of its own: it may do so again."""
    alone = [[s] for s in statuses if s.crashes]
    return form_cohorts((s for s in statuses if not s.crashes), size, cost) + alone


def _task(group: list[Status], template: Job, files: dict[str, Path]) -> Task:
    specs = tuple(status.spec for status in group)
    teacher = next((spec.teacher for spec in specs if spec.teacher), None)
    alone = any(status.crashes for status in group)
    probed = {spec.source.run for spec in specs if spec.source}
    sources = {run: path for run, path in template.sources.items() if run in probed}
    template = replace(template, sources=sources)
    if teacher is None:
        return Task(replace(template, specs=specs), alone=alone)
    weights = files[teacher.run or teacher.name]
    return Task(replace(template, specs=specs, teacher=weights), teacher.run, alone=alone)


@dataclass
class Task:
    """A job that waits. ``after`` is the id of the teacher's run that must be done first."""

    job: Job
    after: str | None = None
    deaths: int = 0  # of its workers so far
    alone: bool = False  # whether a SLURM job of several workers must not have it, see `tasks`
