"""MobileNetV2 for CIFAR: Sandler et al., arXiv 1801.04381.

Differences from the paper: the stem has stride 2 and stage 2 stride 1 (32×32 images), ReLU replaces
ReLU6, there is no dropout, and channels are int(c·width), not rounded to multiples of 8.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from .base import register
from .resnet import conv3x3
from .staged import StagedClassifier, conv1x1, depthwise, init_convs
from .wrapped import alias_linear

# (expansion, channels at width 1, blocks, stride of the first block)
SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
ENDS = (2, 3, 5, 7)  # where each stage's settings end; a stage is all that share a resolution


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise 3×3, linear pointwise projection; a shortcut if shapes agree.

    Unlike the paper's, the first block (expansion 1) has a pointwise expansion too.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        mid = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            conv1x1(inputs, mid),
            nn.BatchNorm2d(mid),
            nn.ReLU(),
            depthwise(mid, stride),
            nn.BatchNorm2d(mid),
            nn.ReLU(),
            conv1x1(mid, outputs),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def residuals(inputs: int, outputs: int, depth: int, stride: int, expansion: int) -> nn.Sequential:
    rest = [InvertedResidual(outputs, outputs, 1, expansion) for _ in range(depth - 1)]
    return nn.Sequential(InvertedResidual(inputs, outputs, stride, expansion), *rest)


class MobileNetV2(StagedClassifier):
    """Features: the stem at 16×16 (post-ReLU), then linear bottlenecks at 16, 8, 4 and 2.

    A linear bottleneck has no activation after it, so ``preacts`` are the features themselves
    (the reference returns the same list). The embedding (N, 1280) is pooled after one more
    1×1 convolution.
    """

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        # As in the paper, a width below 1 does not narrow the last layer.
        channels, last = int(32 * width), int(1280 * max(width, 1.0))
        self.conv1 = nn.Sequential(
            conv3x3(3, channels, stride=2), nn.BatchNorm2d(channels), nn.ReLU()
        )
        groups: list[nn.Sequential] = []
        for expansion, c, depth, stride in SETTINGS:
            inputs, channels = channels, int(c * width)
            groups.append(residuals(inputs, channels, depth, stride, expansion))
        self.blocks = nn.ModuleList(groups)
        self.conv2 = nn.Sequential(conv1x1(channels, last), nn.BatchNorm2d(last), nn.ReLU())
        # Published files call it classifier.0; `model.classifier` itself is the linear layer.
        self._modules["classifier"] = nn.Sequential(nn.Linear(last, num_classes))
        alias_linear(self, "classifier.0")
        init_convs(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    def stages(self) -> tuple[tuple[nn.Module, ...], ...]:
        return tuple(
            tuple(block for group in self.blocks[first:end] for block in group.children())
            for first, end in pairwise((0, *ENDS))
        )

    def activate(self, preact: Tensor) -> Tensor:
        return preact

    def head(self, x: Tensor) -> Tensor:
        return self.conv2(x)

    @property
    def classifier(self) -> nn.Linear:
        (linear,) = cast("nn.Sequential", self._modules["classifier"])
        return cast("nn.Linear", linear)

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """The BatchNorm that ends each stage's last bottleneck, before any shortcut is added."""
        return None, *(stage[-1].get_submodule("conv.7") for stage in self.stages())

    def feature_modules(self) -> nn.ModuleList:
        """Without conv2, which initial training stages leave untrained."""
        return nn.ModuleList([self.conv1, self.blocks])


register("MobileNetV2", lambda num_classes: MobileNetV2(0.5, num_classes))
register("MobileNetV2_1_0", lambda num_classes: MobileNetV2(1.0, num_classes))
