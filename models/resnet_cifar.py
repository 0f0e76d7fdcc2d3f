"""ResNet18, 34 and 50 with a CIFAR stem: ImageNet's widths without its early downsampling.

He et al., "Deep residual learning", arXiv 1512.03385. The stem is one 3×3 convolution with stride 1
and without max-pooling. Parameter names are those of the released teachers.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from .base import register
from .resnet import conv3x3
from .staged import StagedClassifier, conv1x1, init_convs


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The identity (empty), or a projection if the block changes the shape."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the shortcut; returns the sum before the ReLU."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(inputs, width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(out)) + self.shortcut(x)


class Bottleneck(nn.Module):
    """1×1, 3×3 (with the stride), 1×1 and the shortcut; returns the sum before the ReLU."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = conv1x1(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out)) + self.shortcut(x)


Block = type[BasicBlock] | type[Bottleneck]


def stack(block: Block, inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    """One stage of ``depth`` blocks; the first has the stride."""
    rest = [block(width * block.expansion, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(inputs, width, stride), *rest)


class CifarResNet(StagedClassifier):
    """Features: stem 64@32, then 64, 128, 256, 512 (× expansion) at 32, 16, 8, 4; post-ReLU."""

    def __init__(self, block: Block, depths: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, 64)
        self.bn1 = nn.BatchNorm2d(64)
        wide = block.expansion
        self.layer1 = stack(block, 64, 64, depths[0], stride=1)
        self.layer2 = stack(block, 64 * wide, 128, depths[1], stride=2)
        self.layer3 = stack(block, 128 * wide, 256, depths[2], stride=2)
        self.layer4 = stack(block, 256 * wide, 512, depths[3], stride=2)
        self.linear = nn.Linear(512 * wide, num_classes)
        init_convs(self)

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)))

    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    @property
    def classifier(self) -> nn.Linear:
        return self.linear

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """The last BatchNorm of each stage's last block, before the shortcut is added."""
        last = (cast("BasicBlock | Bottleneck", stage[-1]) for stage in self.stages())
        return None, *(block.last_norm for block in last)

    def feature_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.conv1, self.bn1, *self.stages()])


register("ResNet18", lambda num_classes: CifarResNet(BasicBlock, (2, 2, 2, 2), num_classes))
register("ResNet34", lambda num_classes: CifarResNet(BasicBlock, (3, 4, 6, 3), num_classes))
register("ResNet50", lambda num_classes: CifarResNet(Bottleneck, (3, 4, 6, 3), num_classes))
