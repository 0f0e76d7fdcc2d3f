"""The strong view against Pillow, operation by operation, and its draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torchvision.transforms import functional as TF

from datasets import randaugment as ra
from datasets import warp
from datasets.randomness import generator


def pictures(size, count=6):
    """Smooth gradients, noise, one flat image and one of few values."""
    noise = torch.randint(256, (count, 3, size, size), generator=generator("noise", size))
    ramp = torch.linspace(20, 200, size)[:, None] + torch.linspace(0, 50, size)
    noise[1] = ramp.long()
    noise[2] = 77
    noise[3] = noise[3] % 3
    noise[4] = (noise[4] + 4 * noise[1]) // 5
    return noise.to(torch.uint8)


def to_pil(image):
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def from_pil(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def by_pil(name, picture, value):
    """The reference's operation."""
    size = picture.size
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "sharpness": ImageEnhance.Sharpness,
    }
    maps = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, value * size[0], 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, value * size[1]),
    }
    if name in enhancers:
        return enhancers[name](picture).enhance(value)
    if name in maps:
        return picture.transform(size, Image.Transform.AFFINE, maps[name])
    others = {
        "autocontrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
        "identity": lambda: picture,
        "posterize": lambda: ImageOps.posterize(picture, int(value)),
        "rotate": lambda: picture.rotate(value),
        "solarize": lambda: ImageOps.solarize(picture, value),
    }
    return others[name]()


@pytest.mark.parametrize("size", [16, 32, 33])
@pytest.mark.parametrize("name", ra.NAMES)
def test_every_operation_is_pillows(name, size):
    images = pictures(size)
    low, high = ra.RANGES[name]
    values = low + (high - low) * torch.rand(6, generator=generator("v", name), dtype=torch.float64)
    ours = ra._operate(name, images, values)
    assert ours.dtype == torch.uint8
    theirs = torch.stack(
        [from_pil(by_pil(name, to_pil(i), v)) for i, v in zip(images, values.tolist(), strict=True)]
    )
    if name == "sharpness":  # Pillow smooths in float32, which rounds some values the other way
        assert (ours.int() - theirs.int()).abs().max() <= 1
    else:
        assert torch.equal(ours, theirs)


def test_cutout_is_the_references_rectangle():
    images, count = pictures(32, 64), 64
    draws = torch.rand(3, count, generator=generator("boxes"), dtype=torch.float64)
    ours = ra.cutout(images, ra.cutout_boxes(draws, 32))
    for image, painted, (side, x, y) in zip(images, ours, draws.T.tolist(), strict=True):
        picture, v = to_pil(image), side * 0.5 * 32
        x0, y0 = int(max(0, x * 32 - v / 2)), int(max(0, y * 32 - v / 2))
        corners = (x0, y0, min(32, x0 + v), min(32, y0 + v))
        ImageDraw.Draw(picture).rectangle(corners, (125, 123, 114))
        assert torch.equal(painted, from_pil(picture))


@pytest.mark.parametrize("size", [32, 64, 7])
def test_rotation_is_torchvisions(size):
    images = pictures(size)
    degrees = torch.tensor([-20.0, -7.3, 1e-3, 3.0, 12.5, 20.0], dtype=torch.float64)
    ours = warp.warp(images, warp.fixed(warp.rotations(degrees, size)))
    for image, turned, angle in zip(images, ours, degrees.tolist(), strict=True):
        assert torch.equal(turned, from_pil(TF.rotate(to_pil(image), angle)))


def test_a_batch_is_its_samples():
    images, strong = pictures(32, 40), ra.Strong()
    draws = strong.draw(40, generator("draws"))
    before = images.clone()
    whole = strong.apply(images, draws)
    assert torch.equal(images, before)
    for k in range(40):
        alone = strong.apply(images[k : k + 1], draws[:, k : k + 1])
        assert torch.equal(whole[k : k + 1], alone)


def test_operations_are_drawn_evenly_and_magnitudes_fill_their_ranges():
    draws = ra.Strong().draw(28_000, generator("draws"))
    for turn in range(2):
        counts = (draws[turn] * 14).long().bincount(minlength=14)
        assert (counts - 2000).abs().max() < 250
    assert draws.min() >= 0
    assert draws.max() < 1
    assert (draws[0] * 14).long().eq((draws[1] * 14).long()).any()  # with replacement
    assert (ra.LOW.tolist(), (ra.LOW + ra.WIDTH).tolist()) == tuple(
        [float(r[k]) for r in ra.RANGES.values()] for k in (0, 1)
    )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_pixels_without_waiting():
    images, strong = pictures(32, 64), ra.Strong()
    draws = strong.draw(64, generator("draws"))
    there = images.cuda()
    strong.apply(there, draws)  # the first use allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = strong.apply(there, draws)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(made.cpu(), strong.apply(images, draws))
