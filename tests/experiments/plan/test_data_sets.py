"""Entries with data of their own: what is read for them, and what is refused before training."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.errors import InputError
from experiments.matrix.run_spec import DataSpec
from experiments.plan import kinds
from experiments.plan.data_sets import DataSets
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from tests.experiments import cli

KD = {"name": "kd", "label": "B"}


def planned(folder, **changes):
    path = cli.write(folder, **changes)
    return prepare(str(path), Workspace(folder / "runs", folder / "data", "cpu"))


def test_each_part_is_read_once(tmp_path):
    sets = DataSets(tmp_path)
    part = DataSpec(name="fake", subset=16, options={"train_size": 64})
    assert sets.of(part) is sets.of(part.model_copy(update={"content": "ab"}))
    assert sets.of(part).info.train_size == 16


def test_a_method_is_told_the_batches_and_epochs_of_its_run(tmp_path):
    found = cli.expansion(
        methods=[{**KD, "recipe": {"epochs": 5, "batch_size": 16}, "dataset": {"subset": 20}}]
    )
    info = DataSets(tmp_path).info(found.entries[0].spec)
    assert (info.epochs, info.batch_size, info.train_size) == (5, 16, 20)


def test_runs_on_other_data_are_of_another_kind():
    found = cli.expansion(methods=["kd", {**KD, "dataset": {"subset": 16}}], trials=1)
    assert len({kinds.kind(entry.spec) for entry in found.entries}) == 2


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"dataset": {"subset": 65}}, "subset = 65: the training part has 64 (of B)"),
        ({"sweep": {"dataset.image_size": ["x"]}}, "image_size = 'x': expected int (of B (data"),
        ({"dataset": {"num_classes": 6}}, "6 classes in B, but its teacher has 4"),
        ({"recipe": {"batch_size": 1}}, "methods.1.recipe.batch_size: 1 for 1 process: each needs"),
    ],
)
def test_data_that_cannot_be_used_are_refused_before_training(tmp_path, entry, problem):
    with pytest.raises(InputError) as caught:
        planned(tmp_path, methods=["kd", {**KD, **entry}])
    assert problem in str(caught.value)


def test_numerics_that_this_machine_lacks_are_refused_with_their_place(tmp_path, monkeypatch):
    from experiments.train import numerics

    monkeypatch.setattr(numerics, "_unavailable", lambda device: {"bf16": "is not there"})
    with pytest.raises(
        InputError, match=r"methods.0.sweep.recipe.precision.1: precision: bf16: not"
    ):
        planned(tmp_path, methods=[{**KD, "sweep": {"recipe.precision": ["fp32", "bf16"]}}])


def test_a_part_of_a_users_own_data_is_known_by_its_content(tmp_path):
    """By the same hash as in a matrix that has this part of them."""
    (tmp_path / "data").mkdir()
    draw = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 24), ("test", 8)):
        arrays[f"x_{part}"] = draw.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 4
    np.savez(tmp_path / "data" / "own.npz", **arrays)
    own = {"name": "arrays", "file": "own.npz"}
    swept = planned(tmp_path, dataset=own, methods=[{**KD, "dataset": {"subset": 12}}])
    by_hand = planned(tmp_path, dataset={**own, "subset": 12}, methods=["kd"])
    specs = [plan.expansion.entries[0].spec.dataset for plan in (swept, by_hand)]
    assert specs[0] == specs[1]
    assert swept.expansion.teachers[0].dataset.content != specs[0].content
