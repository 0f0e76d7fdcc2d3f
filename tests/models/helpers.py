"""What several tests of the zoo need: networks, images, comparisons."""

from __future__ import annotations

import torch

import models


def built(name="resnet8", num_classes=10, seed=0):
    """A network whose weights depend on ``seed`` only."""
    torch.manual_seed(seed)
    return models.build(name, num_classes)


def images(height=32, width=None, n=2, dtype=torch.float32):
    """Normal noise (n, 3, height, width), the same every time."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, height, width or height, generator=generator, dtype=dtype)


def same(actual, expected, rtol=1e-5):
    """``rtol`` is relative to the largest expected value."""
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol * expected.abs().max().item())


def equal_states(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)
