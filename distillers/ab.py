"""Activation boundaries: the student first learns to fire where the teacher does."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Classifier, Outputs

from .base import Distiller, InitStage, Unsupported
from .connectors import ConvReg
from .needs import Needs
from .registry import register


@register(
    "ab",
    title="AB",
    paper="Heo et al., AAAI 2019",
    arxiv="1811.03233",
    reference="Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden "
    "Neurons",
)
class AB(Distiller):
    """An initial stage for the activation boundaries; the main stage is cross-entropy (and KD).

    P_s, P_t: maps (B, c, h, w) before the last activation of each of n stages; r is the identity
    where channels and heights are equal, else a `ConvReg` without ReLU. With s = r(P_s), margin μ:

        ℓ_i = Σ (s + μ)² [s > −μ, t ≤ 0] + (s − μ)² [s ≤ μ, t > 0],
        L = 3/1000 · Σ_i 2^(i − n) ℓ_i / B,   i = 1 … n,

    sums over all elements: the paper's alternative loss (section 3). Layer weights and the factor,
    ``initial_scale``, are RepDistiller's, whose β has no effect either. Connectors and the
    student's feature part are trained, at the recipe's rate unless ``initial_lr`` is given; the
    connectors are then left alone.
    """

    needs = Needs(preacts=True)
    defaults = {"margin": 1.0, "initial_scale": 0.003, "initial_epochs": 30, "initial_lr": None}
    optional = {"initial_lr": float}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        sources, targets = _maps(self.probe(student)), _maps(self.probe(teacher, teacher=True))
        if len(sources) != len(targets):
            raise Unsupported(
                f"{self.name}: the student has {len(sources)} stages, the teacher {len(targets)}: "
                f"expected as many"
            )
        pairs = zip(sources, targets, strict=True)
        self.connectors = nn.ModuleList(_connector(s.shape, t.shape) for s, t in pairs)
        part = cast("Classifier", student).feature_modules()
        self.trained = (part,)  # in a tuple, lest it become a part of this module

    def init_stage(self) -> InitStage:
        modules = nn.ModuleList([self.connectors, *self.trained])
        return InitStage(self.options.initial_epochs, modules, self.options.initial_lr)

    def init_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        sources, targets = _maps(student), _maps(teacher)
        stages = zip(self.connectors, sources, targets, strict=True)
        losses = [
            2.0 ** (i - len(targets)) * self._boundary(connector(s), t)
            for i, (connector, s, t) in enumerate(stages, start=1)
        ]
        return self.options.initial_scale * torch.stack(losses).sum() / len(student.logits)

    def _boundary(self, student: Tensor, teacher: Tensor) -> Tensor:
        """ℓ of two maps of one shape: how far neurons are from the right side of the margin."""
        margin, fires = self.options.margin, teacher > 0
        return torch.where(fires, margin - student, margin + student).relu().square().sum()


def _maps(outputs: Outputs) -> tuple[Tensor, ...]:
    assert outputs.preacts is not None  # needs.preacts
    return outputs.preacts[1:]


def _connector(student: torch.Size, teacher: torch.Size) -> nn.Module:
    if student[1:3] == teacher[1:3]:
        return nn.Identity()
    return ConvReg(student, teacher, relu=False)
