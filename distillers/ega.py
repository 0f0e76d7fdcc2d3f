"""Embedding graph alignment: match correlations between samples, within and across networks."""

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
    network b. As in giakoumoglou/distillers, with its edge_weight 0.3; both networks must have the
    same D. A constant embedding has correlation 0 with all others.
    """

    needs = Needs(embedding=True, batch="global")
    defaults = {"node_weight": 1.0, "edge_weight": 0.3}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = (outputs.required.embedding.shape[1] for outputs in probes)
        if source != target:
            raise Unsupported(
                f"ega needs embeddings of one width, not {source} (student) and {target} (teacher)"
            )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        s, t = _centred(student.required.embedding), _centred(teacher.required.embedding)
        terms = {}
        if self.options.node_weight:
            own = torch.eye(len(s), dtype=s.dtype, device=s.device)
            terms["node"] = self.options.node_weight * torch.linalg.matrix_norm(t @ s.T - own)
        if self.options.edge_weight:
            difference = t @ t.T - s @ s.T
            terms["edge"] = self.options.edge_weight * torch.linalg.matrix_norm(difference)
        return terms


def _centred(vectors: Tensor) -> Tensor:
    """Rows (B, D) centred and normalised: their dot products are correlations."""
    return unit(vectors - vectors.mean(dim=1, keepdim=True))
