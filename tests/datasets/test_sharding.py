"""Several processes share every batch: together they see what one alone would."""

from __future__ import annotations

import re

import pytest
import torch

import datasets
from datasets import DataError, Stream

STREAMS = [Stream(), Stream("balanced"), Stream(views=("weak",)), Stream(stage="initial")]
SIZES = {"train_size": 150, "test_size": 70, "image_size": 8}


def build(rank=0, world=1, batch_size=40, **options):
    return datasets.build(
        "fake", batch_size=batch_size, shard=(rank, world), **{**SIZES, **options}
    )


@pytest.mark.parametrize("stream", STREAMS, ids=str)
@pytest.mark.parametrize("world", [2, 3, 5])
def test_together_they_see_what_one_alone_would(stream, world):
    alone = list(build().train_stream(1, 2, stream=stream))
    ranks = [list(build(r, world).train_stream(1, 2, stream=stream)) for r in range(world)]
    for rank, mine in enumerate(ranks):
        assert len(mine) == len(alone)
        for batch, whole in zip(mine, alone, strict=True):
            for name in ("images", "labels", "indices"):
                expected = torch.tensor_split(getattr(whole, name), world)[rank]
                assert torch.equal(getattr(batch, name), expected)
            for view, theirs in zip(batch.views, whole.views, strict=True):
                assert torch.equal(view, torch.tensor_split(theirs, world)[rank])
            assert (batch.whole, batch.step) == (len(whole), whole.step)
            assert len(batch) >= 2


def test_alone_a_batch_knows_its_size():
    assert [(len(b), b.whole) for b in build().train_stream(0, 1)] == [(40, 40)] * 3 + [(30, 30)]


@pytest.mark.parametrize(
    ("world", "train_size", "steps"),
    [(1, 81, 3), (2, 81, 2), (2, 83, 2), (2, 84, 3), (4, 87, 2), (4, 88, 3), (4, 80, 2)],
)
def test_a_last_batch_without_two_for_everyone_is_left_out(world, train_size, steps):
    for rank in range(world):
        data = build(rank, world, train_size=train_size)
        batches = list(data.train_stream(0, 1))
        assert data.steps_per_epoch() == len(batches) == steps
        assert [b.step for b in data.train_stream(0, 1, 1)] == list(range(1, steps))


def test_a_shard_starts_in_the_middle_with_the_same_batch():
    data = build(1, 2)
    later, tail = list(data.train_stream(0, 1))[2:], list(data.train_stream(0, 1, 2))
    for one, other in zip(later, tail, strict=True):
        assert torch.equal(one.images, other.images)


def test_the_batches_of_the_test_part_are_dealt_out():
    alone = list(build().test_batches(batch_size=20))
    for rank in range(3):
        mine = list(build(rank, 3).test_batches(batch_size=20))
        assert [b.step for b in mine] == list(range(rank, 4, 3))
        for batch in mine:
            assert torch.equal(batch.images, alone[batch.step].images)
            assert torch.equal(batch.indices, alone[batch.step].indices)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 2, "world": 2}, "fake: shard = (2, 2): expected (rank, world)"),
        ({"rank": -1, "world": 2}, "fake: shard = (-1, 2): expected (rank, world)"),
        ({"world": 4, "batch_size": 7}, "fake: batch_size = 7: 4 processes need at least 8"),
        ({"world": 4, "train_size": 7}, "fake: training images = 7: 4 processes need at least 8"),
    ],
)
def test_what_cannot_be_shared_is_refused(arguments, message):
    with pytest.raises(DataError, match=re.escape(message)):
        build(**arguments)
