"""What the test of a teacher shows of it: chance, another order of classes, one class, NaN."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from datasets import Batch
from experiments.train.distributed import SINGLE
from experiments.train.teacher_quality import Counts, Quality, near_chance, quality, warnings


def examined(logits: Tensor, labels: Tensor) -> Quality:
    """The test of a teacher with these logits, in two batches."""
    classes = logits.shape[1]
    counts = Counts(classes, torch.device("cpu"))
    indices = torch.arange(len(labels))
    for part in indices.split(len(labels) // 2 + 1):
        batch = Batch(torch.empty(len(part), 0), labels[part], indices[part], 0, 0)
        counts(logits[part], logits[part].topk(1).indices[:, 0], batch)
    top1 = 100 * (logits.argmax(1) == labels).double().mean().item()
    loss = nn.functional.cross_entropy(logits.double(), labels).item()
    return quality({"top1": top1, "loss": loss}, *counts.gathered(SINGLE), len(labels), classes)


def said(found: Quality, **about: bool) -> str:
    return "\n".join(warnings("t", found, **about))


def labels_of(classes: int, each: int = 20) -> Tensor:
    """Sorted by class, as the test parts of folders are."""
    return torch.arange(classes).repeat_interleave(each)


def sure(predicted: Tensor, classes: int, scale: float = 8.0) -> Tensor:
    return scale * nn.functional.one_hot(predicted, classes).float()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.manual_seed(0))


def test_a_good_teacher_is_not_mentioned():
    labels = labels_of(10)
    logits = sure(labels, 10) + noise(200, 10)
    found = examined(logits, labels)
    assert found.reordered is None and found.most is None  # not even computed
    assert said(found) == ""
    rather_weak = examined(sure(labels, 10, 1.0) + noise(200, 10), labels)
    assert 25 < rather_weak.top1 < 50 and said(rather_weak) == ""


@pytest.mark.parametrize("classes", [3, 12, 100])
def test_classes_in_another_order(classes):
    labels = labels_of(classes)
    order = torch.arange(classes).roll(1)
    found = examined(sure(order[labels], classes) + noise(len(labels), classes), labels)
    assert found.top1 < near_chance(classes, len(labels)) and found.reordered > 95
    text = said(found)
    assert f"{found.top1:.2f} %, where chance is {100 / classes:.2f} %" in text
    assert f"as if its classes were in another order: {found.reordered:.2f} % after reord" in text


def test_text_order_of_twelve_folders_leaves_two_in_place():
    labels = labels_of(12, 100)
    order = torch.tensor(sorted(range(12), key=str))
    found = examined(sure(order[labels], 12), labels)
    assert found.top1 == pytest.approx(100 * 2 / 12, abs=1e-3)  # 0 and 1
    assert found.reordered == 100 and "in another order" in said(found)


def test_two_classes_exchanged():
    labels = labels_of(2, 50)
    found = examined(sure(1 - labels, 2), labels)
    assert (found.top1, found.reordered) == (0, 100)
    assert "in another order: 100.00 % after reordering" in said(found)


@pytest.mark.parametrize(("classes", "each"), [(10, 2), (4, 8), (100, 1), (100, 20)])
def test_guesses_are_never_called_another_order(classes, each):
    labels = labels_of(classes, each)
    found = examined(noise(len(labels), classes), labels)
    assert "is the order of its classes, the normalisation of its pixels or its data" in said(found)
    assert "after reordering" not in said(found)


@pytest.mark.parametrize("scale", [0.0, 8.0])
def test_one_class_for_every_image(scale):
    labels = labels_of(10)
    found = examined(sure(torch.full_like(labels, 3), 10, scale), labels)
    assert (found.top1, found.most) == (10, 100)
    assert said(found).endswith(": it puts every image into the same class")


def test_of_a_teacher_that_was_trained_here_neither_classes_nor_pixels_are_doubted():
    labels = labels_of(10)
    found = examined(noise(200, 10), labels)
    text = said(found, is_trained_here=True)
    assert text.startswith(f"teacher t has learned little: {found.top1:.2f} %, where chance is 10")
    assert text.endswith(": were its epochs too few, or does its recipe not suit it?")
    constant = examined(sure(torch.full_like(labels, 3), 10), labels)
    assert said(constant, is_trained_here=True).endswith(
        ": it puts every image into the same class"
    )
    predicted = torch.where(torch.arange(200) % 2 == 0, labels, (labels + 1) % 10)
    wrong = examined(sure(predicted, 10), labels)
    assert said(wrong, is_trained_here=True).endswith(": it is very sure where it is wrong")


def test_sure_where_it_is_wrong():
    """Above chance, but a guess has a lower loss: the pixels are another's, say."""
    labels = labels_of(10)
    predicted = torch.where(torch.arange(200) % 2 == 0, labels, (labels + 1) % 10)
    found = examined(sure(predicted, 10), labels)
    assert found.top1 == 50 and found.loss > math.log(10)
    assert f"loss {found.loss:.2f}, above 2.30 of a guess" in said(found)
    assert "very sure where it is wrong" in said(found)


def test_logits_that_are_not_finite():
    labels = labels_of(10)
    logits = sure(labels, 10)
    logits[7] = float("nan")
    found = examined(logits, labels)
    assert (found.broken, found.loss) == (1, None)
    assert (
        said(found)
        == "teacher t: its logits are not finite on 1 of 200 images that it was measured on"
    )
    assert said(found, is_stated=True) == said(found)
    logits[:] = float("inf")
    assert "teacher t may not be what it seems" in said(examined(logits, labels))


def test_what_was_stated_and_met_is_meant():
    labels = labels_of(10)
    assert said(examined(noise(200, 10), labels), is_stated=True) == ""


@pytest.mark.parametrize(
    ("classes", "samples", "limit"),
    [
        (2, 10_000, 66.67),  # twice the odds of a guess, not twice its probability
        (10, 10_000, 18.18),
        (12, 100_000, 15.38),
        (100, 10_000, 1.98),
        (1000, 50_000, 0.2),
        (4, 32, 47.96),  # three standard errors: so few images say little
        (100, 100, 3.98),
    ],
)
def test_what_is_near_chance(classes, samples, limit):
    assert near_chance(classes, samples) == pytest.approx(limit, abs=0.01)


def test_very_many_classes_are_not_counted():
    counts = Counts(21_841, torch.device("cpu"))
    counts(torch.zeros(1, 21_841), torch.zeros(1), Batch(*[torch.zeros(1)] * 3, 0, 0))
    found = quality({"top1": 0.0, "loss": 20.0}, *counts.gathered(SINGLE), 100, 21_841)
    assert found.reordered is None and "21,841 classes" in said(found)
