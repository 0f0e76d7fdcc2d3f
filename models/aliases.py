"""Map the network names printed in papers and their repositories to the zoo's own.

The same name means different networks on ImageNet and on small images: "ResNet50" in a CIFAR-100
table has a 3×3 stem, in an ImageNet table it is torchvision's.
"""

from __future__ import annotations

import re

from .base import ModelError, find, names
from .registry import near

# For every data set but ImageNet. Keys are in the form that `_key` returns.
SMALL = {
    "mobilenetv2": "MobileNetV2",  # half width: CRD's network, which later papers copied
    "mobilev2": "MobileNetV2",
    "mobilehalf": "MobileNetV2",
    "mobilenetv2x0.5": "MobileNetV2",
    "mobilenetv2x1.0": "MobileNetV2_1_0",
    "mobilenetv2x1": "MobileNetV2_1_0",
    "shufflev1": "ShuffleV1",
    "shufflenetv1": "ShuffleV1",
    "shufflev2": "ShuffleV2",
    "shufflenetv2": "ShuffleV2",
    "shufflev2x1": "ShuffleV2",
    "shufflev2x1.0": "ShuffleV2",
    "shufflenetv2x1": "ShuffleV2",
    "shufflenetv2x1.0": "ShuffleV2",
    "shufflev2x1.5": "ShuffleV2_1_5",
    "shufflenetv2x1.5": "ShuffleV2_1_5",
    "resnet18": "ResNet18",
    "resnet34": "ResNet34",
    "resnet50": "ResNet50",
}
IMAGENET = {
    **{f"resnet{depth}": f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    "wrn502": "torchvision/wide_resnet50_2",
    "resnext5032x4d": "torchvision/resnext50_32x4d",
    "mobilenetv1": "MobileNetV1",
    "mobilenet": "MobileNetV1",
    "mobilenetv2": "torchvision/mobilenet_v2",
    "shufflev2": "torchvision/shufflenet_v2_x1_0",
    "shufflenetv2": "torchvision/shufflenet_v2_x1_0",
    "efficientnetb0": "torchvision/efficientnet_b0",
    "regnetx1.6gf": "torchvision/regnet_x_1_6gf",
    "regnety16gf": "torchvision/regnet_y_16gf",
    "swint": "torchvision/swin_t",
    "swintiny": "torchvision/swin_t",
    "swins": "torchvision/swin_s",
    "swinsmall": "torchvision/swin_s",
    "swinb": "torchvision/swin_b",
    "swinbase": "torchvision/swin_b",
    "swinlarge": "timm/swin_large_patch4_window7_224",
    "vitbase": "torchvision/vit_b_16",
    "vitsmall": "timm/vit_small_patch16_224",
    **{f"deit{size}": f"timm/deit_{size}_patch16_224" for size in ("tiny", "small", "base")},
    **{f"deit3{size}": f"timm/deit3_{size}_patch16_224" for size in ("small", "base", "large")},
}
# (data set, key) where the name means a network that the zoo does not have.
NOT_OURS = {
    ("tinyimagenet", "mobilenetv2"): "there it is a full-width network with a padded 1×1 stem",
}


def canonical(published: str, dataset: str = "cifar100") -> str:
    """Our name for the network that a table for ``dataset`` prints as ``published``.

    Case, blanks, "-", "_" and "×" for "x" are ignored; our own names are returned unchanged. On
    small images plain "MobileNetV2" is the half-width network of CRD's tables, which later papers
    copied. Data sets whose names begin with "imagenet" count as ImageNet.

    Raises ModelError with near matches if the zoo has no such network.

    >>> canonical("shuffle_v1"), canonical("WRN-40-2"), canonical("ResNet32×4")
    ('ShuffleV1', 'wrn_40_2', 'resnet32x4')
    >>> canonical("resnet50"), canonical("resnet50", "imagenet")
    ('ResNet50', 'torchvision/resnet50')
    """
    if "/" in published:
        find(published)  # raises the error of the library that the prefix names
        return published
    if published in names():
        return published
    key, where = _key(published), f"model {published!r} of {dataset}"
    if (dataset, key) in NOT_OURS:
        raise ModelError(f"{where}: {NOT_OURS[dataset, key]}, which the zoo does not have")
    if dataset.startswith("imagenet"):
        aliases = IMAGENET
    else:  # MobileNetV1 is an ImageNet network without a prefix in its name
        own = [name for name in names() if "/" not in name and name != "MobileNetV1"]
        aliases = {_key(name): name for name in own} | SMALL
    if key not in aliases:
        raise ModelError(f"unknown {where}: {near(published, aliases)}")
    return aliases[key]


def _key(name: str) -> str:
    """The name without variations of spelling: lower case letters, digits and points."""
    return re.sub(r"[^a-z0-9.]", "", name.lower().replace("×", "x").replace("wideresnet", "wrn"))
