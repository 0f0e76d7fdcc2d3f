"""`--tensorboard`: what workers write, and that nothing else depends on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from experiments.rundir.layout import WEIGHTS
from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from experiments.worker import tensorboard
from experiments.worker.job import Job
from models.checkpoints.files import sha256
from results import records
from tests.experiments import cli, events, tiny
from tests.experiments.sending import TEACHER_TASK
from tests.experiments.train import test_distributed as distributed

pytest.importorskip("tensorboard")


def train(runs: Path, folder: Path, methods: tuple[str, ...], steps: int | None = None) -> set[str]:
    """Train a tiny cohort, observed; returns how its runs ended."""
    job = tiny.cohort(runs, methods)
    if steps is not None:
        job.stop = tiny.stop_after(steps)
    with tensorboard.observed(job.report, runs, folder) as job.report:
        return set(trainer.train(job).values())


def check(runs: Path, folder: Path, directory: Path) -> None:
    """Every score and the total of every epoch are shown, once."""
    shown = events.curves(folder / directory.relative_to(runs))
    history = directory / "history.csv"
    for tag, name in (
        ("accuracy/test_top1", "test_top1"),
        ("accuracy/train_top1", "train_top1"),
        ("loss/train", "train_loss"),
        ("loss/test", "test_loss"),
        ("lr", "lr"),
    ):
        assert shown[tag] == events.column(history, name)


# ---- what is written -----------------------------------------------------------------------------


def test_run_writes_every_epoch_and_trains_the_same_bits(inline, finished, tmp_path):
    matrix, folder = cli.write(tmp_path), tmp_path / "events"
    called = cli.command("run", matrix, "--workers", "1", "--tensorboard", str(folder))
    assert called.code == 0, called.err
    whole = records.scan(finished / "runs")
    assert len(whole) == 7
    for directory, expected in whole:
        ours = tmp_path / "runs" / directory.relative_to(finished / "runs")
        check(tmp_path / "runs", folder, ours)
        found = records.read(ours)
        assert found is not None
        assert (found.run, found.accuracy, found.spec) == (
            expected.run,
            expected.accuracy,
            expected.spec,
        )
        for name in (WEIGHTS, "predictions.safetensors", "measures.json", "history.csv"):
            assert sha256(ours / name) == sha256(directory / name)
        assert (ours / "spec.yaml").read_text() == (directory / "spec.yaml").read_text()
    assert len(events.files(folder)) == 7
    assert "student: resnet8" in events.text(next(folder.glob("fake/*/kd/0-*")))


def test_an_initial_stage_has_curves_of_its_own(tmp_path):
    runs, folder = tmp_path / "runs", tmp_path / "events"
    assert train(runs, folder, ("ab",)) == {Outcome.DONE}
    directory = tiny.spec("ab").directory(runs)
    check(runs, folder, directory)
    shown = events.curves(tiny.spec("ab").directory(folder))
    initial = events.column(directory / "history.csv", "train_loss", "initial")
    assert initial and shown["initial/loss/train"] == initial


@pytest.mark.parametrize("steps", [3, 8, 12])
def test_a_resumed_run_has_one_curve(tmp_path, steps):
    """Six steps are an epoch; 12 stops at the first step of the last one."""
    runs, folder = tmp_path / "runs", tmp_path / "events"
    assert train(runs, folder, ("kd", "vanilla"), steps) == {Outcome.INTERRUPTED}
    assert len(events.files(folder)) == (2 if steps > 6 else 0)
    assert train(runs, folder, ("kd", "vanilla")) == {Outcome.DONE}
    for method in ("kd", "vanilla"):
        check(runs, folder, tiny.spec(method).directory(runs))
    assert len(events.files(folder)) == 2


def test_a_run_that_began_without_it_is_written_from_its_beginning(tmp_path):
    runs, folder = tmp_path / "runs", tmp_path / "events"
    job = tiny.cohort(runs, ("kd",))
    job.stop = tiny.stop_after(8)
    trainer.train(job)
    assert train(runs, folder, ("kd",)) == {Outcome.DONE}
    check(runs, folder, tiny.spec("kd").directory(runs))


def test_a_finished_run_is_not_written_again(tmp_path):
    runs, folder = tmp_path / "runs", tmp_path / "events"
    assert train(runs, folder, ("kd",)) == {Outcome.DONE}
    before = cli.listing(folder)
    assert train(runs, folder, ("kd",)) == {Outcome.DONE}
    assert cli.listing(folder) == before
    assert train(runs, tmp_path / "others", ("kd",)) == {Outcome.DONE}
    assert not (tmp_path / "others").exists()


@pytest.mark.parametrize("moment", ["epoch", "state"])
def test_a_file_that_somebody_removes_is_written_again_as_a_whole(tmp_path, moment):
    """As `report --tensorboard` does when it replaces the files of a run that is being trained."""
    runs, folder = tmp_path / "runs", tmp_path / "events"
    job = tiny.cohort(runs, ("kd",))

    def remove(spec, row) -> None:
        if moment in row:
            for path in events.files(folder):
                path.unlink()

    with tensorboard.observed(remove, runs, folder) as job.report:
        trainer.train(job)
    check(runs, folder, tiny.spec("kd").directory(runs))


@pytest.mark.slow
def test_of_several_processes_one_writes(tmp_path):
    file = tmp_path / WEIGHTS
    distributed.save_teacher(file)
    runs, folder = tmp_path / "runs", tmp_path / "events"
    plain = distributed.job(runs, file, ("kd",))
    done = distributed.work(Job(**{**vars(plain), "tensorboard": folder}))
    assert done.returncode == 0, done.stderr
    (spec,) = plain.specs
    assert len(events.files(folder)) == 1
    check(runs, folder, spec.directory(runs))


# ---- what goes wrong -----------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_one_warning(tmp_path, capsys):
    (tmp_path / "events").mkdir()
    (tmp_path / "events/fake").write_text("in the way")
    assert train(tmp_path / "runs", tmp_path / "events", ("kd", "vanilla")) == {Outcome.DONE}
    said = capsys.readouterr().out
    begin = "warning: nothing more is written for TensorBoard, training goes on: "
    assert said.startswith(f"{begin}{tmp_path / 'events'}: ")
    assert said.count("\n") == 1


def test_a_disk_that_is_full_later_is_one_warning(tmp_path, capsys, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    flush, calls = SummaryWriter.flush, []

    def full(self) -> None:
        calls.append(self)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        flush(self)

    monkeypatch.setattr(SummaryWriter, "flush", full)
    assert train(tmp_path / "runs", tmp_path / "events", ("kd", "vanilla")) == {Outcome.DONE}
    said = capsys.readouterr().out
    assert "No space left on device" in said and said.count("\n") == 1
    assert len(calls) == 2


def test_a_node_without_the_package_trains_and_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert train(tmp_path / "runs", tmp_path / "events", ("kd",)) == {Outcome.DONE}
    said = capsys.readouterr().out
    assert said.startswith("warning: ") and said.endswith("pip install tensorboard\n")
    assert said.count("\n") == 1 and not (tmp_path / "events").exists()


@pytest.mark.parametrize("verb", ["run", "submit"])
def test_without_the_package_nothing_is_started(verb, no_training, fake, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    called = cli.command(verb, cli.write(tmp_path), "--tensorboard", str(tmp_path / "events"))
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith("error: --tensorboard: the package tensorboard cannot be imported")
    assert called.err.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_file_is_no_directory(no_training, tmp_path):
    matrix = cli.write(tmp_path)
    called = cli.command("run", matrix, "--tensorboard", str(matrix))
    assert called.code == 2
    assert called.err == f"error: --tensorboard {matrix}: expected a directory, this is a file\n"


# ---- how it travels ------------------------------------------------------------------------------


def test_the_jobs_of_submit_write_it(fake, place):
    folder = place.folder / "events"
    called = place.call("submit", "--yes", "--no-timing", "--tensorboard", str(folder))
    assert called.code == 0, called.err
    assert fake.run(TEACHER_TASK).code == 0
    check(place.runs, folder, place.teacher.directory(place.runs))


def test_a_job_is_read_with_it_and_without(tmp_path):
    job = Job((tiny.spec("kd"),), tmp_path, tmp_path, {}, None, (), tensorboard=tmp_path / "events")
    path = tmp_path / "job.json"
    job.write(path)
    assert Job.read(path).tensorboard == tmp_path / "events"
    plain = json.loads(path.read_text())
    del plain["tensorboard"]  # as earlier versions wrote it
    path.write_text(json.dumps(plain))
    assert Job.read(path).tensorboard is None
