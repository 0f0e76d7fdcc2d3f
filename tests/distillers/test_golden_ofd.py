"""OFD against mdistiller's numbers; its margins, and how stages are paired."""

import math

import pytest
import torch
from torch import nn

from distillers import Unsupported
from distillers.ofd import margin
from tests.distillers import golden

KINDS = {"0.weight": "0.weight", "1.weight": "1.weight", "1.bias": "1.bias"}


def norm(weight, bias):
    layer = nn.BatchNorm2d(len(weight))
    layer.load_state_dict(layer.state_dict() | {"weight": weight.float(), "bias": bias.float()})
    return layer


def build(case, dtype, inputs=None, student=None, **options):
    inputs = inputs or golden.inputs(case, dtype)
    student = student or golden.outputs(inputs, "s")
    teacher = golden.outputs(inputs, "t")
    stages = range(len(teacher.preacts) - 1)
    norms = [norm(inputs[f"t_bn_weight{i}"], inputs[f"t_bn_bias{i}"]) for i in stages]
    network = golden.StandIn(teacher, preact_norms=(None, *norms))
    method = golden.build(case, "ofd", student, network, dtype, **options)
    return method, student, teacher, inputs


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("ofd"))
def test_ofd(name, dtype):
    case = golden.load("ofd", name)
    weight = case.hparams["feat_weight"]
    method, student, teacher, inputs = build(case, dtype, weight=weight)
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "loss_kd", losses["ofd"])
    golden.check_value(case, "ofd_unweighted", losses["ofd"] / weight)
    losses["ofd"].backward()
    golden.check_gradients(case, inputs)
    renamed = {
        f"connectors.connectors.{i}.{theirs}": f"connectors.{i}.{ours}"
        for i in range(len(method.connectors))
        for theirs, ours in KINDS.items()
    }
    golden.check_parameter_gradients(case, method, renamed)
    for i in range(len(method.connectors)):
        expected = case.tensor("aux", f"margin{i}", dtype)[0]
        torch.testing.assert_close(method.get_buffer(f"margin{i}"), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("weight", "bias", "expected"),
    [
        (1.0, 0.0, -0.797884561),
        (0.5, 0.3, -0.30751288),
        (0.2, -1.0, -1.0000003),
        (0.1, 1.0, -0.3),  # hardly ever negative
        (-0.7, 0.2, -0.491760502),
        (0.0, -0.4, -0.4),  # a constant
        (0.0, 0.4, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_margins(weight, bias, expected):
    found = margin(torch.tensor([weight]), torch.tensor([bias]))
    assert found.shape == (1, 1, 1)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_margin_is_the_mean_of_the_negative_part():
    """By the midpoint rule."""
    mean, scale, steps = 0.3, 0.5, 100_000
    low = mean - 12 * scale
    points = [low + (k + 0.5) * -low / steps for k in range(steps)]
    masses = [math.exp(-(((x - mean) / scale) ** 2) / 2) for x in points]
    expected = sum(x * p for x, p in zip(points, masses, strict=True)) / sum(masses)
    found = margin(torch.tensor([scale]).double(), torch.tensor([mean]).double())
    assert found.item() == pytest.approx(expected, rel=1e-7)


def test_stages_are_paired_from_the_last():
    case = golden.load("ofd", "c1")
    inputs = golden.inputs(case, torch.float64)
    full = golden.outputs(inputs, "s")
    short = golden.outputs(inputs, "s", preacts=(full.preacts[0], *full.preacts[2:]))
    method, _, teacher, _ = build(case, torch.float64, inputs, student=short)
    assert [c[0].out_channels for c in method.connectors] == [8, 7]
    expected = case.tensor("aux", "margin1", torch.float64)[0]
    torch.testing.assert_close(method.margin0, expected, rtol=1e-6, atol=0)
    assert torch.isfinite(method(short, teacher, golden.batch(inputs))["ofd"])


def test_a_teacher_without_norms_is_unsupported():
    case = golden.load("ofd", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    for norms in ((), (None, None, None)):
        network = golden.StandIn(teacher, preact_norms=norms)
        with pytest.raises(Unsupported, match=r"margins from the batch norm .* stand-in lacks"):
            golden.build(case, "ofd", student, network, torch.float32)
