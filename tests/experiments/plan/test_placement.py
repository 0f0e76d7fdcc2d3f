"""Options of a data set that say where or how fast, not what, change no run's identity."""

from __future__ import annotations

import pytest

import datasets
from experiments.matrix import data_of, expand
from experiments.matrix.expansion import Facts
from experiments.matrix.schema import Matrix


def matrix(**options):
    return Matrix.model_validate(
        {
            "dataset": {"name": "imagenet", **options},
            "pairs": ["resnet56 -> resnet20"],
            "methods": ["kd"],
            "trials": 1,
        }
    )


def ids(table, **facts):
    return [spec.id for spec in expand.expand(table, Facts(**facts)).runs]


@pytest.mark.parametrize("options", [{"workers": 12}, {"cache": "/fast"}, {"workers": 0}])
def test_workers_and_cache_change_no_id(options):
    assert ids(matrix(**options)) == ids(matrix())
    assert not data_of.needs_content(matrix(**options))
    assert matrix(**options).dataset.options == options  # the jobs get them


def test_the_image_size_does():
    assert ids(matrix(image_size=160)) != ids(matrix())
    assert ids(matrix(image_size=224)) == ids(matrix())


def test_a_users_folder_is_known_by_its_content():
    here, there = (matrix(name="folder", folder=path) for path in ("here", "there"))
    assert data_of.needs_content(here)
    assert ids(here, content="a") == ids(there, content="a") != ids(here, content="b")


def test_placement_is_told_apart_for_every_set():
    for name in datasets.names():
        for option in datasets.options(name):
            expected = option in ("cache", "workers", "file", "folder", "label")
            assert datasets.is_placement(name, option) == expected


def test_a_label_is_only_a_name():
    plain = matrix(name="arrays", file="my.npz")
    labeled = matrix(name="arrays", file="my.npz", label="My birds")
    assert ids(plain, content="a") == ids(labeled, content="a")
    assert "label" not in data_of.data_spec(labeled, Facts(content="a")).options
