"""The CIFAR families against the reference's own numbers (see golden.py)."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

import models
from tests.models.golden import assert_same_map, close, fill, load

RESNETS = [f"resnet{depth}" for depth in (8, 14, 20, 32, 44, 56, 110)] + ["resnet8x4", "resnet32x4"]
WRNS = ["wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"]
VGGS = ["vgg8", "vgg11", "vgg13", "vgg16", "vgg19"]


@pytest.fixture(scope="module", params=RESNETS + WRNS + VGGS)
def case(request):
    """A model with the fixture's weights, in eval mode, and the fixture."""
    golden = load(request.param)
    return fill(models.build(request.param, num_classes=100)).eval(), golden


def test_parameters_have_the_published_names_order_and_shapes(case):
    model, golden = case
    found = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    assert found == golden["meta"]["state_dict"]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == golden["meta"]["n_params_trainable"]


def test_float32(case):
    model, golden = case
    with torch.no_grad():
        out = model.outputs(golden["in/image"], preacts=True)
    close(out.logits, golden["out/logits"], 1e-4 * golden["out/logits"].abs().max())
    close(out.embedding, golden["out/embedding"], 1e-4 * golden["out/embedding"].abs().max())
    for kind, maps in ("feat", out.features), ("preact", out.preacts):
        shapes = [list(x.shape) for x in (*maps, out.embedding)]
        assert shapes == golden["meta"]["feature_lists"][kind]
        for i, x in enumerate((*maps, out.embedding)):
            assert_same_map(x, golden, f"{kind}/{i}")


def test_float64(case):
    model, golden = case
    model, images = deepcopy(model).double(), golden["in/image"].double()
    with torch.no_grad():
        close(model(images), golden["out64/logits"], 1e-8 * golden["out64/logits"].abs().max())


def test_training_step_in_float64(case):
    """One forward pass moves every running statistic once, also where preacts are asked for."""
    model, golden = case
    model, images = deepcopy(model).double().train(), golden["in/image"].double()
    with torch.no_grad():
        logits = model.outputs(images, preacts=True, blocks=True).logits
    close(logits, golden["train64/logits"], 1e-9 * golden["train64/logits"].abs().max())
    for kind in ("running_mean", "running_var", "num_batches_tracked"):
        total = sum(b.sum().double() for name, b in model.named_buffers() if name.endswith(kind))
        expected = golden[f"train64/sum_{kind}"]
        close(total, expected, 1e-9 * expected.abs())
