"""KD by singular value decomposition: match how principal directions change between stages."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .connectors import stage_pairs
from .losses import unit
from .needs import Needs
from .registry import register

STUDENT_SPARE = 3  # extra student vectors to choose the partners from, as in RepDistiller


@register(
    "kdsvd",
    title="KDSVD",
    paper="Lee, Kim & Song, ECCV 2018",
    arxiv="1807.06819",
    reference="Self-supervised Knowledge Distillation Using Singular Value Decomposition",
)
class KDSVD(Distiller):
    """Mean over samples of Σ_i ‖R_s^i − R_t^i‖², R^i relating the vectors of stages i and i − 1.

    A map (B, c, h, w) is a matrix (h·w, c) per sample. Of the teacher's matrix the first
    ``components`` right singular vectors v (c,) are used. The partner of each is the vector with
    the largest |cosine| among the student's first ``components`` + 3, with the sign that agrees
    with the teacher's. Both are multiplied by the teacher's normalised singular values (1 for one
    component), and

        R^i = exp(−(v^i_a − v^(i−1)_b)² / 8),   (c_i, c_(i−1)) per component.

    As in RepDistiller; vectors="width" uses mdistiller's matrices (c·h, w). Channels (or widths)
    must be equal at every stage. Weight 1 as in mdistiller.

    The sign of a singular vector is arbitrary, yet R depends on the teacher's. The references take
    whatever the library returns; here the sign makes the sum of entries positive (after a ReLU, all
    entries of the first vector have the same sign). Only the chosen vectors carry gradient, so
    that equal singular values elsewhere, e.g. of dead channels, do no harm.
    """

    needs = Needs(features=True)
    defaults = {"components": 1, "vectors": "channels"}
    choices = {"vectors": ("channels", "width")}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        stages = stage_pairs(*self.probe_pair(student, teacher))
        if len(stages) < 2:
            raise Unsupported(f"kdsvd needs two stages of both networks, got {len(stages)}")
        for stage, pair in enumerate(stages, 1):
            source, target = (self._matrix(maps).shape[2] for maps in pair)
            if source != target:
                raise Unsupported(
                    f"kdsvd needs equal {self.options.vectors}, stage {stage} has {source} "
                    f"(student) and {target} (teacher)"
                )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        stages = stage_pairs(student, teacher)
        pairs = [self._vectors(self._matrix(s), self._matrix(t)) for s, t in stages]
        losses = [
            (_relation(s, s_before) - _relation(t, t_before)).square().sum()
            for (s_before, t_before), (s, t) in itertools.pairwise(pairs)
        ]
        return torch.stack(losses).sum() / len(student.logits)

    def _matrix(self, features: Tensor) -> Tensor:
        """(B, rows, c), or (B, rows, w), of maps (B, c, h, w)."""
        by_width = self.options.vectors == "width"
        return features.flatten(1, 2) if by_width else features.flatten(2).mT

    def _vectors(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Partners and teacher's vectors (B, c, k), scaled by the teacher's singular values.

        ``student``, ``teacher`` are matrices (B, rows, c).
        """
        count = self.options.components
        squares, basis = decomposed(teacher)
        values = F.normalize(squares[:, :count].sqrt(), dim=1)[:, None]
        target = self.orient(basis[:, :, :count])
        return partners(student, target, count + STUDENT_SPARE) * values, target * values

    def orient(self, vectors: Tensor) -> Tensor:
        """The teacher's vectors (B, c, k), with signs that make their sums positive."""
        return torch.where(vectors.sum(dim=1, keepdim=True) < 0, -vectors, vectors)


def _relation(now: Tensor, before: Tensor) -> Tensor:
    """(B, c, c', k) of vectors (B, c, k) and the previous stage's (B, c', k)."""
    return torch.exp(-(now[:, :, None] - before[:, None]).square() / 8)


@torch.no_grad()
def decomposed(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values (B, r), descending, and right vectors (B, c, r) of (B, rows, c).

    r = min(rows, c). Computed from the smaller of the two Gram matrices, in double precision since
    squaring loses half the digits. From M Mᵀ, vectors of singular value 0 cannot be recovered and
    are zero.
    """
    double = matrix.double()
    wide = matrix.shape[1] < matrix.shape[2]
    squares, basis = torch.linalg.eigh(double @ double.mT if wide else double.mT @ double)
    # eigh sorts in ascending order, and rounding may make a zero negative.
    squares, basis = squares.flip(-1).clamp_min(0), basis.flip(-1)
    if wide:
        known = squares > torch.finfo(double.dtype).eps * sum(matrix.shape[1:]) * squares[:, :1]
        basis = unit(double.mT @ basis, dim=1) * known[:, None]
    return squares.to(matrix.dtype), basis.to(matrix.dtype)


def partners(matrix: Tensor, target: Tensor, candidates: int) -> Tensor:
    """The right singular vectors of ``matrix`` (B, rows, c) most similar to ``target`` (B, c, k).

    Of the first ``candidates``, the one with the largest |cosine|, times the cosine's sign. The
    value is the decomposition's; the gradient is first-order perturbation of v as an eigenvector of
    A = MᵀM: dv = Σ_j v_j v_jᵀ dA v / (λ − λ_j), over the other eigenpairs v_j, λ_j of A.
    """
    squares, basis = decomposed(matrix)
    cosine = basis[:, :, :candidates].mT @ target
    chosen = cosine.abs().argmax(dim=1, keepdim=True)  # (B, 1, k)
    sign = cosine.gather(1, chosen).sign()
    vectors = basis.gather(2, chosen.expand(-1, basis.shape[1], -1))
    all_squares = squares[:, :, None]  # (B, r, 1)
    own = all_squares.gather(1, chosen.mT).mT  # (B, 1, k)
    tiny = torch.finfo(matrix.dtype).eps * all_squares[:, :1]
    product = matrix.mT @ (matrix @ vectors)
    change = product - product.detach()  # dA v: 0, with the gradient of A v
    inside = basis.mT @ change
    outside = change - basis @ inside  # the complement of the known vectors, where λ_j = 0
    moved = basis @ (inside * _inverse(own - all_squares, tiny)) + outside * _inverse(own, tiny)
    return (vectors + moved) * sign


def _inverse(gap: Tensor, tiny: Tensor) -> Tensor:
    """1 / gap, or 0 where the gap is not numerically different from 0."""
    return torch.where(gap.abs() > tiny, 1 / gap, 0)
