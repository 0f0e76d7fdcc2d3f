"""A teacher's task that finds its run held: its students must not be woken before the result."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.rundir import claims
from experiments.rundir.status import State, count_states
from experiments.slurm import ABOUT_TO_TIME_OUT
from experiments.worker import holders, worker
from experiments.worker.job import STOPPED, Job
from experiments.worker.signals import Stop
from tests.experiments import sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place

STUDENTS = f"{SECOND}_0"
SAID = "resnet14, vanilla, trial 0: a process outside SLURM is training it; waiting for its result"


@pytest.fixture
def place(fake, tmp_path: Path) -> Place:
    """A matrix whose jobs are all submitted; somebody elsewhere trains the teacher."""
    place = Place(tmp_path).write()
    sending.send(place)
    sending.claimed(place.directory(place.teacher))
    return place


@pytest.fixture
def seconds(monkeypatch) -> Callable[[float, Callable[[], object]], list[float]]:
    """A clock: time passes only in sleeps, and at a moment something happens."""

    def start(when: float, action: Callable[[], object]) -> list[float]:
        now, left = [0.0], [action]

        def sleep(duration: float) -> None:
            now[0] += duration
            assert now[0] < when + 60, "it waits for ever"
            if now[0] >= when and left:
                left.pop()()

        clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now[0])
        monkeypatch.setattr(holders, "time", clock)
        return now

    return start


def give_up(place: Place) -> None:
    """The holder has not been heard of for long."""
    claim = claims.newest(place.teacher.directory(place.runs))
    past = time.time() - claims.STALE_SECONDS - 60
    os.utime(claim, (past, past))


def publish(place: Place, finished: Path) -> None:
    """The holder is done."""
    place.finish(place.teacher, finished)
    claims.remove_all(place.teacher.directory(place.runs))


def test_it_ends_when_the_holder_has_published(fake, place, finished, seconds):
    now = seconds(1500.0, lambda: publish(place, finished))
    ended = fake.run(TEACHER_TASK)
    assert (ended.code, ended.err) == (0, "")
    assert 1500 <= now[0] <= 1500 + holders.POLL_SECONDS
    assert ended.out.count(SAID) == 3  # at once, and every ten minutes
    assert ended.out.splitlines()[-1].startswith("resnet14, vanilla, trial 0: done: top-1 ")
    assert "epoch" not in ended.out  # it has trained nothing
    assert fake.run(STUDENTS).code == 0
    assert count_states(place.plan().statuses().values())[State.DONE] == 3


def test_it_takes_over_what_the_holder_gave_up(fake, place, seconds):
    seconds(100.0, lambda: give_up(place))
    ended = fake.run(TEACHER_TASK)
    assert (ended.code, ended.err) == (0, "")
    assert "epoch 2/2" in ended.out and ": done: top-1 " in ended.out


def test_it_fails_with_the_holder(fake, place, seconds):
    """SLURM then cancels the students, which could only wait for nothing."""

    def fail() -> None:
        place.fail(place.teacher)
        give_up(place)

    seconds(100.0, fail)
    ended = fake.run(TEACHER_TASK)
    assert ended.code == 1
    assert ": failed: ValueError: no such thing" in ended.out
    assert STUDENTS not in fake.queue


def test_before_its_time_limit_it_requeues_itself(fake, place, seconds, monkeypatch):
    """And waits on when it starts again."""
    stops: list[Stop] = []
    monkeypatch.setattr(worker, "Stop", lambda: stops.append(Stop()) or stops[-1])
    seconds(100.0, lambda: stops[0]._request(ABOUT_TO_TIME_OUT, None))
    assert fake.run(TEACHER_TASK).code == STOPPED
    assert [c[1] for c in fake.calls("scontrol")].count("requeue") == 1
    assert claims.is_alive(claims.newest(place.teacher.directory(place.runs)))


def test_a_holder_whose_job_has_ended_is_taken_over_at_once(fake, place, seconds):
    directory = place.teacher.directory(place.runs)
    shutil.rmtree(directory)
    other = f"{FIRST}_2"
    job = {"cluster": "fake", "job": fake.environment(other)["SLURM_JOB_ID"], "task": other}
    fake.move(other, "RUNNING", "n2")
    held = sending.claimed(place.directory(place.teacher))
    held.write_text(json.dumps({"host": "n2", "pid": 1, "slurm": {**job, "restart": 0}}))
    now = seconds(200.0, lambda: fake.move(other, "NODE_FAIL"))
    ended = fake.run(TEACHER_TASK)
    assert ended.code == 0
    assert f"job {other} is training it" in ended.out
    assert 200 <= now[0] <= 200 + holders.POLL_SECONDS


def test_a_student_that_somebody_trains_is_not_waited_for(fake, place, finished, monkeypatch):
    """Nothing depends on its task."""
    publish(place, finished)
    for method in ("kd", "fitnet"):
        sending.claimed(place.directory(place.specs(method)[0]))
    monkeypatch.setattr(holders, "wait", None)
    ended = fake.run(STUDENTS)
    assert (ended.code, ended.out.count(": held: another process is working on it")) == (0, 2)


def test_only_teachers_are_awaited_and_older_jobs_are_read(place):
    """A job of an earlier version lacks the key."""
    tasks = [Job.read(path) for path in sorted(place.runs.glob(".slurm/*/task-*.json"))]
    assert [task.specs[0].student for task in tasks if task.awaited] == ["resnet14"]
    path = place.sent[0].folder / "task-0.json"
    content = json.loads(path.read_text())
    assert content.pop("awaited") is True
    path.write_text(json.dumps(content))
    assert Job.read(path).awaited is False
