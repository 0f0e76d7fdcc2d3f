"""`collect`: what it gathers, what it says, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands import places
from experiments.environment import CHECKOUT
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from results import board_file, predictions_beside
from tests.experiments import cli
from tests.results.test_gathering import finish

MATRIX = {"methods": ["vanilla", "kd"], "trials": 2}


@pytest.fixture
def matrix(tmp_path) -> Path:
    """A matrix of which half of the runs are finished in each of two directories."""
    path = cli.write(tmp_path, **MATRIX)
    specs = cli.expansion(**MATRIX).runs
    for number, spec in enumerate(specs):
        finish(spec, tmp_path / ("here", "there")[number % 2], 60 + number)
    return path


def collect(folder: Path, *more: str) -> cli.Called:
    return cli.call("collect", *more, "--output", str(folder / "board.jsonl"))


def test_two_directories_make_the_table_of_both(matrix):
    folder = matrix.parent
    for name in ("here", "there"):
        shutil.copytree(folder / name, folder / "runs", dirs_exist_ok=True)
    called = collect(folder, str(folder / "here"), str(folder / "there"))
    assert called.code == 0, called.err
    assert called.out.splitlines() == [
        f"{folder}/here: 3 runs",
        f"{folder}/there: 2 runs",
        f"wrote {folder}/board.jsonl: 5 runs, 0 with measures",
    ]
    where = ("--runs", str(folder / "board.jsonl"), "--device", "cpu")
    for verb in ("table", "status"):
        of_board = cli.call(verb, str(matrix), *where)
        assert of_board.code == 0
        assert of_board.out == cli.command(verb, matrix, "--device", "cpu").out


def test_only_the_runs_of_a_matrix(matrix):
    """Its teachers included; a run of other options under its id is stale."""
    folder = matrix.parent
    other = cli.expansion(methods=["at", "kd"], recipe__epochs=3, trials=1)
    for spec in other.runs:
        finish(spec, folder / "here")
    first = cli.expansion(**MATRIX).entries[-1].spec
    shutil.rmtree(first.directory(folder / "here"), ignore_errors=True)
    shutil.rmtree(first.directory(folder / "there"), ignore_errors=True)
    finish(first, folder / "there", spec={**first.dump(), "student": "resnet20"})
    flags = ("--matrix", str(matrix), "--device", "cpu")
    called = collect(folder, str(folder / "here"), str(folder / "there"), *flags)
    assert called.code == 0, called.err
    assert "3 more left out: of no matrix, or stale" in called.out
    assert "1 more left out: of no matrix, or stale" in called.out
    wanted = {spec.id for spec in cli.expansion(**MATRIX).runs} - {first.id}
    assert set(board_file.read(folder / "board.jsonl")) == wanted


def test_probes_are_collected_with_their_students(tmp_path):
    block = {"datasets": [{"name": "digits"}], "recipe": {"epochs": 2, "milestones": []}}
    matrix = cli.write(tmp_path, methods=["vanilla"], trials=1, transfer=block)
    workspace = Workspace(tmp_path / "runs", tmp_path / "data", "cpu")
    (probe,) = prepare(str(matrix), workspace, None, False, "digits").expansion.runs
    student = cli.expansion(methods=["vanilla"], trials=1).entries[0].spec
    for spec in (student, probe):
        finish(spec, tmp_path / "runs")
    flags = ("--matrix", str(matrix), "--device", "cpu")
    assert collect(tmp_path, str(tmp_path / "runs"), *flags).code == 0
    assert list(board_file.read(tmp_path / "board.jsonl")) == [probe.id, student.id]


def test_unfinished_runs_and_mixtures_are_named(matrix):
    folder = matrix.parent
    other = cli.expansion(methods=["at"], trials=2).entries
    start = {"device": "cpu", "versions": {"torch": "9"}, "commit": "c" * 40}
    finish(other[0].spec, folder / "here", starts=[start])
    begun = other[1].spec.directory(folder / "here")
    begun.mkdir()
    (begun / "spec.yaml").write_text("")
    called = collect(folder, str(folder / "here"))
    assert f"{folder}/here: 4 runs, 1 directory without a readable result" in called.out
    for name in ("torch versions", "devices", "commits"):
        assert f"note: mixed {name}: " in called.out


def test_predictions_on_request(matrix):
    folder = matrix.parent
    first = cli.expansion(**MATRIX).runs[0]
    place = first.directory(folder / "here") / predictions_beside.PREDICTIONS
    place.write_bytes(b"logits")
    assert not (folder / "board.predictions").exists()
    called = collect(folder, str(folder / "here"), "--predictions")
    assert called.out.endswith("3 runs, 0 with measures, 1 with predictions\n")
    (copied,) = (folder / "board.predictions").iterdir()
    assert (copied.name, copied.read_bytes()) == (f"{first.id}.safetensors", b"logits")


def test_histories_on_request(matrix):
    folder = matrix.parent
    first = cli.expansion(**MATRIX).runs[0]
    text = "epoch,test_top1\n1,50.0\n"
    (first.directory(folder / "here") / board_file.HISTORY).write_text(text)
    called = collect(folder, str(folder / "here"), "--history")
    assert called.out.endswith("3 runs, 0 with measures, 1 with their history\n")
    assert board_file.histories(folder / "board.jsonl") == {first.id: text}
    where = ("--runs", str(folder / "board.jsonl"), "--device", "cpu")
    tables = [cli.call("table", str(matrix), *where)]
    called = collect(folder, str(folder / "board.jsonl"))
    assert called.out.endswith("3 runs, 0 with measures\n")
    assert board_file.histories(folder / "board.jsonl") == {}
    tables.append(cli.call("table", str(matrix), *where))
    assert tables[0].code == 0 and tables[0] == tables[1]


# ---- errors --------------------------------------------------------------------------------------


def refused(called: cli.Called, folder: Path) -> str:
    assert (called.code, called.out, called.err.count("\n")) == (2, "", 1)
    assert called.err.startswith("error: ")
    assert not (folder / "board.jsonl").exists()
    return called.err


def test_a_run_with_two_results_is_refused_by_both_places(matrix):
    folder = matrix.parent
    finish(cli.expansion(**MATRIX).runs[0], folder / "there", 99)
    said = refused(collect(folder, str(folder / "here"), str(folder / "there")), folder)
    assert f"{folder}/here/fake/" in said and f"{folder}/there/fake/" in said
    assert "differ in accuracy.last.top1: 60 and 99" in said


def test_places_that_are_none(matrix):
    folder = matrix.parent
    said = refused(collect(folder, str(folder / "heer")), folder)
    assert f"{folder}/heer: no such file or directory; did you mean {folder}/here?" in said
    said = refused(collect(folder, str(matrix)), folder)
    assert "matrix.yaml: expected a runs directory or a board file (NAME.jsonl)" in said
    empty = folder / "empty"
    empty.mkdir()
    assert f"{empty}: no finished run there" in refused(collect(folder, str(empty)), folder)
    (folder / "no.jsonl").write_text("{}\n")
    assert "no.jsonl:1: not the record of a run" in refused(
        collect(folder, str(folder / "no.jsonl")), folder
    )
    twice = collect(folder, str(folder / "here"), str(folder / "here"))
    assert "here: given twice" in twice.err


def test_an_output_of_another_kind(matrix):
    called = cli.call("collect", str(matrix.parent), "--output", "x.json")
    assert (called.code, called.err) == (
        2,
        "error: --output x.json: expected a name that ends in .jsonl\n",
    )


def test_no_run_of_the_matrix(tmp_path):
    for spec in cli.expansion(methods=["at"], recipe__epochs=3).runs:
        finish(spec, tmp_path / "here")
    flags = ("--matrix", str(cli.write(tmp_path)), "--device", "cpu")
    said = refused(collect(tmp_path, str(tmp_path / "here"), *flags), tmp_path)
    assert "matrix.yaml: none of its runs is finished in these places" in said


def test_the_ending_is_that_of_boards():
    assert places.ENDING == board_file.SUFFIX


def test_without_a_matrix_torch_is_not_loaded(matrix):
    folder = matrix.parent
    code = (
        "import sys, benchmark\n"
        "assert benchmark.main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'pandas'} & set(sys.modules)\n"
    )
    arguments = ["collect", str(folder / "here"), "--output", str(folder / "board.jsonl")]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=CHECKOUT, check=True)
