"""Softmax regression representation learning: apply the teacher's classifier to the student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .needs import Needs
from .registry import register


@register(
    "srrl",
    title="SRRL",
    paper="Yang et al., ICLR 2021",
    reference="Knowledge Distillation via Softmax Regression Representation Learning",
)
class SRRL(Distiller):
    """feature_weight · mean (r − e_t)² + regression_weight · mean (W_t r + b_t − z_t)².

    r (B, D_t): the student's feature after a connector (1×1 convolution without bias, batch norm,
    ReLU); e_t (B, D_t) and z_t (B, C): the teacher's embedding and logits; W_t, b_t: its
    classifier, which is frozen but passes gradient to r. Means over all elements.

    on="map", as in the paper and cls_KD: the connector reads the map before the student's global
    pooling, and r is its pooled output. on="embedding", as in SimKD's repository (preset): the
    connector reads the pooled embedding, so that batch norm and ReLU come after the pooling. The
    weights 1 and 5 are cls_KD's for CIFAR (1 and 1 for ImageNet), which adds no KD term. The
    convolution has torch's default initialisation; cls_KD's N(0, 2 / D_t) differs only in scale,
    which the batch norm removes.
    """

    defaults = {"feature_weight": 1.0, "regression_weight": 5.0, "on": "map"}
    presets = {
        "imagenet": {"regression_weight": 1.0},
        "simkd": {"on": "embedding", "regression_weight": 1.0, "kd": 1.0},
    }
    choices = {"on": ("map", "embedding")}
    needs = Needs(logits=True, embedding=True, final_map=True, classifier=True, min_batch=2)

    teacher_weight: Tensor  # (C, D_t)
    teacher_bias: Tensor | None  # (C,)

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        on_map = options["on"] == "map"
        return replace(cls.needs, final_map=on_map)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        source, target = self.probe_pair(student, teacher)
        inputs, outputs = self._map(source).shape[1], target.required.embedding.shape[1]
        self.connector = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        head = self.teacher_classifier(teacher)
        # Not persistent: they are part of the teacher, not of the run's state.
        for kind, value in (("weight", head.weight), ("bias", head.bias)):
            copy = None if value is None else value.detach().clone()
            self.register_buffer(f"teacher_{kind}", copy, persistent=False)

    def _map(self, outputs: Outputs) -> Tensor:
        """The connector's input (B, D_s, h, w)."""
        if self.options.on == "map":
            return outputs.required.final_map
        return outputs.required.embedding[:, :, None, None]  # a 1×1 map, which pooling keeps

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        feature = self.connector(self._map(student)).mean(dim=(2, 3))
        if options.feature_weight:
            error = F.mse_loss(feature, teacher.required.embedding)
            terms["feature"] = options.feature_weight * error
        if options.regression_weight:
            logits = F.linear(feature, self.teacher_weight, self.teacher_bias)
            terms["regression"] = options.regression_weight * F.mse_loss(logits, teacher.logits)
        return terms
