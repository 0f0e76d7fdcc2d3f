"""Wide residual networks for small images: Zagoruyko & Komodakis, BMVC 2016, without dropout."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, ModelError, register
from .outputs import Outputs
from .resnet import conv3x3
from .staged import init_convs


class PreactBlock(nn.Module):
    """BN – ReLU – 3×3 – BN – ReLU – 3×3 and the shortcut.

    The shortcut is the raw input or, if the number of channels changes, a 1×1 convolution (without
    BatchNorm) of the input after ``bn1`` and ReLU. Returns the sum and the output of ``bn1``.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.convShortcut: nn.Module | None = None
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.bn1(x)
        active = F.relu(normed)
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        out = F.relu(self.bn2(self.conv1(active)))
        return self.conv2(out) + shortcut, normed


class Stage(nn.Module):
    """n blocks; the first has the stride. Published files call them ``layer``."""

    def __init__(self, inputs: int, outputs: int, n: int, stride: int) -> None:
        super().__init__()
        rest = [PreactBlock(outputs, outputs, stride=1) for _ in range(n - 1)]
        self.layer = nn.Sequential(PreactBlock(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor, blocks: bool) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The raw output, the first ``bn1``'s output, and on request the output of each block."""
        x, entry = self.layer[0](x)
        inside = [x] if blocks else []
        for block in self.layer[1:]:
            x, _ = block(x)
            if blocks:
                inside.append(x)
        return x, entry, tuple(inside)


class WideResNet(Classifier):
    """``depth`` = 6n + 4 layers, ``width`` times as wide as the plain network.

    Features are the raw outputs of the stem and the stages, before BatchNorm and ReLU. A preact is
    the output of the next BatchNorm (the next stage's first, finally the network's own), before
    its ReLU. The embedding (N, 64·width) is pooled after that last norm and its ReLU.

    Deviation: mdistiller evaluates these norms a second time to get the preacts, so its running
    statistics are updated twice per training step. Here the forward pass returns the values it
    computes anyway: same values and gradients, one update.
    """

    def __init__(self, depth: int, width: int, num_classes: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ModelError(f"a wide ResNet has 6n + 4 layers (10, 16, 22, …), not {depth}")
        n = (depth - 4) // 6
        self.conv1 = conv3x3(3, 16)
        self.block1 = Stage(16, 16 * width, n, stride=1)
        self.block2 = Stage(16 * width, 32 * width, n, stride=2)
        self.block3 = Stage(32 * width, 64 * width, n, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        init_convs(self)
        nn.init.zeros_(self.fc.bias)

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        x = self.conv1(x)
        features, entries, within = [x], [], []
        for stage in (self.block1, self.block2, self.block3):
            x, entry, inside = stage(x, blocks)
            features.append(x)
            within.append(inside)
            if preacts:
                entries.append(entry)
        normed = self.bn1(x)
        final_map = F.relu(normed)
        embedding = final_map.mean((2, 3))
        return Outputs(
            logits=self.fc(embedding),
            embedding=embedding,
            features=tuple(features),
            # Each stage's preact is the next stage's entry; the first entry belongs to the stem.
            preacts=(features[0], *entries[1:], normed) if preacts else None,
            blocks=tuple(within) if blocks else None,
            final_map=final_map,
        )

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        entries = ("block2.layer.0.bn1", "block3.layer.0.bn1")
        return None, *(self.get_submodule(name) for name in entries), self.bn1

    def feature_modules(self) -> nn.ModuleList:
        """Without the last norm, which initial training stages leave untrained."""
        return nn.ModuleList([self.conv1, self.block1, self.block2, self.block3])


for _depth, _width in ((16, 1), (16, 2), (16, 4), (28, 2), (28, 4), (40, 1), (40, 2)):
    register(f"wrn_{_depth}_{_width}", partial(WideResNet, _depth, _width))
