"""A worker as a task of an array: which runs it makes, and how it ends."""

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
    """Everything was sent."""
    found = Place(tmp_path).write()
    sending.send(found)
    return found


def states(place: Place) -> dict[str, int]:
    return count_states(place.plan().statuses().values())


def test_all_tasks_together_make_what_a_local_run_makes(fake, place, finished):
    """Bit for bit, in whatever order the tasks come whose teacher is there."""
    for task in (f"{FIRST}_2", TEACHER_TASK, f"{SECOND}_1", STUDENTS, f"{FIRST}_1"):
        assert fake.run(task).code == 0
    assert states(place) == {State.DONE: 7}
    for path in (finished / "runs").rglob(WEIGHTS):
        assert sha256(place.runs / path.relative_to(finished / "runs")) == sha256(path)


def test_a_task_makes_the_runs_of_its_number_and_no_others(fake, place):
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
def test_without_its_teacher_a_task_says_blocked_and_ends_well(fake, place, finished, missing):
    """SLURM lets it run after a teacher that failed and was purged, for instance."""
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


def test_on_this_machine_blocked_is_no_good_end(fake, place):
    task = place.sent[1].folder / "task-0.json"
    assert worker.work(task, as_json=False) == 1


def test_a_failed_run_is_a_failed_job(fake, tmp_path):
    place = Place(tmp_path).write(recipe__lr=1e30)
    sending.send(place)
    ended = fake.run(TEACHER_TASK)
    assert ended.code == 1
    assert ": failed: " in ended.out
    assert (place.teacher.directory(place.runs) / "error.txt").exists()
    assert f"{SECOND}_0" not in fake.queue  # SLURM takes its students away
    assert states(place) == {State.TODO: 2, State.BLOCKED: 4, State.FAILED: 1}


def edit(task: Path, **changes: object) -> None:
    task.write_text(json.dumps({**json.loads(task.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda task: edit(task, ids=["of another day"]), "the code changed since it was planned"),
        (lambda task: edit(task, plugins=["/gone.py"]), "gone.py"),
        (lambda task: task.unlink(), "No such file or directory"),
    ],
    ids=["other code", "no plugin", "no job"],
)
def test_a_job_that_makes_no_sense_is_refused_in_one_line(fake, place, spoil, said):
    spoil(place.sent[0].folder / "task-0.json")
    ended = fake.run(TEACHER_TASK)
    assert ended.code == REFUSED
    assert ended.err.startswith("error: ") and said in ended.err
    assert ended.err.count("\n") == 1
    assert not place.teacher.directory(place.runs).exists()


class Asked:
    """Was asked to stop: before the first step, or after the last one."""

    requested = True

    def __init__(self, in_time: bool) -> None:
        self.in_time = in_time

    def __call__(self) -> bool:
        return self.in_time


def test_who_is_asked_to_stop_hands_the_job_back(fake, place, monkeypatch):
    handed, stop = [], Asked(in_time=True)
    monkeypatch.setattr(worker, "Stop", lambda: stop)
    monkeypatch.setattr(worker, "requeue_or_wait", handed.append)
    assert fake.run(TEACHER_TASK).code == STOPPED
    assert handed == [stop]
    assert states(place)[State.TODO] == 7


def test_who_is_asked_when_all_is_done_has_nothing_to_hand_back(fake, place, monkeypatch):
    """A teacher's task that ends with an error would take its students with it."""
    handed = []
    monkeypatch.setattr(worker, "Stop", lambda: Asked(in_time=False))
    monkeypatch.setattr(worker, "requeue_or_wait", handed.append)
    assert fake.run(TEACHER_TASK).code == 0
    assert handed == []
    assert states(place)[State.DONE] == 1
    assert fake.queue[STUDENTS] == "PENDING"


def test_a_task_that_comes_a_second_time_finds_its_runs_done(fake, place):
    assert fake.run(f"{FIRST}_1").code == 0
    before = {path: path.stat().st_mtime_ns for path in place.runs.rglob("result.json")}
    fake.move(f"{FIRST}_1", "PENDING", "BeginTime")
    assert fake.run(f"{FIRST}_1").code == 0
    assert {path: path.stat().st_mtime_ns for path in place.runs.rglob("result.json")} == before
