"""One row per run, in csv and json."""

from __future__ import annotations

import csv
import io
import json

from results.cells import Cell
from results.formats import to_text, trials_csv
from tests.results.example import board, record
from tests.results.test_leaderboard import make

SPEC = {
    "method": "kd",
    "student": "resnet8",
    "teacher": {"name": "resnet14"},
    "options": {"kd": 1.0, "layers": (1, 2), "mode": 'a "b", c'},
    "dataset": {"name": "fake"},
}


def example():
    accuracy = {
        "last": {"top1": 70.125, "top5": 92.0},
        "best": {"top1": 71.0, "epoch": 3, "split": "validation"},
        "validation": {"top1": 69.5},
    }
    done = record(70.125, run="r1", accuracy=accuracy, seconds=12.5)
    return make(
        [
            Cell("p", "KD, mine", 0, done, run="r1", spec=SPEC),
            Cell("p", "KD, mine", 1, reason="E: bad", state="failed", run="r2", spec=SPEC),
            Cell("p", "KD, mine", 2, run="r3", spec=SPEC),
        ]
    )


def test_csv_has_one_value_per_column():
    first, second, third = csv.DictReader(io.StringIO(trials_csv(example())))
    assert json.loads(first.pop("options")) == {"kd": 1.0, "layers": [1, 2], "mode": 'a "b", c'}
    assert first == {
        "method": "kd", "label": "KD, mine", "student": "resnet8", "teacher": "resnet14",
        "pair": "p", "dataset": "fake", "trial": "0", "run": "r1", "state": "done",
        "top1": "70.125", "top5": "92.0", "best_top1": "71.0", "best_epoch": "3",
        "best_split": "validation", "validation_top1": "69.5", "seconds": "12.5", "reason": "",
    }  # fmt: skip
    assert (second["run"], second["state"], second["top1"], second["reason"]) == (
        "r2", "failed", "", "E: bad",
    )  # fmt: skip
    assert (third["state"], third["trial"], third["reason"]) == ("to do", "2", "")


def test_json_has_options_as_an_object():
    trials = json.loads(to_text(example(), "json"))["trials"]
    assert [t["state"] for t in trials] == ["done", "failed", "to do"]
    assert trials[0]["options"]["layers"] == [1, 2]
    assert trials[0]["top1"] == 70.125 and trials[1]["top1"] is None


def test_a_record_alone_says_what_it_is():
    made = make([Cell("p", "KD", 0, record(70.0, run="r", spec=SPEC))])
    (row,) = csv.DictReader(io.StringIO(trials_csv(made)))
    assert (row["method"], row["student"], row["run"]) == ("kd", "resnet8", "r")


def test_no_column_holds_several_values():
    made = board()
    assert "values" not in made.frame.columns
    rows = list(csv.DictReader(io.StringIO(trials_csv(made))))
    assert len(rows) == len(made.cells) == 45
    for _, cell in made.frame.iterrows():
        tops = [float(r["top1"]) for r in rows if r["top1"] and
                (r["label"], r["pair"]) == (cell["method"], cell["pair"])]  # fmt: skip
        assert len(tops) == cell["n"]
