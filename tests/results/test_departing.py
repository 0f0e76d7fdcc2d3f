"""Rows of another recipe or other data than the table's: shown, and compared with nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from results import caveats, diagram, selection
from results.cells import Cell
from results.leaderboard import Leaderboard, leaderboard
from results.report import chart_gap, chart_ranks
from tests.results.test_published_verdict import beside
from tests.results.test_published_verdict import cells as published_cells
from tests.results.test_verdicts import ALONE, board_of

LONGER = ("recipe.epochs 480",)


def cells(longer: tuple[str, ...] = LONGER) -> list[Cell]:
    """B is by far the best, since it was trained longer."""
    found = board_of({"A": 0.5, "B": 5.0, "C": 0.0}, spread=0.3)
    return [replace(cell, departs=longer) if cell.method == "B" else cell for cell in found]


def board(given: list[Cell], baseline: str | None = ALONE) -> Leaderboard:
    return leaderboard(given, {}, dataset="CIFAR-100", baseline=baseline)


def test_it_changes_no_verdict_of_the_others():
    without = board([cell for cell in cells() if cell.method != "B"]).verdicts
    assert board(cells()).verdicts == without
    assert board(cells(())).verdicts != without


def test_it_has_no_difference_and_no_rank():
    made = board(cells())
    assert math.isnan(made.delta("B")) and not math.isnan(made.delta("A"))
    assert made.average("B") > made.average("A")
    assert set(selection.ranks(made)) == {ALONE, "A", "C"}
    assert selection.ranks(made)["A"] == 1
    assert list(diagram.ranks(made).columns) == [ALONE, "A", "C"]
    assert set(chart_ranks._groups(made)) == {ALONE, "A", "C"}


def test_a_table_of_such_rows_alone_concludes_nothing():
    made = board([cell for cell in cells() if cell.departs], baseline=None)
    assert made.verdicts.comparisons == {} and made.verdicts.best == {}


def test_the_gap_is_to_a_student_alone_of_the_tables_own_recipe():
    other = [
        replace(c, method="Longer alone", departs=LONGER) for c in cells() if c.method == ALONE
    ]
    made = board([*other, *cells()])
    assert chart_gap._student_alone(made) == chart_gap._student_alone(board(cells()))
    assert chart_gap._student_alone(made) != "Longer alone"


@pytest.mark.parametrize(("departs", "count"), [((), 1), (("dataset.subset 100",), 0)])
def test_other_data_that_are_meant_are_no_mixture(departs, count):
    shas = {"A": "ab" * 32, "B": "cd" * 32}
    found = []
    for cell in cells(departs):
        if cell.record is not None and cell.method in shas:
            data = cell.record.data.model_copy(update={"sha256": shas[cell.method]})
            record = cell.record.model_copy(update={"data": data})
            found.append(replace(cell, record=record))
    assert sum(text.startswith("mixed data") for text in caveats.warnings(found)) == count


def test_published_results_are_of_the_whole_data():
    part = [replace(c, departs=("dataset.subset 100",)) for c in published_cells("kd", [70.66] * 3)]
    whole, other = (beside(made).cells[0] for made in (published_cells("kd", [70.66] * 3), part))
    assert not whole.reasons
    assert other.reasons == ("other data (subset 100)",)
