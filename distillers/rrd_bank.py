"""Relational representation distillation on CRD's memory banks instead of a queue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .crd import CRD
from .losses import with_gradient
from .registry import register
from .spaces import LogUniform


@register(
    "rrd_bank",
    title="RRD (bank)",
    paper="Giakoumoglou & Stathaki, 2024",
    arxiv="2407.12073",
    reference="Relational Representation Distillation",
)
class RRDBank(CRD):
    """− mean_B Σ_k softmax(o^t / τ_t)_k log softmax(o^s / τ_s)_k, the teacher's side detached.

    s, t: normalised linear heads (B, ``feature_dim``) of the embeddings (B, D); the teacher's stays
    the random projection it was initialised as. o^s_k = exp(v_k·s / τ) / Z with rows v of the
    teacher's bank, and o^t_k = exp(u_k·t / τ) / Z with the same rows u of the student's: the
    sample's own row and ``negatives`` of other classes. For banks, Z and rows, see `CRD`.

    The second form in giakoumoglou/distillers (`--memory_type momentum`), which takes a softmax of
    values that are already exponentials; the paper's form, with a queue, is `RRD`.
    """

    defaults = {
        "feature_dim": 128,
        "negatives": 16384,
        "student_temperature": 0.1,
        "teacher_temperature": 0.02,
        "temperature": 0.07,
        "momentum": 0.5,
        "positives": "exact",
    }
    presets = {}
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
        rows, learn = self.sample_negatives(batch), torch.is_grad_enabled()
        odds = self._odds(t, self.memory_student, self.normalizer_teacher, rows, learn)
        target = F.softmax(odds / self.options.teacher_temperature, dim=1)
        value, gradient = self._divergence(s, target, rows, learn)
        if learn:
            self._remember(self.memory_student, s, batch.indices)
            self._remember(self.memory_teacher, t, batch.indices)
        return with_gradient(value, s, gradient)

    @torch.no_grad()
    def _odds(
        self, anchor: Tensor, bank: Tensor, normalizer: Tensor, rows: Tensor, learn: bool
    ) -> Tensor:
        """o (B, K + 1) of anchors (B, D)."""
        x = self._scores(anchor, bank, rows) / self.options.temperature
        return x.exp() / self._normalize(x, normalizer, len(bank), learn)

    @torch.no_grad()
    def _divergence(
        self, s: Tensor, target: Tensor, rows: Tensor, learn: bool
    ) -> tuple[Tensor, Tensor]:
        """The loss and its gradient at s, since the bank changes before the backward pass."""
        options = self.options
        odds = self._odds(s, self.memory_teacher, self.normalizer_student, rows, learn)
        log_p = F.log_softmax(odds / options.student_temperature, dim=1)
        scale = len(s) * options.student_temperature * options.temperature
        slope = (log_p.exp() - target) * odds / scale
        return -(target * log_p).sum(dim=1).mean(), self._pull(slope, self.memory_teacher, rows)
