"""`report` on the command line: its flags, what it says, and how it is renewed while jobs run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from experiments.commands.report import command as report_verb
from tests.experiments import cli
from tests.experiments.sending import claimed

# ---- flags ---------------------------------------------------------------------------------------

BOARD = str(Path(__file__).resolve().parents[4] / "results/boards/digits.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["M"], "report: nothing to write: expected --output, --figures or --tensorboard DIR"),
        (["M", "--single-file", "--figures", "f"], "--single-file: needs --output NAME.html"),
        (["M", "--output", "a", "--single-file"], "--output a: with --single-file expected a name"),
        (["M", "--output", "a.html"], "expected a directory; a single file needs --single-file"),
        (["M", "--figures", "f", "--every", "5"], "--every: it renews pages: needs --output DIR"),
        (["M", "--output", "a", "--every", "0"], "--every: '0': expected a whole number from 1"),
        (["M", "M", "--output", "a"], "given twice, expected once"),
        (["M.yml", "--output", "a"], "no such file; did you mean"),
        ([".", "--output", "a"], ".: a directory: expected a matrix (YAML) or a board file"),
        ([BOARD, "--output", "a", "--every", "5"], "--every: a board file has finished runs only"),
        ([BOARD, "--output", "a", "--runs", "r"], "--runs: a board file has its own runs"),
        ([BOARD, "--output", "a", "--transfer", "stl10"], "--transfer stl10: only for matrices"),
        (
            [BOARD, "--output", "a", "--methods", "kdd"],
            "digits.jsonl: --methods: no match for 'kdd'",
        ),
        ([BOARD, "--output", "a", "--baseline", "kdd"], "--baseline kdd: no row of this table"),
        ([BOARD, "--output", "a", "--published", "tian"], "--published: unknown source 'tian'"),
        ([BOARD, "--output", "a", "--published", "tian2020crd"], "nothing on digits: it has"),
        (["M", "--output", "a", "--methods", "kdd"], "--methods: no match for 'kdd': did you mean"),
        (["M", "--output", "a", "--transfer", "stl10"], "transfer: no such block"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, monkeypatch, reports, arguments, message):
    monkeypatch.chdir(tmp_path)
    cli.write(tmp_path).rename("M.yaml")
    named = ["M.yaml" if argument == "M" else argument for argument in arguments]
    called = cli.call("report", *named)
    assert called.code == 2 and message in called.err and called.err.count("\n") == 1, called.err
    assert reports.written == [] and [p.name for p in tmp_path.iterdir()] == ["M.yaml"]


def test_it_says_where_the_page_is(done, reports, tmp_path):
    called = cli.command("report", done.matrix, "--output", "pages")
    assert called.out == "wrote pages/index.html: 3 methods, 7 runs; open it in a browser\n"
    called = cli.command("report", done.matrix, "--output", "p.html", "--single-file")
    assert called.out.startswith("wrote p.html: ")


def test_several_places(done, reports, tmp_path):
    other = tmp_path / "b"
    other.mkdir()
    second = cli.write(other, methods=["vanilla"])
    arguments = [str(done.matrix), str(second), BOARD, "--runs", str(done.runs)]
    contents = reports.of(*arguments, "--trials", "0")
    assert [content.name for content in contents] == ["matrix", "matrix-2", "digits"]
    assert {run.trial for content in contents for run in content.runs} == {0}
    assert contents[2].progress is None and contents[1].progress


def test_a_matrix_with_the_runs_of_a_board_file(reports):
    board = Path(BOARD)
    matrix = board.parents[2] / "experiments/digits.yaml"
    (content,) = reports.of(str(matrix), "--runs", str(board))
    progress = content.progress
    assert progress and not progress.active and progress.steps == ()
    assert len(content.runs) == 28 and {run.directory for run in content.runs} == {""}


# ---- renewed while jobs run ----------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """No second passes; returns what was waited."""
    waited: list[float] = []
    monkeypatch.setattr(report_verb.time, "sleep", waited.append)
    return waited


def test_it_is_renewed_until_all_is_done(done, finished, reports, quick):
    """A run is to do, runs, and is done; the pages end without a refresh."""
    spec = done.specs("kd")[0]
    directory = spec.directory(done.runs)
    kept = directory / "result.json"
    text = kept.read_text()
    kept.unlink()
    moments = [lambda: claimed(directory), lambda: kept.write_text(text)]
    reports.before_return = lambda: moments.pop(0)() if moments else None
    called = cli.command("report", done.matrix, "--output", "r", "--every", "7")
    assert called.code == 0 and quick == [7, 7]
    states = [contents[0].progress.counts for contents, _ in reports.written]
    assert [dict(counts) for counts in states] == [
        {"done": 6, "to do": 1},
        {"done": 6, "running": 1},
        {"done": 7},
    ]
    assert [refresh for _, refresh in reports.written] == [7, 7, None]
    assert called.out == "wrote r/index.html: 3 methods, 7 runs; open it in a browser\n"


def test_a_person_sees_a_line_per_renewal(done, reports, quick, monkeypatch):
    (done.specs("kd")[0].directory(done.runs) / "result.json").unlink()

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report_verb.time, "sleep", stop)
    monkeypatch.setattr("experiments.commands.terminal.columns", lambda: 80)
    called = cli.command("report", done.matrix, "--output", "r", "--every", "7")
    assert called.code == 130
    assert called.out.endswith(": matrix: 6 done, 1 to do; again in 7 seconds, Ctrl-C ends\n")


def test_what_is_finished_is_written_once(done, reports, quick):
    called = cli.command("report", done.matrix, "--output", "r", "--every", "7")
    assert called.code == 0 and quick == [] and len(reports.written) == 1


def test_a_disk_that_refuses_for_a_moment(done, reports, quick, monkeypatch):
    (done.specs("kd")[0].directory(done.runs) / "result.json").unlink()
    real, calls = report_verb._gathered, []

    def fails_once(gather):
        calls.append(gather)
        if len(calls) == 2:
            raise OSError("Stale file handle")
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(gather)

    monkeypatch.setattr(report_verb, "_gathered", fails_once)
    called = cli.command("report", done.matrix, "--output", "r", "--every", "7")
    assert called.code == 130 and "note: not renewed: Stale file handle" in called.err
    assert len(reports.written) == 2 and quick == [7, 7, 7]


def test_directories_that_vanish_between_two_readings(done, reports, quick):
    """Half a result, and a run that is removed."""
    first, second = done.specs("kd")
    kept = first.directory(done.runs) / "result.json"
    text = kept.read_text()
    moments = [
        lambda: kept.write_text(text[:100]),
        lambda: shutil.rmtree(second.directory(done.runs)),
        lambda: kept.write_text(text),
    ]
    kept.unlink()

    def next_moment() -> None:
        if not moments:
            raise KeyboardInterrupt
        moments.pop(0)()

    reports.before_return = next_moment
    called = cli.command("report", done.matrix, "--output", "r", "--every", "7")
    assert called.code == 130 and len(reports.written) == 4
    last = reports.last[0]
    assert last.progress and dict(last.progress.counts) == {"done": 6, "to do": 1}
    assert all(last.history(run.id) == "" for run in last.runs if run.state == "to do")
