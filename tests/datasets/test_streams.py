"""A stream is a pure function of its arguments; its batches carry what they say."""

from __future__ import annotations

import hashlib

import pytest
import torch

import datasets
from datasets import DataError, Stream

STREAMS = [
    Stream(),
    Stream("balanced"),
    Stream(views=("weak",)),
    Stream("balanced", views=("weak", "weak")),
    Stream(views=("strong",)),
    Stream("balanced", views=("strong", "weak", "strong")),
    Stream(stage="initial"),
]


@pytest.fixture(scope="module")
def data():
    return datasets.build("fake", train_size=150, test_size=70, image_size=16, batch_size=40)


def flat(batches):
    """All tensors of a stream, in order."""
    return [t for b in batches for t in (b.images, b.labels, b.indices, *b.views)]


def equal(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_same_arguments_give_the_same_batches(data, stream):
    again = datasets.build("fake", train_size=150, test_size=70, image_size=16, batch_size=40)
    list(again.train_stream(7, 7, stream=stream))  # what was drawn before does not matter
    torch.manual_seed(5)
    first, second = (flat(d.train_stream(1, 2, stream=stream)) for d in (data, again))
    assert equal(first, second)


@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_start_step_gives_exactly_the_tail(data, stream):
    whole = list(data.train_stream(0, 3, stream=stream))
    assert len(whole) == data.steps_per_epoch(stream)
    for start in range(len(whole) + 1):
        tail = list(data.train_stream(0, 3, start, stream))
        assert [b.step for b in tail] == list(range(start, len(whole)))
        assert equal(flat(tail), flat(whole[start:]))


@pytest.mark.parametrize(
    ("stream", "digest"),
    [
        (Stream(), "2f0d763b7505"),
        (Stream("balanced"), "5b9395bd61cd"),
        (Stream(views=("weak",), stage="initial"), "4b99b9cf58be"),
    ],
    ids=str,
)
def test_the_draws_are_those_of_stored_results(data, stream, digest):
    """Whoever changes these changes what the trials of every stored run have seen."""
    found = hashlib.sha256(
        b"".join(t.numpy().tobytes() for t in flat(data.train_stream(1, 2, 0, stream)))
    )
    assert found.hexdigest()[:12] == digest


@pytest.mark.parametrize("sampler", [None, "balanced"])
def test_trial_epoch_and_stage_differ_in_order_and_crops(data, sampler):
    base = next(data.train_stream(0, 1, stream=Stream(sampler)))
    others = [
        next(data.train_stream(1, 1, stream=Stream(sampler))),
        next(data.train_stream(0, 2, stream=Stream(sampler))),
        next(data.train_stream(0, 1, stream=Stream(sampler, stage="initial"))),
    ]
    for other in others:
        assert not torch.equal(base.indices, other.indices)
        assert not torch.equal(base.images, other.images)


def test_crops_differ_between_epochs_for_the_same_image(data):
    def views_of(image):
        batches = [b for epoch in range(1, 9) for b in data.train_stream(0, epoch)]
        return torch.cat([b.images[b.indices == image] for b in batches])

    views = views_of(3)
    assert len(views) == 8
    assert len(views.flatten(1).unique(dim=0)) >= 6


def test_a_plain_epoch_shows_every_sample_once(data):
    batches = list(data.train_stream(0, 1))
    assert [len(b) for b in batches] == [40, 40, 40, 30]
    indices = torch.cat([b.indices for b in batches])
    assert indices.sort().values.tolist() == list(range(150))
    assert torch.equal(torch.cat([b.labels for b in batches]), data.info.train_labels[indices])


def test_a_batch_says_what_it_is(data):
    batch = next(data.train_stream(0, 4, 2, Stream(views=("weak",))))
    assert (batch.epoch, batch.step) == (4, 2)
    assert batch.images.shape == (40, 3, 16, 16)
    assert batch.images.dtype == torch.float32
    assert batch.labels.dtype == batch.indices.dtype == torch.int64
    assert len(batch.views) == 1


def test_balanced_stream_is_balanced(data):
    for batch in data.train_stream(0, 1, stream=Stream("balanced")):
        assert batch.labels.unique(return_counts=True)[1].tolist() == [5] * 8
        assert torch.equal(batch.labels, data.info.train_labels[batch.indices])
    assert data.steps_per_epoch(Stream("balanced")) == 150 // 40


def test_a_weak_view_is_another_draw_of_the_same_images(data):
    stream = Stream(views=("weak", "weak"))
    plain = list(data.train_stream(0, 1))
    for batch, alone in zip(data.train_stream(0, 1, stream=stream), plain, strict=True):
        assert torch.equal(batch.images, alone.images)  # a view changes nothing else
        one, two = batch.views
        same = [
            (a == b).flatten(1).all(1).float().mean()
            for a, b in ((batch.images, one), (batch.images, two), (one, two))
        ]
        assert max(same) < 0.3  # of 5 · 5 · 2 views, few agree by chance
    # Class patterns are horizontal bands: means along rows tell that the images are the same ones.
    assert (one.mean((1, 2, 3)) - batch.images.mean((1, 2, 3))).abs().max() < 0.6


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (Stream("balancd"), r"unknown sampler 'balancd'.*balanced"),
        (Stream(views=("weka",)), r"fake: unknown view 'weka': did you mean weak\?"),
        (Stream(views=("blurred",)), r"unknown view 'blurred': known: strong, weak"),
    ],
)
def test_an_impossible_stream_is_refused_at_once(data, stream, message):
    with pytest.raises(DataError, match=message):
        data.train_stream(0, 1, stream=stream)


@pytest.mark.parametrize("step", [-1, 5])
def test_a_step_outside_the_epoch_is_refused(data, step):
    with pytest.raises(DataError, match=rf"step {step}: the epoch has 4 steps"):
        data.train_stream(0, 1, step)


@pytest.mark.parametrize("batch_size", [1, 7, 70, 250])
def test_test_batches_come_in_order_and_are_not_augmented(data, batch_size):
    batches = list(data.test_batches(batch_size=batch_size))
    assert torch.equal(torch.cat([b.indices for b in batches]), torch.arange(70))
    assert torch.cat([b.labels for b in batches]).tolist() == [i % 10 for i in range(70)]
    assert {b.epoch for b in batches} == {0}
    assert [b.step for b in batches] == list(range(-(-70 // batch_size)))
    images = torch.cat([b.images for b in batches])
    whole = next(iter(data.test_batches()))
    assert torch.equal(images, whole.images)


def test_an_unknown_or_absent_split_is_refused(data):
    with pytest.raises(DataError, match="no validation part: none was held out"):
        data.test_batches("validation")
    with pytest.raises(DataError, match=r"unknown split 'tset': did you mean test\?"):
        data.test_batches("tset")


@pytest.mark.parametrize("batch_size", [1, 9, 64, 1000])
def test_any_batch_size_serves_a_small_set(batch_size):
    data = datasets.build("fake", train_size=9, test_size=3, image_size=8, batch_size=batch_size)
    batches = list(data.train_stream(0, 1))
    assert len(batches) == data.steps_per_epoch() == -(-9 // batch_size)
    assert sum(map(len, batches)) == 9


def test_to_leaves_the_original_and_gives_equal_batches(data):
    moved = data.to("cpu")
    assert moved is not data
    assert equal(flat(moved.train_stream(0, 1)), flat(data.train_stream(0, 1)))
    assert moved.fingerprint == data.fingerprint


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stream", STREAMS, ids=str)
def test_cuda_batches_are_bit_equal_and_never_wait(data, stream):
    moved = data.to("cuda")
    list(moved.train_stream(0, 1, stream=stream))  # the first use allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(moved.train_stream(0, 1, stream=stream))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    there = [tensor.cpu() for tensor in flat(batches)]
    assert equal(there, flat(data.train_stream(0, 1, stream=stream)))
