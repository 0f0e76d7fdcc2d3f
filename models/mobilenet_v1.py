"""MobileNetV1 for ImageNet: Howard et al., arXiv 1704.04861, as distillation papers use it.

Parameter names are mdistiller's. Some of its forks call this network MobileNetV2 on ImageNet.
"""

from __future__ import annotations

from torch import Tensor, nn

from .base import register
from .resnet import conv3x3
from .staged import StagedClassifier, conv1x1, depthwise

STEM = 32  # channels of the first convolution
# Per stage, the (channels, stride) of its blocks; a stage is all blocks at one resolution.
STAGES = (
    ((64, 1), (128, 2), (128, 1)),
    ((256, 2), (256, 1)),
    ((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    ((1024, 2), (1024, 1)),
)


class Unit(nn.Sequential):
    """Depthwise 3×3 and pointwise convolution; returns the input of the second ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(
            depthwise(inputs, stride),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            conv1x1(inputs, outputs),
            nn.BatchNorm2d(outputs),
        )


class MobileNetV1(StagedClassifier):
    """A convolution with stride 2, then thirteen depthwise-separable blocks.

    Features of a 224×224 image, post-ReLU: the stem 32@112, then 128@56, 256@28, 512@14 and
    1024@7. Deviation: mdistiller's features and preacts lack the stem, so methods that skip the
    first feature pair every stage with the teacher's next one; after the stem the lists agree. The
    embedding (N, 1024) is the pooled last feature.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        stem = nn.Sequential(conv3x3(3, STEM, stride=2), nn.BatchNorm2d(STEM), nn.ReLU())
        layers: list[nn.Module] = [stem]
        inputs = STEM
        for outputs, stride in (block for stage in STAGES for block in stage):
            layers.append(Unit(inputs, outputs, stride))
            inputs = outputs
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, num_classes)

    def stem(self, x: Tensor) -> Tensor:
        return self.model[0](x)

    def stages(self) -> tuple[tuple[nn.Module, ...], ...]:
        units = iter(list(self.model)[1:])
        return tuple(tuple(next(units) for _ in stage) for stage in STAGES)

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """The BatchNorm that ends each stage: its output is the preact."""
        return None, *(stage[-1].get_submodule("4") for stage in self.stages())

    def feature_modules(self) -> nn.ModuleList:
        return nn.ModuleList([self.model])


register("MobileNetV1", MobileNetV1)
