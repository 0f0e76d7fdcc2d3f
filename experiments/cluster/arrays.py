"""Divide a plan's tasks into SLURM arrays. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from experiments.cluster.queue_status import QueueState
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan import jobs, needs
from experiments.plan.jobs import Task
from experiments.plan.plan import Plan
from experiments.rundir.status import ACTIVE, State, Status

# Minutes. Few classes make few arrays, and a scheduler fills gaps with short jobs.
TIME_CLASSES = (15, 30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 10080)
MARGIN = 1.5  # on the predicted time: nodes differ, and so do the other jobs on them
START_MINUTES = 5.0  # of a job before its first step: imports, data, the teacher's accuracy


@dataclass(frozen=True)
class Array:
    """Tasks that look the same to SLURM, in jobs of up to ``workers`` tasks that run at once.

    after      the runs that must be done first, and are not yet: of teachers
    after_end  the runs that must have ended first, done or not, and have not yet
    minutes    time limit, None: the partition's default
    seconds    predicted sum over all tasks, None if unknown
    is_cut     whether the prediction asks for more minutes than any job may have
    """

    tasks: tuple[Task, ...]
    after: tuple[str, ...]
    after_end: tuple[str, ...]
    minutes: int | None
    seconds: float | None
    workers: int = 1
    is_cut: bool = False

    def part(self, first: int, last: int | None = None) -> Array:
        """The array of some of its jobs."""
        start = first * self.workers
        stop = None if last is None else last * self.workers
        return replace(self, tasks=self.tasks[start:stop])

    @property
    def jobs(self) -> list[tuple[Task, ...]]:
        """The tasks of each job of the array."""
        starts = range(0, len(self.tasks), self.workers)
        return [self.tasks[start : start + self.workers] for start in starts]

    @property
    def most(self) -> int:
        """How many workers a job of the array has at most: what every job asks resources for."""
        return min(self.workers, len(self.tasks))

    @property
    def specs(self) -> list[RunSpec]:
        return [spec for task in self.tasks for spec in task.job.specs]

    @property
    def runs(self) -> list[str]:
        return [spec.id for spec in self.specs]


def arrays(
    tasks: Iterable[Task],
    to_come: Iterable[str],
    seconds: Callable[[RunSpec], float | None],
    size: int,
    time: int | None = None,
    longest: int | None = None,
    default: int | None = None,
    workers: int = 1,
    under_way: Mapping[str, str] = MappingProxyType({}),
) -> list[Array]:
    """One array per teacher and time class, of at most ``size`` jobs, none before what it awaits.

    tasks      as `jobs.tasks` gives them, those that others wait for first
    to_come    runs that are not done yet: only for these must others wait
    seconds    predicts the time of one run; None if unknown
    time       one limit in minutes for all jobs, instead of the predicted ones
    longest    the partition's limit in minutes
    default    the limit in minutes where the time is unknown
    workers    tasks that run at once in a job. The limit then is that of ``workers`` such tasks one
               after the other, as if they gained nothing
    under_way  the array tasks of runs that are in the queue
    """
    missing = set(to_come)
    groups: dict[_Key, list[tuple[Task, float | None]]] = {}
    names: dict[_Key, str] = {}
    places = {run: task.partition("_")[0] for run, task in under_way.items()}  # run -> its array
    for task in tasks:
        parts = [seconds(spec) for spec in task.job.specs]
        whole = None if None in parts else sum(part for part in parts if part is not None)
        most = 1 if task.alone else workers
        limit = time or _limit(None if whole is None else most * whole, longest) or default
        after = tuple(run for run in task.after if run in missing)
        # Who waits for an end waits for whole arrays; with whom it does so is all the same.
        ends = frozenset(places[run] for run in task.after_end if run in places)
        key = _Key(after, ends, _teacher(task), limit, most)
        groups.setdefault(key, []).append((task, whole))
        name = names.setdefault(key, f"group {len(names)}")
        places.update(dict.fromkeys((spec.id for spec in task.job.specs), name))
    return [
        _array(group[start : start + size * key.workers], key)
        for key, group in groups.items()
        for start in range(0, len(group), size * key.workers)
    ]


class _Key(NamedTuple):
    """What the tasks of an array have in common; ``ends``: the arrays whose end they wait for."""

    after: tuple[str, ...]
    ends: frozenset[str]
    teacher: str
    minutes: int | None
    workers: int


def _teacher(task: Task) -> str:
    """The run or the file of each of its teachers."""
    return next((spec.teacher.weights for spec in task.job.specs if spec.teacher), "")


def _limit(seconds: float | None, longest: int | None) -> int | None:
    """The smallest time class that holds the prediction with its margin."""
    if seconds is None:
        return None
    needed = MARGIN * seconds / 60 + START_MINUTES
    fitting = next((c for c in TIME_CLASSES if c >= needed), TIME_CLASSES[-1])
    return min(fitting, longest) if longest else fitting


def _array(group: list[tuple[Task, float | None]], key: _Key) -> Array:
    tasks, times = tuple(task for task, _ in group), [seconds for _, seconds in group]
    known = None if None in times else sum(t for t in times if t is not None)
    needed = (_limit(None if s is None else key.workers * s, None) or 0 for s in times)
    is_cut = key.minutes is not None and max(needed, default=0) > key.minutes
    ends = tuple(dict.fromkeys(run for task in tasks for run in task.after_end))
    return Array(tasks, key.after, ends, key.minutes, known, key.workers, is_cut)


def admitted(planned: Iterable[Array], room: int | None) -> tuple[list[Array], int]:
    """The arrays that fit into ``room`` jobs (None: no limit), and how many jobs do not fit.

    Whatever an array waits for comes before it, so none is kept without that.
    """
    sent: list[Array] = []
    left_out = 0
    for array in planned:
        jobs = len(array.jobs)
        fits = jobs if room is None else max(0, min(room, jobs))
        room = None if room is None else room - fits
        left_out += jobs - fits
        if fits:
            sent.append(array.part(0, fits))
    return sent, left_out


@dataclass(frozen=True)
class Settings:
    """How to divide and submit.

    cohort_size   runs per worker at most
    save_minutes  between two saves within an epoch
    snapshot      whether jobs run from a copy of the code
    seconds       predicted time of each run that is to do, by run id; None if unknown
    tensorboard   where the jobs write event files; None for none
    gpus          names of the GPUs whose results the predictions come from
    """

    options: SlurmOptions
    cohort_size: int
    save_minutes: float
    snapshot: bool
    seconds: Mapping[str, float | None]
    tensorboard: Path | None = None
    gpus: tuple[str, ...] = ()

    def cost(self, status: Status) -> float:
        """What cohorts are balanced by; runs of unknown cost count equally."""
        return self.seconds.get(status.spec.id) or 1.0


@dataclass(frozen=True)
class SubmissionPlan:
    """What would be submitted now, and how many jobs exceed the user's limits."""

    arrays: list[Array]
    left_out: int
    under_way: dict[str, str]  # a run -> its array task, which others can depend on


@dataclass(frozen=True)
class Limits:
    """What the cluster allows.

    array_size  tasks per array
    minutes     longest job, None without a limit
    room        jobs that may still be submitted, None without a limit
    default     minutes of a job that asks for none, if the partition has a default
    """

    array_size: int
    minutes: int | None
    room: int | None
    default: int | None = None


def plan_submission(
    plan: Plan,
    statuses: Mapping[str, Status],
    queue: Mapping[str, QueueState],
    settings: Settings,
    limits: Limits,
) -> SubmissionPlan:
    """The arrays of all runs that are to do or lost. Pure."""
    active = {run for run, status in statuses.items() if status.state in ACTIVE}
    under_way = {run: state.task for run, state in queue.items() if state.state and run in active}
    options = settings.options
    waiting = jobs.tasks(
        list(statuses.values()),
        plan.template(settings.save_minutes, settings.tensorboard),
        plan.teacher_files,
        settings.cohort_size,
        settings.cost,
        under_way,
        needs.of_choices(plan.expansion.choices),
    )
    planned = arrays(
        waiting,
        [run for run, status in statuses.items() if status.state != State.DONE],
        lambda spec: settings.seconds.get(spec.id),
        limits.array_size,
        options.time,
        limits.minutes,
        limits.default,
        options.workers_per_gpu,
        under_way,
    )
    fitting, left_out = admitted(planned, limits.room)
    return SubmissionPlan(fitting, left_out, under_way)
