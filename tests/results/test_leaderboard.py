from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from results.cells import Cell, TeacherScores
from results.formats import to_text
from results.leaderboard import Leaderboard, leaderboard
from results.schema import Record
from tests.results.example import PAIRS, REASON, board, document, record

GOLDEN = Path(__file__).with_name("leaderboard.md")


def cells(scores: dict[str, dict[str, list[float | None]]]) -> list[Cell]:
    """method → pair → one score per trial, None for a run that is not done."""
    return [
        Cell(pair, method, trial, None if s is None else record(s, run=f"{pair}{method}{trial}"))
        for method, row in scores.items()
        for pair, column in row.items()
        for trial, s in enumerate(column)
    ]


def make(scores, teachers=None, **options) -> Leaderboard:
    given = cells(scores) if isinstance(scores, dict) else scores
    return leaderboard(given, teachers or {}, **{"dataset": "CIFAR-100", **options})


def grid(made: Leaderboard, best: bool = False, table: int = 0) -> list[list[str]]:
    """The texts of one of the Markdown tables, header first, without the rule."""
    blocks: list[list[str]] = [[]]
    for line in to_text(made, "markdown", best=best).splitlines():
        if line.startswith("|"):
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    lines = [line for i, line in enumerate(blocks[table]) if i != 1]
    return [[text.strip() for text in line.strip("|").split(" | ")] for line in lines]


def row(made: Leaderboard, method: str, pair: str) -> pd.Series:
    frame = made.frame
    return frame[(frame["method"] == method) & (frame["pair"] == pair)].iloc[0]


def test_mean_and_sample_deviation_by_hand():
    made = make({"KD": {"p": [70.0, 71.0, 73.0]}})
    cell = row(made, "KD", "p")
    assert cell["mean"] == pytest.approx(214 / 3, abs=1e-12)
    assert cell["std"] == pytest.approx(math.sqrt(7 / 3), abs=1e-12)  # ddof 1, not 0
    assert (cell["n"], cell["expected"], cell["missing"]) == (3, 3, 0)
    assert grid(made) == [["Method", "p"], ["KD", "71.33 ± 1.53"]]


def test_one_trial_has_no_deviation():
    made = make({"KD": {"p": [70.5]}})
    assert math.isnan(row(made, "KD", "p")["std"])
    assert grid(made)[1] == ["KD", "70.50"]
    text = to_text(made, "markdown")
    assert "±" not in text and "one trial per cell" in text


def test_missing_cell_refuses_the_average():
    made = make({"KD": {"p": [70.0], "q": [72.0]}, "AT": {"p": [71.0], "q": [None]}})
    assert grid(made) == [
        ["Method", "p", "q", "Average", "Coverage"],
        ["KD", "70.00", "72.00", "71.00", "2/2"],
        ["AT", "71.00", "–", "–", "1/2"],
    ]
    assert math.isnan(made.average("AT")) and made.average("KD") == 71.0


def test_unplanned_combination_is_missing_too():
    made = make({"KD": {"p": [70.0], "q": [72.0]}, "AT": {"q": [75.0]}})
    assert grid(made)[2] == ["AT", "–", "75.00", "–", "1/2"]


def test_incomplete_cell_shows_n_and_enters_nothing():
    made = make(
        {"KD": {"p": [70.0, 70.2], "q": [60.0, 60.2]}, "SP": {"p": [71.0, 71.2], "q": [61.0, 61.2]},
         "AT": {"p": [90.0, None], "q": [61.0, 61.0]}}
    )  # fmt: skip
    assert grid(made)[3] == ["AT", "90.00 (n=1)", "**61.00 ± 0.00**", "–", "1/2"]
    assert grid(made)[2][1:4] == ["**71.10 ± 0.14**", "**61.10 ± 0.14**", "**66.10**"]
    assert row(made, "AT", "p")["missing"] == 1
    assert math.isnan(made.average("AT"))


def test_different_numbers_of_trials_are_all_shown():
    made = make({"KD": {"p": [70.0, 72.0]}, "AT": {"p": [70.0]}})
    assert grid(made)[1:] == [["KD", "71.00 ± 1.41 (n=2)"], ["AT", "70.00 (n=1)"]]
    assert "over n trials" in to_text(made, "markdown")


def test_impossible_cell_is_a_footnote_and_not_missing():
    given = cells({"KD": {"p": [70.0], "q": [72.0]}, "AFD": {"p": [71.0]}})
    made = make([*given, Cell("q", "AFD", 0, reason="AFD: too | narrow")])
    assert grid(made)[0] == ["Method", "p", "q", "Average"]  # nothing missing: no coverage
    assert grid(made)[2] == ["AFD", "71.00", "n/a¹", "–"]
    assert "- ¹ AFD: too \\| narrow\n" in to_text(made, "markdown")
    cell = row(made, "AFD", "q")
    assert (cell["expected"], cell["missing"], cell["reason"]) == (0, 0, "AFD: too | narrow")
    assert not cell["complete"]


def test_equal_reasons_share_a_footnote():
    reasons = {"pA": "one", "qA": "two", "pB": "two", "qB": "one"}
    made = make([Cell(pair, method, 0, reason=r) for (pair, method), r in reasons.items()])
    assert grid(made)[1:] == [["A", "n/a¹", "n/a²", "–"], ["B", "n/a²", "n/a¹", "–"]]
    assert to_text(made, "markdown").count("one\n") == 1


def test_a_recorded_run_was_possible():
    made = make([Cell("p", "KD", 0, record(70.0), reason="cannot be"), Cell("p", "KD", 1)])
    assert grid(made)[1][1] == "70.00 (n=1)"


def test_what_cannot_be_told_apart_from_the_best_is_bold():
    made = make(
        {"KD": {"p": [70.0, 70.1, 70.2]}, "AT": {"p": [70.1, 70.2, 70.0]},
         "SP": {"p": [60.0, 60.1, 60.2]}}
    )  # fmt: skip
    assert [line[1].startswith("**") for line in grid(made)[1:]] == [True, True, False]
    assert "Bold: cannot be told apart from the best of its column." in to_text(made, "markdown")


def test_one_trial_is_never_bold():
    made = make({"KD": {"p": [90.0]}, "AT": {"p": [10.0]}})
    assert [line[1] for line in grid(made)[1:]] == ["90.00", "10.00"]
    text = "One trial per cell: no difference can be judged, and nothing is bold."
    assert text in to_text(made, "markdown")


def test_nothing_is_best_alone():
    assert grid(make({"KD": {"p": [70.0]}, "AT": {"p": [None]}}))[1][1] == "70.00"


def test_order_is_the_given_one_and_the_teacher_is_on_top_and_never_bold():
    made = make(
        {"Z": {"q": [70.0], "p": [60.0]}, "A": {"q": [75.0], "p": [65.0]},
         "M": {"q": [72.0], "p": [62.0]}},
        {"p": TeacherScores("t1", (80.0,)), "q": TeacherScores("t2", (90,))},
    )  # fmt: skip
    lines = grid(made)
    assert lines[0][1:] == ["q", "p", "Average"]
    assert [line[0] for line in lines[1:]] == ["Teacher", "Z", "A", "M"]
    assert lines[1] == ["Teacher", "90.00", "80.00", "85.00"]
    assert lines[3] == ["A", "75.00", "65.00", "70.00"]


def test_teacher_average_needs_every_teacher():
    made = make({"KD": {"p": [70.0], "q": [70.0]}}, {"p": TeacherScores("t", (80.0,))})
    assert grid(made)[1] == ["Teacher", "80.00", "–", "–"]


def test_paired_teachers_have_a_deviation():
    made = make({"KD": {"p": [70.0, 70.0]}}, {"p": TeacherScores("t", (80.0, 81.0))})
    assert grid(made)[1] == ["Teacher", "80.50 ± 0.71"]
    assert row(made, "KD", "p")["teacher_accuracy"] == 80.5


def test_delta_over_the_baseline():
    made = make(
        {"Student alone": {"p": [70.0], "q": [60.0]}, "KD": {"p": [72.0], "q": [61.0]},
         "AT": {"p": [69.0], "q": [60.5]}, "SP": {"p": [79.0], "q": [None]}},
        baseline="Student alone",
    )  # fmt: skip
    assert [line[4] for line in grid(made)] == ["Δ", "", "+1.50", "−0.25", "–"]


def test_best_epoch_has_a_table_of_its_own():
    made = make({"KD": {"p": [70.0, 71.0]}})
    assert "Best epoch" not in to_text(made, "markdown")
    text = to_text(made, "markdown", best=True)
    assert "### Best epoch, picked on the test set\n" in text
    assert grid(made, best=True)[1] == ["KD", "70.50 ± 0.71"]
    assert grid(made, best=True, table=1)[1] == ["KD", "70.75 ± 0.71"]
    cell = row(made, "KD", "p")
    assert (cell["best_mean"], cell["best_epoch"]) == (70.75, 232)


def test_unrecorded_best_epoch_is_a_dash():
    accuracy = {"last": {"top1": 70.0}, "best": None}
    given = [Cell("p", "KD", 0, record(70.0)), Cell("p", "KD", 1, record(0.0, accuracy=accuracy))]
    made = make(given)
    assert grid(made, best=True, table=1)[1] == ["KD", "–"]


def test_captions():
    made = make(
        {"KD": {"p": [70.0, 71.0]}},
        recipe="240 epochs",
        exceptions=["learning rate 0.01 for MobileNetV2"],
        notes=["AB trains 30 epochs longer"],
    )
    assert to_text(made, "markdown").split("\n\n")[2].splitlines() == [
        "- Test accuracy at the last epoch, mean ± sample standard deviation over n = 2 trials.",
        "- Recipe: 240 epochs.",
        "- Exception: learning rate 0.01 for MobileNetV2",
        "- AB trains 30 epochs longer",
        "- Test set: 10,000 images, the same for all. Their choice alone gives an accuracy of "
        "70.5 % a standard error of 0.46 points, which is in no spread above.",
    ]


def with_start(**changes) -> dict:
    start = document(70.0)["starts"][0]
    return {**start, **changes}


def test_equal_records_and_repeated_warnings():
    given = [Cell("p", "KD", t, record(70.0, run=str(t), warnings=["low"])) for t in range(3)]
    assert make(given).warnings == ("low",)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"versions": {"torch": "2.8"}}, "mixed torch versions: 2.7.1 (2 runs), 2.8 (1 run of AT)"),
        ({"device": "H100"}, "mixed devices: NVIDIA A100-SXM4-40GB (2 runs), H100 (1 run of AT)"),
        ({"commit": "f" * 40}, "mixed commits: 0123456789 (2 runs), ffffffffff (1 run of AT)"),
        ({"dirty": True}, "uncommitted changes in the code: 1 run of AT"),
    ],
)
def test_mixtures_are_named(changes, warning):
    given = cells({"KD": {"p": [70.0, 71.0]}})
    other = record(70.0, run="x", starts=[with_start(**changes)])
    assert make([*given, Cell("p", "AT", 0, other)]).warnings == (warning,)


def test_a_run_that_moved_and_other_data_are_named():
    moved = record(70.0, run="x", starts=[with_start(), with_start(device="H100")])
    other = record(70.0, run="y", data={"sha256": "e5"})
    given = [*cells({"KD": {"p": [70.0]}}), Cell("p", "A", 0, moved), Cell("p", "B", 0, other)]
    assert make(given).warnings == (
        "mixed data: d4 (2 runs), e5 (1 run of B)",
        "mixed devices: NVIDIA A100-SXM4-40GB (2 runs), "
        "NVIDIA A100-SXM4-40GB then H100 (1 run of A)",
    )


def test_a_baseline_shared_by_pairs_is_one_run():
    shared = record(70.0, run="s", starts=[with_start(dirty=True)])
    given = [Cell("p", "Student alone", 0, shared), Cell("q", "Student alone", 0, shared)]
    assert make(given).warnings == ("uncommitted changes in the code: 1 run of Student alone",)


def test_long_lists_of_methods_are_cut():
    given = [Cell("p", f"M{i}", 0, record(70.0, run=str(i), starts=[with_start(dirty=True)]))
             for i in range(6)]  # fmt: skip
    assert make(given).warnings[0].endswith("6 runs of M0, M1, M2, M3, …")


def test_different_teachers_of_one_pair_are_named_unless_paired():
    given = [Cell("p", "KD", t, record(70.0, run=str(t), teacher={"sha256": s * 64}))
             for t, s in enumerate("ab")]  # fmt: skip
    text = "p: students of different teachers (weights aaaaaaaa, bbbbbbbb)"
    assert make(given).warnings == (text,)
    paired = {"p": TeacherScores("t", (70.0, 71.0))}
    assert make(given, paired).warnings == ()
    third = Cell("p", "AT", 1, record(70.0, run="3", teacher={"sha256": "c" * 64}))
    text = "p, trial 1: students of different teachers (weights bbbbbbbb, cccccccc)"
    assert make([*given, third], paired).warnings == (text,)


def test_minimal_records_are_enough():
    least = {"format": 1, "run": "r", "spec": {}, "accuracy": {"last": {"top1": 70}}}
    made = make([Cell("p", "KD", 0, Record.model_validate(least))])
    assert grid(made)[1] == ["KD", "70.00"]
    assert "Cost" not in to_text(made, "markdown") and made.warnings == ()


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([], {}, "at least one cell"),
        ([Cell("p", "KD", 0), Cell("p", "KD", 0)], {}, "p, KD: trial 0 is given twice"),
        ([Cell("p", "KD", 0)], {"baseline": "KDD"}, "baseline 'KDD' is not a row: KD"),
    ],
)
def test_errors(given, options, message):
    with pytest.raises(ValueError, match=message):
        make(given, **options)


def test_unknown_format():
    with pytest.raises(ValueError, match="'md': known: markdown, csv, latex, json, html"):
        to_text(make({"KD": {"p": [70.0]}}), "md")


def test_golden_markdown():
    """To accept a change: see example.py, and read the file."""
    assert to_text(board(), "markdown", best=True) == GOLDEN.read_text("utf-8")


def test_csv_parses_back_at_full_precision():
    made = board()
    back = pd.read_csv(io.StringIO(to_text(made, "csv")))
    own = list(made.frame.columns)
    assert list(back.columns)[: len(own)] == own
    assert list(back.columns)[len(own) :] == [
        "difference", "average_difference", "low", "high", "p", "verdict", "basis",
    ]  # fmt: skip
    for column in ("mean", "std", "best_mean", "teacher_accuracy"):
        pd.testing.assert_series_equal(back[column], made.frame[column], rtol=1e-14)
    assert back["reason"].dropna().tolist() == [REASON]
    assert back["n"].tolist() == made.frame["n"].tolist()


def test_json_parses_back_at_full_precision():
    made = board()
    back = json.loads(to_text(made, "json"))
    assert back["meta"]["pairs"] == list(PAIRS)
    assert back["meta"]["teachers"][PAIRS[0]] == {"name": "resnet56", "accuracies": [72.34]}
    assert len(back["rows"]) == 15
    expected = made.frame["mean"].tolist()
    assert [r["mean"] for r in back["rows"]] == [None if math.isnan(m) else m for m in expected]
    assert back["cost"][0]["seconds"] == pytest.approx(4300.0)


def test_html_parses_back():
    text = to_text(board(), "html", best=True)
    assert text.count("<table>") == 4
    assert "<b>67.30 ± 0.10</b>" in text and "<td>AT | hints_1" in text
