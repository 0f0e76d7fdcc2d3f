"""KD by singular value decomposition: how a map's principal directions change between stages."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .losses import unit
from .needs import Needs
from .registry import register

STUDENT_SPARE = 3  # so many more vectors of the student's are candidates for the teacher's


@register(
    "kdsvd",
    title="KDSVD",
    paper="Lee, Kim & Song, ECCV 2018",
    arxiv="1807.06819",
    reference="Self-supervised Knowledge Distillation Using Singular Value Decomposition",
)
class KDSVD(Distiller):
    """Mean over samples of Σ_i ‖R_s^i − R_t^i‖², R^i relating the vectors of stages i and i − 1.

    A map (B, c, h, w) is per sample a matrix (h·w, c), of which the teacher's first ``components``
    right singular vectors v (c,) are taken. Each has a partner among the student's first
    ``components`` + 3: that of largest |cosine|, turned to the teacher's side. Both are
    multiplied by the teacher's singular values over their norm (1 for one component), and

        R^i = exp(−(v^i_a − v^(i−1)_b)² / 8),   (c_i, c_(i−1)) per component.

    As in RepDistiller; vectors="width" has mdistiller's matrices (c·h, w). Channels (widths) must
    be equal, stage by stage. Weight 1 of mdistiller.

    A singular vector has no sign of its own, yet R depends on the teacher's, which in the
    references is whatever the library returns; here its sum is positive (for maps behind a ReLU all
    entries of the first are). The gradient is that of the chosen vectors alone, so that equal
    singular values elsewhere, of dead channels say, do no harm.
    """

    needs = Needs(features=True)
    defaults = {"components": 1, "vectors": "channels"}
    choices = {"vectors": ("channels", "width")}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        s, t = self.probe(student), self.probe(teacher, teacher=True)
        assert s.features is not None and t.features is not None  # needs.features
        shapes = [
            (self._matrix(a).shape[2], self._matrix(b).shape[2])
            for a, b in zip(s.features[1:], t.features[1:], strict=False)
        ]
        if len(shapes) < 2:
            raise Unsupported(f"kdsvd needs two stages of both networks, got {len(shapes)}")
        for stage, (mine, theirs) in enumerate(shapes, 1):
            if mine != theirs:
                raise Unsupported(
                    f"kdsvd needs equal {self.options.vectors}, stage {stage} has {mine} "
                    f"(student) and {theirs} (teacher)"
                )

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert student.features is not None and teacher.features is not None  # needs.features
        stages = zip(student.features[1:], teacher.features[1:], strict=False)
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
        """Partners (B, c, k) from matrices (B, rows, c), times the teacher's singular values."""
        count = self.options.components
        squares, basis = decomposed(teacher)
        values = F.normalize(squares[:, :count].sqrt(), dim=1)[:, None]
        target = self.orient(basis[:, :, :count])
        return partners(student, target, count + STUDENT_SPARE) * values, target * values

    def orient(self, vectors: Tensor) -> Tensor:
        """The teacher's vectors (B, c, k), each with the sign that it is to have."""
        return torch.where(vectors.sum(dim=1, keepdim=True) < 0, -vectors, vectors)


def _relation(now: Tensor, before: Tensor) -> Tensor:
    """(B, c, c', k) of vectors (B, c, k) and the previous stage's (B, c', k)."""
    return torch.exp(-(now[:, :, None] - before[:, None]).square() / 8)


@torch.no_grad()
def decomposed(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Squared singular values (B, r), falling, and right vectors (B, c, r) of (B, rows, c).

    r = min(rows, c). From the smaller of the two Gram matrices, in double precision since squares
    lose half the digits. Where that is M Mᵀ, vectors of singular values 0 are not known, and zero.
    """
    double = matrix.double()
    wide = matrix.shape[1] < matrix.shape[2]
    squares, basis = torch.linalg.eigh(double @ double.mT if wide else double.mT @ double)
    squares, basis = squares.flip(-1).clamp_min(0), basis.flip(-1)
    if wide:
        known = squares > torch.finfo(double.dtype).eps * sum(matrix.shape[1:]) * squares[:, :1]
        basis = unit(double.mT @ basis, dim=1) * known[:, None]
    return squares.to(matrix.dtype), basis.to(matrix.dtype)


def partners(matrix: Tensor, target: Tensor, candidates: int) -> Tensor:
    """Per vector of ``target`` (B, c, k) the right singular vector of ``matrix`` (B, rows, c) most
    like it up to the sign, times the cosine's sign; among the first ``candidates``.

    The value is the decomposition's; its gradient comes from perturbing v, an eigenvector of
    A = MᵀM: dv = Σ_j v_j v_jᵀ dA v / (λ − λ_j), over the others v_j, λ_j of A.
    """
    squares, basis = decomposed(matrix)
    cosine = basis[:, :, :candidates].mT @ target
    chosen = cosine.abs().argmax(dim=1, keepdim=True)  # (B, 1, k)
    sign = cosine.gather(1, chosen).sign()
    vectors = basis.gather(2, chosen.expand(-1, basis.shape[1], -1))
    all_squares = squares[:, :, None]  # (B, r, 1)
    own = all_squares.gather(1, chosen.mT).mT  # (B, 1, k)
    tiny = torch.finfo(matrix.dtype).eps * all_squares[:, :1]
    pushed = matrix.mT @ (matrix @ vectors)
    pushed = pushed - pushed.detach()  # 0, with the gradient of A v
    inside = basis.mT @ pushed
    outside = pushed - basis @ inside  # what no known vector reaches has λ_j = 0
    moved = basis @ (inside * _inverse(own - all_squares, tiny)) + outside * _inverse(own, tiny)
    return (vectors + moved) * sign


def _inverse(gap: Tensor, tiny: Tensor) -> Tensor:
    """1 / gap, 0 where it is too small to tell from none."""
    return torch.where(gap.abs() > tiny, 1 / gap, 0)
