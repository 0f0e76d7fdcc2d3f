"""Sorted rows, chosen columns, ranks, and averages over a part of the pairs."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from results import selection, tables
from results.cells import FAILED, STALE, Cell
from results.formats import to_text, trials_csv
from results.layout import LAYOUTS, Style, TableError
from results.selection import chosen, name_of, ranks, sort_columns, sorted_by
from tests.results.example import PAIRS, board, large_board, record
from tests.results.test_leaderboard import make

SCORES = {
    "Student alone": {"p": [60.0, 60.2], "q": [70.0, 70.2]},
    "b": {"p": [62.0, 62.0], "q": [70.0, 70.2]},
    "A": {"p": [61.001, 61.0], "q": [71.0, 71.2]},
    "half": {"p": [90.0, None], "q": [90.0, 90.0]},
    "c": {"p": [64.0, 64.0], "q": [70.0, 70.0]},
}


def scored(**options):
    return make(SCORES, baseline="Student alone", **options)


# ---- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("none", "Student alone, b, A, half, c"),
        ("method", "A, b, c, half, Student alone"),
        ("average", "c, b, A, Student alone, half"),
        ("delta", "c, b, A, Student alone, half"),
        ("p", "c, b, A, Student alone, half"),
        ("q", "half, A, Student alone, b, c"),
    ],
)
def test_sorted_from_the_highest_and_incomplete_methods_last(column, order):
    made = sorted_by(scored(), column)
    assert list(made.methods) == order.split(", ")
    assert list(dict.fromkeys(made.frame["method"])) == order.split(", ")
    assert list(made.cost_frame["method"]) == order.split(", ")
    assert list(dict.fromkeys(cell.method for cell in made.cells)) == order.split(", ")


def test_sorting_changes_no_number():
    before, after = scored(), sorted_by(scored(), "average")
    for method in before.methods:
        assert str(before.average(method)) == str(after.average(method))
        assert str(before.delta(method)) == str(after.delta(method))
    lines = [set(to_text(made, "markdown").splitlines()) for made in (before, after)]
    assert lines[0] == lines[1]


def test_equal_as_printed_stays_in_the_order_of_the_matrix():
    made = make({"x": {"p": [70.001]}, "y": {"p": [70.004]}, "z": {"p": [70.01]}})
    assert sorted_by(made, "average").methods == ("z", "x", "y")


def test_every_format_is_sorted():
    made = sorted_by(scored(), "method")
    for text in (to_text(made, "csv"), trials_csv(made)):
        rows = list(csv.DictReader(io.StringIO(text)))
        named = [row.get("label") or row["method"] for row in rows]
        assert list(dict.fromkeys(named)) == list(made.methods)


def test_notes_are_numbered_in_the_sorted_order():
    cells = [Cell("p", m, 0, reason=f"because {m}", state=FAILED) for m in ("b", "a")]
    text = to_text(sorted_by(make(cells), "method"), "markdown")
    assert text.index("¹ failed: because a") < text.index("² failed: because b")
    assert "| a        | failed¹ |" in text


def test_best_epochs_are_sorted_by_the_last():
    """Last and best are never mixed: the order is that of the headline."""
    best = {"x": 99.0, "y": 80.0}
    cells = [
        Cell("p", name, 0, record(top1, run=name, accuracy=scores(top1, best[name])))
        for name, top1 in (("x", 70.0), ("y", 71.0))
    ]
    made = sorted_by(make(cells), "average")
    assert made.methods == ("y", "x") and ranks(made) == {"y": 1, "x": 2}
    shown = chosen(tables.all_of(made, best=True), made, ["rank", "pairs"])
    assert [table.header for table in shown] == [["Method", "Rank", "p"], ["Method", "p"]]


def scores(last: float, best: float) -> dict[str, object]:
    return {"last": {"top1": last}, "best": {"top1": best, "epoch": 1}}


def test_what_can_be_sorted_by():
    assert sort_columns(scored()) == ["none", "method", "average", "delta", "p", "q"]
    assert "delta" not in sort_columns(make({"KD": {"p": [70.0]}}))


# ---- ranks ---------------------------------------------------------------------------------------


def test_ties_share_a_rank_and_incomplete_methods_have_none():
    made = make(
        {"a": {"p": [70.001]}, "b": {"p": [70.004]}, "c": {"p": [70.5]}, "d": {"p": [69.0]},
         "e": {"p": [None]}}
    )  # fmt: skip
    assert ranks(made) == {"c": 1, "a": 2, "b": 2, "d": 4}
    text = to_text(made, "markdown", style=Style(columns=("rank",), layout="transposed"))
    assert "| Rank   |   2 |   2 |   1 |   4 |   – |" in text


@pytest.mark.parametrize("state", [FAILED, STALE])
def test_what_failed_or_is_stale_has_no_rank(state):
    given = [Cell("p", "KD", 0, record(70.0)), Cell("p", "AT", 0, reason="r", state=state)]
    assert ranks(make(given)) == {"KD": 1}


def test_teachers_have_no_rank():
    (main,) = chosen(tables.all_of(board()), board(), ["rank", "coverage"])
    assert list(main.rows[0]) == ["Teacher", "", ""]
    assert list(main.rows[2]) == ["KD", "1", "3/3"] and list(main.rows[3]) == [
        "AT | hints_1",
        "–",
        "2/3",
    ]


# ---- columns -------------------------------------------------------------------------------------


def header(*columns: str, made=None) -> list[list[str]]:
    made = made or board()
    return [list(table.header)[1:] for table in chosen(tables.all_of(made), made, columns)]


def test_columns_in_the_order_given():
    assert header("delta", "pairs") == [["Δ", *PAIRS]]
    assert header("average", "time") == [["Average"], ["Time (min)"]]
    assert header("cost")[0][:2] == ["Time (min)", "Images/s"]
    assert header("memory", "time", "memory") == [["Peak memory (GiB)", "Time (min)"]]


def test_every_column_of_every_table_can_be_chosen():
    for made in (board(), large_board(6), replace(board(), all_pairs=13)):
        for table in tables.all_of(made, best=True):
            for heading in table.header[1:]:
                assert name_of(heading, made.pairs) in selection.COLUMNS


def test_bold_stays_with_its_number():
    made = board()
    (main,) = chosen(tables.all_of(made), made, ["average", "pairs"])
    bold = {main.rows[i][j] for i, j in main.bold}
    assert bold == {"70.40", "67.30 ± 0.10", "71.90 ± 0.10", "76.23 ± 0.12"}


def test_numbered_notes_go_with_what_refers_to_them():
    made = board()
    (less,) = chosen(tables.all_of(made), made, ["average"])
    (all_of_it,) = chosen(tables.all_of(made), made, ["pairs"])
    assert any(note.startswith("¹ AFD") for note in all_of_it.notes)
    assert not any(note.startswith("¹") for note in less.notes)
    assert [n for n in all_of_it.notes if not n.startswith("¹")] == list(less.notes)


def test_nothing_left_is_an_error():
    made = make({"KD": {"p": [70.0]}})
    with pytest.raises(TableError, match="--columns delta coverage: this table has none of them"):
        chosen(tables.all_of(made), made, ["delta", "coverage"])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_every_layout_shows_the_chosen(form, layout):
    text = to_text(board(), form, style=Style(layout=layout, columns=("average",), notes=False))
    assert "70.40" in text and "67.30" not in text and "15,000" not in text


# ---- a part of the pairs -------------------------------------------------------------------------


def test_an_average_over_some_of_the_pairs_says_so():
    whole, some = board(), replace(board(), all_pairs=13)
    text = to_text(some, "markdown")
    assert "Average of 3 " in text and "averaged over the 3 pairs shown." in text
    assert "Averages are over the 3 pairs shown, of 13 in the matrix." in text
    assert "Per run, mean over the 3 pairs shown, as recorded" in text
    assert "pairs shown" not in to_text(whole, "markdown")
    assert "Average of 3" in to_text(some, "latex", style=Style(only_tabular=True))
