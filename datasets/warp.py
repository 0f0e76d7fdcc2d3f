"""Nearest-neighbour affine maps of whole batches, with Pillow's arithmetic.

Pillow maps the centre of every output pixel back into the image in fixed point and takes the pixel
it falls into; outside is black. Integer arithmetic gives the same result on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIXED = 1 << 16  # Pillow's fixed point: 16 fractional bits


def rotations(degrees: Tensor, size: int) -> Tensor:
    """Maps (B, 6) that rotate square images of ``size`` by ``degrees`` (B,), counter-clockwise."""
    angle = -degrees.double().deg2rad()
    cos, sin, centre = angle.cos(), angle.sin(), size / 2
    across = centre - centre * (cos + sin)
    down = centre - centre * (cos - sin)
    return torch.stack((cos, sin, across, -sin, cos, down), dim=1)


def fixed(maps: Tensor) -> Tensor:
    """Maps (B, 6), (x, y) to (a·x + b·y + c, d·x + e·y + f), for pixel centres in fixed point."""
    a, b, c, d, e, f = maps.double().unbind(1)
    moved = torch.stack((a, b, c + (a + b) / 2, d, e, f + (d + e) / 2), dim=1)
    return (moved * FIXED + 0.5).floor().long()  # rounds halves up, as Pillow's macro FIX


def warp(images: Tensor, maps: Tensor) -> Tensor:
    """Images (B, 3, H, W) whose pixels come from where ``maps`` (B, 6), from `fixed`, send them."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    a, b, c, d, e, f = maps.view(len(maps), 6, 1, 1).unbind(1)
    # An arithmetic shift rounds towards −∞, so pixels left of the image get negative positions.
    x, y = (a * columns + b * rows + c) >> 16, (d * columns + e * rows + f) >> 16
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = (y * width + x) * inside  # positions outside read pixel 0 and are blacked out
    pixels = images.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, 3, -1))
    return pixels.view_as(images) * inside[:, None]
