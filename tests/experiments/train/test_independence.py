"""A run's numbers do not depend on the other runs in its cohort."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.matrix.recipe import Recipe
from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from results import records
from tests.experiments import tiny


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("together")
    states = trainer.train(tiny.cohort(runs, tiny.METHODS))
    assert set(states.values()) == {Outcome.DONE}
    return runs


@pytest.mark.parametrize("method", tiny.METHODS)
def test_alone_is_as_in_a_cohort(method: str, together: Path, tmp_path: Path) -> None:
    trainer.train(tiny.cohort(tmp_path, (method,)))
    tiny.assert_same_weights(tiny.weights(tmp_path, method), tiny.weights(together, method))
    alone, record = (
        records.read(tiny.spec(method).directory(runs)) for runs in (tmp_path, together)
    )
    assert alone is not None and record is not None
    assert alone.accuracy == record.accuracy


def test_methods_start_from_the_same_student_and_differ_after(together: Path) -> None:
    weights = {method: tiny.weights(together, method)["fc.weight"] for method in tiny.METHODS}
    for a in tiny.METHODS:
        for b in tiny.METHODS:
            assert a == b or not torch.equal(weights[a], weights[b])


def test_trials_differ(tmp_path: Path) -> None:
    job = tiny.cohort(tmp_path, ("vanilla",))
    other = job.specs[0].model_copy(update={"trial": 1})
    trainer.train(job)
    job.specs = [other]
    trainer.train(job)
    a = tiny.weights(tmp_path, "vanilla")["fc.weight"]
    b = tiny.load_file(other.directory(tmp_path) / tiny.WEIGHTS)["fc.weight"]
    assert not torch.equal(a, b)


def test_the_teacher_is_untouched_and_stays_frozen(tmp_path: Path) -> None:
    job = tiny.cohort(
        tmp_path, ("kd", "fitnet", "gk_dfd"), Recipe(epochs=1, batch_size=16, milestones=())
    )
    assert job.teacher is not None
    module = job.teacher.module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trainer.train(job)
    module.train()
    assert not any(m.training for m in module.modules())
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("numerics", [{"precision": "bf16"}, {"channels_last": True}], ids=str)
def test_numerics_of_the_recipe(numerics: dict, tmp_path: Path) -> None:
    """They train every method, and make different runs with different weights."""
    recipe = Recipe(epochs=1, batch_size=16, milestones=())
    changed = recipe.model_copy(update=numerics)
    for r in (recipe, changed):
        states = trainer.train(tiny.cohort(tmp_path, tiny.METHODS, r))
        assert set(states.values()) == {Outcome.DONE}
    for method in tiny.METHODS:
        assert tiny.spec(method, recipe).id != tiny.spec(method, changed).id
    plain, other = (tiny.weights(tmp_path, "crd", r)["fc.weight"] for r in (recipe, changed))
    assert other.dtype == torch.float32
    assert torch.allclose(plain, other, atol=0.05)
