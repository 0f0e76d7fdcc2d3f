"""A full or broken disk is no failure of the run: it resumes later from its last save."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.rundir import start_log
from experiments.rundir.layout import CHECKPOINT
from experiments.rundir.outcome import Outcome
from experiments.rundir.status import State, read_status
from experiments.train import trainer
from experiments.train.cohort import STORAGE_ERRORS, is_storage_error
from results import records
from tests.experiments import tiny
from tests.experiments.deaths import full_disk

METHODS = ("kd", "vanilla")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("whole")
    assert set(trainer.train(tiny.cohort(runs, METHODS)).values()) == {Outcome.DONE}
    return runs


def train(runs: Path, *methods: str) -> dict[str, Any]:
    """The last report of every run."""
    job = tiny.cohort(runs, methods)
    ends: dict[str, Any] = {}
    job.report = lambda spec, row: ends.update({spec.method: row}) if "state" in row else None
    states = trainer.train(job)
    assert states == {spec.id: ends[spec.method]["state"] for spec in job.specs}
    return ends


def assert_released(runs: Path, method: str) -> None:
    """Nothing is recorded against the run, and any process may resume it."""
    directory = tiny.spec(method).directory(runs)
    left = {path.name for path in directory.iterdir()}
    assert not {name for name in left if name.endswith(".tmp")}
    assert not left & {"error.txt", records.RESULT}
    assert start_log.failures(directory) == 0
    assert read_status(tiny.spec(method), runs).state == State.TODO


def assert_resumes(runs: Path, whole: Path, *methods: str) -> None:
    """With space again the runs end bit for bit as if the disk had never been full."""
    assert {end["state"] for end in train(runs, *methods).values()} == {Outcome.DONE}
    for method in methods:
        tiny.assert_same_weights(tiny.weights(whole, method), tiny.weights(runs, method))
        one, other = (records.read(tiny.spec(method).directory(r)) for r in (whole, runs))
        assert one.accuracy == other.accuracy and one.steps == other.steps


@pytest.mark.parametrize(
    ("name", "nth"),
    [
        ("starts.json", 1),  # when the run starts
        ("spec.yaml", 1),
        ("starts.json", 2),
        ("checkpoint", 1),  # after the first step
        ("history.csv", 1),
        ("starts.json", 5),  # both have started: progress is noted
        ("checkpoint", 4),
        ("history.csv", 6),
        ("weights.safetensors", 1),  # the final ones
        ("predictions.safetensors", 1),
        ("measures.json", 1),
        ("result.json", 1),
    ],
)
def test_a_disk_that_is_full_from_now_on(tmp_path, whole, name, nth):
    with full_disk(name, nth):
        ends = train(tmp_path, *METHODS)
    for method in METHODS:
        assert ends[method]["state"] == Outcome.INTERRUPTED
        assert "No space left on device" in ends[method]["error"]
        assert_released(tmp_path, method)
    assert_resumes(tmp_path, whole, *METHODS)


@pytest.mark.parametrize("number", sorted(STORAGE_ERRORS), ids=lambda n: errno.errorcode[n])
def test_every_storage_error(tmp_path, whole, number):
    with full_disk("checkpoint", 3, number):
        assert train(tmp_path, "kd")["kd"]["state"] == Outcome.INTERRUPTED
    assert_released(tmp_path, "kd")
    assert_resumes(tmp_path, whole, "kd")


def test_publication_fails(tmp_path, whole, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        assert train(tmp_path, "kd")["kd"]["state"] == Outcome.INTERRUPTED
    assert_released(tmp_path, "kd")
    assert_resumes(tmp_path, whole, "kd")


def test_a_checkpoint_that_cannot_be_read_now_is_not_broken(tmp_path, whole, monkeypatch):
    job = tiny.cohort(tmp_path, ("kd",))
    job.stop = lambda: True
    trainer.train(job)

    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == CHECKPOINT:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert train(tmp_path, "kd")["kd"]["state"] == Outcome.INTERRUPTED
    assert_released(tmp_path, "kd")
    assert_resumes(tmp_path, whole, "kd")
    assert records.read(tiny.spec("kd").directory(tmp_path)).warnings == ()


def test_other_refusals_are_failures(tmp_path):
    with full_disk("checkpoint", 3, errno.EPERM):
        end = train(tmp_path, "kd")["kd"]
    assert end["state"] == Outcome.FAILED
    assert end["error"].endswith("checkpoint: cannot be written: Operation not permitted")


@pytest.mark.parametrize(
    ("chain", "expected"), [("cause", True), ("context", True), ("hidden", False), ("none", False)]
)
def test_a_storage_error_is_recognised_behind_other_errors(chain, expected):
    error: BaseException = RuntimeError("cannot be written")
    full = OSError(errno.ENOSPC, "No space left on device")
    if chain == "cause":
        error.__cause__ = full
    elif chain != "none":
        error.__context__ = full
        error.__suppress_context__ = chain == "hidden"
    assert is_storage_error(error) is expected


# ---- a real disk --------------------------------------------------------------------------------


class Disk:
    """A small file system."""

    def __init__(self, path: Path) -> None:
        self.path, self.ballast = path, path / "ballast"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1024))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(mount, capture_output=True).returncode == 0:
            try:
                yield Disk(path)
            finally:
                subprocess.run(["umount", "--lazy", str(path)], check=True)
            return
    pytest.skip("only root may mount a small disk")


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_disk_runs_full_after_an_epoch(disk, whole, epoch):
    """After the last, weights and result are still to be written."""
    runs = disk.path / "runs"
    job = tiny.cohort(runs, METHODS)
    rows: list[dict[str, Any]] = []

    def listen(spec: Any, row: dict[str, Any]) -> None:
        rows.append(row)
        if row.get("epoch") == epoch:
            disk.fill()

    job.report = listen
    assert set(trainer.train(job).values()) == {Outcome.INTERRUPTED}
    errors = [row["error"] for row in rows if "state" in row]
    assert len(errors) == 2 and all("No space left on device" in error for error in errors)
    for method in METHODS:
        assert (tiny.spec(method).directory(runs) / CHECKPOINT).exists()
    disk.ballast.unlink()
    for method in METHODS:
        assert_released(runs, method)
    assert_resumes(runs, whole, *METHODS)


def test_a_disk_runs_full_while_a_run_begins(disk, whole, monkeypatch):
    """Its start is logged, and there is no space to log how it ended."""
    runs = disk.path / "runs"
    for _ in range(3):
        job = tiny.cohort(runs, ("kd",))
        stream = job.data.train_stream
        monkeypatch.setattr(job.data, "train_stream", lambda *a, s=stream: [disk.fill(), s(*a)][1])
        assert set(trainer.train(job).values()) == {Outcome.INTERRUPTED}
        disk.ballast.unlink()
        assert_released(runs, "kd")
    assert_resumes(runs, whole, "kd")
