"""Multi-level logit distillation: match samples, batches and classes on two views of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import cross_entropy, kl_rows, up_to_median
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform

Pair = tuple[Tensor, Tensor]  # logits (B, C) of student and teacher
# Temperatures in addition to the option's; for the swapped ones the released code confuses views.
FIXED, SWAPPED = (3.0, 5.0), (2.0, 6.0)


@register(
    "mlkd",
    title="MLKD",
    paper="Jin, Wang & Lin, CVPR 2023",
    reference="Multi-level Logit Distillation",
)
class MLKD(Distiller):
    """KD, class and batch correlations at temperatures 𝒯 of the logits (B, C) of two views.

    The views are weakly (w) and strongly (s) augmented. With P = softmax(z / T): KD_T = T² KL; CC_T
    = ‖P_sᵀP_s − P_tᵀP_t‖² / C; BC_T = ‖P_sP_sᵀ − P_tP_tᵀ‖² / B (no T²). The teacher's q =
    softmax(z_t) of the weak view gives the masks m_b = [max_c q ≤ its median over the batch] and
    n_c = [Σ_b q_c ≤ its median over the classes]. 𝒯 = (``temperature``, 3, 5, 2, 6); the
    cross-entropy is summed over both views.

    mode "paper": Σ_𝒯 mean_B m_b KD_T(w)_b + Σ_𝒯 KD_T(s), and the weak view's CC and BC with rows
    masked by n_c and m_b. "released", the default, is what the authors' code computes: it applies
    the masks after the reduction, so they act as factors mean(m), mean(n) ≈ 1/2; at T = 2 and 6 its
    KD of the strong view is that of the weak view again; and it discards CC and BC of the strong
    view (``strong_correlations`` adds them, without masks, in either mode). The paper's results use
    a learning rate of 0.025 and, for some pairs, two or four times the epochs.
    """

    needs = Needs(views=("strong",), batch="global")
    softens = True
    defaults = {
        "ce": 0.1,
        "weight": 0.9,
        "temperature": 4.0,
        "mode": "released",
        "strong_correlations": False,
    }
    choices = {"mode": ("released", "paper")}
    presets = {
        "paper": {"mode": "paper"},
        "imagenet": {"ce": 0.5, "weight": 0.5, "temperature": 1.0},
    }
    search = {
        "ce": Uniform(0, 1),
        "weight": LogUniform(0.09, 9),
        "temperature": LogUniform(1, 16),
    }

    def task_loss(self, student: Outputs, batch: Batch) -> Tensor:
        weak, strong = student.logits, student.required.views[0].logits
        return cross_entropy(weak, batch.labels) + cross_entropy(strong, batch.labels)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        weak = student.logits, teacher.logits
        strong = student.required.views[0].logits, teacher.required.views[0].logits
        samples, classes = self._masks(teacher.logits)
        chosen = self.options.temperature
        temperatures = (chosen, *FIXED, *SWAPPED)
        paper = self.options.mode == "paper"
        terms = {
            "instance": self._kd(weak, temperatures, samples)
            + self._kd(strong, (chosen, *FIXED))
            + self._kd(strong if paper else weak, SWAPPED),
            "class": _difference(weak, temperatures, classes, columns=True),
            "batch": _difference(weak, temperatures, samples),
        }
        if self.options.strong_correlations:
            all_classes, all_samples = torch.ones_like(classes), torch.ones_like(samples)
            terms["class"] += _difference(strong, temperatures, all_classes, columns=True)
            terms["batch"] += _difference(strong, temperatures, all_samples)
        return terms

    def _masks(self, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """m (B,) and n (C,): zeros and ones, or in mode "released" their means."""
        q = F.softmax(teacher, dim=1)
        masks = [up_to_median(v).to(q.dtype) for v in (q.amax(dim=1), q.sum(dim=0))]
        if self.options.mode == "released":
            masks = [mask.mean().expand_as(mask) for mask in masks]
        return masks[0], masks[1]

    def _kd(
        self, pair: Pair, temperatures: tuple[float, ...], mask: Tensor | None = None
    ) -> Tensor:
        """Σ_T mean_B m_b KD_T,b of the (student's, teacher's) logits; without a mask, m_b = 1."""
        student, teacher = map(self.soften, pair)
        rows = torch.stack([kl_rows(student, teacher, t) for t in temperatures]).sum(dim=0)
        return rows.mean() if mask is None else (mask * rows).mean()


def _difference(
    pair: Pair, temperatures: tuple[float, ...], mask: Tensor, columns: bool = False
) -> Tensor:
    """Σ_T BC_T, or CC_T for ``columns``, with the rows of the matrix weighted by ``mask``."""
    terms = []
    for temperature in temperatures:
        p, q = (F.softmax(logits / temperature, dim=1) for logits in pair)
        # (C, C) for classes, (B, B) for samples.
        difference = p.T @ p - q.T @ q if columns else p @ p.T - q @ q.T
        terms.append((mask * difference.square().sum(dim=1)).mean())
    return torch.stack(terms).sum()
