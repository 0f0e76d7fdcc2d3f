"""IRG as a method: its layers, its presets, and the pairs that it supports."""

from __future__ import annotations

import pytest
import torch

import distillers
import models
from distillers.irg import (
    aligned,
    edge_loss,
    edges,
    logits_loss,
    pooled,
    transformation,
    transformation_loss,
)
from models import Outputs
from tests.distillers import golden


def built(student, teacher, preset=None, **options):
    student, teacher = golden.StandIn(student), golden.StandIn(teacher)
    data = golden.info(student._outputs)
    return distillers.build("irg", student, teacher, data, preset=preset, **options)


def network_outputs(size, widths=(4, 8), blocks=(2, 3), seed=0, dtype=torch.float32, grad=False):
    """Random outputs of a network; ``blocks`` per stage, each (size, width, 4, 4)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        value = torch.randn(*shape, generator=generator).to(dtype)
        return value.requires_grad_(grad)

    stages = tuple(
        tuple(draw(size, width, 4, 4) for _ in range(count))
        for width, count in zip(widths, blocks, strict=True)
    )
    features = (draw(size, widths[0] // 2, 8, 8), *(stage[-1] for stage in stages))
    embedding = pooled(stages[-1][-1])
    return Outputs(draw(size, 10), embedding=embedding, features=features, blocks=stages)


def leaves(outputs):
    return [outputs.logits, *(block for stage in outputs.blocks for block in stage)]


def batch_of(outputs):
    return golden.batch({"x": outputs.logits.detach()})


def test_half_precision_features_do_not_overflow():
    student = network_outputs(5, dtype=torch.float16)
    student = student.map(lambda x: x * 300)
    method = built(student, student, "mtk")
    losses = method(student, student.map(lambda x: x + 1), golden.batch({"x": student.logits}))
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


def test_default_takes_the_last_three_blocks_of_the_last_stage():
    student = network_outputs(6, blocks=(2, 5), grad=True)
    teacher = network_outputs(6, widths=(6, 12), seed=1, grad=True)
    losses = built(student, teacher)(student, teacher, batch_of(student))
    assert list(losses) == ["ce", "irg.logits", "irg.edge"]
    target = edges(pooled(teacher.blocks[-1][-1]))
    edge = sum(edge_loss(edges(pooled(x)), target) for x in student.blocks[-1][-3:])
    torch.testing.assert_close(losses["irg.edge"], 0.005 * edge)
    expected = 0.1 * logits_loss(student.logits, teacher.logits)
    torch.testing.assert_close(losses["irg.logits"], expected)
    sum(losses.values()).backward()
    reached = [x.grad is not None for x in leaves(student)]
    assert reached == [True, False, False, False, False, True, True, True]
    assert all(x.grad is None for x in leaves(teacher))


def test_a_student_with_fewer_blocks_uses_all_it_has():
    student, teacher = network_outputs(6, blocks=(1, 1)), network_outputs(6, seed=1)
    edge = built(student, teacher)(student, teacher, batch_of(student))["irg.edge"]
    target = edges(pooled(teacher.blocks[-1][-1]))
    expected = edge_loss(edges(pooled(student.blocks[-1][-1])), target)
    torch.testing.assert_close(edge, 0.005 * expected)


@pytest.mark.parametrize(
    ("preset", "parts"),
    [
        ("caffe", ["irg.edge"]),
        ("irg_t", ["irg.transformation"]),
        ("mtk", ["irg.logits", "irg.edge", "irg.transformation"]),
    ],
)
def test_presets_have_the_terms_of_their_experiment(preset, parts):
    student, teacher = network_outputs(6, grad=True), network_outputs(6, seed=1)
    method = built(student, teacher, preset)
    losses = method(student, teacher, batch_of(student))
    assert list(losses) == ["ce", *parts]
    assert all(loss > 0 for loss in losses.values())
    assert method.warnings == []
    assert list(method.parameters()) == []


@pytest.mark.parametrize("preset", [None, "caffe", "irg_t", "mtk"])
def test_identical_networks_have_no_loss(preset):
    outputs = network_outputs(6, grad=True)
    method = built(outputs, outputs, preset, ce=0.0, student_blocks=1)  # edges one-to-one
    losses = method(outputs, outputs, batch_of(outputs))
    assert [loss.item() for loss in losses.values()] == [0.0] * len(losses)


@pytest.mark.parametrize(
    ("preset", "options", "needed"),
    [
        (None, {}, {"blocks"}),
        ("caffe", {}, {"embedding"}),
        ("irg_t", {}, {"blocks"}),
        ("irg_t", {"transformation": "stage"}, {"features"}),
        ("mtk", {"transformation": "stage"}, {"blocks", "features"}),
        (None, {"edge_weight": 0}, set()),
    ],
)
def test_only_what_is_used_is_needed(preset, options, needed):
    needs = distillers.find("irg").needs_of(distillers.resolve("irg", options, preset))
    fields = ("embedding", "features", "preacts", "blocks", "final_map", "tokens")
    assert {field for field in fields if getattr(needs, field)} == needed


def test_only_the_caffe_preset_takes_networks_without_blocks():
    whole = network_outputs(4)
    bare = Outputs(whole.logits, embedding=whole.embedding)
    with pytest.raises(distillers.Unsupported, match="needs blocks"):
        built(bare, whole)
    assert "irg.edge" in built(bare, whole, "caffe")(bare, whole, batch_of(whole))


def test_stages_without_a_pair_are_left_out_with_a_warning():
    student, teacher = network_outputs(6, blocks=(1, 2)), network_outputs(6, seed=1)
    method = built(student, teacher, "irg_t")
    assert len(method.warnings) == 1
    assert "stage 1: the student's last block" in method.warnings[0]
    value = method(student, teacher, batch_of(student))["irg.transformation"]
    moved = [
        transformation(pooled(x.blocks[1][0]), pooled(x.blocks[1][-1])) for x in (student, teacher)
    ]
    torch.testing.assert_close(value, 0.005 * transformation_loss(*moved))


def test_the_first_block_is_the_first_of_the_last_ones_shape():
    wider = network_outputs(6, widths=(6,), blocks=(1,), seed=2).blocks[0]
    student, teacher = network_outputs(6, blocks=(3, 2)), network_outputs(6, seed=1)
    stages = (wider + student.blocks[0], student.blocks[1])
    student = Outputs(student.logits, student.embedding, student.features, blocks=stages)
    value = built(student, teacher, "irg_t")(student, teacher, batch_of(student))
    moved = [
        transformation(pooled(s[i]), pooled(s[-1]))
        for s, i in ((stages[0], 1), (teacher.blocks[0], 0), (stages[1], 0), (teacher.blocks[1], 0))
    ]
    expected = transformation_loss(*moved[:2]) + transformation_loss(*moved[2:])
    torch.testing.assert_close(value["irg.transformation"], 0.005 * expected)


def test_transformations_alone_need_at_least_one_stage():
    student, teacher = network_outputs(4, blocks=(1, 1)), network_outputs(4)
    with pytest.raises(
        distillers.Unsupported, match=r"nothing to compare: .* stage 1.*option transformation"
    ):
        built(student, teacher, "irg_t")
    method = built(student, teacher, "mtk")
    assert list(method(student, teacher, batch_of(student))) == ["ce", "irg.logits", "irg.edge"]
    assert len(method.warnings) == 2


def test_transformations_of_whole_stages_suit_networks_with_one_block_each():
    student, teacher = network_outputs(4, blocks=(1, 1), grad=True), network_outputs(4, seed=1)
    method = built(student, teacher, "irg_t", transformation="stage")
    value = method(student, teacher, batch_of(student))["irg.transformation"]
    expected = 0
    for i in (0, 1):
        moved = [transformation(*aligned(*x.features[i : i + 2])) for x in (student, teacher)]
        expected = expected + transformation_loss(*moved)
    torch.testing.assert_close(value, 0.005 * expected)
    value.backward()
    assert student.features[0].grad.abs().sum() > 0


# ---- real networks -------------------------------------------------------------------------------

PAIRS = [
    ("resnet56", "resnet20", 0),
    ("resnet56", "resnet8", 3),
    ("resnet32x4", "resnet8x4", 3),
    ("vgg13", "vgg8", 4),
    ("wrn_40_2", "wrn_16_2", 0),
    ("resnet32x4", "ShuffleV2", 0),
    ("ResNet50", "MobileNetV2", 1),  # a lone block of another width ends its last stage
]


@pytest.mark.parametrize(("teacher", "student", "skipped"), PAIRS)
def test_pairs_of_the_zoo(teacher, student, skipped):
    torch.manual_seed(0)
    networks = [models.build(name, num_classes=10) for name in (student, teacher)]
    data = golden.info(Outputs(torch.zeros(4, 10)), image_size=32)
    setups = [("mtk", "block"), ("mtk", "stage"), ("caffe", "block")]
    methods = [
        distillers.build("irg", *networks, data, preset=preset, transformation=transformation)
        for preset, transformation in setups
    ]
    assert [len(method.warnings) for method in methods] == [skipped, 0, 0]
    outputs = [network.outputs(torch.randn(4, 3, 32, 32), blocks=True) for network in networks]
    losses = [method(*outputs, batch_of(outputs[0])) for method in methods]
    own = {"irg.logits", "irg.edge", "irg.transformation"}
    assert own - set(losses[0]) == ({"irg.transformation"} if not methods[0].moves else set())
    assert own <= set(losses[1])
    assert list(losses[2]) == ["ce", "irg.edge"]
    total = sum(sum(each.values()) for each in losses)
    assert total.isfinite()
    total.backward()
    used = [p for p in networks[0].parameters() if p.grad is not None]
    assert used
    assert all(p.grad.isfinite().all() for p in used)
    assert all(p.grad is None for p in networks[1].parameters())
