"""GK-DFD: graphs over a class-balanced batch, and their discriminative directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .alignment import discriminative_projection, relation_projection
from .base import ABOVE_ZERO, Distiller
from .graphs import GraphHead, class_aware_adjacency, squared_distances
from .losses import hard_labels
from .needs import Needs
from .registry import register


def consistency_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_GC = ‖G_t − G_s‖² / (N d) of nodes (N, d)."""
    return F.mse_loss(student, teacher)


def projected_loss(student: Tensor, teacher: Tensor, projection: Tensor) -> Tensor:
    """L_DFD = ‖(G_t − G_s) P U‖² / N of nodes (N, d) and a projection (d, r)."""
    return ((teacher - student) @ projection).square().sum() / len(student)


def signed_loss(
    student: Tensor, teacher: Tensor, mean: Tensor, projection: Tensor, relations: Tensor
) -> Tensor:
    """L_feat = Σ_ij R_ij ‖a_i − c_j‖² / max(Σ|R|, 1), a and c the projected nodes at unit length.

    Nodes (N, d), mean (d,), projection (d, r), relations (N, N). Can be negative: repulsion pays.
    """
    a = F.normalize((teacher - mean) @ projection, dim=1, eps=1e-12)
    c = F.normalize((student - mean) @ projection, dim=1, eps=1e-12)
    return (relations * squared_distances(a, c)).sum() / relations.abs().sum().clamp_min(1)


@register("gk_dfd", title="GK-DFD", paper="reconstructed from github.com/CaoQiZhi/GK-DFD")
class GKDFD(Distiller):
    """Graph knowledge and discriminative feature distillation. **A reconstruction.**

    The authors' public page names the ingredients: edges that combine cosine and Euclidean distance
    (UEM), connections that know the classes (CAC), vertices, edges and the graph as three levels,
    matching in a low-dimensional space that separates classes. The formulas and defaults below
    follow public code of the same name that cites the paper's equations; the paper was not at
    hand. The default deviates twice on purpose: its edges come from probabilities, since on the
    logits of a trained teacher the graph is the identity, and the teacher's head keeps its random
    start, since two trained heads match best by becoming constant. No accuracy of the paper has
    been verified.

    structure "eq" (parts gc, dfd). One graph A for both networks, from the teacher's predictions
    (`class_aware_adjacency`); vertices x = l2(Linear(embedding)) and nodes G = l2(convolution) by
    heads of their own; alpha ‖G_t − G_s‖² / (N d) + beta ‖(G_t − G_s) P U‖² / N with P U from
    `discriminative_projection`. No gradient through A, P, U, nor to the teacher.

    structure "signed" (parts graph, feature). Each network has its own graph, and the student's
    carries gradient to its logits; alpha (MSE of x + MSE of A + MSE of G) + beta `signed_loss`.

    Batches are class-balanced (option ``balanced``): in random ones of CIFAR-100 half the samples
    have no partner. ``class_source``: whose classes cut the edges, the labels or each network's own
    predictions; ``positives``, ``negatives`` (eq only): nearest neighbours of an anchor, None is
    all in the batch; ``subspace_dimension``: None is classes in the batch − 1.

    Buffers to look at: ``skipped`` counts batches whose discriminative part did not exist (it is
    zero there), ``teacher_variance`` is the total variance of the last G_t: near 0, it collapsed.
    Presets: literal and signed are the forward passes of the two public code revisions.
    """

    needs = Needs(logits=True, embedding=True, sampler="balanced", batch="global")
    defaults = {
        "structure": "eq",
        "teacher_head": "frozen",
        "dimension": 128,
        "uem_input": "prob",
        "class_source": "labels",
        "kappa": 0.5,
        "pca_ratio": 2.0,
        "positives": None,
        "negatives": None,
        "subspace_dimension": None,
        "alpha": 0.7,
        "beta": 1.2,
        "balanced": True,
    }
    presets = {
        "default": {},
        "literal": {"uem_input": "logits", "teacher_head": "joint"},
        "signed": {
            "structure": "signed",
            "class_source": "predictions",
            "teacher_head": "joint",
        },
    }
    choices = {
        "structure": ("eq", "signed"),
        "teacher_head": ("frozen", "joint"),
        "uem_input": ("prob", "logits"),
        "class_source": ("labels", "predictions"),
    }
    ranges = {"kappa": (0, 1), "pca_ratio": (ABOVE_ZERO, math.inf)}
    optional = {"positives": int, "negatives": int, "subspace_dimension": int}
    skipped: Tensor
    teacher_variance: Tensor

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        if options["balanced"]:
            return cls.needs
        # A plain stream ends with a partial batch, whose graph would be of another size.
        return replace(cls.needs, sampler=None, full_batches=True)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        seen = self.probe(student).embedding, self.probe(teacher, teacher=True).embedding
        assert seen[0] is not None and seen[1] is not None  # needs.embedding
        self.student_head = GraphHead(seen[0].shape[1], self.options.dimension)
        self.teacher_head = GraphHead(seen[1].shape[1], self.options.dimension)
        self.teacher_head.requires_grad_(self.options.teacher_head == "joint")
        self.register_buffer("skipped", torch.zeros((), dtype=torch.long))
        self.register_buffer("teacher_variance", torch.zeros(()), persistent=False)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        classes = hard_labels(batch.labels)
        if self.options.structure == "signed":
            return self._signed(student, teacher, classes)
        return self._eq(student, teacher, classes)

    def _eq(self, student: Outputs, teacher: Outputs, classes: Tensor) -> dict[str, Tensor]:
        adjacency = self._adjacency(teacher, classes)
        _, graph_s = self.student_head(student.embedding, adjacency)
        _, graph_t = self.teacher_head(teacher.embedding, adjacency)
        options = self.options
        projection, exists = discriminative_projection(
            graph_t,
            classes,
            options.pca_ratio,
            options.positives,
            options.negatives,
            options.subspace_dimension,
        )
        self._count(graph_t, exists)
        return {
            "gc": options.alpha * consistency_loss(graph_s, graph_t),
            "dfd": options.beta * projected_loss(*_cut(exists, graph_s, graph_t), projection),
        }

    def _signed(self, student: Outputs, teacher: Outputs, classes: Tensor) -> dict[str, Tensor]:
        adjacency_s = self._adjacency(student, classes, smooth=1e-12)
        adjacency_t = self._adjacency(teacher, classes, smooth=1e-12)
        vertices_s, graph_s = self.student_head(student.embedding, adjacency_s)
        vertices_t, graph_t = self.teacher_head(teacher.embedding, adjacency_t)
        options = self.options
        *matched, exists = relation_projection(
            graph_t, classes, options.pca_ratio, options.positives, options.subspace_dimension
        )
        self._count(graph_t, exists)
        levels = (
            F.mse_loss(vertices_s, vertices_t)
            + F.mse_loss(adjacency_s, adjacency_t)
            + consistency_loss(graph_s, graph_t)
        )
        return {
            "graph": options.alpha * levels,
            "feature": options.beta * signed_loss(*_cut(exists, graph_s, graph_t), *matched),
        }

    def _adjacency(self, outputs: Outputs, classes: Tensor, smooth: float = 0.0) -> Tensor:
        logits = outputs.logits
        predictions = logits.softmax(dim=1) if self.options.uem_input == "prob" else logits
        if self.options.class_source == "predictions":
            classes = logits.argmax(dim=1)
        return class_aware_adjacency(predictions, classes, self.options.kappa, smooth)

    @torch.no_grad()
    def _count(self, graph: Tensor, exists: Tensor) -> None:
        self.skipped += ~exists
        self.teacher_variance.copy_(graph.var(dim=0, unbiased=False).sum())


def _cut(exists: Tensor, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both graphs' nodes (N, d), or zeros connected to them, so that no NaN passes either way."""
    return torch.where(exists, student, 0), torch.where(exists, teacher, 0)
