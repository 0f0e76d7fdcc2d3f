"""The cross-architecture half of the zoo against the references' numbers (see golden.py)."""

from __future__ import annotations

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

FIXTURES = {
    "MobileNetV2": "RepDistiller",
    "ShuffleV1": "RepDistiller",
    "ShuffleV2": "RepDistiller",
    "ResNet50": "RepDistiller",
    "ResNet18": "mdistiller",
}


@pytest.fixture(scope="module", params=FIXTURES)
def case(request):
    """A model with the fixture's weights, in eval mode, and the fixture."""
    golden = load(request.param, FIXTURES[request.param])
    return fill(models.build(request.param, num_classes=100)).eval(), golden


def test_float32(case):
    model, golden = case
    with torch.no_grad():
        out = model.outputs(golden["in/image"], preacts=True)
    close(out.logits, golden["out/logits"], 1e-4 * golden["out/logits"].abs().max())
    close(out.embedding, golden["out/embedding"], 1e-4 * golden["out/embedding"].abs().max())
    for kind, maps in ("feat", out.features), ("preact", out.preacts):
        shapes = golden["meta"]["feature_lists"][kind]
        assert [list(x.shape) for x in maps] == [s for s in shapes if len(s) == 4]
        for i, x in enumerate(maps):  # mdistiller's lists end here, without the embedding
            assert_same_map(x, golden, f"{kind}/{i}")
