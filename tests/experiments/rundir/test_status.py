"""What hand-made run directories are taken for."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from experiments.rundir import claims
from experiments.rundir.status import State, Status, count_states, read_status, read_statuses
from tests.experiments.cli import expansion
from tests.results.example import document

HISTORY = "stage,epoch,lr,train_top1\n"


@pytest.fixture
def spec():
    return expansion(methods=["kd"], trials=1, recipe__epochs=9).entries[0].spec


@pytest.fixture
def here(spec, tmp_path) -> Path:
    """The run's directory, with its spec."""
    directory = spec.directory(tmp_path)
    directory.mkdir(parents=True)
    (directory / "spec.yaml").write_text(yaml.safe_dump(spec.dump()))
    return directory


def result(directory: Path, spec, **changes) -> None:
    stored = {**spec.dump(), **changes}
    (directory / "result.json").write_text(json.dumps(document(70.5, run=spec.id, spec=stored)))


def progress(directory: Path, *stages: str) -> None:
    rows = [f"{stage},{i + 1},0.05,50.0\n" for i, stage in enumerate(stages)]
    (directory / "history.csv").write_text(HISTORY + "".join(rows))
    (directory / "checkpoint").write_bytes(b"weights")


def state(spec, tmp_path, reason: str | None = None) -> tuple[str, str, int]:
    why = {spec.id: reason} if reason else {}
    found = read_statuses([spec], tmp_path, lambda _: why)[spec.id]
    return found.state, found.detail, found.epoch


def test_nothing_there(spec, tmp_path):
    assert state(spec, tmp_path) == (State.TODO, "", 0)
    assert list(tmp_path.iterdir()) == []


def test_impossible(spec, tmp_path):
    assert state(spec, tmp_path, "no features") == (State.UNSUPPORTED, "no features", 0)


def test_done(spec, here, tmp_path):
    result(here, spec)
    found = read_status(spec, tmp_path)
    assert (found.state, found.epoch) == (State.DONE, 9)
    assert found.record.top1 == 70.5


def test_done_speaks_louder_than_everything_else(spec, here, tmp_path):
    result(here, spec)
    claims.take(here)
    (here / "error.txt").write_text("RuntimeError: once\n")
    assert state(spec, tmp_path, "no features")[0] == State.DONE


def test_running(spec, here, tmp_path):
    progress(here, "main", "main")
    claims.take(here)
    assert state(spec, tmp_path) == (State.RUNNING, "", 2)


def test_not_running_any_more(spec, here, tmp_path):
    progress(here, "main", "main", "main")
    claim = claims.take(here)
    past = time.time() - 2 * claims.STALE_SECONDS
    os.utime(claim.path, (past, past))
    assert state(spec, tmp_path) == (State.TODO, "", 3)


def test_initial_epochs_are_not_counted(spec, here, tmp_path):
    progress(here, "initial", "initial", "main")
    assert state(spec, tmp_path) == (State.TODO, "", 1)


def test_a_history_without_its_checkpoint_is_no_progress(spec, here, tmp_path):
    progress(here, "main", "main")
    (here / "checkpoint").unlink()
    assert state(spec, tmp_path) == (State.TODO, "", 0)


def test_failed_shows_the_first_line(spec, here, tmp_path):
    progress(here, "main")
    (here / "error.txt").write_text("Diverged: loss not finite\n\nTraceback …\n")
    assert state(spec, tmp_path) == (State.FAILED, "Diverged: loss not finite", 1)


def test_an_error_may_be_anything(spec, here, tmp_path):
    (here / "error.txt").write_bytes(b"\xff\xe1 odd" + b"x" * 10_000)
    found, detail, _ = state(spec, tmp_path)
    assert found == "failed" and detail.startswith("\ufffd\ufffd odd") and len(detail) < 600


@pytest.mark.parametrize("start", [{}, {"time": 5}, {"time": "x"}, {"time": "x", "epoch": "a"}])
def test_a_broken_log_of_starts_says_nothing_of_the_time_left(spec, here, tmp_path, start):
    progress(here, "main", "main")
    (here / "starts.json").write_text(json.dumps([start]))
    claims.take(here)
    found = read_status(spec, tmp_path)
    assert (found.state, found.epoch, found.seconds_left) == ("running", 2, None)


def test_trying_again_after_a_failure_is_running(spec, here, tmp_path):
    (here / "error.txt").write_text("Diverged: loss not finite\n")
    claims.take(here)
    assert state(spec, tmp_path)[0] == State.RUNNING


@pytest.mark.parametrize("text", ['{"format": 1, "run": ', "", "[]", '{"format": 99}'])
def test_a_broken_result_is_to_do(spec, here, tmp_path, text):
    (here / "result.json").write_text(text)
    assert state(spec, tmp_path) == (State.TODO, "result.json was unreadable", 0)


def test_stale_names_what_changed(spec, here, tmp_path):
    result(here, spec, options={**spec.options, "kd_temperature": 3.0})
    assert state(spec, tmp_path) == (State.STALE, "options.kd_temperature was 3.0, is 4.0", 0)


def test_stale_before_its_end(spec, here, tmp_path):
    stored = {**spec.dump(), "method_version": 7}
    (here / "spec.yaml").write_text(yaml.safe_dump(stored))
    progress(here, "main")
    assert state(spec, tmp_path) == (State.STALE, "method_version was 7, is 1", 0)


@pytest.mark.parametrize("content", [b"a: [", b"", b"- 1\n", b"\xff\xfe\x00"])
def test_a_broken_spec_says_nothing(spec, here, tmp_path, content):
    (here / "spec.yaml").write_bytes(content)
    assert state(spec, tmp_path) == (State.TODO, "", 0)


def test_count_is_in_the_order_of_the_states(spec, tmp_path):
    statuses = [Status(spec, s) for s in (State.STALE, State.DONE, State.TODO, State.DONE)]
    assert list(count_states(statuses).items()) == [
        (State.DONE, 2),
        (State.TODO, 1),
        (State.STALE, 1),
    ]


def test_census_covers_every_run(tmp_path):
    found = expansion()
    statuses = read_statuses(found.runs, tmp_path, lambda statuses: {next(iter(statuses)): "no"})
    assert list(statuses) == [spec.id for spec in found.runs]
    first, *rest = statuses.values()
    assert first.state == State.UNSUPPORTED
    students = {s.spec.id for s in rest if first.spec.id in s.spec.needs}  # they cannot be, either
    assert students == {s.spec.id for s in rest if s.state == State.UNSUPPORTED}
    assert {s.state for s in rest} == {State.UNSUPPORTED, State.TODO}


@pytest.mark.parametrize("teacher", [State.FAILED, State.STALE, State.TODO, State.DONE])
def test_students_wait_for_a_teacher_but_not_for_a_failed_or_stale_one(tmp_path, teacher):
    found = expansion(methods=["vanilla", "kd"], trials=1)
    (first,) = found.teachers
    directory = first.directory(tmp_path)
    directory.mkdir(parents=True)
    if teacher == State.FAILED:
        (directory / "error.txt").write_text("Diverged: loss not finite\n")
    elif teacher in (State.STALE, State.DONE):
        result(directory, first, **({"method_version": 0} if teacher == State.STALE else {}))
    alone, student = (read_statuses(found.runs, tmp_path)[entry.spec.id] for entry in found.entries)
    assert alone.state == State.TODO
    if teacher in (State.FAILED, State.STALE):
        assert student.state == State.BLOCKED
        assert student.detail == f"its teacher (resnet14, vanilla, trial 0): {teacher}"
    else:
        assert student.state == State.TODO


# ---- blocked when it was last tried --------------------------------------------------------------


def test_why_it_could_not_be_tried_is_said_and_stops_nobody(spec, here, tmp_path):
    progress(here, "main")
    (here / "blocked.txt").write_text("its teacher's weights are damaged\nmore\n")
    found = read_status(spec, tmp_path)
    assert (found.state, found.epoch) == (State.TODO, 1)
    assert found.blocked == "its teacher's weights are damaged"
    assert found.detail == "blocked when it was last tried: its teacher's weights are damaged"


def test_a_run_that_is_being_trained_or_done_is_not_blocked(spec, here, tmp_path):
    (here / "blocked.txt").write_text("its data changed\n")
    claims.take(here)
    assert state(spec, tmp_path)[:2] == (State.RUNNING, "")
    result(here, spec)
    assert state(spec, tmp_path)[:2] == (State.DONE, "")


# ---- looking again -------------------------------------------------------------------------------


def test_what_was_seen_is_not_read_again(tmp_path, monkeypatch):
    found = expansion(methods=["vanilla", "kd"], trials=1)
    seen: dict[str, Status] = {}
    first = read_statuses(found.runs, tmp_path, seen=seen)
    assert seen == first
    read = []
    monkeypatch.setattr(
        "experiments.rundir.status.read_status",
        lambda spec, runs: read.append(spec.id) or read_status(spec, runs),
    )
    gone = next(iter(seen))
    del seen[gone]
    assert read_statuses(found.runs, tmp_path, seen=seen) == first
    assert read == [gone] and gone in seen


def test_what_was_seen_of_students_follows_their_teacher(tmp_path):
    """Kept is what the disk said, not what followed from it."""
    found = expansion(methods=["kd"], trials=1)
    (teacher,), (entry,) = found.teachers, found.entries
    directory = teacher.directory(tmp_path)
    directory.mkdir(parents=True)
    (directory / "error.txt").write_text("Diverged\n")
    seen: dict[str, Status] = {}
    read_statuses(found.runs, tmp_path, seen=seen)
    (directory / "error.txt").unlink()
    del seen[teacher.id]
    assert read_statuses(found.runs, tmp_path, seen=seen)[entry.spec.id].state == State.TODO
