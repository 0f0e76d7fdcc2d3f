"""Loss terms and helpers that several methods share; inputs are already promoted to float32."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, C) with class numbers (B,) or soft labels (B, C)."""
    return F.cross_entropy(logits, labels)


def kl_divergence(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """T² KL(softmax(teacher / T) ‖ softmax(student / T)), summed over classes, mean over the batch.

    Logits (B, C). Hinton, Vinyals & Dean: Distilling the Knowledge in a Neural Network, sec. 2.
    """
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def hard_labels(labels: Tensor) -> Tensor:
    """Class numbers (B,) of hard labels (B,), or the most probable classes of soft ones (B, C)."""
    return labels if labels.ndim == 1 else labels.argmax(dim=1)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """v / ‖v‖₂ along ``dim``, without an epsilon: zero vectors stay zero and get no gradient."""
    norm = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / norm.masked_fill(norm == 0, torch.inf)


def linear_warmup(epoch: int, epochs: float) -> float:
    """A factor that rises linearly to 1 over ``epochs``; ``epoch`` is from 1, so it is never 0."""
    return min(epoch / epochs, 1.0) if epochs > 0 else 1.0


def is_class(labels: Tensor, classes: int) -> Tensor:
    """One-hot (B, C), as booleans, of class numbers (B,)."""
    return labels[:, None] == torch.arange(classes, device=labels.device)


def log_softmax_without(logits: Tensor, dropped: Tensor) -> Tensor:
    """Log-softmax (B, C) over the classes that are not ``dropped`` (B, C); 0 at those that are."""
    # Not −inf, which would make a row without any class left NaN. 0 at dropped classes, so that
    # a product with a probability of 0 there is 0.
    kept = logits.masked_fill(dropped, torch.finfo(logits.dtype).min)
    return F.log_softmax(kept, dim=1).masked_fill(dropped, 0.0)


def two_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Class numbers and their shares, (B, K) each: K = 1 for hard labels, 2 for soft ones (B, C).

    Under label smoothing alone all other classes tie for second place; their share is then 0.
    """
    if labels.ndim == 1:
        return labels[:, None], torch.ones_like(labels)[:, None]
    shares, classes = labels.topk(2, dim=1)
    if labels.shape[1] > 2:
        # Smoothing gives every class the smallest share; a second sample's class has more.
        named = shares[:, 1] > labels.amin(dim=1)
        shares = torch.stack([shares[:, 0], shares[:, 1] * named], dim=1)
    return classes, shares


def up_to_median(values: Tensor) -> Tensor:
    """Which of the values (n,) are at most their median (mean of the middle two for even n)."""
    # torch.median returns the lower of the middle two.
    ordered, count = values.sort().values, len(values)
    return values <= (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def attention_map(maps: Tensor, power: int = 2) -> Tensor:
    """Activation-based attention (B, h·w) of maps (B, c, h, w), in rows of norm 1.

    The mean of F^power over channels: Zagoruyko & Komodakis, Paying More Attention to Attention,
    section 3.1.
    """
    return F.normalize(maps.pow(power).mean(dim=1).flatten(1), dim=1)


def target_term(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """q_y log p_y per sample, (B,), of logits (B, C); ``target`` (B, C) is true at the class y."""
    log_p, q = F.log_softmax(student, dim=1), F.softmax(teacher, dim=1)
    return (q * log_p).masked_fill(~target, 0.0).sum(dim=1)


def cosine_decay(epoch: int, start: float, end: int) -> float:
    """A factor that is 1 up to epoch ``start``, then decays to 0 at ``end`` as half a cosine."""
    if epoch <= start:
        return 1.0
    return (1 + math.cos(math.pi * (epoch - start) / (end - start))) / 2


def kl_rows(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """`kl_divergence` per sample, (B,), instead of its mean over the batch."""
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    terms = F.kl_div(log_p, log_q, reduction="none", log_target=True)
    return terms.sum(dim=1) * temperature**2


def with_gradient(value: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """The scalar ``value``, which has no graph, with the gradient ``gradient`` (…) at ``at`` (…).

    For terms whose other inputs are overwritten before the backward pass.
    """
    return value + ((at - at.detach()) * gradient).sum()  # value + 0


def finite_or_old(new: Tensor, old: Tensor) -> Tensor:
    """Rows of ``new`` (N, D) where they are finite, else those of ``old``: for memory banks.

    A half-precision forward pass may overflow. The trainer then skips the step, but a bank would
    keep the bad rows.
    """
    return torch.where(new.isfinite().all(dim=1, keepdim=True), new, old)
