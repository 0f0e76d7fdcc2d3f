"""VGG with BatchNorm for small images: Simonyan & Zisserman, ICLR 2015, with one linear layer."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Classifier, register
from .outputs import Outputs
from .staged import init_convs

WIDTHS = (64, 128, 256, 512, 512)  # channels of the five blocks
Lengths = tuple[int, int, int, int, int]  # convolutions of each


class VGG(Classifier):
    """Five blocks of 3×3 convolutions, each with BatchNorm and ReLU; max-pooling between blocks.

    Block 0 is the stem. Features are the blocks' outputs, post-ReLU and before any pooling;
    ``blocks`` holds the output of every ReLU in blocks 1 to 4. After block 3 only images of height
    64 are pooled, as in the reference: both last features of a 32×32 image are 4×4. The embedding
    (N, 512) is the pooled last feature.
    """

    def __init__(self, lengths: Lengths, num_classes: int) -> None:
        super().__init__()
        self.block0 = conv_block(3, WIDTHS[0], lengths[0])
        self.block1 = conv_block(WIDTHS[0], WIDTHS[1], lengths[1])
        self.block2 = conv_block(WIDTHS[1], WIDTHS[2], lengths[2])
        self.block3 = conv_block(WIDTHS[2], WIDTHS[3], lengths[3])
        self.block4 = conv_block(WIDTHS[3], WIDTHS[4], lengths[4])
        self.pool0, self.pool1 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.pool2, self.pool3 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.pool4 = nn.AdaptiveAvgPool2d(1)
        # Not `self.classifier =`: that name is a read-only property of every model.
        self._modules["classifier"] = nn.Linear(WIDTHS[4], num_classes)
        init_convs(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        pool3 = self.pool3 if x.shape[2] == 64 else None
        x = F.relu(self.block0(x))
        features, before, within = [x], [x], []
        for pool, block in (
            (self.pool0, self.block1),
            (self.pool1, self.block2),
            (self.pool2, self.block3),
            (pool3, self.block4),
        ):
            preact, inside = run_block(block, pool(x) if pool else x, keep=blocks)
            x = F.relu(preact)
            features.append(x)
            within.append((*inside, x))
            if preacts:
                before.append(preact)
        embedding = self.pool4(x).flatten(1)
        return Outputs(
            logits=self.classifier(embedding),
            embedding=embedding,
            features=tuple(features),
            preacts=tuple(before) if preacts else None,
            blocks=tuple(within) if blocks else None,
            final_map=x,
        )

    @property
    def classifier(self) -> nn.Linear:
        linear = self._modules["classifier"]
        assert isinstance(linear, nn.Linear)
        return linear

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        return None, *(b[-1] for b in (self.block1, self.block2, self.block3, self.block4))

    def feature_modules(self) -> nn.ModuleList:
        modules: list[nn.Module] = []
        for i in range(5):
            modules += [self.get_submodule(f"block{i}"), self.get_submodule(f"pool{i}")]
        return nn.ModuleList(modules)


def conv_block(inputs: int, outputs: int, length: int) -> nn.Sequential:
    """Convolution – BatchNorm – ReLU, ``length`` times, without the last ReLU."""
    layers: list[nn.Module] = []
    for _ in range(length):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers[:-1])


def run_block(block: nn.Sequential, x: Tensor, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The block's pre-activation and, if ``keep``, the outputs of the ReLUs inside it."""
    inside = []
    for layer in block:
        x = layer(x)
        if keep and isinstance(layer, nn.ReLU):
            inside.append(x)
    return x, tuple(inside)


register("vgg8", partial(VGG, (1, 1, 1, 1, 1)))
register("vgg11", partial(VGG, (1, 1, 2, 2, 2)))
register("vgg13", partial(VGG, (2, 2, 2, 2, 2)))
register("vgg16", partial(VGG, (2, 2, 3, 3, 3)))
register("vgg19", partial(VGG, (2, 2, 4, 4, 4)))
