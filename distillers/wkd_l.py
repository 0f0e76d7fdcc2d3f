"""WKD-L: match class probabilities by the Wasserstein distance, given distances of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .losses import cosine_decay, hard_labels, is_class, log_softmax_without, target_term, unit
from .needs import Needs
from .registry import register
from .spaces import LogUniform

EPS = 1e-8  # added to costs and divisors, as in the authors' code


@register(
    "wkd_l",
    title="WKD-L (fc)",
    paper="Lv, Yang & Li, NeurIPS 2024",
    arxiv="2412.08139",
    reference="Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation",
)
class WKDL(Distiller):
    """target_weight · L_t + w(epoch) · transport_weight · L_w, of logits (B, C) with label y.

    L_t = −mean_B q_y log p_y, with softmaxes at temperature 1. L_w = mean_B Σ_ij π_ij c_ij, where π
    is the transport plan between p' and q', the softmaxes at ``temperature`` over the classes other
    than y: π_ij = u_i exp(−c_ij / η) v_j after ``sinkhorn_steps`` Sinkhorn iterations, through
    which the gradient passes (section 2.1; η is ``sinkhorn_regularisation``). Costs: c = 1 − exp(−κ
    d), with κ ``sharpening``.

    **d_ij is 1 − the cosine of the weights of classes i, j in the teacher's classifier**, which the
    authors' code (JiamingLv/WKD) calls COST_MATRIX "fc". Their published runs use d = 1 − linear
    CKA of the teacher's features of the two classes, which needs a pass over the training data
    before the run and ranks pairs of classes differently; their code ships these matrices for four
    teachers. A subclass may override ``class_distances``.

    With two classes one is left without y and nothing is transported: set transport_weight to 0.

    w decays to 0 as half a cosine from epoch ``decay_start`` of 240 on; L_t does not decay. Values
    as in the authors' configurations: the defaults for resnet32x4 → resnet8x4, "imagenet" for
    ResNet34 → ResNet18.
    """

    needs = Needs(logits=True, classifier=True)
    softens = True
    defaults = {
        "target_weight": 1.0,
        "transport_weight": 600.0,
        "temperature": 8.0,
        "sharpening": 1.0,
        "sinkhorn_regularisation": 0.05,
        "sinkhorn_steps": 10,
        "decay_start": 150.0,
    }
    presets = {"imagenet": {"transport_weight": 30.0, "temperature": 2.0, "decay_start": 0.0}}
    search = {
        "target_weight": LogUniform(0.1, 10),
        "transport_weight": LogUniform(60, 6000),
        "temperature": LogUniform(2, 32),
        "sharpening": LogUniform(0.25, 4),
    }

    costs: Tensor  # (C, C)

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        return replace(cls.needs, min_classes=3 if options["transport_weight"] else 1)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        distances = self.class_distances(self.require_teacher(teacher))
        self.register_buffer("costs", 1 - (-self.options.sharpening * distances).exp() + EPS)

    def class_distances(self, teacher: nn.Module) -> Tensor:
        """d (C, C), non-negative, and 0 between a class and itself."""
        weight = unit(self.teacher_classifier(teacher).weight.detach())
        return (1 - weight @ weight.T).clamp(min=0.0).fill_diagonal_(0.0)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        s, t = self.soften(student.logits), self.soften(teacher.logits)
        target = is_class(hard_labels(batch.labels), s.shape[1])
        if options.target_weight:
            terms["target"] = options.target_weight * -target_term(s, t, target).mean()
        if options.transport_weight:
            decay = cosine_decay(batch.epoch, self.scaled(options.decay_start), self.info.epochs)
            transport = self._transport(s, t, target).mean()
            terms["transport"] = decay * options.transport_weight * transport
        return terms

    def _transport(self, student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        """Σ_ij π_ij c_ij per sample, (B,), of logits (B, C).

        All samples share one kernel (C, C): the class in ``target`` (B, C) has no mass, so it does
        not enter π.
        """
        p, q = (
            log_softmax_without(logits / self.options.temperature, target)
            .exp()
            .masked_fill(target, 0.0)
            for logits in (student, teacher)
        )
        kernel = (-self.costs / self.options.sinkhorn_regularisation).exp()
        # Scaling vectors (B, C) of the plan's rows and columns, one Sinkhorn iteration per turn.
        u, v = (~target).to(p.dtype) / (p.shape[1] - 1), torch.zeros_like(q)
        for _ in range(self.options.sinkhorn_steps):
            v = q / (u @ kernel + EPS)
            u = p / (v @ kernel.T + EPS)
        # Σ_ij u_i kernel_ij c_ij v_j without the plans (B, C, C): 4 MB per sample of ImageNet.
        return (u @ (kernel * self.costs) * v).sum(dim=1)
