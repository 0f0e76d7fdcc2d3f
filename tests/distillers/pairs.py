"""Pairs of teacher and student on which every method is tested."""

import functools
import os

import torch

import models
from tests.distillers.token_net import TokenNet

SAME_FAMILY = ("resnet14", "resnet8")
TOKENS = ("tokens8", "tokens6")
PAIRS = [SAME_FAMILY, ("wrn_16_1", "resnet8"), ("vgg8", "resnet8"), ("resnet8", "vgg8"), TOKENS]
if os.environ.get("KD_ALL_PAIRS"):  # `make test-all`: unequal stages, other resolutions, the zoo
    PAIRS += [
        ("ResNet18", "MobileNetV2"),
        ("resnet14", "ShuffleV1"),
        ("wrn_16_2", "ShuffleV2"),
        ("vgg13", "MobileNetV2"),
        ("ResNet50", "vgg8"),
        ("resnet8x4", "resnet8"),
    ]


@functools.cache
def network(name, classes):
    torch.manual_seed(len(name))
    if name.startswith("tokens"):
        return TokenNet(int(name.removeprefix("tokens")), classes)
    return models.build(name, num_classes=classes)
