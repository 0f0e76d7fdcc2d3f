"""What enters a run's id, and when a stored run is out of date."""

from __future__ import annotations

import copy
import json

import pytest

import datasets.registry
import distillers
from datasets.registry import names as dataset_names
from distillers.kd import KD
from experiments.matrix.expansion import Facts
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec, is_current
from tests.experiments.cli import expansion

SHA = {"resnet14": "ab" * 32}


def run(method: str = "kd", facts: Facts | None = None, **changes) -> RunSpec:
    """The first run of a matrix with one method."""
    return expansion(facts, methods=[method], **changes).entries[0].spec


def given(path: str = "t.pt", sha: str = SHA["resnet14"], **changes) -> RunSpec:
    facts = Facts(teacher_sha256={"resnet14": sha})
    return run(facts=facts, teachers={"resnet14": {"file": path}}, **changes)


def test_ids_stay_what_they_were():
    """Results on people's disks are found by these; a change here orphans all of them."""
    assert (run("vanilla").id, run("kd").id) == ("d7861bc4c7", "34164c07eb")


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe__lr": 0.1},
        {"recipe__epochs": 3},
        {"recipe__precision": "bf16"},
        {"recipe__threads": 2},
        {"recipe__compile": True},
        {"recipe__channels_last": True},
        {"recipe__batch_size": 16},
        {"recipe__lr_exceptions": {"resnet8": 0.01}},
        {"dataset__subset": 32},
        {"dataset__validation": 16},
        {"dataset__seed": 1},
        {"dataset__num_classes": 5},
        {"pairs": ["resnet14 -> resnet20"]},
        {"pairs": ["resnet20 -> resnet8"]},
        {"teacher_recipe": {"epochs": 3}},
        {"method": {"name": "kd", "options": {"kd_temperature": 2.0}}},
        {"method": {"name": "kd", "preset": "imagenet"}},
        {"method": "fitnet+kd"},
    ],
    ids=str,
)
def test_what_changes_the_result_changes_the_id(changes):
    assert run(**changes).id != run().id


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe__lr": 0.05},
        {"recipe__momentum": 0.9},
        {"recipe__eval_every": 1},
        {"dataset__seed": 0},
        {"trials": 7},
        {"teacher_recipe": {"lr": 0.05}},
        {"pairs": ["resnet14 -> resnet8", "resnet20 -> resnet8"]},
        {"method": {"name": "kd", "options": {"kd_temperature": 4.0}, "label": "another"}},
        {"method": {"name": "kd", "options": {"kd_temperature": 4}}},
    ],
    ids=str,
)
def test_what_is_at_its_default_does_not(changes):
    assert run(**changes).id == run().id


def test_trials_differ():
    a, b = (e.spec for e in expansion(methods=["kd"], trials=2).entries)
    assert a.id != b.id
    assert a.model_copy(update={"trial": 1}).id == b.id


def test_a_given_teacher_counts_by_its_content_not_its_place():
    assert given("a.pt").id == given("other/b.pt").id
    assert given().id != given(sha="cd" * 32).id
    assert given().id != run().id


def test_own_data_counts_by_its_content_not_its_place():
    ids = [
        run(facts=Facts(content=content), dataset={"name": "arrays", "file": file}).id
        for file, content in [("a.npz", "x"), ("elsewhere/b.npz", "x"), ("a.npz", "y")]
    ]
    assert ids[0] == ids[1] != ids[2]


def test_a_method_version_counts(monkeypatch):
    before, fitnet = run().id, run("fitnet").id
    monkeypatch.setattr(KD, "version", 2)
    assert run().id != before
    assert run("fitnet").id == fitnet


def test_a_recipe_version_counts(monkeypatch):
    before = run().id
    monkeypatch.setattr(Recipe, "version", 2)
    spec = run()
    assert spec.model_copy(update={"recipe_version": Recipe.version}).id != before


def test_a_new_option_at_its_default_keeps_ids_and_results(monkeypatch):
    old = run()
    monkeypatch.setattr(KD, "defaults", {**KD.defaults, "sharpen": ("logits", 2)})
    today = run()
    assert today.options["sharpen"] == ("logits", 2)
    assert today.id == old.id
    assert is_current(old.dump(), today)
    changed = run(method={"name": "kd", "options": {"sharpen": ["logits", 3]}})
    assert changed.id != old.id
    assert not is_current(old.dump(), changed)


def test_a_changed_default_makes_stored_runs_stale(monkeypatch):
    stored, place = run().dump(), run().id
    monkeypatch.setattr(KD, "defaults", {**KD.defaults, "kd_temperature": 2.0})
    assert run().id == place  # so that it is found, and seen to be out of date
    assert not is_current(stored, run())


def test_a_changed_default_of_a_data_set_makes_stored_runs_stale(monkeypatch):
    stored, place = run().dump(), run().id
    _another_fake(monkeypatch, seed=7)
    assert run().id == place
    assert not is_current(stored, run())


def test_a_new_option_of_a_data_set_keeps_ids_and_results(monkeypatch):
    old = run()
    _another_fake(monkeypatch, seed=0, blur=0.0)
    assert run().id == old.id
    assert is_current(old.dump(), run())
    assert not is_current(old.dump(), run(dataset__blur=1.0))


def _another_fake(monkeypatch, **defaults):
    """The data set `fake` as a later version of the code might have it."""

    def fake(settings, *, num_classes=10, image_size=32, train_size=512, test_size=128, **_):
        raise AssertionError("only asked for its options")

    real = datasets.registry._options
    known = {"num_classes": 10, "image_size": 32, "train_size": 512, "test_size": 128}
    monkeypatch.setattr(
        datasets.registry,
        "_options",
        lambda factory: {**known, **defaults} if factory is fake else real(factory),
    )
    monkeypatch.setitem(datasets.registry._FACTORIES, "fake", fake)
    assert "fake" in dataset_names()


def test_what_is_stored_is_current():
    for method in ("vanilla", "kd", "fitnet"):
        spec = run(method)
        assert is_current(json.loads(json.dumps(spec.dump())), spec)


@pytest.mark.parametrize(
    ("path", "value", "current"),
    [
        (("options", "kd_temperature"), None, True),  # None: the key is missing; it is at 4.0
        (("recipe", "tf32"), None, True),
        (("recipe", "epochs"), None, False),  # 2, which is not the default
        (("dataset", "seed"), 0, False),  # a key that nobody knows today
        (("dataset", "options", "seed"), None, True),
        (("dataset", "options", "train_size"), None, False),
        (("plugins",), None, True),
        (("method_version",), None, True),
        (("teacher",), None, False),
        (("teacher", "sha256"), None, True),
        (("options", "magic"), 1, False),
        (("recipe", "magic"), 1, False),
        (("magic",), 1, False),
        (("options", "kd"), 0.5, False),
        (("recipe", "milestones"), [1], False),
        (("recipe_version",), 2, False),
        (("student",), "resnet20", False),
    ],
    ids=str,
)
def test_stored_specs(path, value, current):
    spec = run()
    stored = copy.deepcopy(spec.dump())
    place = stored
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    assert is_current(stored, spec) is current


def test_a_spec_survives_the_way_to_a_worker():
    for method in ("vanilla", "kd", {"name": "fitnet", "options": {"weight": 7}}):
        spec = run(method, recipe__milestones=[1], recipe__schedule="step")
        again = RunSpec.model_validate(json.loads(json.dumps(spec.dump())))
        assert (again, again.id) == (spec, spec.id)


def test_tuple_options_survive_the_way_to_a_worker(monkeypatch):
    monkeypatch.setattr(KD, "defaults", {**KD.defaults, "stages": (1, 2)})
    spec = run(method={"name": "kd", "options": {"stages": [1, 3]}})
    again = RunSpec.model_validate(json.loads(json.dumps(spec.dump())))
    assert again.id == spec.id
    assert distillers.resolve("kd", again.options) == spec.options


def test_directories(tmp_path):
    spec = run()
    expected = tmp_path / "fake" / "resnet14--resnet8" / "kd" / f"0-{spec.id}"
    assert spec.directory(tmp_path) == expected
    alone = run("vanilla")
    assert alone.directory(tmp_path).parent == tmp_path / "fake" / "none--resnet8" / "vanilla"
    foreign = alone.model_copy(update={"student": "torchvision/resnet18"})
    assert foreign.directory(tmp_path).parts[-3] == "none--torchvision.resnet18"


def test_names():
    assert (run().pair, str(run())) == ("resnet14 -> resnet8", "resnet14 -> resnet8, kd, trial 0")
    assert str(run("vanilla")) == "resnet8, vanilla, trial 0"
