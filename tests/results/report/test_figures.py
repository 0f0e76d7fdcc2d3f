"""Figures for a paper: which files, what they show, and that equal boards give equal ones."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import pytest

from results.layout import TableError
from results.report import figures
from tests.results.example import large_board
from tests.results.report.boards import content, content_of, several, small_boards
from tests.results.test_verdicts import ALONE, board_of


@pytest.fixture(scope="module")
def board():
    return several()


def shown(path):
    """All text of an SVG."""
    root = ElementTree.parse(path).getroot()
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]


def test_every_chart_is_written_as_svg_and_pdf(board, tmp_path):
    pairs = list(board.board.pairs[:6])
    written = figures.write(board, tmp_path / "new" / "folder", pairs=pairs)
    assert all(path.is_file() for path in written)
    names = [path.stem for path in written if path.suffix == ".svg"]
    assert [path.stem for path in written if path.suffix == ".pdf"] == names
    assert [name.split("-")[1] for name in names] == [
        "differences", "heatmap", "improved", *["cost"] * 3, *["curves"] * 12, "ranks",
        *["gap"] * 2,
    ]  # fmt: skip
    assert "test-curves-t0-s0-difference-to-Student-alone" in names
    assert all(p.read_bytes().startswith(b"%PDF") for p in written if p.suffix == ".pdf")
    for path in written:
        if path.suffix == ".svg":
            root = ElementTree.parse(path).getroot()
            assert root.get("width") == str(figures.WIDTH)
            assert root.find("{*}rect").get("fill") == "white"


def test_equal_boards_give_equal_figures(board, tmp_path):
    small = content(board_of({"KD": 1.0, "Bad": -1.0}, pairs=6), history=lambda run: "")
    first, second = (figures.write(small, tmp_path / name) for name in "ab")
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second, strict=True):
        assert one.suffix == ".pdf" or one.read_bytes() == other.read_bytes()
    assert "gradient_0" in (tmp_path / "a/test-heatmap.svg").read_text()


def test_only_what_is_chosen_is_shown(board, tmp_path):
    pairs = list(board.board.pairs[:2])
    written = figures.write(board, tmp_path, methods=["KD", "Bad", "Same"], pairs=pairs)
    assert not any("ranks" in path.name for path in written)  # two pairs are too few
    heatmap = shown(tmp_path / "test-heatmap.svg")
    assert {"KD", "Bad", "Same", *pairs} <= set(heatmap)
    assert board.board.pairs[2] not in heatmap
    figures.write(board, tmp_path / "all", methods=["KD", "Bad", "Same"])
    ranks = shown(tmp_path / "all/test-ranks.svg")
    assert "KD" in ranks
    assert ALONE not in ranks


def test_a_chart_without_the_chosen_methods_is_left_out(tmp_path):
    board = content(
        board_of({"KD": 1.0, "Bad": -1.0}, pairs=2),
        history=lambda run: "" if "Bad" in run else "stage,epoch,test_top1\nmain,1,3\nmain,2,4\n",
    )
    names = [path.name for path in figures.write(board, tmp_path, methods=["Bad"])]
    assert "test-differences.svg" in names
    assert not any("curves" in name for name in names)


def test_more_than_ten_methods_are_not_ranked(tmp_path):
    board = content_of(large_board(12), history=lambda run: "")
    assert not any("ranks" in path.name for path in figures.write(board, tmp_path))
    some = list(board.board.methods[:5])
    assert any("ranks" in path.name for path in figures.write(board, tmp_path, methods=some))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"methods": ["KDD"]}, "method 'KDD': not of this board: Student alone, KD"),
        ({"pairs": ["t9 → s9"]}, "pair 't9 → s9': not of this board: t0 → s0"),
    ],
)
def test_what_the_board_does_not_have_is_an_error(board, tmp_path, choice, message):
    with pytest.raises(TableError, match=message):
        figures.write(board, tmp_path / "none", **choice)
    assert not (tmp_path / "none").exists()


def test_a_board_without_results_is_an_error(tmp_path):
    with pytest.raises(TableError, match="test: no chart can be drawn"):
        figures.write(small_boards()["no run done"], tmp_path)


def test_names_are_harmless_and_unique(tmp_path):
    pairs = [f"{'x' * 120}/../{i}" for i in range(2)]
    cells = [
        dataclasses.replace(cell, pair=pairs[int(cell.pair[1])])
        for cell in board_of({"KD": 1.0}, pairs=2, trials=1)
    ]
    board = dataclasses.replace(content(cells), name="../up")
    written = figures.write(board, tmp_path)
    assert len(set(written)) == len(written)
    assert {path.parent for path in written} == {tmp_path}
    assert all(len(path.name) < 110 and path.is_file() for path in written)


def test_texts_that_no_svg_can_hold(tmp_path):
    """vl-convert would end the process, or draw nothing."""
    labels = ("nul\0here", "sur\ud800rogate", "__proto__")
    made = content(board_of(dict.fromkeys(labels, 1.0), pairs=2), history=lambda run: "")
    figures.write(made, tmp_path)
    found = shown(tmp_path / "test-differences.svg")
    assert {"nul\ufffdhere", "sur\ufffdrogate", "__proto__"} <= {text.strip() for text in found}


def test_no_two_boards_write_one_file(tmp_path):
    """Names of matrices that differ in case, or in what file names cannot have, or are long."""
    made = content(board_of({"KD": 1.0}, pairs=1), history=lambda run: "")
    taken: set[str] = set()
    names = ("a b", "a-b", "A+b", "字" * 200, "../x", "\ud800")
    boards = [dataclasses.replace(made, name=name) for name in names]
    written = [path for one in boards for path in figures.write(one, tmp_path, taken=taken)]
    assert len({str(path).casefold() for path in written}) == len(written) == 4 * len(names)
    assert {path.parent for path in written} == {tmp_path}
