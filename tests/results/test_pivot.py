"""Sweeps and ablations by the values of one or two options."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from results import formats, pivot, pivot_formats, pivot_tables
from results.cells import Cell
from results.layout import Table
from results.leaderboard import Leaderboard
from results.pivot import Pivot, Value
from tests.results.swept import PAIRS, swept, without

SWEEP = [{"t": t} for t in (4, 8, 1, 2)]
PRODUCT = [{"t": t, "e": e} for t in (1, 2, 4) for e in (60, 120)]
ABLATION = [{}, {"alpha": 0}, {"alpha": 2}, {"beta": 4}, {"beta": 0}]


def by(board: Leaderboard, *keys: str) -> list[Pivot]:
    return list(pivot.pivots(board, keys))


def first_column(table: Table) -> list[str]:
    return [row[0] for row in table.rows]


def text(board: Leaderboard, form: str, *keys: str) -> str:
    return pivot_formats.to_text(pivot_formats.of_pivots(board, by(board, *keys)), form)


def test_values_are_rows_in_their_order_and_pairs_columns():
    (made,) = by(swept({"t": 4}, SWEEP), "t")
    table, differences = pivot_tables.of(made)
    assert first_column(table) == ["t 1", "t 2", "t 4", "t 8"]
    assert table.header[1:4] == [*PAIRS, "Average"]
    assert [row[3] for row in table.rows] == [f"{made.board.average(row):.2f}" for row in made.rows]
    assert first_column(differences) == ["t 1", "t 2", "t 8"]
    assert "for all 3 comparisons together" in differences.notes[0]


def test_the_means_are_those_of_the_leaderboard():
    board = swept({"t": 4}, SWEEP)
    (made,) = by(board, "t")
    frame = board.frame.set_index(["method", "pair"])["mean"]
    own = made.board.frame.set_index(["method", "pair"])["mean"]
    for row, (_, label) in made.rows.items():
        for pair in PAIRS:
            assert own[row, pair] == frame[label, pair]


@pytest.mark.parametrize("spread, bold", [(0.05, True), (8.0, False)])
def test_the_best_is_bold_only_by_a_test(spread: float, bold: bool):
    (made,) = by(swept({"t": 4}, SWEEP, spread=spread), "t")
    assert bool(pivot_tables.of(made)[0].bold) is bold


def test_of_a_product_each_setting_of_the_others_has_a_table():
    found = by(swept({"t": 4, "e": 240}, PRODUCT), "t")
    assert [made.name for made in found] == ["KD (e 60)", "KD (e 120)"]
    assert all(made.board.baseline == "t 4" for made in found)
    assert "All rows have e 60." in pivot_tables.of(found[0])[0].notes
    (epochs, *_) = by(swept({"t": 4, "e": 240}, PRODUCT), "e")
    assert epochs.board.baseline is None  # 240 is not among them
    notes = " ".join(pivot_tables.of(epochs)[0].notes)
    assert "No row has the own values of KD: e 240" in notes
    assert len(pivot_tables.of(epochs)) == 1  # no differences


def test_two_options_have_a_table_for_each_pair_and_one_of_averages():
    (made,) = by(swept({"t": 4, "e": 120}, PRODUCT), "t", "e")
    *grids, differences = pivot_tables.of(made)
    assert len(grids) == len(PAIRS) + 1
    for table, pair in zip(grids, PAIRS, strict=False):
        assert table.header == ["t \\ e", "60", "120"]
        assert first_column(table) == ["1", "2", "4"]
        frame = made.board.frame.set_index(["method", "pair"])
        assert table.rows[1][2].startswith(f"{frame['mean']['t 2, e 120', pair]:.2f} ± ")
    assert grids[-1].rows[0][1] == f"{made.board.average('t 1, e 60'):.2f}"
    assert differences.title == "KD: Differences to t 4, e 120 (points)"


def test_an_ablation_varies_one_option_at_a_time():
    board = swept({"alpha": 1, "beta": 8}, ABLATION)
    assert pivot.options(board) == ["alpha", "beta"]
    (alpha,) = by(board, "alpha")
    assert (alpha.name, list(alpha.rows)) == ("KD", ["alpha 0", "alpha 1", "alpha 2"])
    assert alpha.rows["alpha 1"][1] == "KD"  # the entry's own row
    assert alpha.board.baseline == "alpha 1"
    (both,) = by(board, "alpha", "beta")
    grid = pivot_tables.of(both)[0]
    assert grid.header[1:] == ["0", "4", "8"]
    assert [bool(text) for text in grid.rows[0][1:]] == [False, False, True]
    assert "Empty: not in the matrix." in pivot_tables.of(both)[len(PAIRS)].notes


def test_what_is_not_there_yet_is_a_dash_and_in_no_average():
    board = without(swept({"t": 4}, SWEEP, trials=1), "KD (t 2)", PAIRS[0])
    (made,) = by(board, "t")
    row = pivot_tables.of(made)[0].rows[1]
    assert (row[1], row[3]) == ("–", "–")
    deltas = [pivot.delta(made, "t 2", pair) for pair in PAIRS]
    assert deltas[0] is None
    assert deltas[1] is not None


def test_one_trial_claims_nothing():
    tables = pivot_tables.of_all(by(swept({"t": 4}, SWEEP, trials=1), "t"))
    assert len(tables) == 1
    assert not tables[0].bold
    assert any("no difference can be judged" in note for note in tables[0].notes)
    (grid,) = by(swept({"t": 4, "e": 60}, PRODUCT, trials=1), "t", "e")
    assert any("Nothing is claimed" in note for note in pivot_tables.of(grid)[-1].notes)


def test_cells_that_cannot_be_have_their_reason():
    board = swept({"t": 4}, SWEEP, pairs=["a → s"])
    cells = [
        Cell(c.pair, c.method, c.trial, reason="no features") if c.method == "KD (t 8)" else c
        for c in board.cells
    ]
    table = pivot_tables.of_all(by(replace(board, cells=tuple(cells)), "t"))[0]
    assert table.rows[3][1].startswith("n/a")
    assert any("no features" in note for note in table.notes)


def test_rows_on_other_data_are_compared_with_one_another():
    board = swept({"dataset.subset": 64}, [{"dataset.subset": n} for n in (16, 64)])
    departing = tuple(replace(c, departs=("dataset.subset 16",)) for c in board.cells)
    (made,) = by(replace(board, cells=departing), "dataset.subset")
    assert list(made.board.verdicts.comparisons) == ["dataset.subset 16"]
    assert "Rows differ in their recipe or data, and in nothing else." in (
        pivot_tables.of(made)[0].notes
    )


def departing(board: Leaderboard, departs: Callable[[str], tuple[str, ...]]) -> Leaderboard:
    """The board whose rows have these departures from its recipe."""
    return replace(board, cells=tuple(replace(c, departs=departs(c.method)) for c in board.cells))


@pytest.mark.parametrize("keys", [["recipe.epochs"], ["t", "recipe.epochs"]])
def test_what_follows_a_swept_value_is_named(keys: list[str]):
    """Swept epochs move the milestones: the recipe above is that of no such row."""
    points = [{"t": t, "recipe.epochs": e} for t in (1, 2) for e in (60, 120)]
    board = departing(
        swept({"t": 2, "recipe.epochs": 120}, points),
        lambda row: ("recipe.epochs 60", "recipe.milestones 30") if "epochs 60" in row else (),
    )
    made = by(board, *keys)[0]
    notes = [note for table in pivot_tables.of(made) for note in table.notes]
    told = (
        "Other than the recipe and data of the matrix: recipe.epochs 60 has recipe.milestones 30."
    )
    assert notes.count(told) == 1


def test_what_all_rows_have_is_named():
    """An entry with a recipe of its own, of which an option is swept."""
    board = departing(swept({"t": 4}, SWEEP), lambda row: ("recipe.lr 0.01",))
    (made,) = by(board, "t")
    told = "Other than the recipe and data of the matrix: all rows have recipe.lr 0.01."
    assert told in pivot_tables.of(made)[0].notes


def test_a_part_of_a_sweep_names_where_its_other_options_stand():
    """The table of a single setting, which is not that of the entry."""
    board = swept({"t": 4, "e": 240}, PRODUCT)
    part = replace(board, methods=tuple(row for row in board.methods if "e 60" in row))
    (made,) = by(part, "t")
    assert made.name == "KD (e 60)"
    assert "All rows have e 60." in pivot_tables.of(made)[0].notes


def test_exceptions_are_those_of_the_entry_and_of_all():
    told = ["lr 0.01 for student s", "teachers trained here: epochs 9", "KD, a → s: weight 2"]
    board = replace(swept({"t": 4}, SWEEP), exceptions=(*told, "AT: weight 9", "KD (t 4): t 4"))
    board = replace(board, methods=(*board.methods, "AT"))
    (made,) = by(board, "t")
    assert list(made.board.exceptions) == told
    (product,) = by(replace(swept({"t": 4, "e": 60}, PRODUCT), exceptions=tuple(told)), "t", "e")
    assert f"Exception: {told[0]}" in pivot_tables.of(product)[len(PAIRS)].notes


def test_values_that_are_no_numbers_keep_their_order():
    board = swept({"t": 4}, SWEEP)
    (family,) = board.families
    words = {row: {"t": Value(word)} for row, word in zip(family.variants, "dcba", strict=True)}
    (made,) = by(replace(board, families=(replace(family, variants=words),)), "t")
    assert list(made.rows) == ["t d", "t c", "t b", "t a"]


def test_rows_that_are_not_shown_are_in_no_pivot():
    board = swept({"t": 4}, SWEEP)
    assert pivot.options(replace(board, methods=("KD (t 4)",))) == []
    assert not by(board, "e")


def test_csv_is_the_response_curve():
    board = without(swept({"t": 4}, SWEEP), "KD (t 8)", PAIRS[1])
    rows = list(csv.DictReader(io.StringIO(text(board, "csv", "t"))))
    assert len(rows) == 8
    first = rows[0]
    assert [first[name] for name in ("family", "pair", "key", "value", "own", "n")] == [
        *("KD", PAIRS[0], "t", "1", "False", "3")
    ]
    own = next(r for r in rows if r["pair"] == PAIRS[0] and r["own"] == "True")
    assert float(own["delta"]) == 0
    assert float(first["delta"]) == float(first["mean"]) - float(own["mean"])
    last = rows[-1]
    assert (last["n"], last["mean"] == "", last["complete"], last["delta"]) == (
        *("2", False, "False", ""),
    )


def test_json_has_what_the_csv_has_and_the_verdicts():
    board = swept({"t": 4, "e": 60}, PRODUCT)
    (made,) = json.loads(text(board, "json", "t", "e"))["pivots"]
    assert (made["keys"], made["own"]) == (["t", "e"], ["4", "60"])
    assert {"key", "value", "key2", "value2"} <= made["rows"][0].keys()
    assert made["verdicts"]["baseline"] == "t 4, e 60"
    assert made["averages"].keys() == {f"t {t}, e {e}" for t in (1, 2, 4) for e in (60, 120)}


@pytest.mark.parametrize("keys", [["t"], ["t", "e"]])
@pytest.mark.parametrize("form", list(formats.FORMATS))
def test_every_format_is_written(form: str, keys: list[str]):
    board = swept({"t": 4, "e": 60}, PRODUCT)
    written = text(board, form, *keys)
    assert "KD" in written
    assert written == text(board, form, *keys)
    if form == "latex":
        assert written.count(r"\begin{table}") == written.count(r"\end{table}") == 4
