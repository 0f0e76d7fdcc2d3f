"""What holds for every format: texts survive, equal records give equal bytes."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from results.cells import Cell
from results.formats import FORMATS, to_text, trials_csv
from results.latex_text import escape_latex
from results.layout import LAYOUTS, Style
from results.render import escape_markdown
from tests.results.example import GREEK, NASTY, SYMBOLS, board, record
from tests.results.test_leaderboard import make

ROOT = Path(__file__).resolve().parents[2]
BOARD = ROOT / "results/boards/digits.jsonl"
LABELS = (NASTY, GREEK, SYMBOLS.replace("\u00a0", " "), "=1+1", "[x](y) <b>", "_a_ **b** ~~c~~")


def labeled(label: str):
    return make([Cell("p", label, 0, record(70.0)), Cell("p", "KD", 0, record(69.0, run="k"))])


def unescaped(markdown: str) -> str:
    """What a reader of CommonMark sees: a backslash before punctuation is not shown."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", lambda m: f"&#{ord(m[1])};", markdown))


@pytest.mark.parametrize("label", LABELS)
def test_a_label_survives_every_format(label):
    made = labeled(label)
    in_csv = f"'{label}" if label.startswith("=") else label
    assert json.loads(to_text(made, "json"))["rows"][0]["method"] == label
    for text, column in ((to_text(made, "csv"), "method"), (trials_csv(made), "label")):
        row = next(iter(csv.DictReader(io.StringIO(text, newline=""))))
        assert row[column] == in_csv
    for layout in LAYOUTS:
        style = Style(layout=layout)
        page = re.sub(
            r"<style>.*?</style>", "", to_text(made, "html", style=style), flags=re.DOTALL
        )
        cells = re.findall(r"<t[dh][^>]*>(.*?)\s*</t[dh]>", page)
        assert label in [html.unescape(cell) for cell in cells]
        assert all(re.sub(r"</?b>", "", cell).count("<") == 0 for cell in cells)
        assert escape_latex(label) in to_text(made, "latex", style=style)


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_one_cell_of_markdown(label):
    lines = [line for line in to_text(labeled(label), "markdown").splitlines() if line[:1] == "|"]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[:4]]
    assert [len(row) for row in cells] == [2] * 4
    assert unescaped(cells[2][0]).strip() == " ".join(label.split())
    assert not re.search(r"(?<!\\)[`*~<\[]", escape_markdown(label))


# ---- equal bytes ---------------------------------------------------------------------------------

ALL = """
import sys
import benchmark
for form in (*{forms}, "csv --each", "latex --layout split --sort average --columns rank pairs"):
    given = ["experiments/digits.yaml", "--runs", sys.argv[1], "--data", sys.argv[2], "--best"]
    benchmark.main(["table", *given, "--format", *form.split()])
"""


def printed(runs: Path, data: Path, seed: str) -> str:
    """Every format, one after the other, by a process with this seed of Python's hashes."""
    code = ALL.format(forms=tuple(FORMATS))
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-c", code, str(runs), str(data)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    return done.stdout


def test_equal_records_give_equal_bytes(tmp_path):
    """Whatever the order of the records in their file, and of Python's sets."""
    lines = BOARD.read_text().splitlines(keepends=True)
    shuffled = tmp_path / "digits.jsonl"
    random.Random(0).shuffle(lines)
    shuffled.write_text("".join(lines))
    assert shuffled.read_bytes() != BOARD.read_bytes()
    first = printed(BOARD, tmp_path, "0")
    assert first.count("99.72") >= len(FORMATS) - 2
    assert printed(shuffled, tmp_path, "1") == first


@pytest.mark.parametrize("form", FORMATS)
def test_a_board_is_printed_twice_the_same(form):
    made = board()
    assert to_text(made, form, best=True) == to_text(made, form, best=True) == to_text(
        board(), form, best=True
    )  # fmt: skip
