"""Records of finished runs in one file, and what a matrix is told of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.environment import CHECKOUT
from experiments.rundir.status import State, read_statuses
from results import board_file, records
from results.records import RecordError
from tests.experiments import cli
from tests.experiments.cli import expansion
from tests.results.example import document, record


def finish(spec, runs: Path, **changes) -> Path:
    directory = spec.directory(runs)
    directory.mkdir(parents=True)
    stored = {**spec.dump(), **changes}
    records.publish(directory, record(70.5, run=spec.id, spec=stored))
    return directory


def line(run: str) -> str:
    return json.dumps(document(70.0, run=run)) + "\n"


@pytest.fixture
def board(tmp_path) -> Path:
    return tmp_path / "board.jsonl"


def test_lines_are_sorted_by_directory_with_trials_as_numbers(tmp_path, board):
    specs = expansion(methods=["kd", "at"], trials=11).runs
    directories = [finish(spec, tmp_path) for spec in specs]
    assert board_file.write(board, reversed(directories)) == len(specs)
    found = [json.loads(text)["spec"] for text in board.read_text().splitlines()]
    places = [(s["method"], s["trial"]) for s in found if s["teacher"]]
    assert places == [(method, trial) for method in ("at", "kd") for trial in range(11)]


def test_nothing_is_lost(tmp_path, board):
    odd = {"future": {"é": [1, 1.0, 1e-08, None]}, "warnings": ["caf\udce9"]}
    directory = tmp_path / "d/p/m/0-x"
    directory.mkdir(parents=True)
    text = json.dumps(document(70, run="x", **odd))
    (directory / records.RESULT).write_text(text)
    board_file.write(board, [directory, directory])
    assert json.dumps(json.loads(board.read_bytes())) == text
    assert board_file.read(board) == {"x": records.read(directory)}


def test_a_board_stands_for_a_directory_of_runs(tmp_path, board):
    found = expansion(methods=["vanilla", "kd"], trials=2)
    done, stale = found.entries[0].spec, found.entries[1].spec
    old = {**stale.recipe.model_dump(mode="json"), "lr": 9.0}
    made = [finish(done, tmp_path / "runs"), finish(stale, tmp_path / "runs", recipe=old)]
    board_file.write(board, made)
    statuses = read_statuses(found.runs, board)
    assert statuses == read_statuses(found.runs, tmp_path / "runs")
    assert statuses[done.id].state == State.DONE
    assert statuses[stale.id].detail.startswith("recipe.lr was 9.0, is ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format": 1, "ru', "board.jsonl:2: not the record of a run: not JSON"),
        ("\n", "board.jsonl:2: not the record of a run: not JSON"),
        ('{"format": 1}', "board.jsonl:2: not the record of a run: run: field required"),
        (line("a"), "board.jsonl:2: run a is in an earlier line"),
    ],
)
def test_a_wrong_line_is_named(board, text, problem):
    board.write_text(line("a") + text)
    with pytest.raises(RecordError, match=problem):
        board_file.read(board)


def test_no_file(board):
    with pytest.raises(RecordError, match=r"board\.jsonl: cannot be read: No such file"):
        board_file.read(board)


@pytest.mark.parametrize("verb", ["status", "table"])
def test_commands_read_a_board(tmp_path, board, verb):
    cli.write(tmp_path)
    board.write_text("")
    flags = ("--device", "cpu", "--runs", str(board))
    called = cli.call(verb, str(tmp_path / "matrix.yaml"), *flags)
    assert called.code == 0, called.err
    board.write_text("{}\n")
    called = cli.call(verb, str(tmp_path / "matrix.yaml"), *flags)
    assert called.code == 2
    assert called.err.startswith(f"error: {board}:1: ") and called.err.count("\n") == 1


def test_the_tool_collects_what_a_matrix_names(tmp_path, board):
    finish(expansion().runs[0], tmp_path / "runs")
    cli.write(tmp_path)
    command = [sys.executable, str(CHECKOUT / "tools/collect_board.py")]
    places = ["--runs", str(tmp_path / "runs"), "--output", str(board)]
    subprocess.run([*command, str(tmp_path / "matrix.yaml"), *places], check=True)
    assert len(board_file.read(board)) == 1
