"""ABKD against a loop over the paper's formula."""

import math

import pytest
import torch

from distillers.abkd import ab_divergence
from tests.distillers.loops import build, draw, losses, softmax

PAIRS = [(0.8, 0.3), (0.5, 0.5), (1.2, -0.4), (-0.3, 0.9), (1.0, 0.0), (0.7, 0.0), (0.0, 1.0)]
PAIRS += [(0.0, 0.6), (0.5, -0.5), (-0.8, 0.8), (0.0, 0.0)]
SIZE, CLASSES, TEMPERATURE = 6, 5, 3.0


def drawn():
    student, teacher = draw((SIZE, CLASSES), (SIZE, CLASSES), scale=2)
    return student.requires_grad_(), teacher


def run(student, teacher, **options):
    method = build("abkd", student, teacher, weight=1.0, temperature=TEMPERATURE, **options)
    return losses(method, student, teacher)["abkd"]


def summand(q, p, alpha, beta):
    if alpha == 0 and beta == 0:
        return math.log(q / p) ** 2 / 2
    if beta == 0:
        return (q**alpha * math.log(q**alpha / p**alpha) - q**alpha + p**alpha) / alpha**2
    if alpha == 0:
        return (p**beta * math.log(p**beta / q**beta) - p**beta + q**beta) / beta**2
    if alpha == -beta:
        return (math.log(p**alpha / q**alpha) + q**alpha / p**alpha - 1) / alpha**2
    both = alpha + beta
    ends = alpha / both * q**both + beta / both * p**both
    return -(q**alpha * p**beta - ends) / (alpha * beta)


def expected(student, teacher, alpha, beta):
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    return sum(
        summand(q, p, alpha, beta) / SIZE
        for s, t in rows
        for p, q in zip(softmax(s, TEMPERATURE), softmax(t, TEMPERATURE), strict=True)
    )


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_against_a_loop(alpha, beta):
    student, teacher = drawn()
    value = run(student, teacher, alpha=alpha, beta=beta)
    assert value.item() == pytest.approx(expected(student, teacher, alpha, beta), rel=1e-10)


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_the_gradient_by_differences(alpha, beta):
    student, teacher = drawn()
    assert torch.autograd.gradcheck(lambda s: run(s, teacher, alpha=alpha, beta=beta), student)


@pytest.mark.parametrize(("alpha", "beta"), [p for p in PAIRS if 0 in (*p, sum(p))])
def test_limits_are_those_of_the_general_case(alpha, beta):
    student, teacher = drawn()
    near = run(student, teacher, alpha=alpha + 1e-5, beta=beta + 2e-5)
    exact = run(student, teacher, alpha=alpha, beta=beta)
    torch.testing.assert_close(near, exact, rtol=1e-3, atol=0.0)


def test_forward_and_reverse_kl():
    student, teacher = drawn()
    log_p, log_q = (torch.log_softmax(z / TEMPERATURE, dim=1) for z in (student, teacher))
    forward, reverse = (
        (log_q.exp() * (log_q - log_p)).sum(1),
        (log_p.exp() * (log_p - log_q)).sum(1),
    )
    torch.testing.assert_close(run(student, teacher, alpha=1.0, beta=0.0), forward.mean())
    torch.testing.assert_close(run(student, teacher, alpha=0.0, beta=1.0), reverse.mean())


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_it_is_zero_with_zero_gradient_only_where_both_agree(alpha, beta):
    student, teacher = drawn()
    same = (teacher + 1.0).requires_grad_()  # a softmax ignores a constant
    value = run(same, teacher, alpha=alpha, beta=beta)
    value.backward()
    assert abs(value) < 1e-12 and same.grad.abs().max() < 1e-12
    log_p, log_q = (torch.log_softmax(z, dim=1) for z in (student, teacher))
    assert (ab_divergence(log_q, log_p, alpha, beta) > 1e-3).all()


@pytest.mark.parametrize(("alpha", "beta"), [p for p in PAIRS if min(p) >= 0])
def test_large_logits_stay_finite(alpha, beta):
    student, teacher = drawn()
    leaf = (1e4 * student.detach()).float().requires_grad_()
    value = run(leaf, (1e4 * teacher).float(), alpha=alpha, beta=beta)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(leaf.grad).all()
