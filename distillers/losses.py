"""Loss terms and small tools that several methods share. Half types are promoted before."""

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
    """Class numbers (B,) of labels that may be soft (B, C): then the most probable class."""
    return labels if labels.ndim == 1 else labels.argmax(dim=1)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """v / ‖v‖₂ along ``dim``, without an epsilon; a zero vector stays zero and gets no gradient."""
    norm = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / norm.masked_fill(norm == 0, torch.inf)


def linear_warmup(epoch: int, epochs: float) -> float:
    """Rises to 1 over the first ``epochs``; ``epoch`` counts from 1, so the first is not 0."""
    return min(epoch / epochs, 1.0) if epochs > 0 else 1.0


def is_class(labels: Tensor, classes: int) -> Tensor:
    """One-hot (B, C), as booleans, of class numbers (B,)."""
    return labels[:, None] == torch.arange(classes, device=labels.device)


def log_softmax_without(logits: Tensor, dropped: Tensor) -> Tensor:
    """Log-softmax (B, C) over the classes that are not ``dropped`` (B, C), where it is 0."""
    kept = logits.masked_fill(dropped, torch.finfo(logits.dtype).min)
    return F.log_softmax(kept, dim=1).masked_fill(dropped, 0.0)


def two_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Class numbers and their shares, (B, K) each: one of share 1, or the two of a soft label.

    A second share that is not above every other class's names no class, and is 0: smoothing alone.
    """
    if labels.ndim == 1:
        return labels[:, None], torch.ones_like(labels)[:, None]
    shares, classes = labels.topk(2, dim=1)
    if labels.shape[1] > 2:
        named = shares[:, 1] > labels.amin(dim=1)
        shares = torch.stack([shares[:, 0], shares[:, 1] * named], dim=1)
    return classes, shares


def up_to_median(values: Tensor) -> Tensor:
    """Which of the values (n,) are at most their median (of an even number: the middle's mean)."""
    ordered, count = values.sort().values, len(values)
    return values <= (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


def cosine_decay(epoch: int, start: float, end: int) -> float:
    """1 up to the epoch ``start``, then half a cosine down to 0 at ``end``; epochs from 1."""
    if epoch <= start:
        return 1.0
    return (1 + math.cos(math.pi * (epoch - start) / (end - start))) / 2


def kl_rows(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """`kl_divergence` of every sample, (B,), instead of its mean over the batch."""
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    terms = F.kl_div(log_p, log_q, reduction="none", log_target=True)
    return terms.sum(dim=1) * temperature**2


def with_gradient(value: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """``value``, without a graph, as a function of ``at`` (…) whose gradient is ``gradient`` (…).

    For terms whose inputs change before the backward pass comes.
    """
    return value + ((at - at.detach()) * gradient).sum()  # value + 0


def kept_where_not_finite(new: Tensor, old: Tensor) -> Tensor:
    """``new`` (N, D), but rows of ``old`` where it is not finite: for banks.

    In half precision a forward pass may overflow; the step is skipped, the bank must outlive it.
    """
    return torch.where(new.isfinite().all(dim=1, keepdim=True), new, old)
