"""Holistic KD: contrast samples, alone and with their neighbours, across the two networks."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .crd import CRD
from .graphs import GraphConvolution, diagonal
from .losses import hard_labels, unit, with_gradient
from .registry import register
from .spaces import LogUniform, Uniform


@register(
    "hkd",
    title="HKD",
    paper="Zhou et al., ICCV 2021",
    arxiv="2108.05507",
    reference="Distilling Holistic Knowledge with Graph Neural Networks",
)
class HKD(CRD):
    """L_vertex + L_graph, both InfoNCE of student anchors plus InfoNCE of teacher anchors.

    s, t: normalised linear heads (B, ``feature_dim``) of the embeddings (B, D); M_s, M_t: the
    networks' memory banks with n rows each. An anchor a, its positive p and negatives v_1 … v_K of
    other classes from a bank give − log [exp(a·p / τ) / (exp(a·p / τ) + Σ_k exp(a·v_k / τ))], mean
    over the batch.

    L_vertex: a = s_i with p = M_t[i], and a = t_i with p = M_s[i]. L_graph: a = g_s,i with p the
    normalised ``smoothing`` · M_t[i] + (1 − ``smoothing``) · g_t,i, and the same with s and t
    exchanged. g (B, ``feature_dim``) is a `GraphConvolution` of s (of t) over the graph that links
    each sample to its ``neighbours`` nearest, itself included, by the cosine similarity of the
    network's own softmax outputs (detached). For smaller batches L_graph = 0.

    After each step the batch's rows become m · row + (1 − m) · embedding, normalised; banks change
    only where gradients are enabled. Banks, positives and edges are detached; heads and
    convolutions of both sides are trained.

    negatives_from="own", as in wyc-ruiker/HKD, draws the negatives of student anchors from the
    student's bank and those of teacher anchors from the teacher's (its variable names say the
    opposite); "other" draws them from the positive's bank. Weight 3; in the paper HKD+KD adds the
    KD term with weight 1.
    """

    needs = replace(CRD.needs, logits=True)
    defaults = {
        "weight": 3.0,
        "feature_dim": 128,
        "negatives": 16384,
        "temperature": 0.07,
        "momentum": 0.9,
        "smoothing": 0.75,
        "neighbours": 8,
        "negatives_from": "own",
    }
    choices = {"negatives_from": ("own", "other")}
    ranges = {"momentum": (0, 1), "smoothing": (0, 1)}
    presets = {}
    search = {
        "weight": LogUniform(0.3, 30),
        "temperature": LogUniform(0.03, 0.3),
        "smoothing": Uniform(0.25, 0.95),
    }

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        super().setup(student, teacher, info)
        del self.normalizer_student, self.normalizer_teacher  # InfoNCE has no Z
        self.graph_student = GraphConvolution(self.options.feature_dim)
        self.graph_teacher = GraphConvolution(self.options.feature_dim)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        options, own = self.options, batch.indices
        rows = self.sample_negatives(batch)[:, 1:]  # column 0, the sample itself, is no negative
        s, t = self.embed(student, teacher)
        banks = self.memory_student, self.memory_teacher
        for_s, for_t = banks if options.negatives_from == "own" else banks[::-1]
        m_s, m_t = (bank[own] for bank in banks)
        loss = self._info_nce(s, m_t, for_s, rows) + self._info_nce(t, m_s, for_t, rows)
        if len(s) >= options.neighbours:
            g_s = self.graph_student(s, nearest(student.logits.detach(), options.neighbours))
            g_t = self.graph_teacher(t, nearest(teacher.logits, options.neighbours))
            p_s, p_t = (
                unit(options.smoothing * m + (1 - options.smoothing) * g.detach())
                for m, g in ((m_s, g_s), (m_t, g_t))
            )
            loss = loss + self._info_nce(g_s, p_t, for_s, rows)
            loss = loss + self._info_nce(g_t, p_s, for_t, rows)
        if torch.is_grad_enabled():
            self._remember(self.memory_student, s, own)
            self._remember(self.memory_teacher, t, own)
        return loss

    def sample_negatives(self, batch: Batch) -> Tensor:
        """(B, K + 1) indices into the training set: the sample itself, then its K negatives."""
        rows = self.sampler.draw(hard_labels(batch.labels), self.draw(batch, "negatives"))
        rows[:, 0] = batch.indices
        return rows

    def _info_nce(self, anchor: Tensor, positive: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
        """InfoNCE of anchors (B, D), with its gradient: the bank changes before backward runs."""
        value, gradient = self._value_and_gradient(anchor, positive, bank, rows)
        return with_gradient(value, anchor, gradient)

    @torch.no_grad()
    def _value_and_gradient(
        self, anchor: Tensor, positive: Tensor, bank: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        size, temperature = len(anchor), self.options.temperature
        first = (anchor * positive).sum(dim=1, keepdim=True)
        scores = torch.cat([first, self._scores(anchor, bank, rows)], dim=1) / temperature
        log_p = F.log_softmax(scores, dim=1)
        slope = log_p.exp() / (size * temperature)
        slope[:, 0] -= 1 / (size * temperature)  # softmax minus one-hot at the positive
        return -log_p[:, 0].mean(), slope[:, :1] * positive + self._pull(slope[:, 1:], bank, rows)


def nearest(logits: Tensor, count: int) -> Tensor:
    """(B, B): 1 where j is i itself or one of the ``count`` − 1 others nearest to it, else 0.

    Nearest by the cosine similarity of the softmax outputs of logits (B, C).
    """
    rows = unit(F.softmax(logits, dim=1))
    # Infinity on the diagonal: the sample itself is always among its nearest.
    cosine = (rows @ rows.T).masked_fill(diagonal(rows), torch.inf)
    chosen = cosine.topk(count, dim=1).indices
    return torch.zeros_like(cosine).scatter_(1, chosen, 1.0)
