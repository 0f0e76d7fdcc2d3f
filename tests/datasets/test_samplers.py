"""Stratified selections, distinct draws, and the balanced batches' composition."""

from __future__ import annotations

import pytest
import torch

from datasets import DataError, Stream
from datasets.randomness import generator
from datasets.samplers import BalancedSampler, PlainSampler, distinct, make, stratified


def labels_of(*sizes):
    """Shuffled labels with so many samples of class 0, 1, …"""
    ordered = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return ordered[torch.randperm(len(ordered), generator=generator("labels"))]


def batches_of(sampler, *where):
    return sampler.draw(generator("balanced", *where)).view(sampler.steps, -1)


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ((50, 30, 20), 10, [5, 3, 2]),
        ((50, 30, 20), 1, [1, 0, 0]),
        ((50, 30, 20), 99, [49, 30, 20]),  # 49.5, 29.7, 19.8: the largest remainders go up
        ((4, 0, 4), 3, [2, 0, 1]),
        ((7, 7, 7), 21, [7, 7, 7]),
    ],
)
def test_stratified_takes_each_class_in_proportion(sizes, count, expected):
    labels = labels_of(*sizes)
    chosen = stratified(labels, count, generator("any"))
    assert labels[chosen].bincount(minlength=len(sizes)).tolist() == expected
    assert torch.equal(chosen, chosen.unique())  # sorted, distinct


def test_stratified_chooses_at_random_within_a_class():
    labels = labels_of(100, 100)
    first, second = (stratified(labels, 20, generator("any", k)) for k in (1, 2))
    assert not torch.equal(first, second)
    assert torch.equal(first, stratified(labels, 20, generator("any", 1)))


def test_distinct_draws_every_ordered_pair_equally_often():
    picks = distinct(torch.full((60_000,), 4), 2, generator("pairs"))
    counts = (picks[:, 0] * 4 + picks[:, 1]).bincount(minlength=16).view(4, 4)
    assert not counts.diagonal().any()
    others = counts[~torch.eye(4, dtype=torch.bool)]
    assert (others - 5000).abs().max() < 400  # 12 pairs; 5.9 standard deviations


def test_distinct_repeats_only_where_it_must():
    sizes = torch.tensor([3, 8, 1, 500])
    picks = distinct(sizes, 8, generator("few"))
    assert (picks < sizes[:, None]).all()
    assert (picks >= 0).all()
    assert picks[1].sort().values.tolist() == list(range(8))
    assert len(picks[3].unique()) == 8


def test_balanced_batches_are_eight_classes_of_eight_samples():
    labels = labels_of(*[50] * 20)
    sampler = BalancedSampler(labels, 64)
    assert sampler.steps == 1000 // 64
    for batch in batches_of(sampler, 1):
        assert len(batch.unique()) == 64
        assert labels[batch].unique(return_counts=True)[1].tolist() == [8] * 8


def test_balanced_batches_are_independent_shuffled_and_uniform_over_classes():
    labels = labels_of(*[640] * 20)
    batches = batches_of(BalancedSampler(labels, 64), 2)
    seen = labels[batches]
    assert (seen[:, 1:] != seen[:, :-1]).float().mean() > 0.8  # classes are mixed: 7/8 differ
    counts = seen.flatten().bincount()
    assert (counts - 640).abs().max() < 8 * 35  # 200 batches × 8/20 of 8: deviation 8 · 6.9
    assert len(batches.unique()) < labels.numel()  # an epoch need not cover the set


def test_balanced_fills_the_batch_when_classes_do_not_divide_it():
    labels = labels_of(*[30] * 10)
    for batch in batches_of(BalancedSampler(labels, 50), 3):
        counts = labels[batch].unique(return_counts=True)[1]
        assert sorted(counts.tolist()) == [6] * 6 + [7] * 2


@pytest.mark.parametrize(
    ("sizes", "batch_size", "steps", "per_class"),
    [
        ((40, 40, 40), 12, 10, 4),  # fewer than eight classes: all of them
        ((3, 40, 40), 24, 3, 8),  # a class with too few samples repeats some
        ((5, 0, 5), 8, 1, 4),  # a class without samples is never drawn
        ((2, 2), 64, 1, 32),  # a batch larger than the set
    ],
)
def test_balanced_serves_small_sets(sizes, batch_size, steps, per_class):
    labels = labels_of(*sizes)
    sampler = BalancedSampler(labels, batch_size)
    batches = batches_of(sampler)
    assert batches.shape == (steps, batch_size)
    present = sum(size > 0 for size in sizes)
    for batch in batches:
        counts = labels[batch].unique(return_counts=True)[1]
        assert counts.tolist() == [per_class] * present
        for name, size in enumerate(sizes):
            members = batch[labels[batch] == name]
            assert size < per_class or len(members.unique()) == per_class


def test_balanced_refuses_a_batch_smaller_than_its_classes():
    with pytest.raises(DataError, match=r"batch size 7: .* 8 classes"):
        BalancedSampler(labels_of(*[9] * 10), 7)


def test_plain_order_is_a_permutation_and_keeps_the_last_batch():
    sampler = PlainSampler(labels_of(5, 6), 4)
    assert sampler.steps == 3
    assert sampler.draw(generator("x")).sort().values.tolist() == list(range(11))


def test_unknown_sampler_names_the_near_match():
    with pytest.raises(DataError, match=r"unknown sampler 'balance'.*balanced"):
        make(Stream("balance"), labels_of(5, 5), 4)


def test_balanced_epoch_of_cifar_size_draws_fast():
    """Measured: about 10 ms on one core; the bound is loose because machines are shared."""
    import time

    labels = torch.arange(50_000) % 100
    sampler = BalancedSampler(labels, 64)
    start = time.perf_counter()
    indices = sampler.draw(generator("speed"))
    assert time.perf_counter() - start < 1
    assert len(indices) == 781 * 64
