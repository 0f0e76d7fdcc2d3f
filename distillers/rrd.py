"""Relational representation distillation: like the teacher, be near the same earlier samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .queues import QueueDistiller
from .registry import register


@register(
    "rrd",
    title="RRD",
    paper="Giakoumoglou & Stathaki, 2024",
    arxiv="2407.12073",
    reference="Relational Representation Distillation",
)
class RRD(QueueDistiller):
    """− mean_B Σ_k softmax(t·q_k / τ_t)_k log softmax(s·q_k / τ_s)_k, the teacher's side detached.

    s, t: linear heads of the embeddings (B, D), over their norm, (B, ``feature_dim``). q: the last
    ``negatives`` t, the batch's own included. As in giakoumoglou/distillers the teacher's head gets
    no gradient and stays the random projection it starts as, and τ_s = 0.1 > τ_t = 0.02, whose
    docstring has them the other way round; its second form, on CRD's memory banks, is `rrd_bank`.
    Queue: see `QueueDistiller`.
    """

    defaults = {
        **QueueDistiller.defaults,
        "student_temperature": 0.1,
        "teacher_temperature": 0.02,
    }

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        self.embed_teacher.requires_grad_(False)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.embed(student, teacher)
        queue = self.enqueue(t, learn=torch.is_grad_enabled())
        target = F.softmax(t @ queue.T / self.options.teacher_temperature, dim=1)
        return F.cross_entropy(s @ queue.T / self.options.student_temperature, target)
