"""tf-NKD: the reference's number, a loop, soft labels."""

import math

import pytest
import torch

import distillers
from tests.distillers import golden
from tests.distillers.loops import outputs, softmax


def run(logits, labels):
    student = outputs(logits)
    network = golden.StandIn(student)
    method = distillers.build("tf_nkd", network, None, golden.info(student), ce=0.0)
    return method(student, None, golden.batch({"s_logits": logits, "labels": labels}))["tf_nkd"]


def logits_by_formula():
    k = torch.arange(80, dtype=torch.float64)
    return (3 * torch.sin(1.3 * k + 0.0037 * k**2 + 0.2)).float().reshape(8, 10)


LABELS = 3 * torch.arange(8) % 10


@pytest.mark.parametrize("dtype", golden.DTYPES)
def test_the_references_number(dtype):
    """The loss and the sum of its gradient, computed once in float32 with the authors' old code."""
    logits = logits_by_formula().to(dtype).requires_grad_()
    value = run(logits, LABELS)
    value.backward()
    assert value.item() == pytest.approx(5.05941582, rel=1e-6)
    assert logits.grad.abs().sum().item() == pytest.approx(1.88607707, rel=1e-5)


def test_against_a_loop():
    logits = logits_by_formula().double()
    p = [softmax(row)[y] for row, y in zip(logits.tolist(), LABELS.tolist(), strict=True)]
    mean = sum(p) / len(p)
    expected = -sum((v + 1 - mean) * math.log(v) for v in p) / len(p)
    assert run(logits, LABELS).item() == pytest.approx(expected, rel=1e-12)


def test_two_shares_are_two_terms():
    logits = logits_by_formula().double()
    hot = torch.eye(10, dtype=torch.float64)
    second = (LABELS + 1) % 10
    value = run(logits, 0.7 * hot[LABELS] + 0.3 * hot[second])
    expected = 0.0
    for classes, share in ((LABELS, 0.7), (second, 0.3)):
        p = logits.softmax(dim=1)[torch.arange(8), classes]
        expected = expected - ((p + share - p.mean()) * p.log()).mean()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(run(logits, hot[LABELS]), run(logits, LABELS))
