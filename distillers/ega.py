"""Embedding graph alignment: correlations between samples, the same in both networks and across."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .losses import unit
from .needs import Needs
from .registry import register


@register(
    "ega",
    title="EGA",
    paper="Ma, Chen & Akata, BMVC 2022",
    arxiv="2211.13264",
    reference="Distilling Knowledge from Self-Supervised Teacher by Embedding Graph Alignment",
)
class EGA(Distiller):
    """node_weight · ‖C_ts − I‖_F + edge_weight · ‖C_tt − C_ss‖_F, of embeddings (B, D).

    C_ab (B, B): Pearson's correlation, over the D entries, of sample i in network a and sample j in
    network b. As giakoumoglou/distillers has it, whose edge_weight is 0.3: D must be equal in both
    networks. An embedding of equal entries has correlation 0 with all.
    """

    needs = Needs(embedding=True, batch="global")
    defaults = {"node_weight": 1.0, "edge_weight": 0.3}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        s, t = self.probe(student).embedding, self.probe(teacher, teacher=True).embedding
        assert s is not None and t is not None  # needs.embedding
        if s.shape[1] != t.shape[1]:
            raise Unsupported(
                f"ega needs embeddings of one width, not {s.shape[1]} (student) and {t.shape[1]} "
                "(teacher)"
            )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        assert student.embedding is not None and teacher.embedding is not None  # needs.embedding
        s, t = _centred(student.embedding), _centred(teacher.embedding)
        terms = {}
        if self.options.node_weight:
            own = torch.eye(len(s), dtype=s.dtype, device=s.device)
            terms["node"] = self.options.node_weight * torch.linalg.matrix_norm(t @ s.T - own)
        if self.options.edge_weight:
            difference = t @ t.T - s @ s.T
            terms["edge"] = self.options.edge_weight * torch.linalg.matrix_norm(difference)
        return terms


def _centred(vectors: Tensor) -> Tensor:
    """Rows less their mean, over their norm: their products are correlations."""
    return unit(vectors - vectors.mean(dim=1, keepdim=True))
