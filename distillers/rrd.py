"""Relational representation distillation: match similarities to a queue of earlier samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .queues import QueueDistiller
from .registry import register
from .spaces import LogUniform


@register(
    "rrd",
    title="RRD",
    paper="Giakoumoglou & Stathaki, 2024",
    arxiv="2407.12073",
    reference="Relational Representation Distillation",
)
class RRD(QueueDistiller):
    """− mean_B Σ_k softmax(t·q_k / τ_t)_k log softmax(s·q_k / τ_s)_k, the teacher's side detached.

    s, t: normalised linear heads (B, ``feature_dim``) of the embeddings (B, D). q: the last
    ``negatives`` t, including the current batch. As in giakoumoglou/distillers, the teacher's head
    gets no gradient, so it stays the random projection it was initialised as, and τ_s = 0.1 > τ_t =
    0.02 (the docstring there says the opposite). Its second form, on CRD's memory banks, is
    `rrd_bank`. For the queue, see `QueueDistiller`.
    """

    defaults = {
        **QueueDistiller.defaults,
        "student_temperature": 0.1,
        "teacher_temperature": 0.02,
    }
    search = {
        "weight": LogUniform(0.1, 10),
        "student_temperature": LogUniform(0.04, 0.4),
        "teacher_temperature": LogUniform(0.01, 0.1),
    }

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        self.embed_teacher.requires_grad_(False)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.embed(student, teacher)
        queue = self.enqueue(t, learn=torch.is_grad_enabled())
        target = F.softmax(t @ queue.T / self.options.teacher_temperature, dim=1)
        return F.cross_entropy(s @ queue.T / self.options.student_temperature, target)
