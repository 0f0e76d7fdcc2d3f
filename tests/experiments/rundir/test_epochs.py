"""Epochs of an initial stage: counted, shown, and part of the time left."""

from __future__ import annotations

import json
import time

import pytest
import torch

import distillers
import models
from distillers import base
from experiments.local.progress import Progress
from experiments.plan.summary import format_status
from experiments.rundir import claims, epochs
from experiments.rundir.epochs import Epochs
from experiments.rundir.status import read_status
from experiments.train import networks
from experiments.worker.job import describe
from tests.experiments import tiny
from tests.experiments.cli import expansion


def run(method: str, length: int = 240):
    return expansion(methods=[method], trials=1, recipe__epochs=length).entries[0].spec


@pytest.mark.parametrize("length", [1, 9, 240])
@pytest.mark.parametrize("name", distillers.names())
def test_the_length_is_the_methods_own(name, length):
    """What is read from the options, without building anything, is what a method trains."""
    spec = run(name, length)
    data = tiny.data(length)
    student, teacher = (models.build("resnet8", data.info.num_classes) for _ in range(2))
    try:
        method = networks.method(spec, student, teacher, data.info, torch.device("cpu"))
    except (distillers.Unsupported, distillers.MethodError):
        pytest.skip("cannot serve this pair")
    assert epochs.planned_initially(spec) == method.initial_epochs(method.init_stage())


def test_the_reference_schedule_is_the_methods():
    assert epochs.REFERENCE_EPOCHS == base.REFERENCE_EPOCHS


@pytest.mark.parametrize(
    ("done", "words", "left"),
    [
        (Epochs(0, 30, 0, 240), "", 270),
        (Epochs(12, 30, 0, 240), "initial stage, epoch 12/30", 258),
        (Epochs(30, 30, 0, 240), "initial stage, epoch 30/30", 240),
        (Epochs(30, 30, 17, 240), "epoch 17/240", 223),
        (Epochs(30, 30, 240, 240), "epoch 240/240", 0),
        (Epochs(12, 0, 0, 240), "initial stage, epoch 12", 240),  # a plugin's: length unknown
        (Epochs(0, 0, 17, 240), "epoch 17/240", 223),
        (Epochs(0, 30, 17, 240), "epoch 17/240", 223),  # an option, but no such stage
    ],
)
def test_words_and_what_is_left(done, words, left):
    assert (str(done), done.left) == (words, left)


@pytest.mark.parametrize("odd", ["30", None, True, [30]])
def test_an_option_of_that_name_may_be_anything(odd):
    spec = run("kd").model_copy(update={"options": {"initial_epochs": odd}})
    assert epochs.planned_initially(spec) == 0


@pytest.mark.parametrize(
    ("initial", "main", "start", "expected"),
    [
        (0, 5, {"epoch": 1, "steps": 0}, 5),
        (0, 5, {"epoch": 4, "steps": 60}, 2),
        (12, 0, {"epoch": 1, "steps": 0}, 12),
        (12, 0, {"epoch": 11, "steps": 99}, 2),
        (30, 5, {"epoch": 1, "steps": 0}, 35),
        (30, 5, {"epoch": 21, "steps": 99}, 15),  # main has no epoch 21 yet
        (30, 110, {"epoch": 101, "steps": 99}, 10),  # the initial stage has no epoch 101
        (30, 5, {"epoch": 4, "steps": 99}, None),  # of either stage
        (0, 5, {"epoch": 6}, None),  # none of its epochs is done
        (0, 5, {}, None),
        (0, 5, {"epoch": "a"}, None),
        (0, 5, {"epoch": -3}, None),
    ],
)
def test_epochs_since_a_start(initial, main, start, expected):
    assert epochs.since(initial, main, start) == expected


def training(tmp_path, spec, *stages: str):
    """The status of a run that began 100 seconds ago and has saved these epochs just now."""
    directory = spec.directory(tmp_path)
    directory.mkdir(parents=True)
    rows = "".join(f"{stage},{i + 1},0.05\n" for i, stage in enumerate(stages))
    (directory / "history.csv").write_text(f"stage,epoch,lr\n{rows}")
    (directory / "checkpoint").write_bytes(b"weights")
    began = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() - 100))
    (directory / "starts.json").write_text(json.dumps([{"time": began, "epoch": 1, "steps": 0}]))
    claims.take(directory)
    return read_status(spec, tmp_path)


def test_status_counts_both_stages(tmp_path):
    spec = run("ft", 80)  # 10 + 80
    status = training(tmp_path, spec, *["initial"] * 5)
    assert (status.epoch, status.initial, str(status.epochs)) == (0, 5, "initial stage, epoch 5/10")
    assert status.seconds_left == pytest.approx(20 * 85, abs=60)
    assert format_status(status).startswith("running: initial stage, epoch 5/10, ")


def test_the_first_main_epochs_are_not_taken_for_slow_ones(tmp_path):
    """100 seconds were for 10 + 10 epochs, not for 10."""
    status = training(tmp_path, run("ft", 80), *["initial"] * 10, *["main"] * 10)
    assert status.seconds_left == pytest.approx(5 * 70, abs=30)


def test_a_workers_line_names_the_stages_own_length():
    row = {"stage": "initial", "epoch": 3, "train_loss": 1.0}
    assert "initial stage, epoch 3/10: loss" in describe(run("ft", 80), row)
    assert "initial stage" not in describe(run("ft", 80), {**row, "stage": "main"})


def test_the_percent_moves_during_the_initial_stage(tmp_path, capsys):
    spec = run("ft", 80)
    status = read_status(spec, tmp_path)
    progress = Progress([status])
    for epoch in range(1, 10):
        progress.epoch(spec, {"stage": "initial", "epoch": epoch, "train_loss": 1.0})
    assert progress.counts() == "0/1 run  10%"
    assert "initial stage, epoch 9/10" in progress.last
    progress.close()
