"""Graphs over a batch: adjacency, edges and distances."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from distillers.graphs import (
    class_aware_adjacency,
    squared_distances,
    unified_edge_metric,
)
from distillers.losses import hard_labels
from tests.distillers.loops import normal

RAGGED = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 0])  # 2 and 4 are alone


@pytest.mark.parametrize("smooth", [0.0, 1e-12])
def test_adjacency_is_symmetric_non_negative_with_unit_diagonal(smooth):
    for predictions in (normal(12, 5).softmax(dim=1), normal(12, 5), torch.zeros(12, 5)):
        adjacency = class_aware_adjacency(predictions, RAGGED, smooth=smooth)
        torch.testing.assert_close(adjacency, adjacency.T)
        assert (adjacency >= 0).all()
        assert torch.equal(adjacency.diagonal(), torch.ones(12, dtype=predictions.dtype))


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
def test_kappa_scales_only_edges_across_classes(kappa):
    metric = unified_edge_metric(normal(12, 5).softmax(dim=1)).clamp_min(0)
    adjacency = class_aware_adjacency(normal(12, 5).softmax(dim=1), RAGGED, kappa)
    same = RAGGED[:, None] == RAGGED[None]
    torch.testing.assert_close(adjacency, torch.where(same, 1, kappa) * metric)


def test_edges_between_equal_predictions_have_a_finite_gradient():
    p = torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]], requires_grad=True)
    class_aware_adjacency(p, torch.tensor([0, 0, 1]), smooth=1e-12).sum().backward()
    assert p.grad.isfinite().all()


def test_distances_of_points_far_from_the_origin_are_exact():
    x = 1000 + torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.0, 0.5]])
    expected = torch.tensor([[0, 0.0625, 0.25], [0.0625, 0, 0.3125], [0.25, 0.3125, 0]])
    torch.testing.assert_close(squared_distances(x, x), expected, rtol=1e-6, atol=0)


def test_soft_labels_become_their_largest_class():
    assert hard_labels(F.one_hot(RAGGED).float() * 0.7).equal(RAGGED)
    assert hard_labels(RAGGED) is RAGGED
