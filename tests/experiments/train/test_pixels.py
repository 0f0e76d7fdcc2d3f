"""On which pixels a given teacher was trained: said in the matrix, in its file, or nowhere."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec, TeacherSpec, identity, is_current
from experiments.rundir.layout import teacher_predictions
from experiments.train import ensembles, networks, pixels, predictions, teachers
from experiments.train.learner import Learner
from models import ModelError
from models.checkpoints.files import save_weights, sha256
from models.normalisation import NAMED, Normalisation
from tests.experiments import tiny

CPU = torch.device("cpu")
OTHER = NAMED["pytorch-cifar"]
HALF = Normalisation.model_validate(tiny.data().normalisation)  # that of "fake"


@pytest.fixture
def source():
    return tiny.data()


@pytest.fixture
def file(tmp_path):
    """Writes the tests' teacher, as it would be if it had been trained on other pixels."""

    def write(own: Normalisation, stated: Normalisation | None = None, **facts):
        module = tiny.teacher(tiny.data()).module
        with torch.no_grad():  # its first convolution has no bias and pads: means stay equal
            scale = torch.tensor(own.std) / torch.tensor(HALF.std)
            module.conv1.weight.mul_(scale.view(1, 3, 1, 1))
        path = tmp_path / "t.safetensors"
        save_weights(module, path, {"normalisation": stated} | facts if stated else facts)
        return path

    return write


STRETCHED = Normalisation(mean=HALF.mean, std=OTHER.std)


def load(path, source, given=None, recipe: Recipe = tiny.RECIPE) -> teachers.Teacher:
    spec = TeacherSpec(name="resnet14", sha256=sha256(path), normalisation=given)
    return teachers.load(spec, path, source, recipe, CPU)


@torch.no_grad()
def logits(module, source, recipe: Recipe = tiny.RECIPE):
    batch = networks.formatted(next(source.test_batches()), recipe)
    return networks.run(module, batch, networks.Needs(), recipe).logits.float()


@pytest.mark.parametrize("where", ["the matrix", "the file", "both"])
def test_a_teacher_gets_the_pixels_that_it_was_trained_on(file, source, where):
    given = STRETCHED if where != "the file" else None
    path = file(STRETCHED, STRETCHED if where != "the matrix" else None)
    teacher = load(path, source, given)
    expected = logits(tiny.teacher(source).module, source)
    torch.testing.assert_close(logits(teacher.module, source), expected, rtol=1e-4, atol=1e-4)
    assert teacher.record.normalisation == STRETCHED.model_dump(mode="json")
    assert not torch.allclose(logits(load(file(STRETCHED), source).module, source), expected)


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"channels_last": True}, {"precision": "fp64"}]
)
def test_under_every_kind_of_numerics(file, source, changes):
    recipe = tiny.RECIPE.model_copy(update=changes)
    teacher = load(file(STRETCHED), source, STRETCHED, recipe)
    expected = logits(tiny.teacher(source).module, source)
    tolerance = 0.02 * expected.abs().max() if "bf16" in changes.values() else 1e-4
    assert (logits(teacher.module, source, recipe) - expected).abs().max() < tolerance


def test_files_that_state_what_the_data_set_does_are_as_before(file, source):
    teacher = load(file(HALF, HALF), source)
    assert type(teacher.module) is type(tiny.teacher(source).module)
    assert "normalisation" not in teacher.record.model_dump(exclude_unset=True)


def test_the_matrix_and_the_file_say_different_things(file, source):
    path = file(STRETCHED, STRETCHED)
    with pytest.raises(ModelError) as caught:
        load(path, source, OTHER)
    assert str(caught.value) == (
        f"{path}: states that its pixels were normalised by mean 0.5 0.5 0.5, std 0.2023 0.1994 "
        "0.201, but mean 0.4914 0.4822 0.4465, std 0.2023 0.1994 0.201 is given"
    )


def test_a_data_set_that_does_not_say_its_own(file, source):
    silent = SimpleNamespace(normalisation=None, info=source.info)
    assert pixels.of(None, None, silent, "w") is pixels.of(None, OTHER, silent, "w") is None
    assert "normalised by mean 0.4914 0.4822" in pixels.warning(OTHER, silent, "t")
    with pytest.raises(ModelError, match="data set fake does not say how it normalises its own"):
        pixels.of(OTHER, None, silent, "w")


def test_another_data_set_in_the_file_is_said(file, source):
    (said, *_) = load(file(HALF, dataset="cifar100"), source).warnings
    assert said == "teacher resnet14: its file says that it was trained on cifar100, not on fake"
    assert not any("its file" in text for text in load(file(HALF, dataset="fake"), source).warnings)


def test_students_carry_the_warnings_of_their_teacher(file, source, tmp_path):
    teacher = load(file(HALF), source)  # untrained: near chance
    assert "resnet14 may not be what it seems" in teacher.warnings[0]
    learner = Learner(tiny.spec("kd"), source, teacher, CPU, tmp_path)
    assert set(teacher.warnings) < set(learner.warnings) | {""}
    assert Learner(tiny.spec("vanilla"), source, None, CPU, tmp_path).warnings == []


# ---- identity ------------------------------------------------------------------------------------


def taught(given: Normalisation | None) -> RunSpec:
    spec = TeacherSpec(name="resnet14", sha256="0" * 64, normalisation=given)
    return tiny.spec("kd").model_copy(update={"teacher": spec})


def test_ids_and_specs_are_as_before_where_none_is_given():
    plain = taught(None)
    assert plain.dump()["teacher"] == {"name": "resnet14", "run": None, "sha256": "0" * 64}
    assert identity(plain)["teacher"] == {"name": "resnet14", "sha256": "0" * 64}
    assert plain.id == tiny.spec("kd").id and is_current(tiny.spec("kd").dump(), plain)


def test_a_given_one_is_another_run():
    changed = taught(OTHER)
    assert len({changed.id, taught(HALF).id, taught(None).id}) == 3
    stored = changed.dump()
    assert RunSpec.model_validate(stored) == changed and is_current(stored, changed)
    assert not is_current(stored, taught(None)) and not is_current(taught(None).dump(), changed)
    assert hash(changed.teacher) == hash(RunSpec.model_validate(stored).teacher)


def test_predictions_on_other_pixels_are_another_file(file, source, tmp_path):
    loaded = [load(file(STRETCHED), source, given) for given in (STRETCHED, None)]
    spec = TeacherSpec(name="resnet14")
    made = [
        predictions.of_teacher(one, spec, tmp_path, source, tiny.RECIPE, "full", "fake")
        for one in loaded
    ]
    assert made[0] != made[1] and all(path.is_file() for path in made)
    record = loaded[1].record
    weights = record.sha256[:10]
    assert made[1].name == f"resnet14-{weights}-{source.fingerprint[:8]}.safetensors"
    assert teacher_predictions(tmp_path, "fake", record, source.fingerprint) == made[1]


def test_every_member_of_an_ensemble_gets_its_own_pixels(file, source, tmp_path):
    plain, stretched = tmp_path / "plain.safetensors", tmp_path / "stretched.safetensors"
    file(HALF).rename(plain)
    file(STRETCHED).rename(stretched)
    members = (
        TeacherSpec(name="resnet14", sha256=sha256(plain)),
        TeacherSpec(name="resnet14", sha256=sha256(stretched), normalisation=STRETCHED),
    )
    spec = TeacherSpec(name="resnet14+resnet14", members=members)
    both = ensembles.load(spec, (plain, stretched), source, tiny.RECIPE, CPU)
    own = STRETCHED.model_dump(mode="json")
    assert [m.normalisation for m in both.record.members] == [None, own]
    assert both.record.pixels == [None, own] and both.record.normalisation is None
    expected = logits(tiny.teacher(source).module, source).softmax(1)  # of both
    found = logits(both.module, source)
    torch.testing.assert_close(found.softmax(1), expected, rtol=1e-4, atol=1e-4)
    unstated = members[1].model_copy(update={"normalisation": None})
    wrong = TeacherSpec(name=spec.name, members=(members[0], unstated))
    other = ensembles.load(wrong, (plain, stretched), source, tiny.RECIPE, CPU)
    assert other.record.sha256 == both.record.sha256  # of the files alone
    assert not torch.allclose(logits(other.module, source), found)
    places = {
        teacher_predictions(tmp_path, "fake", teacher.record, "ab" * 32)
        for teacher in (both, other)
    }
    assert len(places) == 2
    with torch.no_grad():
        for parameter in both.module.parameters():
            parameter.zero_()
    both.reload()
    assert torch.equal(logits(both.module, source), found)
