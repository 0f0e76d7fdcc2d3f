"""A worker as a task of a SLURM array: which runs it trains, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.rundir.layout import WEIGHTS
from experiments.rundir.status import State, count_states
from experiments.worker import worker
from experiments.worker.job import REFUSED, STOPPED
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


@pytest.mark.parametrize("missing", ["result", "weights", "everything"])
def test_without_its_teacher_a_task_reports_blocked_and_ends_well(fake, place, finished, missing):
    """SLURM starts it anyway if its teacher's job failed and was purged, for instance."""
    if missing != "everything":
        place.finish(place.teacher, finished)
        gone = "result.json" if missing == "result" else WEIGHTS
        (place.directory(place.teacher) / gone).unlink()
    ended = fake.run(STUDENTS)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count(": blocked: teacher resnet14: ") == 2
    for method in ("kd", "fitnet"):
        assert not (place.specs(method)[0].directory(place.runs) / "error.txt").exists()
    assert states(place).get(State.FAILED) is None


def test_outside_an_array_blocked_is_an_error(fake, place):
    task = place.sent[1].folder / "task-0.json"
    assert worker.work(task, as_json=False) == 1


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
    ("spoil", "said"),
    [
        (lambda task: edit(task, ids=["of another day"]), "the code changed since it was planned"),
        (lambda task: task.unlink(), "No such file or directory"),
    ],
    ids=["other code", "no job"],
)
def test_an_invalid_job_is_refused_in_one_line(fake, place, spoil, said):
    spoil(place.sent[0].folder / "task-0.json")
    ended = fake.run(TEACHER_TASK)
    assert ended.code == REFUSED
    assert ended.err.startswith("error: ") and said in ended.err
    assert ended.err.count("\n") == 1
    assert not place.teacher.directory(place.runs).exists()


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
