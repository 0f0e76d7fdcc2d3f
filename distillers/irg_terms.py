"""Instance relationship graphs: edges, transformations, and the terms that compare them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models import Outputs

from .graphs import squared_distances
from .needs import Needs

EPSILON = 1e-12  # a batch whose largest squared distance is smaller counts as a single point


def pooled(feature: Tensor) -> Tensor:
    """Global average of a map: (N, C, h, w) to (N, C); vectors (N, C) are returned unchanged."""
    return feature.flatten(2).mean(dim=2) if feature.dim() > 2 else feature


def edges(x: Tensor, caffe_grad: bool = False, through_max: bool = False) -> Tensor:
    """A (N, N) = D / max(D), D_ij = ‖x_i − x_j‖² of vertices x (N, C); 0 where all are equal.

    The maximum is a constant for the gradient unless ``through_max``. ``caffe_grad`` reproduces the
    backward pass of the authors' Caffe layer: only the first vertex of each distance gets a
    gradient, which is half the true one.
    """
    distances = squared_distances(x, x.detach() if caffe_grad else x)
    largest = distances.max() if through_max else distances.detach().max()
    return torch.where(largest <= EPSILON, 0, distances / largest.clamp_min(EPSILON))


def transformation(x: Tensor, y: Tensor, through_max: bool = False) -> Tensor:
    """λ (N,) = v / max(v), v_i = ‖x_i − y_i‖²: how far each sample moves between two layers.

    x, y of equal shape (N, …). The maximum is a constant for the gradient unless ``through_max``.
    """
    moved = (x - y).flatten(1).square().sum(dim=1)
    largest = moved.max() if through_max else moved.detach().max()
    return moved / largest.clamp_min(EPSILON)


def edge_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖A_s − A_t‖² / (2N) of two edge matrices (N, N)."""
    return (student - teacher).square().sum() / (2 * len(student))


def transformation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """½ ‖λ_s − λ_t‖² of two transformation vectors (N,)."""
    return (student - teacher).square().sum() / 2


def logits_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖z_s − z_t‖² / (2N) of logits (N, C)."""
    return (student - teacher).square().sum() / (2 * len(student))


def aligned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (N, C, h, w), averaged to the smaller channel count, height and width of the two."""
    channels, height, width = map(min, x.shape[1:], y.shape[1:])

    def reduced(value: Tensor) -> Tensor:
        if value.shape[2:] != (height, width):
            value = F.adaptive_avg_pool2d(value, (height, width))
        if value.shape[1] != channels:
            # Pool over channels: the h·w positions take the place of channels, (N, h·w, channels).
            rows = F.adaptive_avg_pool1d(value.flatten(2).transpose(1, 2), channels)
            value = rows.transpose(1, 2).unflatten(2, (height, width))
        return value

    return reduced(x), reduced(y)


# ---- two PyTorch ports -----------------------------------------------------------------------


def aberhu_terms(student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
    """Unweighted terms of AberHu/Knowledge-Distillation-Zoo: means over N·C, N² and N.

    Edges are matched one-to-one and averaged over three layers: the last two stages' maps, not
    pooled, and the embedding. Transformation: between those two maps, `aligned`.
    """
    layers, moves = [], []
    for outputs in (student, teacher):
        maps = outputs.required.features[-2:]
        layers.append([*(x.flatten(1) for x in maps), outputs.required.embedding])
        moves.append(transformation(*aligned(*maps), through_max=True))
    errors = [
        F.mse_loss(edges(s, through_max=True), edges(t, through_max=True))
        for s, t in zip(*layers, strict=True)
    ]
    return {
        "logits": F.mse_loss(student.logits, teacher.logits),
        "edge": torch.stack(errors).mean(),
        "transformation": F.mse_loss(moves[0], moves[1]),
    }


def semckd_terms(student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
    """Unweighted terms of DefangChen/SemCKD: MSE of the embeddings and of their edges.

    The former only where both networks' embeddings have equal widths.
    """
    s, t = student.required.embedding, teacher.required.embedding
    terms = {"edge": F.mse_loss(edges(s, through_max=True), edges(t, through_max=True))}
    return {"vertex": F.mse_loss(s, t), **terms} if s.shape == t.shape else terms


PORTS = {
    "aberhu": (aberhu_terms, Needs(logits=True, embedding=True, features=True, batch="global")),
    "semckd": (semckd_terms, Needs(embedding=True, batch="global")),
}
