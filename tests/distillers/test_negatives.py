"""The pairs that CRD contrasts: negatives of other classes, exact and relaxed positives."""

import pytest
import torch

from datasets import Batch
from distillers.negatives import NegativeSampler
from tests.distillers import golden


def sampler(labels, count, num_classes=4):
    return NegativeSampler(torch.tensor(labels), num_classes, count)


UNEVEN = [0, 1, 1, 2, 2, 2, 2, 0, 2, 3, 3, 1, 2, 2, 3, 0, 2, 1, 2, 2]  # sizes 3, 4, 10, 3


@pytest.mark.parametrize("count", [1, 5, 10])
@pytest.mark.parametrize("seed", range(20))
def test_negatives_are_distinct_and_of_other_classes(count, seed):
    labels = torch.tensor(UNEVEN)
    classes = torch.tensor([0, 1, 2, 3, 2, 1, 0, 2])
    rows = sampler(UNEVEN, count).draw(classes, torch.Generator().manual_seed(seed))[:, 1:]
    assert rows.shape == (8, count)
    assert (labels[rows] != classes[:, None]).all()
    assert all(len(row.unique()) == count for row in rows)


def test_where_other_classes_are_too_few_negatives_repeat():
    labels = torch.tensor(UNEVEN)
    classes = torch.tensor([2, 0])  # 10 others for class 2, 17 for class 0
    rows = sampler(UNEVEN, 17).draw(classes, torch.Generator().manual_seed(0))[:, 1:]
    assert rows.shape == (2, 17)
    assert (labels[rows] != classes[:, None]).all()
    assert len(rows[0].unique()) <= 10
    assert len(rows[1].unique()) == 17


@pytest.mark.parametrize("count", [3, 9, 40])
def test_every_row_draws_all_others_equally_often(count):
    labels, drawer = torch.tensor(UNEVEN), sampler(UNEVEN, count)
    generator = torch.Generator().manual_seed(0)
    classes = torch.tensor([0, 1, 2, 3])
    seen = torch.zeros(4, 20)
    draws = 3000
    for _ in range(draws):
        rows = drawer.draw(classes, generator)[:, 1:]
        seen.scatter_add_(1, rows, torch.ones(rows.shape))
    for row, label in zip(seen, classes, strict=True):
        others = labels != label
        expected = draws * count / int(others.sum())
        assert row[~others].sum() == 0
        assert (row[others] - expected).abs().max() < 5 * expected**0.5


def test_pairs_of_negatives_are_as_frequent_as_in_a_uniform_subset():
    drawer, generator = sampler([0, 0, 1, 1, 1, 1], 2, 2), torch.Generator().manual_seed(1)
    seen = torch.zeros(6, 6)
    for _ in range(3000):
        a, b = drawer.draw(torch.tensor([0]), generator)[0, 1:].sort().values
        seen[a, b] += 1
    counts = seen[seen > 0]
    assert len(counts) == 6  # 4 choose 2
    assert (counts - 500).abs().max() < 5 * 500**0.5


def tiny(positives, negatives=4, labels=UNEVEN):
    inputs = {"s_embedding": torch.rand(8, 6), "t_embedding": torch.rand(8, 5)}
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    data = golden.info(student, len(labels), train_labels=torch.tensor(labels))
    options = {"positives": positives, "negatives": negatives, "feature_dim": 3}
    return golden.build("crd", student, teacher, torch.float32, data, **options)


def at_step(step, soft=False):
    indices = torch.arange(8) + 2
    labels = torch.tensor(UNEVEN)[indices]
    if soft:
        labels = 0.9 * torch.eye(10)[labels] + 0.01
    return Batch(torch.zeros(8, 3, 8, 8), labels, indices, epoch=1, step=step)


def test_exact_pairs():
    rows = tiny("exact").sample_negatives(at_step(0))
    assert rows.dtype == torch.long and rows.shape == (8, 5)
    assert torch.equal(rows[:, 0], at_step(0).indices)


def test_relaxed_positives_are_any_of_the_class():
    method, labels = tiny("relax"), torch.tensor(UNEVEN)
    positives = torch.stack([method.sample_negatives(at_step(s))[:, 0] for s in range(200)])
    assert (labels[positives] == at_step(0).labels).all()
    for column, label in zip(positives.T, at_step(0).labels, strict=True):
        assert len(column.unique()) == int((labels == label).sum())


def test_pairs_are_a_function_of_the_step():
    method = tiny("exact")
    assert torch.equal(method.sample_negatives(at_step(3)), method.sample_negatives(at_step(3)))
    assert not torch.equal(method.sample_negatives(at_step(3)), method.sample_negatives(at_step(4)))


def test_soft_labels_count_by_their_largest_class():
    method = tiny("exact")
    soft = method.sample_negatives(at_step(3, soft=True))
    assert torch.equal(soft, method.sample_negatives(at_step(3)))
