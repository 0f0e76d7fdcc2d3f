"""Killed at any moment and resumed, a cohort ends bit for bit as if it had not been killed."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from datasets import Batch, Data
from experiments.rundir import start_log
from experiments.rundir.layout import WEIGHTS
from experiments.rundir.outcome import Outcome
from experiments.train import trainer, waits
from experiments.train.distributed import Broken, ProcessGroup
from results import records
from results.predictions import FILE, MEASURES
from tests.experiments import kill_driver, tiny
from tests.experiments.kill_driver import COHORT

ROOT = Path(__file__).resolve().parents[3]


def moments(seed: int) -> list[tuple[str, int]]:
    """Twelve kills: those during training in any order, those during the final writes last.

    Every other one may hit before the first step is saved: two in a row would count as a failure.
    """
    draw = random.Random(seed)
    first = len(COHORT) - 1  # members in the first step (one has its own stream)
    soon = [("step", draw.randint(1, first)), ("checkpoint-temp", draw.randint(1, first))]
    soon += [("checkpoint", draw.randint(1, first)), ("starts", draw.randint(1, 2 * first))]
    late = [("step", first + draw.randint(1, 2 * first)) for _ in range(2)]
    late += [(kind, first + draw.randint(1, 3)) for kind in ("checkpoint-temp", "checkpoint")]
    late += [("evaluation", 1) for _ in range(2)]
    draw.shuffle(soon)
    draw.shuffle(late)
    early = [moment for pair in zip(soon, late, strict=False) for moment in pair]
    return [*early, *late[4:], ("result-before", draw.randint(1, 2)), ("result-after", 1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    trainer.train(tiny.cohort(folder, ("kd", "vanilla")))
    return folder


def drive(runs: Path, kind: str, n: int) -> int:
    command = [sys.executable, "-m", "tests.experiments.kill_driver", str(runs), kind, str(n)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.slow
def test_killed_at_twelve_moments(tmp_path: Path) -> None:
    trainer.train(tiny.cohort(tmp_path / "whole", COHORT))
    killed = [drive(tmp_path / "killed", kind, n) for kind, n in moments(seed=2026)]
    assert killed == [-signal.SIGKILL] * 12, "every kill must happen"
    assert drive(tmp_path / "killed", "none", 0) == 0
    for method in COHORT:
        tiny.assert_same_weights(
            tiny.weights(tmp_path / "whole", method), tiny.weights(tmp_path / "killed", method)
        )
        whole, again = (_record(tmp_path / part, method) for part in ("whole", "killed"))
        assert whole.accuracy == again.accuracy
        assert whole.steps == again.steps == 3 * (6 if method != "gk_dfd" else 5)
        assert len(again.starts) > 1
        assert _history(tmp_path / "whole", method) == _history(tmp_path / "killed", method)
        left = {path.name for path in tiny.spec(method).directory(tmp_path / "killed").iterdir()}
        assert left == {"spec.yaml", "history.csv", WEIGHTS, FILE, MEASURES, records.RESULT}
        for name in (FILE, MEASURES):
            assert _content(tmp_path / "whole", method, name) == _content(
                tmp_path / "killed", method, name
            )


def test_killed_around_the_decision_on_a_disk_without_links(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is written again, or that of the killed process is published; nothing is left."""
    for kind in ("undecided", "decided"):
        child = os.fork()
        if child == 0:
            try:
                kill_driver.arm(kind, kill_driver.Bomb(1))
                trainer.train(tiny.cohort(tmp_path, ("kd", "vanilla")))
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert not list(tmp_path.rglob(records.RESULT))
    assert len(list(tmp_path.rglob(f".{records.RESULT}.decided/*"))) == 1
    monkeypatch.setattr(os, "link", kill_driver.no_link)
    assert set(trainer.train(tiny.cohort(tmp_path, ("kd", "vanilla"))).values()) == {Outcome.DONE}
    for method in ("kd", "vanilla"):
        tiny.assert_same_weights(tiny.weights(whole, method), tiny.weights(tmp_path, method))
        assert _history(whole, method) == _history(tmp_path, method)
        left = {path.name for path in tiny.spec(method).directory(tmp_path).iterdir()}
        assert left == {"spec.yaml", "history.csv", WEIGHTS, FILE, MEASURES, records.RESULT}


def _record(runs: Path, method: str) -> records.Record:
    record = records.read(tiny.spec(method).directory(runs))
    assert record is not None
    return record


def _content(runs: Path, method: str, name: str) -> bytes:
    return (tiny.spec(method).directory(runs) / name).read_bytes()


def _history(runs: Path, method: str) -> list[dict[str, str]]:
    with (tiny.spec(method).directory(runs) / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_stop_saves_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """After a signal the next step boundary saves, and the next start resumes there."""
    trainer.train(tiny.cohort(tmp_path / "whole", ("kd", "vanilla")))
    for steps in (2, 3, 7):
        job = tiny.cohort(tmp_path / "stopped", ("kd", "vanilla"))
        job.stop = tiny.stop_after(steps)
        assert set(trainer.train(job).values()) == {Outcome.INTERRUPTED}
    job = tiny.cohort(tmp_path / "stopped", ("kd", "vanilla"))
    assert set(trainer.train(job).values()) == {Outcome.DONE}
    for method in ("kd", "vanilla"):
        tiny.assert_same_weights(
            tiny.weights(tmp_path / "whole", method), tiny.weights(tmp_path / "stopped", method)
        )


class Hanging:
    """Data whose batches come, until one of them is waited for in vain."""

    def __init__(self, data: Data, method: str, batch: int) -> None:
        self.data, self.method, self.batch = data, method, batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def _until(self, batches: Iterator[Batch], method: str) -> Iterator[Batch]:
        for batch in batches:
            if method == self.method:
                self.batch -= 1
                if self.batch < 0:
                    self.while_waiting()  # raises: see `Waits`
            yield batch

    def train_stream(self, *arguments: Any) -> Iterator[Batch]:
        return self._until(self.data.train_stream(*arguments), "train_stream")

    def test_batches(self, *arguments: Any) -> Iterator[Batch]:
        return self._until(self.data.test_batches(*arguments), "test_batches")


@pytest.mark.parametrize(
    ("method", "batch", "steps"),
    [
        ("train_stream", 0, 0),  # nothing to save yet
        ("train_stream", 8, 8),
        ("train_stream", 6, 6),  # between two epochs
        ("test_batches", 0, 6),  # the epoch's steps are saved, its test is made again
        ("test_batches", 3, 12),  # of the second member
        ("test_batches", 5, 18),
    ],
)
def test_a_stop_while_a_batch_is_awaited_loses_no_step(
    tmp_path: Path, whole: Path, method: str, batch: int, steps: int
) -> None:
    job = tiny.cohort(tmp_path, ("kd", "vanilla"))
    job.data = cast("Data", Hanging(job.data, method, batch))
    job.stop = lambda: cast("Hanging", job.data).batch < 0
    assert trainer.train(job)[job.specs[1].id] == Outcome.INTERRUPTED
    job = tiny.cohort(tmp_path, ("kd", "vanilla"))
    members = [job.join(spec) for spec in job.specs]
    assert {m.learner.steps_taken for m in members if m} == {steps}
    assert not any(start_log.failures(spec.directory(tmp_path)) > 1 for spec in job.specs)
    job.interrupt()
    states = trainer.train(tiny.cohort(tmp_path, ("kd", "vanilla")))
    assert set(states.values()) == {Outcome.DONE}
    for name in ("kd", "vanilla"):
        tiny.assert_same_weights(tiny.weights(whole, name), tiny.weights(tmp_path, name))
        assert _history(whole, name) == _history(tmp_path, name)


def test_of_several_processes_one_that_waits_ends_after_a_grace(monkeypatch) -> None:
    group = SimpleNamespace(size=2, rank=1)
    beats: list[int] = []
    wait = waits.Waits(lambda: True, cast("ProcessGroup", group), lambda: beats.append(1))
    wait()
    monkeypatch.setattr(waits, "GRACE_SECONDS", 0.0)
    with pytest.raises(Broken, match="process 1 was stopped while it waited"):
        wait()
    assert len(beats) == 2


def test_members_ahead_wait_for_the_slowest(tmp_path: Path) -> None:
    """A resumed run joins a cohort that starts from scratch."""
    trainer.train(tiny.cohort(tmp_path / "whole", ("kd", "rkd")))
    ahead = tiny.cohort(tmp_path / "mixed", ("kd",))
    ahead.stop = tiny.stop_after(8)
    trainer.train(ahead)
    states = trainer.train(tiny.cohort(tmp_path / "mixed", ("rkd", "kd")))
    assert set(states.values()) == {Outcome.DONE}
    for method in ("kd", "rkd"):
        tiny.assert_same_weights(
            tiny.weights(tmp_path / "whole", method), tiny.weights(tmp_path / "mixed", method)
        )
        assert _record(tmp_path / "mixed", method).steps == 18


def test_a_broken_checkpoint_is_kept_and_the_run_starts_over(tmp_path: Path) -> None:
    trainer.train(tiny.cohort(tmp_path / "whole", ("kd",)))
    job = tiny.cohort(tmp_path / "broken", ("kd",))
    job.stop = lambda: True
    trainer.train(job)
    directory = tiny.spec("kd").directory(tmp_path / "broken")
    (directory / "checkpoint").write_bytes((directory / "checkpoint").read_bytes()[:1000])
    trainer.train(tiny.cohort(tmp_path / "broken", ("kd",)))
    tiny.assert_same_weights(
        tiny.weights(tmp_path / "whole", "kd"), tiny.weights(tmp_path / "broken", "kd")
    )
    assert (directory / "checkpoint.broken").stat().st_size == 1000
    assert any("checkpoint" in warning for warning in _record(tmp_path / "broken", "kd").warnings)


def test_another_teacher_means_starting_over(tmp_path: Path) -> None:
    """A checkpoint made with one teacher is not resumed with another."""
    job = tiny.cohort(tmp_path, ("kd",))
    assert job.teacher is not None
    other = job.teacher.record.model_copy(update={"sha256": "1" * 64})
    job.teacher = replace(job.teacher, record=other)
    job.stop = lambda: True
    trainer.train(job)
    trainer.train(tiny.cohort(tmp_path, ("kd",)))
    record = _record(tmp_path, "kd")
    assert record.steps == 18 and record.teacher.sha256 == "0" * 64
    assert any("another teacher" in warning for warning in record.warnings)
