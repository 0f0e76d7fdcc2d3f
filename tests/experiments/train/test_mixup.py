"""Batches under mixup, CutMix, erasing and smoothing."""

from __future__ import annotations

import pytest
import torch

from datasets import Batch, Info
from experiments.matrix.recipe import Recipe
from experiments.train.mixup import mixed

CLASSES = 4


def info() -> Info:
    return Info("fake", CLASSES, 8, tuple("abcd"), 12, torch.arange(12) % CLASSES)


def batch(n: int = 6, views: int = 1) -> Batch:
    """Image k is k + 1 everywhere, its view 10 (k + 1), so that shares can be read off."""
    values = torch.arange(1.0, n + 1)[:, None, None, None].expand(n, 3, 8, 8).clone()
    return Batch(
        values,
        torch.arange(n) % CLASSES,
        torch.arange(n),
        epoch=2,
        step=3,
        views=tuple(10 * values for _ in range(views)),
    )


def changed(recipe: Recipe, given: Batch | None = None, *coordinates: int) -> Batch:
    return mixed(given or batch(), info(), recipe, *coordinates)


def test_without_regularisation_the_batch_is_unchanged():
    given = batch()
    assert mixed(given, info(), Recipe()) is given


def test_label_smoothing_is_that_of_cross_entropy():
    logits = torch.randn(6, CLASSES)
    soft = changed(Recipe(label_smoothing=0.1)).labels
    expected = torch.nn.functional.cross_entropy(logits, batch().labels, label_smoothing=0.1)
    assert torch.allclose(torch.nn.functional.cross_entropy(logits, soft), expected)


def test_mixup_mixes_images_views_and_labels_in_one_proportion():
    out = changed(Recipe(mixup=1.0))
    first, partner = batch().images[1, 0, 0, 0], batch().images[0, 0, 0, 0]
    share = (out.images[1, 0, 0, 0] - partner) / (first - partner)
    assert 0 < share < 1
    assert torch.allclose(out.images[1], share * batch().images[1] + (1 - share) * partner)
    assert torch.allclose(out.views[0], 10 * out.images)
    assert torch.allclose(out.labels[1], torch.tensor([1 - share, share, 0, 0]), atol=1e-6)
    assert torch.allclose(out.labels.sum(dim=1), torch.ones(6))


def test_cutmix_pastes_a_rectangle_and_weighs_labels_by_its_area():
    shares = []
    for trial in range(5):
        out = changed(Recipe(cutmix=1.0), None, trial)
        assert set(out.images[1].unique().tolist()) <= {1.0, 2.0}
        shares.append((out.images[1, 0] == 1.0).float().mean())
        assert torch.allclose(out.labels[1, 0], shares[-1])
        assert torch.equal(out.views[0], 10 * out.images)
    assert len(set(map(float, shares))) > 2


def test_mixup_and_cutmix_take_turns():
    kinds = set()
    for trial in range(20):
        out = changed(Recipe(mixup=1.0, cutmix=1.0), None, trial)
        kinds.add(len(out.images[1].unique()))
    assert kinds == {1, 2}  # mixed evenly, or cut


def test_erasing_blanks_rectangles_of_some_images_each_its_own():
    out = changed(Recipe(random_erasing=0.5), batch(64, views=0))
    blank = (out.images == 0).any(dim=1).flatten(1)
    share = blank.any(dim=1).float().mean()
    assert 0.25 < share < 0.75
    assert len({tuple(row.tolist()) for row in blank[blank.any(dim=1)]}) > 5
    assert out.labels.shape == (64, CLASSES)


@pytest.mark.parametrize(
    "fields", [{"mixup": 0.8}, {"cutmix": 1.0}, {"random_erasing": 0.5}], ids=str
)
def test_random_numbers_depend_only_on_coordinates(fields):
    recipe = Recipe(**fields)
    torch.manual_seed(1)
    first = changed(recipe, None, 0)
    torch.rand(5)
    state = torch.get_rng_state()
    again, other = changed(recipe, None, 0), changed(recipe, None, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_a_single_image_has_no_partner():
    out = changed(Recipe(mixup=1.0, cutmix=1.0), batch(1))
    assert torch.equal(out.images, batch(1).images)
    assert out.labels.tolist() == [[1, 0, 0, 0]]
