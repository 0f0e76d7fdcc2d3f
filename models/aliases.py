"""Names of networks as papers and their repositories print them, joined to the zoo's own.

The same words mean other networks on ImageNet than on small images: "ResNet50" of a CIFAR-100 table
has a 3×3 stem, that of an ImageNet table is torchvision's.
"""

from __future__ import annotations

import re

from .base import ModelError, find, names
from .registry import near

# Every data set but ImageNet: the CIFAR zoo. Keys as `_key` makes them.
SMALL = {
    "mobilenetv2": "MobileNetV2",  # half width, whatever the table says: CRD's, as all copy it
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
# Other networks behind a name that would join: refused on that data set.
OTHERS = {
    ("tinyimagenet", "mobilenetv2"): "there it is a full-width network with a padded 1×1 stem",
}


def canonical(published: str, dataset: str = "cifar100") -> str:
    """Our name of a network that a table about ``dataset`` prints as ``published``.

    Case, blanks, "-", "_" and "×" for "x" do not matter; our own names are returned unchanged. A
    name that says only "MobileNetV2" is the half-width one on small images, as in CRD's tables,
    which all others copy. Data sets whose names begin with "imagenet" are ImageNet.

    Raises ModelError with near matches where nothing of ours is meant.

    >>> canonical("shuffle_v1"), canonical("WRN-40-2"), canonical("ResNet32×4")
    ('ShuffleV1', 'wrn_40_2', 'resnet32x4')
    >>> canonical("resnet50"), canonical("resnet50", "imagenet")
    ('ResNet50', 'torchvision/resnet50')
    """
    if _is_ours(published):
        return published
    key, where = _key(published), f"model {published!r} of {dataset}"
    if (dataset, key) in OTHERS:
        raise ModelError(f"{where}: {OTHERS[dataset, key]}, none of ours")
    table = IMAGENET if dataset.startswith("imagenet") else {**_plain(), **SMALL}
    if key not in table:
        raise ModelError(f"unknown {where}: {near(published, table)}")
    return table[key]


def _key(name: str) -> str:
    """What is left when spelling is: small letters, digits and decimal points."""
    return re.sub(r"[^a-z0-9.]", "", name.lower().replace("×", "x").replace("wideresnet", "wrn"))


def _plain() -> dict[str, str]:
    """Our networks for small images, under their own names however spelt."""
    return {_key(name): name for name in names() if "/" not in name and name != "MobileNetV1"}


def _is_ours(name: str) -> bool:
    if "/" not in name:
        return name in names()
    find(name)  # with the error of the library it names
    return True
