"""Contrastive representation distillation, with memory banks of both networks' embeddings."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .connectors import embedding_head
from .losses import hard_labels, kept_where_not_finite, unit, with_gradient
from .needs import Needs
from .negatives import NegativeSampler
from .registry import register

NCE_EPS = 1e-7  # the reference's, beside K / n


@register(
    "crd",
    title="CRD",
    paper="Tian, Krishnan & Isola, ICLR 2020",
    arxiv="1910.10699",
    reference="Contrastive Representation Distillation",
)
class CRD(Distiller):
    """Noise-contrastive estimation between an embedding and the other network's memory bank.

    s, t: linear heads of the embeddings (B, D), over their norm, (B, ``feature_dim``). For anchor s
    and rows v_0 … v_K of the teacher's bank, v_0 the positive's: o_k = exp(v_k·s / τ) / Z and

        h = − mean_B [log o_0 / (o_0 + c) + Σ_k log (K/n) / (o_k + c)],   c = K/n + 1e-7,

    n the size of the training set; the other way round for t and the student's bank. Z is set by
    the first step, to n · mean exp(v·s / τ), and then fixed. Afterwards the batch's rows become
    m · row + (1 − m) · embedding, over its norm. As in RepDistiller both heads are trained and
    banks start uniform (not of norm 1). Rows: see `NegativeSampler`.

    Where gradients are off, neither banks nor Z change.
    """

    needs = Needs(embedding=True, batch="global")  # the banks are the same in every process
    defaults = {
        "weight": 0.8,
        "feature_dim": 128,
        "negatives": 16384,
        "temperature": 0.07,
        "momentum": 0.5,
        "positives": "exact",  # "relax": a random sample of the same class
    }
    choices = {"positives": ("exact", "relax")}
    ranges = {"momentum": (0, 1)}
    presets = {"imagenet": {"negatives": 16384}}

    embed_student: nn.Linear
    embed_teacher: nn.Linear
    memory_student: Tensor  # (n, feature_dim)
    memory_teacher: Tensor
    normalizer_student: Tensor  # Z of student anchors
    normalizer_teacher: Tensor

    # Up to this many bank rows per sampled one, scores are one product with the whole bank.
    # Gathering vectors first moves D numbers per score: slower up to there, smaller beyond.
    product_up_to = 16

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        options = self.options
        bound = 1 / math.sqrt(options.feature_dim / 3)
        for side, outputs in (
            ("student", self.probe(student)),
            ("teacher", self.probe(teacher, teacher=True)),
        ):
            head = embedding_head(outputs, options.feature_dim)
            bank = torch.empty(info.train_size, options.feature_dim).uniform_(-bound, bound)
            setattr(self, f"embed_{side}", head)
            self.register_buffer(f"memory_{side}", bank)
            self.register_buffer(f"normalizer_{side}", torch.tensor(-1.0))  # not known yet
        self.sampler = NegativeSampler(info.train_labels, info.num_classes, options.negatives)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s = unit(self.embed_student(student.embedding))
        t = unit(self.embed_teacher(teacher.embedding))
        rows = self.sample_negatives(batch)
        learn = torch.is_grad_enabled()
        loss = self._contrast(s, self.memory_teacher, self.normalizer_student, rows, learn)
        loss = loss + self._contrast(t, self.memory_student, self.normalizer_teacher, rows, learn)
        if learn:
            self._remember(self.memory_student, s, batch.indices)
            self._remember(self.memory_teacher, t, batch.indices)
        return loss

    def sample_negatives(self, batch: Batch) -> Tensor:
        """(B, K + 1) indices into the training set: the positive's, then those of K negatives."""
        classes = hard_labels(batch.labels)
        rows = self.sampler.draw(classes, self.draw(batch, "negatives"))
        rows[:, 0] = batch.indices
        if self.options.positives == "relax":
            draw = self.draw(batch, "positives")
            rows[:, 0] = self.sampler.same_class(classes, batch.indices, draw)
        return rows

    def _contrast(
        self, anchor: Tensor, bank: Tensor, normalizer: Tensor, rows: Tensor, learn: bool
    ) -> Tensor:
        """h of anchors (B, D). Its gradient is taken here: the bank changes before the backward."""
        value, gradient = self._contrast_and_gradient(anchor, bank, normalizer, rows, learn)
        return with_gradient(value, anchor, gradient)

    @torch.no_grad()
    def _contrast_and_gradient(
        self, anchor: Tensor, bank: Tensor, normalizer: Tensor, rows: Tensor, learn: bool
    ) -> tuple[Tensor, Tensor]:
        """x_k = log(o_k / c): h = mean_B [softplus(−x_0) + Σ_k softplus(x_k)] + K log(c n / K)."""
        size, negatives = len(anchor), rows.shape[1] - 1
        noise, temperature = negatives / len(bank), self.options.temperature
        x = self._scores(anchor, bank, rows).div_(temperature)
        z = self._normalize(x, normalizer, len(bank), learn)
        x -= z.log() + math.log(noise + NCE_EPS)
        x[:, 0].neg_()
        total = F.softplus(x, threshold=50).sum() / size  # beyond 50, x is exact
        slope = x.sigmoid_().div_(size * temperature)
        slope[:, 0].neg_()
        constant = negatives * math.log1p(NCE_EPS / noise)
        return total + constant, self._pull(slope, bank, rows)

    @staticmethod
    def _normalize(scores: Tensor, normalizer: Tensor, size: int, learn: bool) -> Tensor:
        """Z: what ``normalizer`` is, or after it was set by the first step's scores · / τ."""
        z = torch.where(normalizer < 0, scores.exp().mean() * size, normalizer)
        if learn:
            normalizer.copy_(torch.where(z.isfinite(), z, normalizer))
        return z

    def _scores(self, anchor: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
        """anchor · bank[rows], (B, K + 1)."""
        if self._by_product(bank, rows):
            return (anchor @ bank.T).gather(1, rows)
        return torch.stack([bank[row] @ a for a, row in zip(anchor, rows, strict=True)])

    def _pull(self, slope: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
        """Σ_k slope[:, k] bank[rows[:, k]], (B, D): the gradient of the scores' weighted sum."""
        if self._by_product(bank, rows):
            return slope.new_zeros(len(slope), len(bank)).scatter_add_(1, rows, slope) @ bank
        return torch.stack([weights @ bank[row] for weights, row in zip(slope, rows, strict=True)])

    def _by_product(self, bank: Tensor, rows: Tensor) -> bool:
        return len(bank) <= self.product_up_to * rows.shape[1]

    @torch.no_grad()
    def _remember(self, bank: Tensor, embedding: Tensor, indices: Tensor) -> None:
        """Update the batch's rows; of a sample that is there several times, the last one counts."""
        momentum = self.options.momentum
        updated = unit(momentum * bank[indices] + (1 - momentum) * embedding)
        updated = kept_where_not_finite(updated, bank[indices])
        place = torch.arange(len(indices), device=indices.device)
        last = torch.where(indices[:, None] == indices, place, 0).amax(dim=1)
        bank[indices] = updated[last]
