"""Wide residual networks for small images: Zagoruyko & Komodakis, BMVC 2016, without dropout."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, Factory, ModelError, register
from .outputs import Outputs
from .resnet import conv3x3
from .staged import init_convs


class PreactBlock(nn.Module):
    """BN – ReLU – 3×3 – BN – ReLU – 3×3 and the shortcut.

    The shortcut is the raw input, or where the channels change a 1×1 convolution (no BatchNorm)
    of the normalised and rectified one. Returns the sum, and ``bn1``'s output on the way to it.
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
    """n blocks; the first takes the stride. Published files call them ``layer``."""

    def __init__(self, inputs: int, outputs: int, n: int, stride: int) -> None:
        super().__init__()
        rest = [PreactBlock(outputs, outputs, stride=1) for _ in range(n - 1)]
        self.layer = nn.Sequential(PreactBlock(inputs, outputs, stride), *rest)

    def forward(self, x: Tensor, blocks: bool) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The raw output, the input after the first ``bn1``, and on request each block's output."""
        x, entry = self.layer[0](x)
        inside = [x] if blocks else []
        for block in self.layer[1:]:
            x, _ = block(x)
            if blocks:
                inside.append(x)
        return x, entry, tuple(inside)


class WideResNet(Classifier):
    """``depth`` = 6n + 4 layers, ``width`` times as wide as the plain network.

    Features are the stem's and the stages' raw outputs: before BatchNorm and ReLU, of either
    sign. Their preacts are what the next BatchNorm makes of them (the next stage's first, in the
    end the network's own): before the ReLU, after the norm. The embedding (N, 64·width) is
    pooled behind that last norm and its ReLU.

    Deviation: mdistiller evaluates these norms once more to obtain the preacts, so its running
    statistics move twice per training step. Here the forward pass hands out what it has computed
    anyway: same values, same gradients, one update.
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
        """Without the last norm, which initial stages leave untrained."""
        return nn.ModuleList([self.conv1, self.block1, self.block2, self.block3])


def wrn(depth: int, width: int) -> Factory:
    """The constructor of one shape, for the registry."""

    def factory(num_classes: int) -> WideResNet:
        return WideResNet(depth, width, num_classes)

    return factory


for _depth, _width in ((16, 1), (16, 2), (16, 4), (28, 2), (28, 4), (40, 1), (40, 2)):
    register(f"wrn_{_depth}_{_width}", wrn(_depth, _width))
