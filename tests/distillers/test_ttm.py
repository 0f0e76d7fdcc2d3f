"""TTM and WTTM, for which there is no fixture, against a loop over the paper's formula."""

import math

import pytest
import torch

from tests.distillers import golden


def run(name, student, teacher, exponent):
    s, t = golden.outputs({"s_logits": student}, "s"), golden.outputs({"s_logits": teacher}, "s")
    method = golden.build(name, s, t, student.dtype, weight=1.0, exponent=exponent)
    return method(s, t, golden.batch({"s_logits": student}))[name]


def logits(classes=7):
    generator = torch.Generator().manual_seed(classes)
    draw = {"generator": generator, "dtype": torch.float64}
    return 3 * torch.randn(6, classes, **draw), 3 * torch.randn(6, classes, **draw)


def softmax(values):
    powers = [math.exp(v) for v in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("exponent", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", ["ttm", "wttm"])
def test_a_loop_over_the_formula(name, exponent):
    student, teacher = logits()
    expected = 0.0
    for row_s, row_t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, powers = softmax(row_s), [v**exponent for v in softmax(row_t)]
        q = [power / sum(powers) for power in powers]
        divergence = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        expected += divergence * (sum(powers) if name == "wttm" else 1) / len(student)
    assert run(name, student, teacher, exponent).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["ttm", "wttm"])
def test_the_gradient_is_the_difference_of_the_distributions(name):
    student, teacher = logits()
    student.requires_grad_()
    run(name, student, teacher, 0.3).backward()
    q = teacher.softmax(dim=1) ** 0.3
    power = q.sum(dim=1, keepdim=True)
    expected = student.detach().softmax(dim=1) - q / power
    if name == "wttm":
        expected = power * expected
    torch.testing.assert_close(student.grad, expected / len(student))


def test_with_exponent_1_both_are_kd_at_temperature_1():
    student, teacher = logits()
    s, t = (golden.outputs({"s_logits": z}, "s") for z in (student, teacher))
    kd = golden.build("kd", s, t, torch.float64, kd=1.0, kd_temperature=1.0)
    expected = kd(s, t, golden.batch({"s_logits": student}))["kd"]
    for name in ("ttm", "wttm"):
        torch.testing.assert_close(run(name, student, teacher, 1.0), expected)


def test_an_uncertain_teacher_weighs_more():
    student, _ = logits()
    certain = torch.zeros(6, 7, dtype=torch.float64)
    certain[:, 0] = 200.0
    for teacher, factor in ((certain, 1.0), (torch.zeros_like(certain), 7**0.75)):
        ratio = run("wttm", student, teacher, 0.25) / run("ttm", student, teacher, 0.25)
        assert ratio.item() == pytest.approx(factor)
