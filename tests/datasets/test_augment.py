"""Every crop and mirror image against torchvision's transforms, and the draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as TF

from datasets.augment import Augmentation, Normalisation
from datasets.randomness import generator

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def noise(count, size):
    shape = (count, 3, size, size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator("noise", size))


def all_views(padding):
    """(3, n): every row × column × mirror of a shift-crop."""
    offsets = torch.arange(2 * padding + 1)
    return torch.cartesian_prod(offsets, offsets, torch.arange(2)).T


def by_torchvision(image, padding, row, column, flip):
    size = image.shape[-1]
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    picture = TF.crop(TF.pad(picture, [padding]), row, column, size, size)
    if flip:
        picture = TF.hflip(picture)
    return TF.normalize(TF.to_tensor(picture), MEAN, STD)


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (16, 2), (16, 4), (7, 0)])
def test_every_view_is_torchvisions(size, padding):
    images, draws = noise(5, size), all_views(padding)
    indices = torch.arange(draws.shape[1]) % 5
    augmentation = Augmentation(padding, flip=True)
    views = augmentation.apply(augmentation.pad(images), indices, draws)
    ours = Normalisation(MEAN, STD)(views)
    assert ours.dtype == torch.float32
    for view, index, draw in zip(ours, indices.tolist(), draws.T.tolist(), strict=True):
        theirs = by_torchvision(images[index], padding, *draw)
        assert torch.equal(view, theirs)


def test_normalisation_is_bit_equal_to_torchvision_for_every_value():
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    picture = Image.fromarray(ramp[0].permute(1, 2, 0).numpy())
    theirs = TF.normalize(TF.to_tensor(picture), MEAN, STD)
    assert torch.equal(Normalisation(MEAN, STD)(ramp)[0], theirs)


def test_the_border_is_black_before_normalisation():
    augmentation = Augmentation(padding=4, flip=False)
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    corner = torch.tensor([[0], [0], [0]])
    view = Normalisation(MEAN, STD)(
        augmentation.apply(augmentation.pad(white), torch.tensor([0]), corner)
    )
    black = -torch.tensor(MEAN) / torch.tensor(STD)
    torch.testing.assert_close(view[0, :, 0, 0], black)
    torch.testing.assert_close(view[0, :, 3, 31], black)
    assert (view[0, :, 4, 4] > 0).all()


def test_draws_cover_every_view_evenly():
    rows, columns, flips = Augmentation(4, flip=True).draw(81_000, generator("draws"))
    for offsets in (rows, columns):
        assert offsets.bincount().shape == (9,)
        assert (offsets.bincount() - 9000).abs().max() < 500  # 5.6 standard deviations
    assert (flips.bincount() - 40_500).abs().max() < 800
    assert abs(np.corrcoef(rows, flips)[0, 1]) < 0.02


def test_without_flip_nothing_is_mirrored():
    assert not Augmentation(2, flip=False).draw(500, generator("draws"))[2].any()
