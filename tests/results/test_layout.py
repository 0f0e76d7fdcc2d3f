"""Pairs as rows, columns in parts."""

from __future__ import annotations

import pytest

from results.formats import fitted, to_text
from results.layout import Style, Table, arranged, split, transposed
from tests.results.example import board, large_board
from tests.results.test_leaderboard import make

TABLE = Table(
    "T",
    ["Method", "p", "q", "Average"],
    [["Teacher", "80", "90", "85"], ["KD", "70", "72", "71"]],
    frozenset({(1, 1), (1, 3)}),
    ["note"],
    has_pairs=True,
)


def unit(table: Table, column: int) -> float:
    return 1.0


def test_transposed():
    turned = transposed(TABLE)
    assert turned.header == ["Pair", "Teacher", "KD"]
    assert turned.rows == [["p", "80", "70"], ["q", "90", "72"], ["Average", "85", "71"]]
    assert turned.bold == {(0, 2), (2, 2)}
    assert turned.notes == ["note"]


def test_only_tables_of_pairs_are_transposed():
    cost = Table("Cost", ["Method", "s"], [["KD", "1"]])
    assert arranged([TABLE, cost], "transposed", 99, unit) == [transposed(TABLE), cost]


def test_split_repeats_the_methods_and_keeps_what_is_bold():
    first, second = split(TABLE, 3, unit)
    assert (first.header, second.header) == (["Method", "p", "q"], ["Method", "Average"])
    assert second.rows == [["Teacher", "85"], ["KD", "71"]]
    assert (first.bold, second.bold) == ({(1, 1)}, {(1, 1)})
    assert (first.notes, second.notes) == ((), ["note"])
    assert (first.title, second.title) == ("T, part 1 of 2", "T, part 2 of 2")


def test_what_fits_is_not_split():
    assert split(TABLE, 4, unit) == [TABLE]


def test_parts_are_about_equally_wide():
    wide = Table("T", ["M", *"abcdefg"], [["m", *"abcdefg"]])
    assert [len(part.header) - 1 for part in split(wide, 7, unit)] == [4, 3]


def test_a_column_wider_than_the_room_stands_alone():
    assert [p.header for p in split(TABLE, 1.5, unit)] == [
        ["Method", "p"], ["Method", "q"], ["Method", "Average"],
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["markdown", "html"])
@pytest.mark.parametrize("layout", ["transposed", "split"])
def test_layouts_of_other_formats(form, layout):
    style = Style(layout=layout, notes=False, caption="Our <results>", cost=False)
    text = to_text(board(), form, style=style)
    assert "Cost" not in text and "last epoch" not in text
    assert ("Our \\<results>" if form == "markdown" else "Our &lt;results&gt;") in text
    assert ("Pair" in text) == (layout == "transposed")


@pytest.mark.parametrize("width", [80, 100, 132, 200])
def test_tables_fit_the_width(width):
    for made in (board(), large_board(methods=6)):
        text, _ = fitted(made, width, True, Style())
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("methods", "width", "how"),
    [
        (2, 900, ""),
        (2, 135, "transposed"),
        (10, 80, "transposed and split into parts"),
        (50, 120, "split into parts"),
    ],
)
def test_as_few_parts_as_possible_that_fits(methods, width, how):
    text, said = fitted(large_board(methods), width, False, Style(cost=False, notes=False))
    assert said == how
    assert ("part 1 of" in text, "| Pair " in text) == ("parts" in how, "transposed" in how)


def test_what_fits_is_as_it_is_in_a_pipe():
    assert fitted(board(), 900, True, Style())[0] == to_text(board(), "markdown", best=True)


def test_many_methods_of_few_pairs_are_not_transposed():
    scores = {f"M{i}": {f"{p}{'x' * 30} → y": [70.0] for p in "abc"} for i in range(40)}
    text, said = fitted(make(scores), 100, False, Style(cost=False))
    assert said == "split into parts" and "| Pair " not in text
