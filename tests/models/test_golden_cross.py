"""The cross-architecture half of the zoo against the references' numbers (see golden.py)."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

import models
from tests.models.golden import assert_same_map, close, fill, load
from tests.models.test_golden import (  # collected here again, with the `case` below
    test_float64,
    test_parameters_have_the_published_names_order_and_shapes,
    test_training_step_in_float64,
)

__all__ = [
    "test_float64",
    "test_parameters_have_the_published_names_order_and_shapes",
    "test_training_step_in_float64",
]

FIXTURES = [
    ("RepDistiller", "MobileNetV2"),
    ("RepDistiller", "ShuffleV1"),
    ("RepDistiller", "ShuffleV2"),
    ("RepDistiller", "ResNet50"),
    ("mdistiller", "MobileNetV2"),  # without a list of preacts
    ("mdistiller", "ResNet50"),
    ("mdistiller", "ResNet18"),
]
DOUBLE_UPDATES = ["wrn_16_2", "wrn_40_2"]


@pytest.fixture(scope="module", params=FIXTURES, ids=" ".join)
def case(request):
    """A model with the fixture's weights, in eval mode, and the fixture."""
    repository, name = request.param
    return fill(models.build(name, num_classes=100)).eval(), load(name, repository)


def test_float32(case):
    model, golden = case
    with torch.no_grad():
        out = model.outputs(golden["in/image"], preacts=True)
    close(out.logits, golden["out/logits"], 1e-4 * golden["out/logits"].abs().max())
    close(out.embedding, golden["out/embedding"], 1e-4 * golden["out/embedding"].abs().max())
    for kind, maps in ("feat", out.features), ("preact", out.preacts):
        shapes = golden["meta"]["feature_lists"].get(kind)
        if shapes is None:
            assert (kind, model.name) == ("preact", "MobileNetV2")
            continue
        assert [list(x.shape) for x in maps] == [s for s in shapes if len(s) == 4]
        for i, x in enumerate(maps):  # mdistiller's lists end here, without the embedding
            assert_same_map(x, golden, f"{kind}/{i}")


@pytest.fixture(scope="module", params=DOUBLE_UPDATES)
def wrn_case(request):
    golden = load(request.param, "mdistiller")
    return fill(models.build(request.param, num_classes=100)).eval(), golden


def test_a_wrn_in_eval_mode_is_mdistillers(wrn_case):
    test_parameters_have_the_published_names_order_and_shapes(wrn_case)
    test_float32(wrn_case)
    test_float64(wrn_case)


@torch.no_grad()
def test_a_wrns_statistics_move_once_where_mdistillers_move_twice(wrn_case):
    """Ours after one step are RepDistiller's; its own, once three norms see the batch again."""
    model, golden = wrn_case
    model, images = deepcopy(model).double().train(), golden["in/image"].double()

    def sums():
        kinds = ("running_mean", "running_var", "num_batches_tracked")
        named = [(name.rpartition(".")[2], b.sum().double()) for name, b in model.named_buffers()]
        return {f"train64/sum_{k}": sum(value for name, value in named if name == k) for k in kinds}

    out = model.outputs(images, preacts=True, blocks=True)
    once, reference = sums(), load(model.name)
    assert golden["train64/sum_num_batches_tracked"] - once["train64/sum_num_batches_tracked"] == 3
    for norm, feature in zip(model.preact_norms[1:], out.features[1:], strict=True):
        norm(feature)
    twice = sums()
    for key in once:
        close(once[key], reference[key], 1e-9 * reference[key].abs())
        close(twice[key], golden[key], 1e-9 * golden[key].abs())
