"""Contrastive distillation by InfoNCE against a queue: elsewhere called CRD, but another method."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .queues import QueueDistiller
from .registry import register
from .spaces import LogUniform


@register(
    "crd_queue",
    title="CRD (queue)",
    paper="in giakoumoglou/distillers, after Tian et al., ICLR 2020",
)
class CRDQueue(QueueDistiller):
    """− mean_B log [exp(s·t / τ) / (exp(s·t / τ) + Σ_k exp(s·q_k / τ))].

    s, t: normalised linear heads (B, ``feature_dim``) of the embeddings (B, D), both trained. q:
    the last ``negatives`` t, detached, including the current batch, so the negatives contain the
    positive itself and samples of its class. This is what giakoumoglou/distillers runs by default
    as "crd" (`--memory_type fifo`); the original, with a memory bank and noise-contrastive
    estimation, is `CRD`. For the queue, see `QueueDistiller`.
    """

    defaults = {**QueueDistiller.defaults, "temperature": 0.07}
    search = {"weight": LogUniform(0.1, 10), "temperature": LogUniform(0.03, 0.3)}

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.embed(student, teacher)
        queue = self.enqueue(t, learn=torch.is_grad_enabled())
        positive = (s * t).sum(dim=1, keepdim=True)
        scores = torch.cat([positive, s @ queue.T], dim=1) / self.options.temperature
        # The positive is in column 0 of every row.
        return F.cross_entropy(scores, torch.zeros(len(s), dtype=torch.long, device=s.device))
