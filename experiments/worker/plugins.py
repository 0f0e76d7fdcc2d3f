"""A job's plugins: one that cannot be imported blocks its own runs, not the others of the job."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import distillers
from experiments.matrix import known
from experiments.matrix.run_spec import RunSpec
from experiments.worker.blocking import Blocker
from experiments.worker.job import Job


def load(plugins: Iterable[Path]) -> list[str]:
    """Import a job's plugins; returns what is wrong with those that cannot be, a line each."""
    broken = []
    for plugin in plugins:
        try:
            distillers.load_plugin(plugin)
        except distillers.MethodError as error:
            broken.append(" ".join(str(error).split()))
            print(f"note: left out a plugin that is broken: {broken[-1]}", file=sys.stderr)
    return broken


def without_broken(job: Job, block: Blocker) -> list[RunSpec]:
    """The runs of a job whose plugins can be imported, which is done; the others are blocked."""
    broken = load(job.plugins)
    if not broken:
        return list(job.specs)
    for spec in job.specs:
        if not is_known(spec):
            block(spec, "; ".join(broken))
    return [spec for spec in job.specs if is_known(spec)]


def is_known(spec: RunSpec) -> bool:
    """Whether a run's method and networks are registered."""
    method = spec.source.method if spec.source else spec.method
    teachers = spec.teacher.parts if spec.teacher else ()
    names = [spec.student, *(teacher.name for teacher in teachers)]
    return known.is_method(method) and all(map(known.is_model, names))
