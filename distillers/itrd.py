"""Information-theoretic representation distillation: correlation of features, and of samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .losses import unit
from .needs import Needs
from .registry import register


@register(
    "itrd",
    title="ITRD",
    paper="Miles et al., BMVC 2022",
    arxiv="2112.00459",
    reference="Information Theoretic Representation Distillation",
)
class ITRD(Distiller):
    """correlation_weight · L_corr + mutual_weight · L_mi, of embeddings e_s (B, d_s), e_t (B, d_t).

    L_corr = log2 Σ_k |c_k − 1|^(2 ``alpha``), c_k = Σ_b s_bk t_bk / B, with z = W e_s + b and e_t
    standardised over the batch (unbiased, as in the reference, so c_k ≤ (B − 1) / B) into s, t. A
    feature that is constant over the batch has c_k = 0.

    L_mi = Σ_ij (A_s² − A_st²): A_s the Gram matrix of the samples' unit vectors over its trace,
    A_st the product, entry by entry, of A_s and A_t over its own trace. Samples are z where
    d_s ≠ d_t, else e_s itself.

    Formulas as in giakoumoglou/distillers, which adds both terms with weight 1 (preset released)
    and leaves the weights 2.0 and 0.05 that it defines unused; they are the defaults here.
    """

    needs = Needs(embedding=True, min_batch=2, batch="global")
    defaults = {"correlation_weight": 2.0, "mutual_weight": 0.05, "alpha": 1.5}
    presets = {"released": {"correlation_weight": 1.0, "mutual_weight": 1.0}}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        s, t = self.probe(student).embedding, self.probe(teacher, teacher=True).embedding
        assert s is not None and t is not None  # needs.embedding
        self.embed = nn.Linear(s.shape[1], t.shape[1])

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        s, t = student.embedding, teacher.embedding
        assert s is not None and t is not None  # needs.embedding
        projected, terms = self.embed(s), {}
        if self.options.correlation_weight:
            terms["correlation"] = self.options.correlation_weight * self._correlation(projected, t)
        if self.options.mutual_weight:
            samples = s if s.shape[1] == t.shape[1] else projected
            terms["mutual"] = self.options.mutual_weight * mutual_loss(samples, t)
        return terms

    def _correlation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """L_corr of two (B, d_t)."""
        size = len(student)
        cosine = (_centred(student) * _centred(teacher)).sum(dim=0)
        correlation = (size - 1) / size * cosine
        return (correlation - 1).abs().pow(2 * self.options.alpha).sum().log2()


def _centred(vectors: Tensor) -> Tensor:
    """Columns less their mean, over their norm: standardised, over the root of B − 1."""
    return unit(vectors - vectors.mean(dim=0), dim=0)


def mutual_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_mi of embeddings (B, D_s), (B, D_t)."""
    s, t = unit(student), unit(teacher)
    gram = s @ s.T
    joint = gram * (t @ t.T)
    return _of_trace_1(gram).square().sum() - _of_trace_1(joint).square().sum()


def _of_trace_1(matrix: Tensor) -> Tensor:
    """A matrix of non-negative diagonal over its trace; zero stays zero."""
    trace = matrix.trace()
    return matrix / trace.masked_fill(trace == 0, torch.inf)
