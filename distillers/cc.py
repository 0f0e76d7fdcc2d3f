"""Correlation congruence: match how the samples of a batch correlate in student and teacher."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .connectors import embedding_head
from .losses import unit
from .needs import Needs
from .registry import register
from .spaces import LogUniform


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
    of Σ_k δ_ik δ_(i+1)k over consecutive samples i, i + 1 of the batch. Weight 0.02.

    congruence="kernel", as in the paper: mean over B² of (K_s − K_t)², with K the Gaussian kernel
    exp(−γ ‖f_i − f_j‖²) of the normalised heads, as its Taylor series of order P:
    K_ij = exp(−2γ) Σ_(p ≤ P) (2γ)^p / p! · (f_i · f_j)^p; γ = ``gamma``, P = ``order``.

    Both heads are trained. feature_dim=None compares the embeddings themselves; in the released
    form they must then have equal widths.
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
    search = {"weight": LogUniform(0.002, 0.2)}  # γ: "kernel" only

    embed_student: nn.Module
    embed_teacher: nn.Module

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        source, target = self.probe_pair(student, teacher)
        if self.options.feature_dim is not None:
            self.embed_student = embedding_head(source, self.options.feature_dim)
            self.embed_teacher = embedding_head(target, self.options.feature_dim)
            return
        self.embed_student, self.embed_teacher = nn.Identity(), nn.Identity()
        widths = [outputs.required.embedding.shape[1] for outputs in (source, target)]
        if self.options.congruence == "released" and widths[0] != widths[1]:
            raise Unsupported(
                f"cc without feature_dim needs embeddings of one width, not {widths[0]} (student) "
                f"and {widths[1]} (teacher)"
            )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s = self.embed_student(student.required.embedding)
        t = self.embed_teacher(teacher.required.embedding)
        if self.options.congruence == "released":
            difference = (s - t).abs()
            return (difference[:-1] * difference[1:]).sum(dim=1).mean()
        return F.mse_loss(self._kernel(s), self._kernel(t))

    def _kernel(self, vectors: Tensor) -> Tensor:
        """The kernel matrix K (B, B) of vectors (B, D)."""
        scale, rows = 2 * self.options.gamma, unit(vectors)
        cosine = rows @ rows.T
        powers = range(self.options.order + 1)
        terms = [scale**p / math.factorial(p) * cosine**p for p in powers]
        return math.exp(-scale) * torch.stack(terms).sum(dim=0)
