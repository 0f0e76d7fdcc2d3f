"""The files of `table`: written, or checked: 0 up to date, 1 out of date, 2 not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from experiments.commands.table_flags import FORMATS
from tests.experiments import cli


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    return cli.write(tmp_path)


def table(matrix: Path, *flags: object) -> cli.Called:
    return cli.command("table", matrix, *map(str, flags))


@pytest.mark.parametrize("ending", [endings[0] for endings in FORMATS.values()])
def test_what_was_written_is_up_to_date(matrix, tmp_path, ending):
    path = tmp_path / f"t{ending}"
    table(matrix, "--output", path, "--best" if ending == ".md" else "--quiet")
    again = table(matrix, "--check", path, "--best" if ending == ".md" else "--quiet")
    assert (again.code, again.out) == (0, f"{path} is up to date\n")


def test_what_differs_is_shown_and_nothing_is_written(matrix, tmp_path):
    path = tmp_path / "t.md"
    table(matrix, "--output", path)
    lines = path.read_text().splitlines(keepends=True)
    old = "".join([*lines[:4], "| KD | 99.99 |\n", *lines[5:]])
    path.write_text(old)
    called = table(matrix, "--check", path)
    said = called.out.splitlines()
    assert called.code == 1 and path.read_text() == old
    first = f"{path} is out of date: line 5 of {len(lines)} is the first that differs"
    assert said == [first, "@@ -5 +5 @@", "-| KD | 99.99 |", f"+{lines[4].rstrip()}"]


def test_a_long_difference_is_cut(matrix, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x\n" * 50 + "y" * 1000)
    called = table(matrix, "--check", path)
    assert called.code == 1 and len(called.out.splitlines()) <= 11
    assert max(map(len, called.out.splitlines()[1:])) <= 160


@pytest.mark.parametrize("change", ["missing line", "line ends", "not UTF-8"])
def test_every_byte_counts(matrix, tmp_path, change):
    path = tmp_path / "t.md"
    table(matrix, "--output", path)
    data = path.read_bytes()
    changed = {
        "missing line": data[: data.rindex(b"\n", 0, -1) + 1],
        "line ends": data.replace(b"\n", b"\r\n"),
        "not UTF-8": data + b"\xff\n",
    }
    path.write_bytes(changed[change])
    called = table(matrix, "--check", path)
    assert called.code == 1 and "is out of date: " in called.out
    assert ("the ends of its lines differ" in called.out) == (change == "line ends")


def test_a_missing_file_is_bad_input(matrix, tmp_path):
    (tmp_path / "table.md").write_text("")
    called = table(matrix, "--check", tmp_path / "tabel.md")
    assert called.code == 2 and called.err.count("\n") == 1
    assert "tabel.md: no such file; did you mean" in called.err
    called = table(matrix, "--check", tmp_path / "other" / "x.tex")
    assert called.code == 2 and "no such file: write it with --output" in called.err


def test_check_and_output_are_not_for_each_other(matrix, tmp_path):
    called = table(matrix, "--check", tmp_path / "a.md", "--output", tmp_path / "b.md")
    assert (called.code, called.err) == (
        2,
        "error: --check: it writes nothing; drop it or --output\n",
    )
    assert "--check a.pdf: unknown ending" in table(matrix, "--check", "a.pdf").err


def test_macros_are_written_and_checked_beside_the_table(matrix, tmp_path):
    paper, numbers = tmp_path / "t.tex", tmp_path / "n.tex"
    written = table(matrix, "--output", paper, "--macros", numbers)
    assert (written.code, written.out) == (0, f"wrote {paper}\nwrote {numbers}\n")
    assert table(matrix, "--check", paper, "--macros", numbers).code == 0
    numbers.write_text(numbers.read_text() + "% more\n")
    called = table(matrix, "--check", paper, "--macros", numbers)
    assert called.code == 1
    assert f"{paper} is up to date\n{numbers} is out of date" in called.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--macros", "n.tex"], "--macros: only for latex, not for markdown"),
        (["--macros", "n.tex", "--format", "tex"], "--macros: needs --output or --check"),
        (["--macros-prefix", "a", "--format", "tex"], "--macros-prefix: only with --macros"),
    ],
)
def test_macros_belong_to_a_table_in_a_file(matrix, flags, message):
    called = table(matrix, *flags)
    assert called.code == 2 and message in called.err and called.err.count("\n") == 1


def test_the_sentence_of_the_readme_has_its_numbers(tmp_path):
    root = Path(__file__).resolve().parents[3]
    page = (root / "results/TABLES.md").read_text()
    (block,) = re.findall(r"```\n(\\input\{numbers\}.*?)```", page, re.DOTALL)
    matrix, board = root / "experiments/digits.yaml", root / "results/boards/digits.jsonl"
    places = ["--runs", board, "--data", tmp_path]
    files = ["--output", tmp_path / "t.tex", "--macros", tmp_path / "numbers.tex"]
    assert cli.call("table", *map(str, [matrix, *places, *files])).code == 0
    keys = re.findall(r"\\kdnum\{(.+?)\}", block)
    text = (tmp_path / "numbers.tex").read_text()
    assert len(keys) == 3 and [k for k in keys if f"\\kdnum@define{{{k}}}" not in text] == []
