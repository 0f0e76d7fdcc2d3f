"""TTM and WTTM against a loop over the paper's formula."""

import pytest
import torch

from tests.distillers.loops import build, draw, kl, losses, softmax


def run(name, student, teacher, exponent):
    method = build(name, student, teacher, weight=1.0, exponent=exponent)
    return losses(method, student, teacher)[name]


def logits():
    return draw((6, 7), (6, 7), seed=7, scale=3)


@pytest.mark.parametrize("exponent", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", ["ttm", "wttm"])
def test_against_a_loop(name, exponent):
    student, teacher = logits()
    expected = 0.0
    for row_s, row_t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, powers = softmax(row_s), [v**exponent for v in softmax(row_t)]
        q = [power / sum(powers) for power in powers]
        expected += kl(q, p) * (sum(powers) if name == "wttm" else 1) / len(student)
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
    kd = build("kd", student, teacher, kd=1.0, kd_temperature=1.0)
    expected = losses(kd, student, teacher)["kd"]
    for name in ("ttm", "wttm"):
        torch.testing.assert_close(run(name, student, teacher, 1.0), expected)


def test_an_uncertain_teacher_weighs_more():
    student, _ = logits()
    certain = torch.zeros(6, 7, dtype=torch.float64)
    certain[:, 0] = 200.0
    for teacher, factor in ((certain, 1.0), (torch.zeros_like(certain), 7**0.75)):
        ratio = run("wttm", student, teacher, 0.25) / run("ttm", student, teacher, 0.25)
        assert ratio.item() == pytest.approx(factor)
