"""The ImageNet networks against mdistiller's numbers, on 224×224 images (see golden.py)."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

import models
from tests.models.golden import assert_same_map, close, fill, imagenet_images, load

OURS = {
    "MobileNetV1": "MobileNetV1",
    "resnet18": "torchvision/resnet18",
    "resnet34": "torchvision/resnet34",
    "resnet50": "torchvision/resnet50",
}


@pytest.fixture(scope="module", params=OURS)
def case(request):
    """A model with the fixture's weights, in eval mode, and the fixture."""
    golden = load(request.param, "mdistiller_imagenet")
    model = fill(models.build(OURS[request.param], num_classes=1000)).eval()
    return model, golden


def test_images_are_the_fixtures(case):
    _, golden = case
    close(imagenet_images().flatten()[:16], golden["in/image_first16"], 0)


def test_parameters_have_the_published_names_order_and_shapes(case):
    model, golden = case
    found = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    assert found == golden["meta"]["state_dict"]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == golden["meta"]["n_params_trainable"]


@torch.no_grad()
def test_float32(case):
    model, golden = case
    out = model.outputs(imagenet_images(), preacts=True)
    close(out.logits, golden["out/logits"], 1e-4 * golden["out/logits"].abs().max())
    close(out.embedding, golden["out/embedding"], 1e-4 * golden["out/embedding"].abs().max())
    # mdistiller's MobileNetV1 lists lack the stem; its ResNet's first preact is before the ReLU.
    stem = len(out.features) - len(golden["meta"]["feature_lists"]["feat"])
    assert stem == (model.name == "MobileNetV1")
    features = out.features[stem:]
    shapes = golden["meta"]["feature_lists"]["feat"]
    assert [list(x.shape) for x in features] == shapes == golden["meta"]["feature_lists"]["preact"]
    for i, (feature, preact) in enumerate(zip(features, out.preacts[stem:], strict=True)):
        assert_same_map(feature, golden, f"feat/{i}")
        if preact is not out.features[0]:
            assert_same_map(preact, golden, f"preact/{i}")


@torch.no_grad()
def test_float64(case):
    model, golden = case
    logits = deepcopy(model).double()(imagenet_images().double())
    close(logits, golden["out64/logits"], 1e-8 * golden["out64/logits"].abs().max())
