"""A trained matrix: its tables, and the same commands again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.experiments import cli

FORMATS = ["markdown", "csv", "latex", "json", "html"]


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of the finished runs that a test may spoil."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


def command(folder: Path, verb: str, *more: str) -> cli.Called:
    return cli.command(verb, folder / "matrix.yaml", *more)


def numbers(folder: Path) -> str:
    """The table as csv: full precision, and nothing that may differ between two trainings."""
    return command(folder, "table", "--format", "csv").out


def results(folder: Path) -> dict[Path, int]:
    """Every result with its time of change."""
    return {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("result.json")}


def one_result(folder: Path, method: str) -> Path:
    return sorted((folder / "runs" / "fake" / "resnet14--resnet8" / method).rglob("result.json"))[0]


# ---- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_every_format(finished, form, tmp_path):
    printed = command(finished, "table", "--format", form)
    assert printed.code == 0
    for name in ("Student alone", "KD", "FitNet", "resnet14"):
        assert name in printed.out
    target = tmp_path / "table"
    written = command(finished, "table", "--format", form, "--output", str(target))
    assert written.out == f"wrote {target}\n"
    assert target.read_text() == printed.out


def test_the_numbers_are_those_of_the_results(finished):
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(numbers(finished)))}
    tops = [
        json.loads(path.read_text())["accuracy"]["last"]["top1"]
        for path in (finished / "runs" / "fake" / "resnet14--resnet8" / "kd").rglob("result.json")
    ]
    assert len(tops) == 2
    assert float(rows["KD"]["mean"]) == pytest.approx(sum(tops) / 2, abs=1e-12)
    assert {row["n"] for row in rows.values()} == {"2"}


def test_best_epochs_are_labelled(finished):
    assert "best epoch" not in command(finished, "table").out.lower()
    assert "best epoch" in command(finished, "table", "--best").out.lower()


def test_plan_status_and_table_write_nothing(finished):
    before = cli.listing(finished)
    for verb in (("plan", "--no-timing"), ("status",), ("table",)):
        assert command(finished, *verb).code == 0
    assert cli.listing(finished) == before


def test_status_of_what_is_done(finished):
    shown = command(finished, "status").out
    assert "7 runs: 7 done" in shown
    assert shown.count("2/2 done") == 3
    assert "1/1 done" in shown


def test_a_table_before_anything_is_trained(tmp_path):
    cli.write(tmp_path)
    called = command(tmp_path, "table")
    assert called.code == 0
    assert "Student alone" in called.out
    assert "–" in called.out


def test_a_part_of_the_table(finished):
    shown = command(finished, "table", "--methods", "kd", "fitnet", "--trials", "1").out
    assert "FitNet" in shown
    assert "Student alone" not in shown
    assert "±" not in shown.partition("\n- ")[0]


# ---- the same command again ----------------------------------------------------------------------


@pytest.mark.usefixtures("no_training")
def test_what_is_done_is_not_trained_again(finished):
    before = cli.listing(finished)
    called = command(finished, "run")
    assert called.code == 0
    assert "7 runs: 7 done" in called.out
    assert cli.listing(finished) == before


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("method", ["kd", "fitnet"])
def test_a_deleted_result_is_exactly_that_run_again(folder, method):
    table, before = numbers(folder), results(folder)
    gone = one_result(folder, method)
    gone.unlink()
    assert numbers(folder) != table
    assert "1 to do" in command(folder, "plan", "--no-timing").out
    assert command(folder, "run").code == 0
    after = results(folder)
    assert {path for path in after if after[path] != before[path]} == {gone}
    assert numbers(folder) == table


@pytest.mark.usefixtures("inline")
def test_a_deleted_teacher_comes_back_the_same(folder):
    table, before = numbers(folder), results(folder)
    shutil.rmtree(folder / "runs" / "fake" / "none--resnet14")
    assert command(folder, "run").code == 0
    after = results(folder)
    assert after.keys() == before.keys()
    assert [p.parts[-4] for p in after if after[p] != before[p]] == ["none--resnet14"]
    assert numbers(folder) == table


@pytest.mark.usefixtures("inline")
def test_half_a_result_is_set_aside_and_the_run_repeated(folder):
    table, path = numbers(folder), one_result(folder, "kd")
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    assert "result.json was unreadable" not in command(folder, "table").out
    assert "6 done, 1 to do" in command(folder, "status").out
    called = command(folder, "run")
    assert called.code == 0
    assert path.with_name("result.json.broken").read_bytes() == half
    assert numbers(folder) == table


def test_worker_processes_do_the_same(finished, tmp_path):
    """The tests above train in this process; this one starts the queue and a worker per run."""
    part = ("--methods", "vanilla", "kd", "--trials", "0")
    matrix = cli.write(tmp_path)
    called = cli.command("run", matrix, *part, "--workers", "2", "--cohort-size", "1")
    assert (called.code, called.err) == (0, "")
    assert "[3/3] " in called.out
    form = ("--format", "csv")
    expected = command(finished, "table", *part, *form).out
    assert command(tmp_path, "table", *part, *form).out == expected


# ---- stale ---------------------------------------------------------------------------------------


def make_stale(path: Path) -> None:
    record = json.loads(path.read_text())
    record["spec"]["options"]["kd_temperature"] = 7.0
    path.write_text(json.dumps(record))


@pytest.mark.usefixtures("no_training")
def test_stale_runs_are_shown_and_left_alone(folder):
    path = one_result(folder, "kd")
    make_stale(path)
    before = cli.listing(folder)
    called = command(folder, "run")
    assert called.code == 1
    assert "resnet14 -> resnet8, KD, trial 0: stale: options.kd_temperature was 7.0" in called.out
    assert "--redo-stale" in called.out
    assert "stale: options.kd_temperature was 7.0, is 4.0" in command(folder, "status").out
    noted = command(folder, "table").out
    assert "- 1 stored run is stale and left out: resnet14 -> resnet8, kd, trial 0: " in noted
    assert "(n=1, 1 stale¹)" in noted
    assert cli.listing(folder) == before


@pytest.mark.usefixtures("inline")
def test_no_student_learns_from_a_stale_teacher(folder):
    table, gone = numbers(folder), one_result(folder, "kd")
    (teacher,) = (folder / "runs" / "fake" / "none--resnet14").rglob("result.json")
    teacher.write_text(teacher.read_text().replace('"momentum": 0.9', '"momentum": 0.8'))
    gone.unlink()
    before = cli.listing(folder)
    called = command(folder, "run")
    assert called.code == 1
    assert "blocked: its teacher (resnet14, vanilla, trial 0): stale" in called.out
    assert cli.listing(folder) == before
    assert command(folder, "run", "--redo-stale").code == 0
    assert numbers(folder) == table


@pytest.mark.usefixtures("inline")
def test_redo_stale_sets_the_old_run_aside(folder):
    table, path = numbers(folder), one_result(folder, "kd")
    make_stale(path)
    old = path.read_bytes()
    assert command(folder, "run", "--redo-stale").code == 0
    aside = path.parent.with_name(f"{path.parent.name}.stale-1")
    assert (aside / "result.json").read_bytes() == old
    assert numbers(folder) == table
    make_stale(path)
    assert command(folder, "run", "--redo-stale").code == 0
    assert path.parent.with_name(f"{path.parent.name}.stale-2").is_dir()
