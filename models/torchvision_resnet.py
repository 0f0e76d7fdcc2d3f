"""torchvision's ResNets, ResNeXts and wide ResNets, with mdistiller's taps.

He et al., arXiv 1512.03385; Xie et al., arXiv 1611.05431; Zagoruyko & Komodakis, arXiv 1605.07146.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .staged import Block, StagedClassifier
from .wrapped import WrappedClassifier, last_linear


class ImageNetResNet(WrappedClassifier, StagedClassifier):
    """Runs the library's modules, but not its in-place ReLUs, which would overwrite the preacts.

    Features of a 224×224 image, post-ReLU: the stem 64@112 (before the max-pooling), then the
    stages at 56, 28, 14 and 7. The embedding is the pooled last feature.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, last_linear(net))

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.at("bn1")(self.at("conv1")(x)))

    def stages(self) -> tuple[tuple[Block, ...], ...]:
        layers = [list(self.at(f"layer{i}").children()) for i in (1, 2, 3, 4)]
        stages: list[list[Block]] = [
            [partial(before_relu, block) for block in layer] for layer in layers
        ]
        stages[0][0] = partial(pooled_first, self.at("maxpool"), layers[0][0])
        return tuple(map(tuple, stages))

    @property
    def classifier(self) -> nn.Linear:
        linear = self.at("fc")
        assert isinstance(linear, nn.Linear)
        return linear

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """The last BatchNorm of each stage's last block, before the shortcut is added."""
        last = [list(self.at(f"layer{i}").children())[-1] for i in (1, 2, 3, 4)]
        return None, *(b.bn3 if hasattr(b, "bn3") else b.bn2 for b in last)

    def feature_modules(self) -> nn.ModuleList:
        names = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
        return nn.ModuleList([self.at(name) for name in names])


def before_relu(block: Any, x: Tensor) -> Tensor:
    """The output of a torchvision block (basic or bottleneck) before its last ReLU."""
    shortcut = x if block.downsample is None else block.downsample(x)
    out = F.relu(block.bn1(block.conv1(x)))
    out = block.bn2(block.conv2(out))
    if hasattr(block, "conv3"):  # a bottleneck
        out = block.bn3(block.conv3(F.relu(out)))
    return out + shortcut


def pooled_first(pool: nn.Module, block: Any, x: Tensor) -> Tensor:
    """The network's first block, which reads the stem's output after the max-pooling."""
    return before_relu(block, pool(x))
