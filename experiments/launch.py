"""Running a matrix on this machine: a queue of jobs, a worker process per GPU or group of cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from . import census, cohorts
from .census import Status
from .errors import InputError
from .local_queue import LocalQueue, Task
from .progress import Progress
from .teachers import weights_of
from .worker import Job


def tasks(
    statuses: Sequence[Status],
    template: Job,
    teacher_files: dict[str, Path],
    size: int | None,
    cost: Callable[[Status], float] = lambda status: 1.0,
    under_way: Collection[str] = (),
) -> list[Task]:
    """The jobs of all runs that are to do: teachers first, then cohorts of at most ``size`` runs.

    ``template`` carries what all jobs have in common, ``teacher_files`` the given teachers' weights
    by name. Students whose teacher is being trained elsewhere are left for another time, unless
    ``under_way`` (run ids) says that somebody can wait for it.
    """
    wanted = {s.spec.teacher.run for s in statuses if s.spec.teacher and s.spec.teacher.run}
    made = [s for s in statuses if s.spec.id in wanted]
    first = [_task([s], template, {}) for s in made if s.state in census.OPEN]
    busy = {s.spec.id for s in made if s.state in census.BUSY} - set(under_way)
    to_come = {s.spec.id for s in made if s.state != census.DONE}
    rest: dict[bool, list[Status]] = {False: [], True: []}  # by whether the teacher is to come
    for s in statuses:
        teacher = s.spec.teacher.run if s.spec.teacher else None
        if s.state in census.OPEN and s.spec.id not in wanted and teacher not in busy:
            rest[teacher in to_come].append(s)
    files = {s.spec.id: weights_of(s.spec.directory(template.runs)) for s in made}
    groups = [group for part in rest.values() for group in _groups(part, size, cost)]
    return first + [_task(group, template, {**teacher_files, **files}) for group in groups]


def _groups(
    statuses: list[Status], size: int | None, cost: Callable[[Status], float]
) -> list[list[Status]]:
    """Cohorts; who has ended its process before may do so again, and does it alone."""
    alone = [[s] for s in statuses if s.crashes]
    return cohorts.cohorts((s for s in statuses if not s.crashes), size, cost) + alone


def _task(group: list[Status], template: Job, files: dict[str, Path]) -> Task:
    specs = tuple(status.spec for status in group)
    teacher = next((spec.teacher for spec in specs if spec.teacher), None)
    probed = {spec.source.run for spec in specs if spec.source}
    sources = {run: path for run, path in template.sources.items() if run in probed}
    template = replace(template, sources=sources)
    if teacher is None:
        return Task(replace(template, specs=specs))
    weights = files[teacher.run or teacher.name]
    return Task(replace(template, specs=specs, teacher=weights), teacher.run)


def default_size(statuses: Sequence[Status], slots: int) -> int | None:
    """Cohorts as large as keeps all slots busy: about two per slot, unlimited for a single one."""
    todo = sum(s.state == census.TODO for s in statuses)
    return None if slots == 1 else max(1, math.ceil(todo / (2 * slots)))


def slots(device: str, workers: int | None, threads: int, processes: int = 1) -> list[str]:
    """One device name per job at a time: every GPU, or ``cores // threads`` times the CPU.

    A job of several ``processes`` takes as many GPUs ("cuda:0,1"), or so many times the threads.
    Raises InputError where this machine has fewer GPUs than one job takes.
    """
    if device == "cuda":
        count = torch.cuda.device_count()
        if count < processes:
            raise InputError(f"processes: {processes} need as many GPUs; this machine has {count}")
        groups = [range(i, i + processes) for i in range(0, count - processes + 1, processes)]
        found = ["cuda:" + ",".join(map(str, group)) for group in groups]
        return found[:workers] if workers else found
    return ["cpu"] * (workers or max(1, _cores() // (threads * processes)))


def _cores() -> int:
    """The cores this process may use, which a container or a job may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(waiting: list[Task], devices: list[str], progress: Progress) -> bool:
    """Work the jobs off. Ctrl-C or SIGTERM lets every worker save; then the answer is False."""
    return LocalQueue(waiting, devices, progress).run()
