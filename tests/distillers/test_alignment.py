"""Patch alignment and subspaces on batches of any kind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from distillers.alignment import (
    alignment_matrix,
    alignment_weights,
    class_count,
    component_count,
    discriminative_projection,
    principal_axes,
    relation_laplacian,
    relation_projection,
    relation_weights,
)
from distillers.gk_dfd import consistency_loss, projected_loss, signed_loss
from distillers.graphs import squared_distances
from tests.distillers.loops import normal

DOUBLE = torch.float64


BALANCED = torch.arange(4).repeat_interleave(4)
RAGGED = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 0])  # 2 and 4 are alone


@pytest.mark.parametrize(("positives", "negatives"), [(None, None), (1, 2), (2, 5), (7, 56)])
def test_alignment_is_the_sum_over_anchors(positives, negatives):
    points = normal(12, 3)
    weights = alignment_weights(points, RAGGED, positives, negatives)
    expected = torch.zeros(12, 12, dtype=DOUBLE)
    for i in range(12):
        expected += local_alignment(points, i, positives or 99, negatives or 99)
    torch.testing.assert_close(alignment_matrix(weights), expected)
    y = normal(12, 2, seed=1)
    trace = (y.T @ alignment_matrix(weights) @ y).trace()
    torch.testing.assert_close(trace, (weights * squared_distances(y, y)).sum())


def local_alignment(points, i, positives, negatives):
    """One anchor's part of L by its definition: [[Σw, −wᵀ], [−w, diag w]] on its neighbours."""
    by_distance = (points - points[i]).square().sum(1).argsort().tolist()
    near = [j for j in by_distance if j != i]
    same = [j for j in near if RAGGED[j] == RAGGED[i]][:positives]
    other = [j for j in near if RAGGED[j] != RAGGED[i]][:negatives]
    w = torch.tensor([1.0] * len(same) + [-len(same) / len(other)] * len(other), dtype=DOUBLE)
    local = torch.zeros(12, 12, dtype=DOUBLE)
    chosen = torch.tensor(same + other)
    local[i, i] = w.sum()
    local[i, chosen] = local[chosen, i] = -w
    local[chosen, chosen] = w
    return local


def test_a_balanced_batch_with_all_neighbours_gives_the_margin_criterion():
    points = normal(16, 5)
    points = points - points.mean(0)
    weights = alignment_weights(points, BALANCED)
    laplacian = alignment_matrix(weights)
    torch.testing.assert_close(laplacian, -2 * weights)
    means = torch.stack([points[c == BALANCED].mean(0) for c in range(4)])[BALANCED]
    within = (points - means).T @ (points - means)
    between = means.T @ means
    theta = 3 / 12
    expected = 2 * within - 2 * theta * 16 * between
    torch.testing.assert_close(points.T @ laplacian @ points, expected)


def test_relations_repel_also_from_a_class_of_one():
    relations = relation_weights(normal(12, 3), RAGGED)
    torch.testing.assert_close(relations[5, :5], torch.full((5,), -1 / 11, dtype=DOUBLE))
    assert relations[5, 5] == 1
    assert (relation_laplacian(relations).sum(1).abs() < 1e-12).all()


@pytest.mark.parametrize(
    ("samples", "dimension", "ratio", "count"),
    [(64, 128, 2, 63), (256, 128, 2, 64), (4, 3, 1.5, 2), (1, 8, 2, 1), (9, 8, 100, 1)],
)
def test_component_count(samples, dimension, ratio, count):
    assert component_count(samples, dimension, ratio) == count


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_both_sides_of_pca_give_the_same_axes(shape):
    x = normal(*shape)
    mean, axes, variances = principal_axes(x, ratio=2)
    count = component_count(*shape, 2)
    _, singular, right = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    torch.testing.assert_close(variances, singular[:count] ** 2 / (len(x) - 1))
    torch.testing.assert_close(axes @ axes.T, right[:count].T @ right[:count])
    torch.testing.assert_close(mean, x.mean(0))


@pytest.mark.parametrize("shape", [(4, 20), (20, 6)])
def test_axes_without_variance_are_zero(shape):
    line = torch.linspace(0, 1, shape[0], dtype=DOUBLE)[:, None] * normal(1, shape[1])
    _, axes, _ = principal_axes(line, ratio=2)
    assert axes[:, 0].norm().item() == pytest.approx(1)
    assert torch.equal(axes[:, 1:], torch.zeros_like(axes[:, 1:]))


def test_projection_is_orthonormal_with_one_column_less_than_classes():
    nodes = F.normalize(normal(16, 40))
    projection, exists = discriminative_projection(nodes, BALANCED)
    assert exists
    gram = projection.T @ projection
    torch.testing.assert_close(gram, torch.diag((torch.arange(15) < 3).double()))
    fixed, _ = discriminative_projection(nodes, BALANCED, dimension=5)
    assert int((fixed.norm(dim=0) > 0).sum()) == 5


def test_equal_nodes_have_no_loss():
    nodes = F.normalize(normal(16, 40))
    projection, _ = discriminative_projection(nodes, BALANCED)
    assert consistency_loss(nodes, nodes) == 0
    assert projected_loss(nodes, nodes, projection) == 0


NO_SUBSPACE = [
    (torch.zeros(6, dtype=torch.long), False),  # one class
    (torch.arange(6), True),  # one sample each: "signed" still repels
    (torch.tensor([0, 1]), False),
    (torch.tensor([0]), False),
]


@pytest.mark.parametrize(("classes", "signed"), NO_SUBSPACE)
def test_without_a_subspace_the_projection_is_zero(classes, signed):
    nodes = F.normalize(normal(len(classes), 8))
    projection, exists = discriminative_projection(nodes, classes)
    assert not exists
    assert torch.equal(projection, torch.zeros_like(projection))
    mean, projection, relations, exists = relation_projection(nodes, classes)
    assert exists.item() == signed
    assert (signed_loss(-nodes, nodes, mean, projection, relations) != 0) == signed


def test_broken_nodes_have_no_subspace():
    nodes = F.normalize(normal(16, 40))
    nodes[3, 2] = torch.nan
    for project in (discriminative_projection, relation_projection):
        *matrices, exists = project(nodes, BALANCED)
        assert not exists
        assert all(matrix.isfinite().all() for matrix in matrices)


def test_classes_are_counted():
    assert class_count(RAGGED).item() == 5
