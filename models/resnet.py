"""ResNets for small images: He et al., CVPR 2016, §4.2, in several widths.

The ×4 widths are CRD's (ICLR 2020); ×2 and the doubled ×4 are SimKD's and SemCKD's. The factor
applies to the stages: the stems of ×2 and ×4 are 1 and 2 times as wide as the plain one.
"""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .base import ModelError, register
from .staged import StagedClassifier, init_convs

Widths = tuple[int, int, int, int]  # channels of the stem and of the three stages
PLAIN: Widths = (16, 16, 32, 64)
X2: Widths = (16, 32, 64, 128)
X4: Widths = (32, 64, 128, 256)
X4_DOUBLE: Widths = (64, 128, 256, 512)


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A padded 3×3 convolution without bias: a BatchNorm follows."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the shortcut; returns the sum before the ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out)) + shortcut


class ResNet(StagedClassifier):
    """``depth`` = 6n + 2 layers: a stem, then three stages of n blocks with strides 1, 2, 2.

    Features: the stem and each stage's last block, post-ReLU. The embedding (N, widths[3]) is
    the pooled last feature.
    """

    def __init__(self, depth: int, widths: Widths, num_classes: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ModelError(f"a CIFAR ResNet has 6n + 2 layers (8, 14, 20, …), not {depth}")
        n = (depth - 2) // 6
        self.conv1 = conv3x3(3, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = stack(widths[0], widths[1], n, stride=1)
        self.layer2 = stack(widths[1], widths[2], n, stride=2)
        self.layer3 = stack(widths[2], widths[3], n, stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        init_convs(self)

    def stem(self, x: Tensor) -> Tensor:
        return self.relu(self.bn1(self.conv1(x)))

    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """The last BatchNorm of each stage's last block, before the shortcut is added."""
        return None, *(stage[-1].get_submodule("bn2") for stage in self.stages())

    def feature_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.bn1, self.relu, *self.stages()])


def stack(inputs: int, outputs: int, n: int, stride: int) -> nn.Sequential:
    """One stage of n blocks; the first has the stride."""
    rest = [BasicBlock(outputs, outputs, stride=1) for _ in range(n - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


for _depth in (8, 14, 20, 32, 38, 44, 56, 110, 116):
    register(f"resnet{_depth}", partial(ResNet, _depth, PLAIN))
for _depth in (14, 38, 110):
    register(f"resnet{_depth}x2", partial(ResNet, _depth, X2))
for _depth in (8, 14, 32, 38):
    register(f"resnet{_depth}x4", partial(ResNet, _depth, X4))
register("resnet8x4_double", partial(ResNet, 8, X4_DOUBLE))
