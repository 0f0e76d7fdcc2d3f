"""From the runs that are to do to jobs: whoever is waited for first, then cohorts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.matrix import tuning
from experiments.matrix.expansion import Choice
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.plan import choosing
from experiments.plan.cohorts import form_cohorts
from experiments.plan.needs import Graph, NeedsEnd, of_nobody
from experiments.rundir.layout import weights_of
from experiments.rundir.status import NOT_STARTED, Status
from experiments.worker.job import Job


@dataclass
class Task:
    """A job that waits.

    after      ids of the runs that must be done first: its teachers
    after_end  ids of the runs that must have ended first, done or not: what its options are chosen
               from. Only those that had not when the task was made
    """

    job: Job
    after: tuple[str, ...] = ()
    after_end: tuple[str, ...] = ()
    deaths: int = 0  # of its workers so far
    alone: bool = False  # whether a SLURM job of several workers must not have it, see `tasks`


def tasks(
    statuses: Sequence[Status],
    template: Job,
    teacher_files: dict[str, Path],
    size: int | None,
    cost: Callable[[Status], float] = lambda status: 1.0,
    under_way: Collection[str] = (),
    needs_end: NeedsEnd = of_nobody,
) -> list[Task]:
    """The jobs of all runs that are to do: none before those that it waits for.

    template       what all jobs have in common
    teacher_files  weights of given teachers, by name
    cost           what cohorts are balanced by
    under_way      runs that are being trained and that a job can wait for; who needs another run
                   that is being trained is left out, and who needs that one, too
    needs_end      the runs that must have ended before a run can start, done or not

    A teacher's job is ``alone``, since its students wait for just that job; so is the job of a run
    that crashed its process before. The others are cohorts of at most ``size`` runs: first those
    that something is chosen from, then those that need not wait.
    """
    graph = Graph({s.spec.id: s for s in statuses}, under_way, needs_end)
    read, chosen_from = graph.awaited_done(), graph.awaited_end()
    todo = [s for s in statuses if s.state in NOT_STARTED and graph.depth(s) is not None]
    teachers = [s for s in statuses if s.spec.id in read]  # those that the harness trains
    files = {s.spec.id: weights_of(s.spec.directory(template.runs)) for s in teachers}
    make = _Maker(graph, template, {**teacher_files, **files})
    first = [make.task([s], is_awaited=True, alone=True) for s in todo if s.spec.id in read]
    rest = [s for s in todo if s.spec.id not in read]
    awaited = [s for s in rest if s.spec.id in chosen_from]
    others = [s for s in rest if s.spec.id not in chosen_from]
    then = [make.task(g, is_awaited=True) for g in _groups(awaited, graph, size, cost)]
    last = [make.task(g) for g in _groups(others, graph, size, cost)]
    return _in_order([*first, *then, *last])


def _groups(
    statuses: Sequence[Status], graph: Graph, size: int | None, cost: Callable[[Status], float]
) -> list[list[Status]]:
    """Cohorts of runs that begin together: who need not wait is not kept by those who must."""
    parts: dict[tuple[int, bool], list[Status]] = {}
    for status in statuses:
        key = graph.depth(status) or 0, bool(graph.ends_to_come(status))
        parts.setdefault(key, []).append(status)
    return [group for key in sorted(parts) for group in _cohorts(parts[key], size, cost)]


def _cohorts(
    statuses: list[Status], size: int | None, cost: Callable[[Status], float]
) -> list[list[Status]]:
    """Cohorts. A run that crashed its process before gets a job of its own: it may do so again."""
    alone = [[s] for s in statuses if s.crashes]
    return form_cohorts((s for s in statuses if not s.crashes), size, cost) + alone


@dataclass(frozen=True)
class _Maker:
    """Makes tasks. ``files``: teachers' weights, by run or by the name of a given one."""

    graph: Graph
    template: Job
    files: Mapping[str, Path]

    def task(self, group: Sequence[Status], is_awaited: bool = False, alone: bool = False) -> Task:
        """A cohort's task; ``is_awaited``: others wait for its runs."""
        specs = tuple(status.spec for status in group)
        teacher = next((spec.teacher for spec in specs if spec.teacher), None)
        probed = {spec.source.run for spec in specs if spec.source}
        sources = {run: path for run, path in self.template.sources.items() if run in probed}
        job = replace(self.template, specs=specs, sources=sources, choices=self._choices(specs))
        if teacher:
            job = job.taught_by(self._weights(teacher))
        return Task(
            replace(job, awaited=True) if is_awaited else job,
            after=_union(spec.needs for spec in specs),
            after_end=_union(self.graph.ends_to_come(status) for status in group),
            alone=alone or any(status.crashes for status in group),
        )

    def _choices(self, specs: Sequence[RunSpec]) -> tuple[Choice, ...]:
        """Those that these runs wait for, without what is n/a."""
        named = {spec.choice for spec in specs if spec.choice}
        found = [choice for choice in self.template.choices if choice.id in named]
        statuses = self.graph.statuses
        return tuple(
            tuning.possible(choice, choosing.impossible(choice, statuses)) for choice in found
        )

    def _weights(self, teacher: TeacherSpec) -> tuple[Path, ...]:
        """Its file, or those of an ensemble's members."""
        return tuple(self.files[part.run or part.name] for part in teacher.parts)


def _union(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Every id once, in the order of their first appearance."""
    return tuple(dict.fromkeys(run for group in groups for run in group))


def _in_order(made: Sequence[Task]) -> list[Task]:
    """The tasks in their order, but each behind those that it waits for."""
    task_of = {spec.id: task for task in made for spec in task.job.specs}
    placed: dict[int, Task] = {}

    def place(task: Task) -> None:
        if id(task) not in placed:
            for run in (*task.after, *task.after_end):
                if run in task_of:
                    place(task_of[run])
            placed[id(task)] = task

    for task in made:
        place(task)
    return list(placed.values())
