"""Networks of a stem, stages and a head: one forward pass that returns every tap."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier
from .outputs import Outputs

Block = Callable[[Tensor], Tensor]  # usually a module


class StagedClassifier(Classifier):
    """stem → stages of blocks → head → mean over h, w → classifier.

    A block maps its input to a pre-activation; ``activate`` turns that into the block's output.
    Features are the outputs of the stem and of every stage. ``blocks`` leaves out the stem, so
    blocks[i][-1] is features[i + 1].
    """

    @abstractmethod
    def stem(self, x: Tensor) -> Tensor:
        """The first feature, from images (N, 3, H, W)."""

    @abstractmethod
    def stages(self) -> tuple[Iterable[Block], ...]:
        """The blocks of each stage, shallow to deep."""

    def activate(self, preact: Tensor) -> Tensor:
        """A block's output from its pre-activation."""
        return F.relu(preact)

    def head(self, x: Tensor) -> Tensor:
        """The map that is pooled, from the last stage's output."""
        return x

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        x = self.stem(x)
        features, before, within = [x], [x], []
        for stage in self.stages():
            inside = []
            for block in stage:
                preact = block(x)
                x = self.activate(preact)
                if blocks:  # otherwise an evaluation would keep every map in memory
                    inside.append(x)
            features.append(x)
            within.append(tuple(inside))
            if preacts:
                before.append(preact)
        final_map = self.head(x)
        embedding = final_map.mean((2, 3))  # images of any size
        return Outputs(
            logits=self.classifier(embedding),
            embedding=embedding,
            features=tuple(features),
            preacts=tuple(before) if preacts else None,
            blocks=tuple(within) if blocks else None,
            final_map=final_map,
        )

    @property
    @abstractmethod
    def classifier(self) -> nn.Linear:
        """The linear layer that reads the embedding."""


def conv1x1(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A pointwise convolution without bias: a BatchNorm follows."""
    return nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, groups=groups, bias=False)


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """One 3×3 filter per channel, without bias: a BatchNorm follows."""
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


def init_convs(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / (k²·out)), biases 0: He et al., arXiv 1502.01852, fan-out.

    For depthwise convolutions too, the fan counts all output channels, as in the reference.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
