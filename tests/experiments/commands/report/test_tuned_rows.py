"""`report` of a board file with a search: the choice is made again from the file's own runs."""

from __future__ import annotations

import pytest

from experiments.commands.tuned import is_of_a_search
from tests.experiments.commands.report.test_boards import ROOT, Line, again, lines_of, written

TUNED = ROOT / "results/boards/tune-digits.jsonl"
SMALL, LARGE = "resnet20 → resnet8", "resnet32 → resnet14"


@pytest.fixture
def kd() -> list[Line]:
    """The runs of the student alone and of KD: search, own options, and the chosen ones."""
    return [line for line in lines_of(TUNED) if line["spec"]["method"] in ("vanilla", "kd")]


def cells(board) -> dict[tuple[str, str], int]:
    """(row, pair) -> how many runs it has, where it has any."""
    counts = board.frame.set_index(["method", "pair"])["n"].to_dict()
    return {place: n for place, n in counts.items() if n}


def is_search(line: Line) -> bool:
    return is_of_a_search(line["spec"]) and bool(line["spec"]["teacher"])


def options(line: Line) -> str:
    return str(sorted(line["spec"]["options"].items()))


def student(line: Line) -> str:
    return str(line["spec"]["student"])


def score(line: Line, top1: float) -> None:
    line["accuracy"]["last"]["top1"] = top1


def chosen(lines: list[Line], of: str) -> Line:
    """The first final run of the chosen options for a student."""
    final = [x for x in lines if student(x) == of and x["spec"]["teacher"] and not is_search(x)]
    return next(x for x in final if x["spec"]["options"]["kd_temperature"] != 4.0)


def test_own_and_tuned(reports, tmp_path, kd):
    (content,) = reports.of(written(tmp_path, kd))
    assert content.board.methods == ("Student alone", "KD", "KD (tuned)")
    assert set(cells(content.board).values()) == {3} and len(cells(content.board)) == 6
    assert any(note.startswith("(tuned): with the options") for note in content.board.notes)
    other = content.methods["KD (tuned)"].exceptions
    assert other[SMALL] == "ce 0.622, kd 1.6, kd_temperature 11.0"


def test_what_was_chosen_for_all_pairs_is_said(reports):
    (content,) = reports.of(str(TUNED))
    assert "DKD (tuned): alpha 0.548, beta 1.7, temperature 4.16" in content.board.exceptions


def test_without_the_search(reports, tmp_path, kd):
    (content,) = reports.of(written(tmp_path, [line for line in kd if not is_search(line)]))
    assert "KD (ce 0.622, kd 1.6, kd_temperature 11.0)" in content.board.methods
    assert "KD (tuned)" not in content.board.methods and not content.board.notes


def test_own_options_that_were_chosen(reports, tmp_path, kd):
    """They are in both rows, and each run once on the page."""
    best = chosen(kd, "resnet8")
    for line in kd:
        is_own = line["spec"]["options"]["kd_temperature"] == 4.0
        if is_search(line) and student(line) == "resnet8" and is_own:
            score(line, 99.9)
    left = [x for x in kd if is_search(x) or student(x) != "resnet8" or options(x) != options(best)]
    (content,) = reports.of(written(tmp_path, left))
    found = cells(content.board)
    assert found["KD", SMALL] == found["KD (tuned)", SMALL] == 3
    ids = [run.id for run in content.runs]
    assert len(ids) == len(set(ids))


def test_one_choice_for_all_pairs(reports, tmp_path, kd):
    """`per: matrix`: the best on average, on no pair the best."""
    runs = [x for x in kd if is_search(x)]
    everywhere = options(chosen(kd, "resnet8"))
    others = [x for x in dict.fromkeys(map(options, runs)) if x != everywhere]
    for line in runs:
        better = {"resnet8": others[0], "resnet14": others[1]}[student(line)]
        score(line, 99.0 if options(line) == better else 98.0 * (options(line) == everywhere))
    final = [
        x for x in kd if not is_search(x) and x["spec"]["teacher"] and student(x) == "resnet14"
    ]
    for line in final:
        if line["spec"]["options"]["kd_temperature"] != 4.0:
            line["spec"]["options"] = chosen(kd, "resnet8")["spec"]["options"]
    (content,) = reports.of(written(tmp_path, kd))
    found = cells(content.board)
    assert found["KD (tuned)", SMALL] == found["KD (tuned)", LARGE] == 3
    assert found["KD", SMALL] == found["KD", LARGE] == 3


def test_one_choice_for_all_pairs_where_the_own_options_are_best_on_one(reports, tmp_path, kd):
    """Each pair's best is among its final runs: read by pair, these would be two own options."""
    everywhere = options(chosen(kd, "resnet8"))
    for line in kd:
        is_own = line["spec"]["options"]["kd_temperature"] == 4.0
        if is_search(line):
            best = 99.0 if student(line) == "resnet8" else 50.0
            score(line, best if options(line) == everywhere else 51.0 if is_own else 1.0)
        elif line["spec"]["teacher"] and not is_own:
            line["spec"]["options"] = chosen(kd, "resnet8")["spec"]["options"]
    (content,) = reports.of(written(tmp_path, kd))
    assert content.board.methods == ("Student alone", "KD", "KD (tuned)")
    told = "KD (tuned): ce 0.622, kd 1.6, kd_temperature 11.0"
    assert [text for text in content.board.exceptions if "KD" in text] == [told]


def test_a_search_whose_choice_is_still_to_be_trained(reports, tmp_path, kd):
    best = options(chosen(kd, "resnet8"))
    left = [x for x in kd if is_search(x) or student(x) != "resnet8" or options(x) != best]
    (content,) = reports.of(written(tmp_path, left))
    found = cells(content.board)
    assert found["KD", SMALL] == found["KD (tuned)", LARGE] == 3
    assert ("KD (tuned)", SMALL) not in found


def test_final_runs_that_no_choice_explains(reports, tmp_path, kd):
    """A third configuration of one pair, or two searches in one file: rows by their options."""
    third = again(chosen(kd, "resnet8"), "third", options__kd_temperature=64.0)
    (content,) = reports.of(written(tmp_path, [*kd, third]))
    assert "KD (tuned)" not in content.board.methods and len(content.runs) == 21
    searches = [again(x, f"s{i}", recipe__epochs=3) for i, x in enumerate(kd) if is_search(x)]
    (content,) = reports.of(written(tmp_path, [*kd, *searches]))
    assert "KD (tuned)" not in content.board.methods


def test_runs_of_another_recipe_are_not_what_was_searched_for(reports, tmp_path, kd):
    """Another batch size: another table, whose rows are named by their options."""
    final = [x for x in kd if not is_of_a_search(x["spec"])]
    other = [again(x, f"b{i}", recipe__batch_size=32) for i, x in enumerate(final)]
    first, second = reports.of(written(tmp_path, [*kd, *other]))
    labels = {
        content.board.recipe.split(", ")[1]: content.board.methods for content in (first, second)
    }
    assert "KD (tuned)" in labels["batch 64"]
    assert "KD (tuned)" not in labels["batch 32"]


def test_a_shorter_search(reports, tmp_path, kd):
    for line in kd:
        if is_search(line):
            line["spec"]["recipe"]["epochs"] = 5
    (content,) = reports.of(written(tmp_path, kd))
    assert "KD (tuned)" in content.board.methods
