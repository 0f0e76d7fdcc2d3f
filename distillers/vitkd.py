"""ViTKD: imitate the teacher's shallow tokens, and rebuild its deep ones where masked."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import ABOVE_ZERO, Distiller, Unsupported
from .connectors import generation_block
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform

SHALLOW = 2  # number of layers that are imitated, as in the paper


@register(
    "vitkd",
    title="ViTKD",
    paper="Yang et al., 2022",
    arxiv="2209.02432",
    reference="ViTKD: Practical Guidelines for ViT Feature Knowledge Distillation",
)
class ViTKD(Distiller):
    """Mimicking of the first two layers' patch tokens (B, T, D), generation of the last layer's:

        mimic      = Σ (r_i(F_s,i) − F_t,i)² / B,  i = 1, 2, summed over tokens and channels,
        generation = Σ_masked (G(M(r(F_s))) − F_t)² / (λ B).

    r, r_i: linear, or the identity where widths are equal; M keeps ⌊(1 − λ) T⌋ tokens of each
    sample and replaces the others by one learned token, λ = ``mask_ratio``; G: 3×3 convolution,
    ReLU, 3×3 convolution on the √T × √T grid (section 3). Only masked tokens count. The teacher's
    tokens are detached. Both networks must divide an image into the same square grid.

    Weights as in cls_KD, for ImageNet; its students are also trained with NKD. The last layer's
    tokens are the output of the last block; in cls_KD, of the final LayerNorm after it.
    """

    needs = Needs(tokens=True, batch="global")  # one mask is drawn for the whole batch
    defaults = {"mimic_weight": 3e-5, "generation_weight": 3e-6, "mask_ratio": 0.5}
    ranges = {"mask_ratio": (ABOVE_ZERO, 1)}
    search = {
        "mimic_weight": LogUniform(3e-6, 3e-4),
        "generation_weight": LogUniform(3e-7, 3e-5),
        "mask_ratio": Uniform(0.1, 0.9),
    }

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        sources, targets = (outputs.required.tokens for outputs in probes)
        self._check(sources, targets)
        source, target = sources[-1].shape[2], targets[-1].shape[2]
        self.mimics = nn.ModuleList(_align(source, target) for _ in range(SHALLOW))
        self.align = _align(source, target)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, target))
        self.generation = generation_block(target)

    def _check(self, sources: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> None:
        counts = sources[-1].shape[1], targets[-1].shape[1]
        if counts[0] != counts[1] or math.isqrt(counts[0]) ** 2 != counts[0]:
            raise Unsupported(
                f"{self.name}: the student has {counts[0]} tokens, the teacher {counts[1]}: "
                "expected equal square numbers"
            )
        if min(len(sources), len(targets)) <= SHALLOW:
            raise Unsupported(f"{self.name}: expected more than {SHALLOW} layers of tokens")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        sources, targets = student.required.tokens, teacher.required.tokens
        self.generator = self.draw(batch, "mask")  # an attribute, so tests can override sample_mask
        shallow = zip(self.mimics, sources[:SHALLOW], targets[:SHALLOW], strict=True)
        squares = [(align(s) - t).square().sum() for align, s, t in shallow]
        mimic = torch.stack(squares).sum() / len(targets[0])
        generation = self._generate(sources[-1], targets[-1])
        return {
            "mimic": self.options.mimic_weight * mimic,
            "generation": self.options.generation_weight * generation,
        }

    def _generate(self, source: Tensor, target: Tensor) -> Tensor:
        kept = self.sample_mask(target.shape[:2]).to(target.device)[:, :, None]
        tokens = torch.where(kept, self.align(source), self.mask_token)
        side = math.isqrt(target.shape[1])
        # Tokens (B, T, D) become a map (B, D, √T, √T) for the convolutions, and tokens again.
        rebuilt = self.generation(tokens.mT.unflatten(2, (side, side))).flatten(2).mT
        squares: Tensor = (rebuilt - target).square() * ~kept
        return squares.sum() / (self.options.mask_ratio * len(target))

    def sample_mask(self, shape: tuple[int, ...]) -> Tensor:
        """Booleans of this shape (B, T), true for kept tokens: the same number in every row."""
        # The argsort of an argsort is each token's rank in a random order.
        ranks = torch.rand(shape, generator=self.generator).argsort(dim=1).argsort(dim=1)
        return ranks < int(shape[1] * (1 - self.options.mask_ratio))


def _align(source: int, target: int) -> nn.Module:
    return nn.Identity() if source == target else nn.Linear(source, target)
