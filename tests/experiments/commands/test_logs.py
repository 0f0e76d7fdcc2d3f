"""logs and retry."""

from __future__ import annotations

import re
import shutil

import pytest

from experiments.rundir.status import State, count_states
from tests.experiments import cli, sending
from tests.experiments.sending import Place, claimed


def logs(place: Place, run: object, *more: str) -> cli.Called:
    return cli.call("logs", str(run), "--runs", str(place.runs), *more)


# ---- logs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        lambda place, run: run.id,
        lambda place, run: run.id[:5],
        lambda place, run: run.directory(place.runs),
        lambda place, run: run.directory(place.runs).name,
        lambda place, run: f"{run.directory(place.runs).name[:8]}…",
    ],
    ids=["id", "beginning", "path", "name", "shortened"],
)
def test_a_run_by_its_name(done, name):
    (run, _) = done.specs("kd")
    said = logs(done, name(done, run))
    assert said.code == 0
    directory = run.directory(done.runs)
    assert said.out.startswith(f"{directory}: done\n\n==> {directory / 'history.csv'}\n")
    assert "\nmain,2," in said.out


def test_a_relative_path(done, monkeypatch):
    (run, _) = done.specs("kd")
    monkeypatch.chdir(run.directory(done.runs).parent)
    assert logs(done, run.directory(done.runs).name).code == 0


def test_names_of_several_runs_and_of_none(done):
    said = logs(done, "")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert re.match(r"error: logs : 7 runs begin like this, e\.g\. /", said.err)
    said = logs(done, "zzz")
    assert said.code == 2
    assert said.err.startswith(f"error: logs zzz: no such run in {done.runs}; `status MATRIX")


def test_what_was_put_aside_is_no_run(done):
    (run, _) = done.specs("kd")
    directory = run.directory(done.runs)
    shutil.copytree(directory, directory.with_name(f"{directory.name}.stale-1"))
    assert logs(done, run.id).code == 0


def test_the_error_and_every_jobs_log_oldest_first(fake, place):
    (run, _) = place.specs("vanilla")
    for text in ("of the first job", "of the second"):
        sending.send(place)
        sent = next(s for s in reversed(place.sent) if s.task_of(run.id) is not None)
        number = sent.task_of(run.id)
        sent.log(number).write_text(f"what it printed\n{text}\n")
        fake.move(f"{sent.job}_{number}", "NODE_FAIL")
    place.fail(run)
    out = logs(place, run.id).out
    parts = ["failed", "error.txt\nValueError: no such thing", "of the first job", "of the second"]
    at = [out.index(part) for part in parts]
    assert at == sorted(at)
    assert "Traceback" in out
    short = logs(place, run.id, "--lines", "1").out
    assert "of the second" in short and "what it printed" not in short


@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda directory: None, "not done"),
        (lambda directory: (directory / "error.txt").write_text("no"), State.FAILED),
        (claimed, State.RUNNING),
    ],
    ids=["nothing", "failed", "claimed"],
)
def test_the_state_of_a_run(place, make, state):
    (run, _) = place.specs("vanilla")
    make(place.directory(run))
    assert logs(place, run.id).out.startswith(f"{run.directory(place.runs)}: {state}\n")


# ---- retry ---------------------------------------------------------------------------------------


def test_what_failed_is_tried_again_and_the_error_kept_aside(place):
    runs = place.specs("vanilla")
    for run in runs:
        place.fail(run)
    said = place.call("retry")
    assert said.code == 0
    assert said.out == "2 runs will be tried again by the next `run` or `submit`\n"
    for run in runs:
        directory = run.directory(place.runs)
        assert [path.name for path in directory.iterdir()] == ["error.txt.broken"]
        assert "no such thing" in (directory / "error.txt.broken").read_text()
    assert place.call("retry").out.startswith("0 runs")


def test_only_what_is_named_is_tried_again(place):
    for run in [*place.specs("vanilla"), *place.specs("kd")]:
        place.fail(run)
    place.call("retry", "--methods", "kd", "--trials", "1")
    states = place.plan().statuses()
    found = {(s.spec.method, s.spec.trial): s.state for s in states.values()}
    assert found["kd", 1] == State.TODO
    assert found["kd", 0] == found["vanilla", 0] == State.FAILED


def test_students_of_a_failed_teacher_are_free_again(place):
    place.fail(place.teacher)
    assert count_states(place.plan().statuses().values())[State.BLOCKED] == 4
    place.call("retry")
    assert count_states(place.plan().statuses().values()) == {State.TODO: 7}


def test_stale_runs_only_when_told(done):
    directory = done.make_stale(done.specs("kd")[0])
    assert done.call("retry").out.startswith("0 runs")
    assert done.call("retry", "--redo-stale").out.startswith("1 run will")
    assert not directory.exists()
    assert (directory.with_name(f"{directory.name}.stale-1") / "result.json").exists()
