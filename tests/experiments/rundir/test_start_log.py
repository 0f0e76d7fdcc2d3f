"""Starts of a few steps make progress; two starts without a saved step are a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import distillers
from distillers import Distiller
from experiments import environment
from experiments.rundir import start_log
from experiments.rundir.layout import CHECKPOINT
from experiments.rundir.outcome import Outcome
from experiments.rundir.start_log import begin, crashed, end, failures
from experiments.train import trainer
from results import files, records
from tests.experiments import tiny
from tests.experiments.deaths import kill_at

ROOT = Path(__file__).resolve().parents[3]
CODE = {"commit": "a" * 40, "dirty": False, "changes": None}
START = {"time": "2026-01-02T03:04:05+0000", "host": "n1", "job": "12", **CODE}
GOOD, CRASH = {**START, "progress": True}, {**START, "progress": False}
STOPPED = {**CRASH, "ended": "interrupted"}


# ---- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ([], 0),
        ([GOOD], 0),
        ([CRASH], 1),
        ([GOOD, CRASH, CRASH], 2),
        ([CRASH, GOOD], 0),
        ([CRASH, STOPPED, CRASH], 1),
        ([CRASH, CRASH, {**CRASH, "ended": "failed"}], 0),
        ([START], 0),  # of an earlier version, which noted no progress
        ([CRASH, "?", 7, None], 1),
        ({"progress": False}, 0),
        ("text", 0),
        (None, 0),
    ],
)
def test_failures_are_the_crashes_at_the_end(tmp_path, content, count):
    (tmp_path / start_log.FILE).write_text(json.dumps(content))
    assert failures(tmp_path) == count


@pytest.mark.parametrize("data", [b"", b'[{"progress": fal', b"\xff\xfe\x00", b"[" * 100_000])
def test_an_invalid_file_counts_nothing(tmp_path, data):
    (tmp_path / start_log.FILE).write_bytes(data)
    assert failures(tmp_path) == 0
    assert start_log.read(tmp_path) == []
    assert len(begin(tmp_path, "id", START)) == 1


def test_no_file_and_one_that_cannot_be_read_count_nothing(tmp_path, monkeypatch):
    assert failures(tmp_path) == failures(tmp_path / "nowhere") == 0

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "read_bytes", refuse)
    assert failures(tmp_path) == 0
    with pytest.raises(PermissionError):  # a start must not lose the earlier ones
        begin(tmp_path, "id", START)


def test_reading_it_needs_no_torch():
    code = "import sys, experiments.rundir.start_log; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_third_start_is_refused_and_leaves_no_trace(tmp_path):
    begin(tmp_path, "1a2b", START)
    begin(tmp_path, "1a2b", {**START, "host": "n2", "job": "13"})
    before = (tmp_path / start_log.FILE).read_bytes()
    with pytest.raises(start_log.NoProgress) as refusal:
        begin(tmp_path, "1a2b", START)
    assert str(refusal.value) == (
        "two starts ended before they saved a step (job 12 on n1, job 13 on n2): out of memory, "
        "a time limit too short, or a crash; see `benchmark.py logs 1a2b`"
    )
    assert (tmp_path / start_log.FILE).read_bytes() == before


def test_outside_slurm_the_message_names_no_logs(tmp_path):
    for _ in range(start_log.TRIES):
        begin(tmp_path, "1a2b", {**START, "job": None})
    with pytest.raises(start_log.NoProgress, match=r"\(on n1, on n1\): .* or a crash$"):
        begin(tmp_path, "1a2b", START)


def test_after_an_end_there_are_two_tries_again(tmp_path):
    for _ in range(start_log.TRIES):
        begin(tmp_path, "id", START)
    end(tmp_path, "failed")
    for tries in range(1, 1 + start_log.TRIES):
        made = begin(tmp_path, "id", START)
        assert failures(tmp_path) == len(crashed(made)) == tries
    with pytest.raises(start_log.NoProgress):
        begin(tmp_path, "id", START)


def test_a_start_with_progress_is_not_marked_as_ended(tmp_path):
    start_log.write(tmp_path, [GOOD])
    end(tmp_path, "interrupted")
    assert start_log.read(tmp_path) == [GOOD]


@pytest.mark.parametrize(
    ("submitted", "kept"), [(None, False), (CODE, False), ({**CODE, "commit": "b" * 40}, True)]
)
def test_the_submitted_code_is_kept_only_if_it_is_another(tmp_path, submitted, kept):
    (start,) = begin(tmp_path, "id", START, submitted)
    assert start.get("submitted") == (submitted if kept else None)


# ---- runs ----------------------------------------------------------------------------------------


def directory(runs: Path, method: str = "kd") -> Path:
    return tiny.spec(method).directory(runs)


def progress(runs: Path, method: str = "kd") -> list[Any]:
    return [start["progress"] for start in start_log.read(directory(runs, method))]


def train(runs: Path, *methods: str) -> dict[str, str]:
    """States by method."""
    job = tiny.cohort(runs, methods)
    states = trainer.train(job)
    return {spec.method: states[spec.id] for spec in job.specs}


def assert_same(runs: Path, *methods: str) -> None:
    """As if they had never been interrupted."""
    whole = runs.with_name("whole")
    assert set(train(whole, *methods).values()) == {Outcome.DONE}
    for method in methods:
        tiny.assert_same_weights(tiny.weights(whole, method), tiny.weights(runs, method))


def test_a_slot_of_a_few_steps_makes_progress(tmp_path):
    """Killed before the third step of every start, a run of eighteen steps still finishes."""
    runs = tmp_path / "runs"
    while not (directory(runs) / records.RESULT).exists():
        kill_at(tiny.cohort(runs, ("kd",)), update=3)
        assert failures(directory(runs)) == 0
    starts = records.read(directory(runs)).starts
    # Of the two steps of a start the first is saved; and the second, if it ends an epoch of six.
    assert [start.steps for start in starts] == [s for s in range(18) if s % 6 < 5]
    assert [start.epoch for start in starts] == [1] * 5 + [2] * 5 + [3] * 5
    assert all(start.progress for start in starts)
    assert_same(runs, "kd")


def test_two_starts_without_a_saved_step_are_a_failure(tmp_path):
    runs = tmp_path / "runs"
    for tries in (1, 2):
        kill_at(tiny.cohort(runs, ("kd", "vanilla")), update=2)
        assert failures(directory(runs)) == failures(directory(runs, "vanilla")) == tries
    assert train(runs, "kd") == {"kd": Outcome.FAILED}
    error = directory(runs) / "error.txt"
    assert error.read_text().startswith("two starts ended before they saved a step (on ")
    assert len(progress(runs)) == 2, "a refusal is no start"
    before = error.read_bytes()
    assert train(runs, "kd") == {"kd": Outcome.FAILED}, "until a retry is requested"
    assert error.read_bytes() == before
    records.set_aside(error)
    kill_at(tiny.cohort(runs, ("kd",)), update=1)
    assert failures(directory(runs)) == 1
    assert train(runs, "kd") == {"kd": Outcome.DONE}
    assert_same(runs, "kd")


def test_waiting_for_slower_members_is_no_crash(tmp_path):
    """A run that is ahead takes no step in short slots."""
    runs = tmp_path / "runs"
    kill_at(tiny.cohort(runs, ("kd",)), update=8)  # its first epoch is saved
    for _ in range(4):
        kill_at(tiny.cohort(runs, ("vanilla", "kd")), update=2)
    assert progress(runs) == [True] * 5
    assert progress(runs, "vanilla") == [True] * 4
    assert set(train(runs, "vanilla", "kd").values()) == {Outcome.DONE}
    assert_same(runs, "vanilla", "kd")


def test_an_epochs_end_is_progress(tmp_path):
    """All its steps were saved before; this start only evaluates."""
    job = tiny.cohort(tmp_path, ("kd",))
    job.stop = tiny.stop_after(5)
    trainer.train(job)
    kill_at(tiny.cohort(tmp_path, ("kd",)), update=1)
    assert [start["steps"] for start in start_log.read(directory(tmp_path))] == [0, 6]
    assert progress(tmp_path) == [True, True]


def test_a_requested_stop_is_no_crash(tmp_path):
    runs = tmp_path / "runs"
    for _ in range(4):
        job = tiny.cohort(runs, ("kd",))
        job.stop = lambda: True
        assert set(trainer.train(job).values()) == {Outcome.INTERRUPTED}
    assert progress(runs) == [True] * 4
    assert train(runs, "kd") == {"kd": Outcome.DONE}
    assert_same(runs, "kd")


class Faulty(Distiller):
    """Breaks in its first step."""

    def loss(self, student: Any, teacher: Any, batch: Any) -> torch.Tensor:
        raise LookupError("no such thing")


@pytest.mark.usefixtures("own_registry")
def test_a_stop_before_any_step_is_no_crash(tmp_path):
    """The only member at the first step has failed; the other, ahead, has waited."""
    distillers.register("faulty", title="Faulty", paper="test")(Faulty)
    runs = tmp_path / "runs"
    kill_at(tiny.cohort(runs, ("kd",)), update=8)
    job = tiny.cohort(runs, ("faulty", "kd"))
    job.stop = lambda: True
    assert sorted(trainer.train(job).values()) == [Outcome.FAILED, Outcome.INTERRUPTED]
    assert start_log.read(directory(runs))[-1]["ended"] == "interrupted"
    assert start_log.read(directory(runs, "faulty"))[-1]["ended"] == "failed"
    assert failures(directory(runs)) == failures(directory(runs, "faulty")) == 0


def test_a_crash_while_the_run_is_built_counts(tmp_path, monkeypatch):
    """Out of memory, say, before there is a network."""
    runs = tmp_path / "runs"
    for tries in (1, 2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(distillers, "build", _interrupted)
            train(runs, "kd")
        for path in directory(runs).glob("claim-*"):
            path.unlink()
        assert failures(directory(runs)) == tries
    assert train(runs, "kd") == {"kd": Outcome.FAILED}


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_starts_in_a_checkpoint_of_an_earlier_version_are_kept(tmp_path):
    runs = tmp_path / "runs"
    kill_at(tiny.cohort(runs, ("kd",)), update=8)
    checkpoint = directory(runs) / CHECKPOINT
    state = torch.load(checkpoint, weights_only=True)
    assert "starts" not in state
    torch.save({**state, "starts": [START, {**START, "host": "n2"}]}, checkpoint)
    (directory(runs) / start_log.FILE).unlink()
    kill_at(tiny.cohort(runs, ("kd",)), update=1)
    assert failures(directory(runs)) == 1
    assert train(runs, "kd") == {"kd": Outcome.DONE}
    starts = records.read(directory(runs)).starts
    dumped = [start.model_dump(exclude_unset=True) for start in starts]
    assert dumped[:2] == [START, {**START, "host": "n2"}]
    assert [start.get("progress") for start in dumped] == [None, None, False, True]
    assert starts[2].steps == 6
    assert_same(runs, "kd")


def test_a_warning_outlives_a_crash_right_after_it(tmp_path):
    """The broken checkpoint is set aside once; every later start must know."""
    runs = tmp_path / "runs"
    kill_at(tiny.cohort(runs, ("kd",)), update=3)
    (directory(runs) / CHECKPOINT).write_bytes(b"half")
    kill_at(tiny.cohort(runs, ("kd",)), update=1)
    assert train(runs, "kd") == {"kd": Outcome.DONE}
    (warning,) = records.read(directory(runs)).warnings
    assert warning.endswith("kept as checkpoint.broken")


# ---- the code ------------------------------------------------------------------------------------


def run_with(runs: Path, patch: pytest.MonkeyPatch, code: dict, submitted: dict, stop: int) -> None:
    """One start with this code, of at most so many steps."""
    patch.setattr(environment, "code", lambda: code)
    job = tiny.cohort(runs, ("kd",))
    job.code = submitted
    job.stop = tiny.stop_after(stop)
    trainer.train(job)


def warnings(runs: Path) -> list[str]:
    return list(records.read(directory(runs)).warnings)


EDITED = {"commit": "b" * 40, "dirty": True, "changes": "1a2b3c4d5e6f"}


def test_other_code_than_submitted_is_a_warning(tmp_path, monkeypatch):
    run_with(tmp_path, monkeypatch, EDITED, CODE, stop=3)
    run_with(tmp_path, monkeypatch, EDITED, CODE, stop=99)
    assert warnings(tmp_path) == [
        "submitted with code aaaaaaaaaa, started with bbbbbbbbbb (uncommitted changes 1a2b3c4d)"
    ]


def test_code_that_changes_between_starts_is_one_warning(tmp_path, monkeypatch):
    run_with(tmp_path, monkeypatch, CODE, CODE, stop=3)
    for stop in (3, 99):
        run_with(tmp_path, monkeypatch, EDITED, CODE, stop)
    assert warnings(tmp_path) == [
        "code changed between its starts: aaaaaaaaaa, "
        "then bbbbbbbbbb (uncommitted changes 1a2b3c4d)"
    ]


def test_code_of_a_start_that_trained_nothing_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "code", lambda: EDITED)
    kill_at(tiny.cohort(tmp_path, ("kd",)), update=1)
    run_with(tmp_path, monkeypatch, CODE, CODE, stop=99)
    assert warnings(tmp_path) == []
    assert [start.dirty for start in records.read(directory(tmp_path)).starts] == [
        True,
        False,
    ]
