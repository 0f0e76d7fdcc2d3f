"""What makes feature maps of two networks comparable: pooling rules and learned connectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Outputs

from .base import Unsupported


def pool_to_smaller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (N, c, h, w), the higher one average-pooled to the size of the other.

    As in RepDistiller only the heights decide; maps of equal height stay as they are.
    """
    if a.shape[2] > b.shape[2]:
        a = F.adaptive_avg_pool2d(a, (b.shape[2], b.shape[3]))
    elif a.shape[2] < b.shape[2]:
        b = F.adaptive_avg_pool2d(b, (a.shape[2], a.shape[3]))
    return a, b


class ConvReg(nn.Sequential):
    """Regresses the teacher's map from the student's: convolution, batch norm and, if asked, ReLU.

    ``student``, ``teacher`` are shapes (N, c, h, w). The convolution depends on the spatial sizes:
    half of the student's: 3×3, stride 2; twice: transposed 4×4, stride 2; equal or smaller: an
    unpadded kernel of 1 + the difference. It has a bias, and torch's default initialisation.
    Raises Unsupported for a larger teacher's map that is not twice the student's.
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
        "expected the teacher's to be at most as large, or twice"
    )


def embedding_head(outputs: Outputs, width: int) -> nn.Linear:
    """A linear layer from a network's embedding to ``width`` numbers, as torch initialises it."""
    assert outputs.embedding is not None  # the method needs it
    return nn.Linear(outputs.embedding.shape[1], width)
