"""FitNets: the student's map at one layer, put through a regressor, imitates the teacher's."""

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

    r is a `ConvReg` from (N, c_s, h_s, w_s) to (N, c_t, h_t, w_t), trained with the student in one
    stage as in RepDistiller and mdistiller (the paper first trains the hint alone, eq. 3). Maps are
    taken after the ReLU where the network has one there, and r ends in a ReLU; the taps of WRN and
    MobileNetV2 are signed, so their negative part cannot be met.
    """

    needs = Needs(features=True, min_batch=2)  # r's batch norm fails on one sample's 1×1 map
    defaults = {"weight": 100.0, "hint_layer": 2}
    ranges = {"hint_layer": (0, math.inf)}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        source = self._hint(self.probe(student))
        target = self._hint(self.probe(teacher, teacher=True))
        self.regressor = ConvReg(source.shape, target.shape)

    def _hint(self, outputs: Outputs) -> Tensor:
        assert outputs.features is not None  # needs.features
        layer, count = self.options.hint_layer, len(outputs.features)
        if not -count <= layer < count:
            raise Unsupported(f"{self.name}: hint_layer {layer} of {count} feature maps")
        return outputs.features[layer]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(self.regressor(self._hint(student)), self._hint(teacher))
