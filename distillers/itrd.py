"""Information-theoretic representation distillation: match correlations of features and samples."""

from __future__ import annotations

import torch
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
    "itrd",
    title="ITRD",
    paper="Miles et al., BMVC 2022",
    arxiv="2112.00459",
    reference="Information Theoretic Representation Distillation",
)
class ITRD(Distiller):
    """correlation_weight · L_corr + mutual_weight · L_mi, of embeddings e_s (B, d_s), e_t (B, d_t).

    L_corr = log2 Σ_k |c_k − 1|^(2 ``alpha``), c_k = Σ_b s_bk t_bk / B, where s is z = W e_s + b and
    t is e_t, both standardised over the batch (unbiased, as in the reference, so c_k ≤ (B − 1) /
    B). A feature that is constant over the batch has c_k = 0.

    L_mi = Σ_ij (A_s² − A_st²): A_s is the Gram matrix of the normalised samples over its trace,
    A_st the elementwise product of A_s and A_t over its own trace. The samples are z where d_s ≠
    d_t, else e_s itself.

    Formulas as in giakoumoglou/distillers, which sums both terms with weight 1 (preset released);
    it also defines weights 2.0 and 0.05 without using them, which are the defaults here.
    """

    needs = Needs(embedding=True, min_batch=2, batch="global")
    defaults = {"correlation_weight": 2.0, "mutual_weight": 0.05, "alpha": 1.5}
    presets = {"released": {"correlation_weight": 1.0, "mutual_weight": 1.0}}
    search = {
        "correlation_weight": LogUniform(0.2, 20),
        "mutual_weight": LogUniform(0.005, 0.5),
        "alpha": Uniform(1.01, 2),
    }

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        source, target = self.probe_pair(student, teacher)
        self.embed = embedding_head(source, target.required.embedding.shape[1])

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        s, t = student.required.embedding, teacher.required.embedding
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
        correlation = (size - 1) / size * cosine  # of columns standardised with B − 1, over B
        return (correlation - 1).abs().pow(2 * self.options.alpha).sum().log2()


def _centred(vectors: Tensor) -> Tensor:
    """Columns (B, D) centred and normalised: the standardised columns over sqrt(B − 1)."""
    return unit(vectors - vectors.mean(dim=0), dim=0)


def mutual_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_mi of embeddings (B, D_s), (B, D_t)."""
    s, t = unit(student), unit(teacher)
    gram = s @ s.T
    joint = gram * (t @ t.T)
    return _unit_trace(gram).square().sum() - _unit_trace(joint).square().sum()


def _unit_trace(matrix: Tensor) -> Tensor:
    """A matrix with non-negative diagonal over its trace; zero stays zero."""
    trace = matrix.trace()
    return matrix / trace.masked_fill(trace == 0, torch.inf)
