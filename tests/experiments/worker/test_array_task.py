"""A worker as a task of a SLURM array: which runs it trains, and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import distillers
from experiments.matrix import run_spec
from experiments.rundir.layout import BLOCKED as BLOCKED_FILE
from experiments.rundir.layout import WEIGHTS
from experiments.rundir.status import State, count_states
from experiments.worker import worker
from experiments.worker.job import BLOCKED, REFUSED, STOPPED
from models.checkpoints.files import sha256
from results import records
from tests.experiments import sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place

STUDENTS = f"{SECOND}_0"


@pytest.fixture
def place(fake, tmp_path: Path) -> Place:
    """A matrix whose jobs are all submitted."""
    place = Place(tmp_path).write()
    sending.send(place)
    return place


def states(place: Place) -> dict[str, int]:
    return count_states(place.plan().statuses().values())


def test_all_tasks_together_train_what_a_local_run_trains(fake, place, finished):
    """Bit for bit, in any order of tasks that trains the teacher first."""
    for task in (f"{FIRST}_2", TEACHER_TASK, f"{SECOND}_1", STUDENTS, f"{FIRST}_1"):
        assert fake.run(task).code == 0
    assert states(place) == {State.DONE: 7}
    for path in (finished / "runs").rglob(WEIGHTS):
        assert sha256(place.runs / path.relative_to(finished / "runs")) == sha256(path)


def test_a_task_trains_the_runs_of_its_index_only(fake, place):
    ended = fake.run(f"{FIRST}_1")
    assert (ended.code, ended.err) == (0, "")
    (made,) = [d for d, _ in records.scan(place.runs)]
    (run,) = place.sent[0].tasks[1]
    assert made.name.endswith(run)
    assert "epoch 2/2: loss " in ended.out and ": done: top-1 " in ended.out
    record = records.read(made)
    assert record is not None
    assert record.starts[0].job == fake.environment(f"{FIRST}_1")["SLURM_JOB_ID"]


def reasons(place: Place) -> dict[str, str]:
    """By directory, the stored reasons of runs that could not be tried."""
    found = place.runs.rglob(BLOCKED_FILE)
    return {path.parent.name: path.read_text() for path in found}


@pytest.mark.parametrize("missing", ["result", "weights", "everything", "half the weights"])
def test_without_its_teacher_a_task_is_blocked_and_looks_failed(fake, place, finished, missing):
    """SLURM starts it anyway if its teacher's job failed and was purged, for instance."""
    weights = place.teacher.directory(place.runs) / WEIGHTS
    if missing != "everything":
        place.finish(place.teacher, finished)
    if missing == "half the weights":
        os.truncate(weights, weights.stat().st_size // 2)
    elif missing != "everything":
        (weights if missing == "weights" else weights.with_name("result.json")).unlink()
    ended = fake.run(STUDENTS)
    assert (ended.code, ended.err) == (BLOCKED, "")
    assert fake.jobs[1]["tasks"][0]["state"] == "FAILED"
    assert ended.out.count(": blocked: teacher resnet14: ") == 2
    stored = reasons(place)
    assert len(stored) == 2 and all(text.count("\n") == 1 for text in stored.values())
    for method in ("kd", "fitnet"):
        directory = place.specs(method)[0].directory(place.runs)
        assert stored[directory.name].startswith("teacher resnet14: ")
        assert not (directory / "error.txt").exists()
    assert states(place).get(State.FAILED) is None


def test_a_stored_reason_stops_nobody_and_goes_when_the_run_begins(fake, place, finished):
    fake.run(STUDENTS)
    place.finish(place.teacher, finished)
    assert len(reasons(place)) == 2
    fake.move(STUDENTS, "PENDING")
    assert fake.run(STUDENTS).code == 0
    assert reasons(place) == {}
    assert states(place)[State.DONE] == 3


def test_a_requeued_task_whose_teacher_was_purged_since_keeps_what_is_done(fake, place, finished):
    """Weights that only finished runs have read are not missed."""
    place.finish(place.teacher, finished)
    assert fake.run(STUDENTS).code == 0
    (place.teacher.directory(place.runs) / WEIGHTS).unlink()
    fake.move(STUDENTS, "PENDING")
    ended = fake.run(STUDENTS)
    assert (ended.code, ended.out.count(": done: top-1 ")) == (0, 2)
    assert reasons(place) == {}


def test_no_reason_is_stored_of_a_run_that_somebody_trains(fake, place):
    for method in ("kd", "fitnet"):
        sending.claimed(place.directory(place.specs(method)[0]))
    assert fake.run(STUDENTS).code == BLOCKED
    assert reasons(place) == {}


def test_outside_an_array_blocked_is_an_error(fake, place):
    task = place.sent[1].folder / "task-0.json"
    assert worker.work(task, as_json=False) == 1
    assert len(reasons(place)) == 2


def test_a_failed_run_is_a_failed_job(fake, tmp_path):
    place = Place(tmp_path).write(recipe__lr=1e30)
    sending.send(place)
    ended = fake.run(TEACHER_TASK)
    assert ended.code == 1
    assert ": failed: " in ended.out
    assert (place.teacher.directory(place.runs) / "error.txt").exists()
    assert f"{SECOND}_0" not in fake.queue  # SLURM cancels its students
    assert states(place) == {State.TODO: 2, State.BLOCKED: 4, State.FAILED: 1}


def edit(task: Path, **changes: object) -> None:
    task.write_text(json.dumps({**json.loads(task.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "said", "stored"),
    [
        (lambda task: edit(task, device="cuda"), "CUDA", True),
        (lambda task: task.unlink(), "No such file or directory", False),
    ],
    ids=["no GPU", "no job"],
)
def test_an_invalid_job_is_refused_in_one_line(fake, place, spoil, said, stored):
    spoil(place.sent[0].folder / "task-0.json")
    ended = fake.run(TEACHER_TASK)
    assert ended.code == REFUSED
    assert ended.err.startswith("error: ") and said in ended.err
    assert ended.err.count("\n") == 1
    assert [said in text for text in reasons(place).values()] == [True] * stored


def test_a_changed_default_blocks_only_the_runs_that_it_concerns(
    fake, place, finished, monkeypatch
):
    """Today's code gives them another id: with the planned one, other numbers are expected."""
    place.finish(place.teacher, finished)
    concerned, other = place.specs("kd")[0], place.specs("fitnet")[0]
    options = {**distillers.defaults("kd"), "kd_temperature": 3.0}
    defaults = distillers.defaults
    changed = lambda name: options if name == "kd" else defaults(name)  # noqa: E731
    monkeypatch.setattr(run_spec.distillers, "defaults", changed)
    ended = fake.run(STUDENTS)
    assert (ended.code, ended.err) == (BLOCKED, "")
    assert f"{concerned}: blocked: the code changed since it was planned: " in ended.out
    assert f"{other}: done: top-1 " in ended.out
    assert set(reasons(place)) == {concerned.directory(place.runs).name}
    assert records.read(other.directory(place.runs)) is not None


def test_a_task_of_which_nothing_is_as_planned_reads_no_data(fake, place, monkeypatch):
    edit(place.sent[0].folder / "task-0.json", ids=["of another day"])
    monkeypatch.setattr(worker, "build_dataset", None)
    ended = fake.run(TEACHER_TASK)
    assert (ended.code, ended.err) == (BLOCKED, "")
    assert f"{SECOND}_0" not in fake.queue  # SLURM cancels its students
    assert reasons(place).keys() == {"0-of another day"}


class StopRequested:
    """A `Stop` whose signal came before the first step, or after the last one."""

    requested = True

    def __init__(self, in_time: bool) -> None:
        self.in_time = in_time

    def __call__(self) -> bool:
        return self.in_time


def test_a_stopped_task_is_requeued(fake, place, monkeypatch):
    handed, stop = [], StopRequested(in_time=True)
    monkeypatch.setattr(worker, "Stop", lambda: stop)
    monkeypatch.setattr(worker, "requeue_or_wait", handed.append)
    assert fake.run(TEACHER_TASK).code == STOPPED
    assert handed == [stop]
    assert states(place)[State.TODO] == 7


def test_a_task_stopped_after_its_last_step_ends_as_done(fake, place, monkeypatch):
    """If a teacher's task ended with an error, SLURM would cancel its students."""
    handed = []
    monkeypatch.setattr(worker, "Stop", lambda: StopRequested(in_time=False))
    monkeypatch.setattr(worker, "requeue_or_wait", handed.append)
    assert fake.run(TEACHER_TASK).code == 0
    assert handed == []
    assert states(place)[State.DONE] == 1
    assert fake.queue[STUDENTS] == "PENDING"


def test_a_requeued_task_trains_nothing_that_is_done(fake, place):
    assert fake.run(f"{FIRST}_1").code == 0
    before = {path: path.stat().st_mtime_ns for path in place.runs.rglob("result.json")}
    fake.move(f"{FIRST}_1", "PENDING", "BeginTime")
    assert fake.run(f"{FIRST}_1").code == 0
    assert {path: path.stat().st_mtime_ns for path in place.runs.rglob("result.json")} == before
