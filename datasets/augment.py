"""Crop or rotate, flip and normalise whole batches of uint8 images, on the device they are on.

The geometry and arithmetic are torchvision's ``RandomCrop(size, padding)``, ``RandomRotation``,
``RandomHorizontalFlip``, ``ToTensor``, ``Normalize``: black is padded *before* normalisation.
Random draws are an input, so any epoch can be reproduced on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from . import warp


@dataclass(frozen=True)
class Augmentation:
    """Crop from the image padded by ``padding`` and, if ``flip``, mirror with probability 1/2."""

    padding: int
    flip: bool

    def draw(self, count: int, generator: Generator) -> Tensor:
        """(3, count): the crop's top row and left column, 0 … 2·padding, and 1 to mirror it."""
        offsets = torch.randint(2 * self.padding + 1, (2, count), generator=generator)
        # Below 1 is always 0.
        flips = torch.randint(2 if self.flip else 1, (1, count), generator=generator)
        return torch.cat((offsets, flips))

    def pad(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) with a black border; done once for the whole set."""
        return F.pad(images, (self.padding,) * 4)

    def unpad(self, padded: Tensor) -> Tensor:
        """The images without their border, as a view."""
        height, width = (side - self.padding for side in padded.shape[-2:])
        return padded[..., self.padding : height, self.padding : width]

    def apply(self, padded: Tensor, indices: Tensor, draws: Tensor) -> Tensor:
        """Augment the images ``indices`` (B,) of ``padded`` by ``draws`` (3, B): (B, 3, H, W)."""
        rows, columns, flips = draws
        height, width = (side - 2 * self.padding for side in padded.shape[-2:])
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of all crops
        crops = windows[indices, :, rows, columns]
        return mirror(crops, flips) if self.flip else crops


@dataclass(frozen=True)
class Rotation:
    """Rotate by up to ``degrees`` in either direction, with black corners, and perhaps mirror."""

    degrees: float
    size: int
    flip: bool

    def draw(self, count: int, generator: Generator) -> Tensor:
        """(7, count): the map for `warp.warp`, and 1 to mirror."""
        uniform = torch.rand(count, generator=generator, dtype=torch.float64)
        maps = warp.fixed(warp.rotations(self.degrees * (2 * uniform - 1), self.size))
        flips = torch.randint(2 if self.flip else 1, (1, count), generator=generator)
        return torch.cat((maps.T, flips))

    def pad(self, images: Tensor) -> Tensor:
        return images

    def unpad(self, padded: Tensor) -> Tensor:
        return padded

    def apply(self, padded: Tensor, indices: Tensor, draws: Tensor) -> Tensor:
        """Augment the images ``indices`` (B,) by ``draws`` (7, B): (B, 3, H, W)."""
        rotated = warp.warp(padded[indices], draws[:6].T)
        return mirror(rotated, draws[6]) if self.flip else rotated


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    """The images (B, 3, H, W), mirrored where ``flips`` (B,) is 1."""
    # Choosing whole images is several times faster on a CPU than torch.where on pixels.
    both = torch.cat((images, images.flip(-1)))
    position = torch.arange(len(images), device=images.device)
    return both.index_select(0, flips * len(images) + position)


class Normalisation:
    """(x / 255 - mean) / std per channel, in float32."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean = torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
        # A tensor, because CUDA turns division by a Python number into multiplication by its
        # reciprocal, which rounds differently from the CPU's division.
        self.scale = torch.full_like(self.mean, 255)

    def __call__(self, images: Tensor) -> Tensor:
        """The networks' input from uint8 images (B, 3, H, W)."""
        return images.float().div_(self.scale).sub_(self.mean).div_(self.std)

    def to(self, device: torch.device | str) -> Normalisation:
        # Without __init__, which makes its tensors from tuples.
        moved = Normalisation.__new__(Normalisation)
        for name, value in vars(self).items():
            setattr(moved, name, value.to(device))
        return moved
