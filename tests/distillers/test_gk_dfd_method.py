"""GK-DFD as a method: presets, gradients, degenerate batches, options, real pairs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

import distillers
import models
from datasets import Batch
from models import Outputs
from tests.distillers import golden

# ---- stand-ins -----------------------------------------------------------------------------------

BALANCED = torch.arange(4).repeat_interleave(4)
RAGGED = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 0, 1, 1, 6, 6])
PRESETS = [None, "default", "literal", "signed"]


def outputs(size=16, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(size, 7, generator=generator)
    embedding = torch.randn(size, width, generator=generator).relu()
    return Outputs(logits.requires_grad_(), embedding=embedding.requires_grad_())


def batch_of(classes):
    size = len(classes)
    return Batch(torch.zeros(size, 3, 8, 8), classes, torch.arange(size), epoch=1, step=0)


def built(student, teacher, preset=None, seed=0, **options):
    torch.manual_seed(seed)
    networks = golden.StandIn(student), golden.StandIn(teacher)
    options = {"dimension": 10, **options}
    return distillers.build("gk_dfd", *networks, golden.info(student), preset=preset, **options)


def own(losses):
    return sum(loss for part, loss in losses.items() if part != "ce")


def moved(outputs, order):
    return outputs.map(lambda x: x.detach()[order])


@pytest.mark.parametrize("preset", PRESETS)
def test_gradient_reaches_the_student_never_the_teacher(preset):
    student, teacher = outputs(), outputs(width=9, seed=1)
    method = built(student, teacher, preset)
    losses = method(student, teacher, batch_of(BALANCED))
    own(losses).backward()
    assert student.embedding.grad.abs().sum() > 0
    assert (student.logits.grad is not None) == (preset == "signed")
    assert teacher.logits.grad is None
    assert teacher.embedding.grad is None
    for parameter in method.student_head.parameters():
        assert parameter.grad.abs().sum() > 0
    joint = preset in ("literal", "signed")
    assert all(p.requires_grad == joint for p in method.teacher_head.parameters())
    assert all((p.grad is not None) == joint for p in method.teacher_head.parameters())
    assert list(losses)[1:] == (
        ["gk_dfd.graph", "gk_dfd.feature"] if preset == "signed" else ["gk_dfd.gc", "gk_dfd.dfd"]
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("classes", [BALANCED, RAGGED])
def test_the_order_of_the_batch_does_not_matter(preset, classes):
    student, teacher = outputs(), outputs(width=9, seed=1)
    method = built(student, teacher, preset).double()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    student, teacher = (x.map(lambda value: value.double()) for x in (student, teacher))
    before = method(student, teacher, batch_of(classes))
    after = method(moved(student, order), moved(teacher, order), batch_of(classes[order]))
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("preset", ["default", "literal"])
def test_equal_networks_with_equal_heads_have_no_loss(preset):
    student = outputs()
    method = built(student, student, preset)
    method.teacher_head.load_state_dict(method.student_head.state_dict())
    losses = method(student, student, batch_of(BALANCED))
    assert losses["gk_dfd.gc"] == losses["gk_dfd.dfd"] == 0


@pytest.mark.parametrize("preset", ["default", "literal", "signed"])
def test_a_step_trains_a_joint_teacher_head_only(preset):
    student, teacher = outputs(), outputs(width=9, seed=1)
    method = built(student, teacher, preset)
    before = {name: p.clone() for name, p in method.named_parameters()}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, weight_decay=5e-4)
    own(method(student, teacher, batch_of(BALANCED))).backward()
    optimizer.step()
    changed = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    frozen = {name for name in before if name.startswith("teacher_head") and preset == "default"}
    assert changed == set(before) - frozen


def test_heads_start_from_the_global_generator():
    student, teacher = outputs(), outputs(width=9, seed=1)
    first, again, other = (built(student, teacher, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["teacher_head.vertex.weight"], other["teacher_head.vertex.weight"])
    bound = 10**-0.5
    for name in ("weight_self", "weight_neighbours", "bias"):
        values = first[f"student_head.convolution.{name}"].abs()
        assert 0.5 * bound < values.max() <= bound


def test_count_of_extra_parameters():
    student, teacher = outputs(width=12), outputs(width=9, seed=1)
    method = built(student, teacher, dimension=128)
    count = sum(p.numel() for p in method.parameters())
    assert count == (9 + 1) * 128 + (12 + 1) * 128 + 65792


def test_soft_labels_count_as_their_largest_class():
    student, teacher = outputs(), outputs(width=9, seed=1)
    method = built(student, teacher)
    hard = own(method(student, teacher, batch_of(RAGGED)))
    soft = own(method(student, teacher, batch_of(0.8 * F.one_hot(RAGGED, 7) + 0.2 / 7)))
    assert hard == soft


def test_classes_of_the_edges_may_be_the_predictions():
    student, teacher = outputs(), outputs(width=9, seed=1)
    by_prediction = built(student, teacher, class_source="predictions")
    by_label = built(student, teacher)
    predicted = batch_of(teacher.logits.argmax(dim=1))
    value = by_prediction(student, teacher, batch_of(RAGGED))["gk_dfd.gc"]
    assert value == by_label(student, teacher, predicted)["gk_dfd.gc"]
    assert value != by_label(student, teacher, batch_of(RAGGED))["gk_dfd.gc"]


# ---- degenerate batches --------------------------------------------------------------------------

DEGENERATE = {
    "singletons": (RAGGED, 0),
    "one class": (torch.zeros(16, dtype=torch.long), 1),
    "all alone": (torch.arange(7), 1),
    "two samples": (torch.tensor([0, 1]), 1),
    "one sample": (torch.tensor([3]), 1),
}


@pytest.mark.parametrize("preset", ["default", "literal", "signed"])
@pytest.mark.parametrize("batch", DEGENERATE)
def test_degenerate_batches_stay_finite_and_are_counted(batch, preset):
    classes, skipped = DEGENERATE[batch]
    student, teacher = outputs(len(classes)), outputs(len(classes), 9, seed=1)
    method = built(student, teacher, preset)
    losses = method(student, teacher, batch_of(classes))
    sum(losses.values()).backward()
    gradients = [student.embedding.grad, *(p.grad for p in method.parameters() if p.requires_grad)]
    assert all(loss.isfinite() for loss in losses.values())
    assert all(gradient.isfinite().all() for gradient in gradients)
    if preset == "signed" and batch == "all alone":
        skipped = 0  # samples without a partner still repel the others
    assert method.skipped == skipped
    last = list(losses.values())[-1]
    assert (last == 0) == bool(skipped)


@pytest.mark.parametrize("preset", ["default", "signed"])
def test_a_teacher_with_nan_is_counted_and_shows_in_the_other_part(preset):
    student, teacher = outputs(), outputs(width=9, seed=1)
    broken = Outputs(teacher.logits, embedding=teacher.embedding / 0)
    method = built(student, teacher, preset)
    gc, dfd = list(method(student, broken, batch_of(BALANCED)).values())[1:]
    assert method.skipped == 1
    assert gc.isnan()
    assert dfd == 0
    dfd.backward()
    assert not student.embedding.grad.any()


@pytest.mark.parametrize("preset", ["default", "signed"])
def test_a_constant_teacher_is_harmless(preset):
    student, teacher = outputs(), outputs(width=9, seed=1)
    same = teacher.map(lambda x: x.detach()[:1].expand_as(x))
    method = built(student, teacher, preset)
    losses = method(student, same, batch_of(BALANCED))
    own(losses).backward()
    assert student.embedding.grad.isfinite().all()
    assert method.teacher_variance < 1e-12


def test_the_counter_is_saved_and_the_variance_is_that_of_the_teachers_nodes():
    student, teacher = outputs(7), outputs(7, 9, seed=1)
    method = built(student, teacher)
    for _ in range(3):
        method(student, teacher, batch_of(torch.arange(7)))
    assert method.state_dict()["skipped"] == 3
    assert 0 < method.teacher_variance < 1


@pytest.mark.parametrize("preset", PRESETS)
def test_no_step_waits_for_the_device(preset):
    """Fake tensors have no values, so reading one on the host raises."""
    with FakeTensorMode():
        student, teacher = (
            Outputs(torch.randn(16, 7, requires_grad=True), torch.randn(16, w, requires_grad=True))
            for w in (12, 9)
        )
        networks = golden.StandIn(student), golden.StandIn(teacher)
        method = distillers.build(
            "gk_dfd", *networks, golden.info(student), preset=preset, positives=2, negatives=3
        )
        losses = method(student, teacher, batch_of(torch.zeros(16, dtype=torch.long)))
        own(losses).backward()
        assert student.embedding.grad.shape == (16, 12)


# ---- options and pairs ---------------------------------------------------------------------------


def test_balanced_batches_are_the_default():
    cls = distillers.find("gk_dfd")
    assert cls.needs_of(distillers.resolve("gk_dfd")).sampler == "balanced"
    plain = cls.needs_of(distillers.resolve("gk_dfd", {"balanced": False}))
    assert plain.sampler is None
    assert plain.full_batches
    assert plain.embedding


def test_without_the_sampler_the_last_partial_batch_is_left_out():
    student, teacher = outputs(), outputs(width=9, seed=1)
    method = built(student, teacher, balanced=False)
    part = slice(0, 5)
    losses = method(moved(student, part), moved(teacher, part), batch_of(BALANCED[part]))
    assert losses["gk_dfd"] == 0
    assert own(method(student, teacher, batch_of(BALANCED))) > 0


def test_a_network_without_an_embedding_is_refused():
    student = outputs()
    with pytest.raises(distillers.Unsupported, match="needs embedding"):
        built(Outputs(student.logits), student)


PAIRS = [
    ("resnet56", "resnet8"),
    ("resnet32x4", "resnet8x4"),
    ("vgg13", "vgg8"),
    ("wrn_40_2", "wrn_16_2"),
]


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_pairs_of_the_zoo(teacher, student):
    torch.manual_seed(0)
    networks = [models.build(name, num_classes=10) for name in (student, teacher)]
    data = golden.info(Outputs(torch.zeros(8, 10)), image_size=32)
    presets = ("default", "literal", "signed")
    methods = [distillers.build("gk_dfd", *networks, data, preset=preset) for preset in presets]
    seen = [network.outputs(torch.randn(8, 3, 32, 32)) for network in networks]
    classes = torch.arange(4).repeat(2)
    total = sum(own(method(*seen, batch_of(classes))) for method in methods)
    assert total.isfinite()
    total.backward()
    gradients = [p.grad for p in networks[0].parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert all(p.grad is None for p in networks[1].parameters())
