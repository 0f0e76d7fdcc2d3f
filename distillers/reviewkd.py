"""Knowledge review: every stage of the student, fused with the deeper ones, meets the teacher's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .losses import linear_warmup
from .needs import Needs
from .registry import register

PYRAMID = (4, 2, 1)  # sides that maps are pooled to
WIDEST = 512


@register(
    "reviewkd",
    title="ReviewKD",
    paper="Chen et al., CVPR 2021",
    arxiv="2104.09044",
    reference="Distilling Knowledge via Knowledge Review",
)
class ReviewKD(Distiller):
    """w(epoch) · Σ HCL(r_i, t_i) over levels: the stages' maps (B, c, h, w) and the embedding.

    From the deepest level (the embedding as a 1×1 map) up, with x a 1×1 convolution of the
    student's map, y the level below's f in x's size, and z (B, 2, h, w) the sigmoid of a 1×1
    convolution of [x, y]: f = z_0 x + z_1 y in the size of t, r a 3×3 convolution of f (the
    attention based fusion, section 3.3; the deepest level has f = x). Hierarchical context loss:

        HCL(r, t) = Σ_k 2^(−k) MSE_k / Σ_k 2^(−k),   k = 0, 1, …:

    of the maps themselves, and of both pooled to 4×4, 2×2, 1×1, as far as r is higher than that.
    t is the teacher's map before the last ReLU, the student's is after it, or before, too, with
    ``student_preacts``. Levels are paired from the deepest. w rises to 1 over ``warmup`` epochs of
    240. ``mid_channels``, the width of x, is None for min(512, the student's embedding). All this
    as in mdistiller; the authors' CIFAR runs count epochs from 0 and leave the teacher in training
    mode. Sizes are read from the networks, not from tables; weights are 0.6 to 8, by pair.
    """

    needs = Needs(embedding=True, features=True, preacts=True, min_batch=2)  # batch norm of 1×1
    defaults = {"weight": 5.0, "warmup": 20.0, "mid_channels": None, "student_preacts": False}
    presets = {"imagenet": {"weight": 1.0, "warmup": 0.0, "student_preacts": True}}
    optional = {"mid_channels": int}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        sources = self._student_levels(self.probe(student))
        targets = _levels(self.probe(teacher, teacher=True), preacts=True)
        middle = self.options.mid_channels or min(WIDEST, sources[0].shape[1])
        self.fusions = nn.ModuleList(
            Fusion(s.shape[1], middle, t.shape[1], deepest=i == 0)
            for i, (s, t) in enumerate(zip(sources, targets, strict=False))
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        levels = zip(
            self.fusions,
            self._student_levels(student),
            _levels(teacher, preacts=True),
            strict=False,
        )
        losses, below = [], None
        for fusion, source, target in levels:
            below, review = fusion(source, below, target.shape[2:])
            losses.append(hierarchical_context(review, target))
        share = linear_warmup(batch.epoch, self.scaled(self.options.warmup))
        return share * torch.stack(losses).sum()

    def _student_levels(self, outputs: Outputs) -> list[Tensor]:
        return _levels(outputs, self.options.student_preacts)


def _levels(outputs: Outputs, preacts: bool) -> list[Tensor]:
    """Maps from the deepest on, first the embedding; without the stem."""
    maps = outputs.preacts if preacts else outputs.features
    assert maps is not None and outputs.embedding is not None  # needs
    return [outputs.embedding[:, :, None, None], *reversed(maps[1:])]


class Fusion(nn.Module):
    """One level: f (B, middle, h', w') and r (B, target, h', w') of a map (B, source, h, w)."""

    def __init__(self, source: int, middle: int, target: int, deepest: bool) -> None:
        super().__init__()
        self.reduce = _conv(source, middle, kernel=1)
        self.attention = None if deepest else nn.Conv2d(2 * middle, 2, kernel_size=1)
        self.expand = _conv(middle, target, kernel=3)

    def forward(self, x: Tensor, below: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """``below``: the deeper level's f; ``size``: (h', w')."""
        fused = self.reduce(x)
        if self.attention is not None and below is not None:
            below = _resized(below, fused.shape[2:])
            z = self.attention(torch.cat([fused, below], dim=1)).sigmoid()
            fused = z[:, :1] * fused + z[:, 1:] * below
        fused = _resized(fused, size)
        return fused, self.expand(fused)


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return maps if maps.shape[2:] == size else F.interpolate(maps, list(size), mode="nearest")


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL of two maps (B, c, h, w)."""
    sides = [side for side in PYRAMID if side < student.shape[2]]
    pooled = [
        (F.adaptive_avg_pool2d(student, side), F.adaptive_avg_pool2d(teacher, side))
        for side in sides
    ]
    pairs = [(student, teacher), *pooled]
    weights = [0.5**k for k in range(len(pairs))]
    losses = [w * F.mse_loss(*pair) for w, pair in zip(weights, pairs, strict=True)]
    return torch.stack(losses).sum() / sum(weights)
