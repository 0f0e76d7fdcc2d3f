"""Teacher-free NKD: the student's own target probability replaces the teacher's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from datasets import Batch
from models import Outputs

from .base import Distiller
from .losses import two_labels
from .needs import Needs
from .registry import register


@register(
    "tf_nkd",
    title="tf-NKD",
    paper="Yang et al., arXiv 2022",
    arxiv="2208.10139",
    reference="Rethinking Knowledge Distillation via Cross-Entropy",
)
class TeacherFreeNKD(Distiller):
    """−mean_B w_b log p_y with w_b = p_y + 1 − mean_B p_y, detached; p = softmax of logits (B, C).

    Added to the cross-entropy, without a teacher and without hyper-parameters. Published only in
    the preprint; the authors' code (cls_KD) dropped it before release 1.0. With soft labels there
    is one such term for each of the two largest shares v, with v in place of 1; the second only
    where it comes from mixing two samples, not from label smoothing.
    """

    needs = Needs(teacher=False, batch="global")  # w contains a mean over the batch

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        classes, shares = two_labels(batch.labels)
        log_p = F.log_softmax(student.logits, dim=1).gather(1, classes)
        return target_loss(log_p, shares, power=1)


def target_loss(log_p: Tensor, shares: Tensor, power: int) -> Tensor:
    """−mean_B Σ_k w_k log p_k, w_k = p_k^power + v_k − mean_B p_k^power; all (B, K), w detached.

    p_k: the probabilities of the classes in a label, v_k: their ``shares``, as from `two_labels`.
    """
    confidence = log_p.detach().exp() ** power
    weights = confidence + shares - confidence.mean(dim=0, keepdim=True)
    return -(weights.masked_fill(shares == 0, 0.0) * log_p).sum(dim=1).mean()
