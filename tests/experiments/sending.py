"""A small matrix, its runs in any state, and what goes to the fake SLURM of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.cluster import arrays, preview, queue_status, submission, submitted
from experiments.cluster.arrays import Settings
from experiments.cluster.submitted import SubmittedArray
from experiments.matrix.expansion import Candidate, Choice, Entry, Expansion
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.matrix.slurm_options import SlurmOptions
from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Workspace
from tests.experiments import cli

# cli.MATRIX is a teacher, two trials of the student alone, and of two methods with the teacher:
# an array of three tasks that wait for nobody, then one of two for the teacher's students.
FIRST, SECOND = "100", "104"  # their ids
TEACHER_TASK = f"{FIRST}_0"


class Killed(BaseException):
    """Stands in for SIGKILL: no handler of the code under test may meet it."""


@dataclass(frozen=True)
class Place:
    """A folder with a matrix; runs and data beside it."""

    folder: Path

    @property
    def matrix(self) -> Path:
        return self.folder / "matrix.yaml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def sent(self) -> list[SubmittedArray]:
        return submitted.load(self.runs)

    def write(self, **changes: Any) -> Place:
        cli.write(self.folder, **changes)
        return self

    def plan(self) -> Plan:
        workspace = Workspace(self.runs, self.folder / "data", "cpu", here=False)
        return prepare(str(self.matrix), workspace)

    def specs(self, method: str, student: str = "resnet8") -> list[RunSpec]:
        """Runs of a method, by trial."""
        runs = self.plan().expansion.runs
        return [spec for spec in runs if (spec.method, spec.student) == (method, student)]

    @property
    def teacher(self) -> RunSpec:
        return self.specs("vanilla", "resnet14")[0]

    def directory(self, spec: RunSpec) -> Path:
        found = spec.directory(self.runs)
        found.mkdir(parents=True, exist_ok=True)
        return found

    def fail(self, spec: RunSpec) -> None:
        """As a worker leaves it whose run failed."""
        (self.directory(spec) / "error.txt").write_text("ValueError: no such thing\n\nTraceback")

    def make_stale(self, spec: RunSpec) -> Path:
        """As if a finished run had been trained with another recipe."""
        result = spec.directory(self.runs) / "result.json"
        record = json.loads(result.read_text())
        record["spec"]["recipe"]["lr"] = 0.9
        result.write_text(json.dumps(record))
        return result.parent

    def finish(self, spec: RunSpec, finished: Path) -> None:
        """As it is in ``finished``, a folder of the same matrix whose runs are done."""
        target = spec.directory(self.runs)
        source = finished / "runs" / target.relative_to(self.runs)
        shutil.copytree(source, target, dirs_exist_ok=True)

    def call(self, verb: str, *more: str) -> cli.Called:
        return cli.command(verb, self.matrix, *more)


def settings(**changes: Any) -> Settings:
    """Eight runs a job, nothing known of their time, no copy of the code."""
    return replace(Settings(SlurmOptions(), 8, 10.0, False, {}), **changes)


def with_chain(plan: Plan) -> Plan:
    """A plan of three runs, each of which learns from the one before: see `expansion.runs`."""
    teacher = plan.expansion.teachers[0]
    middle = next(entry for entry in plan.expansion.entries if entry.spec.method == "kd")
    above = TeacherSpec(name=middle.spec.student, run=middle.spec.id)
    last = Entry(middle.spec.model_copy(update={"teacher": above}), "a chain", "KD")
    return replace(plan, expansion=Expansion((middle, last), (teacher, middle.spec)))


def with_choice(plan: Plan) -> Plan:
    """A plan of a kd run that waits for a choice between the others and the fitnet runs."""
    found = [e for e in plan.expansion.entries if e.spec.method != "vanilla"]
    runs = tuple((entry.spec.id,) for entry in found)
    choice = Choice("0123456789", "KD", (found[0].pair,), ({},) * len(found), runs)
    final = replace(found[0], spec=found[0].spec.model_copy(update={"choice": choice.id}))
    tried = tuple(Candidate(e.spec, e.pair, "KD", n) for n, e in enumerate(found))
    return replace(plan, expansion=Expansion((final,), plan.expansion.teachers, tried, (choice,)))


def send(
    place: Place, chosen: Settings | None = None, plan: Plan | None = None
) -> list[SubmittedArray]:
    """What `submit` does once it is alone."""
    chosen = chosen or settings()
    plan = plan or place.plan()
    with submission.submit_lock(place.runs, lambda line: None) as claim:
        statuses, known = queue_status.survey(plan)
        limits = preview.limits(chosen.options)
        view = arrays.plan_submission(plan, statuses, known, chosen, limits)
        return submission.send(plan, view, chosen, claim, lambda line: None)


def titles(fake: Any) -> list[str]:
    """ "0-2" and "0-1 after 100_0": every array in the queue or not, oldest first."""
    found = []
    for job in fake.jobs:
        after = f" after {job['after']}" if job["after"] else ""
        after += f" after the end of {job['after_end']}" if job["after_end"] else ""
        found.append(job["options"]["array"].partition("%")[0] + after)
    return found


def claimed(directory: Path) -> Path:
    """Somebody elsewhere is at it."""
    path = directory / "claim-0001"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "5"}))
    return path


def first_array(place: Place) -> arrays.Array:
    """The first that would be sent, of three jobs."""
    plan = place.plan()
    limits = arrays.Limits(1001, None, None)
    return arrays.plan_submission(plan, plan.statuses(), {}, settings(), limits).arrays[0]
