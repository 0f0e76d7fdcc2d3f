"""Decide which runs train together. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable

from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.rundir.status import Status

Key = tuple[tuple[object, ...], int, TeacherSpec | None]

# Recipe fields that runs sharing batches must agree on; the rest (lr, momentum, …) may differ.
SHARED = (
    "epochs",
    "batch_size",
    "precision",
    "channels_last",
    "compile",
    "tf32",
    "deterministic",
    "threads",
    "label_smoothing",
    "mixup",
    "cutmix",
    "random_erasing",
)


def form_cohorts(
    statuses: Iterable[Status],
    size: int | None = None,
    cost: Callable[[Status], float] = lambda status: 1.0,
) -> list[list[Status]]:
    """Split runs into units of execution, each of at most ``size`` runs (None: no limit).

    One cohort has one teacher, data set, trial and numerics, and its runs stand at most one epoch
    apart. Runs without a teacher join any cohort of their data set and trial. Groups are cut into
    parts of nearly equal ``cost``.
    """
    groups: dict[Key, list[Status]] = {}
    waiting: dict[Key, list[Status]] = {}
    hosts: dict[Key, Key] = {}  # key without the teacher -> the first group with one
    for status in statuses:
        key, with_teacher = _key(status), _key(status, status.spec.teacher)
        if status.spec.teacher:
            groups.setdefault(with_teacher, []).append(status)
            hosts.setdefault(key, with_teacher)
        else:
            waiting.setdefault(key, []).append(status)
    for key, alone in waiting.items():
        host = hosts.get(key, key)
        groups[host] = [*alone, *groups.get(host, [])]
    return [part for group in groups.values() for part in _parts(group, size, cost)]


def _key(status: Status, teacher: TeacherSpec | None = None) -> Key:
    """What the runs of a cohort agree on."""
    return together(status.spec), status.epoch // 2, teacher


def together(spec: RunSpec) -> tuple[object, ...]:
    """What runs agree on that read the same batches: data, trial, and part of the recipe."""
    return spec.dataset.key, spec.trial, *(getattr(spec.recipe, name) for name in SHARED)


def _parts(
    group: list[Status], size: int | None, cost: Callable[[Status], float]
) -> list[list[Status]]:
    """Divide a group into as few parts as ``size`` allows, of nearly equal cost.

    Greedy: the most expensive run goes first, each to the cheapest part so far.
    """
    count = 1 if size is None else math.ceil(len(group) / size)
    most = math.ceil(len(group) / count)
    parts: list[list[int]] = [[] for _ in range(count)]
    costs = [cost(status) for status in group]
    cheapest = [(0.0, k) for k in range(count)]  # a heap of the parts that are not full
    for i in sorted(range(len(group)), key=lambda i: -costs[i]):
        total, k = heapq.heappop(cheapest)
        parts[k].append(i)
        if len(parts[k]) < most:
            heapq.heappush(cheapest, (total + costs[i], k))
    return [[group[i] for i in sorted(part)] for part in parts if part]
