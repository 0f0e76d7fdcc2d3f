"""Tuning: the runs of the search as by hand, the choice, what placeholders become, and errors."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from experiments.errors import InputError, explain
from experiments.matrix import tuning
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Choice, Facts
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import Matrix
from experiments.matrix.select import select
from experiments.matrix.tune_entry import TuneEntry
from experiments.plan.stored_expansion import decoded, encoded
from tests.experiments.cli import changed, expansion

ALONE = {"name": "vanilla", "tune": False}
METHODS = [ALONE, "kd", "at"]
PAIRS = ["resnet14 -> resnet8", "resnet14 -> resnet14"]


def tuned(**changes):
    given = {"methods": METHODS, "tune": {"configs": 3}, **changes}
    return expansion(**given)


def problems(**changes) -> list[str]:
    given = {"methods": METHODS, "tune": {"configs": 3}, **changes}
    try:
        matrix = Matrix.model_validate(changed(**given))
    except ValidationError as error:
        return str(explain(error, Matrix, "m")).splitlines()
    with pytest.raises(InputError) as caught:
        expand(matrix, Facts(), "m")
    return str(caught.value).splitlines()


# ---- stages --------------------------------------------------------------------------------------


def test_there_are_two_stages_with_teachers_of_their_own():
    found = tuned(pairs=PAIRS, tune={"configs": 3, "trials": 2})
    assert len(found.candidates) == 2 * 2 * 3 * 2  # methods, pairs, configurations, trials
    assert len(found.choices) == 4
    by_part = {spec.dataset.scored_on: spec for spec in found.teachers}
    assert by_part["validation"].dataset.validation == 0.1
    assert by_part["test"].dataset.validation is None
    taught = {candidate.spec.needs for candidate in found.candidates}
    assert taught == {(by_part["validation"].id,)}
    assert {entry.spec.needs for entry in found.entries} == {(), (by_part["test"].id,)}
    labels = list(dict.fromkeys(entry.label for entry in found.entries))
    assert labels == ["Student alone", "KD", "KD (tuned)", "AT", "AT (tuned)"]


def test_final_runs_are_those_of_the_matrix_without_tuning():
    plain = expansion(methods=METHODS)
    found = tuned()
    ids = {entry.spec.id for entry in found.entries if entry.spec.choice is None}
    assert ids == {entry.spec.id for entry in plain.entries}
    assert {s.id for s in plain.teachers} <= {s.id for s in found.teachers}
    placeholders = [entry.spec for entry in found.entries if entry.spec.choice]
    assert len({spec.id for spec in placeholders} | ids) == len(placeholders) + len(ids)


def test_the_search_is_what_one_would_write_by_hand():
    """The same ids but for the part that is scored, which a matrix by hand cannot name."""
    found = tuned(
        dataset__validation=16, recipe__epochs=4, tune={"configs": 3, "epochs": 2}, trials=1
    )
    for candidate in found.candidates:
        own = dict(candidate.spec.options)
        by_hand = expansion(
            dataset__validation=16,
            recipe__epochs=2,
            teacher_recipe={"epochs": 4},
            methods=[{"name": candidate.spec.method, "options": own}],
            trials=1,
        )
        (entry,), (teacher,) = by_hand.entries, by_hand.teachers
        data = entry.spec.dataset.model_copy(update={"scored_on": "validation"})
        master = teacher.model_copy(update={"dataset": data})
        above = entry.spec.teacher.model_copy(update={"run": master.id})
        spec = entry.spec.model_copy(update={"dataset": data, "teacher": above})
        assert spec.id == candidate.spec.id
        assert master in found.teachers


def test_number_0_has_the_entrys_own_options_and_more_configurations_keep_the_earlier():
    few, many = tuned(), tuned(tune={"configs": 6})
    assert [c.options for c in few.choices] == [c.options[:3] for c in many.choices]
    assert [c.runs for c in few.choices] == [c.runs[:3] for c in many.choices]
    own = {entry.label: entry.spec.options for entry in few.entries}
    assert [choice.options[0] for choice in few.choices] == [own["KD"], own["AT"]]
    other = tuned(tune={"configs": 3, "seed": 1})
    assert other.choices[0].options[1:] != few.choices[0].options[1:]
    assert other.choices[0].runs[0] == few.choices[0].runs[0]


def test_one_choice_for_all_pairs():
    found = tuned(pairs=PAIRS, tune={"configs": 3, "per": "matrix"})
    assert [(choice.label, choice.pairs) for choice in found.choices] == [
        ("KD", tuple(PAIRS)),
        ("AT", tuple(PAIRS)),
    ]
    assert {len(runs) for choice in found.choices for runs in choice.runs} == {2}
    named = {(e.label, e.spec.choice) for e in found.entries if e.spec.choice}
    assert len(named) == 2


@pytest.mark.parametrize(
    ("epochs", "recipe", "expected"),
    [
        (None, {}, {}),
        (60, {"schedule": "cosine"}, {"epochs": 60}),
        (60, {"milestones": []}, {"epochs": 60, "milestones": []}),
        (42, {"milestones": [150, 180]}, {"epochs": 42, "milestones": [26, 31]}),  # ids have it
        (
            60,
            {"milestones": [150, 180, 210], "warmup_epochs": 20},
            {"epochs": 60, "milestones": [38, 45, 53], "warmup_epochs": 5},
        ),
        (
            2,
            {"epochs": 100, "milestones": [1, 98, 99], "warmup_epochs": 99},
            {"epochs": 2, "milestones": [], "warmup_epochs": 1},
        ),
    ],
)
def test_the_schedule_scales_with_the_epochs_of_the_search(epochs, recipe, expected):
    fields = Recipe.model_validate(recipe).model_dump()
    assert TuneEntry(configs=2, epochs=epochs).recipe(fields) == expected


def test_a_part_of_the_methods_brings_its_search_alone():
    found = tuned(pairs=PAIRS)
    part = select(found, methods=["kd"], pairs=[PAIRS[0]])
    assert {entry.label for entry in part.entries} == {"KD", "KD (tuned)"}
    assert {(c.label, c.pair) for c in part.candidates} == {("KD", PAIRS[0])}
    assert len(part.choices) == 1
    assert select(found, methods=["vanilla"]).candidates == ()


def test_it_comes_back_from_memory_as_it_is():
    found = tuned(pairs=PAIRS, tune={"configs": 3, "per": "matrix"})
    again = decoded(json.loads(json.dumps(encoded(found))))
    assert again == found and repr(again.choices) == repr(found.choices)
    assert [spec.id for spec in again.runs] == [spec.id for spec in found.runs]


# ---- the choice ----------------------------------------------------------------------------------

THREE = Choice("c", "KD", ("a", "b"), ({"k": 0}, {"k": 1}, {"k": 2}), (("00", "01"),
               ("10", "11"), ("20", "21")))  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([50, 50, 60, 60, 40, 40], 1),
        ([60, 40, 40, 60, 50, 50], 0),  # ties: the lowest number
        ([10, 10, 99, tuning.LOST, 20, 20], 2),  # whoever diverged has lost
        ([tuning.LOST] * 6, 0),
        ([10, 10, 20, None, 30, 30], None),  # one is missing
    ],
)
def test_the_best_mean_is_chosen(scores, expected):
    runs = [run for each in THREE.runs for run in each]
    known = {run: s for run, s in zip(runs, scores, strict=True) if s is not None}
    assert tuning.choose(THREE, known) == expected


def test_pairs_that_are_not_served_are_left_out_and_a_configuration_that_alone_fails_has_lost():
    one = tuning.possible(THREE, {"00", "10", "20"})
    assert one.runs == (("01",), ("11",), ("21",))
    other = tuning.possible(THREE, {"10"})
    assert other.runs == (("00", "01"), (), ("20", "21"))
    assert tuning.choose(other, dict.fromkeys(["00", "01", "20", "21"], 1.0)) == 0
    assert tuning.possible(THREE, set()) is THREE


def test_a_settled_run_is_that_of_the_same_options_by_hand():
    found = tuned()
    kd, at = found.choices
    after = tuning.settled(found, {kd.id: 2, at.id: 0})
    by_hand = expansion(methods=[{"name": "kd", "options": kd.options[2]}])
    runs = {label: [e.spec for e in after.entries if e.label == label] for label in
            ("KD", "KD (tuned)", "AT", "AT (tuned)")}  # fmt: skip
    assert runs["KD (tuned)"] == [entry.spec for entry in by_hand.entries]
    assert runs["AT (tuned)"] == runs["AT"]
    sent = dict(after.sent_as)
    before = {e.spec.id for e in found.entries if e.spec.choice}
    assert set(sent.values()) == before and set(sent) <= {spec.id for spec in after.runs}
    assert before <= after.names
    assert tuning.settled(after, {kd.id: 2, at.id: 0}) is after


def test_only_choices_that_are_made_are_settled():
    found = tuned()
    assert tuning.settled(found, {}) is found
    after = tuning.settled(found, {found.choices[0].id: 1})
    open_labels = {entry.label for entry in after.entries if entry.spec.choice}
    assert open_labels == {"AT (tuned)"}


def test_the_lost_score_is_below_every_accuracy():
    assert tuning.LOST < 0 and math.isinf(tuning.LOST)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"methods": ["vanilla", "kd"]},
            "methods.0: vanilla has no search space, so it cannot be tuned: expected tune: false",
        ),
        ({"methods": [ALONE]}, "tune: every entry has tune: false"),
        (
            {"methods": [{"name": "kd", "sweep": {"kd_temperature": [1, 2]}}]},
            "methods.0.sweep: expected tune: false beside it, or no sweep",
        ),
        (
            {
                "methods": [{"name": "kd", "pairs": {PAIRS[0]: {"kd_temperature": 2}}}],
                "tune": {"configs": 3, "per": "matrix"},
            },
            "methods.0.pairs: expected none",
        ),
        (
            {"methods": ["kd", {"name": "at", "label": "KD (tuned)"}]},
            "the label 'KD (tuned)' is used 2 times",
        ),
        ({"tune": {"configs": 1}}, "tune.configs"),
        ({"tune": {"configs": 3, "split": "test"}}, "tune.split"),
        ({"tune": {"configs": 3, "per": "par"}}, "tune.per"),
        ({"tune": {"config": 3}}, "tune.config: unknown key: did you mean configs?"),
        ({"tune": {"configs": 600_000}}, "tune.configs: the search has 1,200,000 runs"),
        (
            {"tune": None, "methods": [{"name": "kd", "search": {"kd_temperature": [1, 2]}}]},
            "methods.0.search: the matrix has no tune:",
        ),
        (
            {"methods": [{"name": "kd", "search": {"kd_temprature": [1, 2]}}]},
            "kd_temprature",
        ),
    ],
)
def test_what_is_wrong_is_named(changes, expected):
    found = problems(**changes)
    assert any(expected in line for line in found), found


def test_an_entry_can_narrow_its_space():
    found = tuned(methods=[{"name": "kd", "search": {"kd_temperature": {"values": [3.0, 5.0]}}}])
    (choice,) = found.choices
    assert {options["kd_temperature"] for options in choice.options[1:]} <= {3.0, 5.0}
