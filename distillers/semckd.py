"""Semantic calibration: each map of the student learns from the teacher maps most like it."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .connectors import pool_to_smaller
from .losses import unit
from .needs import Needs
from .registry import register


@register(
    "semckd",
    title="SemCKD",
    paper="Chen et al., AAAI 2021",
    arxiv="2012.03236",
    reference="Cross-Layer Distillation with Semantic Calibration",
)
class SemCKD(Distiller):
    """Mean over samples b and student stages i of Σ_j a_bij · MSE(p_ij(F_s,i), F_t,j)_b.

    Each stage's maps are flattened to X (B, c·h·w). The rows of the Gram matrix X Xᵀ (B, B) pass
    through that stage's perceptron B → 2⌊B/4⌋ → ⌊B/4⌋ and are normalised: queries q_bi of the
    student, keys k_bj of the teacher; a_bi = softmax over j of q_bi · k_bj / ``temperature``
    (section 3). p_ij: 1×1, 3×3, 1×1 convolutions without biases, 2 c_t channels inside, with batch
    norm and ReLU between them. The larger map is first pooled to the smaller.

    The perceptrons read whole rows, so they only accept batches of the configured size. The
    teacher's maps are detached, its perceptrons trained. The authors' results add KD (T = 4) with
    weight 1, which is semckd+kd here. The half of their embeddings that is never used is omitted.
    """

    needs = Needs(features=True, full_batches=True, batch="global")
    defaults = {"weight": 400.0, "temperature": 1.0}
    presets = {"imagenet": {"weight": 50.0}}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        if info.batch_size < 4:
            raise Unsupported(f"{self.name}: batches of {info.batch_size}; expected at least 4")
        sources, targets = map(_stages, self.probe_pair(student, teacher))
        self.queries = nn.ModuleList(_perceptron(info.batch_size) for _ in sources)
        self.keys = nn.ModuleList(_perceptron(info.batch_size) for _ in targets)
        self.projectors = nn.ModuleList(
            nn.ModuleList(_projector(s.shape[1], t.shape[1]) for t in targets) for s in sources
        )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        sources, targets = _stages(student), _stages(teacher)
        distances = [
            self._distances(row, source, targets)
            for row, source in zip(self.projectors, sources, strict=True)
        ]
        weighted = self._attention(sources, targets) * torch.stack(distances, dim=1)
        return weighted.sum(dim=2).mean()

    def _distances(self, row: nn.Module, source: Tensor, targets: tuple[Tensor, ...]) -> Tensor:
        """Mean squared differences (B, teacher stages) of one student map and all teacher maps."""
        distances = []
        for projector, target in zip(cast("nn.ModuleList", row), targets, strict=True):
            s, t = pool_to_smaller(source, target)
            distances.append((projector(s) - t).square().flatten(1).mean(dim=1))
        return torch.stack(distances, dim=1)

    def _attention(self, sources: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """a (B, student stages, teacher stages), which sums to 1 over the last dimension."""
        queries = torch.stack([_embed(*pair) for pair in zip(self.queries, sources, strict=True)])
        keys = torch.stack([_embed(*pair) for pair in zip(self.keys, targets, strict=True)])
        # Student stages i, teacher stages j; both have one embedding per sample b.
        energies = torch.einsum("ibd,jbd->bij", queries, keys)
        return F.softmax(energies / self.options.temperature, dim=2)


def _stages(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs.required.features[1:]


def _embed(perceptron: nn.Module, maps: Tensor) -> Tensor:
    """Queries or keys (B, ⌊B/4⌋), in rows of norm 1, of maps (B, c, h, w)."""
    flat = maps.flatten(1)
    return unit(perceptron(flat @ flat.T))


def _perceptron(size: int) -> nn.Sequential:
    quarter = size // 4
    return nn.Sequential(nn.Linear(size, 2 * quarter), nn.ReLU(), nn.Linear(2 * quarter, quarter))


def _projector(source: int, target: int) -> nn.Sequential:
    inner = 2 * target
    return nn.Sequential(
        nn.Conv2d(source, inner, kernel_size=1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, inner, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, target, kernel_size=1, bias=False),
    )
