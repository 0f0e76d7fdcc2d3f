"""Training from image files: killed within an epoch, a run resumes there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

import datasets
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec
from experiments.rundir.layout import CHECKPOINT, ERROR, WEIGHTS
from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from experiments.train.cohort import Cohort
from experiments.worker import worker
from experiments.worker.job import Job, command
from results import records
from tests.datasets import image_files
from tests.experiments import cli, tiny

RECIPE = Recipe(epochs=2, batch_size=4, milestones=(1,))
OPTIONS = {"image_size": 32}
STEPS = 15  # of an epoch of 60 images


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    image_files.imagenet(folder / "imagenet", train=20)
    return folder


def spec(method: str) -> RunSpec:
    source = DataSpec(name="imagenet", options=OPTIONS)
    return tiny.spec(method, RECIPE).model_copy(update={"dataset": source, "teacher": None})


def job(runs: Path, root: Path, workers: int = 2) -> Job:
    return Job(
        (spec("vanilla"),),
        runs,
        root,
        {**OPTIONS, "workers": workers},
        None,
        (),
        save_minutes=0.0,  # after every step
    )


def start(job: Job) -> subprocess.Popen[str]:
    job.runs.mkdir(parents=True, exist_ok=True)
    job.write(job.runs / "job.json")
    line = command(job.runs / "job.json", as_json=False)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(job: Job) -> dict[str, torch.Tensor]:
    _, errors = (process := start(job)).communicate(timeout=120)
    assert process.returncode == 0, errors
    return tiny.load_file(spec("vanilla").directory(job.runs) / WEIGHTS)


@pytest.mark.slow
def test_killed_in_an_epoch_and_resumed_is_the_same(tmp_path: Path, root: Path) -> None:
    whole = finish(job(tmp_path / "whole", root))
    process = start(job(tmp_path / "killed", root))
    directory = spec("vanilla").directory(tmp_path / "killed")
    where = wait_for(directory, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert where[0] == "main"
    assert 0 < where[2] < STEPS
    assert not (directory / records.RESULT).exists()
    again = finish(job(tmp_path / "killed", root, workers=0))
    tiny.assert_same_weights(whole, again)
    record = records.read(directory)
    assert record is not None
    assert record.steps == 2 * STEPS
    assert record.starts[1].steps >= where[2]


def wait_for(directory: Path, process: subprocess.Popen[str]) -> list:
    """The position of a checkpoint that lies in the middle of an epoch."""
    while process.poll() is None:
        try:
            state = torch.load(directory / CHECKPOINT, weights_only=True)
        except FileNotFoundError:
            time.sleep(0.01)
            continue
        if 3 < state["position"][2] < STEPS - 3:
            return state["position"]
    raise AssertionError(process.communicate()[1])


def test_a_resume_does_not_load_earlier_batches_again(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datasets.build(
        "imagenet", root, batch_size=4, epochs=2, device="cpu", workers=0, **OPTIONS
    )
    requested = []
    stream = type(data).train_stream

    def note(self, trial, epoch, start_step=0, *more):
        requested.append((epoch, start_step))
        return stream(self, trial, epoch, start_step, *more)

    monkeypatch.setattr(type(data), "train_stream", note)
    for stop_after in (7, 1000):
        cohort = Cohort([spec("vanilla")], tmp_path, data, None, torch.device("cpu"))
        cohort.stop = tiny.stop_after(stop_after)
        trainer.train(cohort)
    assert cohort.states[spec("vanilla").id] == Outcome.DONE
    assert [call for call in requested if call != (1, 0)] == [(1, 8), (2, 0)]


def test_a_damaged_file_fails_the_runs_which_go_on_once_it_is_mended(
    tmp_path: Path, root: Path
) -> None:
    shutil.copytree(root / "imagenet", tmp_path / "imagenet")
    specs = [spec("vanilla"), spec("vanilla").model_copy(update={"student": "resnet14"})]

    def train(runs: Path) -> Cohort:
        data = datasets.build("imagenet", tmp_path, batch_size=4, epochs=2, workers=0, **OPTIONS)
        cohort = Cohort(specs, runs, data, None, torch.device("cpu"))
        trainer.train(cohort)
        return cohort

    assert set(train(tmp_path / "whole").states.values()) == {Outcome.DONE}
    data = datasets.build("imagenet", tmp_path, batch_size=4, epochs=2, workers=0, **OPTIONS)
    late = list(data.train_stream(0, 1))[STEPS - 3]  # of the first epoch
    path = Path(data._train.path(int(late.indices[0])))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert set(train(tmp_path / "runs").states.values()) == {Outcome.FAILED}
    for one in specs:
        error = one.directory(tmp_path / "runs") / ERROR
        line = error.read_text().partition("\n")[0]
        assert line.startswith(f"{path}: cannot be read as an image (cut off: ")
        records.set_aside(error)  # as `retry` does
    path.write_bytes(content)
    assert set(train(tmp_path / "runs").states.values()) == {Outcome.DONE}
    for one in specs:
        record = records.read(one.directory(tmp_path / "runs"))
        assert record is not None
        assert record.starts[1].steps == STEPS - 3  # nothing is trained twice
        ended = (one.directory(tmp_path / runs) / WEIGHTS for runs in ("whole", "runs"))
        tiny.assert_same_weights(*map(tiny.load_file, ended))


def test_data_that_cannot_be_read_block_the_runs_of_a_job(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found before training: no run is tried again in vain, and the line names the file."""
    shutil.copytree(root / "imagenet/train", tmp_path / "imagenet/train")
    work = job(tmp_path / "runs", tmp_path, workers=0)
    work.runs.mkdir()
    work.write(work.runs / "job.json")
    with cli.signals_kept():
        assert worker.work(work.runs / "job.json", as_json=True) == 1
    said = capsys.readouterr().out
    assert '"state": "blocked"' in said
    assert f"{tmp_path}/imagenet/val: no such folder" in said
