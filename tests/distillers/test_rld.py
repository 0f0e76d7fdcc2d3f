"""RLD against a loop over the paper's formula."""

import pytest
import torch

from tests.distillers.loops import build, draw, kl, losses, softmax

OPTIONS = {"alpha": 0.7, "beta": 3.0, "temperature": 2.5, "confidence_temperature": 1.5}
SIZE, CLASSES = 6, 7


def terms(student, teacher, labels, epoch=1, **options):
    method = build("rld", student, teacher, **{"warmup": 0.0, **OPTIONS, **options})
    return losses(method, student, teacher, labels, epoch)


def run(*args, **options):
    return sum(terms(*args, **options).values())


def drawn():
    """The teacher is right on the first two samples and ranks the label last on the last one."""
    student, teacher = draw((SIZE, CLASSES), (SIZE, CLASSES), scale=3)
    labels = torch.cat(
        [teacher[:2].argmax(1), teacher[2:5].argsort(1)[:, 3], teacher[5:].argmin(1)]
    )
    return student.requires_grad_(), teacher, labels


def expected(student, teacher, labels):
    confidence = correlation = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        temperature = OPTIONS["confidence_temperature"]
        p, q = softmax(s, temperature)[y], max(softmax(t, temperature))
        confidence += temperature**2 * kl([q, 1 - q], [p, 1 - p])
        temperature, kept = OPTIONS["temperature"], [c for c in range(len(t)) if t[c] < t[y]]
        if kept:
            p, q = (softmax([z[c] for c in kept], temperature) for z in (s, t))
            correlation += temperature**2 * kl(q, p)
    return OPTIONS["alpha"] * confidence / SIZE, OPTIONS["beta"] * correlation / SIZE


def test_against_a_loop():
    student, teacher, labels = drawn()
    values = [value.item() for value in terms(student, teacher, labels).values()]
    assert values == pytest.approx(expected(student, teacher, labels), rel=1e-12)


def test_the_gradient_by_differences():
    student, teacher, labels = drawn()
    assert torch.autograd.gradcheck(lambda s: run(s, teacher, labels), student)


def test_with_a_right_teacher_it_is_dkd():
    student, teacher, labels = drawn()
    labels = teacher.argmax(dim=1)
    same = {"alpha": 1.0, "beta": 8.0, "temperature": 4.0, "warmup": 0.0}
    dkd = build("dkd", student, teacher, **same)
    expected = sum(losses(dkd, student, teacher, labels).values())
    value = run(student, teacher, labels, **same, confidence_temperature=4.0)
    torch.testing.assert_close(value, expected)


def test_a_teacher_that_ranks_the_label_last_gives_no_correlation():
    student, teacher, _ = drawn()
    value = terms(student, teacher, teacher.argmin(dim=1))["rld.correlation"]
    value.backward()
    assert value == 0 and not student.grad.any()


def test_classes_above_the_label_do_not_count():
    """In L_MCD, neither by the teacher's logits nor by the student's."""
    student, teacher, labels = drawn()
    above = teacher >= teacher.gather(1, labels[:, None])
    other = student.detach() + 5 * above * torch.randn(SIZE, CLASSES).double()
    value, changed = (
        terms(s, teacher, labels)["rld.correlation"] for s in (student.detach(), other)
    )
    torch.testing.assert_close(value, changed)


def test_the_label_of_a_mixture_is_its_largest():
    student, teacher, labels = drawn()
    soft = 0.9 * torch.eye(CLASSES)[labels] + 0.1 / CLASSES
    assert run(student, teacher, soft.double()) == run(student, teacher, labels)


def test_large_logits_stay_finite():
    student, teacher, labels = (z.detach() for z in drawn())
    for scale in (1e4, 1e30):
        leaf = (scale * student).float().requires_grad_()
        value = run(leaf, (scale * teacher).float(), labels)
        value.backward()
        assert torch.isfinite(leaf.grad).all() and torch.isfinite(value)
