"""GK-DFD: match graphs over a class-balanced batch, and their discriminative directions."""

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
from .spaces import LogUniform, Uniform


def consistency_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """L_GC = ‖G_t − G_s‖² / (N d) of nodes (N, d)."""
    return F.mse_loss(student, teacher)


def projected_loss(student: Tensor, teacher: Tensor, projection: Tensor) -> Tensor:
    """L_DFD = ‖(G_t − G_s) P U‖² / N of nodes (N, d) and a projection (d, r)."""
    return ((teacher - student) @ projection).square().sum() / len(student)


def signed_loss(
    student: Tensor, teacher: Tensor, mean: Tensor, projection: Tensor, relations: Tensor
) -> Tensor:
    """L_feat = Σ_ij R_ij ‖a_i − c_j‖² / max(Σ|R|, 1), with a and c the normalised projected nodes.

    Nodes (N, d), mean (d,), projection (d, r), relations (N, N). Repulsion can make it negative.
    """
    a = F.normalize((teacher - mean) @ projection, dim=1, eps=1e-12)
    c = F.normalize((student - mean) @ projection, dim=1, eps=1e-12)
    return (relations * squared_distances(a, c)).sum() / relations.abs().sum().clamp_min(1)


@register("gk_dfd", title="GK-DFD", paper="reconstructed from github.com/CaoQiZhi/GK-DFD")
class GKDFD(Distiller):
    """Graph knowledge and discriminative feature distillation. **A reconstruction.**

    The authors' public page names the components: edges that combine cosine and Euclidean distance
    (UEM), class-aware connections (CAC), three levels (vertices, edges, graph), and matching in a
    low-dimensional space that separates classes. The formulas and defaults below follow public code
    of the same name that cites the paper's equations; the paper itself was not available. The
    defaults deviate from that code twice on purpose: edges come from probabilities, because on a
    trained teacher's logits the graph is the identity, and the teacher's head keeps its random
    initialisation, because two trained heads match best by becoming constant. No accuracy of the
    paper has been verified.

    structure "eq" (parts gc, dfd). Both networks share one graph A, from the teacher's predictions
    (`class_aware_adjacency`). Each has its own head, with vertices x = l2(Linear(embedding)) and
    nodes G = l2(convolution). The loss is alpha ‖G_t − G_s‖² / (N d) + beta ‖(G_t − G_s) P U‖² / N
    with P U from `discriminative_projection`. No gradient through A, P, U, nor to the teacher.

    structure "signed" (parts graph, feature). Each network has its own graph, the student's with
    gradient to its logits. The loss is alpha (MSE of x + MSE of A + MSE of G) + beta `signed_loss`.

    Batches are class-balanced (option ``balanced``); in random batches of CIFAR-100 half the
    samples would have no other sample of their class. ``class_source``: the classes for edges come
    from the labels or from each network's own predictions. ``positives``, ``negatives`` (eq only):
    nearest neighbours per anchor; None means all in the batch. ``subspace_dimension``: None means
    the number of classes in the batch − 1.

    Diagnostic buffers: ``skipped`` counts batches without a discriminative part (it is zero there);
    ``teacher_variance`` is the total variance of the last G_t; near 0, the head has collapsed.
    Presets literal and signed are the forward passes of the two public code revisions.
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
    search = {
        "alpha": LogUniform(0.07, 7),
        "beta": LogUniform(0.12, 12),
        "kappa": Uniform(0.05, 0.95),
    }
    skipped: Tensor
    teacher_variance: Tensor

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        if options["balanced"]:
            return cls.needs
        # Without the sampler an epoch ends in a partial batch, whose graph would be smaller.
        return replace(cls.needs, sampler=None, full_batches=True)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = (outputs.required.embedding.shape[1] for outputs in probes)
        self.student_head = GraphHead(source, self.options.dimension)
        self.teacher_head = GraphHead(target, self.options.dimension)
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
        _, graph_s = self.student_head(student.required.embedding, adjacency)
        _, graph_t = self.teacher_head(teacher.required.embedding, adjacency)
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
            "dfd": options.beta * projected_loss(*_masked(exists, graph_s, graph_t), projection),
        }

    def _signed(self, student: Outputs, teacher: Outputs, classes: Tensor) -> dict[str, Tensor]:
        # Smoothed, since the student's adjacency carries gradient; the teacher's to match it.
        adjacency_s = self._adjacency(student, classes, smooth=1e-12)
        adjacency_t = self._adjacency(teacher, classes, smooth=1e-12)
        vertices_s, graph_s = self.student_head(student.required.embedding, adjacency_s)
        vertices_t, graph_t = self.teacher_head(teacher.required.embedding, adjacency_t)
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
            "feature": options.beta * signed_loss(*_masked(exists, graph_s, graph_t), *matched),
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


def _masked(exists: Tensor, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both graphs' nodes (N, d), or zeros that block NaNs in the forward and backward pass."""
    return torch.where(exists, student, 0), torch.where(exists, teacher, 0)
