"""FitNets: the student's map at one layer, passed through a regressor, imitates the teacher's."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .connectors import ConvReg
from .needs import Needs
from .registry import register


@register(
    "fitnet",
    title="FitNet",
    paper="Romero et al., ICLR 2015",
    arxiv="1412.6550",
    reference="FitNets: Hints for Thin Deep Nets",
)
class FitNet(Distiller):
    """Mean squared error of r(F_s) and F_t at layer ``hint_layer`` of (stem, stage 1, stage 2, …).

    r is a `ConvReg` from (N, c_s, h_s, w_s) to (N, c_t, h_t, w_t), trained jointly with the student
    as in RepDistiller and mdistiller (the paper first trains the hint alone, eq. 3). Maps are taken
    after the ReLU where the network has one there, and r ends in a ReLU. WRN and MobileNetV2 have
    signed maps there, whose negative part r cannot reproduce.
    """

    needs = Needs(features=True, min_batch=2)  # r's batch norm fails on a single 1×1 map
    defaults = {"weight": 100.0, "hint_layer": 2}
    ranges = {"hint_layer": (0, math.inf)}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        source, target = map(self._hint, self.probe_pair(student, teacher))
        self.regressor = ConvReg(source.shape, target.shape)

    def _hint(self, outputs: Outputs) -> Tensor:
        features, layer = outputs.required.features, self.options.hint_layer
        if not -len(features) <= layer < len(features):
            raise Unsupported(f"{self.name}: hint_layer {layer} of {len(features)} feature maps")
        return features[layer]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(self.regressor(self._hint(student)), self._hint(teacher))
