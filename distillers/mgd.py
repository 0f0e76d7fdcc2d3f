"""Masked generative distillation: rebuild the teacher's map from part of the student's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .connectors import generation_block
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform


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
    convolution; M (B, c_t, 1, 1): 0 with probability ``mask_ratio`` per channel of a sample, else
    1. Heights and widths must be equal.

    The paper (section 3.2, eqs. 1 to 4) masks pixels, for dense prediction; the authors' code for
    classification (cls_KD) masks channels, as here, with weights 7e-5 on ImageNet and 1.2e-3 on
    CIFAR-100.
    """

    needs = Needs(features=True, batch="global")  # one mask is drawn for the whole batch
    defaults = {"weight": 1.2e-3, "mask_ratio": 0.15}
    ranges = {"mask_ratio": (0, 1)}
    presets = {"imagenet": {"weight": 7e-5}}
    search = {"weight": LogUniform(1.2e-4, 1.2e-2), "mask_ratio": Uniform(0.05, 0.75)}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = (outputs.required.features[-1] for outputs in probes)
        if source.shape[2:] != target.shape[2:]:
            sizes = ["×".join(map(str, m.shape[2:])) for m in (source, target)]
            raise Unsupported(
                f"{self.name}: the student's last map is {sizes[0]}, the teacher's {sizes[1]}: "
                "expected equal sizes"
            )
        inputs, outputs = source.shape[1], target.shape[1]
        self.align = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.generation = generation_block(outputs)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        aligned = self.align(student.required.features[-1])
        target = teacher.required.features[-1]
        self.generator = self.draw(batch, "mask")  # an attribute, so tests can override sample_mask
        kept = self.sample_mask((*target.shape[:2], 1, 1)).to(aligned)
        return (self.generation(aligned * kept) - target).square().sum() / len(target)

    def sample_mask(self, shape: tuple[int, ...]) -> Tensor:
        """Booleans of this shape, true where features are kept."""
        return torch.rand(shape, generator=self.generator) >= self.options.mask_ratio
