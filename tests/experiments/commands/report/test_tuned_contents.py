"""`report` of a matrix that tunes, and of a board file with runs of its search."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments import cli, tuned_matrix
from tests.experiments.tuned_matrix import ROWS, SHOWN, TEST, whole


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned_matrix.written(tmp_path_factory.mktemp("tuned"))


def test_the_pages_of_a_matrix(place, reports):
    runs = ["--runs", str(place / "all.jsonl"), "--data", str(place / "data")]
    (content,) = reports.of(str(place / "matrix.yaml"), *runs)
    assert tuple(content.methods) == ROWS
    tuned_row = content.methods["KD (tuned)"]
    assert tuned_row.name == "kd"
    assert tuple(tuned_row.exceptions) == SHOWN  # the options that were chosen
    assert content.methods["AT (tuned)"].exceptions == {}
    assert content.board.tuning.searches[0].chosen == 2
    assert all(run.record.top1 >= TEST for run in content.runs if run.label != "Teacher")
    assert {run.label for run in content.runs} == {*ROWS[:4], "Teacher"}  # AT's tuned are its own
    assert all(run.record.spec["dataset"].get("scored_on") is None for run in content.runs)


def test_the_pages_of_the_board_file_leave_searches_out(place, reports):
    (content,) = reports.of(str(place / "all.jsonl"))
    shown = {cell.record.run for cell in content.board.cells if cell.record}
    expansion, _ = whole()
    assert shown == {entry.spec.id for entry in expansion.entries}


def test_a_board_file_of_searches_alone_has_no_pages(place, reports, tmp_path):
    lines = (place / "all.jsonl").read_text().splitlines()
    only = [line for line in lines if '"scored_on": "validation"' in line]
    (tmp_path / "search.jsonl").write_text("\n".join(only) + "\n")
    made = cli.call("report", str(tmp_path / "search.jsonl"), "--output", "report")
    assert made.code == 2
    assert "no finished run there but of searches, which have no test accuracy" in made.err
