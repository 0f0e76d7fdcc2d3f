"""MLKD's strong view: two operations of RandAugment and a Cutout, for whole batches on any device.

Two of fourteen operations are drawn with replacement, each with a magnitude uniform in its range,
and always applied; then a grey square is painted. The order and the ranges are those of Multi-level
Logit Distillation's code (CVPR 2023). The arithmetic is Pillow's, in integers wherever Pillow uses
them. Samples are grouped by operation, so a batch takes a few dozen kernels instead of some per
sample. The groups come from draws on the CPU, so nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from . import warp

OPERATIONS = 2  # per image
CUTOUT = 0.5  # the square's side is uniform between 0 and this fraction of the width
COLOUR = (125, 123, 114)  # of the square: ImageNet's mean

# operation -> range of its magnitude
RANGES: dict[str, tuple[float, float]] = {
    "autocontrast": (0, 0),
    "brightness": (0.05, 0.95),
    "color": (0.05, 0.95),
    "contrast": (0.05, 0.95),
    "equalize": (0, 0),
    "identity": (0, 0),
    "posterize": (4, 8),
    "rotate": (-30, 30),
    "sharpness": (0.05, 0.95),
    "shear_x": (-0.3, 0.3),
    "shear_y": (-0.3, 0.3),
    "solarize": (0, 256),
    "translate_x": (-0.3, 0.3),
    "translate_y": (-0.3, 0.3),
}
NAMES = tuple(RANGES)
LOW, WIDTH = (
    torch.tensor(column, dtype=torch.float64)
    for column in zip(*((low, high - low) for low, high in RANGES.values()), strict=True)
)
AFFINE = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


class Strong:
    """RandAugment and Cutout: random draws, and a pure function of them."""

    def draw(self, count: int, generator: Generator) -> Tensor:
        """(7, count), uniform in [0, 1): two operations, their magnitudes, side and centre."""
        shape = (2 * OPERATIONS + 3, count)
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """Augment uint8 images (B, 3, H, W), H = W, by ``draws`` (7, B) on the CPU."""
        size = images.shape[-1]
        for turn in range(OPERATIONS):
            kinds = (draws[turn] * len(NAMES)).long()
            magnitudes = LOW[kinds] + WIDTH[kinds] * draws[OPERATIONS + turn]
            images = _in_groups(images, kinds, magnitudes)
        boxes = cutout_boxes(draws[2 * OPERATIONS :], size)
        return cutout(images, send(boxes, images.device))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to ``device`` without waiting for the device."""
    if device.type == "cuda" and not tensor.is_pinned():
        tensor = tensor.pin_memory()  # copies from pageable memory wait for the device
    return tensor.to(device, non_blocking=True)


def _in_groups(images: Tensor, kinds: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply each image's operation; ``kinds`` and ``magnitudes`` (B,) are on the CPU."""
    # argsort lists the images operation by operation; its own argsort puts them back in place.
    order = kinds.argsort(stable=True)
    sizes = kinds.bincount(minlength=len(NAMES)).tolist()
    values = magnitudes[order].split(sizes)
    groups = images[send(order, images.device)].split(sizes)
    done = [
        _operate(name, group, value)
        for name, group, value in zip(NAMES, groups, values, strict=True)
        if len(group)
    ]
    return torch.cat(done)[send(order.argsort(), images.device)]


def _operate(name: str, images: Tensor, magnitudes: Tensor) -> Tensor:
    if name in AFFINE:
        maps = warp.fixed(affine_maps(name, magnitudes, images.shape[-1]))
        return warp.warp(images, send(maps, images.device))
    if name in _PLAIN:
        return _PLAIN[name](images)
    return _GRADUAL[name](images, send(magnitudes, images.device).view(-1, 1, 1, 1))


def affine_maps(name: str, magnitudes: Tensor, size: int) -> Tensor:
    """The maps (B, 6), from output to input, of a rotation in degrees, shear or translation."""
    if name == "rotate":
        return warp.rotations(magnitudes, size)
    place, scale = {
        "shear_x": (1, 1), "translate_x": (2, size), "shear_y": (3, 1), "translate_y": (5, size),
    }[name]  # fmt: skip
    maps = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64).repeat(len(magnitudes), 1)
    maps[:, place] = magnitudes * scale
    return maps


# ---- operations: uint8 images (B, 3, H, W), and magnitudes (B, 1, 1, 1) in float64 ---------------


def grey(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W), ITU-R 601-2, as Pillow rounds it."""
    red, green, blue = images.int().split(1, dim=1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def blend(base: Tensor, images: Tensor, share: Tensor) -> Tensor:
    """``base`` where ``share`` is 0, the images where it is 1."""
    base = base.float()
    return (base + share.float() * (images.float() - base)).to(torch.uint8)


def brightness(images: Tensor, share: Tensor) -> Tensor:
    return blend(torch.zeros_like(images[:, :1]), images, share)


def color(images: Tensor, share: Tensor) -> Tensor:
    return blend(grey(images), images, share)


def contrast(images: Tensor, share: Tensor) -> Tensor:
    luma = grey(images)
    count = math.prod(luma.shape[1:])
    total = luma.sum(dim=(1, 2, 3), keepdim=True)
    # The mean rounded half up, int(mean + 0.5) in Pillow, without leaving the integers.
    return blend((2 * total + count) // (2 * count), images, share)


def sharpness(images: Tensor, share: Tensor) -> Tensor:
    """Blend with a 3×3 mean whose centre has weight 5/13; the border is unchanged."""
    height, width = images.shape[-2:]
    whole = images.int()
    rows = whole[..., : height - 2, :] + whole[..., 1:-1, :] + whole[..., 2:, :]
    sums = rows[..., : width - 2] + rows[..., 1:-1] + rows[..., 2:] + 4 * whole[..., 1:-1, 1:-1]
    smooth = whole.clone()
    smooth[..., 1:-1, 1:-1] = (2 * sums + 13) // 26
    return blend(smooth, images, share)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest ``bits`` (rounded down) of every value."""
    step = 2 ** (8 - bits.long())
    return (images // step * step).to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images < threshold, images, 255 - images)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch every channel to 0 … 255; constant channels are unchanged."""
    low, high = (f(images, dim=(2, 3), keepdim=True).double() for f in (torch.amin, torch.amax))
    scale = torch.full_like(low, 255) / (high - low)  # a plain 255 would become a reciprocal
    stretched = images.double() * scale - low * scale
    flat = high <= low
    return torch.where(flat, images, stretched.masked_fill(flat, 0).clamp(0, 255).to(torch.uint8))


def equalize(images: Tensor) -> Tensor:
    """Equalise the histogram of every channel.

    The cumulative histogram is read from the sorted values: counting would need atomic additions.
    """
    ordered = images.flatten(2).sort(dim=2).values
    levels = torch.arange(256, device=images.device, dtype=torch.uint8)
    below = torch.searchsorted(ordered, levels.expand(*ordered.shape[:2], -1).contiguous())
    highest = below.gather(2, ordered[..., -1:].long())  # pixels below the highest value
    # Pillow's table: pixels per output level, and half a step more before the division.
    step = highest // 255
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    even = table.gather(2, images.flatten(2).long()).view_as(images)
    return torch.where((step > 0)[..., None], even, images).to(torch.uint8)


_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "autocontrast": autocontrast,
    "equalize": equalize,
    "identity": lambda images: images,
}
_GRADUAL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "posterize": posterize,
    "sharpness": sharpness,
    "solarize": solarize,
}


# ---- Cutout --------------------------------------------------------------------------------------


def cutout_boxes(draws: Tensor, size: int) -> Tensor:
    """(B, 4): inclusive left, top, right, bottom of the squares, from ``draws`` (3, B).

    A square beyond the image's left or top edge is moved inside, as in the reference.
    """
    side = draws[0] * CUTOUT * size
    start = (draws[1:] * size - side / 2).clamp(min=0).floor()
    end = (start + side).clamp(max=size).floor()
    boxes = torch.cat((start, end)).T.long()
    return torch.where(side[:, None] > 0, boxes, -1)  # a box at −1 paints nothing


def cutout(images: Tensor, boxes: Tensor) -> Tensor:
    """Paint the ``boxes`` (B, 4) of uint8 images grey."""
    rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across = (columns >= left) & (columns <= right)
    down = (rows >= top) & (rows <= bottom)
    inside = (down[:, :, None] & across[:, None, :])[:, None]
    # Filled on the device: a tensor made from COLOUR would have to be copied there.
    colours = [torch.full_like(images[:, :1], value) for value in COLOUR]
    return torch.where(inside, torch.cat(colours, dim=1), images)
