"""Running a matrix on this machine: a queue of jobs, a worker process per GPU or group of cores."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from . import census, cohorts
from .census import Status
from .local_queue import LocalQueue, Task
from .progress import Progress
from .teachers import weights_of
from .worker import Job


def tasks(
    statuses: Sequence[Status], template: Job, teacher_files: dict[str, Path], size: int | None
) -> list[Task]:
    """The jobs of all runs that are to do: teachers first, then cohorts of at most ``size`` runs.

    Students whose teacher is being trained elsewhere are left for another time. ``template``
    carries what all jobs have in common, ``teacher_files`` the given teachers' weights by name.
    """
    wanted = {s.spec.teacher.run for s in statuses if s.spec.teacher and s.spec.teacher.run}
    made = [s for s in statuses if s.spec.id in wanted]
    first = [Task(replace(template, specs=(s.spec,))) for s in made if s.state == census.TODO]
    directories = {s.spec.id: s.spec.directory(template.runs) for s in made}
    elsewhere = {s.spec.id for s in made if s.state == census.RUNNING}
    rest = [
        s
        for s in statuses
        if s.state == census.TODO
        and s.spec.id not in wanted
        and not (s.spec.teacher and s.spec.teacher.run in elsewhere)
    ]
    later = []
    for group in cohorts.cohorts(rest, size):
        specs = tuple(status.spec for status in group)
        teacher = next((spec.teacher for spec in specs if spec.teacher), None)
        weights, after = None, None
        if teacher and teacher.run:
            weights, after = weights_of(directories[teacher.run]), teacher.run
        elif teacher:
            weights = teacher_files[teacher.name]
        later.append(Task(replace(template, specs=specs, teacher=weights), after))
    return first + later


def default_size(statuses: Sequence[Status], slots: int) -> int | None:
    """Cohorts as large as keeps all slots busy: about two per slot, unlimited for a single one."""
    todo = sum(s.state == census.TODO for s in statuses)
    return None if slots == 1 else max(1, math.ceil(todo / (2 * slots)))


def slots(device: str, workers: int | None, threads: int) -> list[str]:
    """One device name per worker: all GPUs, or ``cores // threads`` times the CPU."""
    if device == "cuda":
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        return found[:workers] if workers else found
    return ["cpu"] * (workers or max(1, _cores() // threads))


def _cores() -> int:
    """The cores this process may use, which a container or a job may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(waiting: list[Task], devices: list[str], progress: Progress) -> bool:
    """Work the jobs off. Ctrl-C or SIGTERM lets every worker save; then the answer is False."""
    return LocalQueue(waiting, devices, progress).run()
