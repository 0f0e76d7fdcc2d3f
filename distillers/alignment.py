"""Discriminative subspaces of a batch: principal axes, patch alignment and the resulting basis.

Everything here is algebra on detached values, in float64 and outside autocast. Nothing synchronises
with the device except `torch.linalg.eigh`, which on CUDA reads an error flag. Counts that depend on
the labels therefore stay tensors, and selections are masks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .graphs import diagonal, same_class, squared_distances


def component_count(samples: int, dimension: int, ratio: float) -> int:
    """The number of principal axes kept: round(dimension / ratio), from 1 to the maximal rank."""
    return min(max(1, round(dimension / ratio)), dimension, max(samples - 1, 1))


def principal_axes(x: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """PCA of rows x (N, d): mean (d,), axes (d, r), variances (r,), largest first.

    r is `component_count`; variances are unbiased (N − 1). The smaller of the N × N Gram matrix and
    the d × d covariance is decomposed; both have the same non-zero spectrum. Axes without variance,
    whose direction is arbitrary, are returned as zeros.
    """
    count = component_count(len(x), x.shape[1], ratio)
    mean = x.mean(dim=0)
    centred = x - mean
    wide = len(x) <= x.shape[1]
    scatter, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    # eigh sorts in ascending order.
    scatter, vectors = scatter.flip(0)[:count], vectors.flip(1)[:, :count]
    # The usual bound of numerical rank; eigenvalues below it are rounding errors.
    kept = scatter > scatter[0] * max(x.shape) * torch.finfo(x.dtype).eps
    if wide:
        # Eigenvectors of the Gram matrix, (N, r), become unit axes (d, r).
        vectors = centred.T @ vectors * torch.where(kept, scatter, 1).rsqrt()
    return mean, vectors * kept, scatter.clamp_min(0) / max(len(x) - 1, 1)


def nearest(points: Tensor, candidates: Tensor, count: int | None) -> Tensor:
    """(N, N) booleans: each row's ``count`` nearest of its ``candidates``, or all if fewer or None.

    ``points`` (N, r), ``candidates`` (N, N) booleans.
    """
    if count is None or count >= len(points) - 1:
        return candidates
    distances = squared_distances(points, points).masked_fill(~candidates, torch.inf)
    # The argsort of an argsort is each entry's rank; stable, so that ties rank by sample.
    ranks = distances.argsort(dim=1, stable=True).argsort(dim=1)
    return candidates & (ranks < count)


def alignment_weights(
    points: Tensor, classes: Tensor, positives: int | None = None, negatives: int | None = None
) -> Tensor:
    """W (N, N) of discriminative locality alignment: row i is anchor i; not symmetric in general.

    +1 for the ``positives`` nearest samples of the anchor's class and −θ_i for the ``negatives``
    nearest of other classes, where θ_i = (positives of i) / (negatives of i), both limited to what
    the batch has. An anchor that is alone in its class has a zero row. Distances are between
    ``points`` (N, r). Zhang, Tao, Li, Yang: Patch Alignment for Dimensionality Reduction, TKDE
    2009, with their free trade-off parameter set to θ.
    """
    same = same_class(classes)
    attracted = nearest(points, same & ~diagonal(same), positives).to(points.dtype)
    repelled = nearest(points, ~same, negatives).to(points.dtype)
    theta = attracted.sum(1) / repelled.sum(1).clamp_min(1)
    return attracted - theta[:, None] * repelled


def relation_weights(points: Tensor, classes: Tensor, positives: int | None = None) -> Tensor:
    """R (N, N): attraction (> 0) or repulsion (< 0) of teacher's sample i and student's sample j.

    1 on the diagonal and for the ``positives`` nearest of the same class; −θ_i for all samples of
    other classes, where θ_i = max(positives of i, 1) / (negatives of i), so that a sample that is
    alone in its class repels too.
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
    """The number of distinct classes in the batch, as a scalar tensor that stays on the device."""
    # Counts the samples that are the first of their class: torch.unique would synchronise.
    earlier = same_class(classes).tril(diagonal=-1).any(dim=1)
    return (~earlier).sum()


def discriminative_basis(points: Tensor, laplacian: Tensor, dimension: int | Tensor) -> Tensor:
    """U (r, r): eigenvectors of Yᵀ L Y with the ``dimension`` smallest eigenvalues, then zeros.

    points Y (N, r), laplacian L (N, N). Padding with zero columns allows ``dimension`` to be a
    tensor and does not change the projection onto the first ``dimension`` columns.
    """
    moment = points.T @ laplacian @ points
    # Symmetrised, since eigh reads one triangle and rounding differs between the two.
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
    """The projection P U (d, r) of the teacher's nodes (N, d), and whether it exists.

    PCA, then the eigenvectors of Yᵀ L Y with the ``dimension`` smallest eigenvalues (None: classes
    in the batch − 1), with L from `alignment_weights`. It does not exist, and is all zeros, where
    no two samples share a class, where all share one, or where a node is not finite.
    """
    # eigh fails on NaN. Zeros let the step run to its end, where it counts as not existing.
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

    Like `discriminative_projection`, but whitened (variances are at least 1e-5) and with the graph
    Laplacian of `relation_weights`. They also exist where every class has one sample, but not in
    batches of fewer than three samples.
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
