"""Masked generative distillation: the student rebuilds the teacher's map from a part of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .needs import Needs
from .registry import register


@register(
    "mgd",
    title="MGD",
    paper="Yang et al., ECCV 2022",
    arxiv="2205.01529",
    reference="Masked Generative Distillation",
)
class MGD(Distiller):
    """Σ (G(M · r(F_s)) − F_t)² / B of the last maps (B, c, h, w), summed over all elements.

    r: a 1×1 convolution where channels differ, else the identity; G: 3×3 convolution, ReLU, 3×3
    convolution; M (B, c_t, 1, 1): 0 for a channel of a sample with probability ``mask_ratio``, else
    1. Heights and widths must be equal.

    The paper (section 3.2, eqs. 1 to 4) masks pixels, for dense prediction; for classification
    its authors' code (cls_KD) masks channels, as here. Its weights: 7e-5 on ImageNet, 1.2e-3 on
    CIFAR-100.
    """

    needs = Needs(features=True, batch="global")  # one mask is drawn for the whole batch
    defaults = {"weight": 1.2e-3, "mask_ratio": 0.15}
    ranges = {"mask_ratio": (0, 1)}
    presets = {"imagenet": {"weight": 7e-5}}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        source, target = _last(self.probe(student)), _last(self.probe(teacher, teacher=True))
        if source.shape[2:] != target.shape[2:]:
            sizes = ["×".join(map(str, m.shape[2:])) for m in (source, target)]
            raise Unsupported(
                f"{self.name}: the student's last map is {sizes[0]}, the teacher's {sizes[1]}: "
                f"expected the same"
            )
        channels, wanted = source.shape[1], target.shape[1]
        self.align = nn.Identity() if channels == wanted else nn.Conv2d(channels, wanted, 1)
        self.generation = nn.Sequential(
            nn.Conv2d(wanted, wanted, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, kernel_size=3, padding=1),
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        aligned, target = self.align(_last(student)), _last(teacher)
        self.generator = self.draw(batch, "mask")
        kept = self.sample_mask((*target.shape[:2], 1, 1)).to(aligned)
        return (self.generation(aligned * kept) - target).square().sum() / len(target)

    def sample_mask(self, shape: tuple[int, ...]) -> Tensor:
        """Of this shape, true for what is kept."""
        return torch.rand(shape, generator=self.generator) >= self.options.mask_ratio


def _last(outputs: Outputs) -> Tensor:
    assert outputs.features is not None  # needs.features
    return outputs.features[-1]
