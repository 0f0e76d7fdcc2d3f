"""Published names of networks are mapped to ours."""

from __future__ import annotations

import pytest

import models
from models.aliases import IMAGENET, SMALL

# Teacher > student, as the tables of CRD's successors print them.
CLASSIC_PAIRS = (
    "wrn_40_2>wrn_16_2", "wrn_40_2>wrn_40_1", "resnet56>resnet20", "resnet110>resnet20",
    "resnet110>resnet32", "resnet32x4>resnet8x4", "vgg13>vgg8", "vgg13>mobilenet_v2",
    "resnet50>mobilenet_v2", "resnet50>vgg8", "resnet32x4>shuffle_v1", "resnet32x4>shuffle_v2",
    "wrn_40_2>shuffle_v1",
)  # fmt: skip
PUBLISHED = {
    "cifar100": """
        wrn_40_2 wrn_40_1 wrn_16_1 wrn_16_2 wrn_16_4 wrn_28_2 wrn_28_4 resnet20 resnet32 resnet56
        resnet110 resnet8x4 resnet32x4 vgg8 vgg11 vgg13 resnet18 resnet34 resnet50 mobilenet_v2
        shuffle_v1 shuffle_v2 shuffle_v2_x1.5
    """,
    "imagenet": """
        resnet18 resnet34 resnet50 resnet101 resnet152 mobilenet_v1 mobilenet_v2 shuffle_v2
        efficientnet_b0 regnetx_1.6gf regnety_16gf swin_tiny swin_large vit_small vit_base deit_tiny
        deit_small deit_base deit3_small deit3_base deit3_large
    """,
    "tinyimagenet": "resnet18 shuffle_v2",
}


@pytest.mark.parametrize("pair", CLASSIC_PAIRS)
def test_the_networks_of_the_thirteen_classic_pairs_are_found(pair):
    for name in pair.split(">"):
        ours = models.canonical(name)
        assert ours in models.names()
        assert "/" not in ours


@pytest.mark.parametrize("dataset", PUBLISHED)
def test_every_published_network_of_the_zoo_is_found(dataset):
    for name in PUBLISHED[dataset].split():
        ours = models.canonical(name, dataset)
        assert ours in models.names() or ours.startswith("timm/")


@pytest.mark.parametrize(
    ("published", "dataset", "ours"),
    [
        ("mobilenet_v2", "cifar100", "MobileNetV2"),
        ("MobileNet-V2", "cub200", "MobileNetV2"),
        ("mobilenet_v2", "imagenet", "torchvision/mobilenet_v2"),
        ("shuffle_v2_x1.5", "cifar100", "ShuffleV2_1_5"),
        ("ShuffleNetV1", "cifar100", "ShuffleV1"),
        ("WRN-40-2", "cifar10", "wrn_40_2"),
        ("ResNet-32×4", "cifar100", "resnet32x4"),
        ("resnet8x4 double", "cifar100", "resnet8x4_double"),
        ("VGG 13", "cifar100", "vgg13"),
        ("resnet50", "cifar100", "ResNet50"),
        ("ResNet-50", "imagenet_datafree", "torchvision/resnet50"),
        ("MobileNet", "imagenet", "MobileNetV1"),
    ],
)
def test_spelling_and_data_set(published, dataset, ours):
    assert models.canonical(published, dataset) == ours


def test_our_own_names_are_unchanged():
    for dataset in PUBLISHED:
        assert [models.canonical(name, dataset) for name in models.names()] == models.names()


def test_aliases_name_networks_of_the_zoo():
    ours = {*SMALL.values(), *IMAGENET.values()}
    assert {name for name in ours if not name.startswith("timm/")} <= set(models.names())


@pytest.mark.parametrize(
    ("published", "dataset", "words"),
    [
        ("mobilenet_v3x", "cifar100", "did you mean .*mobilenetv2"),
        ("resnet-52", "imagenet", "of imagenet: did you mean .*resnet50"),
        ("mobilenet_v2", "tinyimagenet", "full-width network"),
        ("irg_resnet20", "cifar100", "unknown model 'irg_resnet20' of cifar100"),
        ("mobilenet_v2_s1", "cifar100", "unknown model 'mobilenet_v2_s1'"),
        ("torchvision/resnet5", "imagenet", "did you mean torchvision/resnet50"),
    ],
)
def test_an_unknown_name_gives_near_matches(published, dataset, words):
    with pytest.raises(models.ModelError, match=words):
        models.canonical(published, dataset)
