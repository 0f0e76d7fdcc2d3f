from __future__ import annotations

import pytest
from scipy import stats

from results import diagram
from results.cells import Cell
from results.diagram import DiagramError
from results.leaderboard import leaderboard
from tests.results.test_verdicts import ALONE, board_of


def board(cells):
    return leaderboard(cells, {}, dataset="CIFAR-100", baseline=ALONE)


def test_ranks_are_scipys_and_ties_share_one():
    cells = board_of({"A": 1.0, "B": 0.0, "C": 0.0}, spread=0.3)
    cells += [Cell(c.pair, "A again", c.trial, c.record) for c in cells if c.method == "A"]
    made = board(cells)
    found = diagram.ranks(made)
    scores = made.frame.pivot(index="pair", columns="method", values="mean").loc[found.index]
    for pair, row in scores[list(found.columns)].iterrows():
        assert found.loc[pair].tolist() == stats.rankdata(-row).tolist()
    assert (found["A"] == found["A again"]).all()


def test_incomplete_methods_are_not_ranked():
    cells = board_of({"A": 1.0, "B": 0.0, "C": 0.0})
    cells[-1] = Cell(cells[-1].pair, "C", 2)
    assert list(diagram.ranks(board(cells)).columns) == [ALONE, "A", "B"]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (board_of({f"M{i}": 0.0 for i in range(10)}), "at most 10 methods, here 11"),
        (board_of({"A": 0.0}), "2 methods have every pair"),
        (board_of({"A": 0.0, "B": 0.0}, pairs=5), "at least 6 pairs that share no runs, here 5"),
        (board_of({"A": 0.0, "B": 0.0}, shared=True), "share no runs, here 4"),
    ],
)
def test_what_would_mislead_is_refused(cells, message):
    with pytest.raises(DiagramError, match=message):
        diagram.ranks(board(cells))


@pytest.mark.parametrize(
    ("ending", "begin"), [(".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")]
)
def test_equal_boards_give_equal_pictures(ending, begin):
    made = board(board_of({"A $x_1$": 1.0, "B": 0.0}))
    picture = diagram.draw(made, ending)
    assert picture.startswith(begin)
    assert picture == diagram.draw(made, ending)
    if ending == ".svg":
        assert b"A $x_1$" in picture
