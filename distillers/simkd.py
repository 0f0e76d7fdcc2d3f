"""SimKD: the teacher's classifier is applied to the student's projected last map."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "simkd",
    title="SimKD",
    paper="Chen et al., CVPR 2022",
    arxiv="2203.14001",
    reference="Knowledge Distillation with the Reused Teacher Classifier",
)
class SimKD(Distiller):
    """Mean squared error of p(F_s) and F_t; predictions are classifier(mean over h, w of p(F_s)).

    F_s (B, c_s, h, w): the student's last map; F_t: the map that the teacher's classifier reads
    after pooling (the authors' code takes the last stage's, which is a different map in WRN,
    MobileNetV2 and ShuffleV2 teachers, so it cannot serve these). p: convolutions 1×1, 3×3, 1×1
    without biases, each with batch norm and ReLU, c_t / ``factor`` channels inside (section 3.2).
    The larger map is pooled to the smaller height, the student's before p.

    Cross-entropy and KD have weight 0, so the student's own classifier is not trained. The method
    holds the projector and a frozen copy of the teacher's classifier, which testing needs in
    addition to the student. The authors' checkpoints lack the projector.
    """

    # min_batch: batch norm fails on a single 1×1 map.
    needs = Needs(features=True, final_map=True, classifier=True, min_batch=2)
    defaults = {"ce": 0.0, "factor": 2}
    search = {"ce": Uniform(0, 1), "weight": LogUniform(0.1, 10)}  # alone, the weight is a rate

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = probes[0].required.features[-1], probes[1].required.final_map
        self.projector = _projector(source.shape[1], target.shape[1], self.options.factor)
        self.size = target.shape[2], target.shape[3]
        # A copy, because the teacher is absent where the student is tested.
        self.classifier = _frozen(self.teacher_classifier(teacher))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        projected = self._projected(student)
        size = projected.shape[2], projected.shape[3]
        return F.mse_loss(projected, F.adaptive_avg_pool2d(teacher.required.final_map, size))

    def predict(self, student: Outputs) -> Tensor:
        logits: Tensor = self.classifier(self._projected(student).mean((2, 3)))
        return logits

    def _projected(self, student: Outputs) -> Tensor:
        maps = student.required.features[-1]
        if maps.shape[2] > self.size[0]:
            maps = F.adaptive_avg_pool2d(maps, self.size)
        projected: Tensor = self.projector(maps)
        return projected


def _projector(source: int, target: int, factor: int) -> nn.Sequential:
    inner = max(1, target // factor)
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((source, inner, 1), (inner, inner, 3), (inner, target, 1)):
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _frozen(classifier: nn.Linear) -> nn.Linear:
    """A copy of a linear layer whose parameters are not trained."""
    weight, bias = classifier.weight, classifier.bias is not None
    copy = nn.Linear(weight.shape[1], weight.shape[0], bias, weight.device, weight.dtype)
    copy.load_state_dict(classifier.state_dict())
    return copy.requires_grad_(False)
