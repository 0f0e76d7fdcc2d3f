"""Graphs over the samples of a batch: distances, edges, one convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖x_i − y_j‖² of rows: (N, D) and (M, D) to (N, M).

    Computed from the differences. The form |x|² + |y|² − 2xy suffers cancellation: on float32
    logits it is off by up to 0.04 where the distance is 0.
    """
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()


def same_class(classes: Tensor) -> Tensor:
    """(N, N) booleans: whether samples i and j have the same class; true on the diagonal."""
    return classes[:, None] == classes[None, :]


def diagonal(matrix: Tensor) -> Tensor:
    """(N, N) booleans, true on the diagonal, on the device of ``matrix`` (N, …)."""
    return torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)


def unified_edge_metric(predictions: Tensor, smooth: float = 0.0) -> Tensor:
    """GK-DFD's UEM u_ij = (1 + cos(p_i, p_j)) / 2 − (1 − exp(−‖p_i − p_j‖)): (N, C) to (N, N).

    In (−1, 1], 1 on the diagonal. ``smooth`` is added to the squared distances; it is needed where
    they carry gradient, since the root has none at 0.
    """
    rows = F.normalize(predictions, dim=1, eps=1e-12)
    cosine = (rows @ rows.T).clamp(-1, 1)  # rounding may exceed the limits
    distance = (squared_distances(predictions, predictions) + smooth).sqrt()
    metric = (1 + cosine) / 2 - (1 - torch.exp(-distance))
    # ``smooth`` would otherwise lower the diagonal.
    return torch.where(diagonal(predictions), 1, metric)


def class_aware_adjacency(
    predictions: Tensor, classes: Tensor, kappa: float = 0.5, smooth: float = 0.0
) -> Tensor:
    """GK-DFD's adjacency (N, N): the UEM, times ``kappa`` across classes, clipped at 0.

    ``predictions`` (N, C) are probabilities or logits, ``classes`` (N,) class numbers. Symmetric,
    non-negative, 1 on the diagonal; ``smooth`` as in `unified_edge_metric`.
    """
    metric = unified_edge_metric(predictions, smooth)
    return torch.where(same_class(classes), metric, kappa * metric).clamp_min(0)


def normalised_adjacency(adjacency: Tensor) -> Tensor:
    """D^−½ A D^−½ with the degrees D_ii = Σ_j A_ij (at least 1e-6): (N, N) to (N, N)."""
    scale = adjacency.sum(dim=1).clamp_min(1e-6).rsqrt()
    return scale[:, None] * adjacency * scale[None, :]


class GraphConvolution(nn.Module):
    """Topology-adaptive graph convolution with one hop (Du et al., arXiv 1710.10370), normalised.

    x (N, d), adjacency A (N, N) → l2(x W_self + (D^−½ A D^−½ x) W_neighbours + bias), (N, d), where
    l2 scales rows to unit length. Initialised like a linear layer, U(−1/√d, 1/√d).
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.weight_self = nn.Parameter(torch.empty(dimension, dimension))
        self.weight_neighbours = nn.Parameter(torch.empty(dimension, dimension))
        self.bias = nn.Parameter(torch.empty(dimension))
        bound = 1 / math.sqrt(dimension)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        gathered = normalised_adjacency(adjacency) @ x
        mixed = x @ self.weight_self + gathered @ self.weight_neighbours + self.bias
        return F.normalize(mixed, dim=1, eps=1e-12)


class GraphHead(nn.Module):
    """Embedding (N, in_features), adjacency (N, N) → unit vertices and graph nodes, (N, d) each."""

    def __init__(self, in_features: int, dimension: int) -> None:
        super().__init__()
        self.vertex = nn.Linear(in_features, dimension)
        self.convolution = GraphConvolution(dimension)

    def forward(self, embedding: Tensor, adjacency: Tensor) -> tuple[Tensor, Tensor]:
        vertices = F.normalize(self.vertex(embedding), dim=1, eps=1e-12)
        return vertices, self.convolution(vertices, adjacency)
