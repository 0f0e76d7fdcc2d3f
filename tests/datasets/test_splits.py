"""Hold-out and subset: disjoint, stratified, fixed; the fingerprint follows the data."""

from __future__ import annotations

import pytest
import torch

import datasets
from datasets import DataError


def build(**settings):
    return datasets.build("fake", train_size=200, test_size=20, image_size=8, **settings)


def pictures(data, split):
    """The set of images of a part (noise: all are different), as bytes."""
    if split != "train":
        images = torch.cat([b.images for b in data.test_batches(split)])
    else:
        part = data._train.images[..., 1:-1, 1:-1]  # the padding of 8-pixel images is 1
        images = data._normalise(part)
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("validation", [40, 0.2])
def test_hold_out_is_stratified_and_disjoint(validation):
    whole, data = build(), build(validation=validation)
    assert data.info.train_labels.bincount().tolist() == [16] * 10
    assert data.info.train_size == 160
    assert (data.sizes, whole.sizes) == ({"test": 20, "validation": 40}, {"test": 20})
    held = torch.cat([b.labels for b in data.test_batches("validation")])
    assert held.bincount().tolist() == [4] * 10
    kept, out = pictures(data, "train"), pictures(data, "validation")
    assert not kept & out
    assert kept | out == pictures(whole, "train")
    assert pictures(data, "test") == pictures(whole, "test")


def test_subset_is_taken_from_what_the_hold_out_leaves():
    alone, both = build(validation=40), build(validation=40, subset=50)
    assert pictures(both, "validation") == pictures(alone, "validation")
    assert pictures(both, "train") < pictures(alone, "train")
    assert both.info.train_labels.bincount().tolist() == [5] * 10
    assert both.info.train_size == 50


def test_indices_refer_to_the_remaining_part():
    data = build(validation=40, subset=50, batch_size=16)
    for batch in data.train_stream(0, 1):
        assert batch.indices.max() < 50
        assert torch.equal(batch.labels, data.info.train_labels[batch.indices])


def test_parts_are_the_same_every_time():
    first, second = (build(validation=0.1, subset=90) for _ in range(2))
    assert pictures(first, "train") == pictures(second, "train")
    assert first.fingerprint == second.fingerprint


def test_a_class_may_miss_in_a_subset():
    data = build(subset=4, batch_size=8)
    assert data.info.num_classes == 10
    assert sum(map(len, data.train_stream(0, 1))) == 4
    balanced = next(data.train_stream(0, 1, stream=datasets.Stream("balanced")))
    assert balanced.labels.unique(return_counts=True)[1].tolist() == [2] * 4


def test_fingerprint_changes_with_the_data_in_use():
    prints = [
        build().fingerprint,
        build(subset=100).fingerprint,
        build(validation=100).fingerprint,
        build(seed=1).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert all(len(p) == 64 for p in prints)
    assert build(batch_size=8, epochs=3).fingerprint == prints[0]
    assert build(subset=200).fingerprint == prints[0]


@pytest.mark.parametrize("value", [0, 200, -5, 0.0, 1.0, 1.5, 0.001, 0.999, True, "40", 40.0])
def test_impossible_hold_outs_are_refused(value):
    with pytest.raises(DataError, match=r"fake: validation = .*expected a number of images"):
        build(validation=value)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9"])
def test_impossible_subsets_are_refused(value):
    with pytest.raises(DataError, match=r"fake: subset = .*expected a whole number from 1"):
        build(subset=value)


def test_a_subset_larger_than_the_rest_is_refused():
    with pytest.raises(DataError, match="fake: subset = 161: the training part has 160"):
        build(validation=40, subset=161)


def test_a_set_that_is_scored_on_its_validation_part_has_no_test_part():
    plain = datasets.build("fake", train_size=60, test_size=20, validation=12)
    scored = datasets.build(
        "fake", train_size=60, test_size=20, validation=12, scored_on="validation"
    )
    assert (scored.sizes, scored.scored) == ({"validation": 12}, 12)
    assert plain.scored == 20
    own, held = (list(data.test_batches(*split)) for data, split in
                 ((scored, ()), (plain, ("validation",))))  # fmt: skip
    assert all(torch.equal(a.images, b.images) for a, b in zip(own, held, strict=True))
    assert scored.fingerprint != plain.fingerprint
    with pytest.raises(DataError, match="no test part: it is scored on the held-out"):
        scored.test_batches("test")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scored_on": "validation"}, "expected validation, too"),
        ({"scored_on": "tset", "validation": 12}, "did you mean test?"),
    ],
)
def test_what_it_is_scored_on_must_be_there(options, expected):
    with pytest.raises(DataError, match=expected):
        datasets.build("fake", train_size=60, test_size=20, **options)
