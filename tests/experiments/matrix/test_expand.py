from __future__ import annotations

from pathlib import Path

import pytest

from experiments.errors import InputError
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Facts
from experiments.matrix.schema import load
from experiments.matrix.select import select
from tests.experiments.cli import expansion

MATRICES = Path(__file__).resolve().parents[3] / "experiments"
PAIRS = ["resnet14 -> resnet8", "resnet20 -> resnet8", "resnet14 -> resnet20"]


def cells(found) -> list[tuple[str, str, int]]:
    return [(e.label, e.pair, e.spec.trial) for e in found.entries]


def options(found, method: str, pair: str) -> dict:
    return next(e.spec.options for e in found.entries if (e.spec.method, e.pair) == (method, pair))


def test_order_is_methods_pairs_trials():
    found = expansion(pairs=PAIRS[:2], methods=["kd", "at"], trials=2)
    assert cells(found) == [
        (label, pair, trial) for label in ("KD", "AT") for pair in PAIRS[:2] for trial in (0, 1)
    ]


def test_counts_share_baselines_and_teachers():
    found = expansion(pairs=PAIRS, methods=["vanilla", "kd"], trials=3)
    assert len(found.entries) == 3 * 2 * 3
    # Teachers resnet14 and resnet20, trial 0; baselines of resnet8 and resnet20, 3 trials each, of
    # which resnet20's trial 0 is the teacher; 9 students.
    assert [t.student for t in found.teachers] == ["resnet14", "resnet20"]
    assert [t.trial for t in found.teachers] == [0, 0]
    assert len(found.runs) == 2 + (3 + 3 - 1) + 9
    assert found.runs[:2] == found.teachers


def test_baseline_is_shared_between_pairs_with_the_same_student():
    found = expansion(pairs=PAIRS[:2], methods=["vanilla"], trials=1)
    first, second = (e.spec for e in found.entries)
    assert first.id == second.id
    assert first.teacher is None
    assert found.teachers == ()


@pytest.mark.parametrize(("mode", "trials"), [("shared", [0]), ("paired", [0, 1, 2])])
def test_teacher_trials(mode, trials):
    found = expansion(methods=["kd"], trials=3, teacher_trials=mode)
    assert [t.trial for t in found.teachers] == trials
    ids = [t.id for t in found.teachers]
    expected = ids if mode == "paired" else ids * 3
    assert [e.spec.teacher.run for e in found.entries] == expected


def test_a_given_teacher_is_not_trained_and_known_by_its_hash():
    facts = Facts(teacher_sha256={"resnet14": "ab" * 32})
    found = expansion(facts, methods=["kd"], teachers={"resnet14": {"file": "t.pt"}})
    assert found.teachers == ()
    assert {(e.spec.teacher.sha256, e.spec.teacher.run) for e in found.entries} == {
        ("ab" * 32, None)
    }


def test_teacher_recipe_is_the_teachers_alone():
    found = expansion(methods=["vanilla", "kd"], trials=1, teacher_recipe={"epochs": 5, "lr": 0.1})
    (teacher,) = found.teachers
    assert (teacher.recipe.epochs, teacher.recipe.lr) == (5, 0.1)
    assert teacher.recipe.batch_size == 32
    assert {(e.spec.recipe.epochs, e.spec.recipe.lr) for e in found.entries} == {(2, 0.05)}


def test_lr_exceptions_go_by_pattern():
    found = expansion(
        pairs=["resnet14 -> resnet8", "resnet14 -> ShuffleV1"],
        methods=["kd"],
        trials=1,
        recipe__lr_exceptions={"Shuffle*": 0.01},
    )
    assert [e.spec.recipe.lr for e in found.entries] == [0.05, 0.01]
    assert found.teachers[0].recipe.lr == 0.05


def test_options_of_one_pair_lie_over_those_of_the_method():
    method = {
        "name": "kd",
        "options": {"kd": 0.5, "ce": 0.25},
        "pairs": {"resnet20->resnet8": {"kd": 0.75}},
    }
    found = expansion(pairs=PAIRS[:2], methods=[method])
    assert options(found, "kd", PAIRS[0])["kd"] == 0.5
    assert options(found, "kd", PAIRS[1])["kd"] == 0.75
    assert options(found, "kd", PAIRS[1])["ce"] == 0.25


def test_preset_lies_under_the_options():
    method = {"name": "kd", "preset": "imagenet", "options": {"ce": 1.0}}
    found = expansion(methods=[method])
    resolved = options(found, "kd", PAIRS[0])
    assert (resolved["ce"], resolved["kd"], resolved["kd_temperature"]) == (1.0, 0.5, 1.0)


def test_every_option_is_resolved_and_whole_numbers_serve_as_fractions():
    found = expansion(methods=[{"name": "kd", "options": {"ce": 1}}])
    resolved = options(found, "kd", PAIRS[0])
    assert set(resolved) == {"ce", "kd", "kd_temperature", "weight", "variant"}
    assert isinstance(resolved["ce"], float)


def test_methods_without_a_teacher_need_none_in_their_pairs():
    found = expansion(pairs=["none -> resnet8"], methods=["vanilla", "tf_nkd"])
    assert not found.teachers
    assert {entry.pair for entry in found.entries} == {"none -> resnet8"}
    assert {entry.spec.teacher for entry in found.entries} == {None}
    with pytest.raises(InputError, match=r"methods.0: kd needs a teacher: none -> resnet8"):
        expansion(pairs=["none -> resnet8"], methods=["kd"])


def test_labels():
    methods = [
        "vanilla",
        "kd",
        {"name": "kd", "preset": "imagenet"},
        {"name": "kd", "label": "my KD"},
        "fitnet+kd",
    ]
    found = expansion(methods=methods, trials=1)
    assert [e.label for e in found.entries] == [
        "Student alone",
        "KD",
        "KD (imagenet)",
        "my KD",
        "FitNet+KD",
    ]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 18),
        ({"methods": ["kd"]}, 6),
        ({"methods": ["Student alone"]}, 6),
        ({"methods": ["STUDENT ALONE", "fit*"]}, 12),
        ({"methods": ["Fit*"]}, 6),
        ({"pairs": ["resnet14->resnet8"]}, 6),
        ({"pairs": ["resnet14 -> *"]}, 12),
        ({"pairs": ["* -> resnet8"]}, 12),
        ({"trials": [1]}, 9),
        ({"trials": [0, 1]}, 18),
        ({"methods": ["kd"], "pairs": ["* -> resnet20"], "trials": [0]}, 1),
    ],
)
def test_select(filters, count):
    whole = expansion(pairs=PAIRS, methods=["vanilla", "kd", "fitnet"], trials=2)
    part = select(whole, **filters)
    assert len(part.entries) == count
    ids = {e.spec.id for e in whole.entries}
    assert {e.spec.id for e in part.entries} <= ids


def test_select_keeps_the_teachers_that_are_still_needed():
    whole = expansion(pairs=PAIRS, methods=["vanilla", "kd"], trials=1)
    assert [t.student for t in select(whole, pairs=["resnet20 -> *"]).teachers] == ["resnet20"]
    assert select(whole, methods=["vanilla"]).teachers == ()


def test_a_label_with_brackets_can_be_selected():
    whole = expansion(methods=["kd", {"name": "kd", "label": "KD [x*]", "options": {"kd": 2}}])
    assert {e.label for e in select(whole, methods=["KD [x*]"]).entries} == {"KD [x*]"}


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"methods": ["fitnit"]}, "--methods: no match for 'fitnit': did you mean fitnet"),
        ({"pairs": ["resnet41 -> resnet8"]}, "did you mean resnet14->resnet8"),
        ({"trials": [7]}, "--trials: no match for '7': known: 0, 1"),
        ({"methods": ["kd", "vgg*"]}, "--methods: no match for 'vgg*'"),
    ],
)
def test_a_filter_without_a_match_is_an_error(filters, message):
    with pytest.raises(InputError) as caught:
        select(expansion(), **filters)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", sorted(MATRICES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_matrices_of_this_repository_are_good(path):
    table = load(path)
    found = expand(table, Facts(dict.fromkeys(table.teachers, "ab" * 32)), str(path))
    labels = {entry.label for entry in found.entries}  # a sweep and a tuned method have several
    assert len(labels) >= len(table.methods)
    assert len(found.entries) == len(labels) * len(table.pairs) * table.trials


# ---- options for pairs ---------------------------------------------------------------------------


def weights(pairs: dict[str, dict]) -> list[float]:
    """FitNet's weight on each of PAIRS."""
    method = {"name": "fitnet", "options": {"weight": 1.0}, "pairs": pairs}
    found = expansion(pairs=PAIRS, methods=[method], trials=1)
    return [options(found, "fitnet", pair)["weight"] for pair in PAIRS]


def test_a_pattern_of_pairs():
    assert weights({"resnet14 -> *": {"weight": 2.0}}) == [2.0, 1.0, 2.0]
    assert weights({"ResNet14->*": {"weight": 2.0}}) == [2.0, 1.0, 2.0]
    assert weights({"* → resnet8": {"weight": 2.0}}) == [2.0, 2.0, 1.0]


def test_later_patterns_win_and_the_pair_itself_over_all():
    patterns = {"resnet14 -> *": {"weight": 2.0}, "* -> resnet8": {"weight": 3.0}}
    assert weights(patterns) == [3.0, 3.0, 2.0]
    assert weights({PAIRS[0]: {"weight": 4.0}, **patterns}) == [4.0, 3.0, 2.0]


def test_ids_depend_on_the_options_not_on_how_they_were_given():
    named = {"name": "fitnet", "pairs": {PAIRS[0]: {"weight": 2.0}, PAIRS[2]: {"weight": 2.0}}}
    by_pattern = {"name": "fitnet", "pairs": {"resnet14 -> *": {"weight": 2.0}}}
    first, second = (expansion(pairs=PAIRS, methods=[method]) for method in (named, by_pattern))
    assert [run.id for run in first.runs] == [run.id for run in second.runs]
