"""CSV: what a spreadsheet would run as a formula is text; numbers stay numbers."""

from __future__ import annotations

import csv
import io

import pytest

from results.cells import FAILED, Cell
from results.formats import to_text, trials_csv
from results.spreadsheet import harmless
from tests.results.example import board, record
from tests.results.test_leaderboard import make

FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1")


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_either_form_begins_a_formula(text):
    cells = [Cell("p", text, 0, record(70.0)), Cell(text, "KD", 0, reason=text, state=FAILED)]
    for made in (to_text(make(cells), "csv"), trials_csv(make(cells))):
        values = [value for row in rows(made) for value in row.values()]
        shown = text.replace("\r", "\n")
        assert f"'{shown}" in values and text not in values and shown not in values


def test_numbers_keep_their_sign():
    assert (harmless(-0.25), harmless(None), harmless("a-b")) == (-0.25, None, "a-b")
    made = board()
    made.frame.loc[0, "mean"] = -0.25
    assert rows(to_text(made, "csv"))[0]["mean"] == "-0.25"


def test_other_texts_are_not_touched():
    made = board()
    text, frame = to_text(made, "csv"), made.frame.to_csv(index=False, lineterminator="\n")
    for line, own in zip(text.splitlines(), frame.splitlines(), strict=True):
        assert line.startswith(own)  # columns of verdicts follow
