"""Correlation congruence: how the samples of a batch relate, the same for student and teacher."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .losses import unit
from .needs import Needs
from .registry import register


@register(
    "cc",
    title="CC",
    paper="Peng et al., ICCV 2019",
    arxiv="1904.01802",
    reference="Correlation Congruence for Knowledge Distillation",
)
class CC(Distiller):
    """Correlation congruence of s, t (B, ``feature_dim``): linear heads of the embeddings (B, D).

    congruence="released", as RepDistiller has it from the authors: with δ_i = |s_i − t_i|, the mean
    over neighbouring samples i, i + 1 of the batch of Σ_k δ_ik δ_(i+1)k. Weight 0.02.

    congruence="kernel", as in the paper: mean over B² of (K_s − K_t)², K the Gaussian kernel
    exp(−γ ‖f_i − f_j‖²) of heads over their norm, as its Taylor series of order P:
    K_ij = exp(−2γ) Σ_(p ≤ P) (2γ)^p / p! · (f_i · f_j)^p; γ = ``gamma``, P = ``order``.

    Both heads are trained. feature_dim=None takes the embeddings themselves, which the released
    form needs to be of one width.
    """

    needs = Needs(embedding=True, min_batch=2, batch="global")
    defaults = {
        "weight": 0.02,
        "feature_dim": 128,
        "congruence": "released",
        "gamma": 0.4,
        "order": 2,
    }
    choices = {"congruence": ("released", "kernel")}
    optional = {"feature_dim": int}

    embed_student: nn.Module
    embed_teacher: nn.Module

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        width, widths = self.options.feature_dim, []
        for side, outputs in (
            ("student", self.probe(student)),
            ("teacher", self.probe(teacher, teacher=True)),
        ):
            assert outputs.embedding is not None  # needs.embedding
            widths.append(outputs.embedding.shape[1])
            head = nn.Identity() if width is None else nn.Linear(widths[-1], width)
            setattr(self, f"embed_{side}", head)
        if width is None and self.options.congruence == "released" and widths[0] != widths[1]:
            raise Unsupported(
                f"cc without feature_dim needs embeddings of one width, not {widths[0]} (student) "
                f"and {widths[1]} (teacher)"
            )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.embed_student(student.embedding), self.embed_teacher(teacher.embedding)
        if self.options.congruence == "released":
            difference = (s - t).abs()
            return (difference[:-1] * difference[1:]).sum(dim=1).mean()
        return F.mse_loss(self._kernel(s), self._kernel(t))

    def _kernel(self, vectors: Tensor) -> Tensor:
        """(B, B) of vectors (B, D)."""
        scale, rows = 2 * self.options.gamma, unit(vectors)
        cosine = rows @ rows.T
        powers = range(self.options.order + 1)
        terms = [scale**p / math.factorial(p) * cosine**p for p in powers]
        return math.exp(-scale) * torch.stack(terms).sum(dim=0)
