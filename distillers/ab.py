"""Activation boundaries: the student first learns to activate where the teacher does."""

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
    """An initial stage matches activation boundaries; the main stage is cross-entropy (and KD).

    P_s, P_t: maps (B, c, h, w) before the last activation of each of n stages; r is the identity
    where channels and heights are equal, else a `ConvReg` without ReLU. With s = r(P_s), t = P_t
    and margin μ:

        ℓ_i = Σ (s + μ)² [s > −μ, t ≤ 0] + (s − μ)² [s ≤ μ, t > 0],
        L = 3/1000 · Σ_i 2^(i − n) ℓ_i / B,   i = 1 … n,

    with sums over all elements: the paper's alternative loss (section 3). The layer weights and the
    factor ``initial_scale`` are RepDistiller's, whose β has no effect, like ``weight`` here. The
    initial stage trains the connectors and the student's feature extractor, at the recipe's rate
    unless ``initial_lr`` is given; the main stage does not use the connectors.
    """

    needs = Needs(preacts=True)
    defaults = {"margin": 1.0, "initial_scale": 0.003, "initial_epochs": 30, "initial_lr": None}
    optional = {"initial_lr": float}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        sources, targets = map(_stages, self.probe_pair(student, teacher))
        if len(sources) != len(targets):
            raise Unsupported(
                f"{self.name}: the student has {len(sources)} stages, the teacher {len(targets)}: "
                "expected equal numbers"
            )
        self.connectors = nn.ModuleList(
            nn.Identity()
            if source.shape[1:3] == target.shape[1:3]
            else ConvReg(source.shape, target.shape, relu=False)
            for source, target in zip(sources, targets, strict=True)
        )
        # In a tuple, so that the student's modules do not become sub-modules of this one.
        self.trained = (cast("Classifier", student).feature_modules(),)

    def init_stage(self) -> InitStage:
        modules = nn.ModuleList([self.connectors, *self.trained])
        return InitStage(self.options.initial_epochs, modules, self.options.initial_lr)

    def init_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        sources, targets = _stages(student), _stages(teacher)
        stages = zip(self.connectors, sources, targets, strict=True)
        losses = [
            2.0 ** (i - len(targets)) * self._boundary(connector(s), t)
            for i, (connector, s, t) in enumerate(stages, start=1)
        ]
        return self.options.initial_scale * torch.stack(losses).sum() / len(student.logits)

    def _boundary(self, student: Tensor, teacher: Tensor) -> Tensor:
        """ℓ of two maps of equal shape: squared distances to the correct side of the margin."""
        margin, active = self.options.margin, teacher > 0
        # The ReLU leaves no loss where the student is on the correct side by at least the margin.
        return torch.where(active, margin - student, margin + student).relu().square().sum()


def _stages(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs.required.preacts[1:]  # without the stem's
