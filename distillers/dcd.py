"""Discriminative and consistent distillation: match embeddings within a batch symmetrically."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .connectors import embedding_head
from .losses import unit
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "dcd",
    title="DCD",
    paper="Giakoumoglou & Stathaki, 2024",
    arxiv="2407.11802",
    reference="Discriminative and Consistent Representation Distillation",
)
class DCD(Distiller):
    """contrastive_weight · L_contrast + consistency_weight · L_consistent, of l = e^θ s tᵀ (B, B).

    s, t: normalised linear heads (B, ``feature_dim``) of the embeddings (B, D), both trained.
    L_contrast: cross-entropy of the rows of l, whose target is the sample itself. L_consistent:
    KL(q ‖ p), summed over a row, mean over the batch, where p is the softmax of l's rows and q that
    of its columns, transposed. Nothing is detached, not even q.

    e^θ is at most ``max_scale``. The paper trains θ; giakoumoglou/distillers never passes it to the
    optimiser, so it stays at ``initial_log_scale``, e^θ = e, as with learn_scale=False. The paper's
    bias, added to all of l, cancels in every softmax and is omitted.
    """

    needs = Needs(embedding=True, min_batch=2, batch="global")
    defaults = {
        "feature_dim": 128,
        "contrastive_weight": 1.0,
        "consistency_weight": 0.5,
        "initial_log_scale": 1.0,
        "max_scale": 10.0,
        "learn_scale": False,
    }
    presets = {"paper": {"learn_scale": True}}
    ranges = {"initial_log_scale": (-math.inf, math.inf)}
    search = {
        "contrastive_weight": LogUniform(0.1, 10),
        "consistency_weight": LogUniform(0.05, 5),
        "initial_log_scale": Uniform(0, 2.3),  # e^2.3 is max_scale
    }

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        options = self.options
        source, target = self.probe_pair(student, teacher)
        self.embed_student = embedding_head(source, options.feature_dim)
        self.embed_teacher = embedding_head(target, options.feature_dim)
        start = torch.tensor(options.initial_log_scale)
        self.log_scale = nn.Parameter(start, requires_grad=options.learn_scale)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        options, terms = self.options, {}
        s = unit(self.embed_student(student.required.embedding))
        t = unit(self.embed_teacher(teacher.required.embedding))
        scores = self.log_scale.exp().clamp(max=options.max_scale) * s @ t.T
        if options.contrastive_weight:
            own = torch.arange(len(s), device=s.device)
            terms["contrastive"] = options.contrastive_weight * F.cross_entropy(scores, own)
        if options.consistency_weight:
            # Softmaxes over the teachers of each student, and over the students of each teacher.
            log_p, log_q = F.log_softmax(scores, dim=1), F.log_softmax(scores, dim=0).T
            divergence = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
            terms["consistency"] = options.consistency_weight * divergence
        return terms
