"""SimKD: the student's last map, projected, goes through the teacher's classifier."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .needs import Needs
from .registry import register


@register(
    "simkd",
    title="SimKD",
    paper="Chen et al., CVPR 2022",
    arxiv="2203.14001",
    reference="Knowledge Distillation with the Reused Teacher Classifier",
)
class SimKD(Distiller):
    """Mean squared error of p(F_s) and F_t; predictions are classifier(mean over h, w of p(F_s)).

    F_s (B, c_s, h, w): the student's last map; F_t: the one that the teacher's classifier reads
    when pooled (the authors' code takes the last stage's, which is another in WRN, MobileNetV2 and
    ShuffleV2 teachers, and cannot serve these). p: convolutions 1×1, 3×3, 1×1 without biases, each
    with batch norm and ReLU, the inner two c_t / ``factor`` wide (section 3.2). The larger map is
    pooled to the smaller height, the student's before p.

    There is neither cross-entropy nor KD (weights 0): the student's own classifier is not trained.
    A frozen copy of the teacher's is kept here: projector and copy are what a test needs beside
    the student. The authors' checkpoints lack the projector.
    """

    needs = Needs(features=True, final_map=True, classifier=True, min_batch=2)  # 1×1 batch norm
    defaults = {"ce": 0.0, "factor": 2}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        source = _last(self.probe(student))
        target = self.probe(teacher, teacher=True).final_map
        assert target is not None  # needs.final_map
        self.projector = _projector(source.shape[1], target.shape[1], self.options.factor)
        self.size = target.shape[2], target.shape[3]
        self.classifier = _frozen(cast("nn.Linear", teacher.classifier))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert teacher.final_map is not None  # needs.final_map
        own = self._projected(student)
        size = own.shape[2], own.shape[3]
        return F.mse_loss(own, F.adaptive_avg_pool2d(teacher.final_map, size))

    def predict(self, student: Outputs) -> Tensor:
        logits: Tensor = self.classifier(self._projected(student).mean((2, 3)))
        return logits

    def _projected(self, student: Outputs) -> Tensor:
        features = _last(student)
        if features.shape[2] > self.size[0]:
            features = F.adaptive_avg_pool2d(features, self.size)
        projected: Tensor = self.projector(features)
        return projected


def _last(outputs: Outputs) -> Tensor:
    assert outputs.features is not None  # needs.features
    return outputs.features[-1]


def _projector(source: int, target: int, factor: int) -> nn.Sequential:
    inner = max(1, target // factor)
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((source, inner, 1), (inner, inner, 3), (inner, target, 1)):
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _frozen(classifier: nn.Linear) -> nn.Linear:
    """A copy of a linear layer that no optimiser changes."""
    weight, bias = classifier.weight, classifier.bias is not None
    copy = nn.Linear(weight.shape[1], weight.shape[0], bias, weight.device, weight.dtype)
    copy.load_state_dict(classifier.state_dict())
    return copy.requires_grad_(False)
