"""Runs of a job that cannot be tried: each is reported and its reason stored; the others train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import distillers
import models
from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.rundir import blocked
from experiments.rundir.outcome import Outcome
from experiments.train.cohort import Report
from experiments.worker.job import Job
from results import records

REFUSALS = (InputError, distillers.MethodError, models.ModelError)  # of a whole job, in one line


@dataclass(frozen=True)
class Blocker:
    """Blocks runs of ``job``. Of several processes only the main one ``writes``."""

    job: Job
    report: Report
    writes: bool = True

    def __call__(self, spec: RunSpec, reason: str) -> None:
        """Report a run as blocked and store why. One that is done needs nothing and is done."""
        run, directory = self.job.id_of(spec), self.job.directory(spec)
        record = records.read(directory)
        if record is not None:
            self.report(spec, {"run": run, "state": Outcome.DONE, "top1": record.top1})
            return
        if self.writes:
            blocked.store(directory, reason)
        self.report(spec, {"run": run, "state": Outcome.BLOCKED, "error": reason})

    def with_planned_ids(self, specs: Iterable[RunSpec]) -> list[RunSpec]:
        """Those of ``specs`` to which today's code gives the ids that they were planned with.

        The others are blocked: an option's default or a version was edited meanwhile, and under the
        planned id other numbers are expected.
        """
        return [spec for spec in specs if self._is_as_planned(spec)]

    def _is_as_planned(self, spec: RunSpec) -> bool:
        try:
            today = spec.id
        except distillers.MethodError as error:  # nobody registers its method any more
            self(spec, str(error))
            return False
        if today == self.job.id_of(spec):
            return True
        self(spec, f"the code changed since it was planned: today its id is {today}; submit again")
        return False

    def store_refusal(self, specs: Sequence[RunSpec], error: Exception) -> None:
        """Store why a whole job is refused; its process then ends with that error."""
        for spec in specs if self.writes else ():
            if records.read(self.job.directory(spec)) is None:
                blocked.store(self.job.directory(spec), str(error))
