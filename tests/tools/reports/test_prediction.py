"""The report of predictions: what it compares, and that records need not be of today's code."""

from __future__ import annotations

import pytest

from experiments.environment import CHECKOUT
from experiments.plan import timing
from results import board_file
from tools.reports import prediction

BOARD = CHECKOUT / "results" / "boards" / "digits.jsonl"


@pytest.fixture(autouse=True)
def clocks(monkeypatch) -> None:
    """Every part of a step takes a millisecond per image."""
    for name in ("training", "forward", "batches", "method"):
        monkeypatch.setattr(timing.Stopwatch, name, lambda self, *_: 1e-3)


def test_a_row_per_pair_and_method_with_the_recorded_seconds(tmp_path):
    board = list(board_file.read(BOARD).values())
    rows = prediction.predict(board, tmp_path)
    assert len(rows) == len({(row.pair, row.method) for row in rows}) == 10
    assert sum(row.recorded for row in rows) == pytest.approx(sum(r.seconds for r in board))
    assert all(row.predicted > 0 for row in rows)


def test_the_report(tmp_path, capsys):
    output = tmp_path / "report.md"
    arguments = [str(BOARD), "--data", str(tmp_path), "--each", "--output", str(output)]
    assert prediction.main(arguments) == 0
    text = output.read_text()
    assert text in capsys.readouterr().out
    assert "| resnet20 -> resnet8 |      crd |" in text
    assert "| all                 |" in text


def test_a_file_that_is_no_board(tmp_path, capsys):
    (tmp_path / "board.jsonl").write_text("nothing\n")
    assert prediction.main([str(tmp_path / "board.jsonl")]) == 2
    assert capsys.readouterr().err.count("\n") == 2  # what is predicted, and the error
