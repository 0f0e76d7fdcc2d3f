"""torchvision's other classifiers: each is one path of layers, a trunk followed by a head.

The taps are found from the shapes, once per architecture, on the meta device. No hooks are used,
and a forward pass keeps only the taps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ModelError
from .outputs import Outputs
from .wrapped import WrappedClassifier, last_linear, skeleton

# Steps that torchvision's forward() computes by functions, so no submodule has their names.
GAP, FLATTEN, RELU = "(mean)", "(flatten)", "(relu)"
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    GAP: lambda x: x.mean((2, 3)),
    FLATTEN: lambda x: x.flatten(1),
    RELU: F.relu,
}
GOOGLENET = (
    "conv1 maxpool1 conv2 conv3 maxpool2 inception3a inception3b maxpool3 inception4a "
    "inception4b inception4c inception4d inception4e maxpool4 inception5a inception5b"
)
INCEPTION = (
    "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 "
    "Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e "
    "Mixed_7a Mixed_7b Mixed_7c"
)
# Per torchvision class, the steps of the trunk and of the head in the order of its forward(); "x.*"
# means all children of x. The auxiliary branches of GoogLeNet and Inception are left out.
PATHS = {
    "AlexNet": ("features.*", f"avgpool {FLATTEN} classifier.*"),
    "ConvNeXt": ("features.*", "avgpool classifier.*"),
    "DenseNet": (f"features.* {RELU}", f"{GAP} classifier"),
    "EfficientNet": ("features.*", f"avgpool {FLATTEN} classifier.*"),
    "GoogLeNet": (GOOGLENET, f"avgpool {FLATTEN} dropout fc"),
    "Inception3": (INCEPTION, f"avgpool dropout {FLATTEN} fc"),
    "MNASNet": ("layers.*", f"{GAP} classifier.*"),
    "MaxVit": ("stem blocks.*", "classifier.*"),
    "MobileNetV2": ("features.*", f"{GAP} classifier.*"),
    "MobileNetV3": ("features.*", f"avgpool {FLATTEN} classifier.*"),
    "RegNet": ("stem trunk_output.*", f"avgpool {FLATTEN} fc"),
    "ShuffleNetV2": ("conv1 maxpool stage2 stage3 stage4 conv5", f"{GAP} fc"),
    "SqueezeNet": ("features.*", f"classifier.* {FLATTEN}"),
    "SwinTransformer": ("features.* norm permute", f"avgpool {FLATTEN} head"),
    "VGG": ("features.*", f"avgpool {FLATTEN} classifier.*"),
}
TRANSFORMING = ("GoogLeNet", "Inception3")
TRACED_SIZE = {"Inception3": 299}  # image size for finding the stages; 224 for all others


@dataclass(frozen=True)
class TrunkLayout:
    """What all networks of one name have in common.

    taps    indices of the trunk's steps whose outputs are the features
    nhwc    whether the trunk's maps are (N, h, w, c) up to its last step, as in Swin
    pooled  whether classifier(mean of the trunk's output over h, w) == logits in eval mode
    """

    taps: tuple[int, ...]
    nhwc: bool
    pooled: bool


class PathNet(WrappedClassifier):
    """A torchvision network as a path.

    Features are the last map at each resolution (the image's divided by a power of two) at which a
    layer with parameters runs. If the first resolution is at most a quarter of the image's and the
    first stage shares it (networks with patch embeddings: ConvNeXt, Swin), the stem's own output
    comes first, so that features[1:] are the stages of every network.

    The embedding is the last linear layer's input; None if there is no such layer (SqueezeNet). The
    final map is the trunk's output if its mean over h, w is that embedding in eval mode, which is
    tested with random numbers when the first network of a name is built; it is None for VGG,
    AlexNet, MobileNetV3, ConvNeXt, MaxViT and SqueezeNet. Preacts and blocks are always None.

    In train mode the auxiliary classifiers of GoogLeNet and Inception do not run; their parameters
    exist, so that published weights load, but get no gradients. MaxViT takes only images of
    224×224, Inception only images of at least 75×75.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        family = type(net).__name__
        if family not in PATHS:
            raise ModelError(
                f"torchvision/{name}: unknown kind of network {family}; "
                f"known: {', '.join(sorted(PATHS))}, ResNet, VisionTransformer"
            )
        super().__init__(net, last_linear(net))
        trunk, head = PATHS[family]
        self._trunk, self._head = steps(self, trunk), steps(self, head)
        if name not in LAYOUTS:
            LAYOUTS[name] = find_layout(self, TRACED_SIZE.get(family, 224))
        self._layout = LAYOUTS[name]
        # Of GoogLeNet and Inception: the weights that torchvision publishes were trained by
        # TensorFlow on (x - 0.5) / 0.5, so ImageNet's normalisation is undone first.
        if family in TRANSFORMING:
            self.transform_input = False

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        if getattr(self, "transform_input", False):
            x = self.transformed(x)
        features = []
        for i, step in enumerate(self._trunk):
            x = self.take(step, x)
            if i in self._layout.taps:
                # The last step is the permutation to (N, c, h, w) itself.
                inside = self._layout.nhwc and i < len(self._trunk) - 1
                features.append(x.permute(0, 3, 1, 2) if inside else x)
        final_map, embedding = x, None
        for step in self._head:
            embedding = x if step == self._last else embedding
            x = self.take(step, x)
        return Outputs(
            logits=x,
            embedding=embedding,
            features=tuple(features),
            final_map=final_map if self._layout.pooled else None,
        )

    def transformed(self, x: Tensor) -> Tensor:
        """Images as TensorFlow normalises them, by the library's own method."""
        net = self.net
        net.transform_input = True
        return net._transform_input(x)

    def take(self, step: str, x: Tensor) -> Tensor:
        """Run one step of the path: a submodule by its name, or one of `FUNCTIONS`."""
        function = FUNCTIONS.get(step)
        return function(x) if function else self.at(step)(x)

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        return (None,) * len(self._layout.taps)

    def feature_modules(self) -> nn.ModuleList:
        """The modules of the trunk."""
        return nn.ModuleList([self.at(step) for step in self._trunk if step not in FUNCTIONS])


LAYOUTS: dict[str, TrunkLayout] = {}  # by name, filled when the first network of a name is built


def steps(net: WrappedClassifier, path: str) -> tuple[str, ...]:
    """The names of the path's steps, with every "x.*" replaced by x's children."""
    expanded: list[str] = []
    for step in path.split():
        if step.endswith(".*"):
            parent = step.removesuffix(".*")
            expanded += [f"{parent}.{child}" for child, _ in net.at(parent).named_children()]
        else:
            expanded.append(step)
    return tuple(expanded)


# ---- the layout ----------------------------------------------------------------------------------


@torch.no_grad()
def find_layout(net: PathNet, size: int) -> TrunkLayout:
    """Run one image through the trunk on the meta device for the shapes, and test the head."""
    shadow: Any = skeleton(net)
    nhwc = shadow._trunk[-1] == "permute"
    x = torch.empty(1, 3, size, size, device="meta")
    sides, learned = [], []
    for step in shadow._trunk:
        x = shadow.take(step, x)
        sides.append(x.shape[1 if nhwc and step != "permute" else 2])
        # Pooling alone makes no stage: only resolutions at which something is learned count.
        module = None if step in FUNCTIONS else shadow.at(step)
        learned.append(module is not None and any(True for _ in module.parameters()))
    return TrunkLayout(taps(sides, learned, size), nhwc, reads_the_mean(shadow, x.shape[1]))


def taps(sides: Sequence[int], learned: Sequence[bool], size: int) -> tuple[int, ...]:
    """The last index at each resolution with a learned step, preceded by the stem's if missing.

    ``sides`` are the heights of the maps, ``learned`` says which steps have parameters. Heights
    that round to ``size`` divided by the same power of two count as one resolution, because
    unpadded convolutions lose a few pixels.

    >>> taps([112, 112, 56, 56, 28], [True, True, False, True, True], 224)
    (1, 3, 4)
    >>> taps([56, 56, 28], [True, True, True], 224)
    (0, 1, 2)
    """
    level = [round(math.log2(size / side)) for side in sides]
    last = {lv: i for i, lv in enumerate(level)}
    with_layers = [lv for lv, has_parameters in zip(level, learned, strict=True) if has_parameters]
    kept = [i for lv, i in last.items() if lv in with_layers]
    if level[0] >= 2 and with_layers.count(level[0]) > 1:
        kept.insert(0, 0)
    return tuple(kept)


def reads_the_mean(shadow: Any, channels: int) -> bool:
    """Whether the head equals its linear layer applied to the mean over h, w of a random map."""
    linear = shadow.classifier
    if linear is None or linear.in_features != channels:
        return False
    for step in shadow._head:
        if step not in FUNCTIONS:
            _materialise(shadow.at(step))
    draw = torch.Generator().manual_seed(0)
    final_map = torch.randn(2, channels, 3, 3, generator=draw)
    x = final_map
    for step in shadow._head:
        x = shadow.take(step, x)
    return torch.allclose(x, linear(final_map.mean((2, 3))), rtol=1e-3, atol=1e-4)


def _materialise(module: nn.Module) -> None:
    """Give a module on the meta device random values, without using torch's global generator."""
    draw = torch.Generator().manual_seed(1)
    module.to_empty(device="cpu")
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=draw) / parameter.shape[-1] ** 0.5)
