"""Softmax regression representation learning: the student's feature before the teacher's head."""

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

    r (B, D_t): the student's feature behind a connector (1×1 convolution without bias, batch norm,
    ReLU), e_t (B, D_t) and z_t (B, C) the teacher's embedding and logits, W_t, b_t its classifier,
    which is fixed but lets gradients through. Means over all elements.

    on="map", as in the paper and cls_KD: the connector is on the map that the student's global
    pooling reads, and r is its pooled output. on="embedding", as in SimKD's repository (preset):
    the connector is on the pooled embedding, so that batch norm and ReLU come after the pooling.
    Weights 1 and 5 are cls_KD's for CIFAR (ImageNet: 1 and 1), which has no KD term beside them.
    The convolution starts as torch's do; cls_KD's, from N(0, 2 / D_t), batch norm scales alike.
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
        assert teacher is not None  # needs.teacher
        source, target = self.probe(student), self.probe(teacher, teacher=True)
        assert target.embedding is not None  # needs.embedding
        self.connector = nn.Sequential(
            nn.Conv2d(self._map(source).shape[1], target.embedding.shape[1], 1, bias=False),
            nn.BatchNorm2d(target.embedding.shape[1]),
            nn.ReLU(),
        )
        head = teacher.classifier
        assert isinstance(head, nn.Linear)  # needs.classifier
        # Copies that no checkpoint holds: they are the teacher's, not the run's.
        for kind, value in (("weight", head.weight), ("bias", head.bias)):
            copy = None if value is None else value.detach().clone()
            self.register_buffer(f"teacher_{kind}", copy, persistent=False)

    def _map(self, outputs: Outputs) -> Tensor:
        """(B, D_s, h, w)"""
        if self.options.on == "map":
            assert outputs.final_map is not None  # needs.final_map
            return outputs.final_map
        assert outputs.embedding is not None  # needs.embedding
        return outputs.embedding[:, :, None, None]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert teacher.embedding is not None  # needs.embedding
        options, terms = self.options, {}
        feature = self.connector(self._map(student)).mean(dim=(2, 3))
        if options.feature_weight:
            terms["feature"] = options.feature_weight * F.mse_loss(feature, teacher.embedding)
        if options.regression_weight:
            logits = F.linear(feature, self.teacher_weight, self.teacher_bias)
            terms["regression"] = options.regression_weight * F.mse_loss(logits, teacher.logits)
        return terms
