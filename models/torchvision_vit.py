"""torchvision's vision transformers: Dosovitskiy et al., arXiv 2010.11929."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import ModelError
from .outputs import Outputs
from .wrapped import WrappedClassifier, last_linear


class VisionTransformer(WrappedClassifier):
    """Patch embedding, class token, encoder; takes only images of the net's own size (224×224).

    ``tokens`` (N, T, D) and ``cls`` (N, D) are the output of each encoder block, patch tokens in
    row-major order. The embedding (N, D) is the last class token after the final LayerNorm. There
    are no maps: features, preacts, blocks and the final map are None.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, last_linear(net))
        self._before_last = [name for name, _ in self.at("heads").named_children()][:-1]

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        tokens: list[Tensor] = []
        cls: list[Tensor] = []
        for layer in self.at("encoder.layers").children():
            x = layer(x if cls else self.embedded(x))  # cls is empty before the first block
            cls.append(x[:, 0])
            tokens.append(x[:, 1:])
        embedding = self.at("encoder.ln")(x)[:, 0]
        for name in self._before_last:  # with a representation_size only
            embedding = self.at(f"heads.{name}")(embedding)
        logits = self.at(self._last)(embedding)
        return Outputs(logits=logits, embedding=embedding, tokens=tuple(tokens), cls=tuple(cls))

    def embedded(self, images: Tensor) -> Tensor:
        """The first block's input, class token and patches (N, 1 + T, D), from images (N, 3, H, W).

        Raises ModelError for images of another size.
        """
        size = self._library[0].image_size
        if images.shape[2:] != (size, size):
            height, width = images.shape[2:]
            raise ModelError(f"{self.name}: images of {height}×{width}; expected {size}×{size}")
        patches = self.at("conv_proj")(images).flatten(2).transpose(1, 2)  # (N, T, D)
        cls = self.get_parameter("class_token").expand(len(images), -1, -1)
        encoder = self.at("encoder")
        return encoder.dropout(torch.cat([cls, patches], dim=1) + encoder.pos_embedding)

    def feature_modules(self) -> nn.ModuleList:
        """Without the class token, which is a parameter of no module."""
        return nn.ModuleList([self.at("conv_proj"), self.at("encoder")])
