"""torchvision's classifiers as "torchvision/NAME", with fresh weights.

Outputs of each family:

resnet, resnext, wide_resnet   all but tokens (`torchvision_resnet.py`)
vit                            embedding, tokens, cls (`torchvision_vit.py`)
all others                     features, embedding, and the final map if the classifier reads
                               nothing but its mean (`torchvision_path.py`); no preacts, no blocks

torchvision is imported only when the first of its networks is built, because the import takes more
than a second. The names below exist in every version that requirements.txt allows; networks that
newer versions add can be built, but are not listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .base import Factory, ModelError, register, register_prefix
from .registry import near

if TYPE_CHECKING:
    from .wrapped import WrappedClassifier

PREFIX = "torchvision/"
NAMES = (
    "alexnet", "convnext_base", "convnext_large", "convnext_small", "convnext_tiny", "densenet121",
    "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6",
    "efficientnet_b7", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_16gf", "regnet_x_1_6gf",
    "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf", "regnet_x_800mf", "regnet_x_8gf",
    "regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf",
    "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf", "resnet101", "resnet152", "resnet18",
    "resnet34", "resnet50", "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
    "squeezenet1_0", "squeezenet1_1", "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s",
    "swin_v2_t", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32", "wide_resnet101_2",
    "wide_resnet50_2",
)  # fmt: skip
# They warn that their initialisation will change unless init_weights is given.
NEED_INIT_WEIGHTS = {"googlenet", "inception_v3"}


def build(name: str, num_classes: int) -> WrappedClassifier:
    """The network ``name`` (without the prefix); weights are never downloaded."""
    from . import torchvision_path, torchvision_resnet, torchvision_vit

    net = library_net(name, num_classes)
    family = type(net).__name__
    if family == "ResNet":
        return torchvision_resnet.ImageNetResNet(net)
    if family == "VisionTransformer":
        return torchvision_vit.VisionTransformer(net)
    return torchvision_path.PathNet(net, name)


def library_net(name: str, num_classes: int) -> nn.Module:
    """torchvision's own module, freshly initialised."""
    from torchvision.models import get_model

    options = {"init_weights": True} if name in NEED_INIT_WEIGHTS else {}
    return get_model(name, weights=None, num_classes=num_classes, **options)


def factory(name: str) -> Factory:
    """The constructor of one network, for the registry."""
    return lambda num_classes: build(name, num_classes)


def resolve(name: str) -> Factory:
    """The constructor for a full name that is not in NAMES: a newer torchvision may have it."""
    import torchvision.models

    known = torchvision.models.list_models(module=torchvision.models)
    if name.removeprefix(PREFIX) not in known:
        raise ModelError(f"unknown model {name!r}: {near(name, [PREFIX + k for k in known])}")
    return factory(name.removeprefix(PREFIX))


for _name in NAMES:
    register(PREFIX + _name, factory(_name))
register_prefix(PREFIX, resolve)
