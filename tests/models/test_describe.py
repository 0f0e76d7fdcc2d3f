"""Facts about networks for `list models NAME`."""

from __future__ import annotations

import torch

import models
from models.describe import aliases_of, facts, image_size


def test_a_small_network():
    known = facts("resnet8x4")
    assert (known.image_size, known.num_classes) == (32, 100)
    assert known.parameters == 1_233_540  # RepDistiller's
    assert known.features == ((32, 32, 32), (64, 32, 32), (128, 16, 16), (256, 8, 8))
    assert (known.embedding, known.classifier) == (256, (256, 100))


def test_an_imagenet_network():
    known = facts("torchvision/resnet18")
    assert (known.image_size, known.parameters) == (224, 11_689_512)
    assert facts("MobileNetV1").num_classes == 1000


def test_aliases_are_what_canonical_reads():
    assert "mobilehalf" in aliases_of("MobileNetV2")
    assert {models.canonical(alias) for alias in aliases_of("ShuffleV1")} == {"ShuffleV1"}


def test_sizes_in_names():
    assert image_size("timm/vit_base_patch16_384.augreg") == 384
    assert image_size("timm/deit_tiny_patch16_224") == 224
    assert image_size("torchvision/resnet50") == 224


def test_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    facts("resnet8")
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
