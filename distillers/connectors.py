"""Make the features of two networks comparable: pairing, pooling and learned connectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Outputs

from .base import Unsupported


def stage_pairs(student: Outputs, teacher: Outputs) -> list[tuple[Tensor, Tensor]]:
    """The maps of student and teacher stage by stage, from the shallowest, without the stems.

    Stages that only one of the networks has are left out, as in RepDistiller's tables.
    """
    return list(zip(student.required.features[1:], teacher.required.features[1:], strict=False))


def pool_to_smaller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (N, c, h, w), the higher one average-pooled to the size of the other.

    As in RepDistiller only the heights decide; maps of equal height are returned unchanged.
    """
    if a.shape[2] > b.shape[2]:
        a = F.adaptive_avg_pool2d(a, (b.shape[2], b.shape[3]))
    elif a.shape[2] < b.shape[2]:
        b = F.adaptive_avg_pool2d(b, (a.shape[2], a.shape[3]))
    return a, b


class ConvReg(nn.Sequential):
    """Regresses the teacher's map from the student's: convolution, batch norm, optionally ReLU.

    ``student``, ``teacher`` are shapes (N, c, h, w). Where the teacher's map is half the student's,
    the convolution is 3×3 with stride 2; where it is twice as large, a transposed 4×4 with stride
    2; where it is equal or otherwise smaller, unpadded with kernel 1 + the difference in size. It
    has a bias and torch's default initialisation.
    Raises Unsupported for a teacher's map that is larger but not twice as large.
    """

    def __init__(self, student: torch.Size, teacher: torch.Size, relu: bool = True) -> None:
        layers = [_matching_conv(student, teacher), nn.BatchNorm2d(teacher[1])]
        super().__init__(*layers, *([nn.ReLU()] if relu else []))


def _matching_conv(student: torch.Size, teacher: torch.Size) -> nn.Module:
    source, target = tuple(student[2:]), tuple(teacher[2:])
    if source == (2 * target[0], 2 * target[1]):
        return nn.Conv2d(student[1], teacher[1], kernel_size=3, stride=2, padding=1)
    if target == (2 * source[0], 2 * source[1]):
        return nn.ConvTranspose2d(student[1], teacher[1], kernel_size=4, stride=2, padding=1)
    if source[0] >= target[0] and source[1] >= target[1]:
        kernel = (1 + source[0] - target[0], 1 + source[1] - target[1])
        return nn.Conv2d(student[1], teacher[1], kernel_size=kernel)
    raise Unsupported(
        f"student's map {source[0]}×{source[1]}, teacher's {target[0]}×{target[1]}: "
        "expected the teacher's to be no larger, or exactly twice as large"
    )


def embedding_head(outputs: Outputs, width: int) -> nn.Linear:
    """A linear layer from a network's embedding (N, D) to (N, ``width``), torch-initialised."""
    return nn.Linear(outputs.required.embedding.shape[1], width)


def generation_block(channels: int) -> nn.Sequential:
    """3×3 convolution, ReLU, 3×3 convolution: rebuilds masked features in MGD and ViTKD."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1),
    )
