"""Sweeps, ablations, and entries with a recipe or data of their own: rows, labels, ids, errors."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from experiments.errors import InputError, explain
from experiments.matrix import variants
from experiments.matrix.expand import Facts, expand
from experiments.matrix.schema import Matrix
from experiments.matrix.select import select
from tests.experiments.cli import changed, expansion

SWEEP = {"name": "kd", "sweep": {"kd_temperature": [1, 2], "recipe.epochs": [2, 3]}}
ABLATE = {"name": "dkd", "ablate": {"alpha": [0.0, 1.0, 2.0], "beta": [4.0]}}


def rows(*methods, **changes) -> list[variants.Variant]:
    return variants.rows(Matrix.model_validate(changed(methods=list(methods), **changes)))


def problems(*methods, **changes) -> list[str]:
    try:
        matrix = Matrix.model_validate(changed(methods=list(methods), **changes))
    except ValidationError as error:
        return str(explain(error, Matrix, "m")).splitlines()
    with pytest.raises(InputError) as caught:
        expand(matrix, Facts(), "m")
    return str(caught.value).splitlines()


def ids(found, label: str) -> list[str]:
    return [e.spec.id for e in found.entries if e.label == label]


# ---- rows ----------------------------------------------------------------------------------------


def test_a_sweep_is_a_product_in_the_order_written():
    found = rows("vanilla", SWEEP)
    assert [row.label for row in found] == [
        "Student alone",
        "KD (kd_temperature 1, recipe.epochs 2)",
        "KD (kd_temperature 1, recipe.epochs 3)",
        "KD (kd_temperature 2, recipe.epochs 2)",
        "KD (kd_temperature 2, recipe.epochs 3)",
    ]
    assert [row.family for row in found] == ["", "KD", "KD", "KD", "KD"]
    assert found[0].values == ()
    assert found[2].values == (("kd_temperature", 1.0), ("recipe.epochs", 3))
    assert isinstance(found[2].values[0][1], float)


def test_an_ablation_changes_one_value_at_a_time_from_the_entrys_own():
    found = rows(ABLATE)
    # DKD's own alpha is 1: that value is the entry's own run.
    assert [row.label for row in found] == ["DKD", "DKD (alpha 0)", "DKD (alpha 2)", "DKD (beta 4)"]
    assert [row.family for row in found] == ["DKD"] * 4
    assert [row.values for row in found] == [
        (),
        (("alpha", 0.0),),
        (("alpha", 2.0),),
        (("beta", 4.0),),
    ]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("KD T={kd_temperature}", ["KD T=1", "KD T=2.5"]),
        ("{{KD}} {kd_temperature} of {recipe.epochs}", ["{KD} 1 of 2", "{KD} 2.5 of 2"]),
        ("My KD", ["My KD (kd_temperature 1)", "My KD (kd_temperature 2.5)"]),
    ],
)
def test_labels_are_made_of_a_template_or_of_the_values(label, expected):
    found = rows({"name": "kd", "label": label, "sweep": {"kd_temperature": [1, 2.5]}})
    assert [row.label for row in found] == expected
    assert len({row.family for row in found}) == 1


def test_braces_in_the_label_of_a_plain_entry_are_braces():
    assert rows({"name": "kd", "label": "KD {x}"})[0].label == "KD {x}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2.0, "2"), (1e-5, "1e-05"), (True, "true"), (None, "none"), ([30, 60], "30/60"), ("a", "a")],
)
def test_values_are_written_briefly(value, expected):
    assert variants.text(value) == expected


# ---- ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "label", "by_hand"),
    [
        ({"kd_temperature": [1, 2]}, "KD (kd_temperature 2)", {"options": {"kd_temperature": 2}}),
        ({"dataset.subset": [20, 40]}, "KD (dataset.subset 40)", {"dataset": {"subset": 40}}),
        ({"recipe.lr": [0.1]}, "KD (recipe.lr 0.1)", {"recipe": {"lr": 0.1}}),
    ],
)
def test_ids_are_those_of_the_same_runs_written_by_hand(sweep, label, by_hand):
    swept = expansion(methods=[{"name": "kd", "sweep": sweep}])
    hand = expansion(methods=[{"name": "kd", **by_hand}])
    assert ids(swept, label) == ids(hand, "KD")
    assert swept.teachers == hand.teachers


def test_a_recipe_of_an_entry_is_that_of_a_matrix_with_the_old_teacher_recipe():
    entry = expansion(methods=[{"name": "kd", "recipe": {"epochs": 3, "lr": 0.1}}])
    matrix = expansion(
        methods=["kd"], recipe__epochs=3, recipe__lr=0.1, teacher_recipe={"epochs": 2, "lr": 0.05}
    )
    assert [s.id for s in entry.runs] == [s.id for s in matrix.runs]


STEP = {"schedule": "step", "epochs": 240, "milestones": [150, 180, 210]}


@pytest.mark.parametrize(
    ("recipe", "values", "expected"),
    [
        ({}, {"recipe.epochs": 120}, [75, 90, 105]),
        ({}, {"recipe.epochs": 480}, [300, 360, 420]),
        ({}, {"recipe.epochs": 240}, [150, 180, 210]),
        ({}, {"recipe.epochs": 2}, [1]),  # 1.25, 1.5 and 1.75: the last two are the end
        ({}, {"recipe.epochs": 1}, []),
        ({}, {"recipe.epochs": 60, "recipe.milestones": [7]}, [7]),
        ({}, {"recipe.lr": 0.1}, [150, 180, 210]),
        ({"milestones": [30, 45]}, {"recipe.epochs": 60}, [30, 45]),  # given for these epochs
        ({"epochs": 60, "milestones": [30, 45]}, {"recipe.epochs": 120}, [60, 90]),
        ({"epochs": 300}, {"recipe.epochs": 600}, [300, 360, 420]),
        ({}, {"recipe.epochs": 120, "recipe.schedule": "cosine"}, [150, 180, 210]),
    ],
)
def test_swept_epochs_move_the_milestones_of_a_step_schedule(recipe, values, expected):
    entry = {"name": "kd", "recipe": recipe}
    swept = entry | {"sweep": {key: [value] for key, value in values.items()}}
    changes = {f"recipe__{key}": value for key, value in STEP.items()}
    specs = [e.spec for e in expansion(methods=[swept], **changes).entries if e.family]
    assert {s.recipe.milestones for s in specs} == {tuple(expected)}
    ablated = entry | {"ablate": {key: [value] for key, value in values.items()}}
    if len(values) == 1 and expected != [150, 180, 210]:
        other = expansion(methods=[ablated], **changes).entries[-1].spec
        assert other.id == specs[-1].id
    hand = {**recipe, **{key.removeprefix("recipe."): v for key, v in values.items()}}
    by_hand = entry | {"recipe": hand | {"milestones": expected}}
    assert [s.id for s in specs] == ids(expansion(methods=[by_hand], **changes), "KD")


@pytest.mark.parametrize(("epochs", "expected"), [(300, [300, 360, 420]), (100, None)])
def test_swept_epochs_move_the_milestones_where_the_schedule_is_swept_to_steps(epochs, expected):
    """The matrix has a cosine schedule. Milestones that lie past its end are left to the checks."""
    sweep = {"recipe.epochs": [600], "recipe.schedule": ["step", "cosine"]}
    recipe = {"recipe__schedule": "cosine", "recipe__epochs": epochs}
    recipe["recipe__milestones"] = STEP["milestones"]
    specs = [
        e.spec
        for e in expansion(methods=[{"name": "kd", "sweep": sweep}], **recipe).entries
        if e.family
    ]
    by_schedule = {s.recipe.schedule: list(s.recipe.milestones) for s in specs}
    assert by_schedule == {"step": expected or STEP["milestones"], "cosine": STEP["milestones"]}


def test_a_table_names_the_milestones_that_moved():
    changes = {f"recipe__{key}": value for key, value in STEP.items()}
    swept = {"name": "kd", "sweep": {"recipe.epochs": [120, 240]}}
    matrix = Matrix.model_validate(changed(methods=[swept], **changes))
    found = variants.departures(matrix)["KD (recipe.epochs 120)"]
    assert found == ("recipe.epochs 120", "recipe.milestones 75/90/105")
    assert variants.departures(matrix)["KD (recipe.epochs 240)"] == ()


def test_data_of_an_entry_are_the_students_alone():
    found = expansion(methods=["vanilla", {"name": "kd", "dataset": {"subset": 32}}])
    assert [t.dataset.subset for t in found.teachers] == [None]
    assert {(e.label, e.spec.dataset.subset) for e in found.entries} == {
        ("Student alone", None),
        ("KD", 32),
    }


def test_a_given_rate_wins_over_the_exceptions_for_single_students():
    found = expansion(
        methods=["kd", {"name": "kd", "label": "B", "sweep": {"recipe.lr": [0.05, 0.2]}}],
        recipe__lr_exceptions={"resnet8": 0.01},
        trials=1,
    )
    assert [e.spec.recipe.lr for e in found.entries] == [0.01, 0.05, 0.2]


def test_a_swept_value_holds_on_every_pair():
    pairs = {"resnet14 -> resnet8": {"kd_temperature": 8, "ce": 0.5}}
    found = expansion(
        methods=[{"name": "kd", "pairs": pairs, "ablate": {"kd_temperature": [4.0]}}], trials=1
    )
    assert [(e.label, e.spec.options["kd_temperature"]) for e in found.entries] == [
        ("KD", 8.0),
        ("KD (kd_temperature 4)", 4.0),  # the default, but not on this pair
    ]
    assert {e.spec.options["ce"] for e in found.entries} == {0.5}


def test_entries_know_their_family_and_values():
    found = expansion(methods=[SWEEP], trials=1)
    assert {e.family for e in found.entries} == {"KD"}
    assert found.entries[0].values == (("kd_temperature", 1.0), ("recipe.epochs", 2))


def test_students_of_equal_data_share_them():
    found = expansion(methods=[{"name": "kd", "sweep": {"dataset.subset": [16], "ce": [0.1, 1]}}])
    assert len({id(e.spec.dataset) for e in found.entries}) == 1


# ---- filters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ("KD", 4),  # a family
        ("kd", 4),
        ("KD (kd_temperature 2*", 2),
        ("KD (kd_temperature 2, recipe.epochs 3)", 1),
        ("DKD", 4),
        ("*epochs 3)", 2),
    ],
)
def test_methods_are_chosen_by_label_family_and_pattern(asked, count):
    found = select(expansion(methods=[SWEEP, ABLATE], trials=1), methods=[asked])
    assert len({e.label for e in found.entries}) == count


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            {"sweep": {"kd_temperature": [1, -1]}},
            "m: methods.0.sweep.kd_temperature.1: method 'kd': option kd_temperature = -1: ",
        ),
        (
            {"ablate": {"kd_temprature": [1, 2]}},
            "m: methods.0.ablate.kd_temprature: method 'kd': unknown option 'kd_temprature': did",
        ),
        ({"sweep": {"kd_temperature": []}}, "m: methods.0.sweep.kd_temperature: expected at least"),
        ({"sweep": {"kd_temperature": 3}}, "m: methods.0.sweep.kd_temperature: expected a list"),
        (
            {"sweep": {"kd_temperature": [1, 2, 1.0]}},
            "kd_temperature: the value 1.0 is given twice",
        ),
        (
            {"sweep": {"recipe.epohs": [1]}},
            "m: methods.0.sweep: recipe.epohs: unknown key: did you",
        ),
        (
            {"recipe": {"epohs": 1}},
            "m: methods.0.recipe: epohs: unknown key: did you mean epochs",
        ),
        (
            {"sweep": {"recipe.epochs": [2, 0]}},
            "m: methods.0.sweep.recipe.epochs.1: expected at lea",
        ),
        ({"recipe": {"epochs": 0}}, "m: methods.0.recipe.epochs: expected at least 1, got 0"),
        (
            {"sweep": {"recipe.schedule": ["step"], "recipe.epochs": [9]}},
            "m: methods.0.sweep: milestones [150, 180, 210] lie at or past the last epoch (9); ",
        ),
        ({"sweep": {"dataset.subset": [8, "x"]}}, "m: methods.0.sweep.dataset.subset.1: expected"),
        ({"dataset": {"subset": 0}}, "m: methods.0.dataset.subset: expected a whole number of"),
        (
            {"dataset": {"image_sise": 8}},
            "m: methods.0.dataset.image_sise: unknown key: did you mean image_size?",
        ),
        ({"dataset": {"validation": 0.1}}, "m: methods.0.dataset: validation: expected in the mat"),
        (
            {"sweep": {"dataset.name": ["digits"]}},
            "m: methods.0.sweep: dataset.name: expected in t",
        ),
        ({"sweep": {"ce": [1]}, "ablate": {"ce": [2]}}, "m: methods.0: sweep and ablate: expected"),
        (
            {"label": "KD {kd_temprature}", "sweep": {"ce": [0.5]}},
            "m: methods.0.label: unknown key {kd_temprature}: did you mean kd_temperature?",
        ),
        (
            {"label": "KD {ce}", "sweep": {"ce": [0.5], "kd": [1, 2]}},
            "m: methods: the label 'KD 0.5' is used 2 times; ",
        ),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_entries_are_named_with_place_and_value(entry, problem):
    (found,) = problems({"name": "kd", **entry})
    assert problem in found


def test_the_rows_of_sweeps_count_towards_the_largest_matrix():
    values = [round(0.001 * i, 3) for i in range(1, 101)]
    sweep = {"ce": values, "kd": values, "kd_temperature": values}
    (found,) = problems({"name": "kd", "sweep": sweep}, trials=2)
    assert "1 pair × 1,000,000 variants × 2 trials are 2,000,000 runs" in found


# ---- size ----------------------------------------------------------------------------------------


def test_a_large_sweep_expands_quickly():
    values = [round(0.1 * i, 1) for i in range(1, 201)]
    start = time.process_time()
    found = expansion(methods=[{"name": "kd", "sweep": {"kd_temperature": values}}], trials=10)
    assert len(found.entries) == 2000
    assert time.process_time() - start < 2


def test_matrices_of_the_checkout_have_no_family():
    folder = Path(__file__).resolve().parents[3] / "experiments"
    from experiments.matrix.schema import load

    found = variants.rows(load(folder / "digits.yaml"))
    assert {(row.family, row.values) for row in found} == {("", ())}
