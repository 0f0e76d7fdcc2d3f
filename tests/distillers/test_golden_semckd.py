"""SemCKD against its authors' numbers; its attention, and which batches it takes."""

import dataclasses
import re

import pytest
import torch

from distillers import Unsupported
from tests.distillers import golden

STEM = {"query": "queries", "key": "keys"}
LINEAR = {"linear1": 0, "linear2": 2}


def build(case, dtype):
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return (
        golden.build(case, "semckd", student, teacher, dtype, weight=1.0),
        student,
        teacher,
        inputs,
    )


def renamed(case):
    """The second perceptron inside the reference's embeddings gets no gradient anywhere."""
    names = {}
    for name in case.groups["pgrad"]:
        if found := re.match(r"selfa\.(query|key)_(?:weight)?(\d)\.(linear\d)\.(\w+)", name):
            side, stage, layer, kind = found.groups()
            names[name] = f"{STEM[side]}.{stage}.{LINEAR[layer]}.{kind}"
        else:
            found = re.match(r"selfa\.regressor(\d)(\d)\.regressor\.(.*)", name)
            names[name] = "projectors.{}.{}.{}".format(*found.groups())
    return names


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("semckd"))
def test_semckd(name, dtype):
    case = golden.load("semckd", name)
    method, student, teacher, inputs = build(case, dtype)
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "semckd", losses["semckd"])
    losses["semckd"].backward()
    golden.check_gradients(case, inputs)
    names = renamed(case)
    golden.check_parameter_gradients(case, method, names)
    assert set(names.values()) == {name for name, _ in method.named_parameters()}


@pytest.mark.parametrize("name", golden.names("semckd"))
def test_attention(name):
    case = golden.load("semckd", name)
    method, student, teacher, _ = build(case, torch.float64)
    attention = method._attention(student.features[1:], teacher.features[1:])
    expected = case.tensor("aux", "attention", torch.float64)
    torch.testing.assert_close(attention, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attention.sum(dim=2), torch.ones(attention.shape[:2]).double())


@torch.no_grad()
def test_with_even_attention_it_is_a_mean_of_squares():
    case = golden.load("semckd", "c0")
    method, student, teacher, inputs = build(case, torch.float64)
    method.options.temperature = 1e12
    sources, targets = student.features[1:], teacher.features[1:]
    total = 0.0
    for i, source in enumerate(sources):
        for j, target in enumerate(targets):
            pooled = torch.nn.functional.adaptive_avg_pool2d(source, target.shape[2:])
            error = method.projectors[i][j](pooled) - target
            for b in range(8):
                total += error[b].pow(2).sum().item() / error[b].numel() / len(targets)
    value = method(student, teacher, golden.batch(inputs))["semckd"]
    assert value.item() == pytest.approx(total / (8 * len(sources)), rel=1e-10)


def test_only_full_batches_count():
    case = golden.load("semckd", "c1")
    method, student, teacher, inputs = build(case, torch.float32)
    part = golden.batch({name: value[:5] for name, value in inputs.items()})
    short = [o.map(lambda x: x[:5]) for o in (student, teacher)]
    assert method(*short, part)["semckd"] == 0


def test_dead_maps_have_finite_gradients():
    case = golden.load("semckd", "c0")
    method, student, teacher, inputs = build(case, torch.float32)
    with torch.no_grad():
        for parameter in method.queries.parameters():
            parameter.zero_()
    dead = dataclasses.replace(teacher, features=tuple(0 * f for f in teacher.features))
    method(student, dead, golden.batch(inputs))["semckd"].backward()
    assert all(torch.isfinite(inputs[f"s_feat{i}"].grad).all() for i in (0, 1))


def test_tiny_batches_are_unsupported():
    case = golden.load("semckd", "c0")
    inputs = {name: value[:3] for name, value in golden.inputs(case, torch.float32).items()}
    with pytest.raises(Unsupported, match="batches of 3; expected at least 4"):
        golden.build(
            case,
            "semckd",
            golden.outputs(inputs, "s"),
            golden.outputs(inputs, "t"),
            torch.float32,
        )
