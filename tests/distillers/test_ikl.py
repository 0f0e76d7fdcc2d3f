"""IKL-KD against a loop over the paper's formula."""

import copy
import math

import pytest
import torch

import distillers
from tests.distillers import loops
from tests.distillers.loops import draw, softmax
from tests.distillers.loops import losses as terms

OPTIONS = {"wmse_weight": 2.5, "cross_entropy_weight": 0.7, "temperature": 3.0, "warmup": 0.0}
SIZE, CLASSES = 6, 5
CASES = [
    {"weighting": weighting, "class_temperature": temperature, "exponent": exponent}
    for weighting in ("sample", "class")
    for temperature, exponent in ((100.0, 1.0), (1.5, 1.0), (1.5, 0.3))
]


def drawn(seed=0):
    student, teacher = draw((SIZE, CLASSES), (SIZE, CLASSES), seed=seed, scale=3)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])  # never 3 or 4
    return student.requires_grad_(), teacher, labels


def build(student, teacher, **options):
    method = loops.build("ikl", student, teacher, **{**OPTIONS, **options})
    method.on_epoch(1)
    return method


def expected(student, teacher, weights, exponent):
    """wMSE and the cross-entropy, weighted; ``weights``: v by sample, before the power."""
    top = bottom = entropy = 0.0
    for s, t, v in zip(student.tolist(), teacher.tolist(), weights, strict=True):
        for j in range(CLASSES):
            for k in range(CLASSES):
                pair = (v[j] * v[k]) ** exponent
                top += pair * ((t[j] - t[k]) - (s[j] - s[k])) ** 2 / 4
                bottom += pair
        p, q = (softmax(z, OPTIONS["temperature"]) for z in (s, t))
        entropy -= sum(b * math.log(a) for a, b in zip(p, q, strict=True)) / SIZE
    return OPTIONS["wmse_weight"] * top / bottom, OPTIONS["cross_entropy_weight"] * entropy


@pytest.mark.parametrize("options", CASES, ids=str)
def test_against_a_loop(options):
    """Two epochs of two batches: the second epoch's v is the mean over the first's samples."""
    student, teacher, labels = drawn()
    method, temperature = build(student, teacher, **options), options["class_temperature"]
    means = [[1 / CLASSES] * CLASSES for _ in range(CLASSES)]
    for epoch in (1, 2):
        method.on_epoch(epoch)
        seen = [[] for _ in range(CLASSES)]
        for seed in (0, 1):
            student, teacher, labels = drawn(10 * epoch + seed)
            values = [v.item() for v in terms(method, student, teacher, labels, epoch).values()]
            own = [softmax(t, temperature) for t in teacher.tolist()]
            by_class = [means[y] for y in labels.tolist()]
            weights = own if options["weighting"] == "sample" else by_class
            reference = expected(student, teacher, weights, options["exponent"])
            assert values == pytest.approx(reference, rel=1e-10)
            for y, q in zip(labels.tolist(), own, strict=True):
                seen[y].append(q)
        columns = [list(zip(*rows, strict=True)) for rows in seen]
        means = [
            [sum(c) / len(c) for c in columns[y]] if columns[y] else means[y]
            for y in range(CLASSES)
        ]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_the_gradient_by_differences(options):
    student, teacher, labels = drawn()
    method = build(student, teacher, **options)
    assert torch.autograd.gradcheck(
        lambda s: sum(terms(method, s, teacher, labels).values()), student
    )


def test_uniform_weights_give_half_the_variance_of_the_difference():
    student, teacher, labels = drawn()
    method = build(student, teacher, class_temperature=1e12)
    variance = (student - teacher).var(dim=1, correction=0).mean()
    value = terms(method, student, teacher, labels)["ikl.wmse"]
    torch.testing.assert_close(value, OPTIONS["wmse_weight"] * variance / 2)


def test_a_shift_of_the_logits_changes_nothing():
    """Only differences between classes count, so a constant per sample drops out."""
    student, teacher, labels = drawn()
    method = build(student, teacher)
    value, shifted = (
        torch.stack(list(terms(method, s, teacher, labels).values()))
        for s in (student, student + torch.arange(SIZE)[:, None])
    )
    torch.testing.assert_close(value, shifted)


def test_class_means_are_kept_over_a_resume_and_without_gradients():
    student, teacher, labels = drawn()
    method = build(student, teacher, weighting="class")
    terms(method, student, teacher, labels)
    saved = copy.deepcopy(method.state_dict())
    assert saved["class_sums"].any()
    method.on_epoch(1)  # an epoch entered in the middle
    with torch.no_grad():
        terms(method, student, teacher, labels)
    assert all(torch.equal(value, saved[name]) for name, value in method.state_dict().items())
    method.on_epoch(2)
    assert not torch.equal(method.class_means[:3], saved["class_means"][:3])
    assert torch.equal(method.class_means[3:], saved["class_means"][3:])
    torch.testing.assert_close(method.class_means.sum(dim=1), torch.ones(CLASSES).double())


@pytest.mark.parametrize(
    ("options", "batch"),
    [({}, "local"), ({"weighting": "class"}, "global"), ({"exponent": 0.5}, "global")],
    ids=str,
)
def test_needs(options, batch):
    resolved = distillers.resolve("ikl", options)
    assert distillers.find("ikl").needs_of(resolved).batch == batch


@pytest.mark.parametrize("preset", ["gkl", "imagenet", "gkl_imagenet"])
def test_large_logits_stay_finite(preset):
    student, teacher, labels = (z.detach() for z in drawn())
    leaf, options = (1e4 * student).float().requires_grad_(), distillers.resolve("ikl", {}, preset)
    method = build(leaf, teacher.float(), **options)
    for epoch in (1, 2, 3):
        method.on_epoch(epoch)
        value = sum(terms(method, leaf, (1e4 * teacher).float(), labels, epoch).values())
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(leaf.grad).all()
