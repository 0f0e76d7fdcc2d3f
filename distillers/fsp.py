"""Flow of solution procedure: first match how maps of successive stages relate to each other."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Classifier, Outputs

from .base import Distiller, InitStage, Unsupported
from .connectors import pool_to_smaller
from .needs import Needs
from .registry import register
from .spaces import LogUniform


@register(
    "fsp",
    title="FSP",
    paper="Yim et al., CVPR 2017",
    reference="A Gift from Knowledge Distillation: Fast Optimization, Network Minimization "
    "and Transfer Learning",
)
class FSP(Distiller):
    """An initial stage matches flow matrices; the main stage is cross-entropy (and KD).

    G = mean over positions of F_(i+1) F_iᵀ, (B, c_(i+1), c_i), for successive maps (B, c, h, w) of
    stem, stage 1, …, the larger of which is pooled to the smaller. The loss is the sum over i of
    the mean of (G_s − G_t)² (sections 3.2 and 3.3; means as in RepDistiller, whose β has no effect,
    like ``weight`` here). The networks must have equal channels at each map, but not equal sizes.

    The initial stage trains the student's feature extractor, at the recipe's rate unless
    ``initial_lr`` is given.
    """

    needs = Needs(features=True)
    defaults = {"initial_epochs": 30, "initial_lr": None}
    optional = {"initial_lr": float}
    search = {"initial_lr": LogUniform(0.001, 0.1)}  # all else is schedule; weight has no effect

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = ([f.shape[1] for f in o.required.features] for o in probes)
        if source != target:
            raise Unsupported(
                f"{self.name}: the student's maps have {source} channels, the teacher's {target}: "
                "expected equal channels"
            )
        # In a tuple, so that the student's modules do not become sub-modules of this one.
        self.trained = (cast("Classifier", student).feature_modules(),)

    def init_stage(self) -> InitStage:
        modules = nn.ModuleList(self.trained)
        return InitStage(self.options.initial_epochs, modules, self.options.initial_lr)

    def init_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        flows = [
            [flow(*maps) for maps in pairwise(outputs.required.features)]
            for outputs in (student, teacher)
        ]
        return torch.stack([F.mse_loss(s, t) for s, t in zip(*flows, strict=True)]).sum()


def flow(lower: Tensor, upper: Tensor) -> Tensor:
    """G (B, c', c) of maps (B, c, h, w) and (B, c', h', w')."""
    # (B, c, h·w) and (B, c', h·w): positions become the summed dimension.
    lower, upper = (m.flatten(2) for m in pool_to_smaller(lower, upper))
    return upper @ lower.mT / lower.shape[2]
