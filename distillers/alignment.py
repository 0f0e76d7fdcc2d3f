"""Discriminative subspaces of a batch: principal axes, patch alignment, and the basis between them.

Everything here is algebra on detached values. Callers use float64, without gradients, outside
autocast. Nothing waits for the device but `torch.linalg.eigh` itself, which on CUDA reads an error
flag; counts that depend on the labels therefore stay tensors, and choices become masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .graphs import diagonal, same_class, squared_distances


def component_count(samples: int, dimension: int, ratio: float) -> int:
    """How many principal axes are kept: round(dimension / ratio), at least 1, at most the rank."""
    return min(max(1, round(dimension / ratio)), dimension, max(samples - 1, 1))


def principal_axes(x: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """PCA of rows x (N, d): mean (d,), axes (d, r), variances (r,), largest first.

    r is `component_count`; variances are those of the covariance with N − 1. The smaller of the
    N × N Gram matrix and the d × d covariance is decomposed; both have the same non-zero spectrum.
    Axes without variance (any direction would do) are returned as zeros.
    """
    count = component_count(len(x), x.shape[1], ratio)
    mean = x.mean(dim=0)
    centred = x - mean
    wide = len(x) <= x.shape[1]
    scatter, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    scatter, vectors = scatter.flip(0)[:count], vectors.flip(1)[:, :count]
    kept = scatter > scatter[0] * max(x.shape) * torch.finfo(x.dtype).eps
    if wide:
        vectors = centred.T @ vectors * torch.where(kept, scatter, 1).rsqrt()
    return mean, vectors * kept, scatter.clamp_min(0) / max(len(x) - 1, 1)


def nearest(points: Tensor, candidates: Tensor, count: int | None) -> Tensor:
    """(N, N) booleans: for each row its ``count`` nearest among its ``candidates`` (all if fewer).

    ``points`` (N, r), ``candidates`` (N, N) booleans; None takes all.
    """
    if count is None or count >= len(points) - 1:
        return candidates
    distances = squared_distances(points, points).masked_fill(~candidates, torch.inf)
    ranks = distances.argsort(dim=1, stable=True).argsort(dim=1)
    return candidates & (ranks < count)


def alignment_weights(
    points: Tensor, classes: Tensor, positives: int | None = None, negatives: int | None = None
) -> Tensor:
    """W (N, N) of discriminative locality alignment, row i for anchor i; not symmetric in general.

    +1 for the ``positives`` nearest samples of the anchor's class, −θ_i for the ``negatives``
    nearest of other classes, θ_i = (positives of i) / (negatives of i) after both were clipped to
    what the batch has. An anchor alone in its class has a zero row. Distances between ``points``
    (N, r). Zhang, Tao, Li, Yang: Patch Alignment for Dimensionality Reduction, TKDE 2009, with
    their free trade-off set to θ.
    """
    same = same_class(classes)
    attracted = nearest(points, same & ~diagonal(same), positives).to(points.dtype)
    repelled = nearest(points, ~same, negatives).to(points.dtype)
    theta = attracted.sum(1) / repelled.sum(1).clamp_min(1)
    return attracted - theta[:, None] * repelled


def relation_weights(points: Tensor, classes: Tensor, positives: int | None = None) -> Tensor:
    """R (N, N), teacher's sample i × student's sample j: who attracts and repels whom.

    1 on the diagonal and for the ``positives`` nearest of the class; −θ_i for all of other classes,
    θ_i = max(positives of i, 1) / (negatives of i): also a sample alone in its class repels.
    """
    same = same_class(classes)
    attracted = nearest(points, same & ~diagonal(same), positives).to(points.dtype)
    repelled = (~same).to(points.dtype)
    theta = attracted.sum(1).clamp_min(1) / repelled.sum(1).clamp_min(1)
    return attracted + diagonal(same) - theta[:, None] * repelled


def alignment_matrix(weights: Tensor) -> Tensor:
    """L (N, N) = diag(W 1) + diag(Wᵀ 1) − W − Wᵀ, so that tr(Yᵀ L Y) = Σ_ij W_ij ‖Y_i − Y_j‖²."""
    return torch.diag(weights.sum(1) + weights.sum(0)) - weights - weights.T


def relation_laplacian(relations: Tensor) -> Tensor:
    """diag(B 1) − B for B = (R + Rᵀ) / 2 with a zero diagonal: (N, N) to (N, N)."""
    return alignment_matrix(relations.masked_fill(diagonal(relations), 0)) / 2


def class_count(classes: Tensor) -> Tensor:
    """How many different classes the batch has, as a scalar tensor (no host is asked)."""
    earlier = same_class(classes).tril(diagonal=-1).any(dim=1)
    return (~earlier).sum()


def discriminative_basis(points: Tensor, laplacian: Tensor, dimension: int | Tensor) -> Tensor:
    """U (r, r): eigenvectors of Yᵀ L Y with the ``dimension`` smallest eigenvalues, then zeros.

    points Y (N, r), laplacian L (N, N). The zero columns let ``dimension`` be a scalar tensor;
    a projection onto U is the one onto its first ``dimension`` columns.
    """
    moment = points.T @ laplacian @ points
    vectors = torch.linalg.eigh((moment + moment.T) / 2).eigenvectors
    return vectors * (torch.arange(len(vectors), device=vectors.device) < dimension)


@torch.no_grad()
def discriminative_projection(
    nodes: Tensor,
    classes: Tensor,
    ratio: float = 2.0,
    positives: int | None = None,
    negatives: int | None = None,
    dimension: int | None = None,
) -> tuple[Tensor, Tensor]:
    """P U of the teacher's nodes (N, d): projection (d, r) in their type, and whether it exists.

    PCA, then the eigenvectors of Yᵀ L Y with the ``dimension`` smallest eigenvalues (None: classes
    in the batch − 1), L from `alignment_weights`. It does not exist, and is all zeros, without a
    pair of one class, with one class only, or where a node is not finite.
    """
    finite = nodes.isfinite().all()
    points = torch.where(finite, nodes, 0).double()
    mean, axes, _ = principal_axes(points, ratio)
    points = (points - mean) @ axes
    weights = alignment_weights(points, classes, positives, negatives)
    present = class_count(classes)
    columns = (present - 1).clamp_min(1) if dimension is None else dimension
    basis = discriminative_basis(points, alignment_matrix(weights), columns)
    exists = finite & (present > 1) & (present < len(nodes))
    return (axes @ basis * exists).to(nodes.dtype), exists


@torch.no_grad()
def relation_projection(
    nodes: Tensor,
    classes: Tensor,
    ratio: float = 2.0,
    positives: int | None = None,
    dimension: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean (d,), P U (d, r) and relations R (N, N) of the teacher's nodes, and whether they exist.

    Like `discriminative_projection`, but whitened (variances floored at 1e-5) and with the graph
    Laplacian of `relation_weights`. They exist with one sample per class, too, but not in batches
    of fewer than three.
    """
    finite = nodes.isfinite().all()
    points = torch.where(finite, nodes, 0).double()
    mean, axes, variances = principal_axes(points, ratio)
    axes = axes * variances.clamp_min(1e-5).rsqrt()
    points = (points - mean) @ axes
    relations = relation_weights(points, classes, positives)
    present = class_count(classes)
    columns = (present - 1).clamp_min(1) if dimension is None else dimension
    basis = discriminative_basis(points, relation_laplacian(relations), columns)
    exists = finite & (present > 1) & (len(nodes) > 2)
    projection, relations = axes @ basis * exists, relations * exists
    return mean.to(nodes.dtype), projection.to(nodes.dtype), relations.to(nodes.dtype), exists
