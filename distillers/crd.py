"""Contrastive representation distillation with memory banks of both networks' embeddings."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller
from .connectors import embedding_head
from .losses import finite_or_old, hard_labels, unit, with_gradient
from .needs import Needs
from .negatives import NegativeSampler
from .registry import register
from .spaces import LogUniform

NCE_EPS = 1e-7  # added to K / n, as in RepDistiller


@register(
    "crd",
    title="CRD",
    paper="Tian, Krishnan & Isola, ICLR 2020",
    arxiv="1910.10699",
    reference="Contrastive Representation Distillation",
)
class CRD(Distiller):
    """Noise-contrastive estimation between an embedding and the other network's memory bank.

    s, t: normalised linear heads (B, ``feature_dim``) of the embeddings (B, D). For an anchor s and
    rows v_0 … v_K of the teacher's bank, v_0 being the positive: o_k = exp(v_k·s / τ) / Z and

        h = − mean_B [log o_0 / (o_0 + c) + Σ_k log (K/n) / (o_k + c)],   c = K/n + 1e-7,

    with n the size of the training set; likewise for anchors t and the student's bank. The loss is
    the sum of both. The first step fixes Z = n · mean exp(v·s / τ). After each step the batch's
    rows become m · row + (1 − m) · embedding, normalised. As in RepDistiller, both heads are
    trained, and banks are initialised uniformly (not with norm 1). Rows: see `NegativeSampler`.

    Banks and Z change only where gradients are enabled.
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
    search = {"weight": LogUniform(0.08, 8), "temperature": LogUniform(0.03, 0.3)}

    embed_student: nn.Linear
    embed_teacher: nn.Linear
    memory_student: Tensor  # (n, feature_dim)
    memory_teacher: Tensor
    normalizer_student: Tensor  # Z of student anchors
    normalizer_teacher: Tensor

    # Up to this many bank rows per sampled row, scores come from one product with the whole bank:
    # gathering the sampled vectors moves D numbers per score, which is slower up to that ratio.
    # Beyond it, gathering takes less memory.
    product_up_to = 16

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        options = self.options
        bound = 1 / math.sqrt(options.feature_dim / 3)  # rows have squared norm 1 on average
        outputs_of_both = self.probe_pair(student, teacher)
        for side, outputs in zip(("student", "teacher"), outputs_of_both, strict=True):
            head = embedding_head(outputs, options.feature_dim)
            bank = torch.empty(info.train_size, options.feature_dim).uniform_(-bound, bound)
            setattr(self, f"embed_{side}", head)
            self.register_buffer(f"memory_{side}", bank)
            self.register_buffer(f"normalizer_{side}", torch.tensor(-1.0))  # negative: not set yet
        self.sampler = NegativeSampler(info.train_labels, info.num_classes, options.negatives)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        s, t = self.embed(student, teacher)
        rows = self.sample_negatives(batch)
        learn = torch.is_grad_enabled()
        loss = self._contrast(s, self.memory_teacher, self.normalizer_student, rows, learn)
        loss = loss + self._contrast(t, self.memory_student, self.normalizer_teacher, rows, learn)
        if learn:
            self._remember(self.memory_student, s, batch.indices)
            self._remember(self.memory_teacher, t, batch.indices)
        return loss

    def embed(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """Both heads' outputs, normalised, (B, feature_dim) each."""
        s = unit(self.embed_student(student.required.embedding))
        t = unit(self.embed_teacher(teacher.required.embedding))
        return s, t

    def sample_negatives(self, batch: Batch) -> Tensor:
        """(B, K + 1) indices into the training set: the positive, then K negatives."""
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
        """h of anchors (B, D), with its gradient: the bank changes before the backward pass."""
        value, gradient = self._contrast_and_gradient(anchor, bank, normalizer, rows, learn)
        return with_gradient(value, anchor, gradient)

    @torch.no_grad()
    def _contrast_and_gradient(
        self, anchor: Tensor, bank: Tensor, normalizer: Tensor, rows: Tensor, learn: bool
    ) -> tuple[Tensor, Tensor]:
        """h and its gradient at the anchors, with x_k = log(o_k / c).

        h = mean_B [softplus(−x_0) + Σ_k softplus(x_k)] + K log(c n / K); its derivatives by x are
        −sigmoid(−x_0) / B and sigmoid(x_k) / B.
        """
        size, negatives = len(anchor), rows.shape[1] - 1
        noise, temperature = negatives / len(bank), self.options.temperature
        # In place from here on: each copy of x (B, K + 1) is 64 KiB per sample at K = 16384.
        x = self._scores(anchor, bank, rows).div_(temperature)
        z = self._normalize(x, normalizer, len(bank), learn)
        x -= z.log() + math.log(noise + NCE_EPS)
        x[:, 0].neg_()  # the positive, whose term is softplus(−x_0)
        total = F.softplus(x, threshold=50).sum() / size  # beyond 50, softplus(x) rounds to x
        slope = x.sigmoid_().div_(size * temperature)
        slope[:, 0].neg_()
        constant = negatives * math.log1p(NCE_EPS / noise)
        return total + constant, self._pull(slope, bank, rows)

    @staticmethod
    def _normalize(scores: Tensor, normalizer: Tensor, size: int, learn: bool) -> Tensor:
        """Z: the value of ``normalizer``, which the first step sets from its ``scores`` over τ."""
        z = torch.where(normalizer < 0, scores.exp().mean() * size, normalizer)
        if learn:
            # The trainer skips a step that overflowed in half precision; it must not fix Z either.
            normalizer.copy_(torch.where(z.isfinite(), z, normalizer))
        return z

    def _scores(self, anchor: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
        """Dot products anchor · bank[rows], (B, K + 1)."""
        if self._by_product(bank, rows):
            return (anchor @ bank.T).gather(1, rows)
        return torch.stack([bank[row] @ a for a, row in zip(anchor, rows, strict=True)])

    def _pull(self, slope: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
        """Σ_k slope[:, k] bank[rows[:, k]], (B, D): the gradient of Σ_k slope_k score_k."""
        if self._by_product(bank, rows):
            # scatter_add_, because a sample may be drawn more than once in a row.
            return slope.new_zeros(len(slope), len(bank)).scatter_add_(1, rows, slope) @ bank
        return torch.stack([weights @ bank[row] for weights, row in zip(slope, rows, strict=True)])

    def _by_product(self, bank: Tensor, rows: Tensor) -> bool:
        return len(bank) <= self.product_up_to * rows.shape[1]

    @torch.no_grad()
    def _remember(self, bank: Tensor, embedding: Tensor, indices: Tensor) -> None:
        """Update the batch's rows; of a sample that occurs more than once, the last one counts."""
        momentum = self.options.momentum
        updated = unit(momentum * bank[indices] + (1 - momentum) * embedding)
        updated = finite_or_old(updated, bank[indices])
        # Writing different rows to a repeated index has no defined result on CUDA, so all
        # occurrences of a sample write its last row.
        place = torch.arange(len(indices), device=indices.device)
        last = torch.where(indices[:, None] == indices, place, 0).amax(dim=1)
        bank[indices] = updated[last]
