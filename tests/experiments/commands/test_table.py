"""`table`: its flags, its formats, and what it says about runs that are not done."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest

from experiments.commands import terminal
from experiments.rundir.layout import ERROR
from tests.experiments import cli
from tests.experiments.sending import FIRST

PAIRS = [f"resnet{depth} -> resnet8" for depth in (14, 20, 32)]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of which nothing has run."""
    return cli.write(tmp_path_factory.mktemp("empty"), pairs=PAIRS)


def table(matrix: Path, *flags: str) -> cli.Called:
    return cli.command("table", matrix, *flags)


# ---- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("md", "## fake"),
        ("tex", "% Needs"),
        ("LaTeX", "% Needs"),
        ("htm", "<!DOCTYPE html>"),
        ("csv", "pair,method,mean"),
        ("json", "{"),
    ],
)
def test_other_names_and_endings_of_formats(empty, tmp_path, name, start):
    printed = table(empty, "--format", name)
    assert printed.code == 0 and printed.out.startswith(start)
    target = tmp_path / f"table.{name}"
    assert table(empty, "--output", str(target)).out == f"wrote {target}\n"
    assert target.read_text() == printed.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "x.pdf"], "--output x.pdf: unknown ending '.pdf': expected one of .md, "),
        (["--output", "x.txt"], "unknown ending '.txt'"),
        (["--output", "table"], "--output table: no ending: expected one of .md, "),
        (["--format", "pdf"], "--format: 'pdf': expected one of markdown, csv, latex, json, html"),
        (["--layout", "split", "--format", "csv"], "--layout: only for markdown, latex, html"),
        (["--no-cost", "--format", "json"], "--no-cost: only for markdown, latex, html, not for"),
        (["--label", "t:x"], "--label: only for latex, not for markdown"),
        (["--only-tabular", "--format", "html"], "--only-tabular: only for latex, not for html"),
        (["--each"], "--each: only for csv, json, not for markdown"),
        (["--only-tabular", "--caption", "C", "--format", "tex"], "--caption: a bare tabular has"),
        (["--columns", "pars"], "--columns: no column 'pars': did you mean pairs?"),
        (["--columns", "cost", "--format", "csv"], "--columns: only for markdown, latex, html"),
        (["--columns", "verdict"], "--columns verdict: this table has none of them"),
        (["--sort", "averag"], "--sort: no column 'averag': did you mean average?"),
        (["--sort", "resnet14 -> resnet9"], "did you mean resnet14 → resnet8"),
        (["--label", "a{b", "--format", "tex"], "--label: 'a{b': expected letters, digits and"),
    ],
)
def test_flags_that_make_no_sense_are_errors(empty, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    called = table(empty, *flags)
    assert called.code == 2 and message in called.err and called.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_fine_with_a_format(empty, tmp_path):
    target = tmp_path / "table.txt"
    assert table(empty, "--output", str(target), "--format", "md").code == 0
    assert target.read_text().startswith("## fake")


def test_latex_flags(empty):
    text = table(empty, "--format", "tex", "--caption", "50 %", "--label", "tab:x", "--no-notes")
    assert r"\caption{50 \%}\label{tab:x}" in text.out
    assert "footnotesize" not in text.out and "Recipe" not in text.out
    bare = table(empty, "--format", "tex", "--only-tabular").out
    assert r"\begin{tabular}" in bare and r"\caption" not in bare


def test_what_pdflatex_cannot_set_is_one_line(empty, tmp_path):
    target = tmp_path / "t.tex"
    called = table(empty, "--output", str(target), "--caption", "Ours 🎉")
    assert called.code == 2 and called.err.count("\n") == 1 and not target.exists()
    assert "caption 'Ours 🎉': pdflatex cannot set '🎉' (U+1F389, PARTY POPPER)" in called.err


def test_sorted_by_a_pair_however_it_is_written(empty):
    for pair in ("resnet20 -> resnet8", "resnet20->ResNet8", "resnet20 → resnet8"):
        assert table(empty, "--sort", pair).out == table(empty).out


def test_an_average_over_selected_pairs_says_so(empty):
    some = table(empty, "--pairs", "resnet14 -> *", "resnet20 -> *").out
    assert "Average of 2 " in some and "over the 2 pairs shown, of 3 in the matrix" in some
    for flags in ([], ["--pairs", "*"], ["--methods", "kd"], ["--trials", "0"]):
        assert "pairs shown" not in table(empty, *flags).out


def test_no_cost_and_no_notes(finished):
    matrix = finished / "matrix.yaml"
    whole, less = table(matrix).out, table(matrix, "--no-cost", "--no-notes").out
    assert "### Cost" in whole and "\n- " in whole
    tables = [line for line in whole.splitlines() if line.startswith("|")]
    left = [line for line in less.splitlines() if line.startswith("|")]
    assert left == tables[: len(left)] and "\n- " not in less and "Cost" not in less


def test_another_baseline_and_level(finished):
    matrix = finished / "matrix.yaml"
    text = table(matrix, "--baseline", "kd", "--level", "0.1").out
    assert "### Differences to KD (points)" in text
    assert "90 % confidence for all 2 comparisons together" in text
    said = table(matrix, "--baseline", "fitnets")
    assert said.code == 2
    assert said.err.strip().endswith(
        "--baseline fitnets: no row of this table: did you mean FitNet?"
    )


def test_a_diagram_of_one_pair_is_refused(finished):
    matrix = finished / "matrix.yaml"
    said = table(matrix, "--diagram", str(finished / "cd.svg"))
    assert said.code == 2
    assert "--diagram" in said.err and "at least 6 pairs that share no runs, here 1" in said.err
    said = table(matrix, "--diagram", "cd.gif")
    assert "--diagram cd.gif: expected an ending of .svg, .pdf, .png" in said.err


def test_each_is_one_row_per_run(finished):
    matrix = finished / "matrix.yaml"
    rows = list(csv.DictReader(io.StringIO(table(matrix, "--format", "csv", "--each").out)))
    assert [(r["method"], r["trial"]) for r in rows] == [
        (method, str(trial)) for method in ("vanilla", "kd", "fitnet") for trial in (0, 1)
    ]
    assert {r["state"] for r in rows} == {"done"}
    kd = rows[2]
    assert (kd["label"], kd["student"], kd["teacher"], kd["dataset"]) == (
        "KD", "resnet8", "resnet14", "fake",
    )  # fmt: skip
    (result,) = (finished / "runs").rglob(f"0-{kd['run']}/result.json")
    stored = json.loads(result.read_text())
    assert float(kd["top1"]) == stored["accuracy"]["last"]["top1"]
    assert json.loads(kd["options"]) == stored["spec"]["options"]
    content = json.loads(table(matrix, "--format", "json").out)
    assert [t["run"] for t in content["trials"]] == [r["run"] for r in rows]
    assert content["trials"][2]["options"] == stored["spec"]["options"]


# ---- runs that are not done ----------------------------------------------------------------------


def run_directory(matrix: Path, method: str) -> Path:
    rows = csv.DictReader(io.StringIO(table(matrix, "--format", "csv", "--each").out))
    (run,) = (row["run"] for row in rows if row["method"] == method)
    pair = f"{'none' if method == 'vanilla' else 'resnet14'}--resnet8"
    return matrix.parent / "runs" / "fake" / pair / method / f"0-{run}"


def test_a_failed_run_is_not_taken_for_one_to_come(tmp_path):
    matrix = cli.write(tmp_path, trials=1)
    directory = run_directory(matrix, "kd")
    directory.mkdir(parents=True)
    (directory / ERROR).write_text("Diverged: loss not finite at epoch 1\nTraceback …\n")
    lines = table(matrix).out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[4:7]] == ["–", "failed¹", "–"]
    assert "- ¹ failed: Diverged: loss not finite at epoch 1" in lines
    row = json.loads(table(matrix, "--format", "json").out)["rows"][1]
    assert (row["failed"], row["n"], row["missing"]) == (1, 0, 1)


def test_what_slurm_lost_and_what_it_queues(fake, place):
    place.call("submit", "--yes", "--no-timing")
    fake.move(f"{FIRST}_1", "TIMEOUT")
    lines = place.call("table").out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[4:7]] == ["– (1 lost¹)", "–", "–"]
    assert f"- ¹ lost: job {FIRST}_1 ended: TIMEOUT" in lines


# ---- validation ----------------------------------------------------------------------------------

SEEN = "may have seen the held-out images"


def validation_table(finished: Path, folder: Path, taught: bool) -> str:
    """The table of runs with a hold-out, as text; no teacher is given unless ``taught``."""
    changes = {"teachers": {"resnet14": {"file": "t.pth", "sha256": "a" * 64}}} if taught else {}
    matrix = cli.write(folder, trials=1, dataset__validation=16, methods=["vanilla"], **changes)
    if taught:
        matrix = cli.write(folder, trials=1, dataset__validation=16, **changes)
    rows = csv.DictReader(io.StringIO(table(matrix, "--format", "csv", "--each").out))
    (source,) = (finished / "runs").rglob("none--resnet8/vanilla/0-*/result.json")
    record = json.loads(source.read_text())
    for run in (row["run"] for row in rows if row["method"] == "vanilla"):
        record["run"] = run
        record["spec"]["dataset"]["validation"] = 16
        record["accuracy"]["validation"] = {"top1": 50.0}
        place = folder / f"runs/fake/none--resnet8/vanilla/0-{run}"
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(record))
    return table(matrix).out


def test_a_given_teacher_may_have_seen_what_is_held_out(finished, tmp_path):
    text = validation_table(finished, tmp_path, taught=True)
    main, _, held_out = text.partition("### Validation")
    assert SEEN not in main
    assert f"- The given teacher resnet14 was not trained here and {SEEN}: " in held_out


def test_no_such_note_without_a_given_teacher(finished, tmp_path):
    text = validation_table(finished, tmp_path, taught=False)
    assert "### Validation" in text and SEEN not in text


def test_teachers_trained_here_leave_out_what_is_held_out():
    made = cli.expansion(dataset__validation=16)
    (teacher,) = made.teachers
    assert teacher.dataset.validation == 16
    assert all(entry.spec.dataset == teacher.dataset for entry in made.entries)


# ---- at a terminal -------------------------------------------------------------------------------


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(terminal, "columns", lambda: 60)
    return 60


def test_a_wide_table_fits_the_terminal(empty, narrow):
    out = table(empty).out
    grid = [line for line in out.splitlines() if line.startswith("|")]
    assert max(map(len, grid)) <= narrow
    assert "(transposed to fit 60 columns; as one wide table: --format markdown, or a pipe)" in out


def test_a_label_that_is_too_long_is_cut(tmp_path, narrow):
    label = "a label that is longer than any terminal is wide, or so its author hoped"
    matrix = cli.write(tmp_path, methods=["vanilla", {"name": "kd", "label": label}])
    lines = table(matrix).out.splitlines()
    assert any(len(line) == narrow and line.endswith("…") for line in lines)
    assert all(len(line) <= narrow for line in lines if line.startswith("|"))


def test_what_is_written_or_named_is_not_fitted(empty, tmp_path, monkeypatch):
    piped = table(empty).out
    monkeypatch.setattr(terminal, "columns", lambda: 60)
    assert table(empty, "--format", "markdown").out == piped
    assert table(empty, "--layout", "wide").out == piped
    table(empty, "--output", str(tmp_path / "t.md"))
    assert (tmp_path / "t.md").read_text() == piped


def test_a_terminal_that_is_wide_enough_shows_the_same(empty, monkeypatch):
    piped = table(empty).out
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((400, 24)))
    monkeypatch.setattr(terminal, "columns", lambda: 400)
    assert table(empty).out == piped


@pytest.mark.parametrize("verb", ["table", "status", "report"])
def test_a_mistyped_directory_of_runs_is_not_taken_for_a_new_one(empty, tmp_path, verb):
    (tmp_path / "runs").mkdir()
    flags = ["--output", str(tmp_path / "page")] if verb == "report" else []
    flags += ["--data", str(empty.parent / "data"), "--runs"]
    called = cli.call(verb, str(empty), *flags, str(tmp_path / "rnus"))
    told = f"note: --runs {tmp_path / 'rnus'}: no such directory, so no run has begun there; did"
    assert called.code == 0
    assert f"{told} you mean {tmp_path / 'runs'}?\n" in called.err
    called = cli.call(verb, str(empty), *flags, str(tmp_path / "elsewhere"))
    assert (called.code, "no such directory" in called.err) == (0, False)
