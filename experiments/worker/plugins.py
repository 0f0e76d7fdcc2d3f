"""A job's plugins: one that cannot be imported blocks its own runs, not the others of the job."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import distillers
import models
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.outcome import Outcome
from experiments.train.cohort import Report
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


def without_broken(job: Job, report: Report) -> Job:
    """``job``, its plugins imported, without the runs that lack one, reported as blocked."""
    broken = load(job.plugins)
    if not broken:
        return job
    for spec, run in zip(job.specs, job.ids, strict=True):
        if not is_known(spec):  # without its defaults its id cannot be made again
            report(spec.known_as(run), {"state": Outcome.BLOCKED, "error": "; ".join(broken)})
    return job.only([spec for spec in job.specs if is_known(spec)])


def is_known(spec: RunSpec) -> bool:
    """Whether a run's method and networks are registered."""
    method = spec.source.method if spec.source else spec.method
    names = [spec.student, *([spec.teacher.name] if spec.teacher else [])]
    try:
        distillers.find(method)
        for name in names:
            models.check(name)
    except (distillers.MethodError, models.ModelError):
        return False
    return True
