"""WKD-F: match features by the Wasserstein distance between Gaussians fitted to them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .connectors import ConvReg
from .losses import cosine_decay
from .needs import Needs
from .registry import register
from .spaces import LogUniform

EPS = 1e-5  # added to the variances, as in the authors' code
INNER = 256  # channels inside the bottleneck projector, as in the authors' code


@register(
    "wkd_f",
    title="WKD-F",
    paper="Lv, Yang & Li, NeurIPS 2024",
    arxiv="2412.08139",
    reference="Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation",
)
class WKDF(Distiller):
    """w(epoch) · mean over batch and cells of Σ_c [``mean_ratio`` (μ_s − μ_t)² + (σ_s − σ_t)²].

    Up to the ratio, this is the squared 2-Wasserstein distance between Gaussians with diagonal
    covariance (section 2.2). μ, σ (B, c_t) are taken over the positions in each of ``grid``² cells
    of the last stage's maps, σ = sqrt(unbiased variance + 1e-5); a single position has variance 0.
    The student's map (B, c_s, h, w) first passes through the projector: "convolution", a `ConvReg`
    (1×1 between equal maps), or "bottleneck", convolutions 1×1, 3×3, 1×1; both with batch norm and
    ReLU.

    w decays to 0 as half a cosine from epoch ``decay_start`` of 240 on. Values as in JiamingLv/WKD:
    the defaults for resnet32x4 → resnet8x4, "imagenet" for ResNet34 → ResNet18.
    """

    needs = Needs(features=True, min_batch=2)  # batch norm fails on a single 1×1 map
    defaults = {
        "weight": 0.08,
        "mean_ratio": 4.0,
        "grid": 1,
        "projector": "convolution",
        "decay_start": 150.0,
    }
    choices = {"projector": ("convolution", "bottleneck")}
    presets = {
        "imagenet": {
            "weight": 0.02,
            "mean_ratio": 2.0,
            "grid": 4,
            "projector": "bottleneck",
            "decay_start": 0.0,
        }
    }
    search = {"weight": LogUniform(0.008, 0.8), "mean_ratio": LogUniform(1, 16)}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = (outputs.required.features[-1].shape for outputs in probes)
        make = ConvReg if self.options.projector == "convolution" else bottleneck
        self.projector = make(source, target)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        options = self.options
        decay = cosine_decay(batch.epoch, self.scaled(options.decay_start), self.info.epochs)
        projected = self.projector(student.required.features[-1])
        target = teacher.required.features[-1]
        return decay * gaussian_loss(projected, target, options.mean_ratio, options.grid)


def gaussian_loss(student: Tensor, teacher: Tensor, mean_ratio: float, grid: int) -> Tensor:
    """The distance between maps (B, c, h, w) of equal shape, mean over batch and cells."""
    per_cell = []
    for s, t in zip(_cells(student, grid), _cells(teacher, grid), strict=True):
        means = (s.mean(dim=2) - t.mean(dim=2)).square()
        deviations = (_deviation(s) - _deviation(t)).square()
        per_cell.append((mean_ratio * means + deviations).sum(dim=1).mean())
    return torch.stack(per_cell).mean()


def _cells(maps: Tensor, grid: int) -> Iterator[Tensor]:
    """The values (B, c, positions) in each cell; cells are those of adaptive pooling."""
    height, width = maps.shape[2:]
    # From the floor to the ceiling of each boundary, so cells overlap where sizes do not divide.
    for i in range(grid):
        rows = slice(i * height // grid, -(-(i + 1) * height // grid))
        for j in range(grid):
            columns = slice(j * width // grid, -(-(j + 1) * width // grid))
            yield maps[:, :, rows, columns].flatten(2)


def _deviation(positions: Tensor) -> Tensor:
    """σ (B, c) of values (B, c, positions)."""
    correction = 1 if positions.shape[2] > 1 else 0
    return (positions.var(dim=2, correction=correction) + EPS).sqrt()


def bottleneck(student: torch.Size, teacher: torch.Size) -> nn.Sequential:
    """Convolutions 1×1, 3×3, 1×1, batch norm and ReLU between maps (N, c, h, w) of equal size."""
    if student[2:] != teacher[2:]:
        sizes = " and ".join(f"{h}×{w}" for h, w in (student[2:], teacher[2:]))
        raise Unsupported(f"maps of {sizes}: the bottleneck projector needs equal sizes")
    return nn.Sequential(
        nn.Conv2d(student[1], INNER, kernel_size=1),
        nn.Conv2d(INNER, INNER, kernel_size=3, padding=1),
        nn.Conv2d(INNER, teacher[1], kernel_size=1),
        nn.BatchNorm2d(teacher[1]),
        nn.ReLU(),
    )
