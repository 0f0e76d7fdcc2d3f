"""Histories of boards as event files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from experiments.commands.report import tensorboard
from experiments.errors import InputError
from results.report.content import Content, Run
from tests.experiments import cli, events
from tests.results import example

HISTORY = "stage,epoch,lr,train_loss,test_top1\nmain,1,0.05,2.5,25.0\nmain,2,0.04,1.5,50.0\n"


@pytest.fixture
def specs():
    return cli.expansion(methods=["vanilla", "kd"], trials=2).runs


def board(specs, histories: dict[str, str]) -> Content:
    runs = [Run(s.id, s.pair, s.method, s.trial, "done", spec=s.dump()) for s in specs]
    return Content("fake", example.board(), {}, runs, lambda run: histories.get(run, ""))


def test_runs_are_where_a_runs_directory_has_them(specs, tmp_path):
    pytest.importorskip("tensorboard")
    known = {spec.id: HISTORY for spec in specs[1:]}
    boards = [board(specs, known), board(specs[:3], known)]
    for _ in range(2):
        assert tensorboard.write(boards, tmp_path) == len(specs) - 1
        assert len(events.files(tmp_path)) == len(specs) - 1
        for spec in specs[1:]:
            shown = events.curves(spec.directory(tmp_path))
            assert shown["accuracy/test_top1"] == {1: 25.0, 2: 50.0}
            assert shown["loss/train"] == {1: 2.5, 2: 1.5}
            assert yaml.safe_load(events.text(spec.directory(tmp_path))) == spec.dump()


def test_a_place_that_cannot_be_written_is_an_error(specs, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "fake").write_text("in the way")
    with pytest.raises(OSError, match="fake"):
        tensorboard.write([board(specs, {specs[0].id: HISTORY})], tmp_path)


def test_no_text_of_a_board_file_leads_out_of_the_folder(specs, tmp_path):
    spec = {**specs[0].dump(), "dataset": "..", "student": "../x", "method": "..", "trial": 3}
    for run in ("../../../x", "/x", "..", "a\0\n", "\ud800", "é" * 300):
        place = tensorboard.place_of(Run(run, "p", "l", 3, "done", spec=spec), tmp_path)
        place.mkdir(parents=True)
        assert place.resolve().is_relative_to(tmp_path.resolve())
        assert len(place.relative_to(tmp_path).parts) == 4


def test_a_history_that_is_no_table_is_left_out(specs, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    histories = {specs[0].id: "x" * 200_000, specs[1].id: HISTORY}
    assert tensorboard.write([board(specs, histories)], tmp_path) == 1
    assert "left out: its history is no table" in capsys.readouterr().err


def test_without_the_package_nothing_is_written(specs, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        tensorboard.write([board(specs, {specs[0].id: HISTORY})], tmp_path)
    assert list(tmp_path.iterdir()) == []
