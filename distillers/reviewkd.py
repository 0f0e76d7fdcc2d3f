"""Knowledge review: match each stage of the student, fused with deeper ones, to the teacher's."""

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

PYRAMID = (4, 2, 1)  # sides that maps are pooled to in the hierarchical context loss
WIDEST = 512  # maximal default width inside a fusion, as in mdistiller


@register(
    "reviewkd",
    title="ReviewKD",
    paper="Chen et al., CVPR 2021",
    arxiv="2104.09044",
    reference="Distilling Knowledge via Knowledge Review",
)
class ReviewKD(Distiller):
    """w(epoch) · Σ HCL(r_i, t_i) over levels: the stages' maps (B, c, h, w) and the embedding.

    From the deepest level (the embedding as a 1×1 map) to the shallowest: x is a 1×1 convolution of
    the student's map, y the deeper level's f resized to x, and z (B, 2, h, w) the sigmoid of a 1×1
    convolution of [x, y]; then f = z_0 x + z_1 y, resized to t, and r is a 3×3 convolution of f
    (attention-based fusion, section 3.3; at the deepest level f = x). Hierarchical context loss:

        HCL(r, t) = Σ_k 2^(−k) MSE_k / Σ_k 2^(−k),   k = 0, 1, …

    where MSE_0 is that of the maps themselves and the others that of both maps pooled to 4×4, 2×2
    and 1×1, as far as r is larger. t is the teacher's map before the last ReLU; the student's is
    after it, or with ``student_preacts`` also before it. Levels are paired from the deepest. w
    rises to 1 over ``warmup`` epochs of 240. ``mid_channels`` is the width of x; None means
    min(512, width of the student's embedding). All of this is as in mdistiller; the authors' CIFAR
    runs count epochs from 0 and leave the teacher in training mode. Sizes are read from the
    networks, not from tables. The authors' weights are 0.6 to 8, depending on the pair.
    """

    # min_batch: batch norm fails on a single 1×1 map.
    needs = Needs(embedding=True, features=True, preacts=True, min_batch=2)
    defaults = {"weight": 5.0, "warmup": 20.0, "mid_channels": None, "student_preacts": False}
    presets = {"imagenet": {"weight": 1.0, "warmup": 0.0, "student_preacts": True}}
    optional = {"mid_channels": int}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        source, target = self.probe_pair(student, teacher)
        sources = _levels(source, self.options.student_preacts)
        targets = _levels(target, preacts=True)
        # zip ends with the network of fewer stages: levels run from the deepest, which both have.
        middle = self.options.mid_channels or min(WIDEST, sources[0].shape[1])
        self.fusions = nn.ModuleList(
            Fusion(s.shape[1], middle, t.shape[1], deepest=i == 0)
            for i, (s, t) in enumerate(zip(sources, targets, strict=False))
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        sources = _levels(student, self.options.student_preacts)
        targets = _levels(teacher, preacts=True)
        losses, deeper = [], None
        for fusion, source, target in zip(self.fusions, sources, targets, strict=False):
            deeper, review = fusion(source, deeper, target.shape[2:])
            losses.append(hierarchical_context(review, target))
        ramp = linear_warmup(batch.epoch, self.scaled(self.options.warmup))
        return ramp * torch.stack(losses).sum()


def _levels(outputs: Outputs, preacts: bool) -> list[Tensor]:
    """The embedding as a 1×1 map, then the stages' maps from the deepest to the shallowest."""
    maps = outputs.required.preacts if preacts else outputs.required.features
    return [outputs.required.embedding[:, :, None, None], *reversed(maps[1:])]


class Fusion(nn.Module):
    """One level: f (B, middle, h', w') and r (B, target, h', w') from a map (B, source, h, w)."""

    def __init__(self, source: int, middle: int, target: int, deepest: bool) -> None:
        super().__init__()
        self.reduce = _conv(source, middle, kernel=1)
        self.attention = None if deepest else nn.Conv2d(2 * middle, 2, kernel_size=1)
        self.expand = _conv(middle, target, kernel=3)

    def forward(self, x: Tensor, deeper: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """``deeper``: the deeper level's f; ``size``: (h', w')."""
        fused = self.reduce(x)
        if self.attention is not None and deeper is not None:
            deeper = _resized(deeper, fused.shape[2:])
            z = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()  # (B, 2, h, w)
            fused = z[:, :1] * fused + z[:, 1:] * deeper
        fused = _resized(fused, size)
        return fused, self.expand(fused)


def _resized(maps: Tensor, size: torch.Size) -> Tensor:
    return maps if maps.shape[2:] == size else F.interpolate(maps, list(size), mode="nearest")


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)  # as in the authors' code and mdistiller
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL of two maps (B, c, h, w) of equal shape."""
    sides = [side for side in PYRAMID if side < student.shape[2]]
    pooled = [
        (F.adaptive_avg_pool2d(student, side), F.adaptive_avg_pool2d(teacher, side))
        for side in sides
    ]
    pairs = [(student, teacher), *pooled]
    weights = [0.5**k for k in range(len(pairs))]
    losses = [w * F.mse_loss(*pair) for w, pair in zip(weights, pairs, strict=True)]
    return torch.stack(losses).sum() / sum(weights)
