"""ShuffleNetV1 and V2 for CIFAR: arXiv 1707.01083 and 1807.11164.

Difference from the papers: the stem is one 1×1 convolution without stride or max-pooling, so that
32×32 images reach the stages at full size. Weights keep torch's default initialisation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import register
from .staged import StagedClassifier, conv1x1, depthwise

STEM = 24  # channels of the stem, of every variant


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channel groups of x (N, C, h, w): channel i·C/g + j goes to j·g + i.

    ``F.channel_shuffle`` does the same, but on a GPU it returns channels_last maps as contiguous
    ones, which every following convolution has to convert back.
    """
    last = x.is_contiguous(memory_format=torch.channels_last)
    x, dim = (x.movedim(1, 3), 3) if last else (x, 1)
    x = x.unflatten(dim, (groups, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)
    return x.movedim(3, 1) if last else x


class UnitV1(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1; returns the input of the last ReLU.

    With stride 2 the pooled input is concatenated to the branch, else the input is added to it. A
    ReLU follows the depthwise convolution too, which the paper leaves linear.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride = stride
        # The pooled input that is concatenated provides the other channels.
        branch = outputs - inputs if stride == 2 else outputs
        mid = branch // 4  # the bottleneck ratio of all units in the paper
        # The stem's few channels are not split.
        self.groups = 1 if inputs == STEM else groups
        self.conv1 = conv1x1(inputs, mid, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = depthwise(mid, stride)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = conv1x1(mid, branch, groups=groups)
        self.bn3 = nn.BatchNorm2d(branch)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        if self.groups > 1:
            out = channel_shuffle(out, self.groups)
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.stride == 1:
            return out + x
        return torch.cat([out, F.avg_pool2d(x, 3, stride=2, padding=1)], 1)


class DownUnitV2(nn.Module):
    """Halves the resolution; both branches read all channels. Returns the inputs of their ReLUs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        mid = outputs // 2
        self.conv1 = depthwise(inputs, stride=2)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = conv1x1(inputs, mid)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = conv1x1(inputs, mid)
        self.bn3 = nn.BatchNorm2d(mid)
        self.conv4 = depthwise(mid, stride=2)
        self.bn4 = nn.BatchNorm2d(mid)
        self.conv5 = conv1x1(mid, mid)
        self.bn5 = nn.BatchNorm2d(mid)

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = F.relu(self.bn3(self.conv3(x)))
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        return torch.cat([left, right], 1)


class UnitV2(nn.Module):
    """The second half of the channels passes through the branch, the first half is kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        mid = channels // 2
        self.conv1 = conv1x1(mid, mid)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = depthwise(mid)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = conv1x1(mid, mid)
        self.bn3 = nn.BatchNorm2d(mid)

    def forward(self, x: Tensor) -> Tensor:
        kept, out = x.chunk(2, 1)
        out = F.relu(self.bn1(self.conv1(out)))
        out = self.bn3(self.conv3(self.bn2(self.conv2(out))))
        return torch.cat([kept, out], 1)


class ShuffleNet(StagedClassifier):
    """The parts shared by both versions. Features: stem 24@32, then the stages at 16, 8 and 4."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    linear: nn.Linear

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = conv1x1(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)))

    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3

    @property
    def classifier(self) -> nn.Linear:
        return self.linear

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """None: a preact is a sum (V1) or a concatenation (V2), not the output of one norm."""
        return (None,) * (1 + len(self.stages()))

    def feature_modules(self) -> nn.ModuleList:
        """Without V2's conv2 and bn2, which initial training stages leave untrained."""
        return nn.ModuleList([self.conv1, self.bn1, *self.stages()])


class ShuffleV1(ShuffleNet):
    """ShuffleNetV1 with three groups; the embedding (N, 960) is the pooled last feature."""

    def __init__(self, num_classes: int, groups: int = 3) -> None:
        super().__init__()
        self.layer1 = stack_v1(STEM, 240, 4, groups)
        self.layer2 = stack_v1(240, 480, 8, groups)
        self.layer3 = stack_v1(480, 960, 4, groups)
        self.linear = nn.Linear(960, num_classes)


def stack_v1(inputs: int, outputs: int, depth: int, groups: int) -> nn.Sequential:
    rest = [UnitV1(outputs, outputs, 1, groups) for _ in range(depth - 1)]
    return nn.Sequential(UnitV1(inputs, outputs, 2, groups), *rest)


class ShuffleV2(ShuffleNet):
    """ShuffleNetV2: ``widths`` are the channels of the stages and of the embedding.

    Features are shuffled, ``preacts`` are not: as in the reference they are cat(kept half, branch
    before its ReLU), so features[i] == channel_shuffle(relu(preacts[i]), 2). The embedding is
    pooled after one more 1×1 convolution.
    """

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int) -> None:
        super().__init__()
        c1, c2, c3, last = widths
        self.layer1 = stack_v2(STEM, c1, 4)
        self.layer2 = stack_v2(c1, c2, 8)
        self.layer3 = stack_v2(c2, c3, 4)
        self.conv2 = conv1x1(c3, last)
        self.bn2 = nn.BatchNorm2d(last)
        self.linear = nn.Linear(last, num_classes)

    def activate(self, preact: Tensor) -> Tensor:
        # The kept half is already the output of a ReLU, so this one does not change it.
        return channel_shuffle(F.relu(preact), 2)

    def head(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(x)))


def stack_v2(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    return nn.Sequential(DownUnitV2(inputs, outputs), *(UnitV2(outputs) for _ in range(depth - 1)))


register("ShuffleV1", ShuffleV1)
register("ShuffleV2", lambda num_classes: ShuffleV2((116, 232, 464, 1024), num_classes))
register("ShuffleV2_1_5", lambda num_classes: ShuffleV2((176, 352, 704, 1024), num_classes))
