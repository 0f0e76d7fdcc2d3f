"""SimKD against its authors' numbers; its prediction, and what that needs."""

import dataclasses

import pytest
import torch
from torch import nn

import distillers
import models
from distillers import Unsupported
from tests.distillers import golden

LAYERS = (0, 1, 3, 4, 6, 7)


def build(case, dtype):
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    student, teacher = (
        dataclasses.replace(o, final_map=o.features[-1]) for o in (student, teacher)
    )
    classes = case.hparams["num_classes"]
    classifier = nn.Linear(teacher.final_map.shape[1], classes)
    network = golden.StandIn(teacher, classifier=classifier)
    options = {"weight": 1.0, "factor": case.hparams["factor"]}
    method = golden.build(case, "simkd", student, network, dtype, **options)
    return method, student, teacher, inputs


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("simkd"))
def test_simkd(name, dtype):
    case = golden.load("simkd", name)
    method, student, teacher, inputs = build(case, dtype)
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "simkd", losses["simkd"])
    losses["simkd"].backward()
    golden.check_gradients(case, inputs)
    renamed = {
        f"simkd.transfer.{i}.{kind}": f"projector.{i}.{kind}"
        for i in LAYERS
        for kind in ("weight", "bias")
        if f"simkd.transfer.{i}.{kind}" in case.groups["pgrad"]
    }
    golden.check_parameter_gradients(case, method, renamed)
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    assert trained == set(renamed.values())


@pytest.mark.parametrize("name", golden.names("simkd"))
def test_predictions(name):
    """The fixture's classifier is filled by the rule, as our copy of the teacher's is here."""
    case = golden.load("simkd", name)
    method, student, _, _ = build(case, torch.float64)
    expected = case.tensor("aux", "pred_logits", torch.float64)
    torch.testing.assert_close(method.predict(student), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pair", [("wrn_16_2", "resnet8"), ("resnet8", "vgg8")], ids="-".join)
def test_a_perfect_projection_predicts_as_the_teacher(pair):
    """Whatever the teacher: also where its last stage is not what its classifier reads."""
    teacher, student = (models.build(name, 10).eval() for name in pair)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    teachers, students = teacher.outputs(images), student.outputs(images)
    info = golden.info(students, image_size=32)
    method = distillers.build("simkd", student, teacher, info).eval()
    method.projector = Answer(teachers.final_map)
    torch.testing.assert_close(method.predict(students), teachers.logits)
    assert method(students, teachers, golden.batch({"x": images}))["simkd"] == 0


class Answer(nn.Module):
    """A projector that knows: the given map, pooled to the size of its input."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(self.answer, x.shape[2:])


def test_the_state_predicts_without_the_teacher():
    """A method made beside another teacher, with this one's state, gives this one's logits."""
    made = [models.build(name, 10).eval() for name in ("resnet8", "resnet14", "resnet14")]
    student, teacher, other = made
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    outputs = student.outputs(images)
    info = golden.info(outputs, image_size=16)
    trained = distillers.build("simkd", student, teacher, info).eval()
    loaded = distillers.build("simkd", student, other, info).eval()
    assert not torch.equal(loaded.predict(outputs), trained.predict(outputs))
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded.predict(outputs), trained.predict(outputs))
    assert not trained.classifier.weight.requires_grad
    assert torch.equal(trained.classifier.weight, teacher.fc.weight)


def test_a_teacher_without_a_classifier_is_unsupported():
    case = golden.load("simkd", "c0")
    _, student, teacher, _ = build(case, torch.float32)
    with pytest.raises(Unsupported, match="simkd needs classifier"):
        golden.build(case, "simkd", student, golden.StandIn(teacher), torch.float32)
