"""WKD-L against a loop over the paper's formulas."""

import math

import pytest
import torch
from torch import nn

from distillers import Unsupported
from tests.distillers import golden, loops
from tests.distillers.loops import draw, outputs, softmax
from tests.distillers.loops import losses as terms

SIZE, CLASSES, TEMPERATURE, ETA, STEPS, KAPPA = 6, 5, 2.0, 0.1, 7, 1.5
OPTIONS = {
    "target_weight": 0.7,
    "transport_weight": 3.0,
    "temperature": TEMPERATURE,
    "sinkhorn_regularisation": ETA,
    "sinkhorn_steps": STEPS,
    "sharpening": KAPPA,
}


def drawn(classes=CLASSES):
    """Logits of student and teacher, labels, and the rows of the teacher's classifier."""
    draws = draw((SIZE, classes), (SIZE, classes), (classes, 8))
    student, teacher, weight = 3 * draws[0], 3 * draws[1], draws[2]
    labels = torch.randint(classes, (SIZE,), generator=torch.Generator().manual_seed(0))
    return student.requires_grad_(), teacher, labels, weight


def build(student, teacher, weight, **options):
    classifier = nn.Linear(weight.shape[1], len(weight), dtype=weight.dtype)
    with torch.no_grad():
        classifier.weight.copy_(weight)
    network = golden.StandIn(outputs(teacher), classifier)
    given = {**OPTIONS, **options}
    return golden.build("wkd_l", outputs(student), network, student.dtype, **given)


def run(student, teacher, labels, weight, epoch=1, **options):
    method = build(student, teacher, weight, **options)
    return torch.stack(list(terms(method, student, teacher, labels, epoch).values()))


def cost(a, b):
    cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
    return 1 - math.exp(-KAPPA * max(1 - cosine, 0.0)) + 1e-8


def transport(p, q, costs):
    """The cost of Sinkhorn's plan between p and q, whose last step scales p."""
    indices = range(len(p))
    kernel = [[math.exp(-c / ETA) for c in row] for row in costs]
    u = [1 / len(p) for _ in p]
    for _ in range(STEPS):
        v = [q[j] / (sum(u[i] * kernel[i][j] for i in indices) + 1e-8) for j in indices]
        u = [p[i] / (sum(kernel[i][j] * v[j] for j in indices) + 1e-8) for i in indices]
    return sum(u[i] * kernel[i][j] * v[j] * costs[i][j] for i in indices for j in indices)


def expected(student, teacher, labels, weight):
    rows, confidence, moved = weight.tolist(), 0.0, 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        confidence -= softmax(t)[y] * math.log(softmax(s)[y]) / SIZE
        kept = [c for c in range(CLASSES) if c != y]
        p, q = (softmax([z[c] for c in kept], TEMPERATURE) for z in (s, t))
        moved += transport(p, q, [[cost(rows[i], rows[j]) for j in kept] for i in kept]) / SIZE
    return OPTIONS["target_weight"] * confidence, OPTIONS["transport_weight"] * moved


def test_against_a_loop():
    student, teacher, labels, weight = drawn()
    values = run(student, teacher, labels, weight).tolist()
    assert values == pytest.approx(expected(student, teacher, labels, weight), rel=1e-10)


def test_the_gradient_by_differences():
    student, teacher, labels, weight = drawn()
    assert torch.autograd.gradcheck(lambda s: run(s, teacher, labels, weight), student)


def test_with_little_entropy_it_is_the_wasserstein_distance():
    """Classes on a line at their number: it is then the area between the two distributions.

    The 1e-8 in Sinkhorn's divisors loses about 1 % of the mass here.
    """
    student, teacher, labels, weight = drawn()
    labels = torch.full_like(labels, CLASSES - 1)
    method = build(student, teacher, weight, sinkhorn_steps=2000, sinkhorn_regularisation=0.1)
    places = torch.arange(CLASSES).double()
    method.costs = (places - places[:, None]).abs()
    p, q = ((z[:, :-1] / TEMPERATURE).softmax(dim=1).cumsum(dim=1) for z in (student, teacher))
    value = terms(method, student, teacher, labels)["wkd_l.transport"]
    distance = OPTIONS["transport_weight"] * (p - q).abs().sum(dim=1).mean()
    torch.testing.assert_close(value, distance, rtol=2e-2, atol=0.0)


def test_confusing_similar_classes_costs_less():
    weight = torch.tensor([[1.0, 0.1], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]).double()
    sure = 20 * torch.eye(CLASSES).double()
    labels = torch.full((SIZE,), 4)
    near, far = (run(sure[[c] * SIZE], sure[[0] * SIZE], labels, weight)[1] for c in (1, 2))
    assert 0 < near < far / 10


def test_the_label_has_no_part_in_the_plan():
    student, teacher, labels, weight = drawn()
    changed = student.detach().scatter_add(1, labels[:, None], torch.ones(SIZE, 1).double())
    before, after = run(student, teacher, labels, weight), run(changed, teacher, labels, weight)
    torch.testing.assert_close(before[1], after[1])
    assert before[0] > after[0]


@pytest.mark.parametrize(("epoch", "share"), [(150, 1.0), (195, 0.5), (240, 0.0)])
def test_the_transport_decays_and_the_target_stays(epoch, share):
    student, teacher, labels, weight = drawn()
    full, part = run(student, teacher, labels, weight), run(student, teacher, labels, weight, epoch)
    torch.testing.assert_close(part, full * torch.tensor([1.0, share]).double())


@pytest.mark.parametrize("scale", [30.0, 1e4])
def test_large_logits_stay_finite(scale):
    student, teacher, labels, weight = (z.detach() for z in drawn())
    leaf = (scale * student).float().requires_grad_()
    published = {"temperature": 8.0, "sinkhorn_regularisation": 0.05, "sinkhorn_steps": 10}
    value = run(leaf, (scale * teacher).float(), labels, weight.float(), **published)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(leaf.grad).all()


def test_a_classifier_with_a_zero_row():
    student, teacher, _, weight = drawn()
    weight[0] = 0.0
    costs = build(student, teacher, weight).costs
    torch.testing.assert_close(costs[0, 1:], torch.full((4,), 1 - math.exp(-KAPPA)).double())
    torch.testing.assert_close(costs.diagonal(), torch.full((CLASSES,), 1e-8).double())


def test_a_teacher_without_a_classifier_is_unsupported():
    student, teacher, *_ = drawn()
    with pytest.raises(Unsupported, match="wkd_l needs classifier"):
        loops.build("wkd_l", student, teacher)
