"""Students of several teachers: accuracies, gains and whether they follow the teachers'."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scipy import stats

from results import formats, ladder_tables, pivot_formats
from results.cells import Cell
from results.ladder import Ladder, ladders
from results.leaderboard import Leaderboard, leaderboard
from tests.results.swept import taught

SIX = {"t1": 70.0, "t2": 74.0, "t3": 72.0, "t4": 76.0, "t5": 78.0, "t6": 80.0}
METHODS = {"KD": lambda teacher: (teacher - 70) / 4, "AT": lambda teacher: 1.0}


def one(board: Leaderboard) -> Ladder:
    (made,) = ladders(board)
    return made


def again(board: Leaderboard, cells: Sequence[Cell], **changes: object) -> Leaderboard:
    made = leaderboard(cells, board.teachers, dataset="digits", baseline="Student alone")
    return replace(made, **changes)


def test_teachers_are_rows_by_accuracy_and_methods_columns():
    made = one(taught(SIX, METHODS))
    accuracies, gains, trends = ladder_tables.of_all([made])
    assert [row[0] for row in accuracies.rows] == ["t1", "t3", "t2", "t4", "t5", "t6"]
    assert accuracies.header == ["Teacher", "Its accuracy", "Student alone", "KD", "AT"]
    assert [row[1] for row in gains.rows] == ["70.00", "72.00", "74.00", "76.00", "78.00", "80.00"]
    assert gains.header[2:] == ["KD", "AT"]
    means = made.board.frame.set_index(["method", "pair"])["mean"]
    assert accuracies.rows[1][3].startswith(f"{means['KD', 't3 → s']:.2f} ± ")
    assert [row[0] for row in trends.rows] == ["KD", "AT"]


def test_gains_are_paired_by_trial_and_paid_for_together():
    made = one(taught(SIX, METHODS))
    means = made.board.frame.set_index(["method", "pair"])["mean"]
    assert len(made.gains) == 12
    for (method, pair), gain in made.gains.items():
        expected = means[method, pair] - means["Student alone", pair]
        assert gain.difference.mean == pytest.approx(expected)
    judged = made.gains["KD", "t6 → s"].estimate
    assert judged is not None
    error = made.gains["KD", "t6 → s"].difference.error
    half = stats.t.isf(0.05 / 12 / 2, 2) * error
    assert judged.high - judged.mean == pytest.approx(half)


def test_a_trend_is_claimed_from_six_teachers_on():
    made = one(taught(SIX, METHODS))
    trend = made.trends["KD"]
    assert (trend.tau, trend.n) == (pytest.approx(1), 6)
    assert trend.p == pytest.approx(2 * 2 / 720)  # one of 6! orders, two sides, two methods
    rows = {row[0]: row for row in ladder_tables.of_all([made])[2].rows}
    assert rows["KD"][4] == "better students"
    assert rows["AT"][4] == "not separated"
    five = {name: accuracy for name, accuracy in SIX.items() if name != "t6"}
    fewer = one(taught(five, METHODS))
    assert (fewer.trends["KD"].tau, fewer.trends["KD"].p) == (pytest.approx(1), None)
    table = ladder_tables.of_all([fewer])[2]
    assert table.rows[0][3:] == ["–", "–"]
    assert "Nothing is claimed of fewer than 6 teachers." in table.notes


def test_worse_students_of_better_teachers_are_told():
    made = one(taught(SIX, {"KD": lambda teacher: (80 - teacher) / 4}))
    assert ladder_tables.of_all([made])[2].rows[0][1::3] == ["−1.00", "worse students"]


def test_only_students_with_two_teachers_have_a_ladder():
    board = taught({"t1": 70.0, "t2": 72.0}, METHODS, students=("s", "u"))
    assert [made.student for made in ladders(board)] == ["s", "u"]
    assert one(board.__class__(**{**vars_of(board), "pairs": board.pairs[:3]})).student == "s"
    assert one(taught({"t1": 70.0, "t2": 72.0}, METHODS)).trends["KD"].tau is None  # of two
    assert ladders(taught({"t1": 70.0}, METHODS)) == []


def vars_of(board: Leaderboard) -> dict[str, object]:
    return {name: getattr(board, name) for name in board.__dataclass_fields__}


@pytest.mark.parametrize("pair", ["t1 → m → s", "none → s"])
def test_chains_and_students_alone_are_no_rungs(pair: str):
    board = taught({"t1": 70.0, "t2": 72.0}, METHODS)
    cells = [replace(c, pair=pair) if c.pair == "t2 → s" else c for c in board.cells]
    assert ladders(again(board, cells)) == []


def test_incomplete_cells_have_no_gain_and_are_in_no_trend():
    board = taught(SIX, METHODS)
    place = next(i for i, c in enumerate(board.cells) if (c.method, c.pair) == ("KD", "t6 → s"))
    cells = list(board.cells)
    cells[place] = replace(cells[place], record=None, state="to do")
    made = one(again(board, cells))
    assert ("KD", "t6 → s") not in made.gains
    assert (made.trends["KD"].n, made.trends["AT"].n) == (5, 6)
    accuracies, gains, _ = ladder_tables.of_all([made])
    assert accuracies.rows[5][3].endswith("(n=2)")
    assert gains.rows[5][2] == "–"


def test_a_teacher_that_is_not_measured_comes_last():
    board = taught(SIX, METHODS)
    known = {pair: scores for pair, scores in board.teachers.items() if pair != "t1 → s"}
    made = one(leaderboard(board.cells, known, dataset="digits", baseline="Student alone"))
    rows = ladder_tables.of_all([made])[0].rows
    assert rows[5][:2] == ["t1", "–"]
    assert made.trends["KD"].n == 5


def test_without_the_student_alone_there_are_no_gains():
    board = taught(SIX, METHODS)
    cells = [cell for cell in board.cells if cell.method != "Student alone"]
    made = one(leaderboard(cells, board.teachers, dataset="digits"))
    accuracies, trends = ladder_tables.of_all([made])
    assert "No gains: the matrix has no student alone (vanilla)." in accuracies.notes
    assert len(trends.rows) == 2


def test_one_trial_shows_gains_and_claims_nothing():
    made = one(taught(SIX, METHODS, trials=1))
    gains = ladder_tables.of_all([made])[1]
    assert "[" not in gains.rows[0][2]
    assert "Nothing is claimed of gains" in gains.notes[0]


def test_rows_of_another_recipe_are_left_out_by_name():
    board = taught(SIX, METHODS)
    cells = [
        replace(c, departs=("recipe.epochs 9",)) if c.method == "AT" else c for c in board.cells
    ]
    made = one(again(board, cells))
    assert made.methods == ["KD"]
    notes = ladder_tables.of_all([made])[0].notes
    assert "Left out, as of another recipe or other data: AT." in notes


def test_exceptions_of_the_rows_that_are_shown_are_named():
    """The recipe above is not that of every student and teacher."""
    board = taught(SIX, METHODS)
    cells = [replace(c, departs=("recipe.lr 9",)) if c.method == "AT" else c for c in board.cells]
    told = ["lr 0.01 for student s", "KD: weight 2"]
    made = one(again(board, cells, exceptions=(*told, "AT: weight 9")))
    notes = ladder_tables.of_all([made])[0].notes
    assert [note for note in notes if "Exception" in note] == [f"Exception: {x}" for x in told]


@pytest.mark.parametrize("form", list(formats.FORMATS))
def test_every_format_is_written(form: str):
    board = taught(SIX, METHODS)
    written = pivot_formats.to_text(pivot_formats.of_ladders(board, ladders(board)), form)
    assert "KD" in written
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(written)))
        assert len(rows) == 18
        assert {row["gain"] == "" for row in rows if row["method"] == "Student alone"} == {True}
    if form == "json":
        (made,) = json.loads(written)["ladders"]
        assert made["trends"]["KD"]["verdict"] == "better students"
        assert (made["alone"], len(made["rows"])) == ("Student alone", 18)
