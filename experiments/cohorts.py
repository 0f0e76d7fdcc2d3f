"""Which runs are trained together. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from .census import Status

# What runs that share batches must agree on; the rest (lr, momentum, …) is a learner's own.
SHARED = (
    "epochs",
    "batch_size",
    "precision",
    "channels_last",
    "compile",
    "tf32",
    "deterministic",
    "threads",
)


def cohorts(statuses: Iterable[Status], size: int | None = None) -> list[list[Status]]:
    """Split runs into units of execution, each of at most ``size`` runs (None: no limit).

    One cohort has one teacher, data set, trial and numerics, and its runs stand at most one epoch
    apart. Runs without a teacher join any cohort of their data set and trial. Groups are cut into
    nearly equal parts.
    """
    groups: dict[str, list[Status]] = {}
    waiting: dict[str, list[Status]] = {}
    for status in statuses:
        target = groups if status.spec.teacher else waiting
        target.setdefault(_key(status, status.spec.teacher is not None), []).append(status)
    for key, alone in waiting.items():
        host = next((k for k, g in groups.items() if _key(g[0], False) == key), None)
        if host is None:
            groups[key] = alone
        else:
            groups[host] = [*alone, *groups[host]]
    return [part for group in groups.values() for part in _parts(group, size)]


def _key(status: Status, with_teacher: bool) -> str:
    spec = status.spec
    recipe = spec.recipe.model_dump(mode="json")
    shared: list[Any] = [spec.dataset.model_dump(mode="json"), spec.trial]
    shared += [{name: recipe[name] for name in SHARED}, status.epoch // 2]
    if with_teacher and spec.teacher:
        shared.append(spec.teacher.model_dump(mode="json"))
    return json.dumps(shared, sort_keys=True)


def _parts(group: list[Status], size: int | None) -> list[list[Status]]:
    """Consecutive parts whose lengths differ by at most one."""
    count = 1 if size is None else math.ceil(len(group) / size)
    bounds = [round(i * len(group) / count) for i in range(count + 1)]
    return [group[a:b] for a, b in pairwise(bounds)]
