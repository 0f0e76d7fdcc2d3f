"""The report on data: from hand-made streams, and on a few real files."""

from __future__ import annotations

import time

import pytest
import torch

from datasets import Batch
from tests.datasets import image_files
from tools.reports import data_speed

SMALL = ["--image-size", "32", "--batch-size", "8", "--workers", "0"]


class Slow:
    """A data set whose batches take ten milliseconds."""

    def train_stream(self, trial, epoch):
        for step in range(3):
            time.sleep(0.01)
            yield Batch(torch.zeros(8, 3, 4, 4), torch.zeros(8), torch.zeros(8), epoch, step)

    def test_batches(self):
        return self.train_stream(0, 0)


def test_waiting_is_the_time_between_a_step_and_its_batch():
    speed = data_speed.measure(Slow(), data_speed.sleeping(30), batches=7)
    assert 0.15 < speed.waiting < 0.5  # 10 of 40 ms
    assert 0.4 * 200 < speed.trained < 201
    assert speed.trained < speed.rate < 801
    assert speed.first >= 0.01


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return image_files.imagenet(tmp_path_factory.mktemp("speed")) / "train"


def test_every_way_is_a_row(folder, tmp_path, capsys):
    output = tmp_path / "speed.md"
    options = [*SMALL, "--batches", "2", "--step", "1"]
    assert data_speed.main([str(folder), *options, "--output", str(output)]) == 0
    rows = [line.split("|")[1:-1] for line in output.read_text().splitlines() if "%" in line]
    names = [row[0].strip() for row in rows]
    assert names == ["decoded, 0 processes", "memory-mapped", "in memory"]
    for row in rows:
        assert float(row[1].replace(",", "")) > 0
        assert 0 <= float(row[3].strip(" %")) <= 100
    assert output.read_text() in capsys.readouterr().out


def test_real_steps_can_stand_after_the_batches(folder, capsys):
    options = [*SMALL, "--batches", "1", "--model", "resnet8"]
    assert data_speed.main([str(folder), *options]) == 0
    assert "real steps of resnet8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder; expected one folder per class in it"),
        (["{}", "--batches", "0"], "--batches 0: expected a whole number from 1"),
        (["{}", "--workers", "-1"], "--workers -1: expected whole numbers from 0"),
        (["{}", "--image-size", "32", "--model", "resnet9"], "resnet9"),
    ],
)
def test_bad_input_is_one_line(folder, capsys, arguments, message):
    assert data_speed.main([text.format(folder) for text in arguments]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(said) == 1
    assert message in said[0]
