"""`table`, `report` and `collect` of a matrix that tunes: what is gathered, shown and left out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.commands import tuned
from experiments.matrix.schema import Matrix
from experiments.rundir.status import State, Status
from results.tuning import DIVERGED
from tests.experiments import cli, tuned_matrix
from tests.experiments.tuned_matrix import (
    PAIRS,
    ROWS,
    SHOWN,
    TEST,
    VALIDATION,
    expanded,
    gathered,
    statuses_of,
    tuning_matrix,
    whole,
)

# ---- what is gathered ----------------------------------------------------------------------------


def test_the_searches_of_a_matrix_that_is_done():
    expansion, found = whole()
    assert [(s.label, s.pairs) for s in found.searches] == [
        (label, (pair,)) for label in ("KD", "AT") for pair in SHOWN
    ]
    assert [search.chosen for search in found.searches] == [2, 2, 0, 0]
    first = found.searches[0]
    assert first.values == [VALIDATION, VALIDATION + 1, VALIDATION + 5]
    assert first.options == expansion.choices[0].options
    assert first.seconds == 300.0
    assert found.tuned == {"KD": "KD (tuned)", "AT": "AT (tuned)"}
    assert (found.configs, found.seed, found.trials, found.given) == (3, 0, 1, ())
    assert found.held_out == "10 % of the training set (36 images)"


def test_every_run_is_in_one_stage():
    expansion, found = whole()
    assert {stage.name: stage.runs for stage in found.stages} == {
        "teachers of the search": 2,
        "search": 12,
        "teachers": 2,
        "final, own options": 2 + 4 + 4,  # the student alone is one for both pairs
        "final, tuned": 4,  # AT's are runs of its own options
    }
    assert sum(stage.runs for stage in found.stages) == len(expansion.runs)
    assert all(stage.done == stage.runs for stage in found.stages)
    assert found.stages[1].seconds == 1200.0


def test_a_stale_result_is_not_done():
    expansion, found = whole()
    statuses = statuses_of(expansion)
    first = expansion.candidates[0].spec
    stale = {first.id: Status(first, State.STALE, record=statuses[first.id].record)}
    search = gathered(expansion, statuses_of(expansion, **stale))
    assert (search.stages[1].done, search.stages[1].seconds) == (11, 1100.0)
    assert (search.searches[0].chosen, search.searches[0].seconds) == (None, 200.0)
    assert found.stages[1].done == 12


def test_a_joint_choice_is_one_search():
    _, found = whole(tune={"configs": 3, "per": "matrix", "trials": 2})
    assert [(search.label, search.pairs) for search in found.searches] == [
        ("KD", SHOWN), ("AT", SHOWN),
    ]  # fmt: skip
    assert [len(scores) for scores in found.searches[0].scores] == [4, 4, 4]
    assert (found.joint, found.trials) == (True, 2)


def test_while_runs_are_missing_there_is_no_choice():
    expansion = expanded()
    missing = expansion.choices[0].runs[1][0]
    found = gathered(expansion, statuses_of(expansion, without={missing}))
    first = found.searches[0]
    assert (first.chosen, first.done, first.curve) == (None, 2, [])
    assert first.seconds == 200.0
    assert found.searches[1].chosen == 2


def test_a_diverged_configuration_has_lost():
    expansion = expanded()
    lost = next(
        c.spec for c in expansion.candidates if c.spec.id == expansion.choices[0].runs[2][0]
    )
    failed = Status(lost, State.FAILED, "Diverged: loss not finite")
    first = gathered(expansion, statuses_of(expansion, **{lost.id: failed})).searches[0]
    assert first.values[2] == DIVERGED
    assert first.chosen == 1


@pytest.mark.parametrize("per", ["pair", "matrix"])
def test_pairs_that_cannot_be_served_are_in_no_search(per):
    expansion = expanded(tune={"configs": 3, "per": per})
    refused = {
        c.spec.id: Status(c.spec, State.UNSUPPORTED, "no such feature")
        for c in expansion.candidates
        if (c.label, c.pair) == ("KD", PAIRS[0])
    }
    found = gathered(expansion, statuses_of(expansion, **refused), tune={"configs": 3, "per": per})
    assert [s.pairs for s in found.searches if s.label == "KD"] == [SHOWN[1:]]
    assert found.searches[0].chosen == 2


def test_given_teachers_are_named():
    sha = "0" * 64
    teachers = {"resnet14": {"file": "w.pth", "sha256": sha}}
    facts = cli.Facts(teacher_sha256={"resnet14": sha})
    expansion = cli.expansion(facts, **tuning_matrix(teachers=teachers))
    found = gathered(expansion, statuses_of(expansion), teachers=teachers)
    assert found.given == ("resnet14",)


def test_without_tune_there_is_nothing():
    expansion = cli.expansion(methods=["kd"])
    matrix = Matrix.model_validate(cli.changed(methods=["kd"]))
    plan = SimpleNamespace(matrix=matrix, expansion=expansion)
    assert tuned.tuning_of(plan, {}) is None
    assert tuned.of_rows(matrix) is matrix.dataset


# ---- commands ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned_matrix.written(tmp_path_factory.mktemp("tuned"))


def called(verb: str, place: Path, *more: str) -> cli.Called:
    """A command about the board file."""
    data = ["--data", str(place / "data")]
    made = cli.call(verb, *more, "--runs", str(place / "all.jsonl"), *data)
    assert made.code == 0, made.err
    return made


def test_a_table_has_both_rows_and_no_configuration(place):
    made = json.loads(called("table", place, str(place / "matrix.yaml"), "--format", "json").out)
    assert tuple(made["meta"]["methods"]) == ROWS
    assert {row["top1"] >= TEST for row in made["trials"]} == {True}
    assert [search["chosen"] for search in made["tuning"]["searches"]] == [2, 2, 0, 0]
    gains = {gain["method"]: gain["difference"] for gain in made["tuning"]["gains"]}
    assert gains == {"KD": 3.0, "AT": 0.0}
    assert "held out" not in made["meta"]["dataset"]  # its rows are of the whole training set


def test_the_printed_table_says_what_was_chosen(place):
    text = called("table", place, str(place / "matrix.yaml"), "--format", "markdown").out
    expansion, found = whole()
    for search in found.searches[:2]:
        ((key, value), *_) = search.changed.items()
        assert f"{key} {value}" in text
    assert "| KD, resnet14 → resnet8 |" in text
    assert "41.00" not in text  # a configuration that was not chosen
    assert len(expansion.choices) == 4


def test_the_curves_are_a_csv(place, tmp_path):
    matrix = str(place / "matrix.yaml")
    lines = called("table", place, matrix, "--format", "csv", "--curves").out.splitlines()
    assert lines[0] == "method,pairs,k,expected_best,std,hours"
    assert len(lines) == 1 + 4 * 3
    assert lines[3].startswith("KD,resnet14 → resnet8,3,45.0,0.0,")
    untuned = str(cli.write(tmp_path, methods=["kd"]))
    made = cli.call("table", untuned, "--format", "csv", "--curves", "--runs", str(tmp_path))
    assert (made.code, made.err.splitlines()[-1]) == (
        2, f"error: --curves: {untuned} tunes nothing that is shown",
    )  # fmt: skip


def test_a_part_of_the_methods(place):
    matrix = str(place / "matrix.yaml")
    text = called("table", place, matrix, "--methods", "kd", "--format", "markdown").out
    assert "| KD (tuned)" in text
    assert "| AT" not in text


def test_collect_keeps_the_runs_of_a_matrix_and_the_table_stays(place):
    matrix, data = str(place / "matrix.yaml"), ["--data", str(place / "data")]
    target = place / "again.jsonl"
    one = [str(place / "all.jsonl"), "--matrix", matrix, "--output", str(target), *data]
    made = cli.call("collect", *one)
    assert made.code == 0, made.err
    ids = {json.loads(line)["run"] for line in target.read_text().splitlines()}
    assert ids == {spec.id for spec in whole()[0].runs}
    before = called("table", place, matrix)
    after = cli.call("table", matrix, "--runs", str(target), *data)
    assert after.out == before.out
