"""Measures against scikit-learn, plain loops and direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn import metrics

from results import measures
from results.measures import per_image

N, C = 500, 7


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a student and a teacher, and labels that both know something about."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, C, N)
    student, teacher = (draw.normal(size=(N, C)) * 2 for _ in range(2))
    for logits in (student, teacher):
        logits[np.arange(N), labels] += 1.5
    return student, teacher, labels


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k(drawn, k):
    student, _, labels = drawn
    expected = metrics.top_k_accuracy_score(labels, student, k=k, labels=range(C))
    assert measures.top(per_image(student, labels), k) == pytest.approx(100 * expected, abs=1e-12)


def test_nll(drawn):
    student, _, labels = drawn
    expected = metrics.log_loss(labels, softmax(student, axis=1), labels=range(C))
    assert measures.nll(per_image(student, labels)) == pytest.approx(expected, abs=1e-12)


def test_brier_of_many_classes(drawn):
    student, _, labels = drawn
    errors = softmax(student, axis=1) - np.eye(C)[labels]
    expected = (errors**2).sum(axis=1).mean()
    assert measures.brier(per_image(student, labels)) == pytest.approx(expected, abs=1e-12)


def test_brier_of_two_classes_counts_both(drawn):
    student, _, labels = drawn
    logits, labels = student[:, :2], labels % 2
    expected = 2 * metrics.brier_score_loss(labels, softmax(logits, axis=1)[:, 1])
    assert measures.brier(per_image(logits, labels)) == pytest.approx(expected, abs=1e-12)


def loop_over_bins(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        members = [i for i, p in enumerate(confidence) if b / bins < p <= (b + 1) / bins]
        if members:
            accuracy = sum(bool(correct[i]) for i in members) / len(members)
            total += len(members) * abs(
                accuracy - sum(confidence[i] for i in members) / len(members)
            )
    return 100 * total / len(confidence)


@pytest.mark.parametrize("bins", [4, 15])
def test_ece_against_a_loop(drawn, bins):
    student, _, labels = drawn
    confidence = softmax(student, axis=1).max(axis=1)
    expected = loop_over_bins(confidence, student.argmax(axis=1) == labels, bins)
    assert measures.ece(per_image(student, labels), bins) == pytest.approx(expected, abs=1e-10)
    assert expected > 1


def test_bins_are_closed_on_the_right():
    """Confidence 0.5 and 0.5 + ε: one bin of two for each, so that both gaps count."""
    logits = np.log([[0.5, 0.5], [0.5 + 1e-9, 0.5 - 1e-9]])
    images = per_image(logits, np.array([0, 1]))  # the first is right, the second wrong
    assert measures.ece(images, 2) == pytest.approx(50, abs=1e-6)
    assert measures.ece(images, 1) == pytest.approx(0, abs=1e-6)


def test_adaptive_ece_against_a_loop(drawn):
    student, _, labels = drawn
    confidence = softmax(student, axis=1).max(axis=1)
    order = sorted(range(N), key=lambda i: confidence[i])
    sizes = [N // 15 + (b < N % 15) for b in range(15)]
    total, start = 0.0, 0
    for size in sizes:
        part = order[start : start + size]
        right = sum(bool(student[i].argmax() == labels[i]) for i in part)
        total += abs(right - sum(confidence[i] for i in part))
        start += size
    expected = 100 * total / N
    found = measures.ece_adaptive(per_image(student, labels))
    assert found == pytest.approx(expected, abs=1e-10)
    assert found != pytest.approx(measures.ece(per_image(student, labels)), abs=1e-3)


def test_of_a_perfectly_calibrated_and_of_a_boastful_classifier():
    logits = np.log(np.tile([0.75, 0.25], (400, 1)))
    labels = (np.arange(400) % 4 == 0).astype(int)
    assert measures.ece(per_image(logits, labels)) == pytest.approx(0, abs=1e-10)
    boastful = per_image(100 * logits, labels)
    assert measures.ece(boastful) == pytest.approx(25, abs=1e-6)
    assert measures.ece_adaptive(boastful) == pytest.approx(25, abs=1e-6)


def test_agreement_and_kl_directly(drawn):
    student, teacher, labels = drawn
    both = (per_image(logits, labels) for logits in (student, teacher))
    expected = 100 * np.mean(student.argmax(axis=1) == teacher.argmax(axis=1))
    assert measures.agreement(*both) == pytest.approx(expected, abs=1e-12)
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total += sum(softmax(t) * (log_softmax(t) - log_softmax(s)))
    assert measures.kl(teacher, student) == pytest.approx(total / N, abs=1e-12)
    assert measures.kl(student, student) == 0.0


def test_in_chunks_as_at_once(drawn, monkeypatch):
    student, teacher, labels = drawn
    whole, kl = per_image(student, labels), measures.kl(teacher, student)
    monkeypatch.setattr(measures, "CHUNK", 64)
    parts = per_image(student, labels)
    for name in measures.COLUMNS:
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert measures.kl(teacher, student) == pytest.approx(kl, abs=1e-12)


def test_ties_go_to_the_smaller_number():
    images = per_image(np.array([[1.0, 2, 2, 0], [3, 3, 3, 3]]), np.array([2, 1]))
    assert images.predicted.tolist() == [1, 0]
    assert images.rank_of_label.tolist() == [2, 2]
    assert not images.correct.any()


def test_large_logits_do_not_overflow():
    images = per_image(np.array([[65504.0, -65504], [0, 0]]), np.array([1, 0]))
    assert measures.nll(images) == pytest.approx((131008 + np.log(2)) / 2)
    assert measures.brier(images) == pytest.approx((2 + 0.5) / 2)


def test_accuracy_per_class():
    images = per_image(np.eye(4)[[0, 0, 1, 1]], np.array([0, 1, 1, 3]))
    assert measures.per_class(images, 4) == [100.0, 50.0, None, 0.0]
    changes = measures.class_changes([100.0, 50, None, 0], [50.0, 60, None, 0])
    assert changes == [(1, 10.0), (3, 0.0), (0, -50.0)]


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (9, 1), (1, 9), (30, 12)])
def test_mcnemar_against_the_sum_of_coin_tosses(b, c):
    first = np.array([True] * b + [False] * c + [True] * 3 + [False] * 2)
    second = np.array([False] * b + [True] * c + [True] * 3 + [False] * 2)
    found = measures.mcnemar(first, second)
    assert (found.only_first, found.only_second) == (b, c)
    n, fewer = b + c, min(b, c)
    row = [1]
    for k in range(n):
        row.append(row[-1] * (n - k) // (k + 1))
    one_side = sum(row[: fewer + 1]) / 2**n
    assert found.p == pytest.approx(min(1, 2 * one_side), abs=1e-12)


def test_mcnemar_needs_the_same_images():
    with pytest.raises(ValueError, match="the same images, got 3 and 2"):
        measures.mcnemar(np.ones(3, bool), np.ones(2, bool))
